"""The fit of one pixel's flat list of bins, where the background is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.intervals import ends_at_bound, interval_steps
from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.profile import (
    ProfileSums,
    lower_step,
    lowest_step,
    one_bin_rise,
    parabola_start,
    profile_terms,
    rise,
    upper_step,
)
from gammagrad.core.norm.result import NormFit, all_known, fit_status
from gammagrad.core.norm.sensitivity import sensitivity
from gammagrad.core.norm.solve import N_SWEEPS, Root, Status, lower_start, newton
from gammagrad.core.stats import ScoreSums, bin_ratio, cash, score_terms, ts_term


class PixelProfile(NamedTuple):
    """One pixel's bins, as the profile needs them."""

    counts: Array
    ratio: Array
    model_sum: Array

    def sums_from(self, base: Array) -> Callable[[Array], ProfileSums]:
        """Return the sums as a function of the step from a base norm."""
        shifted = base + self.ratio

        def sums(step: Array) -> ProfileSums:
            # bins without counts stay out of the derivatives: below the bound they may be negative
            return ProfileSums(*(t.sum() for t in profile_terms(step, self.counts, shifted)))

        return sums

    def ends_at(self, bound: Array, norm: Array, n_sigma: Array | float) -> Array:
        """Tell whether the physical bound lies within `n_sigma` below a best fit."""
        profile, base, step = jax.lax.stop_gradient((self, norm, bound - norm))
        return ends_at_bound(profile.sums_from(base), step, profile.model_sum, n_sigma**2)

    def up(self, base: Array, target: Array) -> Array:
        """Return the step upwards from a base over which the statistic rises by a target."""
        sums = self.sums_from(base)
        _, s1, s2 = sums(jnp.zeros_like(base))
        start = one_bin_rise(target, s1, s2, self.model_sum)
        return upper_step(sums, start, self.model_sum, target)

    def down(self, base: Array, target: Array, bound: Array) -> Array:
        """Return the step downwards from a best fit, or that to the physical bound."""
        sums, end = self.sums_from(base), bound - base
        _, s1, s2 = sums(jnp.zeros_like(base))
        proven = lowest_step(self.counts, base + self.ratio, self.model_sum, target)
        far = jnp.maximum(proven.max(initial=-jnp.inf), parabola_start(s2, target))
        start = one_bin_rise(target, s1, s2, self.model_sum, downwards=True)
        start = jnp.where(ends_at_bound(sums, end, self.model_sum, target), end, start)
        return lower_step(sums, start, far, end, self.model_sum, target)

    def end(self, base: Array, step: Array, target: Array | float) -> Array:
        """Return the norm at a solved step, with the root's derivatives."""
        fixed = jax.lax.stop_gradient
        # the empty bin that sets the bound has no finite derivative there: it is left out
        live = fixed(base + self.ratio) > 0
        seen = self._replace(ratio=jnp.where(live, self.ratio, jnp.inf))
        gain, s1, _ = seen.sums_from(base)(fixed(step))
        miss = rise(fixed(step), gain, self.model_sum) - target
        slope = fixed(2 * (self.model_sum - s1))
        usable = jnp.isfinite(slope) & (slope != 0)
        moved = jnp.where(usable, miss / jnp.where(usable, slope, jnp.ones_like(slope)), 0)
        return base + fixed(step) - moved

    def scan(self, values: Array, bound: Array) -> Array:
        """Return the statistic at some norms less that at norm 0."""

        def at(norm: Array) -> Array:
            gain = ts_term(norm, self.counts, self.ratio).sum()
            return jnp.where(norm < bound, jnp.inf, rise(norm, gain, self.model_sum))

        return jax.lax.map(at, values)


def pixel_intervals(
    profile: PixelProfile,
    norm: Array,
    bound: Array,
    options: FitOptions,
    selection: tuple[str, ...],
) -> dict[str, Array]:
    """Return errors and limits: steps solved without derivatives, then one step with them."""
    fixed = jax.lax.stop_gradient
    frozen, at, floor, steering = fixed((profile, norm, bound, options))
    occupied = frozen._replace(ratio=jnp.where(frozen.counts > 0, frozen.ratio, jnp.inf))
    steps = interval_steps(occupied, at, None, floor, steering, selection)
    found: dict[str, Array] = {}
    if steps.up is not None and steps.down is not None:
        target = options.n_sigma**2
        found["norm_errp"] = profile.end(norm, steps.up[1], target) - norm
        inside = steps.down[1] > floor - at
        lower = profile.end(norm, jnp.where(inside, steps.down[1], 0), target)
        found["norm_errn"] = jnp.maximum(norm - jnp.where(inside, lower, bound), 0)
    if steps.limit is not None:
        base = jnp.maximum(norm, options.norm_min)
        found["norm_ul"] = profile.end(base, steps.limit[1], options.n_sigma_ul**2)
    return found


