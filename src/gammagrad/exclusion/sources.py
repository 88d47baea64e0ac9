"""Positions and radii of sources: from tuples, and from tables with the usual column names."""

from __future__ import annotations

from collections.abc import Iterable
from os import fspath
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

from gammagrad.errors import InputError, short
from gammagrad.io import read_source_table
from gammagrad.maps import WcsGeom, to_value

Floats = NDArray[np.float64]
Circles = tuple[SkyCoord, Floats]

# Columns of longitude and latitude with their frame, in the order in which they are looked for;
# None is the frame of the map. Upper and lower case are not told apart.
_POSITIONS: tuple[tuple[str, str, str | None], ...] = (
    ("ra", "dec", "icrs"),
    ("ra_icrs", "de_icrs", "icrs"),
    ("raj2000", "dej2000", "fk5"),
    ("raj2000", "decj2000", "fk5"),
    ("_raj2000", "_dej2000", "fk5"),
    ("ra_j2000", "dec_j2000", "fk5"),
    ("right_ascension", "declination", "icrs"),
    ("glon", "glat", "galactic"),
    ("_glon", "_glat", "galactic"),
    ("l", "b", "galactic"),
    ("lon", "lat", None),
)
_RADII = ("radius", "exclusion_radius", "radius_deg")


def circle_list(geom: WcsGeom, circles: Any) -> Iterable[Circles]:
    """Return circles given as tuples."""
    if isinstance(circles, tuple) and circles and not isinstance(circles[0], tuple | list):
        circles = [circles]
    for circle in circles:
        if not isinstance(circle, tuple | list) or len(circle) not in (2, 3):
            raise InputError(
                ": expected (position, radius) or (longitude, latitude, radius), got "
                f"{short(circle)}.",
                "circles",
            )
        *where, radius = circle
        try:
            position = geom.position(where[0] if len(where) == 1 else tuple(where))
        except TypeError as error:
            raise InputError(
                f": expected a SkyCoord or a longitude and a latitude, got {short(where[0])}.",
                "circles",
            ) from error
        position = position.reshape(-1)
        radii = np.broadcast_to(_radii(radius, "circles"), position.shape)
        yield position, np.asarray(radii)


def source_circles(geom: WcsGeom, table: Any, radius: Any = None) -> Circles:
    """Return a circle for every row of a table of sources."""
    name = "the table" if isinstance(table, Table) else fspath(table)
    if not isinstance(table, Table):
        table = read_source_table(table)
    position = _positions(table, geom, name)
    return position, _table_radii(table, radius, name)


def _positions(table: Table, geom: WcsGeom, name: str) -> SkyCoord:
    columns = {column.lower(): column for column in reversed(table.colnames)}
    found = [names for names in _POSITIONS if names[0] in columns and names[1] in columns]
    if not found:
        known = ", ".join(f"{a}/{b}" for a, b, _ in _POSITIONS)
        raise InputError(
            f": no columns with positions; expected one of {known}, got "
            f"{', '.join(table.colnames)}.",
            name,
        )
    lon, lat, frame = found[0]
    hours = u.hourangle if frame in ("icrs", "fk5") else u.deg
    lons = _angles(table[columns[lon]], hours, name)
    lats = _angles(table[columns[lat]], u.deg, name)
    if np.any(np.abs(lats) > 90):
        raise InputError(f": column {columns[lat]} has latitudes beyond 90 deg.", name)
    if frame is None:
        return geom.position((lons, lats))
    return SkyCoord(lons, lats, unit="deg", frame=frame)


def _angles(column: Any, text_unit: u.UnitBase, name: str) -> Floats:
    """Return a column as degrees, each of them a number."""
    values = column
    if isinstance(column, Column | MaskedColumn) and column.dtype.kind in "US":
        try:
            values = Angle([str(text) for text in column], text_unit)
        except (ValueError, u.UnitsError) as error:
            raise InputError(f": column {column.name} has no angles ({error}).", name) from error
        if text_unit == u.hourangle and np.any(np.abs(values.deg) > 360):
            raise InputError(
                f": column {column.name} has texts beyond 24 hours; for degrees make it a "
                "column of numbers, or write a d behind each.",
                name,
            )
    return _numbers(values, getattr(column, "name", "") or column.info.name, name)


def _numbers(column: Any, title: str, name: str) -> Floats:
    """Return a column of angles in deg, after a check that none is missing."""
    if isinstance(column, u.Quantity):
        values = to_value(column, "deg", f"{name}: column {title}")
    else:
        unit = getattr(column, "unit", None) or "deg"
        filled = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
        try:
            values = to_value(u.Quantity(filled, unit), "deg", f"{name}: column {title}")
        except TypeError as error:
            raise InputError(f": column {title} has the unit {unit}, no angle.", name) from error
    values = np.atleast_1d(np.asarray(values, dtype=float))
    if missing := int(np.sum(~np.isfinite(values))):
        raise InputError(
            f": column {title} has no value in {missing} of {len(values)} rows; leave these out.",
            name,
        )
    return values


def _table_radii(table: Table, radius: Any, name: str) -> Floats:
    column = radius if isinstance(radius, str) and radius in table.colnames else None
    if radius is None:
        found = [title for title in table.colnames if title.lower() in _RADII]
        if not found:
            raise InputError(
                f": no column {_RADII[0]}; give radius, an angle for all sources or the name "
                f"of one of the columns {', '.join(table.colnames)}.",
                name,
            )
        column = found[0]
    if column is not None:
        return _radii(_numbers(table[column], column, name), f"{name}: column {column}")
    return np.full(len(table), _radii(radius, "radius"))


def _radii(value: Any, name: str) -> Any:
    """Return radii in deg, checked."""
    radii = to_value(value, "deg", name)
    if not isinstance(radii, float | np.ndarray) or not np.all(
        np.isfinite(radii) & (np.asarray(radii) >= 0)
    ):
        raise InputError(f': expected radii >= 0, such as "0.2 deg", got {short(value)}.', name)
    return radii
