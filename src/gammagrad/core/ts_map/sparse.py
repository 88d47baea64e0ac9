"""The sparse engine: the fits of a map from its occupied bins, in chunks of a few fixed sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from gammagrad.core.norm import N_SWEEPS, FitOptions, NormFit, make_options
from gammagrad.core.ts_map.bins import BinImages, TilePlan, to_tiles
from gammagrad.core.ts_map.blended import TileBlend, tile_blend
from gammagrad.core.ts_map.chunk import TileInputs
from gammagrad.core.ts_map.fixed_norm import Asked, Fit, FixedNorm
from gammagrad.core.ts_map.flat import FlatBins, flat_bins, kernel_tables
from gammagrad.core.ts_map.free_norm import FreeNorm
from gammagrad.core.ts_map.listed import (
    Chunk,
    ListedBins,
    Lists,
    Workspace,
    chunks,
    common_window,
    empty_workspace,
)
from gammagrad.core.ts_map.on_off_strip import fit_on_off
from gammagrad.core.ts_map.placed_lists import PlacedBins
from gammagrad.core.ts_map.places import placed_bins
from gammagrad.core.ts_map.several_norms import SeveralNorms
from gammagrad.core.ts_map.strips import Strip, default_memory, make_strip, put, rows_of_strips
from gammagrad.core.ts_map.threads import in_threads, n_threads
from gammagrad.core.ts_map.whole_map import WholeMap, whole_map
from gammagrad.core.ts_map.wide import Backgrounds
from gammagrad.core.ts_map.windowed import Places, TileWindows, corners, window_places

_ENTRIES_CPU, _ENTRIES_ELSEWHERE = 2**17, 2**22
"""Rows times tiles of lists in a chunk: what caches hold, what keeps accelerators busy."""

_TILES_CPU, _TILES_ELSEWHERE = 128, 4096
"""Tiles of a chunk of windows, at most."""

_PLACES_CPU = 2**13
"""Places from which on half as many tiles fit into a processor's last cache; fewer take longer."""

_DENSE = 0.6
"""Part of the bins with counts from which on whole windows take less time than lists."""

_BYTES_BIN = 64
"""What a bin of a window takes while its tile is solved."""


Run = Callable[
    [Callable[[Strip], dict[str, np.ndarray]], Sequence[Strip], Callable[[float], None]],
    Sequence[dict[str, np.ndarray]],
]
"""Calls a function on each of some strips in other processes, and a second with the progress."""

StripFit = Callable[[Strip, Asked, int, Callable[[float], None]], dict[str, np.ndarray]]
"""Fits a strip, such as `fit_strip`."""


def fit_occupied(
    datasets: Sequence[BinImages],
    fitted: np.ndarray,
    *,
    options: FitOptions | None = None,
    selection: Sequence[str] = (),
    scan_values: np.ndarray | None = None,
    guess: np.ndarray | None = None,
    threshold: float | None = None,
    n_sweeps: int = N_SWEEPS,
    memory: int | None = None,
    window: tuple[int, int] | None = None,
    progress: Callable[[float], None] | None = None,
    processes: int = 1,
    run: Run | None = None,
    free: Backgrounds | None = None,
    fit: StripFit | None = None,
) -> NormFit:
    """Fit the pixels of a map from their occupied bins: same results as `fit_images`, faster."""
    # Not traced itself: the lists depend on where the counts lie. Every number is the same to
    # rounding however the map is cut: the same tiles of pixels are solved together.
    dtype, ny = datasets[0].background.dtype, fitted.shape[0]
    steer = make_options(dtype, **vars(options or FitOptions()))
    asked = Asked(steer, tuple(selection), scan_values, threshold, n_sweeps, window)
    size = (memory or default_memory(on_processor=run is not None)) // processes
    rows = rows_of_strips(datasets, fitted, size, processes)
    strips = (make_strip(datasets, fitted, guess, part, free) for part in rows)
    fit = fit or fit_strip
    maps: dict[str, np.ndarray] = {}
    done = 0.0

    def advance(fraction: float) -> None:
        nonlocal done
        done += fraction / len(rows)
        if progress is not None:
            progress(min(done, 1.0))

    if run is not None:
        double = dtype == np.float64
        work = partial(fit_in_worker, asked=asked, memory=size, double=double, fit=fit)
        every = list(strips)
        for strip, found in zip(every, run(work, every, progress or _quiet), strict=True):
            put(maps, strip, found, ny)
        return NormFit(**maps)
    # one strip of data at a time
    for strip in strips:
        found = fit(strip, asked, size, advance)
        if len(rows) == 1 and not strip.halo:
            return NormFit(**found)
        put(maps, strip, found, ny)
    return NormFit(**maps)


