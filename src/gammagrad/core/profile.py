"""The likelihood profile around a norm: errors, limits and scans as roots and values of it.

Seen from a norm ``x0``, the Cash statistic rises by
``C(x0 + d) - C(x0) = 2 [d M - sum n log(1 + d / r)]``, with the *shifted* ratio
``r = x0 + b / m`` of each bin: the same sums as those of the fit, without the cancellation that a
difference of two statistics has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.stats import score_terms, ts_term

__all__ = [
    "N_CLIMBS",
    "N_DESCENTS",
    "ProfileSums",
    "climb",
    "lower_step",
    "lowest_step",
    "profile_terms",
    "rise",
    "upper_step",
]

Bracket = tuple[Array, Array, Array]

N_CLIMBS = 5
"""Sweeps to an upper limit: three to four reach 1e-10 of it on all that was tried."""

N_DESCENTS = 10
"""Sweeps to a lower error: mostly three, up to nine where it ends close to a logarithm's edge."""


class ProfileSums(NamedTuple):
    """Sums over a pixel's bins at a step from the base norm.

    Attributes
    ----------
    gain
        ``sum n log(1 + d / r)``.
    s1, s2
        ``sum n / (d + r)`` and ``sum n / (d + r)^2``.
    """

    gain: Array
    s1: Array
    s2: Array


def profile_terms(step: Array, counts: Array, ratio: Array) -> ProfileSums:
    """Return one bin's share of the sums.

    Parameters
    ----------
    step
        The step `d`, broadcast against the bins.
    counts
        Counts times weight.
    ratio
        Shifted ratio, of the same shape; infinite where there is no model.

    Returns
    -------
    ProfileSums
        The terms.
    """
    s1, s2 = score_terms(jnp.broadcast_to(step, ratio.shape), counts, ratio)
    # where counts meet no prediction the statistic is infinite, which a fit's own sum leaves out
    impossible = (counts > 0) & (step <= -ratio)
    return ProfileSums(jnp.where(impossible, -jnp.inf, ts_term(step, counts, ratio)), s1, s2)


def rise(step: Array, gain: Array, model_sum: Array) -> Array:
    """Return how much the statistic rises over a step, ``C(x0 + d) - C(x0)``.

    Parameters
    ----------
    step
        The step.
    gain
        ``sum n log(1 + d / r)`` of `ProfileSums`.
    model_sum
        Sum of the model counts at norm 1, `M`.

    Returns
    -------
    Array
        The rise.
    """
    return 2 * (step * model_sum - gain)


def climb(
    value_and_slope: Callable[[Array], tuple[Array, Array]],
    start: Array,
    target: Array,
    n_sweeps: int = N_CLIMBS,
) -> Array:
    """Find where a function reaches a target, by Newton steps in both logarithms.

    For a function that starts at zero, is convex and whose derivative is concave, as the rise of
    the statistic above a best fit and the Asimov statistic both are, the slope in logarithms lies
    between 1 and 2. Newton's step then shortens the way to the root, from wherever it starts.

    Parameters
    ----------
    value_and_slope
        Returns the function and its derivative, elementwise.
    start
        Where to begin, > 0.
    target
        Value to reach, > 0.
    n_sweeps
        Number of Newton sweeps.

    Returns
    -------
    Array
        Where it is reached.
    """
    tiny = jnp.finfo(start.dtype).tiny

    def sweep(at: Array, _: None) -> tuple[Array, None]:
        value, slope = value_and_slope(at)
        value = jnp.maximum(value, tiny)
        power = jnp.clip(at * slope / value, 1, 2)
        return at * jnp.exp(jnp.log(target / value) / power), None

    return jax.lax.scan(sweep, start, None, length=n_sweeps)[0]


def upper_step(
    sums: Callable[[Array], ProfileSums],
    model_sum: Array,
    target: Array,
    n_sweeps: int = N_CLIMBS,
) -> Array:
    """Find the step upwards over which the statistic rises by a target.

    Parameters
    ----------
    sums
        Returns the sums at a step from a base norm at or above the best fit.
    model_sum
        Sum of the model counts at norm 1, `M` > 0.
    target
        Rise of the statistic, the number of standard deviations squared.
    n_sweeps
        Number of sweeps.

    Returns
    -------
    Array
        The step, > 0 and finite.
    """
    _, s1, s2 = sums(jnp.zeros_like(model_sum))
    slope = jnp.maximum(model_sum - s1, 0)
    # the curvature falls upwards, so the parabola at the base lies above: its root comes first
    floor = jnp.finfo(model_sum.dtype).tiny
    start = target / jnp.maximum(slope + jnp.sqrt(slope**2 + s2 * target), floor)

    def value_and_slope(step: Array) -> tuple[Array, Array]:
        gain, s1, _ = sums(step)
        return rise(step, gain, model_sum), 2 * (model_sum - s1)

    return climb(value_and_slope, start, target * jnp.ones_like(start), n_sweeps)


