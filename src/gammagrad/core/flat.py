"""The bins of all datasets in a row, as lists of them are gathered from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.stats import BACKGROUND_FLOOR
from gammagrad.core.windows import PIXELS, BinImages, kernel_table

__all__ = ["FlatBins", "flat_bins"]


class FlatBins(NamedTuple):
    """All bins of all datasets in a row, and their kernel table.

    Attributes
    ----------
    counts, background
        Shape (bins,); backgrounds that vanish are `BACKGROUND_FLOOR`.
    share
        Exposure over background, shape (components, bins): times the kernel it is the contrast.
    table
        Kernel between a place in a window and the pixels of the tile, shape
        (places, components, pixels); zero at the last place, which is that of dummy bins.
    """

    counts: Array
    background: Array
    share: Array
    table: Array


def _by_component(exposure: Array) -> Array:
    """Reorder (images, components, rows, cols) to (components, bins)."""
    return exposure.swapaxes(0, 1).reshape(exposure.shape[1], -1)


def flat_bins(datasets: Sequence[BinImages], window: tuple[int, int]) -> FlatBins:
    """Put the datasets' bins and kernel tables end to end.

    Parameters
    ----------
    datasets
        Bins of each dataset of a joint fit, on one pixel grid.
    window
        Odd sizes (rows, cols) that all kernels are padded to: those of the largest.

    Returns
    -------
    FlatBins
        The bins.
    """
    return _joined(datasets, _table([d.kernel for d in datasets], window))


@jax.jit
def _joined(datasets: Sequence[BinImages], table: Array) -> FlatBins:
    """Put the bins of several datasets end to end."""
    components = table.shape[1]

    def widened(exposure: Array) -> Array:
        rows = _by_component(exposure)
        return jnp.pad(rows, ((0, components - rows.shape[0]), (0, 0)))

    background = jnp.concatenate([d.background.reshape(-1) for d in datasets])
    background = jnp.maximum(background, BACKGROUND_FLOOR)
    exposure = jnp.concatenate([widened(d.exposure) for d in datasets], axis=1)
    # the third power of a contrast is needed, whatever the kernel's scale
    largest = float(jnp.finfo(background.dtype).max)
    steepest = jnp.minimum(largest**0.3 / jnp.max(table), largest)
    return FlatBins(
        counts=jnp.concatenate([d.counts.reshape(-1) for d in datasets]),
        background=background,
        share=jnp.minimum(exposure / background[None], steepest),
        table=table,
    )


@partial(jax.jit, static_argnames="window")
def _table(kernels: Sequence[Array], window: tuple[int, int]) -> Array:
    """Put kernel tables end to end, with a place of zeros after them."""
    components = max(k.shape[1] for k in kernels)

    def padded(kernel: Array) -> Array:
        sizes = zip(kernel.shape[-2:], window, strict=True)
        halves = (((large - own) // 2,) * 2 for own, large in sizes)
        more = ((0, 0), (0, components - kernel.shape[1]), *halves)
        return kernel_table(jnp.pad(kernel, more)).reshape(-1, components, PIXELS)

    tables = [padded(kernel) for kernel in kernels]
    return jnp.concatenate([*tables, jnp.zeros_like(tables[0][:1])])
