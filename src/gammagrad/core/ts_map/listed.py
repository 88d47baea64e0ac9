"""Lists of bins, gathered into memory that one chunk of tiles hands on to the next."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.ts_map.bin_sums import CEILING, LEAD, ROWS, BinSums, Blocks, Edge
from gammagrad.core.ts_map.bins import PIXELS, TILE, TilePlan
from gammagrad.core.ts_map.blended import TileBlend, listed_contrast
from gammagrad.core.ts_map.flat import FlatBins, in_a_row, listed_room
from gammagrad.core.ts_map.places import placed_contrast
from gammagrad.core.ts_map.windowed import TileWindows

_ROWS_PLACED = 128
"""Rows gathered at a time from grids that differ: all capacities are multiples of it."""


def for_pixels(of_bins: Array) -> Array:
    """Repeat what belongs to the bins of tiles for each pixel, shape (..., tiles times pixels)."""
    repeated = jnp.broadcast_to(of_bins[..., None], (*of_bins.shape, PIXELS))
    # apart: loops over the pixels of one tile are too short to become vectors
    return lax.optimization_barrier(side_by_side(repeated))


def side_by_side(tiles: Array) -> Array:
    """Put the pixels of tiles, shape (..., tiles, pixels), into one axis."""
    return tiles.reshape(*tiles.shape[:-2], -1)


_TOGETHER = 64
"""Rows gathered, at least, before they are brought into single precision."""


class _Stored(NamedTuple):
    counts: Array
    contrast: Array
    n_rows: Array


class Gathered(_Stored, BinSums):
    """Lists of bins: row `i` has the `i`-th bin of every tile, and its contrasts of every pixel.

    Counts have the shape (rows, tiles), contrasts (rows, tiles times pixels), the pixels of a tile
    side by side, as those of its kernel table are. What belongs to pixels is one row of them.
    """

    __slots__ = ()

    def blocks(self, rows: int = ROWS) -> Blocks:
        """Return the bins in blocks, see `BinSums`."""

        def take(index: Array) -> tuple[Array, Array]:
            counts = lax.dynamic_slice_in_dim(self.counts, index * rows, rows)
            contrast = lax.dynamic_slice_in_dim(self.contrast, index * rows, rows)
            return for_pixels(counts)[:, None], contrast[:, None]

        zero = jnp.zeros((1, self.contrast.shape[1]), self.contrast.dtype)
        return Blocks(take, self.n_rows // rows, zero)

    def weights_in_use(self) -> Array:
        """Return the weights of the bins, see `BinSums`."""
        row = jnp.arange(len(self.counts), dtype=jnp.int32)
        return jnp.where((row < self.n_rows)[:, None], self.counts, 0)


class Workspace(NamedTuple):
    """The memory that lists are gathered into, which one chunk hands on to the next."""

    # Weights, shape (rows, tiles), and contrasts, shape (rows, tiles, pixels): gathering into fewer
    # axes takes twice as long, and summing over more.
    full: tuple[Array, Array]  # in the precision of the data
    lead: tuple[Array, Array]  # the same in single precision, contrasts over the model sum

    def lists(self, n_rows: Array) -> tuple[Gathered, Gathered]:
        """Return the lists gathered here, in the precision of the data and in single precision."""
        full, lead = (Gathered(n, side_by_side(g), n_rows) for n, g in self)
        return full, lead

    @staticmethod
    def bytes_per_entry(dtype: Any) -> int:
        """Return the bytes that one row of one tile takes."""
        return (PIXELS + 1) * (np.dtype(dtype).itemsize + np.dtype(LEAD).itemsize)


@compiled(static=("rows", "tiles", "dtype"), quick=True)
def empty_workspace(
    *, rows: int, tiles: int, dtype: Any
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return zeros of the shape of a workspace, in the precision of the data and of the lead."""
    full, lead = (
        (jnp.zeros((rows, tiles), d), jnp.zeros((rows, tiles, PIXELS), d)) for d in (dtype, LEAD)
    )
    return full, lead


class ListTable(NamedTuple):
    """What belongs to listed bins, whichever tiles see them."""

    # row of the kernel table that holds each bin's place in a window with its corner at 0, shape
    # (listed,); for datasets on grids of their own the image of the bin, among those of all
    places: Any
    dummy: Any  # place of dummies
    # the bins among all bins, same shape; None where `FlatBins` has the listed ones alone
    bins: Any = None


