"""The sparse engine with ON and OFF counts: lists of the bins that have counts of either kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from gammagrad._programs import by_element, compiled, room
from gammagrad._pytree import replace
from gammagrad.core.norm import FitOptions, on_off_status
from gammagrad.core.stats import BACKGROUND_FLOOR, on_off_fit, w_terms
from gammagrad.core.ts_map.bins import BinImages, TilePlan, from_tiles, to_tiles
from gammagrad.core.ts_map.blended import TileBlend, tile_blend
from gammagrad.core.ts_map.flat import LEAST, flat_bins, in_a_row
from gammagrad.core.ts_map.listed import Chunk, ListedBins, chunks, common_window
from gammagrad.core.ts_map.on_off_chunk import (
    Kinds,
    OnOffTiles,
    fit_on_off_chunk,
    on_off_sensitivity,
)
from gammagrad.core.ts_map.on_off_lists import OnOffFlat, OnOffSpace, empty_space
from gammagrad.core.ts_map.placed_lists import PlacedBins
from gammagrad.core.ts_map.places import placed_bins
from gammagrad.core.ts_map.strips import Strip
from gammagrad.core.ts_map.threads import in_threads
from gammagrad.core.ts_map.whole_map import WholeMap, whole_map
from gammagrad.errors import InputError

_ENTRIES_CPU, _ENTRIES_ELSEWHERE = 2**17, 2**22
"""Rows times tiles of lists in a chunk, as without OFF counts."""


_SHORT = 0.6
"""Part of the bins in lists up to which a first fit leaves out those with OFF counts alone."""


class _Dataset(NamedTuple):
    """One dataset's bins, numpy images of one shape."""

    images: BinImages
    on_off: bool
    counts: np.ndarray
    off: np.ndarray
    alpha: np.ndarray  # 0 with a known background
    signal: np.ndarray  # known signal, or known background
    used: np.ndarray  # bins that any model can reach

    @classmethod
    def create(cls, images: BinImages) -> _Dataset:
        """Collect the images of a dataset."""
        counts, signal = np.asarray(images.counts), np.asarray(images.background)
        used = np.asarray(images.exposure).max(axis=1) > 0
        if images.counts_off is None or images.alpha is None:
            none = np.zeros_like(counts)
            floor = np.maximum(signal, BACKGROUND_FLOOR).astype(signal.dtype)
            return cls(images, False, counts, none, none, floor, used)
        alpha = np.where(used, np.asarray(images.alpha), 1).astype(counts.dtype)
        return cls(images, True, counts, np.asarray(images.counts_off), alpha, signal, used)

    @property
    def listed(self) -> np.ndarray:
        """Bins whose statistic is not a straight line on either side of norm 0."""
        if not self.on_off:
            return np.asarray(self.counts > 0)
        return (self.counts > 0) | (self.off > 0) | ((self.signal > 0) & self.used)

    @property
    def listed_upwards(self) -> np.ndarray:
        """Bins whose statistic is not a straight line from norm 0 upwards."""
        if not self.on_off:
            return self.listed
        return (self.counts > 0) | ((self.signal > 0) & self.used)

    @property
    def measured(self) -> np.ndarray:
        """Bins that have a background, for the sensitivity."""
        return self.used if not self.on_off else self.used & ((self.off > 0) | (self.signal > 0))

    def sums_of(self, factor: np.ndarray, image: np.ndarray) -> BinImages:
        """Return images whose model sums have a factor, and whose background is some image."""
        exposure = np.asarray(self.images.exposure) * factor[:, None]
        return replace(
            self.images,
            counts=np.zeros_like(self.counts),
            background=np.maximum(image, BACKGROUND_FLOOR).astype(self.counts.dtype),
            exposure=exposure.astype(self.counts.dtype),
        )


@compiled
def _null(signal: Array, n: Array, k: Array, alpha: Array) -> tuple[Array, Array]:
    """Return the statistic and the ON prediction of bins without the model."""
    return w_terms(signal, n, k, alpha), on_off_fit(signal, n, k, alpha).predicted


class _Whole(NamedTuple):
    """What all bins enter, maps (rows, cols)."""

    model_sum: np.ndarray
    jump: np.ndarray  # of half the slope at norm 0
    empty_sum: np.ndarray  # model counts in bins without any counts
    silent_sum: np.ndarray  # the same without ON counts
    straight: np.ndarray  # slope of the statistic that the sensitivity is for
    bound: np.ndarray
    has_model: np.ndarray
    stat_null: np.ndarray
    npred_null: np.ndarray
    counts_on_zero: np.ndarray


