"""Fit of two numbers, the norm and one of the shape, such as the index of a power law.

With the model counts ``x m(t)`` of a norm `x` and a shape `t`, and ``M(t)`` their sum at norm 1,
the two numbers solved for are the counts of the source ``s = x M(t)`` and `t` itself. The bins then
have the contrasts ``h(t) = m(t) / (M(t) b)``, and the gain over norm 0 is
``sum n log(1 + s h) - s``. The two hardly depend on each other, as the counts of a bright source
are known whatever its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad.core.norm.solve import newton
from gammagrad.core.stats import ScoreSums

_FIRST_SWEEPS = 2
"""Sweeps to the counts at each shape that is tried first: the gain there is what they are for."""

LEAST_GAIN = 1e-3
"""Gain over norm 0 that the best of the shapes tried first must have: less says nothing of it."""

_LONGEST = 0.4
"""Longest step of the shape, in half its range."""

_NEAR = 0.04
"""Square of how far the counts may be from their best at a shape, in errors, for a bracket."""


class PairSums(NamedTuple):
    """Sums over bins, with ``q = h / (1 + s h)`` and the derivatives of ``log h`` in the shape."""

    s1: Array  # ``sum n q``
    s2: Array  # ``sum n q^2``
    r1: Array  # ``sum n q (log h)'``
    r2: Array  # ``sum n q^2 (log h)'``
    t1: Array  # ``sum n q ((1 - s q) (log h)'^2 + (log h)'')``
    gain: Array  # ``sum n log(1 + s h)``, or 0 where it is made elsewhere


class Held(Protocol):
    """The bins of one pixel, or of many side by side, at a fixed shape."""

    def scores(self, norm: Array) -> ScoreSums:
        """Return the two sums that a fit of the counts needs."""
        ...

    def gain(self, norm: Array) -> Array:
        """Return ``sum n log(1 + s h)``."""
        ...


class Family(Protocol):
    """The bins of one pixel, or of many side by side, under a model with a shape."""

    def held(self, shape: Array) -> Held:
        """Return the same bins at a shape that is kept."""
        ...

    def pairs(self, counts: Array, shape: Array) -> PairSums:
        """Return all sums."""
        ...


class Curvature(NamedTuple):
    """Slopes of the gain and minus its second derivatives, in counts and shape."""

    slope_s: Array
    slope_t: Array
    ss: Array
    st: Array
    tt: Array

    @property
    def profiled(self) -> Array:
        """Minus the second derivative in the shape of the gain at the best counts for it."""
        return self.tt - self.st**2 / _positive(self.ss)

    @property
    def profiled_slope(self) -> Array:
        """Slope in the shape of the gain at the best counts for it."""
        return self.slope_t - self.st * self.slope_s / _positive(self.ss)


def curvature(sums: PairSums, counts: Array) -> Curvature:
    """Return slopes and second derivatives at some counts."""
    s1, s2, r1, r2, t1, _ = sums
    return Curvature(s1 - 1, counts * r1, s2, counts * r2 - r1, -counts * t1)


def pair_terms(
    n: Array, q: Array, counts: Array, slope: Array, bend: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Return one bin's share of `PairSums`, from ``q`` and the derivatives of ``log h``."""
    nq = n * q
    first = nq * slope
    return nq, nq * q, first, first * q, nq * ((1 - counts * q) * slope**2 + bend)


def _positive(number: Array) -> Array:
    return jnp.maximum(number, jnp.finfo(number.dtype).tiny)


class Pair(NamedTuple):
    """Counts and shape on the way to their best, and the bracket that the shape is in."""

    counts: Array
    shape: Array
    low: Array
    high: Array
    niter: Array
    last_step: Array  # size of the last step, in errors


class Tried(NamedTuple):
    """The best of several shapes, each with the counts that suit it."""

    gain: Array  # over norm 0; 0 where no shape has a positive norm
    counts: Array
    which: Array  # index of the shape


def best_of(family: Family, shapes: Array, start: Array) -> Tried:
    """Fit the counts at each of some shapes, and return the best."""
    zero, one = jnp.zeros_like(start), jnp.ones_like(start)

    def visit(
        state: tuple[Tried, Array], item: tuple[Array, Array]
    ) -> tuple[tuple[Tried, Array], None]:
        best, before = state
        which, shape = item
        at = jnp.broadcast_to(shape, start.shape)
        held = family.held(at)
        counts = newton(
            held.scores,
            before,
            zero,
            one,
            n_sweeps=_FIRST_SWEEPS,
        ).norm
        gain = jnp.where(counts > 0, held.gain(counts) - counts, 0)
        better = gain > best.gain
        new = (gain, counts, jnp.broadcast_to(which, best.which.shape))
        best = Tried(*(jnp.where(better, a, b) for a, b in zip(new, best, strict=True)))
        return (best, jnp.where(counts > 0, counts, before)), None

    many = jnp.arange(len(shapes), dtype=jnp.int32)
    first = Tried(zero, zero, jnp.zeros(start.shape, jnp.int32))
    return lax.scan(visit, (first, start), (many, shapes))[0][0]


def started(tried: Tried, shapes: Array) -> Pair:
    """Return where to climb from: the best of the shapes, between the first and the last."""
    at = shapes[tried.which]
    none = jnp.zeros(at.shape, jnp.int32)
    low, high = jnp.full_like(at, shapes[0]), jnp.full_like(at, shapes[-1])
    return Pair(tried.counts, at, low, high, none, jnp.full_like(at, jnp.inf))


