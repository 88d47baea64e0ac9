"""The bins of all datasets in a row, as lists of them are gathered from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from gammagrad._programs import room
from gammagrad.core.stats import BACKGROUND_FLOOR
from gammagrad.core.ts_map.bins import PIXELS, TILE, BinImages, kernel_table

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


def flat_bins(datasets: Sequence[BinImages], window: tuple[int, int]) -> FlatBins:
    """Put the datasets' bins and kernel tables end to end."""
    table = kernel_tables([np.asarray(d.kernel) for d in datasets], window)
    flat = flat_arrays(datasets, table, table.shape[1])
    if not any(d.blended for d in datasets):
        return flat
    numbers = [d.counts.shape[0] for d in datasets]
    image = np.append(np.repeat(np.arange(sum(numbers)), window_size(window)), 0)
    dataset = np.repeat(np.arange(len(datasets)), numbers)
    of_images = jax.device_put((image.astype(np.int32), dataset.astype(np.int32)))
    return flat._replace(image=of_images[0], dataset=of_images[1])


def flat_arrays(datasets: Sequence[BinImages], table: np.ndarray, components: int) -> FlatBins:
    """Put the datasets' bins end to end, next to a table of kernels."""
    blended = any(d.blended for d in datasets)
    if blended and all(d.exposure.shape[1] == 1 for d in datasets):
        components = 1
    size = sum(np.size(d.counts) for d in datasets)
    number = room(size, LEAST)
    counts = in_a_row([d.counts for d in datasets], number)
    background = in_a_row([d.background for d in datasets], number)
    exposure = np.zeros((components, number), table.dtype)
    first = 0
    for images in datasets:
        own = np.asarray(images.exposure).swapaxes(0, 1)
        last = first + np.size(images.counts)
        # the weight of a bin is that of all basis kernels
        rows = components if images.blended else len(own)
        exposure[:rows, first:last] = own.reshape(len(own), -1)
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
    components = max(k.shape[1] for k in kernels)

    def padded(kernel: np.ndarray) -> np.ndarray:
        sizes = zip(kernel.shape[-2:], window, strict=True)
        halves = (((large - own) // 2,) * 2 for own, large in sizes)
        more = ((0, 0), (0, components - kernel.shape[1]), *halves)
        table = kernel_table(np.pad(kernel, more), np)
        return np.asarray(table).reshape(-1, components, PIXELS)

    tables = [padded(kernel) for kernel in kernels]
    return np.concatenate([*tables, np.zeros_like(tables[0][:1])])
