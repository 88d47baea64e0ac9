"""Kernels that differ from position to position, as blends of basis kernels, for tiles of pixels.

What a source at pixel `p` predicts in a bin over its background is the product of what belongs to
the bin, of what belongs to the pixel, and of the sum over basis kernels of what belongs to both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad.core.ts_map.bins import PIXELS, TILE, BinImages, OwnGrid, TilePlan, to_tiles
from gammagrad.core.ts_map.flat import FlatBins


class TileBlend(NamedTuple):
    """What belongs to the pixels of some tiles; on the host the tiles come first.

    For lists of bins the two last axes are (tiles, pixels), for windows (pixels, tiles).
    """

    # counts of the reference source, shape (images of all datasets, pixels, tiles)
    amplitude: Any
    weights: Any  # weights of the basis kernels, shape (datasets, basis, pixels, tiles)
    # `OwnGrid` of all datasets where one has its own, shape (datasets, pixels, tiles) of each
    places: Any = None

    def of_tiles(self, tiles: np.ndarray, last: bool) -> TileBlend:
        """Return the arrays of some tiles: tiles last, or before the pixels."""
        axis = -1 if last else -2
        return jax.tree.map(lambda a: np.ascontiguousarray(np.moveaxis(a[tiles], 0, axis)), self)


def tile_blend(datasets: Sequence[BinImages], plan: TilePlan) -> TileBlend | None:
    """Sort amplitudes and blends by tile; None where no dataset has any."""
    if not any(d.blended for d in datasets):
        return None
    basis = max(d.kernel.shape[-3] for d in datasets)
    dtype = datasets[0].background.dtype
    amplitudes: list[np.ndarray] = []
    weights = np.zeros((plan.n_tiles, len(datasets), basis, PIXELS), dtype)
    for index, images in enumerate(datasets):
        if not images.blended:
            # its exposure is that of the bins, and its components add up
            ones = np.ones((plan.n_tiles, PIXELS), dtype)
            amplitudes += [ones] * images.counts.shape[0]
            weights[:, index] = 1
            continue
        amplitudes += [to_tiles(image, plan) for image in np.asarray(images.amplitude)]
        for k, image in enumerate(np.asarray(images.blend)):
            weights[:, index, k] = to_tiles(image, plan)
    places = tile_places(datasets, plan)
    return TileBlend(np.stack(amplitudes, axis=1), weights, places)


def tile_places(datasets: Sequence[BinImages], plan: TilePlan) -> OwnGrid | None:
    """Sort by tile where pixels lie on each dataset's grid; None where all have that of the map."""
    if all(d.places is None for d in datasets):
        return None
    (ny, nx), (gy, gx) = plan.shape, plan.grid
    whole = plan._replace(shape=(gy * TILE, gx * TILE))
    # beyond the map as at its edge, so that windows are no larger for it
    more = ((0, whole.shape[0] - ny), (0, whole.shape[1] - nx))
    found = []
    for images in datasets:
        own = images.places
        if own is None:
            rows, cols = np.indices(plan.shape, np.int32)
            own = OwnGrid(rows, cols, np.zeros_like(rows))
        row, col = (
            np.clip(a, -(k // 2) - 1, n + k // 2)
            for a, k, n in zip(
                own[:2], images.kernel.shape[-2:], images.counts.shape[-2:], strict=True
            )
        )
        maps = (np.pad(np.asarray(a, np.int32), more, "edge") for a in (row, col, own.phase))
        found.append([to_tiles(a, whole) for a in maps])
    return OwnGrid(*(np.stack(a, axis=1) for a in zip(*found, strict=True)))


def listed_contrast(flat: FlatBins, blend: TileBlend, share: Array, place: Array) -> Array:
    """Return the contrasts of listed bins, shape (rows, tiles, pixels)."""
    assert flat.image is not None
    assert flat.dataset is not None
    image, tile = flat.image[place], jnp.arange(place.shape[1], dtype=jnp.int32)[None]
    one_blend, basis = blend.weights.shape[0] == 1, blend.weights.shape[1]
    dataset = None if one_blend else flat.dataset[image]

    def of_basis(k: int) -> Array:
        kernel = flat.table[:, k][place]
        if one_blend:
            return kernel * blend.weights[0, k][None]
        return kernel * blend.weights[:, k][dataset, tile]

    contrast = _summed(of_basis, basis, share[..., None])
    if blend.amplitude.shape[0] == 1:
        return contrast * blend.amplitude
    return contrast * blend.amplitude[image, tile]


def window_contrast(
    blend: TileBlend, share: Array, table: Array, image: Array, dataset: Array
) -> Array:
    """Return the contrasts of some places of one image, shape (rows, pixels, tiles)."""
    weights = blend.weights[0 if blend.weights.shape[0] == 1 else dataset]
    every = share[:, :, None]
    contrast = _summed(lambda k: table[:, k, :, None] * weights[k][None], len(weights), every)
    return contrast * blend.amplitude[0 if blend.amplitude.shape[0] == 1 else image][None]


def _summed(of_basis: Callable[[int], Array], basis: int, share: Array) -> Array:
    """Sum the parts of basis kernels, times the one share of a bin or the share of each."""
    parts = [of_basis(k) for k in range(basis)]
    if len(share) > 1:
        parts = [part * own for part, own in zip(parts, share, strict=True)]
    contrast = no_less_than_zero(reduce(operator.add, parts))
    return contrast if len(share) > 1 else contrast * share[0]


def no_less_than_zero(kernel: Array) -> Array:
    """Take what rounding leaves below zero for no model."""
    return jnp.where(kernel > 0, kernel, 0)
