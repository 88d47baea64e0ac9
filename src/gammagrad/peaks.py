"""Find the sources in a map: local maxima, their positions and fluxes as a table."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from shutil import get_terminal_size
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray

from gammagrad._upper import upper
from gammagrad.errors import InputError, InputTypeError, choices, short
from gammagrad.maps import Map, local_maxima, on_sky, readable_energies, sky_maxima
from gammagrad.output_quantities import FLUXES, QUANTITIES

MIN_DISTANCE = 5
"""Least distance of two sources in pixels, if none is given."""


def _maxima(
    searched: Map, threshold: float, min_distance: Any
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the peaks of each image of a map, at least an angle or a number of pixels apart."""
    try:
        distance = u.Quantity(min_distance)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f": cannot read {min_distance!r}; expected an angle such as '0.3 deg' or "
            "a number of pixels.",
            "min_distance",
        ) from error
    if distance.shape != () or not np.isfinite(distance.value) or distance.value < 0:
        raise InputError(
            f" must be one number, not negative; got {min_distance!r}.", "min_distance"
        )
    geom = searched.geom.to_image()
    planes = np.reshape(searched.data, (-1, *geom.shape_image))
    if distance.unit.is_equivalent(u.deg):
        angle = float(distance.to_value("deg"))
        return [sky_maxima(Map(geom, plane), threshold, angle) for plane in planes]
    if distance.unit in (u.dimensionless_unscaled, u.pix):
        pixels, seen = float(distance.value), on_sky(geom)
        return [
            local_maxima(np.where(seen, plane, np.nan), threshold, (pixels, pixels))
            for plane in planes
        ]
    raise InputError(
        f": expected an angle or a number of pixels, got unit '{distance.unit}'.", "min_distance"
    )


# what of a wide table is printed first, together or not at all
_FIRST = (
    *(("number", "name"), ("ra", "dec"), ("ra_err", "dec_err"), ("sqrt_ts",), ("flux", "flux_err")),
    *(("index", "index_err"), ("sigma", "sigma_err"), ("model",), ("energy_min", "energy_max")),
)


class SourceTable(QTable):
    """A table of sources; the columns that matter most are printed, as many as fit a line."""

    def __str__(self) -> str:
        width = max(get_terminal_size((100, 24)).columns, 80)
        every = self.pformat(max_lines=-1, max_width=-1)
        if all(len(line) <= width for line in every):
            return "\n".join(every)
        chosen: list[str] = []
        for names in _FIRST:
            more_names = [name for name in names if name in self.colnames]
            lines = QTable(self[[*chosen, *more_names]]).pformat(max_lines=-1, max_width=-1)
            if len(lines[0]) <= width:
                chosen += more_names
        shown = QTable(self[chosen]).pformat(max_lines=-1, max_width=-1)
        more = len(self.colnames) - len(chosen)
        return "\n".join([*shown, f"and {more} more columns: see colnames, or pprint_all()"])


def source_name(position: SkyCoord) -> str:
    """Return a name such as ``J1745.6-2900``: the position truncated, as catalogues do."""
    tenths = int(np.floor(position.ra.wrap_at("360d").deg * 40 + 1e-9)) % 14400
    minutes = int(np.floor(abs(position.dec.deg) * 60 + 1e-9))
    sign = "-" if position.dec.deg < 0 else "+"
    hours, tenths = divmod(tenths, 600)
    degrees, minutes = divmod(minutes, 60)
    return f"J{hours:02d}{tenths // 10:02d}.{tenths % 10}{sign}{degrees:02d}{minutes:02d}"


def _value_columns(maps: Mapping[str, Map], quantity: str) -> list[str]:
    """Return the names of the maps to read at the peaks, the most important last."""
    last = ["ts", "sqrt_ts", "flux", "flux_err"]
    names = ["status", "hypothesis", "npred", "npred_excess"]
    names += [q.name for q in QUANTITIES.values() if q.is_norm]
    names += [q.name for q in QUANTITIES.values() if q.reference]
    names = [n for n in dict.fromkeys([*names, quantity]) if n not in last] + last
    return [n for n in names if n in maps]


def _format(table: QTable) -> QTable:
    """Set how the numbers of a table of peaks are printed."""
    table["number"].info.description = "Rank by significance, within all energy groups"
    for name in table.colnames:
        text = QUANTITIES[name].meaning if name in QUANTITIES else ""
        if text:
            table[name].info.description = text
        if name in ("ra", "dec", "glon", "glat"):
            table[name].info.format = ".4f"
        elif name in ("sqrt_ts", "ts", "npred", "npred_excess"):
            table[name].info.format = ".2f"
        elif name.startswith((*FLUXES, "norm", "energy_m")):
            table[name].info.format = ".3g"
    return table


