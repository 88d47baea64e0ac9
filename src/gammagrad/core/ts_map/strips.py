"""A map cut into strips of rows, each with the data around it: for memory, and for processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import numpy as np

from gammagrad._pytree import replace
from gammagrad.core.norm import Status, Window
from gammagrad.core.ts_map.bins import TILE, BinImages, OwnGrid
from gammagrad.core.ts_map.wide import Backgrounds

_MEMORY_CPU = 2**28
"""Working memory to aim at on a processor, in bytes."""

_BYTES_BIN, _BYTES_PIXEL, _BYTES_BLEND = 24, 200, 32
"""What the work takes for each bin of a strip, each pixel, and its amplitudes and blend."""

# cost of a pixel for the sums over whole windows, in occupied bins of its window
_COST_OF_PIXEL = 50

# heights of strips are whole numbers of steps, so many to a strip: few heights, few compilations
_STEPS = 16

# strips for each process, for progress, where they are this much higher than their surroundings
_STRIPS_EACH, _HIGH = 4, 8


class Strip(NamedTuple):
    """Rows of a map, and all that their fit needs."""

    rows: slice  # of the map; the last may lie beyond it
    halo: int  # rows of data above and below
    datasets: tuple[BinImages, ...]  # rows outside the map are zero
    fitted: np.ndarray  # pixels to fit, none of them in the halo
    guess: np.ndarray | None  # norms to try first
    # norms of the background to fit; None where it is known
    free: Backgrounds | None = None


def default_memory(on_processor: bool = False) -> int:
    """Return the working memory to aim at if none is given: a fraction of the device's memory."""
    device = jax.devices()[0]
    if on_processor or device.platform == "cpu":
        return _MEMORY_CPU
    known = device.memory_stats() or {}
    return int(known.get("bytes_limit", 8 * _MEMORY_CPU)) // 4


def rows_of_strips(
    datasets: Sequence[BinImages], fitted: np.ndarray, memory: int, processes: int = 1
) -> list[slice]:
    """Cut the rows of a map into strips that fit in memory, enough for some processes."""
    ny, highest = fitted.shape[0], strip_height(datasets, memory)
    if processes == 1 and highest >= ny:
        return [slice(0, ny)]
    many = 1
    if processes > 1:
        each = ny // (processes * _HIGH * max(_halo(datasets), 1))
        many = processes * min(max(each, 1), _STRIPS_EACH)
    return cut_rows(_cost_of_rows(datasets, fitted), many, highest)


