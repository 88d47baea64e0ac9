"""Traced work on one chunk of tiles whose pixels fit a norm and an index."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    LEAST_GAIN,
    FitOptions,
    Pair,
    PairSums,
    best_of,
    climbed,
    covariance,
    curvature,
    log_total,
    polynomial,
    started,
)
from gammagrad.core.stats import exp_inside, log1p_inside
from gammagrad.core.ts_map.bin_sums import (
    LEAD,
    LOG_ROWS,
    ROWS,
    WIDE_VECTORS,
    BinProfile,
    Blocks,
    Lead,
    sums_over,
)
from gammagrad.core.ts_map.bins import PIXELS
from gammagrad.core.ts_map.chunk import TileInputs, prepare, solve
from gammagrad.core.ts_map.flat import FlatBins
from gammagrad.core.ts_map.listed import Gathered, Lists, Workspace, for_pixels, side_by_side

_LEAD_STEP = 3e-3
"""Step in errors at which sweeps in single precision end."""

_STEP = 1e-4
"""The same in the precision of the data: what is left is a part of its square."""

_SAME = 1e-5
"""Difference from a limit that is rounding of single precision."""

_TOGETHER = 64
"""Rows whose change is made together."""

_STEEPEST = 80.0
"""Largest logarithm of a change, so that its exponential is finite in single precision."""


class IndexBins(NamedTuple):
    """How all bins change with the index."""

    # polynomials: of the counts of a bin, shape (bins, powers), or None where pixels have their
    # own; of the kernel, shape (places, powers, pixels), which fewer powers describe
    counts: Array | None
    kernel: Array


class IndexTiles(NamedTuple):
    """What a chunk needs to know for an index of its tiles' pixels, which lie side by side."""

    share: Any  # part of each image in the sum of the model, shape (images, 1, pixels)
    change: Any  # polynomials of its logarithm, shape (powers, images, 1, pixels)
    # polynomials of the counts of positions, same shape; None where bins have their own
    counts: Any = None


class IndexSpace(NamedTuple):
    """The memory of a chunk, handed on to the next."""

    lists: Workspace
    # polynomials of listed bins: of what differs from pixel to pixel, shape (powers, rows, tiles,
    # pixels), and of what does not, shape (powers, rows, tiles), if it is apart
    powers: Array
    counts: Array | None


