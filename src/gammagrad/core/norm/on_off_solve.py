"""Solvers for a convex statistic with kinks: the best norm, and the ends of intervals.

All work on arrays of pixels, in halves of the statistic and of its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

MOST_SWEEPS = 100
"""Sweeps at most: halving a bracket that often exhausts double precision."""


class Slopes(NamedTuple):
    """Half the first two derivatives of the statistic in the norm."""

    slope: Array
    bend: Array


class Bracket(NamedTuple):
    """Where a best norm must lie, and where to begin."""

    lower: Array
    upper: Array
    start: Array


class Solved(NamedTuple):
    """Where a search ended."""

    norm: Array
    niter: Array  # sweeps until the last step was as small as asked
    last_step: Array  # size of the last step in errors; 0 where the bracket has closed


class _State(NamedTuple):
    sweeps: Array
    norm: Array
    lower: Array
    upper: Array
    before: Array  # size of the step before
    niter: Array
    last_step: Array
    open: Array


def smallest(norm: Array) -> Array:
    """Return the last step of a search in errors: its square is below rounding."""
    return 0.3 * jnp.sqrt(jnp.finfo(norm.dtype).eps)


def find_norm(
    slopes: Callable[[Array], Slopes],
    bracket: Bracket,
    done: Array,
    rtol: Array | float,
    tolerance: Array | float,
    most: int = MOST_SWEEPS,
) -> Solved:
    """Find where the slope changes its sign: Newton's steps inside a bracket that closes."""
    lower, upper, start = bracket
    eps = jnp.finfo(start.dtype).eps

    def sweep(state: _State) -> _State:
        at = state.norm
        # apart from what follows, so that sums over bins run in vectors
        slope, bend = lax.optimization_barrier(slopes(at))
        lower = jnp.where(slope <= 0, jnp.maximum(at, state.lower), state.lower)
        upper = jnp.where(slope >= 0, jnp.minimum(at, state.upper), state.upper)
        step = -slope / jnp.maximum(bend, jnp.finfo(bend.dtype).tiny)
        moved = at + step
        still = (bend > 0) & (jnp.abs(step) * jnp.sqrt(bend) <= tolerance)
        # steps that do not halve go back and forth, or creep
        newton = (moved > lower) & (moved < upper) & (2 * jnp.abs(step) <= state.before)
        newton |= still
        following = jnp.where(newton, moved, 0.5 * (lower + upper))
        following = jnp.clip(following, lower, upper)
        size = jnp.abs(following - at)
        width = upper - lower
        closed = width <= 4 * eps * jnp.maximum(jnp.abs(lower), jnp.abs(upper))
        # seen from a kink of the slope the other side may be flat: the bracket tells
        in_errors = jnp.where(closed, 0, size * jnp.sqrt(bend))
        settled = closed | still
        index = state.sweeps + 1
        return _State(
            index,
            jnp.where(state.open, following, at),
            lower,
            upper,
            jnp.where(newton, jnp.abs(step), width),
            jnp.where(state.open & (in_errors > rtol), index + 1, state.niter),
            jnp.where(state.open, jnp.where(newton | closed, in_errors, jnp.inf), state.last_step),
            state.open & ~settled,
        )

    zero = jnp.zeros_like(start)
    count = jnp.zeros(start.shape, jnp.int32)
    inside = jnp.clip(start, lower, upper)
    first = _State(count.min(), inside, lower, upper, upper - lower, count, zero, ~done)
    state = lax.while_loop(lambda s: (s.sweeps < most) & s.open.any(), sweep, first)
    return Solved(state.norm, jnp.minimum(state.niter, state.sweeps), state.last_step)


class Rise(NamedTuple):
    """Half the rise of the statistic over a step, and its derivative in the step's size."""

    value: Array
    slope: Array


_Search = tuple[Array, Array, Array, Array, Array]
"""Sweeps made, the step, the steps known to be too short and too long, and whether to go on."""


def find_rise(
    rise: Callable[[Array], Rise],
    start: Array,
    target: Array,
    wanted: Array,
    most: int = MOST_SWEEPS,
) -> Array:
    """Find the size of the step over which a convex statistic has risen by a target."""
    # The slope in logarithms is at least 1, as the rise is convex and starts at 0: Newton's steps
    # there go far at once and seldom leave the bracket.
    tolerance = jnp.finfo(start.dtype).eps ** 0.5
    tiny = jnp.finfo(start.dtype).tiny

    def sweep(state: _Search) -> _Search:
        index, at, near, far, going = state
        value, slope = lax.optimization_barrier(rise(at))
        near = jnp.where(value < target, jnp.maximum(at, near), near)
        far = jnp.where(value >= target, jnp.minimum(at, far), far)
        safe = jnp.maximum(value, tiny)
        power = jnp.maximum(at * slope / safe, 1)
        moved = at * jnp.exp(jnp.clip(jnp.log(target / safe) / power, -20, 20))
        still = jnp.abs(moved - at) <= tolerance * at
        inside = still | ((moved > near) & (moved < far))
        middle = jnp.where(jnp.isfinite(far), 0.5 * (near + far), 2 * at)
        following = jnp.where(inside, moved, middle)
        closed = far - near <= 4 * jnp.finfo(at.dtype).eps * far
        still |= closed & jnp.isfinite(far)
        return index + 1, jnp.where(going, following, at), near, far, going & ~still

    zero = jnp.zeros_like(start)
    first = (jnp.zeros((), jnp.int32), start, zero, jnp.full_like(start, jnp.inf), wanted)
    return lax.while_loop(lambda s: (s[0] < most) & s[4].any(), sweep, first)[1]


def parabola_step(slope: Array, bend: Array, target: Array | float) -> Array:
    """Return the step over which a parabola rises by half a target; infinite for a flat one."""
    # also where it begins at a kink, with a slope of its own on either side
    slope = jnp.maximum(slope, 0)
    square = slope * slope + jnp.maximum(bend, 0) * target
    rising = square > 0
    root = jnp.sqrt(jnp.where(rising, square, jnp.ones_like(square)))
    return jnp.where(rising, target / jnp.where(rising, slope + root, 1), jnp.inf)