def _halo(datasets: Sequence[BinImages]) -> int:
    """Return half the height of the largest kernel on the map's pixels, in whole tiles."""
    sides = (d.kernel.shape[-2] for d in datasets if d.places is None)
    return TILE * max((-(-(side // 2) // TILE) for side in sides), default=1)


def make_strip(
    datasets: Sequence[BinImages],
    fitted: np.ndarray,
    guess: np.ndarray | None,
    rows: slice,
    free: Backgrounds | None = None,
) -> Strip:
    """Return some rows of a map with the data around them; the whole map as it is."""
    if rows == slice(0, fitted.shape[0]):
        return Strip(rows, 0, tuple(datasets), fitted, guess, free)
    halo = _halo(datasets)
    return Strip(
        rows,
        halo,
        tuple(_rows_of(images, rows, halo) for images in datasets),
        np.pad(rows_around(fitted, rows, 0), ((halo, halo), (0, 0))),
        None if guess is None else rows_around(guess, rows, halo),
        None if free is None else _norms_of(free, rows, halo),
    )


def _norms_of(free: Backgrounds, rows: slice, halo: int) -> Backgrounds:
    """Return norms of the background for some rows."""
    return free._replace(windows=Window(*(rows_around(a, rows, halo) for a in free.windows)))


def strip_height(datasets: Sequence[BinImages], memory: int) -> int:
    """Return how many rows of a map fit in memory, a multiple of the tiles' size."""
    ny, nx = datasets[0].map_shape
    on_map = [d for d in datasets if d.places is None]
    plain = len(on_map) == len(datasets) and not any(d.blended for d in datasets)
    # a map that is not cut is not copied
    if plain and ny * nx * _BYTES_PIXEL <= memory:
        return TILE * -(-ny // TILE)
    per_row = nx * (_BYTES_PIXEL + sum(_BYTES_BIN * d.exposure[..., 0, 0].size for d in on_map))
    per_row += sum(_BYTES_BIN * np.size(d.counts) // ny for d in datasets if d.places is not None)
    per_row += nx * sum(
        _BYTES_BLEND * (len(d.amplitude) + len(d.blend)) for d in datasets if d.blended
    )
    halo = max((d.kernel.shape[-2] for d in on_map), default=TILE)
    rows = memory // per_row - halo
    return TILE * max(int(rows) // TILE, -(-halo // TILE))


def cut_rows(cost: np.ndarray, many: int, highest: int | None = None) -> list[slice]:
    """Cut the rows of a map into strips of about equal cost, none higher than allowed."""
    # edges are multiples of the tiles' size, so that the same tiles are solved however it is cut
    step = TILE * max(cost.size // (TILE * _STEPS * many), 1)
    edges = np.arange(-(-cost.size // step) + 1) * step
    reached = np.concatenate([[0.0], np.cumsum(cost)])[np.minimum(edges, cost.size)]
    shares = np.linspace(0, reached[-1], many + 1)[1:-1]
    cuts = [int(np.argmin(np.abs(reached - share))) for share in shares]
    # rows before the first that costs something, and after the last, are in no strip
    first = int(np.searchsorted(reached, 0, side="right")) - 1
    last = int(np.searchsorted(reached, reached[-1]))
    cuts = sorted({first, *(min(max(cut, first), last) for cut in cuts), last})
    strips = []
    for begin, end in pairwise(edges[cuts].tolist()):
        height = end - begin if highest is None else min(highest, end - begin)
        # the last edge may lie beyond the map by more than a low strip
        starts = range(begin, min(end, cost.size), height)
        strips += [slice(row, min(row + height, end)) for row in starts]
    return strips


def _cost_of_rows(datasets: Sequence[BinImages], fitted: np.ndarray) -> np.ndarray:
    """Estimate what each row costs: its fitted pixels, and the occupied bins that they see."""
    ny = fitted.shape[0]
    bins = np.full(ny, float(_COST_OF_PIXEL))
    for images in datasets:
        width = images.kernel.shape[-1]
        seen = np.asarray(images.counts) > 0
        if images.counts_off is not None:
            seen |= np.asarray(images.counts_off) > 0
        occupied = seen.sum(axis=(0, 2))
        total = np.concatenate([[0], np.cumsum(occupied)])
        first, last = _rows_seen(images, ny)
        bins += (total[last] - total[first]) * min(width / images.counts.shape[-1], 1.0)
    return fitted.sum(axis=1) * bins


def _rows_seen(images: BinImages, ny: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of a dataset that each row of a map sees, and the one after the last."""
    reach, number = images.kernel.shape[-2] // 2, images.counts.shape[-2]
    low = high = np.arange(ny)
    if images.places is not None:
        used, row = np.asarray(images.amplitude).max(axis=0) > 0, np.asarray(images.places.row)
        low = np.where(used, row, number + reach).min(axis=1)
        high = np.where(used, row, -reach - 1).max(axis=1)
    first = np.clip(low.astype(np.int64) - reach, 0, number)
    return first, np.clip(high.astype(np.int64) + reach + 1, first, number)


def _rows_of(images: BinImages, rows: slice, halo: int) -> BinImages:
    """Return some rows of a dataset with those around them."""
    if images.places is not None:
        return _placed_rows_of(images, rows, halo)
    counts, background, exposure = (
        rows_around(np.asarray(a), rows, halo)
        for a in (images.counts, images.background, images.exposure)
    )
    amplitude, blend = (
        None if a is None else rows_around(np.asarray(a), rows, halo)
        for a in (images.amplitude, images.blend)
    )
    off, alpha = (
        None if a is None else rows_around(np.asarray(a), rows, halo)
        for a in (images.counts_off, images.alpha)
    )
    return BinImages(
        counts=counts,
        background=background,
        exposure=exposure,
        kernel=np.asarray(images.kernel),
        amplitude=amplitude,
        blend=blend,
        counts_off=off,
        alpha=alpha,
        family=images.family and images.family.rows(rows, halo),
    )


def _placed_rows_of(images: BinImages, rows: slice, halo: int) -> BinImages:
    """Return some rows of a map with the rows that they see of a dataset on a grid of its own."""
    assert images.places is not None
    amplitude, blend, row, col, phase = (
        rows_around(np.asarray(a), rows, halo)
        for a in (images.amplitude, images.blend, *images.places)
    )
    cut = replace(images, amplitude=amplitude, blend=blend, places=OwnGrid(row, col, phase))
    first, last = _rows_seen(cut, row.shape[0])
    seen = first < last
    top = int(first[seen].min()) if seen.any() else 0
    bottom = int(last[seen].max()) if seen.any() else 1
    counts, background, exposure = (
        np.asarray(a)[..., top:bottom, :]
        for a in (images.counts, images.background, images.exposure)
    )
    off, ratio = (
        None if a is None else np.asarray(a)[..., top:bottom, :]
        for a in (images.counts_off, images.alpha)
    )
    return replace(
        cut,
        counts_off=off,
        alpha=ratio,
        counts=counts,
        background=background,
        exposure=exposure,
        kernel=np.asarray(images.kernel),
        places=OwnGrid(row - top, col, phase),
    )


def rows_around(array: np.ndarray, rows: slice, halo: int) -> np.ndarray:
    """Return some rows of maps with those around them, zero outside the map."""
    ny = array.shape[-2]
    first, last = rows.start - halo, rows.stop + halo
    inside = array[..., max(first, 0) : min(last, ny), :]
    beyond = ((max(-first, 0), max(last - ny, 0)), (0, 0))
    return np.pad(inside, ((0, 0),) * (array.ndim - 2) + beyond)


def put(
    maps: dict[str, np.ndarray], strip: Strip, found: Mapping[str, np.ndarray], ny: int
) -> None:
    """Put the maps of a strip into maps of all rows; rows of no strip are not fitted."""
    for name, array in found.items():
        if name not in maps:
            shape = (*array.shape[:-2], ny, array.shape[-1])
            fill = Status.NOT_FITTED if name == "status" else 0
            maps[name] = np.zeros(shape, array.dtype)
            if fill:
                maps[name][...] = fill
        rows = slice(strip.rows.start, min(strip.rows.stop, ny))
        inner = slice(strip.halo, strip.halo + rows.stop - rows.start)
        maps[name][..., rows, :] = array[..., inner, :]
