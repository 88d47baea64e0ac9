"""A pixel's bins: which ones they are, and how tiles of pixels share them.

A dataset's bins lie on images. Each image holds one Poisson number per pixel, the sky cube's
energies being one image each and an image summed over energies being a single one. What a source
at pixel `p` predicts at the bin of pixel `q` is ``m(p, q) = sum_c kernel[c, q - p] exposure[c, q]``
with one component `c` for a cube and as many as there are energies for a summed image.

Where the response differs from place to place, the kernel of every position is a blend of a few
basis kernels, and exposure is taken where the source is:
``m(p, q) = amplitude[p] sum_k blend[k, p] kernel[k, q - p] exposure[q]``, the exposure being the
bin's weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._pytree import pytree
from gammagrad.errors import InputError

TILE = 4
"""Edge of a tile, in pixels: its 16 pixels share one window of bins."""

PIXELS = TILE * TILE
"""Pixels of a tile."""

KERNEL_WEIGHTINGS = ("counts", "equal")
KERNEL_FLOOR = 1e-12


class OwnGrid(NamedTuple):
    """Where the pixels of a map lie on a dataset's own grid, integer maps (rows, cols)."""

    # row, col: the dataset's bin that holds the position; it may lie outside the dataset's map
    row: Any
    col: Any
    phase: Any  # index of the place inside that bin, among those that there are kernels for


@pytree
class BinImages:
    """One dataset's bins as images, with the kernel that a source has on them."""

    counts: Any  # counts times weight, shape (images, rows, cols)
    background: Any  # background times weight, counts per bin, same shape
    # counts that the reference spectrum would give in a pixel, times weight, shape (images,
    # components, rows, cols)
    exposure: Any
    # shape of the source, shape (images, components, kernel rows, kernel cols), odd sizes
    kernel: Any
    # The two that follow are set together, where each position has a kernel of its own. `kernel`
    # has then the shape (images, basis, kernel rows, kernel cols) and may be negative, and
    # `exposure` is (images, 1, rows, cols), the weights of the bins. Who makes them sees to it that
    # blended kernels are not negative, and that where any basis kernel is not zero they are at
    # least 1e-13 of the image's peak: what rounding leaves below zero counts as zero.
    # counts of the reference source at each of its positions, shape (images, rows, cols)
    amplitude: Any = None
    # weight of each basis kernel for a source at each position, shape (basis, rows, cols)
    blend: Any = None
    # `OwnGrid` of a dataset with other pixels than the map to fit. The two above are then
    # maps of the positions to fit, and `kernel` has an axis of phases in front: that of a phase is
    # centred at the bin that holds the position.
    places: OwnGrid | None = None
    # ON and OFF data: OFF counts times weight, and the acceptance of ON over OFF, > 0 and without
    # weight, both of the shape of `counts`. `background` then is the signal that is known.
    counts_off: Any = None
    alpha: Any = None
    # `IndexFamily` of a model whose index is fitted
    family: Any = None

    @property
    def map_shape(self) -> tuple[int, int]:
        """Shape of the map to fit."""
        rows, cols = np.shape(self.counts if self.places is None else self.amplitude)[-2:]
        return rows, cols

    @property
    def blended(self) -> bool:
        """Whether every position has a kernel of its own."""
        return self.blend is not None


def clean_kernel(kernel: Any, xp: Any = jnp) -> Any:
    """Set what is negative or below 1e-12 of an energy's peak to zero."""
    # Such values are the noise of a fast Fourier transform. A lone count that falls on one of them
    # would underflow the curvature of the statistic.
    peak = kernel.max(axis=(-2, -1), keepdims=True)
    keep = (kernel > KERNEL_FLOOR * peak) & (kernel > 0)
    return xp.where(keep, kernel, xp.zeros_like(kernel))


def _weighted(image: Array, weights: Array) -> Array:
    """Multiply by the weight; what has none is zero even where the image is not finite."""
    used = (weights > 0) & jnp.isfinite(image)
    return jnp.where(used, weights * jnp.where(used, image, 0), 0)


def known_weights(counts: Array, background: Array, weights: Array) -> Array:
    """Take the weight from bins whose counts or background are not finite."""
    known = jnp.isfinite(background) & jnp.isfinite(counts)
    return jnp.where(known, weights, jnp.zeros_like(weights))


def cube_bins(
    counts: Array, background: Array, exposure: Array, kernel: Array, weights: Array
) -> BinImages:
    """Keep every energy as an image of its own: the fit of the full cube."""
    w = known_weights(counts, background, weights).astype(exposure.dtype)
    return BinImages(
        counts=_weighted(counts, w),
        background=_weighted(background, w),
        exposure=_weighted(exposure, w)[:, None],
        kernel=clean_kernel(kernel)[:, None],
    )


