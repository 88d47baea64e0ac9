"""The norm fits of a map that fits in memory, tile by tile, in chunks of a few fixed sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from gammagrad._programs import by_element, compiled
from gammagrad.core.norm import N_SWEEPS, FitOptions, NormFit, Status, fit_status, make_options
from gammagrad.core.ts_map.bins import TILE, BinImages, TilePlan, from_tiles, rows_around, to_tiles
from gammagrad.core.ts_map.chunk import TileInputs, fit_chunk, sensitivity_chunk
from gammagrad.core.ts_map.flat import flat_bins
from gammagrad.core.ts_map.listed import Chunk, ListedBins, Workspace, chunks, common_window
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


class MapSolver:
    """The fits of a map's pixels."""

    def __init__(
        self,
        datasets: Sequence[BinImages],
        fitted: np.ndarray,
        options: FitOptions,
        memory: int,
        advance: Callable[[float], None],
        window: tuple[int, int] | None = None,
    ) -> None:
        self.datasets, self.options, self.advance = datasets, options, advance
        self.kernels = [d.kernel.shape for d in datasets]
        self.dtype = datasets[0].background.dtype
        self.whole = whole_map(datasets, fitted)
        self.window = common_window(self.kernels if window is None else [*self.kernels, window])
        self.plan = TilePlan.create(datasets[0].counts.shape, self.window)
        self.flat = flat_bins(datasets, self.window)
        self.active: np.ndarray = np.any(to_tiles(self.whole.has_model, self.plan), axis=1)
        total = to_tiles(np.where(self.whole.has_model, self.whole.model_sum, 0), self.plan)
        self.model_sum = np.where(total > 0, total, 1).astype(self.dtype)
        self.memory = memory // n_threads()

    def fit(
        self,
        selection: tuple[str, ...],
        scan_values: np.ndarray | None,
        guess: np.ndarray | None,
        threshold: float | None,
        n_sweeps: int,
    ) -> NormFit:
        """Fit the pixels that have a model."""
        bound = self.whole.bound
        tiles = TileInputs(
            to_tiles(bound, self.plan),
            self.model_sum,
            to_tiles(np.zeros_like(bound) if guess is None else guess, self.plan),
        )
        values = None if scan_values is None else np.asarray(scan_values, self.dtype)
        level = np.asarray(0.0 if threshold is None else threshold, self.dtype)

        def work(
            chunk: Chunk, space: Workspace | None
        ) -> tuple[Workspace | None, dict[str, Array]]:
            shape = chunk.capacity, chunk.tiles.size
            if not chunk.capacity:
                space = None
            elif space is None or space.full[0].shape != shape:
                space = Workspace.create(*shape, self.dtype)
            return fit_chunk(
                self.flat,
                chunk.bins,
                TileInputs(*(np.ascontiguousarray(a[chunk.tiles].T) for a in tiles)),
                self.options,
                values,
                level,
                space,
                selection=selection,
                threshold_is_set=threshold is not None,
                n_sweeps=n_sweeps,
            )

        found = _without_counts(tiles, self.options, selection, scan_values, threshold)
        self._run(work, self._chunks(), found)
        if "sensitivity" in selection:
            found["norm_sensitivity"] = np.zeros_like(self.model_sum)
            self._run(self._sensitivity, self._windows(self.active, self._places()), found)
        maps = {name: np.asarray(from_tiles(array, self.plan)) for name, array in found.items()}
        return _assemble(maps, self.whole, self.options)

    def _sensitivity(self, chunk: Chunk, _: None) -> tuple[None, dict[str, Array]]:
        """Find the sensitivity of a chunk of windows."""
        total = np.ascontiguousarray(self.model_sum[chunk.tiles].T)
        return None, sensitivity_chunk(self.flat, chunk.bins, total, self.options)

    def _run(
        self,
        work: Callable[[Chunk, Any], tuple[Any, dict[str, Array]]],
        chunks: Iterator[Chunk],
        found: dict[str, np.ndarray],
    ) -> None:
        """Work on every chunk and store what is found; the next chunk is built meanwhile."""
        n_tiles, done = int(self.active.sum()), 0
        for chunk, arrays in in_threads(work, chunks, self.flat.table):
            own = chunk.tiles[: chunk.number]
            for name, values in arrays.items():
                found[name][..., own, :] = np.swapaxes(values[..., : chunk.number], -1, -2)
            done += chunk.number
            self.advance(chunk.number / n_tiles)
        self.advance(1 - done / max(n_tiles, 1))

    def _chunks(self) -> Iterator[Chunk]:
        """Return the chunks with occupied bins: as lists, or as windows if most bins are."""
        occupied = [np.asarray(d.counts) > 0 for d in self.datasets]
        listed = ListedBins(occupied, self.kernels, self.window)
        lengths = listed.lengths()
        wanted = self.active & (lengths > 0)
        if max(d.exposure.shape[1] for d in self.datasets) == 1:
            places = self._places()
            if lengths[wanted].sum() > _DENSE * wanted.sum() * len(places.places):
                return self._windows(wanted, places)
        entries = _ENTRIES_CPU if jax.default_backend() == "cpu" else _ENTRIES_ELSEWHERE
        share = self.memory // (4 * Workspace.bytes_per_entry(self.dtype))
        entries = min(entries, 2 ** max(int(np.log2(max(share, 1))), 8))
        return chunks(listed, self.active, entries)

    def _places(self) -> Places:
        """Return the places of a window where a kernel has a value."""
        images = [d.counts.shape[0] for d in self.datasets]
        table = np.asarray(self.flat.table)
        return window_places(table, images, self.plan.window, self.plan.shape)

    def _windows(self, wanted: np.ndarray, places: Places) -> Iterator[Chunk]:
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


