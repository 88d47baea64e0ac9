"""Maps in FITS: images with a table of their bins, as gammapy and the Fermi tools write them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputWarning, short
from gammagrad.io.bands_fits import axes_from_hdus, axes_to_header, axes_to_table, unit_to_fits
from gammagrad.io.fits_file import card_text, get_hdu, hdu_names, read_hdus, write_hdus
from gammagrad.io.reading import reads_file
from gammagrad.maps import Geom, Map, RegionGeom, WcsGeom, parse_unit, without_count_units


def map_to_hdus(m: Map, name: str) -> list[Any]:
    """Return the HDUs of a map: its image, and the table of its bins if it has axes."""
    name = name.upper()
    data = _storable(m.data)
    if m.geom.is_region:
        hdus: list[Any] = [_values_table(data, m, name)]
    else:
        header = m.geom.to_header()
        header.update(axes_to_header(m.geom.axes))
        nx, ny = m.geom.npix
        bins = [axis.nbin for axis in m.geom.axes]
        header["WCSSHAPE"] = f"({','.join(str(n) for n in (nx, ny, *bins))})"
        header["BUNIT"] = unit_to_fits(m.unit)
        make = fits.PrimaryHDU if name == "PRIMARY" else fits.ImageHDU
        hdus = [make(data, header)]
        if name != "PRIMARY":
            hdus[0].name = name
    hdus[0].header["META"] = json.dumps(m.meta, default=_plain)
    if len(m.geom.axes):
        hdus[0].header["BANDSHDU"] = f"{name}_BANDS"
        hdus.append(axes_to_table(m.geom.axes, f"{name}_BANDS"))
    return hdus


def _storable(data: NDArray[Any]) -> NDArray[Any]:
    """Return a copy of the data in a FITS type."""
    kinds = {"bool": np.int64, "float16": np.float32}
    return data.astype(kinds.get(data.dtype.name, data.dtype))


def _values_table(data: NDArray[Any], m: Map, name: str) -> fits.BinTableHDU:
    flat = data.ravel()
    kind = "K" if flat.dtype.kind in "iu" else "D"
    columns = [
        fits.Column("CHANNEL", "K", array=np.arange(flat.size)),
        fits.Column("DATA", kind, unit_to_fits(m.unit), array=flat),
    ]
    table = fits.BinTableHDU.from_columns(columns, name=name)
    table.header.update(axes_to_header(m.geom.axes))
    return table


def _plain(value: Any) -> Any:
    """Turn numpy numbers, quantities and paths into JSON types."""
    if isinstance(value, np.ndarray | np.generic) and not hasattr(value, "unit"):
        return value.tolist()
    return str(value)


def map_from_hdus(hdus: fits.HDUList, name: str | int | None = None, dtype: Any = None) -> Map:
    """Make a map from an image or a table of values."""
    hdu = _first_map(hdus) if name is None else get_hdu(hdus, name)
    label = f"HDU {hdu.name!r}"
    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
        geom, data, unit = _from_table(hdus, hdu)
    elif hdu.data is None or hdu.data.ndim < 2:
        raise InputError(f"{label} has no image; there are: {hdu_names(hdus)}.")
    else:
        geom, data, unit = _from_image(hdus, hdu)
    if dtype is None:
        dtype = float if data.dtype.kind == "f" else None
    elif np.dtype(dtype) == np.bool_:
        data = np.nan_to_num(data) != 0
    unit = without_count_units(parse_unit(unit, f"BUNIT of {label}"))
    return Map(geom, data, unit, _meta(hdu), dtype)


def _first_map(hdus: fits.HDUList) -> Any:
    for hdu in hdus:
        if str(hdu.header.get("PIXTYPE", "")).strip().upper() == "HEALPIX":
            raise _healpix(hdu)
        is_table = isinstance(hdu, fits.BinTableHDU | fits.TableHDU)
        if hdu.data is not None and (not is_table or "DATA" in hdu.columns.names):
            return hdu
    raise InputError(f"no HDU has a map; there are: {hdu_names(hdus)}.")


def _healpix(hdu: Any) -> InputError:
    return InputError(
        f"HDU {hdu.name!r} is a HEALPix map; expected an image. Project it to one first, or let "
        "the program that made it use a WCS projection."
    )


def _meta(hdu: Any) -> dict[str, Any]:
    """Return the meta data of a map; other programs may use the card differently."""
    text = hdu.header.get("META", "{}")
    try:
        meta = json.loads(text)
    except (TypeError, ValueError, OverflowError, RecursionError):
        meta = None
    if isinstance(meta, dict):
        return meta
    warnings.warn(
        f"HDU {hdu.name!r}: META is {short(text)}, which is not names and values in JSON; it is "
        "left out.",
        InputWarning,
        stacklevel=5,
    )
    return {}


def _from_image(hdus: fits.HDUList, hdu: Any) -> tuple[Geom, NDArray[Any], Any]:
    data = hdu.data
    if "BANDSHDU" not in hdu.header and f"{hdu.name}_BANDS" not in hdus:
        while data.ndim > 3 and data.shape[0] == 1:  # Stokes, frequency: one bin carries nothing
            data = data[0]
    axes = axes_from_hdus(hdus, hdu, data.shape[:-2])
    data = data.reshape(axes.shape + data.shape[-2:])
    ny, nx = data.shape[-2:]
    try:
        geom = WcsGeom.from_header(hdu.header, (nx, ny), axes)
    except ValueError as error:
        raise InputError(f"HDU {hdu.name!r}: {error}") from error
    return geom, data, card_text(hdu.header, "BUNIT", "", hdu.name)


def _from_table(hdus: fits.HDUList, hdu: Any) -> tuple[Geom, NDArray[Any], Any]:
    label = f"HDU {hdu.name!r}"
    if card_text(hdu.header, "PIXTYPE", "", hdu.name).upper() == "HEALPIX":
        raise _healpix(hdu)
    if "DATA" not in hdu.columns.names:
        raise InputError(f"{label} is a table without a column DATA; there are: {hdu_names(hdus)}.")
    data = np.asarray(hdu.data["DATA"])
    has_axes = "AXCOLS1" in hdu.header or data.size > 1
    geom = RegionGeom(axes_from_hdus(hdus, hdu, None if has_axes else ()))
    if data.size != np.prod(geom.data_shape):
        raise InputError(f"{label} has {data.size} values for axes of shape {geom.axes.shape}.")
    return geom, data.reshape(geom.data_shape), hdu.columns["DATA"].unit


@reads_file
def read_map(filename: Path, hdu: str | int | None = None, checksum: bool = True) -> Map:
    """Read a map from a FITS file."""
    return map_from_hdus(read_hdus(filename, checksum), hdu)


def write_map(
    m: Map,
    filename: Path,
    overwrite: bool = False,
    hdu: str | None = None,
    checksum: bool = False,
) -> None:
    """Write a map to a FITS file."""
    name = hdu or ("SKYMAP" if m.geom.is_region else "PRIMARY")
    write_hdus(map_to_hdus(m, name), filename, overwrite, checksum)
