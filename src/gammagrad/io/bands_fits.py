"""Axes of maps in FITS: tables of bins, and third axes of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammagrad.errors import InputError, short
from gammagrad.io.fits_file import card_text, get_hdu, hdu_names
from gammagrad.maps import MapAxes, MapAxis, parse_unit

Floats = NDArray[np.float64]


def _columns(axis: MapAxis) -> tuple[str, str, str]:
    name = axis.name.upper()
    prefix = "E" if name == "ENERGY" else name
    return name, f"{prefix}_MIN", f"{prefix}_MAX"


def axes_to_header(axes: MapAxes) -> dict[str, str]:
    """Return the header cards with the columns of each axis."""
    cards: dict[str, str] = {}
    for i, axis in enumerate(axes, start=1):
        centre, low, high = _columns(axis)
        cards[f"AXCOLS{i}"] = centre if axis.node_type == "center" else f"{low},{high}"
        cards[f"INTERP{i}"] = axis.interp
    return cards


def axes_to_table(axes: MapAxes, name: str) -> fits.BinTableHDU:
    """Return the table of the bins of all axes: one row for each image."""
    shape = axes.shape
    columns = [fits.Column("CHANNEL", "K", array=np.arange(int(np.prod(shape))))]
    for i, axis in enumerate(axes):
        edges = axis.edges.value
        dims = [1] * len(shape)
        dims[len(shape) - 1 - i] = axis.nbin
        values = (axis.center.value, edges[:-1], edges[1:])
        for column, value in zip(_columns(axis), values, strict=True):
            flat = np.broadcast_to(value.reshape(dims), shape).ravel()
            columns.append(fits.Column(column, "D", unit=unit_to_fits(axis.unit), array=flat))
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.update(axes_to_header(axes))
    return table


def unit_to_fits(unit: Any) -> str:
    """Return a unit as FITS spells it."""
    try:
        return str(unit.to_string("fits"))
    except ValueError:
        return str(unit)


def axes_from_hdus(hdus: fits.HDUList, hdu: Any, shape: tuple[int, ...] | None) -> MapAxes:
    """Find the axes of an image or of a table of values."""
    # They are looked for in the table that BANDSHDU names, in ``<name>_BANDS``, in EBOUNDS or
    # ENERGIES (as the Fermi tools write), and in the third axis of the image's coordinates.
    if shape == ():
        return MapAxes()
    name = card_text(hdu.header, "BANDSHDU", f"{hdu.name}_BANDS", hdu.name)
    if name in hdus or "BANDSHDU" in hdu.header:
        axes = _from_bands(_table(hdus, name))
    elif shape is None:
        raise InputError(f"HDU {hdu.name!r}: no table {name!r}; there are: {hdu_names(hdus)}.")
    else:
        axes = _from_fermi(hdus, hdu, shape)
    if shape is not None and axes.shape != shape and len(axes):
        raise InputError(
            f"HDU {hdu.name!r}: the axes {axes.names} have shape {axes.shape}, the image {shape}."
        )
    return axes


def check_bands(hdus: fits.HDUList, by_name: bool = False) -> None:
    """Check that every table of bins has its map, which a damaged header can hide."""
    names = [name for hdu in hdus if (name := hdu.name)]
    owned = set() if by_name else {hdu.header.get("BANDSHDU") for hdu in hdus}
    for name in names:
        owner = name.removesuffix("_BANDS")
        if owner != name and owner not in names and name not in owned:
            raise InputError(
                f"there is a table {name!r} without its map {owner!r}; the file is "
                "damaged, or an HDU was removed without its table."
            )
        if names.count(name) > 1:
            raise InputError(f"there are several HDUs {name!r}; expected unique names.")


def _table(hdus: fits.HDUList, name: str) -> Any:
    """Return a table, by its name."""
    hdu = get_hdu(hdus, name)
    if not isinstance(hdu, fits.BinTableHDU | fits.TableHDU) or hdu.data is None:
        raise InputError(f"HDU {name!r}: expected a table of bins, got an image.")
    return hdu


def _column(table: Any, name: str) -> tuple[Floats, Any]:
    column = next((c for c in table.columns if str(c.name).upper() == name.upper()), None)
    if column is None:
        there = ", ".join(map(str, table.columns.names))
        raise InputError(f"table {table.name!r}: no column {name}; there are: {there}.")
    label = f"column {column.name} of {table.name!r}"
    values = np.asarray(table.data[column.name])
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise InputError(f"{label} has no numbers, one a row.")
    if not np.all(np.isfinite(values)):
        raise InputError(f"{label} has NaN.")
    return values.astype(float), parse_unit(column.unit, label)


def _edges(table: Any, low: str, high: str) -> tuple[Floats, Any, list[Floats]]:
    """Join lower and upper edges, with any repetitions; also return the columns."""
    (all_lows, unit), (all_highs, other) = _column(table, low), _column(table, high)
    if unit != other:
        raise InputError(f"table {table.name!r}: {low} is in {unit} and {high} in {other}.")
    lows, highs = np.unique(all_lows), np.unique(all_highs)
    if len(lows) != len(highs) or not np.allclose(lows[1:], highs[:-1], rtol=1e-5, atol=0):
        raise InputError(f"table {table.name!r}: the bins of {low} and {high} do not adjoin.")
    return np.append(lows, highs[-1]), unit, [all_lows, all_highs]


def _check_order(table: Any, name: str, column: Floats, before: int, shape: int) -> None:
    """Check that an axis increases along the rows, after those of the axes before it."""
    values = np.unique(column)
    rows = len(column)
    # the images are in the order of the rows, so it is not enough to sort these
    if rows % (before * shape) or np.any(
        column != np.tile(np.repeat(values, before), rows // (before * shape))
    ):
        raise InputError(
            f"table {table.name!r}: its rows are not in the order of increasing {name}, the first "
            "axis fastest; turn the rows and the images of the map into that order."
        )


def _from_bands(table: Any) -> MapAxes:
    header: Mapping[str, Any] = table.header
    axes: list[MapAxis] = []
    before = 1
    while columns := card_text(header, f"AXCOLS{len(axes) + 1}", "", table.name):
        names = [column.strip() for column in columns.split(",")]
        if len(names) > 2:
            raise InputError(
                f"table {table.name!r}: AXCOLS{len(axes) + 1} is {columns!r}; expected the column "
                "of the centres, or those of the lower and upper edges."
            )
        name = "energy" if names[0] == "E_MIN" else names[0].removesuffix("_MIN").lower()
        usual = "log" if name.startswith("energy") else "lin"
        interp = card_text(header, f"INTERP{len(axes) + 1}", usual, table.name)
        if len(names) == 2:
            nodes, unit, values = _edges(table, *names)
            node_type, nbin = "edges", len(nodes) - 1
        else:
            column, unit = _column(table, names[0])
            nodes, values = np.unique(column), [column]
            node_type, nbin = "center", len(nodes)
        for column in values:
            _check_order(table, name, column, before, nbin)
        before *= nbin
        axes.append(MapAxis(nodes, name=name, unit=unit, interp=interp, node_type=node_type))
    if not axes:
        raise InputError(
            f"table {table.name!r}: no card AXCOLS1 that names the columns of an axis."
        )
    if before != len(table.data):
        raise InputError(
            f"table {table.name!r}: {len(table.data)} rows for axes with {before} bins together."
        )
    return MapAxes(axes)


def _from_fermi(hdus: fits.HDUList, hdu: Any, shape: tuple[int, ...]) -> MapAxes:
    """Read energies as the Fermi tools write them: energy is the only axis."""
    if len(shape) == 1:
        if "EBOUNDS" in hdus and len(_table(hdus, "EBOUNDS").data) == shape[0]:
            edges, unit, columns = _edges(hdus["EBOUNDS"], "E_MIN", "E_MAX")
            for column in columns:
                _check_order(hdus["EBOUNDS"], "energy", column, 1, shape[0])
            unit = unit if unit.is_equivalent("keV") else "keV"
            return MapAxes([MapAxis.from_edges(edges, "energy", unit, "log")])
        if "ENERGIES" in hdus and len(_table(hdus, "ENERGIES").data) == shape[0]:
            nodes, unit = _column(hdus["ENERGIES"], "Energy")
            unit = unit if unit.is_equivalent("MeV") else "MeV"
            return MapAxes([MapAxis.from_nodes(nodes, "energy_true", unit, "log")])
        if axis := _from_third_axis(hdu.header, shape[0]):
            return MapAxes([axis])
    if shape == (1,):
        return MapAxes()
    raise InputError(
        f"HDU {hdu.name!r} has {len(shape) + 2} axes, but no definition of their bins; "
        f"expected a table {hdu.name}_BANDS, EBOUNDS or ENERGIES, or CTYPE3 = 'Energy' with a unit."
    )


# how the third axis is spelt where it runs along a logarithm, and the base of that
_LOGARITHMS = {
    **dict.fromkeys(("LOG_ENERGY", "LN_ENERGY", "LN(ENERGY)"), np.e),
    **dict.fromkeys(("LOG10_ENERGY", "LOG10(ENERGY)", "LOG10 ENERGY"), 10.0),
}


def _from_third_axis(header: Mapping[str, Any], nbin: int) -> MapAxis | None:
    """Read energies from the coordinates of an image; None for other coordinates."""
    kind = card_text(header, "CTYPE3").upper()
    unit = card_text(header, "CUNIT3")
    if "ENER" not in kind:
        return None
    start, reference, step = _linear(header)
    if step is None:
        return None
    at = np.arange(0.5, nbin + 1) - reference
    if kind in _LOGARITHMS:
        nodes = _LOGARITHMS[kind] ** (start + (at[:-1] + 0.5) * step)
        return MapAxis.from_nodes(nodes, "energy_true", unit or "MeV", "log")
    if kind == "ENER-LOG":
        if start <= 0:
            raise InputError(f"CRVAL3 is {start}; expected a positive energy on an axis ENER-LOG.")
        # Greisen et al. (2006), A&A 446, 747, equation 5
        return MapAxis.from_edges(
            start * np.exp(at * step / start), "energy", parse_unit(unit or "J", "CUNIT3"), "log"
        )
    if kind.startswith("ENER-") or "LOG" in kind or "LN" in kind:
        known = ", ".join(("ENER", "ENER-LOG", *_LOGARITHMS))
        raise InputError(f"CTYPE3 is {kind!r}, an unknown axis; expected one of {known}.")
    if not unit:
        return None
    return MapAxis.from_edges(start + at * step, "energy", parse_unit(unit, "CUNIT3"), "lin")


def _linear(header: Mapping[str, Any]) -> tuple[float, float, float | None]:
    """Return value and pixel of the reference, and the step, of the third axis of an image."""
    cards = {name: header.get(name) for name in ("CRVAL3", "CRPIX3", "CDELT3", "PC3_3", "CD3_3")}
    for name, value in cards.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{name} is {short(value)}; expected a number.")
    step = cards["CD3_3"]
    if cards["CDELT3"] is not None:
        step = cards["CDELT3"] * (1.0 if cards["PC3_3"] is None else cards["PC3_3"])
    return cards["CRVAL3"] or 0.0, cards["CRPIX3"] or 0.0, step