def _quiet(fraction: float) -> None:
    """Report progress to nobody."""


def fit_in_worker(
    strip: Strip, asked: Asked, memory: int, double: bool, fit: StripFit
) -> dict[str, np.ndarray]:
    """Fit a strip in a process of its own, whose precision is JAX's default."""
    with jax.enable_x64(double):
        return fit(strip, asked, memory, _quiet)


def fit_strip(
    strip: Strip, asked: Asked, memory: int, advance: Callable[[float], None]
) -> dict[str, np.ndarray]:
    """Fit the pixels of a strip; return the fields of a `NormFit` that are known."""
    if any(d.counts_off is not None for d in strip.datasets):
        return fit_on_off(strip, memory // n_threads(), advance, **asked._asdict())
    whole = whole_map(strip.datasets, strip.fitted)
    bins = StripBins(strip, whole, asked.window, memory // n_threads())
    way = _fit_of(strip, bins, asked)
    found = way.without_counts()
    steps: list[tuple[Any, Iterator[Chunk]]] = [(way.solve, bins.chunks(way.alone))]
    if "sensitivity" in asked.selection:
        found["norm_sensitivity"] = np.zeros_like(bins.model_sum)
        steps.append((way.sensitivity, bins.whole_chunks()))
    many = max(int(bins.active.sum()), 1)
    for work, pieces in steps:
        done = 0
        # the next chunk is built while threads work on those before
        for chunk, arrays in in_threads(work, pieces):
            own = chunk.tiles[: chunk.number]
            for name, values in arrays.items():
                found[name][..., own, :] = chunk.by_tile(values)
            done += chunk.number
            advance(chunk.number / many / asked.passes)
        advance((1 - done / many) / asked.passes)
    return way.assembled(found)


def _fit_of(strip: Strip, bins: StripBins, asked: Asked) -> Fit:
    """Choose what is done for the chunks of a strip."""
    if strip.free is None:
        return FixedNorm(bins, strip, asked)
    return (FreeNorm if strip.free.how.on_line else SeveralNorms)(bins, strip, asked)


class StripBins:
    """The bins of a strip: sums over all of them, and chunks of tiles with theirs."""

    def __init__(
        self, strip: Strip, whole: WholeMap, window: tuple[int, int] | None, memory: int
    ) -> None:
        self.datasets, self.whole, self.memory = strip.datasets, whole, memory
        self.kernels = [d.kernel.shape for d in self.datasets]
        self.dtype = self.datasets[0].background.dtype
        self.window = common_window(self.kernels if window is None else [*self.kernels, window])
        self.plan = TilePlan.create(strip.fitted.shape, self.window)
        self.placed = any(d.places is not None for d in self.datasets)
        self.listed_flat: FlatBins | None = None
        self.blend = tile_blend(self.datasets, self.plan)
        self.active: np.ndarray = np.any(to_tiles(self.whole.has_model, self.plan), axis=1)
        total = to_tiles(np.where(self.whole.has_model, self.whole.model_sum, 0), self.plan)
        self.model_sum = np.where(total > 0, total, 1).astype(self.dtype)

    @cached_property
    def flat(self) -> FlatBins:
        """All bins in a row."""
        if self.placed:
            return placed_bins(self.datasets)
        return flat_bins(self.datasets, self.window, self.table)

    @cached_property
    def table(self) -> np.ndarray:
        """Kernels between the places of a window and the pixels of a tile."""
        return kernel_tables([np.asarray(d.kernel) for d in self.datasets], self.window)

    def flat_of(self, chunk: Chunk) -> FlatBins:
        """Return the bins in a row that a chunk refers to."""
        alone = isinstance(chunk.bins, Lists) and chunk.bins.table.bins is None
        if alone and self.listed_flat is not None:
            return self.listed_flat
        return self.flat

    def inputs(self, all_tiles: TileInputs, chunk: Chunk) -> TileInputs:
        """Return what a chunk needs to know of its tiles."""
        own: TileInputs = jax.tree.map(chunk.of_pixels, all_tiles)
        return own._replace(blend=self.blend_of(chunk))

    def blend_of(self, chunk: Chunk) -> TileBlend | None:
        """Return the kernels of a chunk's positions, where they differ."""
        last = isinstance(chunk.bins, TileWindows)
        return self.blend and self.blend.of_tiles(chunk.tiles, last)

    def chunks(self, alone: bool = True) -> Iterator[Chunk]:
        """Return the chunks with occupied bins: as lists, or as windows if most bins are."""
        # alone: whether arrays of the occupied bins alone do
        occupied = [np.asarray(d.counts) > 0 for d in self.datasets]
        if self.placed:
            return self.lists(occupied, self.entries())
        listed = ListedBins(occupied, self.kernels, self.window)
        lengths = listed.lengths
        wanted = self.active & (lengths > 0)
        full = lengths[wanted].sum() > _DENSE * wanted.sum() * self.fewest_places()
        if full and max(d.exposure.shape[1] for d in self.datasets) == 1:
            places = self.places()
            if lengths[wanted].sum() > _DENSE * wanted.sum() * len(places.places):
                return self.windows(wanted, places)
        if alone:
            own = [d.bins for d in listed.datasets]
            self.listed_flat = flat_bins(self.datasets, self.window, self.table, own)
        else:
            _ = self.flat  # made before threads ask for it
        return chunks(listed, self.active, self.entries(), alone)

    def lists(self, members: Sequence[np.ndarray], entries: int) -> Iterator[Chunk]:
        """Return chunks with lists of bins on the grids of their datasets."""
        assert self.blend is not None
        _ = self.flat  # made before threads ask for it
        return chunks(PlacedBins(self.datasets, members, self.blend), self.active, entries)

    def whole_chunks(self) -> Iterator[Chunk]:
        """Return the chunks with all bins: as windows, or as lists if grids differ."""
        if not self.placed:
            return self.windows(self.active, self.places())
        members = [np.asarray(d.exposure).max(axis=1) > 0 for d in self.datasets]
        # chunks of few tiles take long, whatever fits into a cache
        return self.lists(members, 4 * self.entries())

    def entries(self) -> int:
        """Return how many rows times tiles a chunk of lists may have."""
        entries = _ENTRIES_CPU if jax.default_backend() == "cpu" else _ENTRIES_ELSEWHERE
        share = self.memory // (4 * Workspace.bytes_per_entry(self.dtype))
        return min(entries, 2 ** max(int(np.log2(max(share, 1))), 8))

    def workspace(self, chunk: Chunk, space: Workspace | None) -> Workspace | None:
        """Return the memory for a chunk of lists: that of the last one if it fits."""
        shape = chunk.capacity, chunk.tiles.size
        if not chunk.capacity:
            return None
        if space is not None and space.full[0].shape == shape:
            return space
        return Workspace(*empty_workspace(rows=shape[0], tiles=shape[1], dtype=self.dtype))

    def fewest_places(self) -> int:
        """Return how many places of a window a kernel has values at, at least."""
        kernels = (np.asarray(d.kernel) for d in self.datasets)
        return sum(int(np.count_nonzero(np.any(k > 0, axis=1))) for k in kernels)

    def places(self) -> Places:
        """Return the places of a window where a kernel has a value."""
        images = [d.counts.shape[0] for d in self.datasets]
        blended = self.blend is not None
        return window_places(self.table, images, self.plan.window, self.plan.shape, blended)

    def windows(self, wanted: np.ndarray, places: Places) -> Iterator[Chunk]:
        """Yield chunks of whole windows."""
        _ = self.flat  # made before threads ask for it
        tiles = np.flatnonzero(wanted)
        number = max(len(places.places), 1)
        most = _TILES_ELSEWHERE
        if jax.default_backend() == "cpu":
            most = _TILES_CPU if number < _PLACES_CPU else _TILES_CPU // 2
        fitting = min(most, self.memory // (_BYTES_BIN * number))
        many = max(fitting // 16 * 16, 16)
        for begin in range(0, tiles.size if len(places.places) else 0, many):
            own = tiles[begin : begin + many]
            filled = np.append(own, np.repeat(own[-1:], many - own.size))
            corner = corners(filled, self.plan.grid[1], self.plan.halo)
            bins = TileWindows(places, self.plan.shape, *corner)
            yield Chunk(filled, own.size, bins, 0)