def summed_bins(
    counts: Array,
    background: Array,
    exposure: Array,
    kernel: Array,
    weights: Array,
    kernel_weighting: str = "counts",
) -> BinImages:
    """Sum the energies into one image."""
    cube = cube_bins(counts, background, exposure, kernel, weights)
    amplitude = cube.exposure[:, 0]
    if kernel_weighting == "equal":
        w = known_weights(counts, background, weights).astype(exposure.dtype)
        total = w.sum(axis=0, keepdims=True)
        share = w / jnp.where(total > 0, total, jnp.ones_like(total))
        amplitude = share * amplitude.sum(axis=0, keepdims=True)
    return BinImages(
        counts=cube.counts.sum(axis=0, keepdims=True),
        background=cube.background.sum(axis=0, keepdims=True),
        exposure=amplitude[None],
        kernel=cube.kernel[:, 0][None],
    )


def weight_offset(counts: Array, weights: Array, summed: bool) -> Array:
    """Return what weights add to the statistic, whatever the norm."""
    # The statistic of weighted counts and predictions lacks ``2 w n log w`` for being the weighted
    # statistic of the counts.
    used = jnp.where(weights > 0, jnp.ones_like(weights), 0)
    # shares of counts, and of bins where there are none: derivatives in the counts ask for them
    n, counted = _weighted(counts, used), _weighted(counts, weights)
    bins, weighed = used, jnp.where(used > 0, weights, 0)
    if summed:
        n, counted, bins, weighed = (
            a.sum(axis=0, keepdims=True) for a in (n, counted, bins, weighed)
        )
    seen = (counted > 0) & (n > 0)
    part, whole = jnp.where(seen, counted, weighed), jnp.where(seen, n, bins)
    known = whole > 0
    mean = jnp.where(known, part, 1) / jnp.where(known, whole, 1)
    return (2 * counted * jnp.log(mean)).sum(axis=0)


class TilePlan(NamedTuple):
    """How a map is cut into tiles. All sizes in pixels; (row, col) order."""

    shape: tuple[int, int]  # shape of the map
    halo: tuple[int, int]  # half the kernel, by which a tile's window exceeds the tile on each side
    grid: tuple[int, int]  # number of tiles along each axis
    window: tuple[int, int]  # shape of a tile's window

    @classmethod
    def create(cls, shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> TilePlan:
        """Plan the tiles of a map for a kernel."""
        (ny, nx), (ky, kx) = shape[-2:], kernel_shape[-2:]
        if ky % 2 == 0 or kx % 2 == 0:
            raise InputError(
                f"The kernel has shape ({ky}, {kx}); both sizes must be odd so that it has a "
                "central pixel. Pad it with a row or column of zeros."
            )
        return cls(
            shape=(ny, nx),
            halo=(ky // 2, kx // 2),
            grid=(-(-ny // TILE), -(-nx // TILE)),
            window=(TILE + ky - 1, TILE + kx - 1),
        )

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return self.grid[0] * self.grid[1]


def kernel_table(kernel: Array) -> Array:
    """Kernel values between every bin of a tile's window and every pixel of the tile."""
    ky, kx = kernel.shape[-2:]
    blocks = []
    for row in range(TILE):
        for col in range(TILE):
            pad = ((0, 0), (0, 0), (row, TILE - 1 - row), (col, TILE - 1 - col))
            blocks.append(jnp.pad(kernel, pad))
    table = jnp.stack(blocks, axis=-1)
    assert table.shape[2:4] == (TILE + ky - 1, TILE + kx - 1)
    return table.transpose(0, 2, 3, 1, 4)


def to_tiles(image: np.ndarray, plan: TilePlan) -> np.ndarray:
    """Reorder a map to shape (tiles, TILE * TILE), padded with zeros."""
    (ny, nx), (gy, gx) = plan.shape, plan.grid
    padded = np.pad(image, ((0, gy * TILE - ny), (0, gx * TILE - nx)))
    return padded.reshape(gy, TILE, gx, TILE).transpose(0, 2, 1, 3).reshape(-1, TILE * TILE)


def from_tiles(tiles: np.ndarray | Array, plan: TilePlan) -> np.ndarray | Array:
    """Undo `to_tiles`."""
    (ny, nx), (gy, gx), lead = plan.shape, plan.grid, tiles.shape[:-2]
    image = tiles.reshape(*lead, gy, gx, TILE, TILE).swapaxes(-3, -2)
    return image.reshape(*lead, gy * TILE, gx * TILE)[..., :ny, :nx]
