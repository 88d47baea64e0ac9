"""The bins of all datasets in a row, as lists of them are gathered from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.windows import PIXELS, BinImages, kernel_table

__all__ = ["FlatBins", "flat_bins"]


class FlatBins(NamedTuple):
    """All bins of all datasets in a row, and their kernel table.

    Attributes
    ----------
    counts, background
        Shape (bins,), or that of the images of a single dataset.
    exposure
        Shape (components, bins), or that of a single dataset's images.
    table
        Kernel between a place in a window and the pixels of the tile, shape
        (places, components, pixels); zero at the last place, which is that of dummy bins.
    """

    counts: Array
    background: Array
    exposure: Array
    table: Array

    def in_a_row(self) -> FlatBins:
        """Return the same without the axes of images; free in traced code."""
        exposure = _by_component(self.exposure)
        return FlatBins(self.counts.reshape(-1), self.background.reshape(-1), exposure, self.table)


def _by_component(exposure: Array) -> Array:
    """Reorder (images, components, rows, cols) to (components, bins)."""
    if exposure.ndim == 2:
        return exposure
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
        The bins; those of a single dataset are not copied.
    """
    table = _table([d.kernel for d in datasets], window)
    if len(datasets) == 1:
        return FlatBins(datasets[0].counts, datasets[0].background, datasets[0].exposure, table)
    return _joined(datasets, table)


@jax.jit
def _joined(datasets: Sequence[BinImages], table: Array) -> FlatBins:
    """Put the bins of several datasets end to end."""
    components = table.shape[1]

    def widened(exposure: Array) -> Array:
        rows = _by_component(exposure)
        return jnp.pad(rows, ((0, components - rows.shape[0]), (0, 0)))

    return FlatBins(
        counts=jnp.concatenate([d.counts.reshape(-1) for d in datasets]),
        background=jnp.concatenate([d.background.reshape(-1) for d in datasets]),
        exposure=jnp.concatenate([widened(d.exposure) for d in datasets], axis=1),
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
