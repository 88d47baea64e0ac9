"""Bins of whole windows: for sums that most bins enter.

A place in the window is the same bin for every tile, shifted, so that no list is needed, and the
contrast is an outer product of what belongs to the bin and what belongs to the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad.core.ts_map.bin_sums import CEILING, ROWS, BinSums, Blocks, Edge, Parts, largest_over
from gammagrad.core.ts_map.bins import TILE
from gammagrad.core.ts_map.blended import TileBlend, window_contrast
from gammagrad.core.ts_map.flat import FlatBins

MIDDLE = slice(TILE * (TILE // 2) + TILE // 2, TILE * (TILE // 2) + TILE // 2 + 1)
"""The pixel of a tile that is solved first, to tell the others where to begin."""


PART = 64
"""Places whose contrasts are made at a time, where pixels have kernels of their own."""


class Places(NamedTuple):
    """The places of a tile's window where a kernel has a value."""

    places: Any  # rows of the kernel table, shape (places,), filled up to whole steps
    # rows, cols: where they are in the window, from its corner
    rows: Any
    cols: Any
    images: Any  # index of the first bin of the image that a place belongs to


def window_places(
    table: np.ndarray,
    images: Sequence[int],
    window: tuple[int, int],
    shape: tuple[int, int],
    blended: bool = False,
) -> Places:
    """List the places of a tile's window."""
    number = table.shape[0] - 1
    if blended:
        used = _by_image((table[:-1] != 0).any(axis=(1, 2)).reshape(sum(images), -1))
    else:
        used = np.flatnonzero(table[:-1].max(axis=(1, 2)) > 0)
    # whole sixteenths of the window, so that few numbers of places are compiled for
    rows = PART if blended else ROWS
    step = max(-(-number // (16 * rows)), 1) * rows
    place = np.append(used, np.full(-used.size % step, number))
    image, rest = np.divmod(place, window[0] * window[1])
    row, col = np.divmod(rest, window[1])
    first = np.minimum(image, sum(images) - 1) * (shape[0] * shape[1])
    return Places(*(a.astype(np.int32) for a in (place, row, col, first)))


def _by_image(used: np.ndarray) -> np.ndarray:
    """List the places in use, each image's filled up to whole parts."""
    parts = []
    for index, own in enumerate(used):
        places = index * own.size + np.flatnonzero(own)
        parts += [places, np.full(-places.size % PART, used.size)]
    return np.concatenate(parts)


class _Fields(NamedTuple):
    weights: Array
    share: Array
    table: Array
    # for kernels of positions: what belongs to the pixels, and the image and dataset of each place,
    # the same for a part of them
    blend: TileBlend | None = None
    image: Array | None = None
    dataset: Array | None = None


class Windowed(_Fields, BinSums):
    """All bins of tiles' windows."""

    __slots__ = ()

    def blocks(self, rows: int = ROWS) -> Blocks | Parts:
        """Return the bins in blocks, see `BinSums`."""
        if self.blend is not None:
            zero = jnp.zeros(self.blend.amplitude.shape[1:], self.share.dtype)
            number = self.weights.shape[0] // PART
            return Parts(lambda index: self._part(index * PART, rows), number, zero)
        single = len(self.share) == 1
        first_share, first_table = self.share[0], self.table[:, 0]

        def take(index: Array) -> tuple[Array, Array]:
            at = index * rows
            weights = lax.dynamic_slice_in_dim(self.weights, at, rows)
            if single:
                share = lax.dynamic_slice_in_dim(first_share, at, rows)
                table = lax.dynamic_slice_in_dim(first_table, at, rows)
                return weights[:, None], share[:, None] * table[:, :, None]
            share = lax.dynamic_slice_in_dim(self.share, at, rows, axis=1)
            table = lax.dynamic_slice_in_dim(self.table, at, rows)
            contrast = jnp.einsum("crt,rcp->rpt", share, table, precision="highest")
            return weights[:, None], contrast

        zero = jnp.zeros((self.table.shape[2], self.weights.shape[1]), self.share.dtype)
        return Blocks(take, self.weights.shape[0] // rows, zero)

    def _part(self, at: Array, rows: int) -> Blocks:
        """Return the bins of some places of one image, their contrasts made once."""
        assert self.blend is not None
        assert self.image is not None
        assert self.dataset is not None
        share = lax.dynamic_slice_in_dim(self.share, at, PART, axis=1)
        table = lax.dynamic_slice_in_dim(self.table, at, PART)
        contrast = window_contrast(self.blend, share, table, self.image[at], self.dataset[at])
        # together with the sums they would be too long for compilers to unroll
        contrast = lax.optimization_barrier(contrast)

        def take(index: Array) -> tuple[Array, Array]:
            weights = lax.dynamic_slice_in_dim(self.weights, at + index * rows, rows)
            return weights[:, None], lax.dynamic_slice_in_dim(contrast, index * rows, rows)

        return Blocks(take, PART // rows, jnp.zeros_like(contrast[0]))

    def weights_in_use(self) -> Array:
        """Return the weights of the bins, see `BinSums`."""
        return self.weights

    def edge(self, model_sum: Array) -> Edge:
        """Return what the occupied bins, of one component, say about the best fit, see `Edge`."""
        per_model = 1 / model_sum
        if self.blend is not None:
            proven, steepest = largest_over(
                self.blocks(), lambda n, g: (n * per_model[None] - 1 / g, g), 2
            )
            return Edge(steepest, proven).inside()
        inverse = self._replace(share=1 / self.share, table=1 / self.table)

        def terms(n: Array, g: Array) -> tuple[Array, ...]:
            # see `lower_start`; a bin without a model gives minus infinity
            return n * per_model[None] - g, -g

        proven, steepest = largest_over(inverse.blocks(), terms, 2)
        return Edge(-1 / steepest, proven).inside()

    def of_pixels(self, pixels: slice) -> Windowed:
        """Return the same for some of a tile's pixels."""
        some = self._replace(table=self.table[:, :, pixels])
        if self.blend is None:
            return some
        amplitude, weights, _ = self.blend
        return some._replace(blend=TileBlend(amplitude[:, pixels], weights[:, :, pixels]))

    def in_units(self, unit: Array, dtype: Any) -> Windowed:
        """Return the same for norms times a unit, shape (tiles,), in another precision."""
        if self.blend is not None:
            return self._blended_in_units(self.blend, unit, dtype)
        largest = jnp.max(self.table)
        share = jnp.minimum(self.share * (largest / unit)[None, None], CEILING)
        weights, share, table = (
            a.astype(dtype) for a in (self.weights, share, self.table / largest)
        )
        return Windowed(weights, share, table)

    def _blended_in_units(self, blend: TileBlend, unit: Array, dtype: Any) -> Windowed:
        """Return the same where pixels have kernels of their own."""
        largest, strongest = jnp.max(jnp.abs(self.table)), jnp.max(blend.amplitude, axis=(0, 1))
        strongest = jnp.where(strongest > 0, strongest, 1)
        share = jnp.minimum(self.share * (largest * strongest / unit)[None, None], CEILING)
        amplitude = blend.amplitude / strongest[None, None]
        scaled = self.weights, share, self.table / largest, amplitude, blend.weights
        weights, share, table, *own = (a.astype(dtype) for a in scaled)
        return self._replace(weights=weights, share=share, table=table, blend=TileBlend(*own))


class TileWindows(NamedTuple):
    """The windows of some tiles."""

    places: Places  # the places of a window
    shape: tuple[Any, Any]  # rows and columns of the map
    # top, left: row and column of the corner of each tile's window, shape (tiles,)
    top: Any
    left: Any

    def bins(self, flat: FlatBins, occupied: bool, blend: TileBlend | None = None) -> Windowed:
        """Collect what the tiles see."""
        place, row, col, image = self.places
        y, x = row[:, None] + self.top[None], col[:, None] + self.left[None]
        inside = (y >= 0) & (y < self.shape[0]) & (x >= 0) & (x < self.shape[1])
        which = jnp.where(inside, image[:, None] + y * self.shape[1] + x, 0)
        weights = (flat.counts if occupied else flat.background)[which]
        seen = inside & (weights > 0)
        weights, share = jnp.where(seen, weights, 0), jnp.where(seen[None], flat.share[:, which], 0)
        seen_bins = Windowed(*lax.optimization_barrier((weights, share, flat.table[place])))
        if blend is None:
            return seen_bins
        assert flat.image is not None
        assert flat.dataset is not None
        of_place = flat.image[place]
        return seen_bins._replace(blend=blend, image=of_place, dataset=flat.dataset[of_place])


def corners(
    tiles: np.ndarray, columns: int, halo: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the corners of tiles' windows."""
    row, col = np.divmod(tiles.astype(np.int32), np.int32(columns))
    return row * np.int32(TILE) - np.int32(halo[0]), col * np.int32(TILE) - np.int32(halo[1])
