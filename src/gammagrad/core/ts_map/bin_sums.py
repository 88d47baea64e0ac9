"""Sums over the bins of many pixels that lie side by side in memory, and their profiles."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad.core.norm import (
    AsimovSums,
    ProfileSums,
    asimov_from_contrast,
    lower_step,
    one_bin_rise,
    rise,
    upper_step,
)
from gammagrad.core.stats import (
    GainSums,
    ScoreSums,
    contrast_scores,
    gain_terms,
    log,
    log1p_inside,
    reciprocal,
)

LEAD = jnp.float32
"""Precision of the first sweeps."""

CEILING = 1e12
"""Largest contrast in single precision: its square, and that of its inverse, must not vanish."""

_SMALLEST = 1e-30
"""Contrast in single precision below which digits are lost."""

ROWS = 16
"""Rows summed in one step: as many as compilers unroll, so that they vectorise over pixels."""

WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}
"""What the compiler is told: by default it takes half of a processor's widest vectors."""

LOG_ROWS = 4
"""The same for several terms of which one has a logarithm; more rows take thrice as long."""

_GAIN_ROWS = 8
"""The same for a term with a logarithm alone."""

_MOST_SWEEPS = 12
_MOST_DESCENTS = 40
"""More, as a guess that is kept may lie far above, and brackets are halved on the way down."""

# relative step after which the next is below rounding, as the error is cubed
_LAST_STEP = 1e-4

Terms = Callable[..., tuple[Array, ...]]


class WholeCounts(NamedTuple):
    """How bins whose counts are whole numbers share a logarithm."""

    digits: int  # binary digits of the largest number of counts
    rows: int  # bins under one logarithm
    # least, most: range of the factors of their product, which must be a number in double precision
    least: float
    most: float


class Edge(NamedTuple):
    """What the occupied bins say about where a best fit can be, shape (pixels, tiles)."""

    steepest: Array  # largest contrast; 0 without bins
    proven: Array  # norm that the best fit cannot lie below; minus infinity without bins

    def inside(self) -> Edge:
        """Return the same, inside the logarithm's domain where the norm is lost in rounding."""
        limit = -(1 - 4 * jnp.finfo(self.steepest.dtype).eps) / self.steepest
        return self._replace(proven=jnp.maximum(self.proven, limit))


class Blocks(NamedTuple):
    """Bins in blocks of some rows."""

    # returns the weights, shape (rows, 1, tiles), and contrasts, shape (rows, pixels, tiles), of a
    # block
    take: Callable[[Array], tuple[Array, ...]]
    number: Array | int  # how many there are
    zero: Array  # zeros of the shape (pixels, tiles) and precision of sums

    def visited(self, visit: Visit, first: tuple[Array, ...]) -> tuple[Array, ...]:
        """Go through all blocks with what was found before."""
        number = jnp.asarray(self.number, jnp.int32)
        return lax.fori_loop(np.int32(0), number, partial(visit, self), first)


Visit = Callable[[Blocks, Array, tuple[Array, ...]], tuple[Array, ...]]


class Parts(NamedTuple):
    """Bins in parts of several blocks, whose contrasts are made together."""

    take: Callable[[Array], Blocks]  # returns the blocks of a part
    number: Array | int  # how many parts there are
    zero: Array  # see `Blocks`

    def visited(self, visit: Visit, first: tuple[Array, ...]) -> tuple[Array, ...]:
        """Go through the blocks of all parts, see `Blocks.visited`."""
        number = jnp.asarray(self.number, jnp.int32)

        def visit_part(index: Array, found: tuple[Array, ...]) -> tuple[Array, ...]:
            return self.take(index).visited(visit, found)

        return lax.fori_loop(np.int32(0), number, visit_part, first)


def _joined(
    operation: Callable[[Array, Array], Array], some: tuple[Array, ...], more: tuple[Array, ...]
) -> tuple[Array, ...]:
    return tuple(operation(a, b) for a, b in zip(some, more, strict=True))


