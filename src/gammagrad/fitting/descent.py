"""Descent from the start: an optimiser of optax, L-BFGS by default, in well-scaled coordinates."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from gammagrad._programs import compiled
from gammagrad.fitting.frame import Frame
from gammagrad.fitting.problem import Problem, evaluate
from gammagrad.fitting.run import Point, Run

Floats = NDArray[np.float64]

# Armijo's and the curvature condition of the line search, and its maximum number of trials.
_DECREASE, _SLOPE, _TRIES = 1e-4, 0.9, 25
# Distance from the minimum, in the statistic, at which Newton's steps take over.
_NEAR = 1e-2


def descend(run: Run, frame: Frame, optimiser: Any = None) -> Point:
    """Descend from the origin of a frame until close to the minimum."""
    best = run.evaluate(frame, np.zeros(len(frame.origin)))
    if not best.is_finite:
        return best
    # optimisers mix precisions and ranks, whatever the user's flags say
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        step = _line_searched if optimiser is None else _as_given
        return step(run, frame, best, _lbfgs() if optimiser is None else optimiser)


@functools.cache
def _lbfgs() -> Any:
    """Return L-BFGS without line search, for coordinates of unit curvature."""
    import optax

    return optax.scale_by_lbfgs(memory_size=20, scale_init_precond=False)


@compiled(static=("optimiser",))
def _direction(optimiser: Any, gradient: Array, state: Any, z: Array) -> tuple[Array, Any]:
    step, state = optimiser.update(gradient, state, z)
    return -step, state


def _line_searched(run: Run, frame: Frame, point: Point, lbfgs: Any) -> Point:
    state = lbfgs.init(point.z)
    while run.may_go_on:
        step, state = _direction(lbfgs, point.gradient, state, point.z)
        direction = np.asarray(step)
        slope = float(direction @ point.gradient)
        if not slope < 0:
            # the memory misleads: restart with the steepest descent
            state, direction = lbfgs.init(point.z), -point.gradient
            slope = float(direction @ point.gradient)
        # half the slope is the decrease a parabola has left
        if -0.5 * slope < _NEAR:
            break
        found = _search(run, frame, point, direction, slope)
        if found is None:
            break
        point = found
        run.step_done(point)
    return point


def _search(run: Run, frame: Frame, start: Point, direction: Floats, slope: float) -> Point | None:
    """Find a step that lowers the statistic and flattens the slope, None if there is none."""
    length, shortest, longest = 1.0, 0.0, np.inf
    best = None
    for _ in range(_TRIES):
        point = run.evaluate(frame, start.z + length * direction)
        allowed = start.stat + _DECREASE * length * slope + run.noise(start.stat)
        if not point.is_finite or point.stat > allowed:
            longest = length
            length = _shorter(start, point, slope, shortest, length)
            continue
        if best is None or point.stat < best.stat:
            best = point
        if float(direction @ point.gradient) >= _SLOPE * slope:
            return point
        shortest = length
        length = 2.0 * length if np.isinf(longest) else 0.5 * (shortest + longest)
    return best


def _shorter(start: Point, point: Point, slope: float, shortest: float, length: float) -> float:
    """Return a shorter step than one that failed: at the minimum of a parabola, if that helps."""
    guess = 0.25 * length
    if point.is_finite:
        rise = point.stat - start.stat - slope * length
        guess = -0.5 * slope * length**2 / rise if rise > 0 else guess
    low, high = shortest + 0.02 * (length - shortest), shortest + 0.6 * (length - shortest)
    return float(np.clip(guess, low, high))


@compiled(static=("optimiser",))
def _update(
    optimiser: Any,
    problem: Problem,
    frame: Frame,
    z: Array,
    gradient: Array,
    value: Array,
    state: Any,
) -> tuple[Array, Any]:
    import optax

    def stat(z: Array) -> Array:
        return evaluate(problem, frame, z).stat

    update = optax.with_extra_args_support(optimiser).update
    step, state = update(gradient, state, z, value=value, grad=gradient, value_fn=stat)
    return z + jnp.asarray(step), state


def _as_given(run: Run, frame: Frame, point: Point, optimiser: Any) -> Point:
    """Take the steps of an optimiser, and keep the best point."""
    state, best = optimiser.init(point.z), point
    while run.may_go_on:
        # the coordinates are such that this is the distance in a bowl of unit curvature
        if 0.5 * float(point.gradient @ point.gradient) < _NEAR:
            break
        z, state = _update(
            optimiser, run.problem, frame, point.z, point.gradient, np.asarray(point.stat), state
        )
        point = run.evaluate(frame, np.asarray(z))
        if not point.is_finite:
            break
        best = point if point.stat < best.stat else best
        run.step_done(point)
    return best