class Lists(NamedTuple):
    """The listed bins of some tiles."""

    entries: Any  # numbers of listed bins, tile by tile, shape (entries,)
    table: ListTable  # what belongs to the listed bins
    # starts, lengths: where a tile's entries are, shape (tiles,)
    starts: Any
    lengths: Any
    corners: Any  # what a tile's places are counted from, same shape
    # bins of the longest list, rounded up to a multiple of `ROWS`
    n_rows: Any

    def rows(self, first: Array, number: int) -> tuple[Array, Array]:
        """Return some bins and places of each tile, a dummy beyond its last, (rows, tiles)."""
        row = first + jnp.arange(number, dtype=jnp.int32)[:, None]
        inside = row < self.lengths[None]
        which = self.entries[jnp.where(inside, self.starts[None] + row, 0)]
        # a dummy is any bin at a place where the kernel is zero
        place = self.table.places[which] - self.corners[None]
        place = jnp.where(inside, place, self.table.dummy)
        return which if self.table.bins is None else self.table.bins[which], place


def contrast_of(flat: FlatBins, blend: TileBlend | None, which: Array, place: Array) -> Array:
    """Return the contrasts of some rows of listed bins, shape (rows, tiles, pixels)."""
    # once for each bin, not again for each of its pixels
    share, place = lax.optimization_barrier((flat.share[:, which], place))
    if blend is None:
        # one component after the other: products of small matrices take many times as long
        parts = (own[..., None] * flat.table[place, c] for c, own in enumerate(share))
        return reduce(operator.add, parts)
    if flat.grids is None:
        return listed_contrast(flat, blend, share, place)
    return placed_contrast(flat, blend, share, which, place)


_Lead = tuple[tuple[Array, Array], Edge]
"""Lists in single precision, and what all bins so far say about the best fit."""


def rows_at_a_time(flat: FlatBins) -> int:
    """Return how many rows are gathered at a time: more where each takes many steps."""
    return ROWS if flat.grids is None else _ROWS_PLACED


