"""Fit of the norm of one pixel to ON and OFF counts, together with bins of a known background."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gammagrad.core.norm.on_off_input import weighted_off
from gammagrad.core.norm.on_off_solve import (
    Bracket,
    Rise,
    Slopes,
    find_norm,
    find_rise,
    parabola_step,
    smallest,
)
from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.sensitivity import curvature_term, one_bin_root, required
from gammagrad.core.norm.solve import Status
from gammagrad.core.stats import (
    BACKGROUND_FLOOR,
    cash,
    on_off_fit,
    on_off_gain,
    w_terms,
)


class OnOffBins(NamedTuple):
    """Weighted bins of one pixel: of the W statistic, and of the Cash statistic with alpha 0."""

    counts: Array
    counts_off: Array  # 0 with a known background
    alpha: Array  # acceptance ON over OFF; 0 marks a known background
    signal: Array  # known signal; with a known background that, no less than the floor
    model: Array  # counts of the model at norm 1

    def slopes(self, norm: Array) -> Slopes:
        """Return half the slope of the statistic to the right of a norm, and half its curvature."""

        def slope(x: Array) -> Array:
            at = self.signal + x * self.model
            fitted = on_off_fit(at, self.counts, self.counts_off, self.alpha)
            return (self.model * fitted.excess).sum()

        return Slopes(*jax.jvp(slope, (norm,), (jnp.ones_like(norm),)))

    def gain(self, first: Array, second: Array) -> Array:
        """Return the gain of the log-likelihood from one norm to another."""
        signals = (self.signal + x * self.model for x in (first, second))
        return on_off_gain(*signals, self.counts, self.counts_off, self.alpha).sum()

    def rise_from(self, base: Array, sign: int) -> Callable[[Array], Rise]:
        """Return half the rise over a step upwards or downwards, as a function of its size."""

        def rise(size: Array) -> Rise:
            norm = base + sign * size
            return Rise(-self.gain(base, norm), sign * self.slopes(norm).slope)

        return rise

    @property
    def empty(self) -> Array:
        """Bins whose statistic has a kink: without ON and OFF counts."""
        return (self.alpha > 0) & (self.counts <= 0) & (self.counts_off <= 0) & (self.model > 0)

    def jump(self, norm: Array) -> tuple[Array, Array]:
        """Return how much the slope jumps at a norm, and which bins have their kink there."""
        reach = 16 * jnp.finfo(norm.dtype).eps * self.signal
        here = self.empty & (jnp.abs(self.signal + norm * self.model) <= reach)
        alpha = jnp.where(here, self.alpha, jnp.ones_like(self.alpha))
        return jnp.where(here, self.model * (1 + 1 / alpha), 0).sum(), here


class _Kink(NamedTuple):
    """Slopes on either side of a norm, which differ where bins without counts keep it."""

    right: Array
    left: Array
    bend: Array
    kept: Array  # whether the statistic rises on both sides at once


def _kink(bins: OnOffBins, norm: Array) -> _Kink:
    slope, bend = bins.slopes(norm)
    jump, _ = bins.jump(norm)
    # a search ends on either side of a kink: the slope there is one of the two
    below = bins.signal + norm * bins.model < 0
    _, here = bins.jump(norm)
    alpha = jnp.where(here, bins.alpha, jnp.ones_like(bins.alpha))
    lacking = jnp.where(here & below, bins.model * (1 + 1 / alpha), 0).sum()
    right = slope + lacking
    kept = (jump > 0) & (right >= 0) & (right - jump <= 0)
    return _Kink(right, right - jump, bend, kept)


def _bracket(bins: OnOffBins, bound: Array) -> Bracket:
    """Return where the best norm must lie, from sums over bins."""
    n, k, alpha, signal, m = bins
    reached = m > 0
    on_off = alpha > 0
    safe_alpha = jnp.where(on_off, alpha, jnp.ones_like(alpha))
    safe_m = jnp.where(reached, m, jnp.ones_like(m))
    total = m.sum()
    safe_total = jnp.where(total > 0, total, jnp.ones_like(total))
    upper = jnp.where(reached, n, 0).sum() / safe_total
    # what pulls down at any norm, less what ordinary bins may push up
    pull = jnp.where(on_off, m / safe_alpha, -m).sum()
    off = jnp.where(reached, k, 0).sum()
    known = jnp.where(on_off & reached, signal / safe_m, 0).max()
    known = known * jnp.where(known > 0, 1 + 1e-3, 1)
    lowest = jnp.where(pull > 0, -off / jnp.where(pull > 0, pull, 1) - known, -jnp.inf)
    start = (jnp.where(reached, n - signal - alpha * k, 0)).sum() / safe_total
    lower = jnp.maximum(lowest, bound)
    return Bracket(lower, jnp.maximum(upper, lower), start)


def _solve(bins: OnOffBins, bound: Array, options: FitOptions) -> tuple[Array, Array, Array, Array]:
    """Solve for the norm; return it, sweeps, the last step, and whether it is at the bound."""
    bins, bound, options = lax.stop_gradient((bins, bound, options))
    lower, upper, start = _bracket(bins, bound)
    zero = jnp.zeros_like(start)
    kink = _kink(bins, zero)
    bounded = jnp.isfinite(bound)
    ends = bins.slopes(jnp.where(bounded, bound, zero)).slope
    at_bound = bounded & (ends >= 0)
    kept = kink.kept & ~at_bound
    # whichever side of 0 it is on
    lower = jnp.where(kink.right < 0, jnp.maximum(lower, 0), lower)
    upper = jnp.where(kink.left > 0, jnp.minimum(upper, 0), upper)
    upper = jnp.maximum(upper, lower)
    found = find_norm(
        bins.slopes,
        Bracket(lower, upper, start),
        kept | at_bound,
        options.rtol,
        smallest(start),
    )
    norm = jnp.where(at_bound, bound, jnp.where(kept, 0, found.norm))
    return norm, found.niter + 1, found.last_step, at_bound


def _differentiable(bins: OnOffBins, solved: Array, bound: Array, at_bound: Array) -> Array:
    """Take one differentiable step from a solved norm: the implicit function theorem."""
    at = lax.stop_gradient(solved)
    slope, bend = bins.slopes(at)
    kink = lax.stop_gradient(_kink(bins, at))
    usable = lax.stop_gradient(bend > 0)
    step = jnp.where(usable, slope / jnp.where(usable, lax.stop_gradient(bend), 1), 0)
    # a kink at another norm than 0 moves with the known signal of its bins
    _, here = bins.jump(at)
    amount = jnp.where(here, bins.model, 0).sum()
    moving = jnp.where(here, bins.signal, 0).sum() / jnp.where(amount > 0, amount, 1)
    moved = jnp.where(at != 0, at - (moving - lax.stop_gradient(moving)), at)
    norm = jnp.where(kink.kept, moved, at - step)
    return jnp.where(at_bound, bound, jnp.maximum(norm, bound))


def _ended(
    bins: OnOffBins, base: Array, sign: int, half: Array | float, limit: Array
) -> tuple[Array, Array]:
    """Return the size of a step over which the statistic rises, and whether a limit ends it."""
    fixed, frozen, level, most = lax.stop_gradient((base, bins, half, limit))
    rise = frozen.rise_from(fixed, sign)
    kink = _kink(frozen, fixed)
    slope = kink.right if sign > 0 else -kink.left
    start = parabola_step(slope, kink.bend, 2 * level)
    total = frozen.model.sum()
    start = jnp.where(jnp.isfinite(start), start, level / jnp.where(total > 0, total, 1))
    bounded = jnp.isfinite(most)
    inside = jnp.where(bounded, most, start)
    ends = bounded & ((rise(inside).value <= level) | (most <= 0))
    start = jnp.where(bounded, jnp.minimum(start, 0.9 * inside), start)
    start = jnp.maximum(start, jnp.finfo(start.dtype).tiny)
    size = find_rise(rise, start, level * jnp.ones_like(start), ~ends & (total > 0))
    value = bins.rise_from(base, sign)(size).value
    slope = lax.stop_gradient(rise(size).slope)
    usable = jnp.isfinite(slope) & (slope > 0)
    size = size - jnp.where(usable, (value - half) / jnp.where(usable, slope, 1), 0)
    return jnp.where(ends, limit, size), ends


def _sensitivity(bins: OnOffBins, options: FitOptions) -> Array:
    """Return the norm at which a source on the measured background reaches a significance."""
    _, k, alpha, signal, model = bins
    target = jnp.asarray(options.n_sigma_sensitivity) ** 2 / 2
    total = lax.stop_gradient(model.sum())
    unit = jnp.where(total > 0, total, jnp.ones_like(total))
    model = model / unit
    background = signal + alpha * k
    model_sum, curvature = model.sum(), curvature_term(background, model).sum()
    seen = (model_sum > 0) & (curvature > 0)
    safe_sum, safe_bend = (jnp.where(seen, a, 1) for a in (model_sum, curvature))

    def asimov(norm: Array, known: tuple[Array, ...]) -> Rise:
        background, k, alpha, signal, model = known
        n = background + norm * model
        # a bin without a prediction has no model either
        excess = jnp.where(model > 0, on_off_fit(signal, n, k, alpha).excess, 0)
        slope = -model * jnp.log1p(-excess)
        return Rise(0.5 * w_terms(signal, n, k, alpha).sum(), slope.sum())

    data = background, k, alpha, signal, model
    frozen, level = lax.stop_gradient((data, target))
    start = one_bin_root(*lax.stop_gradient((safe_sum, safe_bend)), level)
    # as a function of the norm the statistic is convex
    root = find_rise(lambda x: asimov(x, frozen), start, level, seen)
    at_root = asimov(root, data)
    slope = lax.stop_gradient(jnp.where(seen, at_root.slope, jnp.ones_like(at_root.slope)))
    root = root - (at_root.value - target) / slope
    return jnp.where(seen, required(root, safe_sum, safe_bend, options) / unit, 0)


def _intervals(
    bins: OnOffBins, norm: Array, bound: Array, options: FitOptions, selection: tuple[str, ...]
) -> dict[str, Array]:
    """Return errors and limits, from where the statistic has risen."""
    found: dict[str, Array] = {}
    endless = jnp.full_like(norm, jnp.inf)
    if "errn-errp" in selection:
        half = 0.5 * options.n_sigma**2
        found["norm_errp"], _ = _ended(bins, norm, 1, half, endless)
        found["norm_errn"], _ = _ended(bins, norm, -1, half, norm - bound)
    if "ul" in selection:
        base = jnp.maximum(norm, options.norm_min)
        step, _ = _ended(bins, base, 1, 0.5 * options.n_sigma_ul**2, endless)
        found["norm_ul"] = base + step
    return found


def _optional(
    bins: OnOffBins,
    norm: Array,
    bound: Array,
    options: FitOptions,
    selection: tuple[str, ...],
    scan_values: Array | None,
) -> dict[str, Array]:
    """Return the optional outputs."""
    extras = _intervals(bins, norm, bound, options, selection)
    if "sensitivity" in selection:
        extras["norm_sensitivity"] = _sensitivity(bins, options)
    if "stat_scan" in selection and scan_values is not None:
        zero = jnp.zeros_like(norm)
        extras["stat_scan"] = lax.map(
            lambda x: jnp.where(x < bound, jnp.inf, -2 * bins.gain(zero, x)), scan_values
        )
    return extras


def on_off_status(
    *,
    norm: Array,
    bound: Array,
    has_model: Array,
    has_counts: Array,
    at_kink: Array,
    counts_on_zero: Array,
    error_at_bound: Array,
    last_step: Array,
    rtol: Array | float,
) -> Array:
    """Choose the status code of a fit, elementwise."""
    at_bound = norm <= bound
    code = jnp.where(error_at_bound, Status.LOWER_ERROR_AT_BOUND, Status.FITTED)
    code = jnp.where(at_kink, Status.AT_KINK, code)
    code = jnp.where(at_bound, Status.AT_BOUND, code)
    code = jnp.where(at_bound & ~has_counts, Status.NO_COUNTS, code)
    code = jnp.where(at_bound & (bound == 0), Status.ZERO_BACKGROUND_BOUND, code)
    code = jnp.where(counts_on_zero, Status.COUNTS_WITHOUT_BACKGROUND, code)
    code = jnp.where(last_step > rtol, Status.NOT_CONVERGED, code)
    return jnp.where(has_model, code, Status.NOT_FITTED).astype(jnp.int32)


def fit_on_off_bins(
    counts: Array,
    background: Array,
    model: Array,
    counts_off: Array,
    alpha: Array,
    lacking: Array,
    options: FitOptions,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
) -> dict[str, Array]:
    """Fit one pixel's weighted bins, alpha 0 marking a known background; return a `NormFit`'s."""
    known, reached = alpha <= 0, model > 0
    has_model = model.sum() > 0
    signal = jnp.where(known, jnp.maximum(background, BACKGROUND_FLOOR), background)
    seen, off = (jnp.where(reached, a, 0) for a in (counts, counts_off))
    bins = OnOffBins(seen, off, alpha, signal, model)
    safe_model = jnp.where(known & reached, model, jnp.ones_like(model))
    ratio = jnp.where(known & reached, background / safe_model, jnp.inf)
    bound = jnp.where(has_model, -ratio.min(), -jnp.inf) + 0.0

    solved, niter, last_step, at_bound = _solve(bins, bound, options)
    norm = _differentiable(bins, solved, bound, at_bound)
    kink = _kink(bins, norm)
    kept = lax.stop_gradient(kink.kept)
    right, left = (jnp.where(kept, a, 0) for a in (kink.right, -kink.left))
    steps = (parabola_step(slope, kink.bend, options.n_sigma**2) for slope in (right, left))
    zero = jnp.zeros_like(norm)
    gain = bins.gain(zero, norm)
    ts = jnp.maximum(2 * gain, 0)
    fitted = on_off_fit(background + norm * model, counts, counts_off, alpha)
    # the statistic of a known background lacks that of the counts
    terms = jnp.where(known, cash(counts, background), w_terms(signal, counts, counts_off, alpha))
    stat_null = terms.sum() + lacking
    below = jnp.where(jnp.isfinite(bound), bound, norm)
    near = bins.gain(norm, lax.stop_gradient(below)) >= -0.5 * options.n_sigma**2
    status = on_off_status(
        norm=norm,
        bound=bound,
        has_model=has_model,
        has_counts=((seen > 0) | (off > 0)).any(),
        at_kink=kept,
        counts_on_zero=(known & (seen > 0) & (background <= 0)).any(),
        error_at_bound=jnp.isfinite(bound) & near,
        last_step=last_step,
        rtol=options.rtol,
    )
    extras = _optional(bins, norm, bound, options, selection, scan_values)
    npred = fitted.predicted.sum()
    lost = has_model & ~jnp.isfinite(norm + ts + stat_null + npred)
    return dict(
        norm=jnp.where(has_model, norm, 0),
        norm_err=jnp.where(has_model, 0.5 * sum(steps), 0),
        ts=jnp.where(norm < 0, -ts, ts),
        stat=stat_null - ts,
        stat_null=stat_null,
        npred=npred,
        npred_excess=norm * model.sum(),
        niter=niter,
        status=jnp.where(lost, Status.OUT_OF_RANGE, status),
        **{name: jnp.where(has_model, value, 0) for name, value in extras.items()},
    )


def fit_weighted_off(
    bins: tuple[Array, ...],
    options: FitOptions,
    selection: tuple[str, ...],
    scan_values: Array | None,
) -> dict[str, Array]:
    """Fit bins that their weights do not enter yet: counts, background, model, weights, OFF."""
    n, b, m, k, alpha, lacking = weighted_off(*bins)
    return fit_on_off_bins(n, b, m, k, alpha, lacking, options, selection, scan_values)
