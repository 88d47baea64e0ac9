"""Good time intervals of several datasets as one table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table
from astropy.time import Time, TimeDelta

log = logging.getLogger(__name__)


def union_of_times(tables: Sequence[Table | None], names: Sequence[str]) -> Table | None:
    """Return the union of the good time intervals of several observations."""
    present = [(t, name) for t, name in zip(tables, names, strict=True) if t is not None]
    if len(present) < 2:
        return present[0][0] if present else None
    first = present[0][0]
    spans = [seconds_of(first)]
    for table, name in present[1:]:
        shift = _relative_to(first, table)
        if shift is None:
            log.warning(
                "dataset %r: its good time intervals are ignored, because their reference time "
                "(MJDREFI, MJDREFF, TIMESYS) cannot be compared to the reference of dataset %r",
                name,
                present[0][1],
            )
            continue
        # maps of one exposure have the same times
        if not any(np.array_equal(shift, other) for other in spans):
            spans.append(shift)
    start, stop = _merged(np.concatenate(spans, axis=1))
    table = Table({"START": u.Quantity(start, "s"), "STOP": u.Quantity(stop, "s")})
    table.meta.update(first.meta)
    return table


def seconds_of(table: Table) -> np.ndarray:
    """Return starts and stops in seconds after the table's reference time, shape (2, n)."""
    columns = []
    for name in ("START", "STOP"):
        unit = getattr(table[name], "unit", None) or "s"
        columns.append(u.Quantity(np.asarray(table[name]), unit).to_value("s"))
    return np.array(columns, dtype=float)


def _reference(table: Table) -> tuple[float, float, str] | None:
    """Return the reference time, whole and fractional MJD and time scale; None if unknown."""
    meta: dict[str, Any] = {str(key).upper(): value for key, value in table.meta.items()}
    if "MJDREFI" in meta:
        whole, part = float(meta["MJDREFI"]), float(meta.get("MJDREFF", 0))
    elif "MJDREF" in meta:
        whole, part = float(meta["MJDREF"]), 0.0
    else:
        return None
    return whole, part, str(meta.get("TIMESYS", "tt")).strip().lower()


def _relative_to(first: Table, table: Table) -> np.ndarray | None:
    """Return a table's intervals in seconds after the reference time of another."""
    theirs, ours = _reference(table), _reference(first)
    if theirs == ours:
        return seconds_of(table)
    if theirs is None or ours is None or not {theirs[2], ours[2]} <= set(Time.SCALES):
        return None
    zero, origin = (Time(whole, part, format="mjd", scale=s) for whole, part, s in (ours, theirs))
    times = origin + TimeDelta(seconds_of(table), format="sec")
    return np.asarray((times - zero).to_value("s"))


def _merged(spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge intervals, shape (2, n), that overlap or touch."""
    if spans.shape[1] == 0:
        return spans[0], spans[1]
    if (spans[0, 1:] < spans[0, :-1]).any():
        spans = spans[:, np.argsort(spans[0], kind="stable")]
    start, stop = spans
    reach = np.maximum.accumulate(stop)
    # gaps below a microsecond are rounding of times many years long
    gaps = np.flatnonzero(start[1:] > reach[:-1] + 1e-6)
    first, last = np.append(0, gaps + 1), np.append(gaps, start.size - 1)
    return start[first], reach[last]
