"""The bins of all datasets in a row, as lists of them are gathered from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._programs import compiled, room
from gammagrad.core.stats import BACKGROUND_FLOOR
from gammagrad.core.ts_map.bins import PIXELS, BinImages, kernel_table

_LEAST = 2**17
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


def flat_bins(datasets: Sequence[BinImages], window: tuple[int, int]) -> FlatBins:
    """Put the datasets' bins and kernel tables end to end."""
    table = _table([np.asarray(d.kernel) for d in datasets], window)
    size = sum(np.size(d.counts) for d in datasets)
    number = room(size, _LEAST)
    counts = _in_a_row([d.counts for d in datasets], number)
    background = _in_a_row([d.background for d in datasets], number)
    exposure = np.zeros((table.shape[1], number), table.dtype)
    first = 0
    for images in datasets:
        own = np.asarray(images.exposure).swapaxes(0, 1)
        last = first + np.size(images.counts)
        exposure[: len(own), first:last] = own.reshape(len(own), -1)
        first = last
    return _flat(*jax.device_put((counts, background, exposure, table)))


def _in_a_row(arrays: Sequence[Any], number: int) -> np.ndarray:
    """Put arrays end to end, with zeros behind."""
    row = np.zeros(number, arrays[0].dtype)
    first = 0
    for array in arrays:
        row[first : first + array.size] = np.asarray(array).reshape(-1)
        first += array.size
    return row


@compiled
def _flat(counts: Array, background: Array, exposure: Array, table: Array) -> FlatBins:
    """Divide by backgrounds that do not vanish."""
    background = jnp.maximum(background, BACKGROUND_FLOOR)
    # the third power of a contrast is needed, whatever the kernel's scale
    largest = float(jnp.finfo(background.dtype).max)
    steepest = jnp.minimum(largest**0.3 / jnp.max(table), largest)
    return FlatBins(
        counts=counts,
        background=background,
        share=jnp.minimum(exposure / background[None], steepest),
        table=table,
    )


def _table(kernels: Sequence[np.ndarray], window: tuple[int, int]) -> np.ndarray:
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
