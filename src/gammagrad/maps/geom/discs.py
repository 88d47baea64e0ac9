"""Discs and rings on the pixels of a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.errors import InputError, short
from gammagrad.maps.geom.around import disc_around, grid_around, offsets_around
from gammagrad.maps.geom.pixels import middle
from gammagrad.maps.geom.wcs_geom import WcsGeom
from gammagrad.maps.units import to_value

Floats = NDArray[np.float64]

# A centre on the edge of the disc is inside, in spite of rounding.
_ROUNDING = 1e-9


def disc_kernel(
    geom: WcsGeom, outer: Any, inner: Any = None, name: str = "correlation_radius"
) -> Floats:
    """Return a disc or a ring as a kernel with the values 0 and 1."""
    disc = _trimmed(_offsets(geom, outer, outer, name), outer, name)
    if inner is None:
        return disc
    apart = _offsets(geom, inner, outer, name)
    return disc * (_middle_of(apart, disc.shape) >= _radius(inner, name)[0] * (1 - _ROUNDING))


def _radius(radius: Any, name: str) -> tuple[float, bool]:
    """Return a radius in deg, or in pixels and True."""
    value: Any = _in_pixels(radius)
    in_pixels = value is not None
    if not in_pixels:
        value = to_value(radius, "deg", name)
    if not isinstance(value, float) or not 0 < value < np.inf:
        raise InputError(
            f'{name}: expected an angle or a number of pixels above 0, such as "0.1 deg" or '
            f'"3 pix", got {short(radius)}.'
        )
    return value, in_pixels


def _in_pixels(radius: Any) -> float | None:
    """Return a radius as a number of pixels, None if it has another unit."""
    try:
        quantity = u.Quantity(radius)
    except (TypeError, ValueError, OverflowError):
        return None  # `to_value` raises the error, if the radius is not an angle either
    if quantity.unit != u.pix or quantity.ndim:
        return None
    return float(quantity.value)


def _offsets(geom: WcsGeom, radius: Any, extent: Any, name: str) -> Floats:
    """Return the distances of pixels from the middle up to an extent, in the unit of a radius."""
    most, extent_in_pixels = _radius(extent, name)
    if extent_in_pixels:
        ny, nx = (min(int(most * (1 + _ROUNDING)), n) for n in geom.shape_image)
        offsets = np.hypot(*np.ogrid[-ny : ny + 1, -nx : nx + 1])
        if _radius(radius, name)[1]:
            return offsets
        grid = grid_around(geom.to_image(), middle(geom), (2 * ny + 1, 2 * nx + 1))
        return offsets_around(grid)[0]
    offsets, _ = disc_around(geom, most)
    if not _radius(radius, name)[1]:
        return offsets
    ny, nx = (n // 2 for n in offsets.shape)
    return np.hypot(*np.ogrid[-ny : ny + 1, -nx : nx + 1])


def _trimmed(offsets: Floats, radius: Any, name: str) -> Floats:
    """Return the disc within a radius, without empty rows and columns."""
    disc = offsets <= _radius(radius, name)[0] * (1 + _ROUNDING)
    halves = [n // 2 for n in disc.shape]
    disc[halves[0], halves[1]] = True
    reached = [
        int(np.abs(np.flatnonzero(disc.any(axis=1 - axis)) - half).max())
        for axis, half in enumerate(halves)
    ]
    return _middle_of(disc, (2 * reached[0] + 1, 2 * reached[1] + 1)).astype(float)


def _middle_of(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the middle of an array."""
    rows, cols = ((n - m) // 2 for n, m in zip(array.shape, shape, strict=True))
    return array[rows : array.shape[0] - rows, cols : array.shape[1] - cols]
