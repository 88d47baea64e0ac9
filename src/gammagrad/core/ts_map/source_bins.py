"""Bins for kernels that differ from position to position, as the dense engine visits them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.ts_map.bins import (
    PIXELS,
    TILE,
    BinImages,
    TilePlan,
    cube_bins,
    kernel_table,
    known_weights,
)


class SourceBins(NamedTuple):
    """One dataset's bins as images, with the exposure taken where the source is."""

    # counts, background: times weight, shape (images, rows, cols)
    counts: Array
    background: Array
    # weight of each component in a bin, shape (images, components, rows, cols)
    weight: Array
    # counts of the reference source at each position, same shape
    amplitude: Array
    # basis kernels, shape (images, components, basis, kernel rows, kernel cols)
    kernel: Array
    blend: Array  # weights of the basis kernels for each position, shape (basis, rows, cols)
    # weights of the components' amplitudes, as a factor of its own; None where they are `weight`
    strength: Array | None = None
    # OFF counts and acceptance ratios, see `BinImages`
    counts_off: Array | None = None
    alpha: Array | None = None

    @property
    def components(self) -> int:
        """Number of components of an image."""
        return self.weight.shape[1]


def source_bins(images: BinImages) -> SourceBins:
    """Return the images of the sparse engine as the dense one needs them."""
    return SourceBins(
        counts=jnp.asarray(images.counts),
        background=jnp.asarray(images.background),
        weight=jnp.asarray(images.exposure),
        amplitude=jnp.asarray(images.amplitude)[:, None],
        kernel=jnp.asarray(images.kernel)[:, None],
        blend=jnp.asarray(images.blend),
        counts_off=None if images.counts_off is None else jnp.asarray(images.counts_off),
        alpha=None if images.alpha is None else jnp.asarray(images.alpha),
    )


def bins_of_sources(
    counts: Array,
    background: Array,
    exposure: Array,
    kernel: Array,
    weights: Array,
    blend: Array,
    weighting: str | None,
) -> SourceBins:
    """Keep every energy as an image of its own, or sum them with a weighting of the kernel."""
    w = known_weights(counts, background, weights).astype(exposure.dtype)
    known = jnp.isfinite(exposure)
    amplitude = jnp.where(known, jnp.where(known, exposure, 0), 0)
    # a bin with any weight has some, as in other fits
    cube = cube_bins(counts, background, jnp.ones_like(w), jnp.ones_like(kernel[0]), w)
    by_energy = kernel.swapaxes(0, 1)
    if weighting is None:
        return SourceBins(
            cube.counts, cube.background, w[:, None], amplitude[:, None], by_energy[:, None], blend
        )
    n, b = (a.sum(axis=0, keepdims=True) for a in (cube.counts, cube.background))
    if weighting == "counts":
        return SourceBins(n, b, w[None], amplitude[None], by_energy[None], blend)
    total = w.sum(axis=0, keepdims=True)
    share = w / jnp.where(total > 0, total, jnp.ones_like(total))
    return SourceBins(n, b, share[None], amplitude[None], by_energy[None], blend, w[None])


def source_table(images: SourceBins) -> Array:
    """Kernel values between every bin of a window and every pixel, see `kernel_table`."""
    number, components, basis = images.kernel.shape[:3]
    flat = images.kernel.reshape(number, components * basis, *images.kernel.shape[3:])
    table = kernel_table(flat)
    return table.reshape(*table.shape[:3], components, basis, PIXELS)


def pad_sources(images: SourceBins, plan: TilePlan) -> SourceBins:
    """Pad the maps of the sources up to whole tiles."""
    more = [(0, grid * TILE - size) for grid, size in zip(plan.grid, plan.shape, strict=True)]
    amplitude, blend = (
        jnp.pad(a, [(0, 0)] * (a.ndim - 2) + more) for a in (images.amplitude, images.blend)
    )
    return images._replace(amplitude=amplitude, blend=blend)


def source_model(
    images: SourceBins,
    table: Array,
    weight: Array,
    strength: Array | None,
    corner: tuple[Array, Array],
) -> Array:
    """Return what sources at a tile's pixels predict in its bins, shape (images, y, x, pixels)."""

    def of_pixels(array: Array) -> Array:
        start = (jnp.zeros_like(corner[0]),) * (array.ndim - 2) + corner
        cut = jax.lax.dynamic_slice(array, start, (*array.shape[:-2], TILE, TILE))
        return cut.reshape(*array.shape[:-2], PIXELS)

    amplitude, blend = of_pixels(images.amplitude), of_pixels(images.blend)
    kernel = jnp.einsum("byxckp,kp->byxcp", table, blend, precision="highest")
    # what rounding leaves below zero counts as zero
    kernel = jnp.where(kernel > 0, kernel, 0)
    if strength is None:
        return jnp.einsum("byxcp,bcyx,bcp->byxp", kernel, weight, amplitude, precision="highest")
    shape = jnp.einsum("byxcp,bcyx->byxp", kernel, weight, precision="highest")
    return shape * jnp.einsum("bcyx,bcp->byxp", strength, amplitude, precision="highest")
