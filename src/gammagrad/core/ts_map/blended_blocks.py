"""Sums over the windows of a block of pixels whose kernels differ from position to position."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.stats import cash
from gammagrad.core.ts_map.bins import BinImages
from gammagrad.core.ts_map.blocks import (
    inner_box_sum,
    mirrored_spectrum,
    sum_of_images,
    transform_lengths,
)
from gammagrad.core.ts_map.physical_bound import local_max, raised_to

# numbers copied at a time
_AT_A_TIME = 2**20


_Sums = tuple[Array, Array, Array]


class BlendedImages(NamedTuple):
    """A block of a dataset's bins with half a kernel around it, and its pixels, see `BinImages`."""

    # counts, background, weight: of the bins, shape (images, rows, cols)
    counts: Any
    background: Any
    weight: Any
    # amplitude, blend: of the pixels of the block alone
    amplitude: Any
    blend: Any


class BlendedKernel(NamedTuple):
    """Basis kernels, made ready for blocks of one size."""

    kernel: Array  # shape (images, basis, kernel rows, kernel cols)
    # their transforms, mirrored; None where all weights are products of zeros and ones
    spectrum: Array | None


def needs_transform(weight: np.ndarray) -> bool:
    """Tell whether any image has weights other than a product of rows and columns."""
    used = weight > 0
    product = np.any(used, axis=2, keepdims=True) & np.any(used, axis=1, keepdims=True)
    return not np.array_equal(weight, product)


def blended_kernel(kernel: Any, *, side: int, transform: bool) -> BlendedKernel:
    """Make basis kernels ready for blocks of one size."""
    # on the host, as `block_kernel`
    kernel = np.asarray(kernel)
    spectrum = mirrored_spectrum(kernel, side) if transform else None
    return BlendedKernel(*jax.device_put((kernel, spectrum)))


@compiled(quick=True)
def blended_sums(
    images: BlendedImages, kernel: BlendedKernel, fitted: Array, steepest: Array
) -> dict[str, Array]:
    """Sum over the window of each pixel of a block, and find what bounds its norm."""
    window = kernel.kernel.shape[-2:]
    model_sum, scale, reached = _model_sum(images, kernel)
    empty, counted = images.background <= 0, images.counts > 0
    return {
        "model_sum": model_sum,
        "scale": scale,
        "background_sum": inner_box_sum(sum_of_images(images.background), window),
        "stat_null": inner_box_sum(sum_of_images(cash(images.counts, images.background)), window),
        "reached": reached,
        "steepest": _steepest_ratio(images, kernel.kernel, fitted & reached, steepest),
        "bare": _reached_by(empty, images, kernel.kernel),
        "counts_on_zero": _reached_by(empty & counted, images, kernel.kernel),
    }


def _model_sum(images: BlendedImages, kernel: BlendedKernel) -> tuple[Array, Array, Array]:
    """Sum the model over windows; return the size of its rounding and who is reached, too."""
    zero = jnp.zeros(images.blend.shape[1:], images.blend.dtype)
    size = jnp.abs(images.blend)

    def add(found: _Sums, image: Any) -> tuple[_Sums, None]:
        amplitude, weight, of_image = image
        sums, near = _correlated(weight, of_image)
        total, scale, reached = found
        largest = jnp.abs(sums).max(axis=(1, 2))
        model = amplitude * (images.blend * sums).sum(axis=0)
        rounding = amplitude * (size * largest[:, None, None]).sum(axis=0)
        return (total + model, scale + rounding, reached | (near & (amplitude > 0))), None

    start = zero, zero, jnp.zeros(zero.shape, bool)
    return lax.scan(add, start, (images.amplitude, images.weight, kernel))[0]


def _correlated(weight: Array, kernel: BlendedKernel) -> tuple[Array, Array]:
    """Correlate the weights of an image with its kernels; mark the pixels near any weight."""
    basis, ky, kx = kernel.kernel.shape
    sides = weight.shape[0] - ky + 1, weight.shape[1] - kx + 1
    rows, cols = (weight > 0).any(axis=1), (weight > 0).any(axis=0)

    def without(_: None) -> tuple[Array, Array]:
        return jnp.zeros((basis, *sides), weight.dtype), jnp.zeros(sides, bool)

    def of_rectangle(_: None) -> tuple[Array, Array]:
        # products of the weights of rows and of columns need no transform
        near = [_windows(axis, size) for axis, size in ((rows, ky), (cols, kx))]
        up, left = (a.astype(weight.dtype) for a in near)
        sums = jnp.einsum("yi,kij,xj->kyx", up, kernel.kernel, left, precision="highest")
        return sums, near[0].any(axis=1)[:, None] & near[1].any(axis=1)[None]

    def by_transform(_: None) -> tuple[Array, Array]:
        lengths = transform_lengths(sides[0], (ky, kx))
        spectra = jnp.fft.rfft2(weight, s=lengths)[None] * jnp.asarray(kernel.spectrum)
        total = jnp.fft.irfft2(spectra, s=lengths).astype(weight.dtype)
        sums = total[:, ky - 1 : weight.shape[0], kx - 1 : weight.shape[1]]
        return sums, local_max(weight, (ky, kx)) > 0

    if kernel.spectrum is None:
        return lax.cond(rows.any(), of_rectangle, without, None)
    rectangle = (rows[:, None] & cols[None]).astype(weight.dtype)
    simple = (weight == rectangle).all()
    way = jnp.where(rows.any(), jnp.where(simple, 1, 2), 0)
    return lax.switch(way, (without, of_rectangle, by_transform), None)


