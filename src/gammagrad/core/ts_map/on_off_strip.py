"""The sparse engine with ON and OFF counts: lists of the bins that have counts of either kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from gammagrad._programs import by_element, compiled
from gammagrad._pytree import replace
from gammagrad.core.norm import FitOptions, on_off_status
from gammagrad.core.ts_map.bins import TilePlan, from_tiles, to_tiles
from gammagrad.core.ts_map.blended import TileBlend, tile_blend
from gammagrad.core.ts_map.flat import flat_bins, in_a_row, kernel_tables
from gammagrad.core.ts_map.listed import Chunk, ListedBins, chunks, common_window
from gammagrad.core.ts_map.on_off_chunk import (
    Kinds,
    OnOffTiles,
    fit_on_off_chunk,
    on_off_sensitivity,
)
from gammagrad.core.ts_map.on_off_lists import OnOffFlat, OnOffSpace, empty_space
from gammagrad.core.ts_map.on_off_whole import OnOffDataset, OnOffWhole, sum_whole
from gammagrad.core.ts_map.placed_lists import PlacedBins
from gammagrad.core.ts_map.places import placed_bins
from gammagrad.core.ts_map.strips import Strip
from gammagrad.core.ts_map.threads import in_threads
from gammagrad.errors import InputError

_ENTRIES_CPU, _ENTRIES_ELSEWHERE = 2**17, 2**22
"""Rows times tiles of lists in a chunk, as without OFF counts."""


_SHORT = 0.6
"""Part of the bins in lists up to which a first fit leaves out those with OFF counts alone."""


class _StripLists:
    """Lists of the bins of a strip, and what belongs to its tiles."""

    def __init__(
        self,
        datasets: Sequence[OnOffDataset],
        fitted: np.ndarray,
        window: tuple[int, int] | None,
        memory: int,
    ) -> None:
        self.datasets, self.memory = datasets, memory
        self.dtype = datasets[0].counts.dtype
        images = [
            replace(d.images, background=np.ones_like(d.counts), counts=d.counts) for d in datasets
        ]
        kernels = [d.kernel.shape for d in images]
        self.kernels = kernels
        self.window = common_window(kernels if window is None else [*kernels, window])
        self.plan = TilePlan.create(fitted.shape, self.window)
        self.placed = any(d.places is not None for d in images)
        if self.placed:
            flat = placed_bins(images)
        else:
            table = kernel_tables([np.asarray(d.kernel) for d in images], self.window)
            flat = flat_bins(images, self.window, table)
        size = flat.counts.size
        shares = [d.alpha / (1 + d.alpha) for d in datasets]
        rows = ([d.off for d in datasets], shares, [d.signal for d in datasets])
        self.flat = OnOffFlat(flat, *jax.device_put(tuple(in_a_row(row, size) for row in rows)))
        self.images = images
        self.blend = tile_blend(images, self.plan)

    def chunks(self, members: Sequence[np.ndarray], active: np.ndarray) -> Iterator[Chunk]:
        """Return chunks of tiles with lists of some bins."""
        listed: ListedBins | PlacedBins
        if self.placed:
            assert self.blend is not None
            listed = PlacedBins(self.images, members, self.blend)
        else:
            listed = ListedBins(members, self.kernels, self.window)
        entries = _ENTRIES_CPU if jax.default_backend() == "cpu" else _ENTRIES_ELSEWHERE
        share = self.memory // (4 * OnOffSpace.bytes_per_entry(self.dtype))
        return chunks(listed, active, min(entries, 2 ** max(int(np.log2(max(share, 1))), 8)))

    def space(self, chunk: Chunk, space: OnOffSpace | None) -> OnOffSpace:
        """Return the memory for a chunk: that of the last one if it fits."""
        shape = chunk.capacity, chunk.tiles.size
        if space is not None and space.bins.shape[1:] == shape:
            return space
        return OnOffSpace(*empty_space(rows=shape[0], tiles=shape[1], dtype=self.dtype))

    def of_tiles(self, maps: Sequence[np.ndarray], tiles: np.ndarray) -> list[np.ndarray]:
        """Return what belongs to some tiles, tiles last."""
        return [np.ascontiguousarray(a[tiles].T) for a in maps]

    def blends(self, tiles: np.ndarray) -> TileBlend | None:
        """Return the kernels of the positions of some tiles, where they differ."""
        return self.blend and self.blend.of_tiles(tiles, last=False)


def fit_on_off(
    strip: Strip,
    memory: int,
    advance: Callable[[float], None],
    *,
    options: FitOptions,
    selection: tuple[str, ...],
    scan_values: np.ndarray | None,
    threshold: float | None,
    n_sweeps: int,
    window: tuple[int, int] | None,
) -> dict[str, np.ndarray]:
    """Fit the pixels of a strip; return the fields of a `NormFit` that are known."""
    if threshold is not None:
        raise InputError(
            " is set; expected None with ON and OFF counts, whose fits take no guess.", "threshold"
        )
    datasets = [OnOffDataset.create(images) for images in strip.datasets]
    whole = sum_whole(datasets, strip.fitted, "sensitivity" in selection)
    lists = _StripLists(datasets, strip.fitted, window, memory)
    total = np.where(whole.has_model, whole.model_sum, 1)
    names = (whole.bound, total, whole.jump, whole.straight, whole.empty_sum, whole.silent_sum)
    tiled = (to_tiles(a.astype(lists.dtype), lists.plan) for a in names)
    bound, total, jump, straight, empty, silent = tiled
    total = np.where(total > 0, total, 1).astype(lists.dtype)
    active: np.ndarray = np.any(to_tiles(whole.has_model, lists.plan), axis=1)
    values = None if scan_values is None else np.asarray(scan_values, lists.dtype)
    signal = any(bool((d.signal > 0).any()) for d in datasets if d.on_off)
    known = any(not d.on_off for d in datasets)

    def solve(
        chunk: Chunk, space: OnOffSpace | None, *, upwards: bool
    ) -> tuple[OnOffSpace, dict[str, Array]]:
        rest = silent if upwards else empty
        own = lists.of_tiles((bound, total, jump, rest), chunk.tiles)
        tiles = OnOffTiles(own[0], own[1], own[2], own[3], lists.blends(chunk.tiles))
        return fit_on_off_chunk(
            lists.flat,
            chunk.bins,
            tiles,
            options,
            values,
            lists.space(chunk, space),
            selection=selection,
            kinds=Kinds(signal, known, upwards),
        )

    def sensitivity(chunk: Chunk, space: OnOffSpace | None) -> tuple[OnOffSpace, dict[str, Array]]:
        own = lists.of_tiles((total, straight), chunk.tiles)
        blend, space = lists.blends(chunk.tiles), lists.space(chunk, space)
        return on_off_sensitivity(lists.flat, chunk.bins, *own, options, blend, space)

    of_all = OnOffTiles(bound, total, jump, empty)
    found = _without_counts(of_all, straight, options, selection, values)
    steps: list[tuple[Any, list[np.ndarray]]] = [
        (partial(solve, upwards=upwards), members)
        for upwards, members in _passes(datasets, selection)
    ]
    if "sensitivity" in selection:
        steps.append((sensitivity, [d.measured for d in datasets]))
    _run(steps, lists, active, found, advance)
    maps = {name: np.asarray(from_tiles(array, lists.plan)) for name, array in found.items()}
    return _assembled(maps, whole, options)


def _run(
    steps: Sequence[tuple[Any, list[np.ndarray]]],
    lists: _StripLists,
    active: np.ndarray,
    found: dict[str, np.ndarray],
    advance: Callable[[float], None],
) -> None:
    """Go through the tiles for each piece of work, and put what it finds where it belongs."""
    many = max(int(active.sum()), 1)
    for index, (work, members) in enumerate(steps):
        done = 0
        # a second fit is for tiles with a best norm below 0
        again = index > 0 and isinstance(work, partial)
        wanted = active & found["below"].any(axis=1) if again else active
        for chunk, arrays in in_threads(work, lists.chunks(members, wanted)):
            own = chunk.tiles[: chunk.number]
            for name, array in arrays.items():
                found[name][..., own, :] = np.swapaxes(array[..., : chunk.number], -1, -2)
            done += chunk.number
            advance(chunk.number / many / len(steps))
        advance((1 - done / many) / len(steps))


def _passes(
    datasets: Sequence[OnOffDataset], selection: tuple[str, ...]
) -> list[tuple[bool, list[np.ndarray]]]:
    """Return which bins are listed in each pass, and whether it finds norms from 0 upwards only."""
    every, short = ([getattr(d, name) for d in datasets] for name in ("listed", "listed_upwards"))
    # most best norms are not below 0 where many bins lack OFF counts, and take short lists
    first = not {"errn-errp", "stat_scan"} & set(selection)
    if first and sum(map(np.sum, short)) < _SHORT * sum(map(np.sum, every)):
        return [(True, short), (False, every)]
    return [(False, every)]


def _without_counts(
    tiles: OnOffTiles,
    straight: np.ndarray,
    options: FitOptions,
    selection: tuple[str, ...],
    values: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Return what holds where no bin is listed: the statistic is a straight line on either side."""
    bound, right, jump = tiles.bound, tiles.model_sum, tiles.jump
    # downwards it rises too, or falls to the bound of bins with a known background
    falls = jump - right <= 0
    norm = np.where(falls & np.isfinite(bound), bound, 0).astype(right.dtype)
    left = np.where(falls, 1, jump - right)
    flags = ("has_counts", "error_at_bound")
    found: dict[str, np.ndarray] = {name: np.zeros(norm.shape, bool) for name in flags}
    slope = np.where(norm < 0, right - jump, right)
    found |= {"norm": norm, "gain": -norm * slope, "at_kink": ~falls}
    found["below"] = right - jump > 0
    found |= {name: np.zeros_like(norm) for name in ("change", "last_step")}
    found["niter"] = np.zeros(norm.shape, np.int32)
    half = 0.5 * float(options.n_sigma) ** 2

    def up(start: np.ndarray, half: float) -> np.ndarray:
        # the line is less steep below norm 0
        below = -np.minimum(start, 0) * (right - jump)
        far = half > below
        slope = np.where((start < 0) & ~far, right - jump, right)
        return np.where(
            far & (start < 0), (half - below) / right - start, half / np.where(slope > 0, slope, 1)
        )

    down = np.where(falls, norm - bound, np.minimum(half / left, norm - bound))
    found["norm_err"] = np.where(falls, np.inf, 0.5 * (half / right + half / left))
    found["norm_err"] = found["norm_err"].astype(norm.dtype)
    if "errn-errp" in selection:
        found |= {"norm_errp": up(norm, half), "norm_errn": down}
    if "ul" in selection:
        base = np.maximum(norm, float(options.norm_min))
        found["norm_ul"] = base + up(base, 0.5 * float(options.n_sigma_ul) ** 2)
    if "sensitivity" in selection:
        known = straight > 0
        norm_ = 0.5 * float(options.n_sigma_sensitivity) ** 2 / np.where(known, straight, 1)
        least = float(options.gamma_min) / right
        found["norm_sensitivity"] = np.where(known, np.maximum(norm_, least), 0)
    if "stat_scan" in selection and values is not None:
        at = values[:, None, None]
        scan = 2 * (at * right - np.minimum(at, 0) * jump)
        found["stat_scan"] = np.where(at < bound, np.inf, scan)
    return {n: np.array(a, norm.dtype) if a.dtype.kind == "f" else a for n, a in found.items()}


