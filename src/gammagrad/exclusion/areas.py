"""Pixels inside of areas of the sky: circles by their true distance, and shapes of region files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.io import import_regions
from gammagrad.maps import WcsGeom, angular_distance, unit_vectors

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# A centre that lies on the edge of an area but for the rounding of coordinates is inside.
_ROUNDING = 1e-9
_BLOCK = 64


def _blocks(geom: WcsGeom) -> Iterator[tuple[tuple[slice, slice], Floats, float]]:
    """Cut a map into blocks: rows and columns, a point, and how far the pixels are from it."""
    # so that a circle needs to be compared with few pixels
    lon, lat = geom.get_coord()
    for row in range(0, lon.shape[0], _BLOCK):
        for col in range(0, lon.shape[1], _BLOCK):
            place = slice(row, row + _BLOCK), slice(col, col + _BLOCK)
            vectors = unit_vectors(lon[place], lat[place]).reshape(-1, 3)
            vectors = vectors[np.isfinite(vectors[:, 0])]
            if len(vectors):
                centre = vectors[len(vectors) // 2]
                reach = np.sqrt(np.max(np.sum((vectors - centre) ** 2, axis=1)))
                yield place, centre, float(reach)


def in_circles(geom: WcsGeom, position: SkyCoord, radii: Floats) -> Bools:
    """Return which pixels have their centre in one of some circles on the sphere."""
    inside = np.zeros(geom.shape_image, bool)
    data = position.transform_to(geom.frame_object).represent_as(UnitSphericalRepresentation)
    lon_0, lat_0 = np.atleast_1d(data.lon.deg), np.atleast_1d(data.lat.deg)
    radii = np.asarray(radii) * (1 + _ROUNDING)
    if not len(radii):
        return inside
    vectors = unit_vectors(lon_0, lat_0)
    # straight distances through the sphere: those of two points obey the triangle's inequality
    chords = 2 * np.sin(np.deg2rad(np.minimum(radii, 180.0)) / 2)
    lon, lat = geom.get_coord()
    for place, centre, reach in _blocks(geom):
        apart = np.sqrt(np.sum((vectors - centre) ** 2, axis=1))
        for i in np.flatnonzero(apart <= chords + reach + _ROUNDING):
            near = angular_distance(lon[place], lat[place], lon_0[i], lat_0[i]) <= radii[i]
            inside[place] |= near
    return inside


def in_regions(geom: WcsGeom, regions: list[Any], point_radius: float | None = None) -> Bools:
    """Return which pixels have their centre in the shapes of a region file."""
    package = import_regions()
    inside, outside = np.zeros((2, *geom.shape_image), bool)
    for region in regions:
        if not isinstance(region, package.Region):
            raise InputTypeError(
                ": expected the name of a region file or regions of the package regions, "
                f"got {short(region)}.",
                "regions",
            )
        target = inside if region.meta.get("include", True) else outside
        target |= _in_region(geom, region, point_radius, package)
    return inside & ~outside


def _in_region(geom: WcsGeom, region: Any, point_radius: float | None, package: Any) -> Bools:
    """Return the pixels in one region, whether it is marked as excluding or not."""
    _check_numbers(region)
    if isinstance(region, package.CompoundSkyRegion | package.CompoundPixelRegion):
        both = (region.region1, region.region2)
        parts = (_in_region(geom, one, point_radius, package) for one in both)
        return np.asarray(region.operator(*parts), bool)
    if isinstance(region, package.TextSkyRegion | package.TextPixelRegion):
        return np.zeros(geom.shape_image, bool)
    if isinstance(region, package.PointSkyRegion | package.PointPixelRegion):
        if point_radius is None:
            raise InputError(
                ': points have no area; give them a radius, such as "0.2 deg".', "regions"
            )
        centre = region.center
        if isinstance(region, package.PointPixelRegion):
            centre = geom.pix_to_sky(centre.x, centre.y)
        return in_circles(geom, centre.reshape(-1), np.array([point_radius]))
    if isinstance(region, package.PixelRegion):
        return _in_pixel_region(geom, region, package)
    for shape, (inside, *sizes) in _ON_SPHERE.items():
        if isinstance(region, getattr(package, shape)):
            outer, *holes = (
                inside(geom, region, *(getattr(region, n).to_value("deg") for n in names))
                for names in sizes
            )
            return outer & ~holes[0] if holes else outer
    if isinstance(region, package.PolygonSkyRegion):
        return _in_polygon(geom, region.vertices, package)
    return _in_pixel_region(geom, region.to_pixel(geom.wcs), package)


_NUMBERS = (
    *("center", "vertices", "start", "end", "angle", "radius", "inner_radius", "outer_radius"),
    *("width", "height", "inner_width", "outer_width", "inner_height", "outer_height"),
)


def _check_numbers(region: Any) -> None:
    """Check that positions and sizes are finite: nothing lies inside of NaN."""
    for name in _NUMBERS:
        value: Any = getattr(region, name, None)
        if value is None:
            continue
        if isinstance(value, SkyCoord):
            value = [value.spherical.lon.deg, value.spherical.lat.deg]
        elif hasattr(value, "x"):
            value = [value.x, value.y]
        if not np.all(np.isfinite(getattr(value, "value", value))):
            raise InputError(
                f": the {name} of a {type(region).__name__} is not a finite number; "
                "expected one, as nothing lies inside of such a region.",
                "regions",
            )


def _disc(geom: WcsGeom, region: Any, radius: float) -> Bools:
    return in_circles(geom, region.center.reshape(-1), np.array([radius]))


def _oval(geom: WcsGeom, region: Any, width: float, height: float) -> Bools:
    along, across = _offsets(geom, region)
    return (2 * along / width) ** 2 + (2 * across / height) ** 2 <= 1 + _ROUNDING


def _box(geom: WcsGeom, region: Any, width: float, height: float) -> Bools:
    along, across = np.abs(_offsets(geom, region))
    a, b = width / 2 * (1 + _ROUNDING), height / 2 * (1 + _ROUNDING)
    return (along <= a) & (across <= b)


def _offsets(geom: WcsGeom, region: Any) -> tuple[Floats, Floats]:
    """Return how far pixels are from a region's middle, along its width and its height."""
    # The distance is that on the sphere, the direction the one in which a great circle leaves the
    # middle. At the angle 0 the width points west.
    pixels = geom.get_skycoord().transform_to(region.center.frame)
    distance = region.center.separation(pixels).deg
    direction = region.center.position_angle(pixels).rad - region.angle.to_value("rad")
    return -distance * np.sin(direction), distance * np.cos(direction)


