"""Sums over a disc around every pixel, by additions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.maps.geom import WcsGeom
from gammagrad.maps.units import to_value

__all__ = ["disc_half_widths", "disc_kernel", "disc_sum"]

Floats = NDArray[np.float64]

# A centre that lies on the edge of the disc but for the rounding of a quotient is inside.
_ROUNDING = 1e-9


def disc_half_widths(geom: WcsGeom, radius: Any) -> NDArray[np.int64]:
    """Return the shape of a disc on the pixels of a map.

    Parameters
    ----------
    geom
        Geometry; the pixel sizes at its reference point count.
    radius
        An angle (a number is in deg), or a number of pixels as a quantity such as "3 pix".

    Returns
    -------
    ndarray
        Pixels to either side of the middle in each row, from the middle row on upwards; the disc
        is the same downwards. Pixels belong to it whose centre is not farther away than the
        radius, to a part of 1e-9.

    Raises
    ------
    ValueError
        If the radius is no angle and no number of pixels, or not above 0.
    """
    scales = np.array(geom.pixel_scales.to_value("deg"))
    value = _in_pixels(radius)
    if value is None:
        value = to_value(radius, "deg", "correlation_radius")
    else:
        scales = np.ones(2)
    if not isinstance(value, float) or not 0 < value < np.inf:
        raise ValueError(
            'correlation_radius: expected an angle or a number of pixels above 0, such as "0.1 '
            f'deg" or "3 pix", got {radius!r}.'
        )
    reach = value * (1 + _ROUNDING) / scales
    rows = np.arange(int(min(reach[1], geom.npix[1])) + 1)
    widths = reach[0] * np.sqrt(np.maximum(1 - (rows / reach[1]) ** 2, 0))
    return np.minimum(widths, geom.npix[0]).astype(np.int64)


def _in_pixels(radius: Any) -> float | None:
    """Return a radius in pixels, None if it is none."""
    try:
        quantity = u.Quantity(radius)
    except (TypeError, ValueError):
        return None  # whoever reads it as an angle says what is wrong
    if quantity.unit != u.pix or quantity.ndim:
        return None
    return float(quantity.value)


def disc_sum(data: NDArray[Any], half_widths: NDArray[np.int64]) -> Floats:
    """Sum over a disc around every pixel; outside of the map there is nothing.

    Nothing is ever subtracted: sums of whole numbers are whole, and sums of zeros are zero, which
    a Fourier transform or a running sum cannot promise.

    Parameters
    ----------
    data
        Values, shape (..., ny, nx), not negative.
    half_widths
        Shape of the disc, as `disc_half_widths` returns it.

    Returns
    -------
    ndarray
        Sums, float64, of the shape of the data.
    """
    data = np.asarray(data, dtype=float)
    nx = data.shape[-1]
    total = np.zeros_like(data)
    row_sum = data.copy()
    for width in range(int(np.max(half_widths)) + 1):
        if 0 < width < nx:
            row_sum[..., width:] += data[..., :-width]
            row_sum[..., :-width] += data[..., width:]
        for row in np.flatnonzero(half_widths == width):
            if row == 0:
                total += row_sum
            elif row < data.shape[-2]:
                total[..., row:, :] += row_sum[..., :-row, :]
                total[..., :-row, :] += row_sum[..., row:, :]
    return total


def disc_kernel(geom: WcsGeom, outer: Any, inner: Any = None) -> Floats:
    """Return a disc or a ring as a kernel of zeros and ones.

    Parameters
    ----------
    geom
        Geometry; the pixel sizes at its reference point count.
    outer
        Radius of the disc, or outer radius of the ring: an angle (a number is in deg), or pixels.
    inner
        Inner radius of the ring; None for a disc.

    Returns
    -------
    ndarray
        Shape (ky, kx), odd numbers, 1 where the centre of a pixel is not farther away than the
        outer radius and not nearer than the inner one, to a part of 1e-9.

    Raises
    ------
    ValueError
        If a radius is no angle and no number of pixels, or not above 0.

    Examples
    --------
    >>> geom = WcsGeom.create(npix=20, binsz=0.1)
    >>> print(disc_kernel(geom, "0.15 deg", "0.1 deg").astype(int))
    [[1 1 1]
     [1 0 1]
     [1 1 1]]
    """
    disc = _disc(disc_half_widths(geom, outer))
    if inner is None:
        return disc
    scales = np.array(geom.pixel_scales.to_value("deg"))
    value = _in_pixels(inner)
    if value is None:
        value = to_value(inner, "deg", "inner")
    else:
        scales = np.ones(2)
    row, col = (np.arange(n) - n // 2 for n in disc.shape)
    apart = np.hypot(row[:, None] * scales[1], col[None, :] * scales[0])
    return disc * (apart >= value * (1 - _ROUNDING))


def _disc(half_widths: NDArray[np.int64]) -> Floats:
    """Return a disc, given by its rows, as an array of zeros and ones."""
    reach = int(half_widths[0])
    widths = np.concatenate([half_widths[:0:-1], half_widths])
    return (np.abs(np.arange(-reach, reach + 1))[None, :] <= widths[:, None]).astype(float)
