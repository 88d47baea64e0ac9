"""Where a pixel grid lies in a larger one, or why it does not lie in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.geom.alignment import coincide, sky_sample
from gammagrad.maps.geom.cutting import rotated
from gammagrad.maps.geom.wcs_geom import WcsGeom

# Sizes of pixels that differ by less, as a fraction, are not named: a text would not show it.
_ALIKE = 1e-4
# A shift that changes by less over a map, in pixels, is one shift.
_DRIFT = 2e-3

Indices = NDArray[np.intp]


def rows_and_columns(geom: WcsGeom, part: WcsGeom) -> tuple[Indices, Indices] | None:
    """Return the rows and columns of an aligned geometry in another.

    Parameters
    ----------
    geom
        A geometry. If its columns go all around the sky, the last is next to the first.
    part
        Another geometry; axes are not compared.

    Returns
    -------
    (ndarray, ndarray) or None
        Rows and columns of all pixels of `part`, some or all of which may lie outside of `geom`;
        None if the grids are not aligned.
    """
    (ny, nx), n_columns = part.shape_image, geom.npix[0]
    offset = geom.offset_of(part)
    if offset is None or not 0 <= offset[0] <= n_columns - nx:
        half = n_columns // 2
        turned = _turned(geom, half)
        found = None if turned is None else turned.offset_of(part)
        if found is not None and 0 <= found[0] <= n_columns - nx:
            return found[1] + np.arange(ny), (found[0] + half + np.arange(nx)) % n_columns
    if offset is None:
        return None
    return offset[1] + np.arange(ny), offset[0] + np.arange(nx)


def _turned(geom: WcsGeom, columns: int) -> WcsGeom | None:
    """Return the pixels of a map all around the sky, beginning at a later column."""
    if not 0 < columns < geom.npix[0]:
        return None
    try:
        turned = WcsGeom(rotated(geom.wcs, columns), geom.npix)
    except InputError:
        return None
    nx, ny = geom.npix
    for n, start, where in ((nx - columns, columns, 0), (columns, 0, nx - columns)):
        mine = sky_sample(geom.wcs, geom.frame_object, (n, ny), (start, 0))
        theirs = sky_sample(turned.wcs, turned.frame_object, (n, ny), (where, 0))
        if not coincide(mine, theirs, geom.wcs):
            return None
    return turned


def misalignment(geom: WcsGeom, other: WcsGeom) -> str:
    """Say in words why the pixels of another geometry differ from this one's.

    Parameters
    ----------
    geom
        The pixels expected.
    other
        Another geometry that is not aligned; axes are not compared.

    Returns
    -------
    str
        A phrase about `other`.
    """
    if not geom.frame_object.is_equivalent_frame(other.frame_object) and geom.frame != other.frame:
        return f"it is in {other.frame} coordinates instead of {geom.frame}"
    if geom.projection != other.projection:
        return f"its projection is {other.projection} instead of {geom.projection}"
    wanted, sizes = (g.pixel_scales.to_value("deg") for g in (geom, other))
    if np.any(np.abs(sizes - wanted) > _ALIKE * wanted):
        ours, theirs = (f"{x:.6g} x {y:.6g} deg" for x, y in (wanted, sizes))
        return f"its pixels are {theirs} instead of {ours}"
    shifts = _shifts(geom, other)
    if not np.isfinite(shifts).any():
        return f"it lies elsewhere on the sky: {other.summary()} instead of {geom.summary()}"
    low, high = (np.asarray(f(shifts, axis=(1, 2))) for f in (np.nanmin, np.nanmax))
    drift = float(np.max(high - low))
    # 0 has no sign
    x, y = np.round((low + high) / 2 - np.round(low), 3) + 0.0
    if drift < _DRIFT and (x or y):
        return f"it is shifted by {x:.3g} x {y:.3g} pixels (columns x rows) besides whole pixels"
    return (
        "its grid has another reference point or rotation, so that shifts differ by up to "
        f"{drift:.3g} pixels over the map: {other.summary()} instead of {geom.summary()}"
    )


def _shifts(geom: WcsGeom, other: WcsGeom) -> NDArray[np.float64]:
    """Return columns and rows in another geometry minus those in this one, at some pixels."""
    x, y = (np.linspace(0, n - 1, min(n, 5)) for n in geom.npix)
    x, y = np.meshgrid(x, y)
    found = np.stack(other.sky_to_pix(geom.pix_to_sky(x, y)))
    shifts: NDArray[np.float64] = found - np.stack([x, y])
    return shifts
