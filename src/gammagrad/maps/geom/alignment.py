"""Whether two pixel grids have the same pixels on the sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from gammagrad.maps.geom.coordinates import degrees, lonlat, skycoord
from gammagrad.maps.geom.sphere import unit_vectors

Floats = NDArray[np.float64]

# Pixel centres nearer than this, in pixels, are the same.
_TOLERANCE = 1e-3


def sky_sample(
    wcs: WCS, frame: Any, npix: tuple[int, int], shift: tuple[int, int] = (0, 0)
) -> Floats:
    """Return unit vectors (ICRS) at some pixels of a grid that is moved by whole pixels."""
    x, y = (
        # two pixels at least, since one has no size
        np.unique(np.round(np.linspace(0, max(n - 1, 1), 5))) + start
        for n, start in zip(npix, shift, strict=True)
    )
    return unit_vectors(*degrees(skycoord(frame, *lonlat(wcs, x[None, :], y[:, None])).icrs))


def coincide(mine: Floats, theirs: Floats, wcs: WCS) -> bool:
    """Return whether two samples agree to a small part of a pixel."""
    blank = np.isnan(mine)
    if not np.array_equal(blank, np.isnan(theirs)):
        return False
    pixel = np.deg2rad(np.min(proj_plane_pixel_scales(wcs)))
    return bool(np.all(np.abs(mine - theirs)[~blank] < _TOLERANCE * pixel))