def _over(
    blocks: Blocks | Parts,
    terms: Terms,
    number: int,
    operation: Callable[[Array, Array], Array],
    neutral: float,
) -> tuple[Array, ...]:
    """Join terms over bins."""
    if number == 1:
        # two reductions in one are compiled to faster code than one alone
        return _over(blocks, lambda *bins: tuple(terms(*bins)) * 2, 2, operation, neutral)[:1]
    start = (np.asarray(neutral, blocks.zero.dtype),) * number
    joined = partial(_joined, operation)

    def visit(blocks: Blocks, index: Array, found: tuple[Array, ...]) -> tuple[Array, ...]:
        return joined(found, lax.reduce(tuple(terms(*blocks.take(index))), start, joined, (0,)))

    first = (blocks.zero + start[0],) * number
    return blocks.visited(visit, first)


def sums_over(blocks: Blocks | Parts, terms: Terms, number: int) -> tuple[Array, ...]:
    """Sum terms over bins."""
    return _over(blocks, terms, number, operator.add, 0)


def largest_over(blocks: Blocks | Parts, terms: Terms, number: int) -> tuple[Array, ...]:
    """Return the largest terms of bins, minus infinity without any; see `sums_over`."""
    return _over(blocks, terms, number, jnp.maximum, -np.inf)


def products_over(blocks: Blocks | Parts, factors: Terms, number: int) -> tuple[Array, ...]:
    """Sum the logarithms of products of factors over the rows of a block; see `sums_over`."""
    one = (np.asarray(1, blocks.zero.dtype),) * number
    times, plus = partial(_joined, operator.mul), partial(_joined, operator.add)

    def visit(blocks: Blocks, index: Array, found: tuple[Array, ...]) -> tuple[Array, ...]:
        products = lax.reduce(tuple(factors(*blocks.take(index))), one, times, (0,))
        return plus(found, tuple(log(product) for product in products))

    first = (blocks.zero,) * number
    return blocks.visited(visit, first)


class BinSums:
    """Sums over bins: what stored and computed contrasts have in common."""

    __slots__ = ()

    @abstractmethod
    def blocks(self, rows: int = ROWS) -> Blocks | Parts:
        """Return the bins in blocks of so many rows."""

    @abstractmethod
    def weights_in_use(self) -> Array:
        """Return the weights of the bins, shape (rows, tiles), 0 where there is no bin."""

    def total(self, terms: Terms, number: int, rows: int = ROWS) -> tuple[Array, ...]:
        """Sum terms over the bins of every pixel, so many rows at a time; see `sums_over`."""
        return sums_over(self.blocks(rows), terms, number)

    def scores(self, norm: Array) -> ScoreSums:
        """Sum the scores at a norm."""
        return ScoreSums(*self.total(lambda n, g: contrast_scores(norm[None], n, g), 2))

    def gains(self, norm: Array) -> GainSums:
        """Sum the gains over norm 0, and their derivatives."""
        # apart, as terms with a logarithm are best taken in smaller numbers
        (gain,) = self.total(lambda n, g: gain_terms(norm[None], n, g)[:1], 1, _GAIN_ROWS)
        return GainSums(gain, *self.total(lambda n, g: gain_terms(norm[None], n, g)[1:], 3))

    def gain(self, norm: Array) -> Array:
        """Sum the gains over norm 0; minus infinity where counts meet no prediction."""
        return self.total(lambda n, g: (_gain(n, g, norm[None] * g),), 1, LOG_ROWS)[0]

    def gains_of_whole(self, norms: tuple[Array, ...], way: WholeCounts) -> tuple[Array, ...]:
        """Sum the gains at several norms, several bins under one logarithm."""
        # For weights that are whole numbers. In double precision the result is off by the rounding
        # of some products for each logarithm; it has no meaning where a weight or a factor ``1 +
        # norm * contrast`` is larger or smaller than `way` has it.

        def power(number: Array, factor: Array) -> Array:
            value = jnp.where(number & 1 > 0, factor, 1)
            for digit in range(1, way.digits):
                factor = factor * factor
                value = value * jnp.where((number >> digit) & 1 > 0, factor, 1)
            return value

        def factors(n: Array, g: Array) -> tuple[Array, ...]:
            number = n.astype(jnp.int32)
            return tuple(
                power(number, jnp.clip(1 + norm[None] * g, way.least, way.most)) for norm in norms
            )

        return products_over(self.blocks(way.rows), factors, len(norms))

    def asimov(self, norm: Array) -> AsimovSums:
        """Sum half the Asimov statistic and its derivatives, the weights being backgrounds."""
        return AsimovSums(
            *self.total(lambda b, g: asimov_from_contrast(norm[None], b, g), 3, LOG_ROWS)
        )

    def sums_from(self, base: Array) -> Callable[[Array], ProfileSums]:
        """Return the profile's sums as a function of the step from a base norm."""

        def sums(step: Array) -> ProfileSums:
            def terms(n: Array, g: Array) -> tuple[Array, ...]:
                shifted = _shifted(g, base)
                z = step[None] * shifted
                slope = shifted * reciprocal(jnp.maximum(1 + z, jnp.finfo(z.dtype).tiny))
                return _gain(n, g, z), n * slope, n * slope * slope

            return ProfileSums(*self.total(terms, 3, LOG_ROWS))

        return sums


