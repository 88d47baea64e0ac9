"""The derivative of the sky by pixel coordinates: sides, area and distances of a pixel.

The derivative is taken from the coordinate system at the place itself, not from the pixel size in
the header: pixels may be oblong, rotated or sheared, and differ from place to place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from gammagrad.maps.geom.coordinates import lonlat
from gammagrad.maps.geom.sphere import tangents, unit_vectors

Floats = NDArray[np.float64]

# Steps of the derivative in rad; the next terms of its series are 1e-12 of it.
_STEP = 1e-3
# Digits to which equal pixels have equal sizes, wherever they are.
_DIGITS = 9


class PixelShape(NamedTuple):
    """A pixel at one place of a map."""

    # degrees to the east and to the north (rows) by a step of one pixel along x and along y
    # (columns), shape (2, 2)
    matrix: Floats

    @property
    def sides(self) -> tuple[float, float]:
        """Length of a step of one pixel along x and along y, deg."""
        x, y = np.hypot(*self.matrix)
        return _rounded(x), _rounded(y)

    @property
    def size(self) -> float:
        """The longest step of one pixel in any direction, deg."""
        return _rounded(np.linalg.svd(self.matrix, compute_uv=False)[0])

    @property
    def least(self) -> float:
        """The shortest step of one pixel in any direction, deg."""
        return _rounded(np.linalg.svd(self.matrix, compute_uv=False)[1])

    @property
    def area(self) -> float:
        """Solid angle in deg2."""
        return float(abs(np.linalg.det(self.matrix)))

    @property
    def per_degree(self) -> Floats:
        """Rows and columns that a circle of 1 deg reaches from its middle, shape (2,)."""
        x, y = np.linalg.norm(np.linalg.inv(self.matrix), axis=1)
        return np.array([_rounded(y), _rounded(x)])


def _rounded(value: Any) -> float:
    """Round off the digits that the derivative does not have."""
    return float(f"{float(value):.{_DIGITS}g}")


def pixel_matrices(wcs: WCS, rows: Any, columns: Any) -> Floats:
    """Return the derivatives of the sky by pixel coordinates at several places."""
    step = _STEP / float(np.deg2rad(np.min(proj_plane_pixel_scales(wcs))))
    steps = step * np.array([-2.0, -1.0, 1.0, 2.0])
    weights = np.array([1.0, -8.0, 8.0, -1.0]) / (12 * step)
    none = np.zeros(4)
    x = np.asarray(columns, float)[..., None] + np.concatenate([[0.0], steps, none])
    y = np.asarray(rows, float)[..., None] + np.concatenate([[0.0], none, steps])
    lon, lat = lonlat(wcs, x, y)
    vectors = unit_vectors(lon, lat)
    by_pixel = np.stack([weights @ vectors[..., 1:5, :], weights @ vectors[..., 5:9, :]], axis=-1)
    return np.rad2deg(tangents(lon[..., 0], lat[..., 0]) @ by_pixel)


def shape_at(wcs: WCS, place: tuple[float, float]) -> PixelShape:
    """Return the shape of a pixel at a place (row, column)."""
    matrix = pixel_matrices(wcs, *place)
    if not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        dx, dy = proj_plane_pixel_scales(wcs)
        matrix = np.diag([-dx, dy])
    return PixelShape(matrix)


def place_on_map(wcs: WCS, npix: tuple[int, int], x: Any, y: Any) -> tuple[float, float]:
    """Return the row and column of pixel coordinates, or the nearest place of the map."""
    (nx, ny), x, y = npix, float(x), float(y)
    if not (np.isfinite(x) and np.isfinite(y)):
        return (ny - 1) / 2, (nx - 1) / 2
    nearest = min(max(y, -0.5), ny - 0.5), min(max(x, -0.5), nx - 0.5)
    if nearest == (y, x):
        return nearest
    # a projection may squeeze the sky without bound; a place that far off does not matter
    beyond = max(nearest[0] - y, y - nearest[0], nearest[1] - x, x - nearest[1]) > max(nx, ny)
    there, here = pixel_matrices(wcs, y, x), shape_at(wcs, nearest).matrix
    if beyond or not np.isfinite(there).all() or np.abs(there - here).max() > np.abs(here).max():
        return nearest
    return y, x
