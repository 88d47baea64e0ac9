"""The likelihood profile around a norm: errors, limits and scans as roots and values of it.

Seen from a norm ``x0``, the Cash statistic rises by
``C(x0 + d) - C(x0) = 2 [d M - sum n log(1 + d / r)]``, with the *shifted* ratio
``r = x0 + b / m`` of each bin: the same sums as those of the fit, without the cancellation that a
difference of two statistics has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.solve import iterate
from gammagrad.core.stats import score_terms, ts_term

Bracket = tuple[Array, Array, Array]

N_CLIMBS = 5
"""Sweeps to an upper limit: three to four reach 1e-10 of it on all that was tried."""

N_DESCENTS = 10
"""Sweeps to a lower error: mostly three, up to nine where it ends close to a logarithm's edge."""


class ProfileSums(NamedTuple):
    """Sums over a pixel's bins at a step from the base norm."""

    gain: Array  # ``sum n log(1 + d / r)``
    # s1, s2: ``sum n / (d + r)`` and ``sum n / (d + r)^2``
    s1: Array
    s2: Array


def profile_terms(step: Array, counts: Array, ratio: Array) -> ProfileSums:
    """Return one bin's share of the sums."""
    s1, s2 = score_terms(jnp.broadcast_to(step, ratio.shape), counts, ratio)
    # where counts meet no prediction the statistic is infinite, which a fit's own sum leaves out
    impossible = (counts > 0) & (step <= -ratio)
    return ProfileSums(jnp.where(impossible, -jnp.inf, ts_term(step, counts, ratio)), s1, s2)


def rise(step: Array, gain: Array, model_sum: Array) -> Array:
    """Return how much the statistic rises over a step, ``C(x0 + d) - C(x0)``."""
    return 2 * (step * model_sum - gain)


def climb(
    function: Callable[[Array], tuple[Array, Array, Array]],
    start: Array,
    target: Array,
    n_sweeps: int = N_CLIMBS,
    tolerance: float = 0.0,
) -> Array:
    """Find where a function reaches a target, by steps in both logarithms."""
    # For a function that starts at zero, is convex and whose derivative is concave, as the rise of
    # the statistic above a best fit and the Asimov statistic both are, the slope in logarithms lies
    # between 1 and 2. Newton's step then shortens the way to the root, from wherever it starts.
    # Close to it the curvature is used too (Chebyshev's step), which cubes the error.
    tiny = jnp.finfo(start.dtype).tiny

    def sweep(at: Array) -> Array:
        value, slope, curvature = function(at)
        value = jnp.maximum(value, tiny)
        power = at * slope / value
        bend = power - power**2 + at * (at * curvature / value)
        power = jnp.clip(power, 1, 2)
        step = jnp.log(target / value) / power
        # half a step is the most that the curvature may change
        bent = jnp.clip(1 - 0.5 * bend * step / power, 0.5, 1.5)
        return at * jnp.exp(step * jnp.where(jnp.abs(step) < 0.5, bent, 1))

    def settled(before: Array, after: Array) -> Array:
        return (jnp.abs(after - before) <= tolerance * jnp.abs(after)).all()

    return iterate(sweep, start, n_sweeps, settled if tolerance else None)


def upper_step(
    sums: Callable[[Array], ProfileSums],
    start: Array,
    model_sum: Array,
    target: Array,
    n_sweeps: int = N_CLIMBS,
    tolerance: float = 0.0,
) -> Array:
    """Find the step upwards over which the statistic rises by a target."""

    def risen(step: Array) -> tuple[Array, Array, Array]:
        gain, s1, s2 = sums(step)
        return rise(step, gain, model_sum), 2 * (model_sum - s1), 2 * s2

    return climb(risen, start, target * jnp.ones_like(start), n_sweeps, tolerance)


def parabola_start(s2: Array, target: Array) -> Array:
    """Step downwards that is far enough: where the parabola at the best fit reaches a target."""
    # The curvature grows downwards, so that the profile lies above the parabola and rises sooner.
    return -jnp.sqrt(target / jnp.maximum(s2, jnp.finfo(s2.dtype).tiny))


