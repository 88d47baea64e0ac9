"""Maps of the norm and of a spectral index, from occupied bins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from gammagrad._programs import room
from gammagrad.core.norm import MAY_HAVE_INDEX, NormFit, status_with_index
from gammagrad.core.ts_map.bin_sums import LEAD
from gammagrad.core.ts_map.bins import BinImages, TilePlan, from_tiles, to_tiles
from gammagrad.core.ts_map.chunk import TileInputs
from gammagrad.core.ts_map.fixed_norm import Asked, assembled, without_counts
from gammagrad.core.ts_map.flat import LEAST, in_a_row, kernel_tables
from gammagrad.core.ts_map.index_chunk import (
    IndexBins,
    IndexSpace,
    IndexTiles,
    empty_space,
    fit_index_chunk,
)
from gammagrad.core.ts_map.index_family import ModelSums, model_sums
from gammagrad.core.ts_map.listed import Chunk, ListedBins, Workspace, chunks
from gammagrad.core.ts_map.sparse import StripBins, fit_occupied
from gammagrad.core.ts_map.strips import Strip
from gammagrad.core.ts_map.threads import in_threads, n_threads
from gammagrad.core.ts_map.whole_map import whole_map

_FEW, _MANY, _LATE = (8, 1), (30, 10), 1e-3
"""Sweeps in single precision and in that of the data, for all tiles and for those of which a pixel
has made a last step above the limit, in errors."""

_ENTRIES = 2**16
"""Rows times tiles of a chunk on a processor."""


class IndexRange(NamedTuple):
    """The fixed index, and how many indices a unit of `z` is; see `IndexFamily`."""

    fixed: float
    half: float


def fit_index_occupied(
    datasets: Sequence[BinImages], fitted: np.ndarray, indices: IndexRange, **how: Any
) -> NormFit:
    """Fit norm and index at the pixels of a map; the datasets have an `IndexFamily` each."""
    return fit_occupied(datasets, fitted, fit=partial(fit_index_strip, indices=indices), **how)


def fit_index_strip(
    strip: Strip,
    asked: Asked,
    memory: int,
    advance: Callable[[float], None],
    indices: IndexRange,
) -> dict[str, np.ndarray]:
    """Fit the pixels of a strip; return the fields of a `NormFit` that are known."""
    whole = whole_map(strip.datasets, strip.fitted)
    bins = StripBins(strip, whole, asked.window, memory // n_threads())
    sums = model_sums(strip.datasets, whole.has_model)
    tiles = TileInputs(to_tiles(whole.bound, bins.plan), bins.model_sum)
    own, family = _tiles_of(strip.datasets, sums, bins.plan), _family_bins(strip.datasets, bins)
    tried = np.asarray(strip.datasets[0].family.tried, bins.dtype)

    def solve(
        chunk: Chunk, space: IndexSpace | None, most: tuple[int, int]
    ) -> tuple[IndexSpace, dict[str, Array]]:
        return fit_index_chunk(
            bins.flat,
            family,
            chunk.bins,
            bins.inputs(tiles, chunk),
            jax.tree.map(chunk.of_pixels, own),
            tried,
            asked.options,
            _space(chunk, space, family, own, bins.dtype),
            (np.int32(most[0]), np.int32(most[1])),
            n_sweeps=asked.n_sweeps,
        )

    found = without_counts(tiles, asked) | _without_index(bins.model_sum)
    many = max(int(bins.active.sum()), 1)
    done = 0
    for most, which in ((_FEW, _all), (_MANY, _unfinished)):
        active = bins.active & which(found)
        for chunk, arrays in in_threads(partial(solve, most=most), _chunks(bins, active)):
            own_tiles = chunk.tiles[: chunk.number]
            for name, values in arrays.items():
                found[name][own_tiles] = chunk.by_tile(values)
            if which is _all:
                done += chunk.number
                advance(chunk.number / many)
    advance(1 - done / many)
    of_fixed = {n: a for n, a in found.items() if not n.startswith("free_")}
    maps = {n: np.asarray(from_tiles(found[n], bins.plan)) for n in found.keys() - of_fixed.keys()}
    fixed = assembled(of_fixed, bins.plan, whole, asked.options)
    return _with_index(fixed, maps, whole.background_sum, asked, indices)


def _space(
    chunk: Chunk, space: IndexSpace | None, family: IndexBins, own: IndexTiles, dtype: Any
) -> IndexSpace:
    """Return the memory for a chunk of lists: that of the last one if it fits."""
    shape = chunk.capacity, chunk.tiles.size
    if space is not None and space.lists.full[0].shape == shape:
        return space
    apart = 0 if family.counts is None else family.counts.shape[1]
    powers = family.kernel.shape[1] if apart else len(own.counts)
    made = empty_space(rows=shape[0], tiles=shape[1], powers=powers, apart=apart, dtype=dtype)
    return IndexSpace(Workspace(*made.lists), *made[1:])


def _without_index(like: np.ndarray) -> dict[str, np.ndarray]:
    """Return what holds where no occupied bin is seen."""
    found = {name: np.zeros_like(like) for name in _FREE}
    found |= {name: np.zeros(like.shape, bool) for name in _FLAGS}
    return found | {"free_niter": np.zeros(like.shape, np.int32)}


_FREE = (
    *("free_counts", "free_sum", "free_shape", "free_gain"),
    *("free_variance", "free_var_shape", "free_cov", "free_alone", "free_last_step"),
)
_FLAGS = ("free_fine", "free_at_limit", "free_wanted")


def _all(found: dict[str, np.ndarray]) -> np.ndarray:
    """Return all tiles."""
    return np.ones(len(found["norm"]), bool)


def _unfinished(found: dict[str, np.ndarray]) -> np.ndarray:
    """Return the tiles of which a pixel needs more sweeps."""
    late = found["free_wanted"] & (found["free_last_step"] > _LATE)
    return np.asarray(late.any(axis=1))


def _chunks(bins: StripBins, active: np.ndarray) -> Iterator[Chunk]:
    """Return the chunks of lists of occupied bins."""
    occupied = [np.asarray(d.counts) > 0 for d in bins.datasets]
    listed = ListedBins(occupied, bins.kernels, bins.window)
    entries = bins.entries()
    if jax.default_backend() == "cpu":
        entries = min(entries, _ENTRIES)
    return chunks(listed, active, entries)


def _family_bins(datasets: Sequence[BinImages], bins: StripBins) -> IndexBins:
    """Put the changes of all datasets' bins and kernels end to end."""
    table = kernel_tables([np.asarray(d.family.kernel, LEAD) for d in datasets], bins.window)
    if any(d.blended for d in datasets):
        counts = None
    else:
        number = room(sum(np.size(d.counts) for d in datasets), LEAST)
        powers = len(datasets[0].family.counts)
        counts = np.stack(
            [
                in_a_row([np.asarray(d.family.counts[k], LEAD) for d in datasets], number)
                for k in range(powers)
            ],
            axis=-1,
        )
    placed = jax.device_put((counts, table))
    return IndexBins(*placed)


