"""Maps of all kinds of pixels, and counts on them from true separations: astropy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.coordinates import angular_separation
from astropy.wcs import WCS
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NPIX = 61
MIDDLE = NPIX // 2


def rotated(angle: float, *sides: float) -> Floats:
    """Return the derivative of the sky by pixels of these sides, turned by an angle in deg."""
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return matrix @ np.diag([-sides[0], sides[-1]])


def sky(
    proj: str,
    position: tuple[float, float],
    matrix: Floats,
    reference: tuple[float, float] | None = None,
    npix: int = NPIX,
) -> WCS:
    """Return the coordinates of a map whose middle pixel is at a position.

    The reference point is the position, or another one far off the map.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{proj}", f"DEC--{proj}"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = position if reference is None else reference
    wcs.wcs.cdelt, wcs.wcs.pc, wcs.wcs.crpix = (1.0, 1.0), matrix, (1.0, 1.0)
    x, y = wcs.all_world2pix(*position, 0)
    wcs.wcs.crpix = (1 - x + npix // 2, 1 - y + npix // 2)
    wcs.wcs.set()
    return wcs


SKIES: dict[str, Callable[[], WCS]] = {
    "TAN": lambda: sky("TAN", (83.6, 22.0), rotated(0, 0.05)),
    "oblong": lambda: sky("TAN", (83.6, 22.0), rotated(0, 0.05, 0.10)),
    "oblong, turned": lambda: sky("TAN", (83.6, 22.0), rotated(30, 0.04, 0.06)),
    "one to four, turned": lambda: sky("TAN", (83.6, 22.0), rotated(20, 0.03, 0.12)),
    "sheared": lambda: sky("TAN", (83.6, 22.0), np.array([[-0.05, 0.02], [0.0, 0.05]])),
    "CAR at 22": lambda: sky("CAR", (83.6, 22.0), rotated(0, 0.05), (83.6, 0.0)),
    "CAR at -40": lambda: sky("CAR", (83.6, -40.0), rotated(0, 0.05), (83.6, 0.0)),
    "CAR at 60": lambda: sky("CAR", (83.6, 60.0), rotated(0, 0.05), (83.6, 0.0)),
    "CAR at 75": lambda: sky("CAR", (83.6, 75.0), rotated(0, 0.1, 0.05), (83.6, 0.0)),
    "CAR at 85": lambda: sky("CAR", (83.6, 85.0), rotated(0, 0.4, 0.05), (83.6, 0.0)),
    "AIT": lambda: sky("AIT", (60.0, 10.0), rotated(0, 0.05), (0.0, 0.0)),
    "MOL": lambda: sky("MOL", (60.0, 50.0), rotated(0, 0.05), (0.0, 0.0)),
    "SIN": lambda: sky("SIN", (83.6, 40.0), rotated(0, 0.05), (83.6, 0.0)),
    "ZEA at the pole": lambda: sky("ZEA", (10.0, 88.0), rotated(0, 0.05), (0.0, 90.0)),
}
"""Coordinates of 61 x 61 pixels, by what is special about them."""


def positions(wcs: WCS, x: Any, y: Any) -> tuple[Floats, Floats]:
    """Return longitude and latitude of pixel coordinates in rad."""
    lon, lat = wcs.all_pix2world(x, y, 0)
    return np.deg2rad(lon), np.deg2rad(lat)


def vectors(lon: Floats, lat: Floats) -> Floats:
    """Return unit vectors."""
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def separations(wcs: WCS, x: Any, y: Any, place: tuple[float, float]) -> Floats:
    """Return the distances of pixel coordinates from a place (lon, lat in deg), in deg."""
    lon, lat = positions(wcs, x, y)
    return np.rad2deg(angular_separation(lon, lat, *np.deg2rad(place)))


def areas(wcs: WCS, x: Floats, y: Floats) -> Floats:
    """Return the solid angle of a pixel at pixel coordinates, sr: the product of derivatives."""
    step = 0.01
    along = [
        vectors(*positions(wcs, x + dx, y + dy)) - vectors(*positions(wcs, x - dx, y - dy))
        for dx, dy in ((step, 0), (0, step))
    ]
    return np.asarray(np.linalg.norm(np.cross(*along), axis=-1) / (2 * step) ** 2)


def integrated(
    wcs: WCS,
    place: tuple[float, float],
    profile: Callable[[Floats], Floats],
    nodes: int = 6,
    npix: int = NPIX,
) -> Floats:
    """Integrate a profile of the distance in deg from a place over pixels, in units per sr."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    y, x = np.mgrid[:npix, :npix].astype(float)
    total = np.zeros((npix, npix))
    for dy, wy in zip(points / 2, weights / 2, strict=True):
        for dx, wx in zip(points / 2, weights / 2, strict=True):
            part = profile(separations(wcs, x + dx, y + dy, place)) * areas(wcs, x + dx, y + dy)
            total += wx * wy * np.nan_to_num(part)
    return total


def gaussian(sigma: float) -> Callable[[Floats], Floats]:
    """Return the profile of a round Gaussian of so many deg, whose integral is 1."""
    norm = 1 / (2 * np.pi * np.deg2rad(sigma) ** 2)
    return lambda distance: norm * np.exp(-0.5 * (distance / sigma) ** 2)
