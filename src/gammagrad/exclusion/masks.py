"""Exclusion masks from circles, region files and tables of sources, and as region files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError, InputWarning, short
from gammagrad.exclusion.areas import full_turn, in_circles, in_regions
from gammagrad.exclusion.outlines import outlines, row_boxes
from gammagrad.exclusion.sources import circle_list, source_circles
from gammagrad.io import read_ds9, write_ds9_polygons
from gammagrad.maps import Map, WcsGeom, to_value

# Frames that region files know by these names; other maps' polygons are written in ICRS.
_FRAMES = ("icrs", "galactic")

# Distances from centres of pixels, in pixels, of boxes where a whole pixel is not on the sky.
_MARGINS = (0.25, 0.01, 1e-3)
_SAME = 1e-4


def exclusion_mask(
    geom: WcsGeom,
    *,
    circles: Any = None,
    regions: Any = None,
    table: Any = None,
    radius: Any = None,
) -> Map:
    """Return a mask that excludes areas of the sky.

    A pixel is excluded if its centre lies in any of the areas. Circles, ellipses and boxes use
    distances on the sphere, and are right near the poles and across the edge of an all-sky map;
    the sides of polygons are straight on the map, as DS9 draws them. Areas may lie outside the
    map.

    Parameters
    ----------
    geom
        Geometry of the mask, which is the same in all bins of its axes.
    circles
        Circles: a sequence of (position, radius) with a `SkyCoord`, or (longitude, latitude,
        radius) in the frame of `geom`; angles are numbers in deg, texts or quantities.
    regions
        Name of a DS9 region file, or regions of the package regions (both need this package, the
        extra ``regions``), or a list of both. Regions that the file marks as excluding are taken
        out of the others; texts and lines have no area, and points get `radius`.
    table
        Table of sources, or the name of a FITS, ECSV or CSV file. Columns are found by their usual
        names, such as ra and dec, RAJ2000 and DEJ2000, or glon and glat; lon and lat are in the
        frame of `geom`.
    radius
        Radius of the circles around the sources of `table`, and around points among `regions`: an
        angle, or the name of a column of the table. By default its column ``radius``.

    Returns
    -------
    Map
        Boolean, true where a pixel is kept.

    Raises
    ------
    ImportError
        If the package regions is needed and not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If an area cannot be read, or a radius is missing, negative or unused.
    TypeError
        If `geom` has no sky, or something is not a region.

    Warns
    -----
    InputWarning
        If regions are given and exclude nothing.

    Examples
    --------
    >>> from gammagrad import Map, exclusion_mask
    >>> geom = Map.create(npix=100, binsz=0.02, skydir=(83.63, 22.01)).geom
    >>> mask = exclusion_mask(geom, circles=[(83.63, 22.01, "0.2 deg")])
    >>> int((~mask.data).sum())
    316
    """
    if not isinstance(geom, WcsGeom):
        raise InputTypeError(
            f": expected the geometry of a map, got a {type(geom).__name__}.", "geom"
        )
    if radius is not None and regions is None and table is None:
        raise InputError(": expected a table or regions that it belongs to; got neither.", "radius")
    excluded = np.zeros(geom.shape_image, bool)
    for position, radii in circle_list(geom, circles if circles is not None else ()):
        excluded |= in_circles(geom, position, radii)
    if table is not None:
        excluded |= in_circles(geom, *source_circles(geom, table, radius))
    if regions is not None:
        found = _region_list(regions)
        areas = in_regions(geom, found, _point_radius(radius, table))
        if found and not areas.any():
            _warn_of_nothing(found)
        excluded |= areas
    return Map(geom, np.broadcast_to(~excluded, geom.data_shape))


def _warn_of_nothing(regions: list[Any]) -> None:
    """Warn of regions that exclude nothing."""
    why = "they lie outside of the map, between the centres of its pixels, or have no area"
    if not any(region.meta.get("include", True) for region in regions):
        why = (
            "all are marked as excluding (a minus sign in the file), which takes an area out of "
            "the others; write them without the sign"
        )
    warnings.warn(f"regions: no pixel is excluded: {why}.", InputWarning, stacklevel=3)


def _region_list(regions: Any) -> list[Any]:
    """Return the regions themselves in place of files."""
    if isinstance(regions, str | PathLike) or not hasattr(regions, "__iter__"):
        regions = [regions]
    found: list[Any] = []
    for region in regions:
        found += read_ds9(region) if isinstance(region, str | PathLike) else [region]
    return found


def _point_radius(radius: Any, table: Any) -> float | None:
    """Return the radius of points in deg; None if there is none, or it names a column."""
    if radius is None:
        return None
    try:
        value = to_value(radius, "deg", "radius")
    except ValueError:
        if table is not None:  # which has checked it
            return None
        raise
    if not isinstance(value, float) or not 0 <= value < np.inf:
        raise InputError(
            f': expected an angle >= 0, such as "0.2 deg", got {short(radius)}.', "radius"
        )
    return value


def write_regions(mask: Map, filename: str | PathLike[str], overwrite: bool = False) -> None:
    """Write the excluded areas of a mask as a region file of DS9.

    Each connected area is a polygon along the edges of its pixels, in sky coordinates; one with
    holes is cut in two at each hole. Read back by `exclusion_mask` on the same geometry, they give
    exactly this mask. Areas at the rim of a map of the whole sky, where edges of pixels are not on
    the sky, are written as a thin box along each row of pixels.

    Masks are written as FITS by ``mask.write``.

    Parameters
    ----------
    mask
        Mask, true where a pixel is kept, in all energy bins the same. It should exclude something:
        a file without regions cannot be read back.
    filename
        File to write.
    overwrite
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file is there and `overwrite` is false.
    ValueError
        If the mask is not boolean, or differs between energy bins.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from gammagrad import Map, exclusion_mask, write_regions
    >>> geom = Map.create(npix=100, binsz=0.02, skydir=(83.63, 22.01)).geom
    >>> mask = exclusion_mask(geom, circles=[(83.63, 22.01, "0.2 deg")])
    >>> with TemporaryDirectory() as folder:
    ...     write_regions(mask, f"{folder}/excluded.reg")
    ...     print(Path(folder, "excluded.reg").read_text().count("polygon"))
    1
    """
    geom, excluded = _excluded(mask)
    frame = geom.frame if geom.frame in _FRAMES else "icrs"
    polygons = []
    for corners in _polygons(geom, excluded):
        position = geom.pix_to_sky(*corners.T).transform_to(frame)
        polygons.append((position.spherical.lon.deg, position.spherical.lat.deg))
    write_ds9_polygons(polygons, frame, filename, overwrite)


def _excluded(mask: object) -> tuple[WcsGeom, NDArray[np.bool_]]:
    """Return the geometry of an image, and which of its pixels are excluded."""
    if not isinstance(mask, Map) or not isinstance(mask.geom, WcsGeom) or not mask.is_mask:
        what = f"data of type {mask.data.dtype}" if isinstance(mask, Map) else type(mask).__name__
        raise InputError(f": expected a boolean map of the sky, got {what}.", "mask")
    planes = mask.data.reshape(-1, *mask.geom.shape_image)
    if np.any(planes != planes[0]):
        raise InputError(
            ": it differs between energy bins, which regions cannot say; write one image of "
            "it, such as mask.image(0), or mask.reduce_over_axes(np.logical_and).",
            "mask",
        )
    return mask.geom, ~planes[0]


def _polygons(geom: WcsGeom, excluded: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Return corners, in pixels, of polygons that hold the centres of excluded pixels."""
    whole = excluded & _surrounded(geom, 0.5)
    yield from outlines(whole)
    rest = excluded & ~whole
    for margin in _MARGINS:
        if rest.any():
            here = rest & _surrounded(geom, margin)
            yield from row_boxes(here, margin)
            rest &= ~here


def _surrounded(geom: WcsGeom, margin: float) -> NDArray[np.bool_]:
    """Return where the four points this many pixels aside of a centre come back from the sky."""
    ny, nx = geom.shape_image
    sound = np.ones((ny, nx), bool)
    y, x = np.mgrid[0:ny, 0:nx].astype(float)
    turn = full_turn(geom)
    for dy, dx in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        there = x + dx * margin, y + dy * margin
        back = geom.sky_to_pix(geom.pix_to_lonlat(*there))
        apart = np.stack(back, axis=-1) - np.stack(there, axis=-1)
        if turn is not None:
            turns = np.nan_to_num(apart @ turn / (turn @ turn))
            apart -= np.round(turns)[..., None] * turn
        with np.errstate(invalid="ignore"):
            sound &= np.max(np.abs(apart), axis=-1) < _SAME
    return sound
