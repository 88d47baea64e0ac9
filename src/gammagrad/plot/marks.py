"""Positions, names and error ellipses of the sources of a table on a map."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

_MAJOR, _MINOR, _ANGLE = "ellipse_major_95", "ellipse_minor_95", "ellipse_angle"
_CORNERS = 61


def positions(table: Table) -> SkyCoord:
    """Return the positions of sources."""
    return SkyCoord(u.Quantity(table["ra"], "deg"), u.Quantity(table["dec"], "deg"))


def halo(width: float) -> list[Any]:
    """Return the white border of what is drawn over a map."""
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground="white")]


def write_name(ax: Any, name: Any, xy: Any, beside: tuple[float, float], **style: Any) -> None:
    """Write a name beside a place, so many points from it."""
    how = {"xytext": beside, "textcoords": "offset points", "annotation_clip": True}
    ax.annotate(str(name), xy, **how, **style)


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