def _live_sums(norm: Array, counts: Array, ratio: Array, live: Array) -> ScoreSums:
    """Sum the scores over the bins with a prediction, those without counts included."""
    terms = score_terms(norm, jnp.where(live, counts, 0), jnp.where(live, ratio, jnp.inf))
    return ScoreSums(*(term.sum() for term in terms))


def _solve_root(
    counts: Array, ratio: Array, model_sum: Array, bound: Array, rtol: Array | float, n_sweeps: int
) -> Root:
    """Solve for one pixel's norm; nothing of it is differentiated."""
    counts, ratio, model_sum, bound = jax.lax.stop_gradient((counts, ratio, model_sum, bound))
    occupied = jnp.where(counts > 0, ratio, jnp.inf)

    def sums(x: Array) -> ScoreSums:
        return ScoreSums(*(term.sum() for term in score_terms(x, counts, occupied)))

    proven = lower_start(counts, ratio, model_sum).max(initial=-jnp.inf)
    lower = jnp.maximum(bound, proven)
    start = jnp.maximum(lower, jnp.zeros_like(bound))
    return newton(sums, start, lower, model_sum, n_sweeps=n_sweeps, rtol=rtol)


def fit_bins(
    counts: Array,
    background: Array,
    model: Array,
    options: FitOptions,
    *,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
    n_sweeps: int = N_SWEEPS,
) -> NormFit:
    """Fit one pixel's flat list of weighted bins."""
    reached = model > 0
    model_sum = model.sum()
    has_model = model_sum > 0
    safe_sum = jnp.where(has_model, model_sum, jnp.ones_like(model_sum))
    ratio = bin_ratio(background, model)
    exact = bin_ratio(background, model, floor=0.0)
    bound = jnp.where(has_model, -exact.min(), jnp.zeros_like(model_sum)) + 0.0

    seen = jnp.where(reached, counts, 0)
    occupied = seen > 0
    root = _solve_root(seen, ratio, safe_sum, bound, options.rtol, n_sweeps)

    norm, s2 = _differentiable(root.norm, seen, ratio, exact, bound, safe_sum)
    safe_s2 = jnp.where(s2 > 0, s2, jnp.ones_like(s2))

    ts = 2 * (ts_term(norm, seen, ratio).sum() - norm * model_sum)
    ts = jnp.maximum(ts, 0)
    stat_null = cash(counts, background).sum()
    excess = norm * model_sum
    profile = PixelProfile(seen, ratio, safe_sum)
    status = fit_status(
        norm=norm,
        bound=bound,
        has_model=has_model,
        has_counts=occupied.any(),
        counts_on_zero=(occupied & (background <= 0)).any(),
        error_at_bound=profile.ends_at(bound, norm, options.n_sigma),
        last_step=root.last_step,
        rtol=options.rtol,
    )
    extras = pixel_intervals(profile, norm, bound, options, selection)
    if "sensitivity" in selection:
        extras["norm_sensitivity"] = sensitivity(background, model, options)
    if "stat_scan" in selection and scan_values is not None:
        extras["stat_scan"] = profile.scan(scan_values, bound)
    npred = background.sum() + excess
    lost = has_model & ~all_known(norm + ts + stat_null + npred, extras)
    return NormFit(
        norm=norm,
        norm_err=jnp.where(s2 > 0, options.n_sigma / jnp.sqrt(safe_s2), jnp.inf),
        ts=jnp.where(norm < 0, -ts, ts),
        stat=stat_null - ts,
        stat_null=stat_null,
        npred=npred,
        npred_excess=excess,
        niter=jnp.where(occupied.any(), root.niter, 0),
        status=jnp.where(lost, Status.OUT_OF_RANGE, status),
        **{name: jnp.where(has_model, value, 0) for name, value in extras.items()},
    )


def _differentiable(
    solved: Array, counts: Array, ratio: Array, exact: Array, bound: Array, model_sum: Array
) -> tuple[Array, Array]:
    """Take one differentiable step from a solved norm: the implicit function theorem."""
    # Returns the norm and the sum ``S2`` there.
    fixed = jax.lax.stop_gradient
    at_root = fixed(solved)
    live = at_root + fixed(exact) > 0
    s1, s2 = _live_sums(at_root, counts, ratio, live)
    safe_s2 = jnp.where(s2 > 0, s2, jnp.ones_like(s2))
    step = jnp.where(s2 > 0, (s1 / safe_s2) * (s1 / model_sum - 1), jnp.zeros_like(s2))
    norm = jnp.where(at_root <= fixed(bound), bound, at_root + step)
    norm = jnp.maximum(norm, bound)
    return norm, _live_sums(norm, counts, ratio, live).s2