def find_peaks(
    maps: Mapping[str, Map],
    threshold: Any = 5,
    min_distance: Any = MIN_DISTANCE,
    quantity: str = "sqrt_ts",
    refine: bool = False,
    datasets: Any = None,
    **options: Any,
) -> QTable:
    """List the sources: the maxima of a map with their positions, significances and fluxes."""
    if options:
        _check_options(options)
    if (datasets is None) == refine or (options and not refine):
        raise InputError(_refine_mistake(refine, datasets, options))
    searched = maps[quantity]
    codes = searched.is_mask or quantity in ("status", "hypothesis")
    if codes or set(searched.geom.axes.names) - {"energy"}:
        raise InputError(
            f" is {quantity!r}, which has no peaks; choose a map of one number per pixel, "
            "such as 'sqrt_ts' or 'flux'.",
            "quantity",
        )
    geom = searched.geom
    cut = _cut(threshold, searched.unit)
    planes = np.reshape(searched.data, (-1, *geom.shape_image))
    found = _maxima(searched, cut, min_distance)
    group = np.repeat(np.arange(len(found)), [len(rows) for rows, _ in found])
    row = np.concatenate([rows for rows, _ in found])
    col = np.concatenate([cols for _, cols in found])
    order = np.argsort(-planes[group, row, col], kind="stable")
    group, row, col = group[order], row[order], col[order]

    sky = geom.pix_to_sky(col.astype(float), row.astype(float))
    icrs, galactic = sky.icrs, sky.galactic
    table: QTable = SourceTable()
    table["number"] = np.arange(1, len(row) + 1)
    table["name"] = np.array([source_name(p) for p in icrs], dtype="U12")
    table["ra"], table["dec"] = icrs.ra.to("deg"), icrs.dec.to("deg")
    table["glon"], table["glat"] = galactic.l.to("deg"), galactic.b.to("deg")
    table["row"], table["col"] = row, col
    if "energy" in geom.axes.names:
        edges = readable_energies(geom.axes["energy"].edges)
        table["energy_group"] = group
        table["energy_min"], table["energy_max"] = edges[:-1][group], edges[1:][group]
    for name in _value_columns(maps, quantity):
        m = maps[name]
        values = np.reshape(m.data, (-1, *geom.shape_image))[group, row, col]
        if values.dtype == np.int8:  # which VOTable does not know
            values = values.astype(np.int16)
        table[name] = values * m.unit if m.unit != u.dimensionless_unscaled else values
        if name == "hypothesis":
            called = np.array(getattr(maps, "meta", {}).get("hypotheses", []), dtype=str)
            table["model"] = called[values] if called.size else values.astype(str)
    table.meta = {"quantity": quantity, "threshold": cut, "min_distance": str(min_distance)}
    table = _format(table)
    if not refine:
        return table
    options.setdefault("model", getattr(maps, "reference_model", None))
    return upper("refine_peaks")(table, datasets, **options)


def _cut(threshold: Any, unit: u.UnitBase) -> float:
    """Return a threshold in the unit of the map searched."""
    try:
        cut = float(u.Quantity(threshold).to_value(unit))
    except (TypeError, ValueError, OverflowError, u.UnitConversionError) as error:
        expected = f"a number in {unit}" if str(unit) else "a number, without a unit"
        raise InputError(f" is {short(threshold)}; expected {expected}.", "threshold") from error
    if np.isnan(cut):
        raise InputError(" must be a number, got NaN.", "threshold")
    return cut


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise if an argument is neither one of the search nor one of the refinement."""
    first = ("threshold", "min_distance", "quantity", "refine", "datasets")
    refining = signature(upper("refine_peaks")).parameters
    known = (*first, *(name for name in refining if name not in ("peaks", *first)))
    anything = any(p.kind is p.VAR_KEYWORD for p in refining.values())
    for name in options:
        if name not in known and not anything:
            raise InputTypeError(f"find_peaks has no argument {name!r}{choices(name, known)}")


def _refine_mistake(refine: bool, datasets: Any, options: Mapping[str, Any]) -> str:
    """Return the problem with the refinement arguments."""
    if refine:
        return (
            "refine=True fits the peaks to data, which maps do not hold; pass the datasets that "
            "the maps were made from as datasets=..."
        )
    given = ", ".join([*(["datasets"] if datasets is not None else []), *options])
    return f"{given}: only used with refine=True; pass that too, or leave it out."
