"""The bins of all datasets in a row, as lists of them are gathered from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from gammagrad._programs import room
from gammagrad.core.stats import BACKGROUND_FLOOR
from gammagrad.core.ts_map.bins import PIXELS, TILE, BinImages

LEAST = 2**17
"""Bins at least: smaller maps all run the same code."""


class FlatBins(NamedTuple):
    """All bins of all datasets in a row, and their kernel table."""

    # counts, background: shape (bins,); backgrounds that vanish are `BACKGROUND_FLOOR`
    counts: Array
    background: Array
    # exposure over background, shape (components, bins): times the kernel it is the contrast
    share: Array
    # kernel between a place in a window and the pixels of the tile, shape (places, components,
    # pixels); zero at the last place, which is that of dummy bins
    table: Array
    # for kernels of positions: image of each place, and dataset of each image, among all of them
    image: Array | None = None
    dataset: Array | None = None
    # for datasets on grids of their own; `table` has then the basis kernels, see `GridTables`
    grids: GridTables | None = None


class GridTables(NamedTuple):
    """Where bins and kernels of several grids are; `table` has shape (basis, kernel values)."""

    # row, col: of each bin on the grid of its dataset
    row: Array
    col: Array
    # For each image, and one without values at the end: its first kernel value of the first phase,
    # the step to those of the next, its kernel's sides, and its dataset.
    first: Array
    step: Array
    rows: Array
    cols: Array
    dataset: Array


def flat_bins(
    datasets: Sequence[BinImages],
    window: tuple[int, int],
    table: np.ndarray,
    which: Sequence[np.ndarray] | None = None,
) -> FlatBins:
    """Put the datasets' bins end to end, all or some of each, next to their kernel tables."""
    flat = flat_arrays(datasets, table, table.shape[1], which)
    if not any(d.blended for d in datasets):
        return flat
    numbers = [d.counts.shape[0] for d in datasets]
    image = np.append(np.repeat(np.arange(sum(numbers)), window_size(window)), 0)
    dataset = np.repeat(np.arange(len(datasets)), numbers)
    of_images = jax.device_put((image.astype(np.int32), dataset.astype(np.int32)))
    return flat._replace(image=of_images[0], dataset=of_images[1])


def listed_room(number: int) -> int:
    """Return the length to which the arrays of listed bins are filled up."""
    return room(number, 2**15, 2**17)


def flat_arrays(
    datasets: Sequence[BinImages],
    table: np.ndarray,
    components: int,
    which: Sequence[np.ndarray] | None = None,
) -> FlatBins:
    """Put the datasets' bins end to end, all or some of each, next to a table of kernels."""
    blended = any(d.blended for d in datasets)
    if blended and all(d.exposure.shape[1] == 1 for d in datasets):
        components = 1
    chosen: Sequence[Any] = [slice(None)] * len(datasets) if which is None else which

    def rows(name: str) -> list[np.ndarray]:
        """Return a field of each dataset, shape (components, bins)."""
        fields = (np.asarray(getattr(d, name)) for d in datasets)
        if name == "exposure":
            fields = (np.swapaxes(a, 0, 1) for a in fields)
        else:
            fields = (a[None] for a in fields)
        pairs = zip(fields, chosen, strict=True)
        return [a.reshape(len(a), -1)[:, own] for a, own in pairs]

    every = rows("counts")
    size = sum(a.size for a in every)
    number = room(size, LEAST) if which is None else listed_room(size)
    counts, background = in_a_row(every, number), in_a_row(rows("background"), number)
    exposure = np.zeros((components, number), table.dtype)
    first = 0
    for images, own in zip(datasets, rows("exposure"), strict=True):
        last = first + own.shape[1]
        # the weight of a bin is that of all basis kernels
        exposure[: components if images.blended else len(own), first:last] = own
        first = last
    # backgrounds that do not vanish, and contrasts whose third power is a number
    np.maximum(background, BACKGROUND_FLOOR, out=background)
    most = float(np.finfo(table.dtype).max)
    largest = max(largest_model(d) for d in datasets) if blended else float(table.max())
    steepest = min(most**0.3 / largest, most) if largest > 0 else most
    with np.errstate(over="ignore"):
        share = np.divide(exposure, background, out=exposure)
    np.minimum(share, steepest, out=share)
    return FlatBins(*jax.device_put((counts, background, share, table)))


def window_size(window: tuple[int, int]) -> int:
    """Return the number of places in the window of a tile, for the largest kernel."""
    return (TILE + window[0] - 1) * (TILE + window[1] - 1)


def largest_model(images: BinImages) -> float:
    """Bound what a reference source may give in a bin of weight one."""
    values = np.abs(np.asarray(images.kernel))
    kernel = np.moveaxis(values, -3, 0).reshape(values.shape[-3], -1).max(axis=1)
    if not images.blended:
        return float(kernel.max())
    blend = np.abs(np.asarray(images.blend)).max(axis=(1, 2))
    return float((kernel * blend).sum() * np.max(images.amplitude)) or 1.0


def in_a_row(arrays: Sequence[Any], number: int) -> np.ndarray:
    """Put arrays end to end, with zeros behind."""
    row = np.zeros(number, arrays[0].dtype)
    first = 0
    for array in arrays:
        row[first : first + array.size] = np.asarray(array).reshape(-1)
        first += array.size
    return row


def kernel_tables(kernels: Sequence[np.ndarray], window: tuple[int, int]) -> np.ndarray:
    """Put kernel tables end to end, with a place of zeros after them."""
    components, number = max(k.shape[1] for k in kernels), sum(len(k) for k in kernels)
    table = np.zeros((number * window_size(window) + 1, components, PIXELS), kernels[0].dtype)
    sides = TILE + window[0] - 1, TILE + window[1] - 1
    places = table[:-1].reshape(number, *sides, components, PIXELS)
    first = 0
    for kernel in kernels:
        ky, kx = kernel.shape[-2:]
        top, left = (window[0] - ky) // 2, (window[1] - kx) // 2
        own = places[first : first + len(kernel), :, :, : kernel.shape[1]]
        values = np.moveaxis(kernel, 1, -1)
        for pixel in range(PIXELS):
            row, col = top + pixel // TILE, left + pixel % TILE
            own[:, row : row + ky, col : col + kx, :, pixel] = values
        first += len(kernel)
    return table