def _shifted(contrast: Array, base: Array) -> Array:
    """Return the contrasts seen from a base norm, ``g / (1 + x0 g)``."""
    eps = jnp.finfo(contrast.dtype).eps
    return contrast * reciprocal(jnp.maximum(1 + base[None] * contrast, eps))


def _gain(counts: Array, contrast: Array, z: Array) -> Array:
    """Return ``n log(1 + z)``, minus infinity where counts meet no prediction."""
    gain = counts * log1p_inside(jnp.maximum(z, -1 + jnp.finfo(z.dtype).eps))
    return jnp.where((counts > 0) & (contrast > 0) & (z <= -1), -jnp.inf, gain)


class Lead(NamedTuple):
    """Bins in single precision."""

    bins: BinSums  # for norms times `unit`
    unit: Array  # about the model counts at norm 1, broadcast against (pixels, tiles)

    def lost_at(self, norm: Array) -> Array:
        """Return how far the gain falls to a norm below 0, as far as single precision knows."""
        at, least = (norm * self.unit).astype(LEAD)[None], -1 + jnp.finfo(LEAD).eps
        at = jnp.maximum(at, -1 / _SMALLEST)

        def terms(n: Array, g: Array) -> tuple[Array]:
            return (n * log1p_inside(jnp.maximum(at * g, least)),)

        return -self.bins.total(terms, 1, LOG_ROWS)[0].astype(norm.dtype)


class BinProfile(NamedTuple):
    """The likelihood profiles of pixels side by side."""

    bins: BinSums  # the occupied bins
    model_sum: Array  # sum of the model counts at norm 1, > 0
    steepest: Array  # largest contrast of a pixel's occupied bins; 0 without any

    def sums_from(self, base: Array) -> Callable[[Array], ProfileSums]:
        """Return the sums as a function of the step from a base norm."""
        return self.bins.sums_from(base)

    def up(self, base: Array, target: Array) -> Array:
        """Return the step upwards from a base over which the statistic rises by a target."""
        s1, s2 = self.bins.scores(base)
        start = one_bin_rise(target, s1, s2, self.model_sum)
        return upper_step(
            self.sums_from(base), start, self.model_sum, target, _MOST_SWEEPS, _LAST_STEP
        )

    def down(self, base: Array, target: Array, bound: Array) -> Array:
        """Return the step downwards from a best fit, or that to the physical bound."""
        gain, s1, s2, _ = self.bins.gains(base)
        end = bound - base
        seen = self.steepest > 0
        # where the first occupied bin's prediction vanishes, the statistic is infinite
        pole = base + 1 / jnp.where(seen, self.steepest, 1)
        pole = jnp.where(seen, -pole * (1 - jnp.finfo(pole.dtype).eps), -jnp.inf)
        start = one_bin_rise(target, s1, s2, self.model_sum, downwards=True)
        start = jnp.where(self.ends_at(base, gain, s2, bound, target), end, start)
        return lower_step(
            self.sums_from(base),
            start,
            pole,
            end,
            self.model_sum,
            target,
            _MOST_DESCENTS,
            _LAST_STEP,
        )

    def ends_at(
        self,
        best: Array,
        gain: Array,
        s2: Array,
        bound: Array,
        target: Array | float,
        lead: Lead | None = None,
    ) -> Array:
        """Tell where the profile is still below a target when it reaches the physical bound."""
        end = bound - best
        # the curvature grows downwards: where the parabola has risen by more, so has the profile
        near = s2 * end**2 <= 1.001 * target
        # where the bound is an occupied bin's, the statistic is infinite
        near &= bound * self.steepest > -1 + 4 * jnp.finfo(bound.dtype).eps

        def look(_: None) -> Array:
            return rise(end, self.bins.gain(bound) - gain, self.model_sum) <= target

        def decide(_: None) -> Array:
            if lead is None:
                return look(None)
            lost = lead.lost_at(bound)
            risen = rise(end, -lost - gain, self.model_sum)
            # where a logarithm's argument is close to 0, rounding moves it by up to a tenth
            off = jnp.where(bound * self.steepest > -0.99, 2e-5, 0.1)
            off = off * (lost + jnp.abs(gain) - end * self.model_sum)
            # in its units the bound may overflow
            off = jnp.where(bound * lead.unit > -1 / _SMALLEST, off, jnp.inf)
            unsure = near & (end < 0) & (jnp.abs(risen - target) <= off)
            return lax.cond(unsure.any(), look, lambda _: risen <= target, None)

        return lax.cond((near & (end < 0)).any(), decide, lambda _: end >= 0, None) & near


