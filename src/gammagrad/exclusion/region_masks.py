"""Masks of regions and energies on a geometry: `WcsGeom.region_mask`, `energy_mask`."""

from __future__ import annotations

import re
from os import PathLike
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.exclusion.areas import in_circles, in_regions
from gammagrad.exclusion.sources import circle_list
from gammagrad.io import import_regions, parse_ds9, read_ds9
from gammagrad.maps import Map, WcsGeom, to_value

Bools = NDArray[np.bool_]

_NUMBER = r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)"
_CIRCLE = re.compile(
    rf"\s*(icrs|galactic|fk5)\s*;\s*circle\s*\({_NUMBER}\s*,{_NUMBER}\s*,{_NUMBER}\s*([\"'d]?)\s*\)\s*"
)
_FIRST_OF_CIRCLE = (SkyCoord, u.Quantity, int, float, np.number)
_UNITS = {"": 1.0, "d": 1.0, "'": 1 / 60, '"': 1 / 3600}


def region_mask(geom: WcsGeom, regions: Any, inside: bool = True) -> Map:
    """Return a mask of the pixels whose centre lies in regions; see `WcsGeom.region_mask`."""
    one = isinstance(regions, str | PathLike) or not hasattr(regions, "__iter__")
    if one or (isinstance(regions, tuple) and isinstance(regions[0], _FIRST_OF_CIRCLE)):
        regions = [regions]
    found, shapes = np.zeros(geom.shape_image, bool), []
    for region in regions:
        if isinstance(region, tuple):
            circles = circle_list(geom, [region])
            found |= np.logical_or.reduce([in_circles(geom, *circle) for circle in circles])
        elif isinstance(region, str) and (match := _CIRCLE.fullmatch(region)):
            found |= _in_text_circle(geom, match)
        elif isinstance(region, str | PathLike):
            is_text = isinstance(region, str) and "(" in region
            shapes += parse_ds9(str(region)) if is_text else read_ds9(region)
        else:
            shapes.append(region)
    if shapes:
        point = import_regions().PointSkyRegion
        others = [shape for shape in shapes if not isinstance(shape, point)]
        for shape in shapes:
            if isinstance(shape, point):
                found |= _beside(geom, shape.center)
        found |= in_regions(geom, others)
    return Map(geom, np.broadcast_to(found if inside else ~found, geom.data_shape))


def energy_mask(
    geom: WcsGeom, energy_min: Any = None, energy_max: Any = None, round_to_edge: bool = False
) -> Map:
    """Return a mask of the energy bins between two energies; see `WcsGeom.energy_mask`."""
    name = next((axis.name for axis in geom.axes if axis.is_energy), "energy")
    edges = geom.axes[name].edges_in("TeV")
    used = np.ones(len(edges) - 1, dtype=bool)
    for bound, ends, outside in (
        (energy_min, edges[:-1], np.less),
        (energy_max, edges[1:], np.greater),
    ):
        if bound is None:
            continue
        value = float(to_value(bound, "TeV", "energy_min or energy_max"))
        if round_to_edge:
            value = edges[np.argmin(np.abs(np.log(edges / value)))]
        # an edge that is a bound up to rounding lies within
        used &= ~(outside(ends, value) & ~np.isclose(ends, value, rtol=1e-9, atol=0))
    shape = (-1,) + (1,) * (geom.axes.index(name) + 2)
    return Map(geom, np.broadcast_to(used.reshape(shape), geom.data_shape))


def _in_text_circle(geom: WcsGeom, match: re.Match[str]) -> Bools:
    """Return the pixels in a circle that a text of DS9 gives in degrees."""
    frame, *numbers, unit = match.groups()
    try:
        lon, lat, radius = (float(number) for number in numbers)
        centre = SkyCoord([lon], [lat], unit="deg", frame=frame)
    except ValueError as error:
        raise InputError(f": cannot read {match.string!r}: {error}.", "regions") from error
    return in_circles(geom, centre, np.array([radius * _UNITS[unit]]))


def _beside(geom: WcsGeom, position: SkyCoord) -> Bools:
    """Return the pixels that share a point by linear interpolation."""
    x, y = (float(pixel) for pixel in geom.sky_to_pix(position))
    ny, nx = geom.shape_image
    near: Bools = (np.abs(np.arange(ny) - y) < 1)[:, None] & (np.abs(np.arange(nx) - x) < 1)
    return near
