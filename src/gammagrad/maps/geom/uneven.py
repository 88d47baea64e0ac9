"""Errors of one kernel for a whole map, where the pixels differ from the pixels in the middle."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from gammagrad.maps.geom.base import Geom
from gammagrad.maps.geom.derivative import pixel_matrices
from gammagrad.maps.geom.kept import kept
from gammagrad.maps.geom.pixels import middle_shape
from gammagrad.maps.geom.wcs_geom import WcsGeom

# Number of places along each side of a map.
_PLACES = 13
_LIMITS = {"norm": 0.01, "area": 0.02}


class SolidAngleWarning(UserWarning):
    """The pixels of a map have noticeably different shapes on the sky."""


class Unevenness(NamedTuple):
    """The largest errors that the kernel of a map's middle makes elsewhere on it."""

    # relative error of the norm of a point source on a flat background, found with a round kernel
    # that is wider than the pixels: negative where it comes out low
    norm: float
    norm_at: tuple[float, float]  # where, (lon, lat) in deg in the frame of the map
    area: float  # relative error of the area of a disc of a given radius
    area_at: tuple[float, float]  # where


def unevenness(geom: WcsGeom) -> Unevenness:
    """Return the largest errors that the kernel of the middle of a map makes elsewhere."""
    # On pixels with the derivative :math:`J` of the sky a round Gaussian has the covariance
    # :math:`S \propto (J^T J)^{-1}`. Of a source with :math:`S` a matched filter with :math:`S_0`,
    # which is equal to a fit on a bright background, finds
    # \sqrt{\det 2 S_0 / \det (S_0 + S)}
    return kept(geom.derived, "unevenness", lambda: _unevenness(geom))


def _unevenness(geom: WcsGeom) -> Unevenness:
    rows, cols = (np.linspace(0, n - 1, min(_PLACES, n)) for n in geom.shape_image)
    y, x = (c.ravel() for c in np.meshgrid(rows, cols, indexing="ij"))
    matrices = pixel_matrices(geom.wcs, y, x)
    lon, lat = geom.pix_to_lonlat(x, y)
    seen = np.isfinite(matrices).all(axis=(1, 2))
    matrices, places = matrices[seen], np.stack([lon, lat], axis=1)[seen]
    solid = np.abs(np.linalg.det(matrices)) > 0
    matrices, places = matrices[solid], places[solid]
    if not len(matrices):
        return Unevenness(0.0, geom.center_lonlat, 0.0, geom.center_lonlat)
    spread = _covariance(matrices)
    own = _covariance(middle_shape(geom).matrix)
    norm = np.sqrt(np.linalg.det(2 * own) / np.linalg.det(own + spread)) - 1
    area = np.abs(np.linalg.det(matrices)) / middle_shape(geom).area - 1
    worst = [int(np.argmax(np.abs(error))) for error in (norm, area)]
    at = [(float(places[i, 0]), float(places[i, 1])) for i in worst]
    return Unevenness(float(norm[worst[0]]), at[0], float(area[worst[1]]), at[1])


def _covariance(matrices: Any) -> Any:
    """Return the covariance of a round source on pixels with these derivatives."""
    return np.linalg.inv(np.swapaxes(matrices, -1, -2) @ matrices)


def warn_if_uneven(geom: Geom, of: str = "norm", limit: float | None = None) -> None:
    """Warn if the kernel of the middle of a map is noticeably wrong elsewhere on it."""
    if not isinstance(geom, WcsGeom):
        return
    found = unevenness(geom)
    error, (lon, lat) = (found.area, found.area_at) if of == "area" else (found.norm, found.norm_at)
    if abs(error) <= (_LIMITS[of] if limit is None else limit):
        return
    if of == "area":
        what = f"a disc is up to {abs(error):.0%} {'larger' if error > 0 else 'smaller'} than asked"
    else:
        way = "high" if error > 0 else "low"
        what = (
            f"norm and flux of a source on a flat background come out up to {abs(error):.0%} {way}"
        )
    width = " x ".join(f"{side:.3g}" for side in geom.width.to_value("deg"))
    warnings.warn(
        f"The shape of the pixels on the sky is not the same everywhere on the map "
        f"({geom.projection} projection, {width} deg), and the kernel of the middle is used "
        f"everywhere: {what}, at ({lon:.2f}, {lat:.2f}) deg. Use a smaller map, or one "
        "whose reference point is in its middle.",
        SolidAngleWarning,
        stacklevel=3,
    )
