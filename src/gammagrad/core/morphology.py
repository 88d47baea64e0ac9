"""Masks in traced code: grown, shrunk, filled, and flooded from seeds."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._pytree import pytree
from gammagrad.core.convolve import PreparedKernel, prepare_kernel

__all__ = [
    "Footprint",
    "dilate",
    "erode",
    "fill_holes",
    "flood",
    "prepare_footprint",
]

SHIFTED_MAX_PIXELS = 121
"""Footprints within a rectangle of up to this many pixels are applied by shifting the mask."""


def _mask(value: ArrayLike, name: str) -> Array:
    """Return a boolean array after checking that it is a two-dimensional one with pixels."""
    array = jnp.asarray(value)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{name} must be a two-dimensional array with at least one pixel, got shape "
            f"{array.shape}; use jax.vmap for stacks."
        )
    return array.astype(bool)


@pytree
class Footprint:
    """A footprint made ready to grow many masks of one size, see `prepare_footprint`.

    Parameters
    ----------
    structure
        The footprint, boolean, shape (ky, kx).
    prepared
        Its transform; None where masks are shifted instead.
    """

    structure: Array
    prepared: PreparedKernel | None

    def dilate(self, mask: Array) -> Array:
        """Grow the true region of a mask, nothing coming in from outside the image.

        Parameters
        ----------
        mask
            Boolean image of the shape that the footprint was prepared for.

        Returns
        -------
        Array
            Boolean, same shape.
        """
        if self.prepared is None:
            return _shifted(mask, self.structure)
        # whole numbers, so that an FFT's noise stays far below one half
        return self.prepared.convolve(mask.astype(jnp.float32)) > 0.5


def _shifted(mask: Array, structure: Array) -> Array:
    """Combine a mask shifted to every pixel of a footprint."""
    (ny, nx), (ky, kx) = mask.shape, structure.shape
    before = ((ky - 1) // 2, (kx - 1) // 2)
    padded = jnp.pad(mask, ((before[0], ky // 2), (before[1], kx // 2)))
    grown = jnp.zeros_like(mask)
    for y in range(ky):
        for x in range(kx):
            there = padded[y : y + ny, x : x + nx]
            grown = grown | (there & structure[ky - 1 - y, kx - 1 - x])
    return grown


def prepare_footprint(structure: ArrayLike, shape: tuple[int, ...]) -> Footprint:
    """Transform a footprint once for all masks of a size that it shall grow.

    Parameters
    ----------
    structure
        Footprint, shape (ky, kx): pixels that are not 0 belong to it. Its centre is pixel
        ``k // 2``, as in ``scipy.ndimage.binary_dilation``.
    shape
        Shape (ny, nx) of the masks.

    Returns
    -------
    Footprint
        Its method `dilate` gives what the function of that name does.

    Raises
    ------
    ValueError
        If the footprint is not two-dimensional or is empty.
    """
    footprint = _mask(structure, "structure")
    ky, kx = footprint.shape
    if ky * kx <= SHIFTED_MAX_PIXELS:
        return Footprint(footprint, None)
    kernel = footprint.astype(jnp.float32)
    return Footprint(footprint, prepare_kernel(kernel, shape, "fft", (ky // 2, kx // 2)))


def dilate(mask: ArrayLike, structure: ArrayLike, border: bool = False) -> Array:
    """Grow the true region of a mask by a footprint.

    Parameters
    ----------
    mask
        Boolean image, shape (ny, nx).
    structure
        Footprint, shape (ky, kx): pixels that are not 0 belong to it. Its centre is pixel
        ``k // 2``, as in ``scipy.ndimage.binary_dilation``.
    border
        What pixels outside the image count as. True grows the region in from the edge.

    Returns
    -------
    Array
        Boolean, shape (ny, nx): true where the footprint around some true pixel reaches.

    Raises
    ------
    ValueError
        If an argument is not two-dimensional or is empty.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> print(dilate(jnp.array([[False, False, True, False]]), jnp.ones((1, 3))))
    [[False  True  True  True]]
    """
    mask, structure = _mask(mask, "mask"), _mask(structure, "structure")
    if not border:
        return prepare_footprint(structure, mask.shape).dilate(mask)
    (ny, nx), (ky, kx) = mask.shape, structure.shape
    wide = jnp.pad(mask, ((ky, ky), (kx, kx)), constant_values=True)
    return prepare_footprint(structure, wide.shape).dilate(wide)[ky : ky + ny, kx : kx + nx]


def erode(mask: ArrayLike, structure: ArrayLike, border: bool = True) -> Array:
    """Shrink the true region of a mask by a footprint.

    Parameters
    ----------
    mask
        Boolean image, shape (ny, nx).
    structure
        Footprint, shape (ky, kx): pixels that are not 0 belong to it. Its centre is pixel
        ``k // 2``, as in ``scipy.ndimage.binary_erosion``.
    border
        What pixels outside the image count as. True leaves the region at the edge alone.

    Returns
    -------
    Array
        Boolean, shape (ny, nx): true where every pixel under the footprint is true.

    Raises
    ------
    ValueError
        If an argument is not two-dimensional or is empty.
    """
    return ~dilate(~_mask(mask, "mask"), mirrored(structure), not border)


def mirrored(structure: ArrayLike) -> Array:
    """Return a footprint turned by 180 degrees about its centre.

    Parameters
    ----------
    structure
        Footprint, shape (ky, kx), centred on pixel ``k // 2``.

    Returns
    -------
    Array
        Boolean, with odd sides: even ones grow by one, so that the centre stays ``k // 2``.
    """
    footprint = _mask(structure, "structure")
    ky, kx = footprint.shape
    return jnp.pad(footprint[::-1, ::-1], (((ky + 1) % 2, 0), ((kx + 1) % 2, 0)))


def _flood_along(reached: Array, open_: Array, axis: int, reverse: bool) -> Array:
    """Carry `reached` along one axis through open pixels."""
    order = lax.broadcasted_iota(jnp.int32, reached.shape, axis)
    if reverse:
        order = reached.shape[axis] - 1 - order
    # the last pixel that decides: a reached one leaves an odd number, a closed one an even one
    marks = jnp.where(reached, 2 * order + 1, jnp.where(open_, -2, 2 * order))
    return lax.cummax(marks, axis=axis, reverse=reverse) % 2 == 1


def flood(seeds: ArrayLike, region: ArrayLike, diagonal: bool = True) -> Array:
    """Return the parts of a region that are connected to a seed.

    Parameters
    ----------
    seeds
        Boolean image, shape (ny, nx). Seeds outside the region belong to it, too.
    region
        Boolean image, shape (ny, nx).
    diagonal
        Whether pixels that touch at a corner are connected.

    Returns
    -------
    Array
        Boolean, shape (ny, nx): true in pixels that can be reached from a seed through neighbours
        in the region, as ``scipy.ndimage.binary_propagation``.

    Raises
    ------
    ValueError
        If the arguments are not two-dimensional, empty, or of different shapes.

    Notes
    -----
    One sweep carries what is reached along all rows and columns at once, and to diagonal
    neighbours, so the number of sweeps is that of the turns of the most crooked way.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> image = jnp.array([[5.0, 3.0, 1.0, 3.0]])
    >>> print(flood(image >= 5, image >= 2))
    [[ True  True False False]]
    """
    seeds, region = _mask(seeds, "seeds"), _mask(region, "region")
    if seeds.shape != region.shape:
        raise ValueError(
            f"seeds and region must have one shape, got {seeds.shape} and {region.shape}."
        )
    open_ = region | seeds
    corners = jnp.ones((3, 3), bool)

    def sweep(state: tuple[Array, Array]) -> tuple[Array, Array]:
        before, _ = state
        reached = before
        for axis in (0, 1):
            for reverse in (False, True):
                reached = _flood_along(reached, open_, axis, reverse)
        if diagonal:
            reached = _shifted(reached, corners) & open_
        return reached, jnp.any(reached != before)

    return lax.while_loop(lambda state: state[1], sweep, (seeds, jnp.any(seeds)))[0]


def fill_holes(mask: ArrayLike) -> Array:
    """Set the false regions that do not touch the edge of the image.

    Parameters
    ----------
    mask
        Boolean image, shape (ny, nx).

    Returns
    -------
    Array
        Boolean, shape (ny, nx): false only in pixels that reach the edge in steps to one of the
        four neighbours through false pixels, as ``scipy.ndimage.binary_fill_holes``.

    Raises
    ------
    ValueError
        If the mask is not two-dimensional or is empty.
    """
    wall = _mask(mask, "mask")
    (ny, nx) = wall.shape
    inner = jnp.zeros((max(ny - 2, 0), max(nx - 2, 0)), bool)
    edge = jnp.pad(inner, 1, mode="constant", constant_values=True)[:ny, :nx]
    return ~flood(edge & ~wall, ~wall, diagonal=False)