# most bins have few counts where there are many of them; the numbers of rows were measured
_WAYS = (WholeCounts(2, 8, 1e-10, 1e12), WholeCounts(4, 4, 1e-5, 1e5))


def scan(profile: BinProfile, bound: Array, values: Array) -> Array:
    """Return the statistic at given norms less that at norm 0."""
    # Where the counts of all bins are whole numbers below 16, as they are where bins are many,
    # several bins share a logarithm.

    def plainly(_: None) -> Array:
        return _scanned(profile, bound, values, lambda at: tuple(map(profile.bins.gain, at)), 1)

    if bound.dtype != jnp.float64:  # single precision has no room for products
        return plainly(None)

    def by_products(way: WholeCounts) -> Callable[[None], Array]:
        gains = partial(profile.bins.gains_of_whole, way=way)
        # two reductions in one are compiled to faster code than one alone
        return lambda _: _scanned(profile, bound, values, gains, 2)

    weights = profile.bins.weights_in_use()
    whole = (weights == jnp.round(weights)).all()
    factor = 1 + values[:, None, None] * profile.steepest[None]
    below = values[:, None, None] < bound[None]

    def fits(way: WholeCounts) -> Array:
        inside = ((factor > way.least) & (factor < way.most)) | below
        return whole & (weights.max() < 2**way.digits) & inside.all()

    first, second = map(fits, _WAYS)
    chosen = jnp.where(first, 1, jnp.where(second, 2, 0))
    return lax.switch(chosen, [plainly, *map(by_products, _WAYS)], None)


def _scanned(
    profile: BinProfile,
    bound: Array,
    values: Array,
    gains: Callable[[tuple[Array, ...]], tuple[Array, ...]],
    together: int,
) -> Array:
    """Scan some norms at a time."""
    groups = jnp.pad(values, (0, -len(values) % together), mode="edge").reshape(-1, together)

    def visit(at: tuple[Array, ...]) -> Array:
        risen = (rise(x, g, profile.model_sum) for x, g in zip(at, gains(at), strict=True))
        return jnp.stack([jnp.where(x < bound, jnp.inf, r) for x, r in zip(at, risen, strict=True)])

    def scanned(group: Array) -> Array:
        at = tuple(jnp.broadcast_to(value, bound.shape) for value in group)
        # most negative norms are below every pixel's bound
        seen = (group.max() >= bound).any()
        return lax.cond(seen, visit, lambda at: jnp.full((together, *bound.shape), jnp.inf), at)

    return lax.map(scanned, groups).reshape(-1, *bound.shape)[: len(values)]