class _ListedFamily(NamedTuple):
    """The listed bins of pixels side by side, see `gammagrad.core.norm.Family`."""

    bins: Gathered
    powers: Array  # see `IndexSpace`, the pixels of tiles side by side
    counts: Array | None
    tiles: IndexTiles
    unit: Array  # what the contrasts are still to be divided by
    with_gain: bool  # whether `pairs` has the gain too

    def total(self, shape: Array) -> tuple[Array, Array, Array]:
        """Return the logarithm of the sum of the model per `unit`, and two derivatives."""
        share, change = (a.astype(shape.dtype) for a in (self.tiles.share, self.tiles.change))
        return log_total(share, change, shape)

    def held(self, shape: Array) -> Gathered:
        """Return the bins at a shape that is kept."""
        total, contrast = self.total(shape.astype(LEAD))[0], self.bins.contrast
        blocks = -(-self.bins.n_rows // _TOGETHER)

        def change(index: Array, store: Array) -> Array:
            h = self._changed(index * _TOGETHER, shape, total)
            zero = np.int32(0)
            return lax.dynamic_update_slice(store, h, (index * np.int32(_TOGETHER), zero))

        changed = lax.fori_loop(np.int32(0), blocks, change, jnp.zeros_like(contrast))
        return self.bins._replace(contrast=changed)

    def _changed(self, at: Array, shape: Array, total: Array) -> Array:
        """Return the contrasts of some rows per count of the source at a shape."""
        value, *_ = self._change(at, shape)
        change = jnp.clip(value - total, -_STEEPEST, _STEEPEST)
        factor = exp_inside(change).astype(self.unit.dtype) * (1 / self.unit)
        return lax.dynamic_slice_in_dim(self.bins.contrast, at, _TOGETHER) * factor

    def _change(self, at: Array, shape: Array) -> tuple[Array, Array, Array]:
        """Return the logarithm of the change of some rows, and its first two derivatives."""
        # in single precision, as the polynomials are
        shape = shape.astype(LEAD)

        def rows(array: Array) -> Array:
            return lax.dynamic_slice_in_dim(array, at, _TOGETHER)

        found = polynomial([rows(own) for own in self.powers], shape)
        if self.counts is None:
            return found
        more = polynomial([for_pixels(rows(own)) for own in self.counts], shape)
        return found[0] + more[0], found[1] + more[1], found[2] + more[2]

    def pairs(self, counts: Array, shape: Array) -> PairSums:
        """Return all sums."""
        total, blocks = self.total(shape.astype(LEAD)), -(-self.bins.n_rows // _TOGETHER)
        zero = jnp.zeros_like(counts)

        def visit(index: Array, found: tuple[Array, ...]) -> tuple[Array, ...]:
            own = self._part(index * _TOGETHER, counts, shape, total)
            return tuple(a + b for a, b in zip(found, own, strict=True))

        return PairSums(*lax.fori_loop(np.int32(0), blocks, visit, (zero,) * 6))

    def _part(
        self, at: Array, counts: Array, shape: Array, total: tuple[Array, Array, Array]
    ) -> tuple[Array, ...]:
        """Return the sums over some rows."""
        dtype = self.bins.contrast.dtype

        def rows(array: Array) -> Array:
            return lax.dynamic_slice_in_dim(array, at, _TOGETHER)

        row = at + jnp.arange(_TOGETHER, dtype=jnp.int32)
        n = for_pixels(jnp.where((row < self.bins.n_rows)[:, None], rows(self.bins.counts), 0))
        value, slope, bend = self._change(at, shape)
        change = jnp.clip(value - total[0], -_STEEPEST, _STEEPEST)
        factor = exp_inside(change).astype(dtype) * (1 / self.unit)
        h = rows(self.bins.contrast) * factor
        q = _seen(h, counts)
        slope = (slope - total[1]).astype(dtype)
        bend = (bend - total[2]).astype(dtype)
        bent = (1 - counts * q) * slope * slope + bend
        # apart, and sums over few terms at a time: what compilers can turn into vectors
        made = lax.optimization_barrier((n * q, q, slope, bent))
        zero = jnp.zeros_like(counts)
        blocks, gain = _blocks_of(made, ROWS, zero), zero
        if self.with_gain:
            few = _blocks_of(lax.optimization_barrier((n, counts * h)), LOG_ROWS, zero)
            (gain,) = sums_over(few, lambda n, z: (n * log1p_inside(z),), 1)
        return (
            *sums_over(blocks, lambda nq, q, f, b: (nq, nq * q), 2),
            *sums_over(blocks, lambda nq, q, f, b: (nq * f, nq * q * f, nq * b), 3),
            gain,
        )


def _blocks_of(arrays: tuple[Array, ...], rows: int, zero: Array) -> Blocks:
    """Return what was made of `_TOGETHER` rows in blocks of so many."""

    def take(index: Array) -> tuple[Array, ...]:
        return tuple(lax.dynamic_slice_in_dim(a, index * rows, rows)[:, None] for a in arrays)

    return Blocks(take, _TOGETHER // rows, zero)


def _seen(h: Array, counts: Array) -> Array:
    """Return the contrasts seen from some counts of the source."""
    return h / (1 + counts * h)


@compiled(static=("rows", "tiles", "powers", "apart", "dtype"))
def empty_space(*, rows: int, tiles: int, powers: int, apart: int, dtype: Any) -> IndexSpace:
    """Return zeros of the shape of the memory of a chunk."""
    # apart: powers of what does not differ from pixel to pixel
    full, lead = (
        (jnp.zeros((rows, tiles), d), jnp.zeros((rows, tiles, PIXELS), d)) for d in (dtype, LEAD)
    )
    counts = jnp.zeros((apart, rows, tiles), LEAD) if apart else None
    own = jnp.zeros((powers, rows, tiles, PIXELS), LEAD)
    return IndexSpace(Workspace(full, lead), own, counts)


def _gathered(
    flat: FlatBins, family: IndexBins, lists: Lists, tiles: IndexTiles, space: IndexSpace
) -> tuple[Array, Array | None]:
    """Gather the polynomials of listed bins."""
    number = space.powers.shape[-2]
    tile = jnp.arange(number, dtype=jnp.int32)[None]
    zero = np.int32(0)

    def copy(index: Array, store: tuple[Array, Array | None]) -> tuple[Array, Array | None]:
        row = index * np.int32(ROWS)
        which, place = lists.rows(row, ROWS)
        which, place = lax.optimization_barrier((which, place))
        own = jnp.stack([family.kernel[place, k] for k in range(family.kernel.shape[1])])
        powers, counts = store
        if family.counts is not None:
            assert counts is not None
            more = jnp.moveaxis(family.counts[which], 2, 0).astype(counts.dtype)
            counts = lax.dynamic_update_slice(counts, more, (zero, row, zero))
        else:
            assert flat.image is not None
            image = flat.image[place]
            of_image = tiles.counts.reshape(*tiles.counts.shape[:2], number, PIXELS)
            few = jnp.pad(own, ((0, len(of_image) - len(own)), *((0, 0),) * 3))
            own = few + of_image[:, image, tile]
        own = own.astype(powers.dtype)
        return lax.dynamic_update_slice(powers, own, (zero, row, zero, zero)), counts

    return lax.fori_loop(zero, lists.n_rows // ROWS, copy, (space.powers, space.counts))


@compiled(static=("n_sweeps",), donate_argnames="space", compiler_options=WIDE_VECTORS)
def fit_index_chunk(
    flat: FlatBins,
    family: IndexBins,
    lists: Lists,
    tiles: TileInputs,
    own: IndexTiles,
    tried: Array,
    options: FitOptions,
    space: IndexSpace,
    most: tuple[Array, Array],
    *,
    n_sweeps: int,
) -> tuple[IndexSpace, dict[str, Array]]:
    """Fit norm and index of one chunk of tiles, and the norm at the fixed index."""
    total = tiles.model_sum
    lists_space, ready = prepare(flat, lists, tiles, space.lists)
    assert lists_space is not None
    root, gain, s2 = solve(ready, tiles, options.rtol, n_sweeps)
    profile = BinProfile(ready.full, total, ready.edge.steepest)
    quickly, target = Lead(ready.lead, ready.unit), options.n_sigma**2
    found = {
        "norm": root.norm,
        "s2": s2,
        "gain": gain,
        "niter": root.niter,
        "last_step": root.last_step,
        "has_counts": ready.edge.steepest > 0,
        "error_at_bound": profile.ends_at(root.norm, gain, s2, tiles.bound, target, quickly),
    }
    powers = _gathered(flat, family, lists, own, space)
    full, lead = lists_space.lists(lists.n_rows)
    one = jnp.ones(total.shape, LEAD)
    line = side_by_side(powers[0]), powers[1]
    quick = _ListedFamily(lead, *line, own, one, with_gain=False)
    exact = _ListedFamily(full, *line, own, total, with_gain=True)

    start = jnp.maximum(root.norm * total, 0).astype(LEAD)
    shapes = tried.astype(LEAD)
    first = best_of(quick, shapes, start)
    wanted = (first.gain > LEAST_GAIN) & (own.share.sum(axis=0) > 0)
    pair, *_ = climbed(quick, started(first, shapes), shapes, wanted, most[0], _LEAD_STEP)
    return IndexSpace(lists_space, *powers), found | _finished(exact, pair, tried, wanted, most[1])


def _finished(
    family: _ListedFamily, lead: Pair, limits: Array, wanted: Array, most: Array
) -> dict[str, Array]:
    """Polish counts and index in the precision of the data; return what is known of them there."""
    dtype = family.unit.dtype
    first = Pair(*(a if a.dtype == jnp.int32 else a.astype(dtype) for a in lead))
    low, high = (jnp.full_like(first.shape, end) for end in (limits[0], limits[-1]))
    # a limit in single precision is that of the data
    shape = jnp.where(first.shape < low + _SAME, low, first.shape)
    shape = jnp.where(shape > high - _SAME, high, shape)
    first = first._replace(low=low, high=high, shape=shape)
    first = first._replace(last_step=jnp.full_like(first.counts, jnp.inf))
    pair, sums, before = climbed(family, first, limits, wanted, most, _STEP)
    # the gain before the last step, and what the step adds
    bend = curvature(sums, before.counts)
    added = bend.slope_s * (pair.counts - before.counts)
    added = added + bend.slope_t * (pair.shape - before.shape)
    gain = sums.gain - before.counts + added / 2
    log_sum, slope, _ = family.total(pair.shape)
    variance, var_shape, cov, fine = covariance(sums, before.counts, slope)
    return {
        "free_counts": pair.counts,
        "free_sum": family.unit * jnp.exp(log_sum),
        "free_shape": pair.shape,
        "free_gain": gain,
        "free_variance": variance,
        "free_var_shape": var_shape,
        "free_cov": cov,
        "free_fine": fine & wanted,
        "free_alone": 1 / jnp.maximum(sums.s2, jnp.finfo(dtype).tiny),
        "free_at_limit": wanted & (pair.low == pair.high),
        "free_niter": pair.niter,
        "free_last_step": jnp.where(wanted, pair.last_step, 0),
        "free_wanted": wanted,
    }
