"""Datasets on pixel grids of their own: their bins in lists, and the contrasts of listed bins."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad.core.ts_map.bins import BinImages
from gammagrad.core.ts_map.blended import TileBlend, no_less_than_zero
from gammagrad.core.ts_map.flat import FlatBins, GridTables, flat_arrays


def placed_bins(datasets: Sequence[BinImages]) -> FlatBins:
    """Put the datasets' bins and basis kernels end to end."""
    basis = max(d.kernel.shape[-3] for d in datasets)
    parts, images, before = [], [], 0
    for index, data in enumerate(datasets):
        kernel = np.asarray(data.kernel)
        if data.places is None:
            kernel = kernel[None]
        phases, number, own, ky, kx = kernel.shape
        rows = np.moveaxis(kernel, 2, 0).reshape(own, -1)
        parts.append(np.pad(rows, ((0, basis - own), (0, 0))))
        step = number * ky * kx
        images += [(before + i * ky * kx, step, ky, kx, index) for i in range(number)]
        before += phases * step
    # an image without values is that of dummies, whose value is the last
    images.append((before, 0, 0, 0, 0))
    parts.append(np.zeros((basis, 1), parts[0].dtype))
    flat = flat_arrays(datasets, np.concatenate(parts, axis=1), basis)
    size = flat.counts.size
    places = np.zeros((2, size), np.int32)
    first = 0
    for data in datasets:
        last = first + np.size(data.counts)
        where = np.indices(np.shape(data.counts)[-2:], np.int32)[:, None]
        shape = (2, *np.shape(data.counts))
        places[:, first:last] = np.broadcast_to(where, shape).reshape(2, -1)
        first = last
    of_images = (np.array(a, np.int32) for a in zip(*images, strict=True))
    return flat._replace(grids=GridTables(*jax.device_put((places[0], places[1], *of_images))))


def placed_contrast(
    flat: FlatBins, blend: TileBlend, share: Array, which: Array, image: Array
) -> Array:
    """Return the contrasts of listed bins, shape (rows, tiles, pixels)."""
    grids = flat.grids
    assert grids is not None
    ky, kx = grids.rows[image], grids.cols[image]
    # once for each bin, not again for each pixel
    dataset, ky, kx, down, right, first, step = lax.optimization_barrier(
        (
            grids.dataset[image],
            ky,
            kx,
            grids.row[which] + ky // 2,
            grids.col[which] + kx // 2,
            grids.first[image],
            grids.step[image],
        )
    )

    def of_bins(array: Array) -> Array:
        return array[..., None]

    def of_pixels(array: Array) -> Array:
        found = array[0][None]
        for index in range(1, len(array)):
            found = jnp.where(of_bins(dataset == index), array[index][None], found)
        return found

    row, col, phase = (of_pixels(a) for a in blend.places)
    up, left = of_bins(down) - row, of_bins(right) - col
    inside = (up >= 0) & (up < of_bins(ky)) & (left >= 0) & (left < of_bins(kx))
    value = of_bins(first) + phase * of_bins(step)
    value = jnp.where(inside, value + up * of_bins(kx) + left, flat.table.shape[1] - 1)
    value = lax.optimization_barrier(value)
    kernel = jnp.zeros(value.shape, share.dtype)
    for k, own in enumerate(flat.table):
        part = _chosen(own, value) * of_pixels(blend.weights[:, k])
        kernel = kernel + (part * of_bins(share[k]) if len(share) > 1 else part)
    contrast = no_less_than_zero(kernel)
    if len(share) == 1:
        contrast = contrast * of_bins(share[0])
    # the image of dummies, the last, has no amplitude of its own and needs none
    number, *sides = blend.amplitude.shape
    index = np.arange(sides[0] * sides[1], dtype=np.int32).reshape(1, *sides)
    index = of_bins(jnp.minimum(image, number - 1)) * (sides[0] * sides[1]) + index
    return contrast * _chosen(blend.amplitude.reshape(-1), index)


def _chosen(array: Array, index: Array) -> Array:
    """Take elements that are known to exist."""
    return array.at[index].get(mode="promise_in_bounds")
