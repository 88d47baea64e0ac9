"""Images of sources on pixels of different sizes, and PSF kernels between the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._pytree import pytree, static_field
from gammagrad.errors import InputError


def block_sum(images: ArrayLike, factor: int) -> Array:
    """Sum blocks of pixels."""
    images = jnp.asarray(images)
    *lead, ny, nx = images.shape
    if factor < 1 or ny % factor or nx % factor:
        raise InputError(f"images of {ny} x {nx} pixels do not divide into blocks of {factor}.")
    if factor == 1:
        return images
    return images.reshape(*lead, ny // factor, factor, nx // factor, factor).sum(axis=(-3, -1))


def shared_sum(values: ArrayLike, factor: int) -> Array:
    """Sum samples into pixels, each shared by the five pixels around it along either side."""
    # A sum over blocks moves every sample to the middle of its pixel, and what a kernel then makes
    # of the image depends on where in the pixel a source lies. Here the shares keep the first four
    # moments of every sample's position: the weights of Lagrange interpolation on five nodes, so
    # that a convolution with a smooth kernel is that of the samples where they are.
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


@pytree
class PointKernel:
    """PSF kernels made ready to be put anywhere between pixels, see `prepare_point`."""

    # sums over pixels that begin at each finer pixel, sorted by the place of that within a pixel:
    # shape (oversampling, oversampling, n, rows, cols)
    values: Any
    sides: tuple[int, int] = static_field()  # finer pixels along the sides of the kernels; static
    shape: tuple[int, int] = static_field()  # pixels of the images; static
    oversampling: int = static_field()  # finer pixels along the side of a pixel; static
    # which kernels to use if `values` are those of several sources, with an axis for them in front;
    # else None. What is placed is read there, and not copied first.
    index: Any = None


def _reach(n_in: int, n_out: int, oversampling: int) -> tuple[int, int]:
    """Return how much longer than a kernel its axis must be, and the last place on it."""
    # as far as the middle may move, and room for the four weights
    width = (n_out - n_in) // 2 + max(n_out - n_in, 0) // 2 + oversampling + 3
    return width, n_in + 2 * width - n_out


def _running_sum(values: Any, length: int, axis: int) -> Any:
    """Sum stretches of an axis, by doubling."""

    def part(array: Any, start: int, stop: int) -> Any:
        return array[(slice(None),) * axis + (slice(start, stop),)]

    total, done, span = None, 0, 1
    n = values.shape[axis] - length + 1
    while length:
        if length % 2:
            more = part(values, done, done + n)
            total = more if total is None else total + more
            done += span
        length //= 2
        size = values.shape[axis]
        values = part(values, 0, size - span) + part(values, span, size) if length else values
        span *= 2
    return total


def prepare_point(
    kernel: Any, shape: tuple[int, int], oversampling: int = 1, xp: Any = jnp
) -> PointKernel:
    """Sum kernels to pixels once, for all the places where `place_kernel` may put them."""
    kernel = xp.asarray(kernel)
    _, *sides = kernel.shape
    for axis, n_pix in enumerate(shape, start=1):
        n_in = kernel.shape[axis]
        width, last = _reach(n_in, n_pix * oversampling, oversampling)
        # a whole number of pixels, and what the last of the sums needs
        length = (last // oversampling + n_pix + 1) * oversampling - 1
        padding = [(0, 0)] * 3
        padding[axis] = (max(width, 0), max(length - n_in - width, 0))
        first = max(-width, 0)
        kernel = xp.pad(kernel, padding)[(slice(None),) * axis + (slice(first, first + length),)]
        kernel = _running_sum(kernel, oversampling, axis)
    n, rows, cols = kernel.shape
    f = oversampling
    values = kernel.reshape(n, rows // f, f, cols // f, f).transpose(2, 4, 0, 1, 3)
    return PointKernel(values, (sides[0], sides[1]), shape, oversampling)


def _taps(
    position: ArrayLike, n_in: int, n_pix: int, oversampling: int
) -> tuple[Array, Array, Array]:
    """Return weight, place within a pixel and pixel of the four neighbours along an axis."""
    centre = jnp.asarray(position) * oversampling + (oversampling - 1) / 2
    whole = lax.stop_gradient(jnp.floor(centre))
    width, last = _reach(n_in, n_pix * oversampling, oversampling)
    steps = np.arange(-1, 3)
    start = jnp.clip(width + (n_in - 1) // 2 - steps - whole.astype(int), 0, last)
    weights = _cubic(centre - whole - jnp.asarray(steps, centre.dtype))
    return weights, start % oversampling, start // oversampling


def place_kernel(
    kernel: ArrayLike | PointKernel,
    y: ArrayLike,
    x: ArrayLike,
    shape: tuple[int, int],
    oversampling: int = 1,
) -> Array:
    """Put PSF kernels at a position between the pixels: the image of a point source."""
    # The finer kernel is shifted by cubic convolution, which keeps sum, centroid and width, and
    # summed to pixels: exact where the position falls on a (finer) pixel centre, and within ``0.14
    # (h / sigma)^4`` of the peak elsewhere for a Gaussian PSF in steps of h.
    # Keys (1981), IEEE Trans. Acoustics, Speech, and Signal Processing 29, 1153, eq. 15.
    if not isinstance(kernel, PointKernel):
        kernel = prepare_point(kernel, shape, oversampling)
    values = jnp.asarray(kernel.values)
    values = values if kernel.index is not None else values[None]
    source = jnp.asarray(0 if kernel.index is None else kernel.index, jnp.int32)
    size = (1, 1, 1, values.shape[3], *shape)
    (weight_y, phase_y, row), (weight_x, phase_x, column) = (
        _taps(position, side, n_pix, oversampling)
        for position, side, n_pix in zip((y, x), kernel.sides, shape, strict=True)
    )
    # the sixteen pairs of neighbours
    i, j = np.divmod(np.arange(16), 4)
    starts = (a.astype(jnp.int32) for a in (phase_y[i], phase_x[j], row[i], column[j]))
    pairs = (weight_y[i] * weight_x[j], *starts)

    # one after the other, and again for derivatives: the memory of one, and little to compile
    @jax.checkpoint
    def add(images: Array, pair: tuple[Array, ...]) -> tuple[Array, None]:
        weight, phase_y, phase_x, row, column = pair
        start = (source, phase_y, phase_x, jnp.zeros_like(row), row, column)
        return images + weight * lax.dynamic_slice(values, start, size)[0, 0, 0], None

    zero = jnp.zeros(size[3:], jnp.result_type(values, weight_y))
    return lax.scan(add, zero, pairs)[0]


def _shared(
    cube: Array, shape: Sequence[int], start: ArrayLike
) -> tuple[tuple[int, ...], Array, Array]:
    """Return how many pixels map and window can share, where on the map, and the start."""
    size = cube.shape[1:]
    shared = tuple(min(n, n_map) for n, n_map in zip(shape, size, strict=True))
    first = lax.stop_gradient(jnp.asarray(start)).astype(jnp.int32)
    last = np.array([n_map - n for n, n_map in zip(shared, size, strict=True)], np.int32)
    return shared, jnp.clip(first, 0, last), first


def _slide(values: Array, offset: Array, length: int, axis: int, room: int, mode: str) -> Array:
    """Cut a stretch of an axis that may begin or end up to `room` beyond it."""
    if room:
        widths = [(0, 0)] * values.ndim
        widths[axis] = (room, room)
        values = jnp.pad(values, widths, mode=mode)
    return lax.dynamic_slice_in_dim(values, offset + room, length, axis)


def cut_window(
    cube: ArrayLike,
    start: ArrayLike,
    shape: tuple[int, int],
    covers: tuple[bool, bool] = (False, False),
) -> Array:
    """Cut a window out of a map, the pixels beyond the map like the nearest one in it."""
    cube = jnp.asarray(cube)
    shared, near, first = _shared(cube, shape, start)
    part = lax.dynamic_slice(cube, (jnp.int32(0), *near), (cube.shape[0], *shared))
    for i, (n, n_shared, whole) in enumerate(zip(shape, shared, covers, strict=True)):
        room = n - n_shared if whole else n
        part = _slide(part, first[i] - near[i], n, i + 1, room, "edge")
    return part


def add_window(
    cube: Array, part: Array, start: ArrayLike, covers: tuple[bool, bool] = (False, False)
) -> Array:
    """Add a window to a map; what lies beyond the map is left out."""
    shared, near, first = _shared(cube, part.shape[1:], start)
    for i, (n_shared, whole) in enumerate(zip(shared, covers, strict=True)):
        room = 0 if whole else n_shared
        part = _slide(part, near[i] - first[i], n_shared, i + 1, room, "constant")
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(0, 1, 2), inserted_window_dims=(), scatter_dims_to_operand_dims=(1, 2)
    )
    return lax.scatter_add(cube, near, part, numbers, mode="promise_in_bounds")
