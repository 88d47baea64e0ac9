"""The physical bound of the norm over a whole map, exact but visiting few kernel offsets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.windows import BinImages

__all__ = ["kernel_reach", "local_max", "steepest_ratio"]


def local_max(image: Array, window: tuple[int, int]) -> Array:
    """Maximum over a centred odd window; outside the image counts as minus infinity.

    Parameters
    ----------
    image
        Shape (..., rows, cols).
    window
        Odd sizes (rows, cols) of the window.

    Returns
    -------
    Array
        Same shape as `image`.
    """
    for axis, size in zip((-2, -1), window, strict=True):
        half, length = size // 2, image.shape[axis]
        pad = [(0, 0)] * image.ndim
        pad[axis] = (half, half)
        best = jnp.pad(image, pad, constant_values=-jnp.inf)
        reach = 1  # best[i] covers `reach` elements from i on
        while reach < size:
            shift = min(reach, size - reach)
            total = best.shape[axis]
            here = jax.lax.slice_in_dim(best, 0, total - shift, axis=axis)
            there = jax.lax.slice_in_dim(best, shift, total, axis=axis)
            best = jnp.maximum(here, there)
            reach += shift
        image = jax.lax.slice_in_dim(best, 0, length, axis=axis)
    return image


@jax.jit
def steepest_ratio(images: BinImages, fitted: Array, best: Array) -> Array:
    """Largest model-to-background ratio among each pixel's bins that have background.

    The physical bound is minus its inverse. Kernel offsets are visited from the largest value
    down, and visiting stops once ``kernel x local maximum of exposure/background`` cannot beat
    what every pixel already has.

    Parameters
    ----------
    images
        Bins of one dataset.
    fitted
        Pixels whose bound is wanted, bool, shape (rows, cols).
    best
        Ratios found in other datasets, same shape; zero to begin with.

    Returns
    -------
    Array
        The ratios, shape (rows, cols), 1 / norm; zero where no bin has a model.
    """
    ky, kx = images.kernel.shape[-2:]
    has_background = images.background > 0
    safe = jnp.where(has_background, images.background, jnp.ones_like(images.background))
    ratio = jnp.where(has_background[:, None], images.exposure / safe[:, None], 0)
    peak = images.kernel.max(axis=(-2, -1))
    relative = images.kernel / jnp.where(peak > 0, peak, jnp.ones_like(peak))[..., None, None]
    envelope = relative.max(axis=1).reshape(relative.shape[0], -1)
    ceiling = local_max((peak[..., None, None] * ratio).sum(axis=1), (ky, kx))
    order = jnp.argsort(-envelope, axis=1)
    padding = ((0, 0), (0, 0), (ky // 2, ky // 2), (kx // 2, kx // 2))
    ratio = jnp.pad(ratio, padding)
    settled = jnp.where(fitted, jnp.zeros_like(best), jnp.full_like(best, jnp.inf))

    def visit_image(best: Array, image: tuple[Array, ...]) -> tuple[Array, None]:
        ratio, kernel, envelope, order, ceiling = image
        flat = kernel.reshape(kernel.shape[0], -1)

        def hopeful(state: tuple[Array, Array]) -> Array:
            step, best = state
            weight = envelope[order[jnp.minimum(step, ky * kx - 1)]]
            open_ = (weight * ceiling > jnp.maximum(best, settled)).any()
            return (step < ky * kx) & (weight > 0) & open_

        def visit(state: tuple[Array, Array]) -> tuple[Array, Array]:
            step, best = state
            offset = order[step]
            start = (jnp.zeros_like(offset), offset // kx, offset % kx)
            there = jax.lax.dynamic_slice(ratio, start, (ratio.shape[0], *best.shape))
            value = (flat[:, offset][:, None, None] * there).sum(axis=0)
            return step + 1, jnp.maximum(best, value)

        _, best = jax.lax.while_loop(hopeful, visit, (jnp.int32(0), best))
        return best, None

    best, _ = jax.lax.scan(visit_image, best, (ratio, images.kernel, envelope, order, ceiling))
    return best


@jax.jit
def kernel_reach(bins: Array, kernel: Array) -> Array:
    """Whether a source at a pixel has model counts in one of the given bins.

    Parameters
    ----------
    bins
        Bins and components that count, bool, shape (images, components, rows, cols).
    kernel
        Shape (images, components, kernel rows, kernel cols).

    Returns
    -------
    Array
        Bool, shape (rows, cols).
    """
    ky, kx = kernel.shape[-2:]
    support = (kernel > 0).reshape(*kernel.shape[:2], -1)
    padded = jnp.pad(bins, ((0, 0), (0, 0), (ky // 2, ky // 2), (kx // 2, kx // 2)))

    def visit(reached: Array, offset: Array) -> tuple[Array, None]:
        zero = jnp.zeros_like(offset)
        there = jax.lax.dynamic_slice(padded, (zero, zero, offset // kx, offset % kx), bins.shape)
        inside = support[:, :, offset][..., None, None]
        return reached | (there & inside).any(axis=(0, 1)), None

    reached = jnp.zeros(bins.shape[2:], bool)
    return jax.lax.scan(visit, reached, jnp.arange(ky * kx, dtype=jnp.int32))[0]
