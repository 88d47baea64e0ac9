"""One-number solvers with a fixed number of sweeps, and what their status codes mean."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.stats import ScoreSums

State = TypeVar("State")

N_SWEEPS = 8
"""Default number of Newton sweeps: five reach 1e-8 of an error on the data studied so far."""


class Status(IntEnum):
    """What happened at a pixel; `STATUS` has a sentence for each."""

    FITTED = 0
    NO_COUNTS = 1
    AT_BOUND = 2
    ZERO_BACKGROUND_BOUND = 3
    COUNTS_WITHOUT_BACKGROUND = 4
    GUESS_KEPT = 5
    NOT_FITTED = 6
    NOT_CONVERGED = 7
    LOWER_ERROR_AT_BOUND = 8
    OUT_OF_RANGE = 9
    BACKGROUND_VANISHES = 10
    BACKGROUND_UNDETERMINED = 11
    AT_KINK = 12
    INDEX_UNDETERMINED = 13
    INDEX_AT_LIMIT = 14


STATUS: dict[int, str] = {
    Status.FITTED: "fitted: the derivative of the fit statistic vanishes at the norm",
    Status.NO_COUNTS: "no counts in the kernel's window: the norm is the physical bound",
    Status.AT_BOUND: "at the physical bound, where some bin's predicted counts reach zero",
    Status.ZERO_BACKGROUND_BOUND: "at norm 0, a bound set by a bin without background",
    Status.COUNTS_WITHOUT_BACKGROUND: (
        "counts where there is no background: the significance depends on the background floor"
    ),
    Status.GUESS_KEPT: "the matched-filter guess was kept, its TS being below the threshold",
    Status.NOT_FITTED: "not fitted: outside the mask, or without exposure or background",
    Status.NOT_CONVERGED: "not converged: the last step was larger than rtol allows",
    Status.LOWER_ERROR_AT_BOUND: (
        "fitted; the physical bound lies within n_sigma below the norm: the lower error ends there"
    ),
    Status.OUT_OF_RANGE: (
        "not fitted: counts, background and exposure are so large or small that a result is not a "
        "finite number"
    ),
    Status.BACKGROUND_VANISHES: (
        "at background norm 0: all counts are where the model is, in its shape"
    ),
    Status.BACKGROUND_UNDETERMINED: (
        "not fitted: the model has the shape of the background, so that their norms cannot be told "
        "apart; a wider window for the background may help"
    ),
    Status.AT_KINK: (
        "at a kink of the statistic, norm 0, where bins without ON and OFF counts keep the fit"
    ),
    Status.INDEX_UNDETERMINED: (
        "the index cannot be determined: no positive norm has a best index; the norm is that with "
        "the index of the model"
    ),
    Status.INDEX_AT_LIMIT: (
        "the best index lies at or beyond the limit of the indices that are tried: index and norm "
        "are those of the limit"
    ),
}
"""A sentence for every status code."""


class Root(NamedTuple):
    """Where a Newton iteration ended, and how."""

    norm: Array  # the best fit
    # sweeps after which the norm converged to the requested tolerance (or all of them)
    niter: Array
    last_step: Array  # size of the last step relative to the size of the error, ``|dx| sqrt(S2)``


def iterate(
    sweep: Callable[[State], State],
    state: State,
    n_sweeps: int,
    settled: Callable[[State, State], Array] | None = None,
) -> State:
    """Apply a sweep a number of times, or until all that is solved together has settled."""
    if settled is None:
        return jax.lax.scan(lambda at, _: (sweep(at), None), state, None, length=n_sweeps)[0]

    def unsettled(carry: tuple[Array, State, Array]) -> Array:
        return (carry[0] < n_sweeps) & ~carry[2]

    def once(carry: tuple[Array, State, Array]) -> tuple[Array, State, Array]:
        index, before, _ = carry
        after = sweep(before)
        return index + 1, after, settled(before, after)

    first = (jnp.zeros((), jnp.int32), state, jnp.zeros((), bool))
    return jax.lax.while_loop(unsettled, once, first)[1]


def lower_start(counts: Array, ratio: Array, model_sum: Array) -> Array:
    """Norm that is proven to lie at or below the best fit, from each of a pixel's bins."""
    # At the best fit ``sum n / (x + r) = M``; a single bin's share cannot exceed the whole, so ``x
    # >= n / M - r`` for each of them.
    # Stewart (2009), A&A 495, 989, appendix A (equation A.3 has the idea).
    # stay inside the logarithm's domain where the bound is lost in the ratio's rounding
    inside = -ratio * (1 - 4 * jnp.finfo(ratio.dtype).eps)
    bound = jnp.maximum(counts / model_sum - ratio, inside)
    return jnp.where(counts > 0, bound, -jnp.inf)


_Climb = tuple[Array, Root, Array, Array]
"""Sweeps made, where they led, the largest last step of all pixels, and whether to stop."""


def newton(
    sums: Callable[[Array], ScoreSums],
    start: Array,
    lower: Array,
    model_sum: Array,
    *,
    n_sweeps: int = N_SWEEPS,
    rtol: Array | float = 0.01,
    tolerance: float = 0.0,
) -> Root:
    """Solve ``1 / S1(x) = 1 / M`` by Newton steps clipped from below; it cannot fail."""
    # ``1 / S1`` increases and is concave wherever all predictions are positive, since ``S2^2 <= S1
    # S3`` (Cauchy-Schwarz). A tangent of a concave function lies above it, so one step from
    # anywhere lands at or left of the root, and further steps climb to it quadratically.
    floor = jnp.finfo(start.dtype).tiny

    def sweep(state: _Climb) -> _Climb:
        index, (at, niter, _), earlier, _ = state
        s1, s2 = sums(at)
        moved = (s1 / jnp.maximum(s2, floor)) * (s1 / model_sum - 1)
        # without counts nothing holds the norm up: it falls to its bound
        norm = jnp.where(s2 > 0, jnp.maximum(lower, at + moved), lower)
        step = jnp.abs(norm - at) * jnp.sqrt(s2)
        niter = jnp.where(step > rtol, index + 1, niter)
        # steps shrink quadratically, so two in a row tell the next one's size; the largest ones
        # alone, as pixels' steps carried along keep the sums from running in vectors
        largest = step.max()
        small = (largest <= tolerance) | (largest**3 <= 1e-2 * tolerance * earlier**2)
        return index + 1, Root(norm, niter.astype(jnp.int32), step), largest, small

    def settled(_: _Climb, after: _Climb) -> Array:
        return after[3]

    zero = jnp.zeros_like(start)
    first = Root(jnp.maximum(start, lower), zero.astype(jnp.int32), zero)
    ends = settled if tolerance else None
    start_at = (jnp.zeros((), jnp.int32), first, jnp.zeros((), start.dtype), jnp.zeros((), bool))
    root = iterate(sweep, start_at, n_sweeps, ends)[1]
    return root._replace(niter=jnp.minimum(root.niter + 1, n_sweeps).astype(jnp.int32))