def _tiles_of(datasets: Sequence[BinImages], sums: ModelSums, plan: TilePlan) -> IndexTiles:
    """Sort by tile what belongs to pixels."""

    def tiled(maps: np.ndarray) -> np.ndarray:
        lead = maps.shape[:-2]
        flat = maps.astype(LEAD, copy=False).reshape(-1, *maps.shape[-2:])
        tiles = np.stack([to_tiles(image, plan) for image in flat])
        return np.ascontiguousarray(tiles).reshape(*lead, *tiles.shape[1:])

    counts = None
    if any(d.blended for d in datasets):
        counts = tiled(np.concatenate([_of_positions(d) for d in datasets], axis=1))
    return IndexTiles(tiled(sums.share), tiled(sums.change), counts)


def _of_positions(images: BinImages) -> np.ndarray:
    """Return the changes of the counts at each position."""
    return np.asarray(images.family.counts)


def _with_index(
    fixed: dict[str, np.ndarray],
    maps: dict[str, np.ndarray],
    background_sum: np.ndarray,
    asked: Asked,
    indices: IndexRange,
) -> dict[str, np.ndarray]:
    """Put norm and index where both are known into the maps of a fit with the fixed index."""
    n_sigma = float(asked.options.n_sigma)
    gained = 2 * maps["free_gain"]
    status = fixed["status"]
    # a fit that is less likely than that with the fixed index is none
    better = maps["free_wanted"] & (gained >= np.abs(fixed["ts"]) - 1e-6 * (1 + np.abs(gained)))
    usable = np.isin(status, MAY_HAVE_INDEX) & better & (maps["free_counts"] > 0)
    at_limit = usable & maps["free_at_limit"]
    fitted = usable & maps["free_fine"] & ~at_limit
    free = fitted | at_limit
    norm = maps["free_counts"] / np.where(free, maps["free_sum"], 1)
    with np.errstate(invalid="ignore"):
        relative = np.sqrt(
            np.where(at_limit, maps["free_alone"], maps["free_variance"] * maps["free_counts"] ** 2)
        )
        error = relative / np.where(free, maps["free_sum"], 1)
        own_error = np.sqrt(maps["free_var_shape"])
        both = np.sqrt(maps["free_variance"] * maps["free_var_shape"])
        correlation = maps["free_cov"] / np.where(both > 0, both, 1)
    excess = np.where(free, maps["free_counts"], fixed["npred_excess"])
    late = maps["free_last_step"] > float(asked.options.rtol)
    code = status_with_index(np, status, free, at_limit, late)
    ts = np.where(free, np.maximum(gained, np.abs(fixed["ts"])), np.abs(fixed["ts"]))
    return fixed | {
        "norm": np.where(free, norm, fixed["norm"]),
        "norm_err": np.where(free, n_sigma * error, fixed["norm_err"]),
        "ts": np.where(free, ts, fixed["ts"]),
        "stat": np.where(free, fixed["stat_null"] - ts, fixed["stat"]),
        "npred": background_sum + excess,
        "npred_excess": excess,
        "niter": np.where(free, maps["free_niter"], fixed["niter"]).astype(np.int32),
        "status": code.astype(np.int8),
        "index": np.where(free, indices.fixed + indices.half * maps["free_shape"], np.nan),
        "index_err": np.where(fitted, n_sigma * indices.half * own_error, np.nan),
        "norm_index_corr": np.where(fitted, np.clip(correlation, -1, 1), np.nan),
        "ts_index": np.where(free, ts - np.abs(fixed["ts"]), 0.0),
    }
