"""Sums over the windows of a block of pixels, and its physical bound, exact but of few visits."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.images import DIRECT_MAX_PIXELS, fast_length
from gammagrad.core.stats import cash


class BlockImages(NamedTuple):
    """A block of a dataset's bins, with half a kernel around it, see `BinImages`."""

    # counts, background: shape (images, rows, cols)
    counts: Any
    background: Any
    exposure: Any  # shape (images, components, rows, cols)


class BlockKernel(NamedTuple):
    """A kernel, made ready for blocks of one size."""

    kernel: Array  # shape (images, components, kernel rows, kernel cols)
    # its transform, mirrored, shape (images times components, ...); None where sums are made
    # without one
    spectrum: Array | None
    peak: Array  # its largest values, shape (images, components)
    # largest value at each place over the components, relative to their peaks, shape (images,
    # places)
    envelope: Array
    order: Array  # places from the largest value down, same shape


@compiled(static=("side",))
def block_kernel(kernel: Array, *, side: int) -> BlockKernel:
    """Make a kernel ready for blocks of one size."""
    ky, kx = kernel.shape[-2:]
    spectrum = None
    if kernel.shape[0] * kernel.shape[1] > 1 or ky * kx > DIRECT_MAX_PIXELS:
        mirrored = kernel.reshape(-1, ky, kx)[:, ::-1, ::-1]
        spectrum = jnp.fft.rfft2(mirrored, s=_lengths(side, (ky, kx)))
    peak = kernel.max(axis=(-2, -1))
    relative = kernel / jnp.where(peak > 0, peak, jnp.ones_like(peak))[..., None, None]
    envelope = relative.max(axis=1).reshape(len(kernel), -1)
    return BlockKernel(kernel, spectrum, peak, envelope, jnp.argsort(-envelope, axis=1))


def _lengths(side: int, window: tuple[int, int]) -> tuple[int, int]:
    """Return sides of a transform whose ends do not meet inside a block."""
    return fast_length(side + window[0] - 1), fast_length(side + window[1] - 1)


@compiled
def block_sums(
    images: BlockImages, kernel: BlockKernel, fitted: Array, steepest: Array
) -> dict[str, Array]:
    """Sum over the window of each pixel of a block, and find what bounds its norm."""
    window = kernel.kernel.shape[-2:]
    model_sum, scale = _model_sum(images.exposure, kernel)
    reached = local_max(_stacked(images.exposure.reshape(-1, *images.exposure.shape[-2:])), window)
    empty, counted = images.background <= 0, images.counts > 0
    return {
        "model_sum": model_sum,
        "scale": scale,
        "background_sum": _box_sum(_stacked(images.background), window),
        "stat_null": _box_sum(_stacked(cash(images.counts, images.background)), window),
        "reached": reached > 0,
        "steepest": _steepest(images, kernel, fitted & (reached > 0), steepest),
        "bare": _reach(empty, images.exposure, kernel.kernel),
        "counts_on_zero": _reach(empty & counted, images.exposure, kernel.kernel),
    }


def _model_sum(exposure: Array, kernel: BlockKernel) -> tuple[Array, Array]:
    """Sum the model over each pixel's window; return the size that its rounding is of, too."""
    flat = exposure.reshape(-1, *exposure.shape[-2:])
    (ky, kx), (ny, nx) = kernel.kernel.shape[-2:], exposure.shape[-2:]
    if kernel.spectrum is None:
        mirrored = kernel.kernel[0, 0, ::-1, ::-1]
        total = jax.scipy.signal.convolve2d(
            flat[0], mirrored, mode="valid", precision=lax.Precision.HIGHEST
        )
        return total, jnp.zeros((), total.dtype)
    side = ny - ky + 1
    lengths = _lengths(side, (ky, kx))
    spectra = jnp.fft.rfft2(flat, s=lengths) * kernel.spectrum
    total = jnp.fft.irfft2(spectra.sum(axis=0), s=lengths).astype(flat.dtype)
    return total[ky - 1 : ny, kx - 1 : nx], jnp.max(total)


