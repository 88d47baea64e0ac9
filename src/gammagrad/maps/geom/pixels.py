"""The pixels at places of a map: their shapes, and how far circles around them reach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.geom.cutting import next_odd
from gammagrad.maps.geom.derivative import PixelShape, pixel_matrices, place_on_map, shape_at
from gammagrad.maps.geom.kept import kept
from gammagrad.maps.geom.sphere import tangents, unit_vectors
from gammagrad.maps.geom.wcs_geom import WcsGeom

Floats = NDArray[np.float64]

_KEPT = 32  # results of `reach` that a geometry keeps
# Directions in which a circle is followed.
_DIRECTIONS = 48
# Pixels whose distances differ by less, in proportion, count as the same.
_SAME = 1e-4
# Steps of the lattices of common places, in pixels.
_STEPS = 2.0 ** np.arange(10, 1, -1)
# Pixels are uneven if a circle reaches further than the derivative says by this factor.
_UNEVEN = 1.02
# Parts of a circle further away by this factor are on another side of the map.
_JUMP = 4.0


def on_sky(geom: WcsGeom) -> NDArray[np.bool_]:
    """Return which pixels have their centre on the sky."""
    return kept(geom.derived, "on sky", lambda: _on_sky(geom))


def _on_sky(geom: WcsGeom) -> NDArray[np.bool_]:
    """Return which pixels have their centre on the sky, in an array that all may share."""
    found = np.isfinite(geom.get_coord()[0])
    found.flags.writeable = False
    return found


def middle(geom: WcsGeom) -> tuple[float, float]:
    """Return the pixel coordinates (row, column) of the middle of a map."""
    x, y = geom.center_pix
    return y, x


def pixel_shape(geom: WcsGeom, place: tuple[float, float]) -> PixelShape:
    """Return the shape of a pixel at a place of a map."""
    return shape_at(geom.wcs, place)


def middle_shape(geom: WcsGeom) -> PixelShape:
    """Return the shape of a pixel in the middle of a map, which the map keeps."""
    return kept(geom.derived, "middle shape", lambda: pixel_shape(geom, middle(geom)))


def nearest_place(geom: WcsGeom, position: Any) -> tuple[float, float]:
    """Return the row and column of a position, or of the nearest place of the map."""
    if position is None:
        return middle(geom)
    return place_on_map(geom.wcs, geom.npix, *geom.sky_to_pix(position))


def reach(geom: WcsGeom, place: tuple[float, float], radius: Any) -> Floats:
    """Return how many rows and columns circles on the sky reach from their middle."""
    radius = np.asarray(radius, dtype=float)
    # a run needs a result several times, and so does the next run on the same pixels
    store: dict[Any, Floats] = geom.derived.setdefault("reach", {})
    key = place, radius.shape, radius.tobytes()
    return kept(store, key, lambda: _reach(geom, place, radius), _KEPT).copy()


def _reach(geom: WcsGeom, place: tuple[float, float], radius: Floats) -> Floats:
    """Return how many rows and columns circles on the sky reach, computed anew."""
    per_degree, typical = pixel_shape(geom, place).per_degree, middle_shape(geom).per_degree
    # a circle has the same number of pixels where they are nearly alike: less to compile
    alike = (per_degree < _UNEVEN * typical) & (typical < _UNEVEN * per_degree)
    straight = radius[..., None] * np.where(alike, typical, per_degree)
    row, column = place
    lon, lat = geom.pix_to_lonlat(column, row)
    if not np.isfinite(lon):
        return straight
    # `astropy.coordinates.offset_by` loses digits near the poles
    angle = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
    ways = np.stack([np.sin(angle), np.cos(angle)], axis=1) @ tangents(lon, lat)
    r = np.deg2rad(np.minimum(radius, 179.0))[..., None, None]
    vx, vy, vz = np.moveaxis(np.cos(r) * unit_vectors(lon, lat) + np.sin(r) * ways, -1, 0)
    around = np.arctan2(vy, vx), np.arcsin(np.clip(vz, -1, 1))
    x, y = geom.lonlat_to_pix(*np.rad2deg(around))
    apart = np.abs(np.stack([y - row, x - column], axis=-1))
    apart[~(apart <= _JUMP * straight[..., None, :])] = 0.0
    bent = apart.max(axis=-2)
    return np.where(bent > _UNEVEN * straight, bent, straight)


def common_place(geom: WcsGeom, place: tuple[float, float]) -> tuple[float, float]:
    """Return one place for all places whose pixels agree to a part in ten thousand."""
    # A kernel for the pixels of this place serves all of them.
    anchor, own = geom.wcs.wcs.crpix[::-1] - 1, np.array(place)
    knots = anchor + _STEPS[:, None] * np.round((own - anchor) / _STEPS[:, None])
    rows, columns = np.concatenate([own[None], knots]).T
    matrices = pixel_matrices(geom.wcs, rows, columns)
    # the matrix of scalar products; distances are proportional to its root
    metric = np.swapaxes(matrices, -1, -2) @ matrices
    change = np.abs(metric[1:] - metric[0]).max(axis=(1, 2))
    serves = np.flatnonzero(change <= 2 * _SAME * np.abs(metric[0]).max())
    row, column = knots[serves[0]] if serves.size else own
    return float(row), float(column)


def odd_shape(half: Any) -> NDArray[np.int64]:
    """Return the odd numbers of pixels that reach so many rows and columns from their middle."""
    return next_odd(2 * np.asarray(half, dtype=float))
