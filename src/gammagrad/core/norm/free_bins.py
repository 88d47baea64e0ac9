"""The fit of one pixel's flat list of bins where one norm of the background is fitted too."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad._pytree import replace
from gammagrad.core.norm.free import (
    Window,
    free_status,
    is_even,
    line_intervals,
    line_results,
    line_scan,
)
from gammagrad.core.norm.line import (
    NO_COUNTS,
    Line,
    LineSums,
    contrasts,
    place_of,
    solve_line,
    start_terms,
)
from gammagrad.core.norm.line_profile import LineProfile
from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.profile import ProfileSums
from gammagrad.core.norm.result import NormFit, all_known
from gammagrad.core.norm.sensitivity import Lost, background_level, sensitivity
from gammagrad.core.norm.solve import Status
from gammagrad.core.stats import bin_ratio, contrast_scores, log1p_inside


class LineBins(NamedTuple):
    """One pixel's bins as the line needs them."""

    counts: Array
    contrast: Array

    def of(self, live: Array) -> LineBins:
        """Return the same, with neither counts nor contrast in some bins."""
        return LineBins(jnp.where(live, self.counts, 0), jnp.where(live, self.contrast, 0))

    def sums(self, place: Array) -> LineSums:
        """Return the sums at a place."""
        return LineSums(*(t.sum() for t in contrast_scores(place, self.counts, self.contrast)))

    def gain(self, place: Array) -> Array:
        """Return ``sum n log(1 + z g)``."""
        return (self.counts * log1p_inside(place * self.contrast)).sum()

    def seen_from(self, best: Array, step: Array) -> ProfileSums:
        """Return the sums of the profile at a step from a place."""
        eps = jnp.finfo(step.dtype).eps
        shifted = self.contrast / jnp.maximum(1 + best * self.contrast, eps)
        z = step * shifted
        gain = self.counts * log1p_inside(jnp.maximum(z, -1 + eps))
        slope = shifted / jnp.maximum(1 + z, eps)
        return ProfileSums(
            gain.sum(), (self.counts * slope).sum(), (self.counts * slope * slope).sum()
        )


def line_of(bins: LineBins, has: Array, bound: Array, total: Array) -> Line:
    """Describe the line of a pixel; `has` marks the bins with a model."""
    occupied = has & (bins.counts > 0)
    unseen = total - jnp.where(has, bins.counts, 0).sum()
    unseen = jnp.where(unseen > NO_COUNTS * total, unseen, 0)
    lowest = jnp.where(occupied, bins.contrast, jnp.inf).min()
    highest = jnp.where(occupied, bins.contrast, -1).max()
    lowest = jnp.where(unseen > 0, -1, jnp.where(occupied.any(), lowest, -1))
    return Line(total, unseen, lowest, highest, bound)


def solved(bins: LineBins, line: Line) -> tuple[Array, Array, Array]:
    """Return the best place of a pixel's line, the sweeps it took, and whether it is not found."""
    lower, upper = start_terms(bins.counts, bins.contrast, line.total)
    gone = (line.total - line.unseen) / jnp.where(line.total > 0, line.total, 1)
    first = lower.max(), jnp.minimum(upper.min(), jnp.where(line.unseen > 0, gone, 1))
    tolerance = float(jnp.finfo(line.total.dtype).eps) ** 0.5
    found = solve_line(bins.sums, line, first, tolerance=tolerance)
    t2 = line.with_unseen(*bins.sums(found.place), found.place).t2
    width = jnp.minimum(found.upper, line.top) - jnp.maximum(found.lower, line.inside())
    return found.place, found.niter, width * jnp.sqrt(t2)