def _without_counts(
    tiles: TileInputs,
    options: FitOptions,
    selection: Sequence[str],
    scan_values: np.ndarray | None,
    threshold: float | None,
) -> dict[str, np.ndarray]:
    """Return what holds where no occupied bin is seen: the statistic is a straight line."""
    bound, total = tiles.bound, tiles.model_sum
    norm, kept = bound.copy(), np.zeros(bound.shape, bool)
    if threshold is not None:
        guess = np.maximum(tiles.guess, bound)
        kept = -2 * guess * total <= threshold
        norm = np.where(kept, guess, bound)
    found: dict[str, np.ndarray] = {"norm": norm, "kept": kept}
    found |= {name: np.zeros_like(bound) for name in ("s2", "gain", "last_step")}
    found["niter"] = np.zeros(bound.shape, np.int32)
    found |= {name: np.zeros(bound.shape, bool) for name in ("has_counts", "error_at_bound")}
    if "errn-errp" in selection:
        found["norm_errp"] = float(options.n_sigma) ** 2 / (2 * total)
        found["norm_errn"] = norm - bound
    if "ul" in selection:
        base = np.maximum(norm, float(options.norm_min))
        found["norm_ul"] = base + float(options.n_sigma_ul) ** 2 / (2 * total)
    if "stat_scan" in selection and scan_values is not None:
        values = np.asarray(scan_values, bound.dtype)[:, None, None]
        # the one large array: no copy of it is made on the way
        found["stat_scan"] = (2 * values) * total
        found["stat_scan"][values < bound] = np.inf
    return found


def _assemble(maps: dict[str, np.ndarray], whole: WholeMap, options: FitOptions) -> NormFit:
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
    return NormFit(
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


_MEMORY_CPU = 2**28
"""Working memory to aim at on a processor, in bytes."""

_BYTES_BIN, _BYTES_PIXEL = 64, 320
"""What the work takes for each bin and for each pixel."""


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
    progress: Callable[[float, int], None] | None = None,
) -> NormFit:
    """Fit the pixels of a map from their occupied bins: same results as `fit_images`, faster."""
    # Not traced itself: the lists depend on where the counts lie.
    steer = make_options(datasets[0].background.dtype, **vars(options or FitOptions()))
    ny = fitted.shape[0]
    height = _strip_height(datasets, memory)
    passes = -(-ny // height) * (1 + ("sensitivity" in selection))
    done = 0.0

    def advance(part: float) -> None:
        nonlocal done
        done += part
        if progress is not None:
            progress(min(done, passes), passes)

    def fit(some: Sequence[BinImages], where: np.ndarray, first: np.ndarray | None) -> NormFit:
        solver = MapSolver(some, where, steer, memory or default_memory(), advance, window)
        return solver.fit(tuple(selection), scan_values, first, threshold, n_sweeps)

    if height >= ny:
        return fit(datasets, fitted, guess)
    return _fit_by_strips(datasets, fitted, guess, fit, height)


def _strip_height(datasets: Sequence[BinImages], memory: int | None) -> int:
    """Return how many rows of a map to work on at a time, a multiple of the tiles' size."""
    nx = datasets[0].counts.shape[-1]
    per_row = nx * (_BYTES_PIXEL + sum(_BYTES_BIN * d.exposure[..., 0, 0].size for d in datasets))
    halo = max(d.kernel.shape[-2] for d in datasets)
    rows = (memory or default_memory()) // per_row - halo
    return TILE * max(int(rows) // TILE, -(-halo // TILE))


def default_memory(on_processor: bool = False) -> int:
    """Return the working memory to aim at if none is given: a part of the device's."""
    device = jax.devices()[0]
    if on_processor or device.platform == "cpu":
        return _MEMORY_CPU
    known = device.memory_stats() or {}
    return int(known.get("bytes_limit", 8 * _MEMORY_CPU)) // 4


def _rows_of(images: BinImages, arrays: Sequence[np.ndarray], rows: slice, halo: int) -> BinImages:
    """Return some rows of a dataset with those around them."""
    counts, background, exposure = (rows_around(a, rows, halo) for a in arrays)
    return BinImages(counts=counts, background=background, exposure=exposure, kernel=images.kernel)


def _fit_by_strips(
    datasets: Sequence[BinImages],
    fitted: np.ndarray,
    guess: np.ndarray | None,
    fit: Callable[[Sequence[BinImages], np.ndarray, np.ndarray | None], NormFit],
    height: int,
) -> NormFit:
    """Fit some rows of a map after the other, each strip with the rows around it."""
    halo = TILE * max(-(-(d.kernel.shape[-2] // 2) // TILE) for d in datasets)
    plain = [[np.asarray(a) for a in (d.counts, d.background, d.exposure)] for d in datasets]
    maps: dict[str, np.ndarray] = {}
    for top in range(0, fitted.shape[0], height):
        rows = slice(top, top + height)
        some = [_rows_of(d, arrays, rows, halo) for arrays, d in zip(plain, datasets, strict=True)]
        where = np.pad(rows_around(fitted, rows, 0), ((halo, halo), (0, 0)))
        first = None if guess is None else rows_around(guess, rows, halo)
        found = {name: a for name, a in vars(fit(some, where, first)).items() if a is not None}
        for name, array in found.items():
            if name not in maps:
                maps[name] = np.zeros((*array.shape[:-2], *fitted.shape), array.dtype)
            kept = min(height, fitted.shape[0] - top)
            maps[name][..., rows, :] = array[..., halo : halo + kept, :]
    return NormFit(**maps)
