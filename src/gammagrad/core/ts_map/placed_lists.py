"""Lists of the bins of datasets on pixel grids of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gammagrad.core.ts_map.bins import BinImages
from gammagrad.core.ts_map.blended import TileBlend
from gammagrad.core.ts_map.listed import ListTable, entries_of, list_table


class _Boxes(NamedTuple):
    """Bins of a dataset that tiles may reach, shape (tiles,): first ones, and those after."""

    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray


class _Sorted(NamedTuple):
    """A dataset's listed bins, sorted by pixel."""

    first: np.ndarray  # of each pixel, among the listed bins
    bins: np.ndarray
    images: np.ndarray
    shape: tuple[int, int]
    boxes: _Boxes


class PlacedBins:
    """The bins to list of all datasets; each tile has a box of them on the grid of each."""

    def __init__(
        self, datasets: Sequence[BinImages], members: Sequence[np.ndarray], blend: TileBlend
    ) -> None:
        self.datasets: list[_Sorted] = []
        n_bins = n_images = 0
        for index, (data, member) in enumerate(zip(datasets, members, strict=True)):
            number, ny, nx = member.shape
            reached = blend.amplitude[:, n_images : n_images + number].max(axis=1) > 0
            places = blend.places.row[:, index], blend.places.col[:, index]
            boxes = _boxes(data, places, reached)
            listed = np.flatnonzero(np.moveaxis(member, 0, -1))
            pixel, image = np.divmod(listed, number)
            first = np.zeros(ny * nx + 1, np.int64)
            np.cumsum(member.sum(axis=0), out=first[1:])
            bins = n_bins + image * (ny * nx) + pixel
            self.datasets.append(_Sorted(first, bins, n_images + image, (ny, nx), boxes))
            n_bins += member.size
            n_images += number
        self.dummy = n_images

    def table(self, alone: bool) -> ListTable:
        """Return what belongs to the listed bins, see `Listing`."""
        bins = None if alone else [d.bins for d in self.datasets]
        return list_table([d.images for d in self.datasets], self.dummy, bins)

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many bins each tile lists, shape (tiles,)."""
        total = np.zeros(self.datasets[0].boxes.top.shape, np.int64)
        for data in self.datasets:
            sums = np.pad(np.diff(data.first).reshape(data.shape), ((1, 0), (1, 0)))
            sums = sums.cumsum(axis=0).cumsum(axis=1)
            top, bottom, left, right = data.boxes
            total += sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return total

    def of_tiles(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """List the bins of some tiles, see `Listing`."""
        starts, numbers, before = [], [], 0
        for data in self.datasets:
            top, bottom, left, right = (a[tiles][:, None] for a in data.boxes)
            rows = top + np.arange(np.max(bottom - top))
            base = np.minimum(rows, data.shape[0] - 1) * data.shape[1]
            begin = data.first[base + left]
            starts.append(begin + before)
            numbers.append(np.where(rows < bottom, data.first[base + right] - begin, 0))
            before += data.bins.size
        start, number = np.concatenate(starts, axis=1), np.concatenate(numbers, axis=1)
        return *entries_of(start, number), np.zeros(tiles.size, np.int32)


def _boxes(data: BinImages, places: tuple[np.ndarray, np.ndarray], reached: np.ndarray) -> _Boxes:
    """Return the bins that tiles reach from the places of their pixels, shape (tiles, pixels)."""
    ends = []
    for place, size, number in zip(
        places, data.kernel.shape[-2:], data.counts.shape[-2:], strict=True
    ):
        first = np.where(reached, place, number + size).min(axis=1) - size // 2
        last = np.where(reached, place, -size).max(axis=1) + size // 2 + 1
        first = np.clip(first, 0, number)
        ends += [first, np.clip(last, first, number)]
    return _Boxes(*ends)