def gather(
    flat: FlatBins,
    lists: Lists,
    model_sum: Array,
    space: Workspace,
    blend: TileBlend | None = None,
) -> tuple[Workspace, Edge]:
    """Gather listed bins into the workspace."""
    zero, rows = np.int32(0), rows_at_a_time(flat)  # those after the last are dummies
    together, per_model = max(rows, _TOGETHER), 1 / model_sum

    def copy(index: Array, store: tuple[Array, Array]) -> tuple[Array, Array]:
        which, place = lists.rows(index * rows, rows)
        contrast = contrast_of(flat, blend, which, place)
        return _put(store, index * rows, flat.counts[which], contrast)

    def scale(full: tuple[Array, Array], index: Array, lead: _Lead) -> _Lead:
        store, edge = lead
        bins = full[0], side_by_side(full[1])
        n, g = (lax.dynamic_slice_in_dim(array, index * ROWS, ROWS) for array in bins)
        # see `lower_start`; a bin without a model gives minus infinity
        found = lax.reduce(
            (g, for_pixels(n) * per_model - 1 / g),
            (np.zeros((), g.dtype), np.asarray(-np.inf, g.dtype)),
            lambda some, more: tuple(map(jnp.maximum, some, more)),
            (0,),
        )
        scaled = jnp.minimum(g * per_model, CEILING).reshape(ROWS, *full[1].shape[1:])
        edge = Edge(*(jnp.maximum(old, new[None]) for old, new in zip(edge, found, strict=True)))
        return _put(store, index * ROWS, n, scaled), edge

    def part(index: Array, state: tuple[tuple[Array, Array], _Lead]) -> Any:
        # what was copied is scaled while it is still in a processor's cache
        first = index * together
        last = jnp.minimum(first + together, lists.n_rows)
        full = lax.fori_loop(first // rows, -(-last // rows), copy, state[0])
        lead = lax.fori_loop(first // ROWS, last // ROWS, partial(scale, full), state[1])
        return full, lead

    nothing = Edge(jnp.zeros_like(model_sum), jnp.full_like(model_sum, -jnp.inf))
    state = space.full, (space.lead, nothing)
    full, (lead, edge) = lax.fori_loop(zero, -(-lists.n_rows // together), part, state)
    return Workspace(full, lead), edge.inside()


def _put(
    store: tuple[Array, Array], row: Array, weight: Array, contrast: Array
) -> tuple[Array, Array]:
    """Write some rows of weights and contrasts."""
    zero = np.int32(0)
    first, second = store
    return (
        lax.dynamic_update_slice(first, weight.astype(first.dtype), (row, zero)),
        lax.dynamic_update_slice(second, contrast.astype(second.dtype), (row, zero, zero)),
    )


CAPACITIES = (256, 1024, 4096, 16384, 65536)
"""Rows that a chunk's lists may have: few sizes, so that new data compile nothing new."""

PORTION = 2**20
"""Entries listed at a time, those included that fill them up: one size for almost all data."""


class Chunk(NamedTuple):
    """Some tiles and their bins."""

    tiles: np.ndarray  # the tiles; the last is repeated where there are too few
    number: int  # how many of them are not repetitions
    bins: Lists | TileWindows  # lists of their bins, or their windows
    capacity: int  # rows of the workspace that lists need

    def of_pixels(self, array: np.ndarray) -> np.ndarray:
        """Return what belongs to its pixels from an array of all tiles, (..., tiles, pixels)."""
        # side by side for lists, tiles last for windows
        own = np.take(array, self.tiles, axis=-2)
        if isinstance(self.bins, Lists):
            return in_a_line(own)
        return np.ascontiguousarray(own.swapaxes(-1, -2))

    def by_tile(self, values: np.ndarray) -> np.ndarray:
        """Undo `of_pixels` for what was found: (..., tiles, pixels), without repetitions."""
        if isinstance(self.bins, Lists):
            return values.reshape(*values.shape[:-2], -1, PIXELS)[..., : self.number, :]
        return values[..., : self.number].swapaxes(-1, -2)


def in_a_line(tiles: np.ndarray) -> np.ndarray:
    """Put the pixels of tiles, shape (..., tiles, pixels), side by side: (..., 1, pixels)."""
    return tiles.reshape(*tiles.shape[:-2], 1, -1)


def common_window(kernels: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Return the smallest window that holds all kernels."""
    return max(k[-2] for k in kernels), max(k[-1] for k in kernels)


class Listing(Protocol):
    """Bins that tiles list."""

    @property
    def lengths(self) -> np.ndarray:
        """How many bins each tile lists, shape (tiles,)."""
        ...

    def of_tiles(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the entries of some tiles, where each tile's begin, and their corners."""

    def table(self, alone: bool) -> ListTable:
        """Return what belongs to the listed bins, which are alone in arrays or among all bins."""


class _Dataset(NamedTuple):
    """One dataset's listed bins, sorted by pixel, with its part of the kernel table."""

    plan: TilePlan
    first: np.ndarray  # of each pixel, among the listed bins
    bins: np.ndarray  # among those of the dataset
    places: np.ndarray  # minus the place of the tile's corner


class ListedBins:
    """The bins to list of all datasets, sorted by pixel."""

    def __init__(
        self,
        members: Sequence[np.ndarray],
        kernels: Sequence[tuple[int, ...]],
        window: tuple[int, int] | None = None,
    ) -> None:
        self.common = TilePlan.create(members[0].shape, window or common_window(kernels))
        self.datasets: list[_Dataset] = []
        self.sizes = [member.size for member in members]
        n_places = 0
        for member, kernel in zip(members, kernels, strict=True):
            data = self._sorted(member, TilePlan.create(member.shape, kernel))
            self.datasets.append(data._replace(places=data.places + n_places))
            n_places += member.shape[0] * self.common.window[0] * self.common.window[1]
        self.dummy = n_places

    def _sorted(self, member: np.ndarray, plan: TilePlan) -> _Dataset:
        """Sort the bins by pixel: the bins of a stretch of pixels are then a range."""
        images, ny, nx = member.shape
        listed = np.flatnonzero(np.moveaxis(member, 0, -1))
        pixel, image = np.divmod(listed, images)
        first = np.zeros(ny * nx + 1, np.int32)
        np.cumsum(member.sum(axis=0, dtype=np.int32), out=first[1:])
        row, col = np.divmod(pixel, nx)
        height, width = self.common.window
        places = (image * height + row) * width + col
        return _Dataset(plan, first, image * (ny * nx) + pixel, places)

    def table(self, alone: bool) -> ListTable:
        """Return what belongs to the listed bins, see `Listing`."""
        before = np.cumsum([0, *self.sizes[:-1]])
        bins = [d.bins + n for d, n in zip(self.datasets, before, strict=True)]
        return list_table([d.places for d in self.datasets], self.dummy, None if alone else bins)

    @property
    def n_tiles(self) -> int:
        """Number of tiles of the map."""
        return self.common.n_tiles

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many bins each tile lists, shape (tiles,)."""
        total = np.zeros(self.n_tiles, np.int64)
        for data in self.datasets:
            (hy, hx), (wy, wx), (gy, gx) = data.plan.halo, data.plan.window, data.plan.grid
            ny, nx = data.plan.shape
            pads = ((hy + 1, gy * TILE - ny + hy), (hx + 1, gx * TILE - nx + hx))
            sums = np.pad(np.diff(data.first).reshape(ny, nx), pads)
            for axis in (0, 1):
                np.cumsum(sums, axis=axis, out=sums)
            row, col = np.arange(gy)[:, None] * TILE, np.arange(gx)[None, :] * TILE
            inside = sums[row + wy, col + wx] - sums[row, col + wx]
            total += (inside - sums[row + wy, col] + sums[row, col]).reshape(-1)
        return total

    def of_tiles(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """List the bins of some tiles, see `Listing`."""
        starts, numbers = [], []
        tile_row, tile_col = (index * TILE for index in np.divmod(tiles, self.common.grid[1]))
        up, left = tile_row - self.common.halo[0], tile_col - self.common.halo[1]
        corner = up * self.common.window[1] + left
        before = 0
        for data in self.datasets:
            (hy, hx), (wy, wx), (ny, nx) = data.plan.halo, data.plan.window, data.plan.shape
            rows = tile_row[:, None] - hy + np.arange(wy)
            low, high = (np.clip(tile_col - hx + side, 0, nx)[:, None] for side in (0, wx))
            base = np.clip(rows, 0, ny - 1) * nx
            begin = data.first[base + low]
            inside = (rows >= 0) & (rows < ny)
            starts.append(begin + before)
            numbers.append(np.where(inside, data.first[base + high] - begin, 0))
            before += data.bins.size
        start, number = np.concatenate(starts, axis=1), np.concatenate(numbers, axis=1)
        return *entries_of(start, number), corner.astype(np.int32)


def list_table(
    places: Sequence[np.ndarray], dummy: int, bins: Sequence[np.ndarray] | None
) -> ListTable:
    """Return what belongs to the listed bins of all datasets, filled up to a common size."""
    number = listed_room(sum(p.size for p in places))
    arrays = [in_a_row([a.astype(np.int32) for a in own], number) for own in (places, bins) if own]
    where, *which = jax.device_put(arrays)
    return ListTable(where, np.int32(dummy), *which)


def entries_of(start: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what ranges hold, filled up to a common size, and where each tile's begin."""
    listed = number.sum(axis=1).cumsum()
    flat = number.reshape(-1)
    # a range is where it starts plus how far into it
    offset = start.reshape(-1) - (flat.cumsum() - flat)
    size = PORTION
    while size <= listed[-1]:
        size *= 2
    which = np.zeros(size, np.int32)
    own = which[: listed[-1]]
    np.add(np.arange(own.size, dtype=np.int32), np.repeat(offset.astype(np.int32), flat), out=own)
    return which, np.concatenate([[0], listed[:-1]]).astype(np.int32)


def chunks(
    listed: Listing, active: np.ndarray, entries: int, alone: bool = False
) -> Iterator[Chunk]:
    """Cut tiles into chunks with lists of about the same length."""
    # alone: whether the arrays of bins hold the listed bins alone
    lengths = listed.lengths
    order = np.flatnonzero(active & (lengths > 0))
    order = order[np.argsort(lengths[order], kind="stable")]
    if not order.size:
        return
    table = listed.table(alone)
    for tiles, capacity in _by_capacity(order, lengths[order]):
        width = max(1, entries // capacity)
        for some in _portions(tiles, lengths[tiles], width):
            numbers, starts, corners = listed.of_tiles(some)
            numbers = jax.device_put(numbers)
            # the chunk that is filled up is the first, which has the shortest lists
            for begin in range(-(-some.size % width), some.size, width):
                which = np.arange(max(begin, 0), begin + width)
                part = some[which]
                which = np.append(which, np.repeat(which[-1:], width - which.size))
                filled = some[which]
                length = lengths[filled].astype(np.int32)
                n_rows = np.int32(-(-int(length.max()) // ROWS) * ROWS)
                lists = Lists(numbers, table, starts[which], length, corners[which], n_rows)
                yield Chunk(filled, part.size, lists, capacity)


def _by_capacity(tiles: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """Divide tiles by the capacity that their lists need, ascending."""
    longest = int(lengths[-1])
    # one capacity for all where that wastes little: each costs a compilation
    common = next((c for c in CAPACITIES[:2] if longest <= c), None)
    if common is not None:
        yield tiles, common
        return
    begin, largest = 0, CAPACITIES[-1]
    while largest < longest:
        largest *= 2
    for capacity in sorted({*CAPACITIES[1:], largest}):
        end = int(np.searchsorted(lengths, capacity, side="right"))
        if end > begin:
            yield tiles[begin:end], capacity
        begin = max(begin, end)


def _portions(tiles: np.ndarray, lengths: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """Divide tiles into whole chunks whose lists are built together, to bound memory."""
    firsts = np.maximum(np.arange(-(-tiles.size % width), tiles.size, width), 0)
    size = np.add.reduceat(lengths, firsts)
    begin = total = 0
    for first, entries in zip(firsts.tolist(), size.tolist(), strict=True):
        if first > begin and total + entries > PORTION:
            yield tiles[begin:first]
            begin, total = first, 0
        total += entries
    yield tiles[begin:]