def lowest_step(counts: Array, ratio: Array, model_sum: Array, target: Array) -> Array:
    """Step at or below the lower end of an interval, proven from each of a pixel's bins."""
    # One bin's share of the rise over a step downwards cannot exceed the whole, and a bin's share
    # reaches the target before the prediction of that bin vanishes.
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
    far: Array,
    bound: Array,
    model_sum: Array,
    target: Array,
    n_sweeps: int = N_DESCENTS,
    tolerance: float = 0.0,
) -> Array:
    """Find the step downwards over which the statistic rises by a target, or the bound."""
    # Each sweep replaces all occupied bins by the one that has their `s1` and `s2`, solves for it
    # and stays between the steps known to be too far and not far enough.
    far = jnp.maximum(far, bound)

    def sweep(state: Bracket) -> Bracket:
        at, far, near = state
        gain, s1, s2 = sums(at)
        over = rise(at, gain, model_sum) - target
        far = jnp.where(over >= 0, jnp.maximum(far, at), far)
        near = jnp.where(over < 0, jnp.minimum(near, at), near)
        moved = at + one_bin_step(over / 2, s1, s2, model_sum)
        inside = (moved >= far) & (moved <= near)
        following = jnp.where(inside, moved, 0.5 * (far + near))
        # the bound itself is reached first: there the interval ends
        ends = (over < 0) & (at <= bound)
        return jnp.where(ends, bound, following), far, near

    def settled(before: Bracket, after: Bracket) -> Array:
        at, far, near = after
        still = jnp.abs(at - before[0]) <= tolerance * jnp.abs(at)
        # the error after half a bracket is as large as the step, that after another is cubed
        halved = (at == 0.5 * (far + near)) & (near - far > 1e-12 * jnp.abs(at))
        return (still & ~halved).all()

    first = (jnp.clip(start, far, 0), far, jnp.zeros_like(far))
    return iterate(sweep, first, n_sweeps, settled if tolerance else None)[0]


def one_bin_step(over: Array, s1: Array, s2: Array, model_sum: Array) -> Array:
    """Step from a point where the statistic is over a level to where it reaches it."""
    # All occupied bins are replaced by the one that has their `s1` and `s2` at the point, so that
    # value, slope and curvature are right: the error is cubed.
    safe = jnp.where(s2 > 0, s2, jnp.ones_like(s2))
    ratio = jnp.where(s2 > 0, s1 / safe, jnp.zeros_like(s1))
    counts, expected = s1 * ratio, model_sum * ratio
    w = jnp.zeros_like(s1)
    for _ in range(3):
        slope = counts - expected * jnp.exp(w)
        # on the side where it started
        usable = slope * (counts - expected) > 0
        miss = counts * w - expected * jnp.expm1(w) - over
        w = jnp.where(usable, w - miss / jnp.where(usable, slope, jnp.ones_like(slope)), w)
    return jnp.where(jnp.isfinite(over), ratio * jnp.expm1(w), jnp.nan)


def one_bin_rise(
    target: Array, s1: Array, s2: Array, model_sum: Array, downwards: bool = False
) -> Array:
    """Step from a best fit over which the statistic of one bin rises by a target."""
    # The bin is the one that has `s1` and `s2` of all occupied bins: where a search for the end of
    # an interval may begin.
    seen = s2 > 0
    safe = jnp.where(seen, s2, jnp.ones_like(s2))
    ratio = jnp.where(seen, s1 / safe, jnp.zeros_like(s1))
    counts = jnp.where(seen, s1 * ratio, jnp.ones_like(s1))
    level = target / (2 * counts)
    if downwards:
        # e^w - 1 - w >= level at this w < 0, and the slope is never steeper than -1
        w = -(level + jnp.sqrt(2 * level))
        for _ in range(4):
            w = w - (jnp.expm1(w) - w - level) / jnp.minimum(jnp.expm1(w), -1e-6)
        return jnp.where(seen, ratio * jnp.expm1(w), -jnp.inf)
    factor = jnp.maximum(jnp.where(seen, model_sum / jnp.maximum(s1, 1e-300), 1), 1)
    # a step too far, from where Newton's steps come down to the root of a convex function
    w = jnp.log1p(level + jnp.sqrt(2 * level))
    for _ in range(4):
        miss = factor * jnp.expm1(w) - w - level
        w = w - miss / jnp.maximum(factor * jnp.exp(w) - 1, 1e-6)
    return jnp.where(seen, ratio * jnp.expm1(w), target / (2 * model_sum))