def _stacked(images: Array) -> Array:
    """Sum images: as a product, which is several times as fast as a sum over the first axis."""
    flat = images.reshape(len(images), -1)
    total = jnp.matmul(jnp.ones_like(flat[:, :1]).T, flat, precision="highest")
    return total.reshape(images.shape[1:])


def _box_sum(image: Array, window: tuple[int, ...]) -> Array:
    """Sum over the windows that lie inside an image, along one axis after the other."""
    zero = np.zeros((), image.dtype)
    for sides in ((window[0], 1), (1, window[1])):
        image = jnp.asarray(lax.reduce_window(image, zero, lax.add, sides, (1, 1), "VALID"))
    return image


def local_max(image: Array, window: tuple[int, ...]) -> Array:
    """Return the maximum over the windows that lie inside an image."""
    for axis, size in zip((-2, -1), window, strict=True):
        reach = 1  # image[i] covers `reach` elements from i on
        while reach < size:
            shift = min(reach, size - reach)
            total = image.shape[axis]
            here = lax.slice_in_dim(image, 0, total - shift, axis=axis)
            there = lax.slice_in_dim(image, shift, total, axis=axis)
            image = jnp.maximum(here, there)
            reach += shift
    return image


def _steepest(images: BlockImages, kernel: BlockKernel, fitted: Array, best: Array) -> Array:
    """Return the largest model-to-background ratio among each pixel's bins with background."""
    # The physical bound is minus its inverse. Kernel offsets are visited from the largest value
    # down, and visiting stops once ``kernel x local maximum of exposure/background`` cannot beat
    # what every pixel already has.
    ky, kx = kernel.kernel.shape[-2:]
    has_background = images.background > 0
    safe = jnp.where(has_background, images.background, jnp.ones_like(images.background))
    ratio = jnp.where(has_background[:, None], images.exposure / safe[:, None], 0)
    ceiling = local_max((kernel.peak[..., None, None] * ratio).sum(axis=1), (ky, kx))
    settled = jnp.where(fitted, jnp.zeros_like(best), jnp.full_like(best, jnp.inf))

    def visit_image(best: Array, image: tuple[Array, ...]) -> tuple[Array, None]:
        ratio, values, envelope, order, ceiling = image
        flat = values.reshape(values.shape[0], -1)

        def hopeful(state: tuple[Array, Array]) -> Array:
            step, best = state
            weight = envelope[order[jnp.minimum(step, ky * kx - 1)]]
            open_ = (weight * ceiling > jnp.maximum(best, settled)).any()
            return (step < ky * kx) & (weight > 0) & open_

        def visit(state: tuple[Array, Array]) -> tuple[Array, Array]:
            step, best = state
            offset = order[step]
            start = (jnp.zeros_like(offset), offset // kx, offset % kx)
            there = lax.dynamic_slice(ratio, start, (ratio.shape[0], *best.shape))
            value = (flat[:, offset][:, None, None] * there).sum(axis=0)
            return step + 1, jnp.maximum(best, value)

        _, best = lax.while_loop(hopeful, visit, (jnp.int32(0), best))
        return best, None

    of_images = ratio, kernel.kernel, kernel.envelope, kernel.order, ceiling
    return lax.scan(visit_image, best, of_images)[0]


def _reach(special: Array, exposure: Array, kernel: Array) -> Array:
    """Mark the pixels whose model has counts in a bin of a kind that most data do not have."""
    bins = special[:, None] & (exposure > 0)
    ky, kx = kernel.shape[-2:]
    shape = (*bins.shape[:2], bins.shape[2] - ky + 1, bins.shape[3] - kx + 1)
    support = (kernel > 0).reshape(*kernel.shape[:2], -1)

    def visit(offset: Array, reached: Array) -> Array:
        zero = jnp.zeros_like(offset)
        there = lax.dynamic_slice(bins, (zero, zero, offset // kx, offset % kx), shape)
        return reached | (there & support[:, :, offset][..., None, None]).any(axis=(0, 1))

    number = jnp.where(bins.any(), ky * kx, 0).astype(jnp.int32)
    return lax.fori_loop(jnp.int32(0), number, visit, jnp.zeros(shape[2:], bool))
