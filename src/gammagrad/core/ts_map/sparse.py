"""The sparse engine: the fits of a map from its occupied bins, in chunks of a few fixed sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from gammagrad._programs import by_element, compiled
from gammagrad.core.norm import N_SWEEPS, FitOptions, NormFit, Status, fit_status, make_options
from gammagrad.core.ts_map.bins import BinImages, TilePlan, from_tiles, to_tiles
from gammagrad.core.ts_map.blended import tile_blend
from gammagrad.core.ts_map.chunk import TileInputs, fit_chunk
from gammagrad.core.ts_map.flat import flat_bins
from gammagrad.core.ts_map.listed import (
    Chunk,
    ListedBins,
    Workspace,
    chunks,
    common_window,
    empty_workspace,
)
from gammagrad.core.ts_map.placed_lists import PlacedBins
from gammagrad.core.ts_map.places import placed_bins
from gammagrad.core.ts_map.sensitivity import listed_sensitivity, sensitivity_chunk
from gammagrad.core.ts_map.strips import Strip, default_memory, make_strip, put, rows_of_strips
from gammagrad.core.ts_map.threads import in_threads, n_threads
from gammagrad.core.ts_map.whole_map import WholeMap, whole_map
from gammagrad.core.ts_map.windowed import Places, TileWindows, corners, window_places

_ENTRIES_CPU, _ENTRIES_ELSEWHERE = 2**17, 2**22
"""Rows times tiles of lists in a chunk: what caches hold, what keeps accelerators busy."""

_TILES_CPU, _TILES_ELSEWHERE = 128, 4096
"""Tiles of a chunk of windows, at most."""

_PLACES_CPU = 2**13
"""Places from which on half as many tiles fit into a processor's last cache; fewer take longer."""

_DENSE = 0.4
"""Part of the bins with counts from which on whole windows take less time than lists."""

_BYTES_BIN = 64
"""What a bin of a window takes while its tile is solved."""


class Asked(NamedTuple):
    """What the fit of a map is asked for."""

    options: FitOptions
    selection: tuple[str, ...] = ()
    scan_values: np.ndarray | None = None
    threshold: float | None = None  # TS of the guess up to which it is kept
    n_sweeps: int = N_SWEEPS
    window: tuple[int, int] | None = None  # size of the largest kernel of several fits

    @property
    def passes(self) -> int:
        """How often the tiles are gone through."""
        return 1 + ("sensitivity" in self.selection)


Run = Callable[
    [Callable[[Strip], dict[str, np.ndarray]], Sequence[Strip], Callable[[float], None]],
    Sequence[dict[str, np.ndarray]],
]
"""Calls a function on each of some strips in other processes, and a second with the progress."""

Fit = Callable[[Strip, Asked, int, Callable[[float], None]], dict[str, np.ndarray]]
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
    fit: Fit | None = None,
) -> NormFit:
    """Fit the pixels of a map from their occupied bins: same results as `fit_images`, faster."""
    # Not traced itself: the lists depend on where the counts lie. Every number is the same to
    # rounding however the map is cut: the same tiles of pixels are solved together.
    dtype, ny = datasets[0].background.dtype, fitted.shape[0]
    steer = make_options(dtype, **vars(options or FitOptions()))
    asked = Asked(steer, tuple(selection), scan_values, threshold, n_sweeps, window)
    size = (memory or default_memory(on_processor=run is not None)) // processes
    rows = rows_of_strips(datasets, fitted, size, processes)
    strips = (make_strip(datasets, fitted, guess, part) for part in rows)
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
    strip: Strip, asked: Asked, memory: int, double: bool, fit: Fit
) -> dict[str, np.ndarray]:
    """Fit a strip in a process of its own, whose precision is JAX's default."""
    with jax.enable_x64(double):
        return fit(strip, asked, memory, _quiet)