def fit_free_bins(
    counts: Array,
    background: Array,
    model: Array,
    window: Window,
    options: FitOptions,
    *,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
) -> NormFit:
    """Fit source and background norms to one pixel's flat list of weighted bins."""
    # `window` has the sums over all bins, in which those without a model need not be listed
    fixed = jax.lax.stop_gradient
    has = model > 0
    model_sum = model.sum()
    has_model = model_sum > 0
    safe_sum = jnp.where(has_model, model_sum, 1)
    expected = jnp.where(window.expected > 0, window.expected, 1)
    contrast = jnp.where(has, contrasts(background, model, expected, safe_sum), 0)
    # squares must stay finite, where there are no counts that depend on the floor
    largest = float(jnp.finfo(contrast.dtype).max) ** 0.3
    contrast = jnp.where(counts > 0, contrast, jnp.minimum(contrast, largest))
    ratio = jnp.where(has_model, -bin_ratio(background, model, floor=0.0).min(), 0) + 0.0
    even = is_even(ratio, expected, safe_sum)
    bound = jnp.where(even | ~has_model, 0, place_of(ratio, expected, safe_sum))
    bins = LineBins(jnp.where(has, counts, 0), contrast)
    line = line_of(bins, has, bound, window.total)

    occupied = fixed(bins).of(has & (counts > 0))
    place, niter, last = solved(occupied, fixed(line))
    best, sums = _differentiable(bins, line, place)
    eps = jnp.finfo(best.dtype).eps
    seen = bins.of(fixed(has & (1 + best * contrast > 8 * eps)))
    gain = seen.gain(best) + line.unseen * jnp.log1p(-jnp.minimum(best, line.top))

    profile = LineProfile(lambda step: seen.seen_from(best, step), line, best, sums)
    found = line_results(profile, gain, window, safe_sum, options)
    gained = found.pop("gained")
    found |= line_intervals(profile, gained, window, safe_sum, options, selection, exact=True)
    if "stat_scan" in selection and scan_values is not None:
        found["stat_scan"] = line_scan(profile, gained, window, safe_sum, scan_values, exact=True)
    if "sensitivity" in selection:
        one = Window(*(a[None] for a in window))
        lost = Lost(background_level(one), expected[None], safe_sum[None])
        found["norm_sensitivity"] = sensitivity(background, model, options, lost=lost)
    status = free_status(
        at_bound=place <= fixed(line).inside(),
        zero_bound=bound == 0,
        vanishes=place >= line.top,
        even=even,
        open_=last > options.rtol,
        has_model=has_model,
        has_counts=(has & (counts > 0)).any(),
        counts_on_zero=(has & (counts > 0) & (background <= 0)).any(),
        error_at_bound=gained <= options.n_sigma**2,
    )
    known = has_model & ~even
    own = {"model_sum": model_sum, "background": background.sum(), "gained": gained}
    fit = _assembled(found, known, niter, window, **own)
    values = {n: v for n, v in vars(fit).items() if v is not None}
    total = jnp.asarray(fit.norm + fit.ts + fit.stat_null + fit.npred)
    unknown = known & ~all_known(total, values)
    return replace(fit, status=jnp.where(unknown, Status.OUT_OF_RANGE, status))


def _assembled(
    found: dict[str, Array],
    known: Array,
    niter: Array,
    window: Window,
    *,
    model_sum: Array,
    background: Array,
    gained: Array,
) -> NormFit:
    """Return what was found, without a status."""
    excess, gained = found["norm"] * model_sum, jnp.where(known, gained, 0)
    stat_null = window.stat_null()
    return NormFit(
        **{name: jnp.where(known, value, 0) for name, value in found.items()},
        ts=jnp.where(found["norm"] < 0, -gained, gained),
        stat=stat_null - gained,
        stat_null=stat_null,
        npred=found["background_norm"] * background + excess,
        npred_excess=excess,
        niter=jnp.where(window.total > 0, niter, 0),
        status=jnp.zeros((), jnp.int32),
    )


def _differentiable(bins: LineBins, line: Line, solved: Array) -> tuple[Array, LineSums]:
    """Take one differentiable step from a solved place: the implicit function theorem."""
    # Returns the place and the sums there.
    fixed = jax.lax.stop_gradient
    at = fixed(solved)
    eps = jnp.finfo(at.dtype).eps
    live = bins.of(fixed(1 + at * bins.contrast > 8 * eps))
    t1, t2 = line.with_unseen(*live.sums(at), at)
    safe = fixed(jnp.where(t2 > 0, t2, 1))
    step = jnp.where(t2 > 0, t1 / safe, 0)
    least, top = line.inside(), line.top
    place = jnp.where(at <= fixed(least), least, jnp.where(at >= top, top, at + step))
    place = jnp.clip(place, least, top)
    return place, line.with_unseen(*live.sums(place), place)
