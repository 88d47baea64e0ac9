"""Same-size convolution of images."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._pytree import pytree, static_field
from gammagrad.errors import InputError

DIRECT_MAX_PIXELS = 49
"""Kernels of up to this many pixels are convolved directly when the method is ``"auto"``."""


def _image(value: ArrayLike, name: str) -> Array:
    """Return an array after checking that it is a two-dimensional one with pixels."""
    array = jnp.asarray(value)
    if array.ndim != 2 or array.size == 0:
        raise InputError(
            f"{name} must be a two-dimensional array with at least one pixel, got shape "
            f"{array.shape}; use jax.vmap or convolve_stack for stacks."
        )
    return array


def _as_floats(image: Array, kernel: Array) -> tuple[Array, Array]:
    """Bring both to one floating dtype: the image's, or the kernel's if the image has none."""
    for array in (image, kernel):
        if jnp.issubdtype(array.dtype, jnp.inexact):
            return image.astype(array.dtype), kernel.astype(array.dtype)
    dtype = jnp.zeros(()).dtype
    return image.astype(dtype), kernel.astype(dtype)


@functools.cache
def fast_length(n: int) -> int:
    """Return a length that transforms are fast for, at least as large as a number."""
    # The smallest product of powers of 2, 3 and 5. To import scipy's function for it takes as long
    # as everything else that a small map needs.
    size = int(n)
    odd = (3**i * 5**j for i in range(size.bit_length()) for j in range(size.bit_length()))
    return min(f << (-(-size // f) - 1).bit_length() for f in odd)


def _is_direct(kernel: tuple[int, ...], method: str) -> bool:
    """Tell whether a kernel of this shape is summed instead of transformed."""
    return method == "direct" or (method == "auto" and kernel[0] * kernel[1] <= DIRECT_MAX_PIXELS)


def _convolve_from(image: Array, kernel: Array, start: tuple[int, int], method: str) -> Array:
    """Convolve with zeros outside; `start` is the kernel pixel that lands on the output pixel."""
    (ny, nx), (ky, kx), (sy, sx) = image.shape, kernel.shape, start
    if method not in ("auto", "fft", "direct"):
        raise InputError(f'method must be "auto", "fft" or "direct", got {method!r}.')
    if _is_direct((ky, kx), method):
        # padding here, and "valid" there, lets the kernel be larger than the image on any side
        padded = jnp.pad(image, ((ky - 1 - sy, sy), (kx - 1 - sx, sx)))
        return jax.scipy.signal.convolve2d(
            padded, kernel, mode="valid", precision=lax.Precision.HIGHEST
        )
    full = (ny + ky - 1, nx + kx - 1)
    extra = tuple((0, fast_length(n) - n) for n in full)
    result = jax.scipy.signal.fftconvolve(jnp.pad(image, extra), kernel)
    return result[sy : sy + ny, sx : sx + nx]


def convolve(image: ArrayLike, kernel: ArrayLike, method: str = "auto") -> Array:
    """Convolve an image with a kernel, zeros outside, the result of the image's size."""
    # ``result[p] = sum_q kernel[q] image[p - q + c]`` with the kernel's centre ``c = (k - 1) // 2``
    # along each axis, as ``scipy.signal.convolve(..., mode="same")`` does for kernels smaller than
    # the image. The kernel may be larger than the image.
    # A NaN in the image stays within the kernel's reach when the method is direct; an FFT spreads
    # it, and rounding noise of about 1e-16 of the largest value (float64), over the whole result.
    image, kernel = _as_floats(_image(image, "image"), _image(kernel, "kernel"))
    ky, kx = kernel.shape
    return _convolve_from(image, kernel, ((ky - 1) // 2, (kx - 1) // 2), method)


@pytree
class PreparedKernel:
    """A kernel, or several, made ready for many images of one size, see `prepare_kernel`."""

    values: Array  # the kernel, or its transform; of several, all of them
    shape: tuple[int, int] = static_field()  # shape of the images
    start: tuple[int, int] = static_field()  # the kernel's pixel that lands on the output pixel
    # sides of the transform; None where the kernel is summed instead
    lengths: tuple[int, int] | None = static_field()

    def convolve(self, image: Array) -> Array:
        """Convolve an image with the kernel, zeros outside, the result of the image's size."""
        values = jnp.asarray(self.values)
        if self.lengths is None:
            if values.ndim == 2:
                return _convolve_from(image, values, self.start, "direct")
            # one after the other: on CPUs several at once take ten times as long
            images = jnp.broadcast_to(image, (len(values), *self.shape))
            start = self.start
            return lax.map(
                lambda pair: _convolve_from(pair[0], pair[1], start, "direct"), (images, values)
            )
        spectrum = jnp.fft.rfft2(image, s=self.lengths)
        product = jnp.broadcast_to(spectrum, values.shape) * values
        (ny, nx), (sy, sx) = self.shape, self.start
        full = jnp.fft.irfft2(product, s=self.lengths)
        return full[..., sy : sy + ny, sx : sx + nx]


def prepare_kernel(
    kernel: Any,
    shape: tuple[int, ...],
    method: str = "auto",
    start: tuple[int, int] | None = None,
    xp: Any = jnp,
) -> PreparedKernel:
    """Transform a kernel once for all images of a size that it shall be convolved with."""
    (ny, nx), (ky, kx) = shape, kernel.shape[-2:]
    sy, sx = start or ((ky - 1) // 2, (kx - 1) // 2)
    if _is_direct((ky, kx), method):
        return PreparedKernel(kernel, (ny, nx), (sy, sx), None)
    # what wraps around must miss the rows and columns that are kept, no more
    reach = (max(sy, ky - 1 - sy), max(sx, kx - 1 - sx))
    lengths = (fast_length(max(ny + reach[0], ky)), fast_length(max(nx + reach[1], kx)))
    return PreparedKernel(xp.fft.rfft2(kernel, s=lengths), (ny, nx), (sy, sx), lengths)


def kernel_inside(kernel: Array, shape: tuple[int, ...]) -> Array:
    """Sum the part of a kernel around each pixel that lies inside the image."""
    # a sum over any rectangle of the kernel is a difference of these
    sums = jnp.pad(jnp.cumsum(jnp.cumsum(kernel, axis=0), axis=1), ((1, 0), (1, 0)))
    for axis, (n, k) in enumerate(zip(shape, kernel.shape, strict=True)):
        last = np.arange(n) + (k - 1) // 2 + 1
        sums = _at(sums, np.minimum(last, k), axis) - _at(sums, np.clip(last - n, 0, k), axis)
    return sums


def _at(array: Array, index: np.ndarray, axis: int) -> Array:
    """Take entries along an axis: one after the other, the first and last perhaps repeatedly."""
    first, last = int(index[0]), int(index[-1])
    repeated = [(0, 0)] * array.ndim
    repeated[axis] = (int(np.sum(index == first)) - 1, 0)
    if last > first:
        repeated[axis] = (repeated[axis][0], int(np.sum(index == last)) - 1)
    return jnp.pad(lax.slice_in_dim(array, first, last + 1, axis=axis), repeated, mode="edge")


def convolve_stack(images: ArrayLike, kernel: ArrayLike, method: str = "auto") -> Array:
    """Convolve every image of a stack, with one kernel or with one each."""
    images, kernel = jnp.asarray(images), jnp.asarray(kernel)
    if images.ndim != 3 or kernel.ndim not in (2, 3):
        raise InputError(
            "images must have shape (n, ny, nx) and kernel (ky, kx) or (n, ky, kx), got "
            f"{images.shape} and {kernel.shape}."
        )
    if kernel.ndim == 3 and len(kernel) != len(images):
        raise InputError(
            f"there must be one kernel or one for each of the {len(images)} images, "
            f"got {len(kernel)}."
        )
    if _is_direct(kernel.shape[-2:], method):
        # one after the other: on CPUs several at once take ten times as long
        kernels = jnp.broadcast_to(kernel, (len(images), *kernel.shape[-2:]))
        return lax.map(lambda pair: convolve(pair[0], pair[1], method), (images, kernels))
    kernel_axis = None if kernel.ndim == 2 else 0
    return jax.vmap(lambda i, k: convolve(i, k, method), in_axes=(0, kernel_axis))(images, kernel)


def box_sum(image: ArrayLike, shape: tuple[int, int]) -> Array:
    """Sum an image over a rectangle around each pixel, zeros outside."""
    # Equal to `convolve` with a kernel of ones, but summed along one axis after the other, without
    # the rounding noise of an FFT.
    image = _image(image, "image")
    ky, kx = (int(side) for side in shape)
    if ky < 1 or kx < 1:
        raise InputError(f"shape must have sides of at least one pixel, got {tuple(shape)}.")
    if image.dtype == jnp.bool_:
        image = image.astype(jnp.int32)
    total: Array = image
    zero = np.zeros((), image.dtype)
    for window in ((ky, 1), (1, kx)):
        padding = [(k // 2, (k - 1) // 2) for k in window]
        total = jnp.asarray(lax.reduce_window(total, zero, lax.add, window, (1, 1), padding))
    return total
