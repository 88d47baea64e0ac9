"""Images of sources on pixels of different sizes, and PSF kernels between the pixels."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

__all__ = ["add_window", "block_sum", "cut_window", "place_kernel", "shared_sum"]


def block_sum(images: ArrayLike, factor: int) -> Array:
    """Sum blocks of pixels.

    Parameters
    ----------
    images
        Images, shape (..., ny * factor, nx * factor).
    factor
        Side of a block in pixels; static.

    Returns
    -------
    Array
        Shape (..., ny, nx).

    Raises
    ------
    ValueError
        If the images are not a whole number of blocks.
    """
    images = jnp.asarray(images)
    *lead, ny, nx = images.shape
    if factor < 1 or ny % factor or nx % factor:
        raise ValueError(f"images of {ny} x {nx} pixels do not divide into blocks of {factor}.")
    if factor == 1:
        return images
    return images.reshape(*lead, ny // factor, factor, nx // factor, factor).sum(axis=(-3, -1))


def shared_sum(values: ArrayLike, factor: int) -> Array:
    """Sum samples into pixels, each shared by the five pixels around it along either side.

    A sum over blocks moves every sample to the middle of its pixel, and what a kernel then makes
    of the image depends on where in the pixel a source lies. Here the shares keep the first four
    moments of every sample's position: the weights of Lagrange interpolation on five nodes, so
    that a convolution with a smooth kernel is that of the samples where they are.

    Parameters
    ----------
    values
        Samples, `factor` along the side of a pixel at equal steps from edge to edge; shape
        (n, ny * factor, nx * factor).
    factor
        Samples along the side of a pixel; static.

    Returns
    -------
    Array
        Shape (n, ny + 4, nx + 4): the pixels, and two more on every side.
    """
    values = jnp.asarray(values)
    place = (np.arange(factor) + 0.5) / factor - 0.5
    nodes = np.arange(-2, 3)
    shares = np.ones((factor, 5))
    for k, node in enumerate(nodes):
        for other in nodes[nodes != node]:
            shares[:, k] *= (place - other) / (node - other)
    weights = jnp.asarray(shares, values.dtype)
    for _ in range(2):
        # the last axis, then the one before: each pass swaps them
        n, first, last = values.shape
        parts = values.reshape(n, first, last // factor, factor) @ weights
        total = jnp.zeros((n, first, last // factor + 4), values.dtype)
        for k in range(5):
            total = total.at[:, :, k : k + last // factor].add(parts[..., k])
        values = total.swapaxes(1, 2)
    return values


def _cubic(distance: Array) -> Array:
    """Weights of cubic convolution: continuous slope, exact for parabolas (Keys 1981, eq. 15)."""
    d = jnp.abs(distance)
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return jnp.where(d < 1.0, near, jnp.where(d < 2.0, far, jnp.zeros_like(d)))


def _shift(kernel: Array, centre: Array, n_out: int, axis: int, margin: int) -> Array:
    """Put kernels on a longer or shorter axis, their middle at a fractional index."""
    n_in = kernel.shape[axis]
    # as far as the middle may move, and room for the four weights
    reach = max(n_out - n_in, 0) // 2 + margin
    width = (n_out - n_in) // 2 + reach + 3
    padding = [(0, 0, 0)] * kernel.ndim
    padding[axis] = (width, width, 0)
    padded = lax.pad(kernel, jnp.zeros((), kernel.dtype), padding)
    whole = lax.stop_gradient(jnp.floor(centre))
    result = jnp.zeros((), kernel.dtype)
    for step in (-1, 0, 1, 2):
        start = width + (n_in - 1) // 2 - step - whole.astype(int)
        part = lax.dynamic_slice_in_dim(padded, start, n_out, axis)
        result = result + _cubic(centre - whole - step) * part
    return result


def place_kernel(
    kernel: ArrayLike, y: ArrayLike, x: ArrayLike, shape: tuple[int, int], oversampling: int = 1
) -> Array:
    """Put PSF kernels at a position between the pixels: the image of a point source.

    The finer kernel is shifted by cubic convolution, which keeps sum, centroid and width, and
    then summed to pixels: exact where the position falls on a (finer) pixel centre, and within
    ``0.14 (h / sigma)^4`` of the peak elsewhere for a Gaussian PSF in steps of h.

    Parameters
    ----------
    kernel
        Kernels in pixels `oversampling` times finer, shape (n, ky, kx), odd sides.
    y, x
        Position of the source in pixels of the output (row, column), 0 at the first centre.
        Differentiable. It may lie as far from the middle as the output is wider than the kernel
        on one side, and a pixel more; past that the kernel stays there.
    shape
        Pixels (ny, nx) of the output; static. A smaller output cuts the kernel.
    oversampling
        Finer pixels along the side of a pixel; odd, static.

    Returns
    -------
    Array
        Images, shape (n, ny, nx).

    References
    ----------
    Keys (1981), IEEE Trans. Acoustics, Speech, and Signal Processing 29, 1153, eq. 15.
    """
    kernel = jnp.asarray(kernel)
    for axis, (position, n_pix) in enumerate(zip((y, x), shape, strict=True), start=1):
        centre = jnp.asarray(position) * oversampling + (oversampling - 1) / 2
        kernel = _shift(kernel, centre, n_pix * oversampling, axis, oversampling)
    return block_sum(kernel, oversampling)


def cut_window(
    cube: ArrayLike,
    start: ArrayLike,
    shape: tuple[int, int],
    margins: tuple[tuple[int, int], tuple[int, int]],
) -> Array:
    """Cut a window out of a map, the pixels beyond the map like the nearest one in it.

    Parameters
    ----------
    cube
        The map, shape (n, rows, cols).
    start
        First row and column that the window has of the map, shape (2,); traced.
    shape
        Rows and columns that it has of the map; static.
    margins
        Rows above and below them, columns left and right, beyond the map; static.

    Returns
    -------
    Array
        The window, shape (n, rows, cols).
    """
    cube = jnp.asarray(cube)
    row, col = lax.stop_gradient(jnp.asarray(start)).astype(jnp.int32)
    part = lax.dynamic_slice(cube, (jnp.int32(0), row, col), (cube.shape[0], *shape))
    return jnp.pad(part, ((0, 0), *margins), mode="edge")


def add_window(cube: Array, part: Array, start: ArrayLike) -> Array:
    """Add a window to a map.

    Parameters
    ----------
    cube
        The map, shape (n, rows, cols).
    part
        The window, shape (n, ny, nx), which lies in the map.
    start
        Its first row and column in the map, shape (2,); traced.

    Returns
    -------
    Array
        The sum. Its derivative takes time for the window only, not for the map.
    """
    index = lax.stop_gradient(jnp.asarray(start)).astype(jnp.int32)
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(0, 1, 2), inserted_window_dims=(), scatter_dims_to_operand_dims=(1, 2)
    )
    return lax.scatter_add(cube, index, part, numbers, mode="promise_in_bounds")
