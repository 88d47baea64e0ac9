"""Error ellipses on a map."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

_MAJOR, _MINOR, _ANGLE = "ellipse_major_95", "ellipse_minor_95", "ellipse_angle"
_CORNERS = 61


def has_ellipses(peaks: Table) -> bool:
    """Return whether a table of sources has error ellipses."""
    return {_MAJOR, _MINOR, _ANGLE} <= set(peaks.colnames)


def draw_ellipses(ax: Any, peaks: Table, **style: Any) -> None:
    """Draw the 95 % error ellipses of refined sources."""
    around = np.linspace(0, 2 * np.pi, _CORNERS)
    names = ("ra", "dec", _MAJOR, _MINOR, _ANGLE)
    columns = [u.Quantity(peaks[name], "deg").value for name in names]
    for ra, dec, major, minor, angle in zip(*columns, strict=True):
        if not np.isfinite(major):
            continue
        along, across = major * np.cos(around), minor * np.sin(around)
        turn = np.radians(angle) + np.arctan2(across, along)
        centre = SkyCoord(ra, dec, unit="deg")
        edge = centre.directional_offset_by(turn * u.rad, np.hypot(along, across) * u.deg)
        ax.plot(*ax.wcs.celestial.world_to_pixel(edge), **style)