_OUTER_AND_INNER = ("outer_width", "outer_height"), ("inner_width", "inner_height")
_ON_SPHERE: dict[str, tuple[Any, ...]] = {
    "CircleSkyRegion": (_disc, ("radius",)),
    "CircleAnnulusSkyRegion": (_disc, ("outer_radius",), ("inner_radius",)),
    "EllipseSkyRegion": (_oval, ("width", "height")),
    "EllipseAnnulusSkyRegion": (_oval, *_OUTER_AND_INNER),
    "RectangleSkyRegion": (_box, ("width", "height")),
    "RectangleAnnulusSkyRegion": (_box, *_OUTER_AND_INNER),
}
"""Shapes that are computed on the sphere, and the names of their sizes and those of their hole."""


def _in_pixel_region(geom: WcsGeom, region: Any, package: Any) -> Bools:
    """Return the pixels in a region of the pixels' own plane."""
    inside = np.zeros(geom.shape_image, bool)
    ny, nx = inside.shape
    box = region.bounding_box
    rows = slice(*np.clip([box.iymin - 1, box.iymax + 1], 0, ny))
    cols = slice(*np.clip([box.ixmin - 1, box.ixmax + 1], 0, nx))
    y, x = np.mgrid[rows, cols]
    if x.size:
        found = np.asarray(region.contains(package.PixCoord(x, y)), bool)
        inside[rows, cols] = found == bool(region.meta.get("include", True))
    return inside


def _in_polygon(geom: WcsGeom, vertices: SkyCoord, package: Any) -> Bools:
    """Return the pixels in a polygon whose sides are straight on the map."""
    x, y = geom.sky_to_pix(vertices)
    # to a corner that the projection does not show no line can be drawn
    shown = np.isfinite(x) & np.isfinite(y)
    x, y = x[shown], y[shown]
    inside = np.zeros(geom.shape_image, bool)
    if len(x) < 3:
        return inside
    step = full_turn(geom)
    corners = np.stack([x, y], axis=1)
    if step is not None:
        # along the edge of the map longitudes jump by a turn: go on from corner to corner
        turns = np.diff(corners, axis=0) @ step / (step @ step)
        corners[1:] -= np.cumsum(np.round(turns))[:, None] * step
    for turn in (0,) if step is None else (-1, 0, 1):
        moved = corners if step is None else corners + turn * step
        polygon = package.PolygonPixelRegion(package.PixCoord(*moved.T))
        inside |= _in_pixel_region(geom, polygon, package)
    return inside


def full_turn(geom: WcsGeom) -> Floats | None:
    """Return the step in pixels that a full turn in longitude takes."""
    if geom.projection not in ("CAR", "CEA", "MER"):
        return None
    return np.asarray(np.linalg.solve(geom.wcs.pixel_scale_matrix, [360.0, 0.0]))
