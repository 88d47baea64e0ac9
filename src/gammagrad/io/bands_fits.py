"""Axes of maps in FITS: tables of bins, and third axes of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammagrad.io.fits_file import get_hdu, hdu_names
from gammagrad.maps.axes import MapAxes, MapAxis
from gammagrad.maps.units import parse_unit

__all__ = ["axes_from_hdus", "axes_to_header", "axes_to_table"]

Floats = NDArray[np.float64]


def _columns(axis: MapAxis) -> tuple[str, str, str]:
    name = axis.name.upper()
    prefix = "E" if name == "ENERGY" else name
    return name, f"{prefix}_MIN", f"{prefix}_MAX"


def axes_to_header(axes: MapAxes) -> dict[str, str]:
    """Return the header cards that say which columns belong to which axis.

    Parameters
    ----------
    axes
        The axes.

    Returns
    -------
    dict
        Values of AXCOLSi and INTERPi, i from 1.
    """
    cards: dict[str, str] = {}
    for i, axis in enumerate(axes, start=1):
        centre, low, high = _columns(axis)
        cards[f"AXCOLS{i}"] = centre if axis.node_type == "center" else f"{low},{high}"
        cards[f"INTERP{i}"] = axis.interp
    return cards


def axes_to_table(axes: MapAxes, name: str) -> fits.BinTableHDU:
    """Return the table of the bins of all axes: one row for each image.

    Parameters
    ----------
    axes
        The axes.
    name
        Name of the table.

    Returns
    -------
    BinTableHDU
        The table, with the first axis fastest.
    """
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
    """Return a unit as FITS spells it.

    Parameters
    ----------
    unit
        An astropy unit.

    Returns
    -------
    str
        The text; in astropy's own spelling if FITS has none.
    """
    try:
        return str(unit.to_string("fits"))
    except ValueError:
        return str(unit)


def axes_from_hdus(hdus: fits.HDUList, hdu: Any, shape: tuple[int, ...] | None) -> MapAxes:
    """Find the axes of an image or of a table of values.

    They are looked for in the table that BANDSHDU names, in ``<name>_BANDS``, in EBOUNDS or
    ENERGIES (as the Fermi tools write), and in the third axis of the image's coordinates.

    Parameters
    ----------
    hdus
        All HDUs of the file.
    hdu
        The HDU of the map.
    shape
        Shape of the image without rows and columns; None for a table of values.

    Returns
    -------
    MapAxes
        The axes, the fastest first; none if there is one bin and nothing is said about it.

    Raises
    ------
    ValueError
        If there is nothing on the axes, or it does not fit the data.
    """
    if shape == ():
        return MapAxes()
    name = hdu.header.get("BANDSHDU", f"{hdu.name}_BANDS")
    if name in hdus or "BANDSHDU" in hdu.header:
        axes = _from_bands(get_hdu(hdus, name))
    elif shape is None:
        raise ValueError(f"HDU {hdu.name!r}: no table {name!r}; there are: {hdu_names(hdus)}.")
    else:
        axes = _from_fermi(hdus, hdu, shape)
    if shape is not None and axes.shape != shape and len(axes):
        raise ValueError(
            f"HDU {hdu.name!r}: the axes {axes.names} have shape {axes.shape}, the image {shape}."
        )
    return axes


def _column(table: Any, name: str) -> tuple[Floats, Any]:
    for column in table.columns:
        if column.name.upper() == name.upper():
            values = np.asarray(table.data[column.name])
            if values.dtype.kind not in "iuf":
                raise ValueError(f"table {table.name!r}: the column {column.name} has no numbers.")
            return values.astype(float), parse_unit(
                column.unit, f"column {column.name} of {table.name!r}"
            )
    there = ", ".join(table.columns.names)
    raise ValueError(f"table {table.name!r}: no column {name}; there are: {there}.")


def _edges(table: Any, low: str, high: str) -> tuple[Floats, Any]:
    """Join lower and upper edges, in any number of repetitions."""
    (lows, unit), (highs, _) = _column(table, low), _column(table, high)
    lows, highs = np.unique(lows), np.unique(highs)
    if len(lows) != len(highs) or not np.allclose(lows[1:], highs[:-1], rtol=1e-5, atol=0):
        raise ValueError(f"table {table.name!r}: the bins of {low} and {high} do not adjoin.")
    return np.append(lows, highs[-1]), unit


def _from_bands(table: Any) -> MapAxes:
    header: Mapping[str, Any] = table.header
    axes: list[MapAxis] = []
    while columns := header.get(f"AXCOLS{len(axes) + 1}"):
        names = [column.strip() for column in columns.split(",")]
        name = "energy" if names[0] == "E_MIN" else names[0].removesuffix("_MIN").lower()
        energy_like = name.startswith("energy")
        interp = header.get(f"INTERP{len(axes) + 1}", "log" if energy_like else "lin").strip()
        if len(names) == 2:
            nodes, unit = _edges(table, names[0], names[1])
        else:
            nodes, unit = _column(table, names[0])
            nodes = np.unique(nodes)
        node_type = "edges" if len(names) == 2 else "center"
        axes.append(MapAxis(nodes, name=name, unit=unit, interp=interp, node_type=node_type))
    if not axes:
        raise ValueError(
            f"table {table.name!r}: no card AXCOLS1 that names the columns of an axis."
        )
    return MapAxes(axes)


def _from_fermi(hdus: fits.HDUList, hdu: Any, shape: tuple[int, ...]) -> MapAxes:
    """Read energies the way the Fermi tools write them: no axis but energy."""
    if len(shape) == 1:
        if "EBOUNDS" in hdus and len(hdus["EBOUNDS"].data) == shape[0]:
            edges, unit = _edges(hdus["EBOUNDS"], "E_MIN", "E_MAX")
            unit = unit if unit.is_equivalent("keV") else "keV"
            return MapAxes([MapAxis.from_edges(edges, "energy", unit, "log")])
        if "ENERGIES" in hdus and len(hdus["ENERGIES"].data) == shape[0]:
            nodes, unit = _column(hdus["ENERGIES"], "Energy")
            unit = unit if unit.is_equivalent("MeV") else "MeV"
            return MapAxes([MapAxis.from_nodes(nodes, "energy_true", unit, "log")])
        if axis := _from_third_axis(hdu.header, shape[0]):
            return MapAxes([axis])
    if shape == (1,):
        return MapAxes()
    raise ValueError(
        f"HDU {hdu.name!r} has {len(shape) + 2} axes, but nothing says what bins they have; "
        f"expected a table {hdu.name}_BANDS, EBOUNDS or ENERGIES, or CTYPE3 = 'Energy' with a unit."
    )


def _from_third_axis(header: Mapping[str, Any], nbin: int) -> MapAxis | None:
    kind = str(header.get("CTYPE3", "")).strip().lower()
    step = header.get("CDELT3", header.get("CD3_3"))
    if "ener" not in kind or step is None:
        return None
    start, reference = header.get("CRVAL3", 0.0), header.get("CRPIX3", 0.0)
    if kind.startswith("log"):
        nodes = np.exp(start + (np.arange(1, nbin + 1) - reference) * step)
        return MapAxis.from_nodes(nodes, "energy_true", header.get("CUNIT3") or "MeV", "log")
    if not header.get("CUNIT3"):
        return None
    edges = start + (np.arange(0.5, nbin + 1) - reference) * step
    return MapAxis.from_edges(edges, "energy", parse_unit(header["CUNIT3"], "CUNIT3"), "lin")
