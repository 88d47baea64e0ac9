"""Numbers of pixels, and the coordinate systems of grids that are cut, moved or rebinned."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.geom.derivative import shape_at

# Extents that differ by less, in pixels, are the same.
_ALIKE = 0.25


def next_odd(size: Any) -> NDArray[np.int64]:
    """Return the smallest odd whole number that is not below a size."""
    half = np.ceil((np.asarray(size, dtype=float) - 1e-6 - 1) / 2)
    return np.maximum(2 * half + 1, 1).astype(np.int64)


def row_col_pair(width: Any, name: str) -> tuple[int, int]:
    """Return one number of pixels or a pair of numbers as (rows, columns)."""
    pair = np.atleast_1d(np.asarray(width))
    if pair.shape not in ((1,), (2,)) or np.any(pair != np.round(pair)) or np.any(pair < 0):
        raise InputError(f"{name} is {width!r}; expected a whole number, or (rows, columns).")
    return int(pair[0]), int(pair[-1])


def sides(width: Any, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return numbers of pixels on the four sides of an image."""
    if isinstance(width, tuple | list | np.ndarray) and [np.ndim(w) for w in width] == [1, 1]:
        rows, cols = (row_col_pair(pair, name) for pair in width)
        return rows, cols
    row, col = row_col_pair(width, name)
    return (row, row), (col, col)


def sizes_in_pixels(wcs: WCS, place: tuple[float, float], width: tuple[float, float]) -> Any:
    """Return extents along longitude and latitude as numbers of columns and rows, at least 1."""
    shape = shape_at(wcs, place)
    # columns need not run along the longitude
    turned = abs(shape.matrix[0, 0]) < abs(shape.matrix[1, 0])
    along = np.array(width[::-1] if turned else width)
    sizes, typical = along / shape.sides, along / proj_plane_pixel_scales(wcs)
    # with nearly equal pixels a part has the same size everywhere
    return np.maximum(np.where(np.abs(sizes - typical) < _ALIKE, typical, sizes), 1)


def shifted(wcs: WCS, x: float, y: float) -> WCS:
    """Return the coordinate system whose first pixel is the pixel (x, y) of the old system."""
    wcs = _copied(wcs)
    wcs.wcs.crpix = wcs.wcs.crpix - np.array([x, y])
    return wcs


def rescaled(wcs: WCS, scale: float) -> WCS:
    """Return a coordinate system with larger or smaller pixels."""
    wcs = _copied(wcs)
    # FITS pixels count from 1, so the edge of the first is at 0.5
    wcs.wcs.crpix = (wcs.wcs.crpix - 0.5) / scale + 0.5
    if wcs.wcs.has_cd():
        wcs.wcs.cd = wcs.wcs.cd * scale
    else:
        wcs.wcs.cdelt = wcs.wcs.cdelt * scale
    return wcs


def rotated(wcs: WCS, columns: int) -> WCS:
    """Return a coordinate system that is turned in longitude by a number of columns."""
    wcs = _copied(wcs)
    wcs.wcs.crval = wcs.wcs.crval + np.array([columns * wcs.pixel_scale_matrix[0, 0], 0])
    return wcs


def _copied(wcs: WCS) -> WCS:
    if wcs.has_distortion:
        raise InputError("a geometry with distortions (SIP, lookup tables) cannot be changed.")
    return wcs.deepcopy()
