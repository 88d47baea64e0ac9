"""Coordinate systems and positions on the sky."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import celestial_frame_to_wcs
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.maps.units import to_value

Floats = NDArray[np.float64]


def angle_pair(value: Any, name: str) -> tuple[float, float]:
    """Return one angle or a pair of angles as two numbers in degrees."""
    angles = np.atleast_1d(to_value(value, "deg", name)).astype(float)
    if angles.size not in (1, 2) or not np.all(np.isfinite(angles)):
        raise InputError(f"{name}: expected one angle or two (lon, lat), got {short(value)}.")
    return float(angles.flat[0]), float(angles.flat[-1])


def lonlat(wcs: WCS, x: Any, y: Any) -> tuple[Floats, Floats]:
    """Return longitude and latitude of pixel coordinates in degrees, NaN where there is no sky."""
    x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    lon, lat = wcs.all_pix2world(x, y, 0)
    return np.asarray(lon), np.asarray(lat)


def skycoord(frame: Any, lon: Any, lat: Any) -> SkyCoord:
    """Return positions from longitude and latitude in degrees."""
    data = UnitSphericalRepresentation(lon * u.deg, lat * u.deg)
    return SkyCoord(frame.realize_frame(data))


def position_in(frame: Any, value: Any) -> SkyCoord:
    """Return a position from a `SkyCoord` or from longitude and latitude in a frame."""
    if isinstance(value, SkyCoord):
        return value
    if isinstance(value, tuple | list) and len(value) == 2:
        lon, lat = (np.asarray(to_value(v, "deg", "position"), dtype=float) for v in value)
        return skycoord(frame, lon, lat)
    raise InputTypeError(f"position: expected a SkyCoord or (lon, lat), got {short(value)}.")


def degrees(position: SkyCoord, frame: Any = None) -> tuple[Floats, Floats]:
    """Return longitude and latitude of positions in a frame, by default their own."""
    if frame is not None and not position.is_equivalent_frame(frame):
        position = position.transform_to(frame)
    data = position.represent_as(UnitSphericalRepresentation)
    return np.asarray(data.lon.deg, dtype=float), np.asarray(data.lat.deg, dtype=float)


def make_wcs(
    npix: Any, binsz: Any, width: Any, skydir: Any, proj: str, frame: Any
) -> tuple[WCS, tuple[int, int]]:
    """Return a coordinate system around a position, and the number of pixels."""
    try:
        frame_object = SkyCoord(0.0, 0.0, unit="deg", frame=frame).frame
        wcs = celestial_frame_to_wcs(frame_object, projection=proj)
    except ValueError as error:
        raise InputError(f"frame is {frame!r}; expected 'icrs', 'galactic' or 'fk5'.") from error
    scale = angle_pair(binsz, "binsz")
    if min(scale) <= 0:
        raise InputError(f"binsz is {binsz!r}; expected positive pixel sizes.")
    if npix is None:
        extent = angle_pair((360.0, 180.0) if width is None else width, "width")
        npix = [int(np.rint(w / s)) for w, s in zip(extent, scale, strict=True)]
    nx, ny = (int(n) for n in np.broadcast_to(np.asarray(npix), 2))
    if isinstance(skydir, SkyCoord):
        lon, lat = (float(c) for c in degrees(skydir, frame_object))
    else:
        lon, lat = angle_pair((0.0, 0.0) if skydir is None else skydir, "skydir")
    wcs.wcs.crpix = ((nx + 1) / 2, (ny + 1) / 2)
    wcs.wcs.crval = lon, lat
    wcs.wcs.cdelt = (-scale[0], scale[1])
    try:
        wcs.wcs.set()
    except ValueError as error:
        raise InputError(f"proj is {proj!r}; expected a FITS projection code.") from error
    return wcs, (nx, ny)


def read_wcs(header: Any) -> WCS:
    """Return the celestial coordinate system of a FITS header."""
    with warnings.catch_warnings():
        # astropy corrects dates in other styles, and they do not matter here
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header)
    if not wcs.has_celestial:
        raise InputError(
            "the header has no celestial coordinates; expected CTYPE1 and CTYPE2 such as "
            "'GLON-CAR' and 'GLAT-CAR'."
        )
    if (wcs.wcs.lng, wcs.wcs.lat) != (0, 1):
        raise InputError(
            "the first two axes must be longitude and latitude, "
            f"got {list(wcs.wcs.ctype)}; reorder the axes of the image."
        )
    return wcs.celestial


def wcs_header(wcs: WCS) -> Any:
    """Return the FITS header of a coordinate system, with every digit of the reference point."""
    header = wcs.to_header(relax=True)
    for i in range(2):
        header[f"CRPIX{i + 1}"] = float(wcs.wcs.crpix[i])
        header[f"CRVAL{i + 1}"] = float(wcs.wcs.crval[i])
        if not wcs.wcs.has_cd():
            header[f"CDELT{i + 1}"] = float(wcs.wcs.cdelt[i])
    return header
