"""The sensitivity of a chunk of tiles, from every bin of their windows that has a model.

No list is needed: a place in the window is the same bin for every tile, shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad.core.flat import FlatBins
from gammagrad.core.gathered import LEAD, ROWS, Gathered
from gammagrad.core.options import FitOptions
from gammagrad.core.profile import climb
from gammagrad.core.sensitivity import AsimovSums, one_bin_root, required
from gammagrad.core.stats import BACKGROUND_FLOOR
from gammagrad.core.windows import PIXELS, TILE

__all__ = ["Windows", "corners", "memory_for", "sensitivity_chunk", "tiles_at_a_time", "windows"]

# the lead's last relative step: the next, in full precision, is then as small as its rounding
_LEAD_STEP, _LEAD_SWEEPS = 2e-2, 5
# the last of all: the error is cubed
_LAST_STEP, _MOST_SWEEPS = 1e-4, 12


class Windows(NamedTuple):
    """The places of a tile's window where a kernel has a value.

    Attributes
    ----------
    places
        Rows of the kernel table, shape (places,), filled up to whole steps.
    rows, cols
        Where they are in the window, from its corner.
    images
        Index of the first bin of the image that a place belongs to.
    """

    places: Any
    rows: Any
    cols: Any
    images: Any


def windows(
    table: np.ndarray, images: Sequence[int], window: tuple[int, int], shape: tuple[int, int]
) -> Windows:
    """List the places of a tile's window.

    Parameters
    ----------
    table
        Kernel table, shape (places + 1, components, pixels).
    images
        Number of images of each dataset.
    window
        Rows and columns of a tile's window.
    shape
        Shape of the map (rows, cols).

    Returns
    -------
    Windows
        The places, those where no kernel has a value left out as far as whole steps allow.
    """
    number = table.shape[0] - 1
    used = np.flatnonzero(table[:-1].max(axis=(1, 2)) > 0)
    # whole sixteenths of the window, so that few numbers of places are compiled for
    step = max(-(-number // (16 * ROWS)), 1) * ROWS
    place = np.append(used, np.full(-used.size % step, number))
    image, rest = np.divmod(place, window[0] * window[1])
    row, col = np.divmod(rest, window[1])
    first = np.minimum(image, sum(images) - 1) * (shape[0] * shape[1])
    return Windows(*(a.astype(np.int32) for a in (place, row, col, first)))


class _Seen(NamedTuple):
    """What a chunk's tiles see: all that gives a block of bins."""

    flat: FlatBins
    windows: Windows
    top: Array
    left: Array
    shape: tuple[int, int]

    def block(self, index: Array) -> tuple[Array, Array]:
        """Return background, shape (ROWS, tiles), and contrast, (ROWS, pixels, tiles)."""
        place, row, col, image = (
            lax.dynamic_slice_in_dim(a, index * ROWS, ROWS) for a in self.windows
        )
        y, x = row[:, None] + self.top[None], col[:, None] + self.left[None]
        inside = (y >= 0) & (y < self.shape[0]) & (x >= 0) & (x < self.shape[1])
        which = jnp.where(inside, image[:, None] + y * self.shape[1] + x, 0)
        background = jnp.maximum(self.flat.background[which], BACKGROUND_FLOOR)
        share = self.flat.exposure[:, which] / background[None]
        share = jnp.minimum(share, jnp.finfo(share.dtype).max)
        share = lax.optimization_barrier(jnp.where(inside[None], share, 0))
        table = self.flat.table[place]
        if len(share) == 1:
            return background, share[0][:, None] * table[:, 0, :, None]
        contrast = jnp.einsum("crt,rcp->rpt", share, table, precision="highest")
        return background, contrast

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return int(self.windows.places.shape[0]) // ROWS


@partial(jax.jit, static_argnames="shape", donate_argnames="space")
def sensitivity_chunk(
    flat: FlatBins,
    places: Windows,
    tiles: tuple[Array, Array],
    model_sum: Array,
    options: FitOptions,
    space: tuple[Array, Array],
    *,
    shape: tuple[int, int],
) -> tuple[tuple[Array, Array], Array]:
    """Find the sensitivity of one chunk of tiles.

    Parameters
    ----------
    flat
        All bins.
    places
        The places of a window.
    tiles
        Row and column of the corner of each tile's window, shape (tiles,) each.
    model_sum
        Sum of the model counts at norm 1, > 0, shape (pixels, tiles).
    options
        `n_sigma_sensitivity`, `gamma_min` and `bkg_syst_fraction`.
    space
        Memory for all places: shapes (places, tiles) and (places, pixels, tiles).
    shape
        Shape of the map.

    Returns
    -------
    tuple of Array
        The memory, for the next chunk.
    Array
        Norms, shape (pixels, tiles); 0 where the model has no counts.
    """
    seen = _Seen(flat.in_a_row(), places, *tiles, shape)
    space, curvature = _gather(seen, model_sum, space)
    bins = Gathered(space[0], space[1], jnp.asarray(len(places.places), jnp.int32))
    known = curvature > 0
    safe = jnp.where(known, curvature / model_sum**2, 1)
    target = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2, safe.shape)
    start = one_bin_root(jnp.ones_like(safe), safe, target)

    def lead(counts: Array) -> AsimovSums:
        return bins.asimov(counts, model_sum)

    root = climb(lead, start.astype(LEAD), target.astype(LEAD), _LEAD_SWEEPS, _LEAD_STEP)
    start = jnp.where(jnp.isfinite(root) & (root > 0), root.astype(start.dtype), start)
    norm = climb(bins.asimov, start / model_sum, target, _MOST_SWEEPS, _LAST_STEP)
    return space, jnp.where(known, required(norm, model_sum, curvature, options), 0)


def _gather(
    seen: _Seen, like: Array, space: tuple[Array, Array]
) -> tuple[tuple[Array, Array], Array]:
    """Gather all bins, and sum the curvature ``m^2 / b`` of every pixel."""
    zero = np.int32(0)

    def visit(index: Array, state: Any) -> Any:
        (weights, contrasts), total = state
        b, g = seen.block(index)
        weights = lax.dynamic_update_slice(weights, b, (index * ROWS, zero))
        contrasts = lax.dynamic_update_slice(contrasts, g, (index * ROWS, zero, zero))
        return (weights, contrasts), total + (b[:, None] * g * g).sum(axis=0)

    n_blocks = jnp.asarray(seen.n_blocks, jnp.int32)
    return lax.fori_loop(zero, n_blocks, visit, (space, jnp.zeros_like(like)))


def tiles_at_a_time(places: Windows, dtype: Any, memory: int) -> int:
    """Return how many tiles to visit together, for so much memory in bytes."""
    per_tile = len(places.places) * (PIXELS + 1) * np.dtype(dtype).itemsize
    most = memory // max(per_tile, 1)
    return int(max(1, min(128, most // 16 * 16 if most > 16 else most)))


def memory_for(places: Windows, tiles: int, dtype: Any) -> tuple[Array, Array]:
    """Return the memory that `sensitivity_chunk` works in."""
    rows = len(places.places)
    return jnp.zeros((rows, tiles), dtype), jnp.zeros((rows, PIXELS, tiles), dtype)


def corners(
    tiles: np.ndarray, columns: int, halo: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the corners of tiles' windows."""
    row, col = np.divmod(tiles.astype(np.int32), np.int32(columns))
    return row * np.int32(TILE) - np.int32(halo[0]), col * np.int32(TILE) - np.int32(halo[1])