def fit_strip(
    strip: Strip, asked: Asked, memory: int, advance: Callable[[float], None]
) -> dict[str, np.ndarray]:
    """Fit the pixels of a strip; return the fields of a `NormFit` that are known."""
    whole = whole_map(strip.datasets, strip.fitted)
    bins = StripBins(strip, whole, asked.window, memory // n_threads())
    bound, dtype = bins.whole.bound, bins.dtype
    guess = np.zeros_like(bound) if strip.guess is None else strip.guess
    tiles = TileInputs(to_tiles(bound, bins.plan), bins.model_sum, to_tiles(guess, bins.plan))
    scan_values = None if asked.scan_values is None else np.asarray(asked.scan_values, dtype)
    threshold = np.asarray(asked.threshold or 0.0, dtype)

    def solve(chunk: Chunk, space: Workspace | None) -> tuple[Workspace | None, dict[str, Array]]:
        space = bins.workspace(chunk, space)
        return fit_chunk(
            bins.flat,
            chunk.bins,
            bins.inputs(tiles, chunk.tiles),
            asked.options,
            scan_values,
            threshold,
            space,
            selection=asked.selection,
            threshold_is_set=asked.threshold is not None,
            n_sweeps=asked.n_sweeps,
        )

    def sensitivity(chunk: Chunk, space: Workspace | None) -> tuple[Any, dict[str, Array]]:
        space = bins.workspace(chunk, space)
        total = np.ascontiguousarray(bins.model_sum[chunk.tiles].T)
        blend = bins.blend and bins.blend.of_tiles(chunk.tiles)
        if space is None:
            return None, sensitivity_chunk(bins.flat, chunk.bins, total, asked.options, blend)
        return listed_sensitivity(bins.flat, chunk.bins, total, asked.options, blend, space)

    found = without_counts(tiles, asked)
    steps: list[tuple[Any, Iterator[Chunk]]] = [(solve, bins.chunks())]
    if "sensitivity" in asked.selection:
        found["norm_sensitivity"] = np.zeros_like(bins.model_sum)
        steps.append((sensitivity, bins.whole_chunks()))
    many = max(int(bins.active.sum()), 1)
    for work, pieces in steps:
        done = 0
        # the next chunk is built while threads work on those before
        for chunk, arrays in in_threads(work, pieces, bins.flat.table):
            own = chunk.tiles[: chunk.number]
            for name, values in arrays.items():
                found[name][..., own, :] = np.swapaxes(values[..., : chunk.number], -1, -2)
            done += chunk.number
            advance(chunk.number / many / asked.passes)
        advance((1 - done / many) / asked.passes)
    maps = {name: np.asarray(from_tiles(array, bins.plan)) for name, array in found.items()}
    return assembled(maps, bins.whole, asked.options)


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
        self.flat = (
            placed_bins(self.datasets) if self.placed else flat_bins(self.datasets, self.window)
        )
        self.blend = tile_blend(self.datasets, self.plan)
        self.active: np.ndarray = np.any(to_tiles(self.whole.has_model, self.plan), axis=1)
        total = to_tiles(np.where(self.whole.has_model, self.whole.model_sum, 0), self.plan)
        self.model_sum = np.where(total > 0, total, 1).astype(self.dtype)

    def inputs(self, all_tiles: TileInputs, tiles: np.ndarray) -> TileInputs:
        """Return what a chunk needs to know of its tiles."""
        bound, total, guess = (np.ascontiguousarray(a[tiles].T) for a in all_tiles[:3])
        return TileInputs(bound, total, guess, self.blend and self.blend.of_tiles(tiles))

    def chunks(self) -> Iterator[Chunk]:
        """Return the chunks with occupied bins: as lists, or as windows if most bins are."""
        occupied = [np.asarray(d.counts) > 0 for d in self.datasets]
        if self.placed:
            return self.lists(occupied, self.entries())
        listed = ListedBins(occupied, self.kernels, self.window)
        lengths = listed.lengths()
        wanted = self.active & (lengths > 0)
        if max(d.exposure.shape[1] for d in self.datasets) == 1:
            places = self.places()
            if lengths[wanted].sum() > _DENSE * wanted.sum() * len(places.places):
                return self.windows(wanted, places)
        return chunks(listed, self.active, self.entries())

    def lists(self, members: Sequence[np.ndarray], entries: int) -> Iterator[Chunk]:
        """Return chunks with lists of bins on the grids of their datasets."""
        assert self.blend is not None
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

    def places(self) -> Places:
        """Return the places of a window where a kernel has a value."""
        images = [d.counts.shape[0] for d in self.datasets]
        table = np.asarray(self.flat.table)
        blended = self.blend is not None
        return window_places(table, images, self.plan.window, self.plan.shape, blended)

    def windows(self, wanted: np.ndarray, places: Places) -> Iterator[Chunk]:
        """Yield chunks of whole windows."""
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


def without_counts(tiles: TileInputs, asked: Asked) -> dict[str, np.ndarray]:
    """Return what holds where no occupied bin is seen: the statistic is a straight line."""
    bound, total, options = tiles.bound, tiles.model_sum, asked.options
    norm, kept = bound.copy(), np.zeros(bound.shape, bool)
    if asked.threshold is not None:
        guess = np.maximum(tiles.guess, bound)
        kept = -2 * guess * total <= asked.threshold
        norm = np.where(kept, guess, bound)
    found: dict[str, np.ndarray] = {"norm": norm, "kept": kept}
    found |= {name: np.zeros_like(bound) for name in ("s2", "gain", "last_step")}
    found["niter"] = np.zeros(bound.shape, np.int32)
    found |= {name: np.zeros(bound.shape, bool) for name in ("has_counts", "error_at_bound")}
    if "errn-errp" in asked.selection:
        found["norm_errp"] = float(options.n_sigma) ** 2 / (2 * total)
        found["norm_errn"] = norm - bound
    if "ul" in asked.selection:
        base = np.maximum(norm, float(options.norm_min))
        found["norm_ul"] = base + float(options.n_sigma_ul) ** 2 / (2 * total)
    if "stat_scan" in asked.selection and asked.scan_values is not None:
        values = np.asarray(asked.scan_values, bound.dtype)[:, None, None]
        # the one large array: no copy of it is made on the way
        found["stat_scan"] = (2 * values) * total
        found["stat_scan"][values < bound] = np.inf
    return found


def assembled(
    maps: dict[str, np.ndarray], whole: WholeMap, options: FitOptions
) -> dict[str, np.ndarray]:
    """Turn the lists' sums into the quantities of a fit."""
    has_model = whole.has_model
    kept = maps["kept"] & has_model
    norm = np.where(has_model, maps["norm"], 0.0)
    model_sum = np.where(has_model, whole.model_sum, 0.0)
    gained = 2 * (maps["gain"] - norm * model_sum) * has_model
    # the test statistic of a best fit is not negative, that of a guess may be
    gained = np.where(kept, gained, np.maximum(gained, 0.0))
    s2 = np.where(has_model, maps["s2"], 0.0)
    error = np.full_like(norm, np.inf)
    np.divide(float(options.n_sigma), np.sqrt(s2), out=error, where=s2 > 0)
    excess = norm * model_sum
    flags = {name: maps[name] for name in ("has_counts", "error_at_bound", "last_step")}
    flags |= {name: getattr(whole, name) for name in ("has_model", "counts_on_zero", "bound")}
    flags |= {"norm": norm, "rtol": np.broadcast_to(options.rtol, norm.shape)}
    status = by_element(_statuses, **flags)
    optional = ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity", "stat_scan")
    for name in optional:
        if name in maps:
            np.copyto(maps[name], 0, where=~has_model)
    return dict(
        norm=norm,
        norm_err=error,
        ts=np.where(norm < 0, -gained, gained),
        stat=whole.stat_null - gained,
        stat_null=whole.stat_null,
        npred=whole.background_sum + excess,
        npred_excess=excess,
        niter=np.where(maps["has_counts"] & ~kept, maps["niter"], 0).astype(np.int32),
        status=np.where(kept, Status.GUESS_KEPT, status).astype(np.int8),
        **{name: maps[name] for name in optional if name in maps},
    )


_statuses = compiled(fit_status)