def climbed(
    family: Family,
    start: Pair,
    limits: Array,
    wanted: Array,
    n_sweeps: Array | int,
    tolerance: float,
) -> tuple[Pair, PairSums, Pair]:
    """Climb to the best counts and shape; return also the sums, and where, before the last step."""

    def going(state: tuple[Array, Pair, PairSums, Pair]) -> Array:
        index, pair, *_ = state
        return (index < n_sweeps) & (wanted & (pair.last_step > tolerance)).any()

    def sweep(state: tuple[Array, Pair, PairSums, Pair]) -> tuple[Array, Pair, PairSums, Pair]:
        index, pair, *_ = state
        sums = family.pairs(pair.counts, pair.shape)
        return index + 1, _stepped(pair, sums, limits), sums, pair

    zero = jnp.zeros_like(start.counts)
    first = (jnp.zeros((), jnp.int32), start, PairSums(*(zero,) * 6), start)
    _, pair, sums, before = lax.while_loop(going, sweep, first)
    return pair, sums, before


def _stepped(pair: Pair, sums: PairSums, limits: Array) -> Pair:
    """Take Newton's step, inside the bracket."""
    counts, shape, low, high, niter, _ = pair
    bend = curvature(sums, counts)
    safe, slope, steep = _positive(bend.ss), bend.profiled_slope, bend.profiled
    # a bracket ends where the slope is known: where the counts are the best for the shape
    near = bend.slope_s**2 <= _NEAR * safe
    low = jnp.where(near & (slope > 0), jnp.maximum(low, shape), low)
    high = jnp.where(near & (slope < 0), jnp.minimum(high, shape), high)
    ahead = jnp.where(slope > 0, high, low)
    newton_step = jnp.where(steep > 0, slope / _positive(steep), ahead - shape)
    aim = jnp.clip(shape + jnp.clip(newton_step, -_LONGEST, _LONGEST), low, high)
    # beyond what is known to be too far, half the way; a limit is looked at first
    known = (aim == ahead) & (ahead > limits[0]) & (ahead < limits[-1])
    move = jnp.where(known, 0.5 * (shape + ahead), aim) - shape
    step = (sums.s1 / safe) * bend.slope_s - bend.st / safe * move
    moved = jnp.clip(counts + step, counts / 8, 8 * counts + 1)
    size = jnp.maximum(
        jnp.where(
            steep > 0, jnp.abs(move) * jnp.sqrt(jnp.maximum(steep, 0)), (high - low) / _LONGEST
        ),
        jnp.abs(moved - counts) * jnp.sqrt(bend.ss),
    )
    return Pair(moved, shape + move, low, high, niter + 1, size)


def polynomial(coefficients: Sequence[Array] | Array, at: Array) -> tuple[Array, Array, Array]:
    """Return ``sum_i c_i z^i``, from i = 1 on, with its first two derivatives."""
    value = slope = bend = None
    for c in reversed(list(coefficients)):
        if value is None or slope is None or bend is None:
            value, slope, bend = c, jnp.zeros_like(c), jnp.zeros_like(c)
            continue
        bend = bend * at + slope
        slope = slope * at + value
        value = value * at + c
    assert value is not None
    assert slope is not None
    assert bend is not None
    # times z
    return value * at, slope * at + value, 2 * (bend * at + slope)


def log_total(
    share: Array, coefficients: Array, at: Array, axis: int = 0
) -> tuple[Array, Array, Array]:
    """Return ``log sum_e f_e exp(p_e(z))`` with its first two derivatives."""
    value, slope, bend = polynomial(coefficients, jnp.expand_dims(at, axis))
    seen = share > 0
    log_share = jnp.log(jnp.where(seen, share, 1))
    value = jnp.where(seen, value + log_share, -jnp.inf)
    top = lax.stop_gradient(value.max(axis=axis))
    top = jnp.where(jnp.isfinite(top), top, 0)
    part = jnp.where(seen, jnp.exp(value - jnp.expand_dims(top, axis)), 0)
    total = part.sum(axis=axis)
    safe = jnp.where(total > 0, total, 1)
    part = part / jnp.expand_dims(safe, axis)
    first = (part * slope).sum(axis=axis)
    second = (part * (bend + slope**2)).sum(axis=axis) - first**2
    return jnp.log(safe) + top, first, second


def covariance(
    sums: PairSums, counts: Array, log_slope: Array
) -> tuple[Array, Array, Array, Array]:
    """Return relative variance of the norm, variance of the shape, covariance; and if they are."""
    # the norm is the counts over ``M(t)``, `log_slope` being the derivative of its logarithm
    bend = curvature(sums, counts)
    own = bend.profiled
    fine = (own > 0) & (bend.ss > 0)
    var_t = 1 / jnp.where(fine, own, 1)
    scale = 1 / jnp.where(counts > 0, counts, 1)
    slope = log_slope + scale * bend.st / _positive(bend.ss)
    return scale**2 / _positive(bend.ss) + slope**2 * var_t, var_t, -slope * var_t, fine


def grid_of_shapes(low: float, high: float, fixed: float, many: int = 5) -> np.ndarray:
    """Return shapes to try first, from the lowest to the highest, the fixed one among them."""
    plain = np.linspace(low, high, many)
    inner = plain[1:-1]
    if low < fixed < high:
        # the fixed shape takes the place of the one that is closest to it
        inner = inner.copy()
        inner[np.argmin(np.abs(inner - fixed))] = fixed
    return np.array([low, *np.sort(inner), high])