def _assembled(
    maps: dict[str, np.ndarray], whole: OnOffWhole, options: FitOptions
) -> dict[str, np.ndarray]:
    """Turn the lists' sums into the quantities of a fit."""
    has_model = whole.has_model
    norm = np.where(has_model, maps["norm"], 0.0)
    gained = np.where(has_model, np.maximum(2 * maps["gain"], 0.0), 0.0)
    flags = {n: maps[n] for n in ("has_counts", "error_at_bound", "last_step", "at_kink")}
    flags |= {n: getattr(whole, n) for n in ("has_model", "counts_on_zero", "bound")}
    flags |= {"norm": norm, "rtol": np.broadcast_to(options.rtol, norm.shape)}
    status = by_element(_statuses, **flags)
    optional = ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity", "stat_scan")
    kept = {name: np.where(has_model, maps[name], 0) for name in optional if name in maps}
    change = np.where(has_model, maps["change"], 0) + norm * whole.plain_sum
    return dict(
        norm=norm,
        norm_err=np.where(has_model, maps["norm_err"], 0),
        ts=np.where(norm < 0, -gained, gained),
        stat=whole.stat_null - gained,
        stat_null=whole.stat_null,
        npred=whole.npred_null + change,
        npred_excess=norm * np.where(has_model, whole.model_sum, 0),
        niter=np.where(maps["has_counts"], maps["niter"], 0).astype(np.int32),
        status=status.astype(np.int8),
        **kept,
    )


_statuses = compiled(on_off_status)
