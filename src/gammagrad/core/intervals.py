"""Asymmetric errors and upper limits of a fit, in either engine, from the profile's sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.options import FitOptions
from gammagrad.core.profile import (
    ProfileSums,
    lower_step,
    lowest_step,
    one_bin_rise,
    parabola_start,
    profile_terms,
    rise,
    upper_step,
)
from gammagrad.core.stats import ts_term

__all__ = ["PixelProfile", "Profile", "Steps", "ends_at_bound", "interval_steps", "pixel_intervals"]

Sums = Callable[[Array], ProfileSums]
"""The sums of `ProfileSums` at a step from a base norm that has been chosen."""


class Steps(NamedTuple):
    """Where intervals end, as a base norm and a step from it; None if not asked for.

    Attributes
    ----------
    up, down
        Base and step of the upper and lower ends of the asymmetric errors.
    limit
        Base and step of the upper limit.
    """

    up: tuple[Array, Array] | None = None
    down: tuple[Array, Array] | None = None
    limit: tuple[Array, Array] | None = None


def ends_at_bound(sums: Sums, step: Array, model_sum: Array, target: Array | float) -> Array:
    """Tell whether the statistic has not risen by a target where the physical bound is reached.

    Parameters
    ----------
    sums
        Sums at a step from the best fit.
    step
        Step to the physical bound, <= 0.
    model_sum
        Sum of the model counts at norm 1.
    target
        Rise of the statistic.

    Returns
    -------
    Array
        Bool.
    """
    gain = sums(step).gain
    return rise(step, gain, model_sum) <= target


class Profile(Protocol):
    """The profile of one pixel, or of many side by side, and how its intervals are found."""

    @property
    def model_sum(self) -> Array:
        """Sum of the model counts at norm 1, > 0."""
        ...

    def sums_from(self, base: Array) -> Sums:
        """Return the sums as a function of the step from a base norm."""
        ...

    def up(self, base: Array, target: Array) -> Array:
        """Return the step upwards from a base over which the statistic rises by a target."""
        ...

    def down(self, base: Array, target: Array, bound: Array) -> Array:
        """Return the step downwards from a best fit, or that to the physical bound."""
        ...


def interval_steps(
    profile: Profile,
    norm: Array,
    best: Array | None,
    bound: Array,
    options: FitOptions,
    selection: Sequence[str],
) -> Steps:
    """Find the ends of the intervals that are asked for.

    Parameters
    ----------
    profile
        The profile.
    norm
        Norm that intervals are counted from: the best fit, or a guess that was kept.
    best
        Best fit, if `norm` is a guess that was kept; else None.
    bound
        Physical bound.
    options
        `n_sigma`, `n_sigma_ul` and `norm_min`.
    selection
        Optional outputs asked for.

    Returns
    -------
    Steps
        The ends.
    """

    def risen(base: Array, step: Array) -> Array:
        return rise(step, profile.sums_from(base)(step).gain, profile.model_sum)

    def above(reference: Array, target: Array) -> tuple[Array, Array]:
        if best is None:
            return reference, profile.up(reference, target)
        # the profile climbs from the best fit on: a guess below it is seen from there
        base = jnp.maximum(best, reference)
        return base, profile.up(base, target + risen(base, reference - base))

    steps = Steps()
    if "errn-errp" in selection:
        target = options.n_sigma**2 * jnp.ones_like(norm)
        steps = steps._replace(up=above(norm, target))
        base = norm if best is None else best
        if best is not None:
            target = target + risen(base, norm - base)
        steps = steps._replace(down=(base, profile.down(base, target, bound)))
    if "ul" in selection:
        target = options.n_sigma_ul**2 * jnp.ones_like(norm)
        steps = steps._replace(limit=above(jnp.maximum(norm, options.norm_min), target))
    return steps


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