def _whole(datasets: Sequence[_Dataset], fitted: np.ndarray, sensitivity: bool) -> _Whole:
    """Sum over the windows of a map."""
    on_off = [d for d in datasets if d.on_off]
    stats, npreds = zip(*(_null_maps(d) for d in on_off), strict=True)
    ones = [np.ones_like(d.counts) for d in on_off]
    empty = [(d.used & ~d.listed).astype(d.counts.dtype) for d in on_off]
    all_bins = _sums(on_off, ones, npreds, fitted)
    per_share = [e * (1 + 1 / d.alpha) for e, d in zip(empty, on_off, strict=True)]
    jump = _sums(on_off, per_share, stats, fitted)
    zero = np.zeros_like(all_bins.model_sum)
    silent = [(d.used & ~d.listed_upwards).astype(d.counts.dtype) for d in on_off]
    straight = zero
    if sensitivity:
        without = [(d.used & ~d.measured) * np.log1p(1 / d.alpha) for d in on_off]
        straight = _model_sum(_sums(on_off, without, npreds, fitted))
    whole = _Whole(
        model_sum=_model_sum(all_bins),
        jump=_model_sum(jump),
        empty_sum=_model_sum(_sums(on_off, empty, npreds, fitted)),
        silent_sum=_model_sum(_sums(on_off, silent, npreds, fitted)),
        straight=straight,
        bound=np.full_like(zero, -np.inf),
        has_model=all_bins.has_model,
        stat_null=jump.background_sum,
        npred_null=all_bins.background_sum,
        counts_on_zero=np.zeros(zero.shape, bool),
    )
    known = [d.images for d in datasets if not d.on_off]
    if not known:
        return whole
    other = whole_map(known, fitted)
    return whole._replace(
        model_sum=whole.model_sum + _model_sum(other),
        bound=np.where(other.has_model, other.bound, -np.inf),
        has_model=whole.has_model | other.has_model,
        stat_null=whole.stat_null + other.stat_null,
        npred_null=whole.npred_null + other.background_sum,
        counts_on_zero=other.counts_on_zero,
    )


def _null_maps(dataset: _Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the statistic and the ON prediction of every bin without the model."""
    size = (room(dataset.counts.size, LEAST),)
    arrays = (dataset.signal, dataset.counts, dataset.off, dataset.alpha)
    rows = (in_a_row([a], size[0]) for a in arrays[:3])
    alpha = np.append(arrays[3].ravel(), np.ones(size[0] - arrays[3].size, arrays[3].dtype))
    found = _null(*rows, alpha)
    shape = dataset.counts.shape
    stat, npred = (np.asarray(a)[: dataset.counts.size].reshape(shape) for a in found)
    return stat, npred


def _sums(
    datasets: Sequence[_Dataset],
    factors: Sequence[np.ndarray],
    images: Sequence[np.ndarray],
    fitted: np.ndarray,
) -> WholeMap:
    """Sum models with factors, and some images, over windows."""
    parts = zip(datasets, factors, images, strict=True)
    return whole_map([d.sums_of(factor, image) for d, factor, image in parts], fitted)


def _model_sum(whole: WholeMap) -> np.ndarray:
    """Return the sum of the model, without the rounding of transforms where there is none."""
    return np.where(whole.has_model, whole.model_sum, 0)


class _StripLists:
    """Lists of the bins of a strip, and what belongs to its tiles."""

    def __init__(
        self,
        datasets: Sequence[_Dataset],
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
        flat = placed_bins(images) if self.placed else flat_bins(images, self.window)
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
        return self.blend and self.blend.of_tiles(tiles)


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
    datasets = [_Dataset.create(images) for images in strip.datasets]
    whole = _whole(datasets, strip.fitted, "sensitivity" in selection)
    lists = _StripLists(datasets, strip.fitted, window, memory)
    total = np.where(whole.has_model, whole.model_sum, 1)
    names = (whole.bound, total, whole.jump, whole.straight, whole.empty_sum, whole.silent_sum)
    bound, total, jump, straight, empty, silent = (
        to_tiles(a.astype(lists.dtype), lists.plan) for a in names
    )
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
        space = lists.space(chunk, space)
        blend = lists.blends(chunk.tiles)
        return on_off_sensitivity(lists.flat, chunk.bins, *own, options, blend, space)

    found = _without_counts(
        OnOffTiles(bound, total, jump, empty), straight, options, selection, values
    )
    every, short = ([getattr(d, name) for d in datasets] for name in ("listed", "listed_upwards"))
    steps: list[tuple[Any, list[np.ndarray]]] = [(partial(solve, upwards=False), every)]
    # most best norms are not below 0 where many bins lack OFF counts, and take short lists
    first = not {"errn-errp", "stat_scan"} & set(selection)
    if first and sum(map(np.sum, short)) < _SHORT * sum(map(np.sum, every)):
        steps.insert(0, (partial(solve, upwards=True), short))
    if "sensitivity" in selection:
        steps.append((sensitivity, [d.measured for d in datasets]))
    wanted = active
    many = max(int(active.sum()), 1)
    for work, members in steps:
        done = 0
        if work is sensitivity:
            wanted = active
        for chunk, arrays in in_threads(work, lists.chunks(members, wanted), lists.flat.off):
            own = chunk.tiles[: chunk.number]
            for name, array in arrays.items():
                found[name][..., own, :] = np.swapaxes(array[..., : chunk.number], -1, -2)
            done += chunk.number
            advance(chunk.number / many / len(steps))
        advance((1 - done / many) / len(steps))
        wanted = wanted & found["below"].any(axis=1)
    maps = {name: np.asarray(from_tiles(array, lists.plan)) for name, array in found.items()}
    return _assembled(maps, whole, options)


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
    maps: dict[str, np.ndarray], whole: _Whole, options: FitOptions
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
    change = np.where(has_model, maps["change"], 0)
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