def _windows(line: Array, size: int) -> Array:
    """Return the windows of some size on a line, one a row."""
    first = np.arange(line.shape[0] - size + 1)[:, None]
    return line[first + np.arange(size)[None]]


def _blended_at(blend: Array, kernel: Array, offset: Array) -> Array:
    """Blend the values of basis kernels at one offset, none below zero."""
    value = blend[0] * kernel[0, offset]
    for k in range(1, len(blend)):
        value = value + blend[k] * kernel[k, offset]
    return jnp.where(value > 0, value, 0)


def _steepest_ratio(images: BlendedImages, kernel: Array, fitted: Array, best: Array) -> Array:
    """Return the largest model-to-background ratio among each pixel's bins with background."""
    # See `steepest_ratio`: here the envelope is above the kernels of all pixels of the block, as
    # each basis kernel has its largest or its smallest weight.
    ky, kx = kernel.shape[-2:]
    has_background = images.background > 0
    safe = jnp.where(has_background, images.background, jnp.ones_like(images.background))
    ratios = jnp.where(has_background, images.weight / safe, 0)
    settled = jnp.where(fitted, jnp.zeros_like(best), jnp.full_like(best, jnp.inf))
    largest = jnp.where(fitted, images.blend, -jnp.inf).max(axis=(1, 2))
    smallest = jnp.where(fitted, images.blend, jnp.inf).min(axis=(1, 2))
    edges = (jnp.where(fitted.any(), edge, 0)[:, None] for edge in (largest, smallest))
    largest, smallest = edges

    def visit_image(best: Array, image: tuple[Array, ...]) -> tuple[Array, None]:
        ratio, amplitude, own = image
        flat = own.reshape(own.shape[0], -1)
        envelope = jnp.maximum(flat * largest, flat * smallest).sum(axis=0)
        order = jnp.argsort(-envelope)
        ceiling = amplitude * local_max(ratio, (ky, kx))

        def value_at(offset: Array) -> Array:
            there = lax.dynamic_slice(ratio, (offset // kx, offset % kx), best.shape)
            return amplitude * _blended_at(images.blend, flat, offset) * there

        def value_of(offset: Array, row: Array, col: Array) -> Array:
            there = ratio[row + offset // kx, col + offset % kx]
            blended = _blended_at(images.blend[:, row, col], flat, offset)
            return amplitude[row, col] * blended * there

        return raised_to(best, settled, ceiling, (envelope, order), value_at, value_of), None

    return lax.scan(visit_image, best, (ratios, images.amplitude, kernel))[0]


def _reached_by(special: Array, images: BlendedImages, kernel: Array) -> Array:
    """Mark the pixels whose model has counts in a bin of a kind that most data do not have."""
    bins = special & (images.weight > 0)
    ky, kx = kernel.shape[-2:]
    shape = images.blend.shape[1:]

    def visit_image(reached: Array, image: tuple[Array, ...]) -> tuple[Array, None]:
        own, amplitude, values = image
        flat = values.reshape(values.shape[0], -1)

        def visit(offset: Array, reached: Array) -> Array:
            there = lax.dynamic_slice(own, (offset // kx, offset % kx), shape)
            return reached | (there & (_blended_at(images.blend, flat, offset) > 0))

        number = jnp.where(own.any(), ky * kx, 0).astype(jnp.int32)
        near = lax.fori_loop(jnp.int32(0), number, visit, jnp.zeros(shape, bool))
        return reached | (near & (amplitude > 0)), None

    start = jnp.zeros(shape, bool)
    return lax.scan(visit_image, start, (bins, images.amplitude, kernel))[0]


def blended_directly(images: BinImages, where: np.ndarray) -> np.ndarray:
    """Sum the model counts of some pixels without a transform."""
    rows, cols = np.nonzero(where)
    total = np.zeros(rows.size, images.background.dtype)
    ky, kx = images.kernel.shape[-2:]
    blend = np.asarray(images.blend)[:, rows, cols].T
    amplitudes, weights, kernels = (
        np.asarray(a) for a in (images.amplitude, images.exposure, images.kernel)
    )
    at_a_time = max(1, _AT_A_TIME // (ky * kx))
    for amplitude, weight, kernel in zip(amplitudes, weights[:, 0], kernels, strict=True):
        padded = np.pad(weight, ((ky // 2, ky // 2), (kx // 2, kx // 2)))
        seen = np.lib.stride_tricks.sliding_window_view(padded, (ky, kx))
        for begin in range(0, rows.size, at_a_time):
            part = slice(begin, begin + at_a_time)
            own = np.maximum(blend[part] @ kernel.reshape(len(kernel), -1), 0)
            near = seen[rows[part], cols[part]].reshape(own.shape)
            total[part] += amplitude[rows[part], cols[part]] * (own * near).sum(axis=1)
    return total
