"""The pixels around a place of a map: the grid for a kernel or a disc."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.geom.kept import kept
from gammagrad.maps.geom.pixels import middle, middle_shape, odd_shape, pixel_shape, reach
from gammagrad.maps.geom.sphere import quadrilateral_areas, unit_vectors
from gammagrad.maps.geom.wcs_geom import WcsGeom

Floats = NDArray[np.float64]

# Pixels that lie nearer than this to the pixels of an even grid count as the same.
_SAME = 1e-3
# Grids that a geometry keeps.
_KEPT = 16
# Offsets that differ by less from straight distances, in pixels, are taken as straight.
_FLAT = 0.05


def grid_around(geom: WcsGeom, place: tuple[float, float], shape: tuple[int, int]) -> WcsGeom:
    """Return the pixels around a place, moved so that the place is the middle of a rectangle."""
    # A kernel is made on this grid. All its pixels have the shape of the pixel at the place.
    store: dict[Any, WcsGeom] = geom.derived.setdefault("grids", {})
    key = (round(place[0], 4), round(place[1], 4), *shape)
    return kept(store, key, lambda: _grid_around(geom, place, shape), _KEPT)


def _grid_around(geom: WcsGeom, place: tuple[float, float], shape: tuple[int, int]) -> WcsGeom:
    """Return the pixels around a place, made anew."""
    if even := _even_grid(geom, place, shape):
        return even
    return _flat_grid(geom, place, shape) if geom.wcs.has_distortion else geom.moved(place, shape)


def _even_grid(geom: WcsGeom, place: tuple[float, float], shape: tuple[int, int]) -> WcsGeom | None:
    """Return a grid with its reference point in its middle, if it has the pixels of the map."""
    if shape[0] != shape[1] or np.abs(np.subtract(place, middle(geom))).max() > _SAME:
        return None
    even = geom.centred_square(shape[0])
    own = np.linspace(0, shape[0] - 1, 5)
    away = own - (shape[0] - 1) / 2
    mine = geom.pix_to_lonlat(place[1] + away[None, :], place[0] + away[:, None])
    theirs = even.pix_to_lonlat(own[None, :], own[:, None])
    apart = np.abs(unit_vectors(*mine) - unit_vectors(*theirs)).max()
    return even if apart <= _SAME * np.deg2rad(middle_shape(geom).least) else None


def _flat_grid(geom: WcsGeom, place: tuple[float, float], shape: tuple[int, int]) -> WcsGeom:
    """Return equal pixels with the shape of the pixel at a place, for a map with distortions."""
    lon, lat = geom.pix_to_lonlat(place[1], place[0])
    if not np.isfinite(lon):
        return geom.centred_square(max(shape))
    flat = WcsGeom.create(npix=shape[::-1], skydir=(lon, lat), proj="TAN", frame=geom.frame_object)
    wcs = flat.wcs.deepcopy()
    wcs.wcs.cdelt = (1.0, 1.0)
    wcs.wcs.pc = pixel_shape(geom, place).matrix
    return WcsGeom(wcs, flat.npix)


def is_centred(grid: WcsGeom) -> bool:
    """Return whether a grid has its reference point in its middle, around which pixels are even."""
    middle_pixel = np.add(grid.center_pix, 1.0)
    return bool(np.abs(grid.wcs.wcs.crpix - middle_pixel).max() <= _SAME)


def fine_areas(grid: WcsGeom, oversampling: int) -> Floats:
    """Return the solid angles of the parts of pixels, in units of their mean."""
    y, x = (np.arange(n * oversampling + 1) / oversampling - 0.5 for n in grid.shape_image)
    areas = quadrilateral_areas(unit_vectors(*grid.pix_to_lonlat(x[None, :], y[:, None])))
    seen = np.isfinite(areas)
    return np.where(seen, areas, 0.0) / (areas[seen].mean() if seen.any() else 1.0)


def disc_around(geom: WcsGeom, radius: float) -> tuple[Floats, float | None]:
    """Return the distances of pixels from the middle of a map, up to a radius."""
    most = 2 * np.array(geom.shape_image) + 1
    rows, cols = np.minimum(odd_shape(reach(geom, middle(geom), radius)) + 2, most)
    return offsets_around(grid_around(geom.to_image(), middle(geom), (int(rows), int(cols))))


def offsets_around(grid: WcsGeom) -> tuple[Floats, float | None]:
    """Return the distances of the pixels of a grid from its middle, and the side of even pixels."""
    (nx, ny), shape = grid.npix, middle_shape(grid)
    step = np.stack(
        np.broadcast_arrays(
            np.arange(nx)[None, :] - (nx - 1) / 2, np.arange(ny)[:, None] - (ny - 1) / 2
        )
    )
    true = grid.center_distance
    straight = np.hypot(*np.einsum("ij,jyx->iyx", shape.matrix, step))
    if not np.all(np.abs(straight - true) <= _FLAT * shape.least):
        return true, None
    x, y = shape.sides
    leaning = abs(float(shape.matrix[:, 0] @ shape.matrix[:, 1])) / (x * y)
    if leaning > _SAME / max(nx, ny):
        return straight, None
    straight = np.hypot(step[0] * x, step[1] * y)
    return straight, x if x == y else None