def lowest_step(counts: Array, ratio: Array, model_sum: Array, target: Array) -> Array:
    """Step at or below the lower end of an interval, proven from each of a pixel's bins.

    One bin's share of the rise over a step downwards cannot exceed the whole, and a bin's share
    reaches the target before the prediction of that bin vanishes.

    Parameters
    ----------
    counts
        Counts times weight of a bin.
    ratio
        Shifted ratio of the bin.
    model_sum
        Sum of the model counts at norm 1.
    target
        Rise of the statistic.

    Returns
    -------
    Array
        The bin's step, minus infinity without counts. The largest of all bins' is the pixel's.
    """
    seen = counts > 0
    n = jnp.where(seen, counts, jnp.ones_like(counts))
    r = jnp.where(seen, ratio, jnp.ones_like(ratio))
    share = jnp.expm1(-(target / 2 + model_sum * r) / n)
    # inside the logarithm's domain, however far down
    inside = jnp.maximum(share, -1 + jnp.finfo(share.dtype).eps)
    return jnp.where(seen, r * inside, -jnp.inf)


def lower_step(
    sums: Callable[[Array], ProfileSums],
    start: Array,
    bound: Array,
    model_sum: Array,
    target: Array,
    n_sweeps: int = N_DESCENTS,
) -> Array:
    """Find the step downwards over which the statistic rises by a target, or the bound.

    Each sweep replaces all occupied bins by the one that has their `s1` and `s2`, solves for it and
    stays between the steps known to be too far and not far enough.

    Parameters
    ----------
    sums
        Returns the sums at a step from the best fit.
    start
        Step that is far enough (`lowest_step`), <= 0.
    bound
        Step to the physical bound, <= 0.
    model_sum
        Sum of the model counts at norm 1, `M` > 0.
    target
        Rise of the statistic, the number of standard deviations squared.
    n_sweeps
        Number of sweeps.

    Returns
    -------
    Array
        The step, between `bound` and 0.
    """
    far = jnp.maximum(start, bound)

    def sweep(state: Bracket, _: None) -> tuple[Bracket, None]:
        at, far, near = state
        gain, s1, s2 = sums(at)
        over = rise(at, gain, model_sum) - target
        far = jnp.where(over >= 0, jnp.maximum(far, at), far)
        near = jnp.where(over < 0, jnp.minimum(near, at), near)
        moved = at + _one_bin_step(over / 2, s1, s2, model_sum)
        inside = (moved >= far) & (moved <= near)
        following = jnp.where(inside, moved, 0.5 * (far + near))
        # the bound itself is reached first: there the interval ends
        ends = (over < 0) & (at <= bound)
        return (jnp.where(ends, bound, following), far, near), None

    first = (far, far, jnp.zeros_like(far))
    return jax.lax.scan(sweep, first, None, length=n_sweeps)[0][0]


def _one_bin_step(over: Array, s1: Array, s2: Array, model_sum: Array) -> Array:
    """Solve ``n w - M r (e^w - 1) = over`` of the equivalent bin; return ``r (e^w - 1)``."""
    safe = jnp.where(s2 > 0, s2, jnp.ones_like(s2))
    ratio = jnp.where(s2 > 0, s1 / safe, jnp.zeros_like(s1))
    counts, expected = s1 * ratio, model_sum * ratio
    w = jnp.zeros_like(s1)
    for _ in range(3):
        slope = counts - expected * jnp.exp(w)
        usable = slope > 0
        miss = counts * w - expected * jnp.expm1(w) - over
        w = jnp.where(usable, w - miss / jnp.where(usable, slope, jnp.ones_like(slope)), w)
    step = ratio * jnp.expm1(w)
    return jnp.where(jnp.isfinite(step), step, jnp.zeros_like(step))
