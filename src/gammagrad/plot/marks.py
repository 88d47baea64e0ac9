"""Positions, names and error ellipses of the sources of a table on a map."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from gammagrad.errors import InputTypeError, short

_MAJOR, _MINOR, _ANGLE = "ellipse_major_95", "ellipse_minor_95", "ellipse_angle"
_CORNERS = 61
_NAMED = 12  # names of more sources than this would cover the map: their numbers stand there
_RINGS = (9.0, 22.0, 38.0, 58.0, 82.0)  # distances of a name from its source, in points
_TURNS = np.radians([45, 135, -45, -135, 0, 180, 90, -90])
_BESIDE = 10.0  # a name further away than this gets a line to its source

Box = tuple[float, float, float, float]


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


def _overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _outside(box: Box, frame: Box) -> float:
    """Return the area of a box outside a frame."""
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, frame)


def places_of_names(
    points: Any, sizes: Any, frame: Box, gap: float = 6.0
) -> list[tuple[float, float]]:
    """Return where the middle of each name stands from its point, so that nothing overlaps.

    All lengths are in points. The nearest place is taken where no point and no earlier name
    stands; where there is none, the place that covers least.
    """
    points = np.asarray(points, dtype=float)
    taken = [(x - gap, y - gap, x + gap, y + gap) for x, y in points]
    places = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        best, least = (0.0, 0.0), np.inf
        for ring in _RINGS:
            for turn in _TURNS:
                dx = np.cos(turn) * ring + round(np.cos(turn)) * width / 2
                dy = np.sin(turn) * ring + round(np.sin(turn)) * height / 2
                middle = (x + dx, y + dy)
                box = (
                    *(middle[0] - width / 2, middle[1] - height / 2),
                    *(middle[0] + width / 2, middle[1] + height / 2),
                )
                covered = sum(_overlap(box, t) for t in taken) + 4 * _outside(box, frame)
                if covered < least:
                    best, least, chosen = (dx, dy), covered, box
                if covered == 0:
                    break
            if least == 0:
                break
        places.append(best)
        taken.append(chosen)
    return places


def write_names(ax: Any, x: Any, y: Any, names: Any, fontsize: float = 8) -> None:
    """Write names beside positions in pixels, clear of each other, with lines to those further."""
    names = [str(name) for name in names]
    to_points = 72 / ax.figure.dpi
    points = ax.transData.transform(np.column_stack([x, y])) * to_points
    low, high = ax.transData.transform(np.column_stack([ax.get_xlim(), ax.get_ylim()])) * to_points
    sizes = [(0.62 * fontsize * len(name), 1.1 * fontsize) for name in names]
    places = places_of_names(points, sizes, (*low, *high))
    style = {"path_effects": halo(2.2), "fontsize": fontsize, "ha": "center", "va": "center"}
    for xi, yi, name, size, (dx, dy) in zip(x, y, names, sizes, places, strict=True):
        is_far = np.hypot(max(abs(dx) - size[0] / 2, 0), max(abs(dy) - size[1] / 2, 0)) > _BESIDE
        line = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5}
        write_name(ax, name, (xi, yi), (dx, dy), arrowprops=line if is_far else None, **style)


def mark_peaks(ax: Any, peaks: object, names: bool) -> None:
    """Circle the sources of a table, and write their names or numbers beside them."""
    if not isinstance(peaks, Table) or not {"ra", "dec"} <= set(peaks.colnames):
        raise InputTypeError(
            f" is {short(peaks)}; expected a table with columns ra and dec, as find_peaks "
            "returns it.",
            "peaks",
        )
    x, y = ax.wcs.celestial.world_to_pixel(positions(peaks))
    style = {"path_effects": halo(2.2)}
    ax.scatter(x, y, s=90, facecolors="none", edgecolors="black", linewidths=1.1, **style)
    if has_ellipses(peaks):
        draw_ellipses(ax, peaks, color="black", lw=0.9, scalex=False, scaley=False)
    if not names:
        return
    if len(peaks) > _NAMED or "name" not in peaks.colnames:
        numbers = peaks["number"] if "number" in peaks.colnames else range(1, len(peaks) + 1)
        write_names(ax, x, y, numbers, fontsize=7)
    else:
        write_names(ax, x, y, peaks["name"])


def draw_resolution(ax: Any, sides: tuple[float, float]) -> None:
    """Draw in the lower left corner, over so many pixels in x and y, how wide a source is."""
    from matplotlib.patches import Ellipse

    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    margin = 0.03 * max(right - left, high - low)
    middle = (left + margin + sides[0] / 2, low + margin + sides[1] / 2)
    ax.add_patch(
        Ellipse(middle, *sides, facecolor="white", edgecolor="black", linewidth=1.0, alpha=0.85)
    )


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
