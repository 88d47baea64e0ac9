"""Map datasets in FITS: the layout that gammapy reads and writes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.units import UnitsWarning

from gammagrad.errors import InputError, InputWarning
from gammagrad.io.atomic import Content, write_files
from gammagrad.io.bands_fits import check_bands
from gammagrad.io.fits_file import card_text, fits_content, hdu_names, read_hdus
from gammagrad.io.map_fits import map_from_hdus, map_to_hdus
from gammagrad.io.paths import Filename, stem
from gammagrad.io.reading import reads_file
from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap

_MAPS = ("counts", "exposure", "background", "mask_safe", "mask_fit")
_OFF = ("counts_off", "acceptance", "acceptance_off")
_TABLES = ("gti", "meta_table")
_RESPONSES = ("psf", "psf_exposure", "edisp", "edisp_exposure")
_CREATOR = "gammagrad"


@reads_file
def read_map_dataset(filename: Filename, checksum: bool = True) -> dict[str, Any]:
    """Read the parts of a map dataset."""
    hdus = read_hdus(filename, checksum)
    maps = [name for name in (*_MAPS, *_OFF) if name.upper() in hdus]
    parts: dict[str, Any] = {name: _read_map(hdus, name) for name in maps}
    if "EDISP" in hdus:
        edisp_map = _read_map(hdus, "edisp")
        kind = EDispMap if "migra" in edisp_map.geom.axes.names else EDispKernelMap
        parts["edisp"] = kind(edisp_map, _read_optional(hdus, "edisp_exposure"))
    if "PSF" in hdus:
        parts["psf"] = PSFMap(_read_map(hdus, "psf"), _read_optional(hdus, "psf_exposure"))
    if not parts:
        raise InputError(
            f"no map dataset; expected HDUs named COUNTS, EXPOSURE, BACKGROUND, ... "
            f"and found {hdu_names(hdus)}. Plain images and cubes go into MapDataset.from_files."
        )
    check_bands(hdus, by_name=True)
    _warn_of_others(hdus, filename)
    parts |= {n: read_table(hdus[n.upper()]) for n in _TABLES if n.upper() in hdus}
    parts["name"] = card_text(hdus[0].header, "NAME") or stem(filename)
    return parts


def _warn_of_others(hdus: fits.HDUList, filename: Filename) -> None:
    """Warn of HDUs that are not part of a dataset: a damaged name, or an unsupported part."""
    known = {name.upper() for name in (*_MAPS, *_OFF, *_TABLES, *_RESPONSES)}
    names = (hdu.name.removesuffix("_BANDS") for hdu in hdus[1:])
    others = sorted({name or "(no name)" for name in names} - known)
    if others:
        warnings.warn(
            f"{filename}: {', '.join(others)}: not a part of a map dataset, and not read. Check "
            "that nothing is missing that should be there.",
            InputWarning,
            stacklevel=5,
        )


def _read_map(hdus: fits.HDUList, name: str) -> Map:
    m = map_from_hdus(hdus, name.upper())
    if name.startswith("mask") and not _has_weights(m.data):
        return Map(m.geom, np.nan_to_num(m.data) != 0, m.unit, m.meta)
    if name == "exposure" and m.geom.axes.names == ["energy"]:
        axis = m.geom.axes["energy"].rename("energy_true")
        m = Map(m.geom.to_image().to_cube([axis]), m.data, unit=m.unit, meta=m.meta)
    return m


def _has_weights(data: np.ndarray) -> bool:
    """Return whether a mask has floating-point numbers besides 0 and 1."""
    return data.dtype.kind == "f" and bool(np.any((data != 0) & (data != 1) & ~np.isnan(data)))


def _read_optional(hdus: fits.HDUList, name: str) -> Map | None:
    return _read_map(hdus, name) if name.upper() in hdus else None


def read_table(hdu: fits.BinTableHDU) -> Table:
    """Return a table of a FITS file with its header as meta data."""
    if not isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
        raise InputError(f"HDU {hdu.name!r}: expected a table, got an image.")
    with warnings.catch_warnings():
        # units such as "MJD" are kept as text and not used here
        warnings.simplefilter("ignore", UnitsWarning)
        table = Table.read(hdu, format="fits")
    for key in ("comments", "COMMENT", "HISTORY", "CHECKSUM", "DATASUM"):
        table.meta.pop(key, None)
    return table


def write_map_dataset(
    parts: Mapping[str, Any],
    filename: Filename,
    overwrite: bool = False,
    checksum: bool = False,
) -> None:
    """Write the parts of a map dataset."""
    write_files([(filename, dataset_content(parts, filename, checksum))], overwrite)


def dataset_content(
    parts: Mapping[str, Any], filename: Filename, checksum: bool = False
) -> Content:
    """Return the content of a file with the parts of a map dataset."""
    primary = fits.PrimaryHDU()
    primary.header["NAME"] = parts.get("name") or ""
    primary.header["CREATOR"] = _CREATOR
    hdus: list[Any] = [primary]
    maps: dict[str, Map | None] = {name: parts.get(name) for name in _MAPS[:3]}
    for name in ("edisp", "psf"):
        if (response := parts.get(name)) is not None:
            maps |= {name: getattr(response, f"{name}_map")}
            maps |= {f"{name}_exposure": response.exposure_map}
    maps |= {name: parts.get(name) for name in (*_MAPS[3:], *_OFF)}
    for name, m in maps.items():
        if m is not None:
            hdus += map_to_hdus(m, name)
    for name in _TABLES:
        if parts.get(name) is not None:
            hdus.append(table_to_hdu(parts[name], name.upper()))
    return fits_content(hdus, filename, checksum)


def table_to_hdu(table: Table, name: str) -> fits.BinTableHDU:
    """Return a table as an HDU, with the meta data that FITS can hold."""
    plain = table.copy()
    keep = (bool, int, float, str, np.number, np.bool_)
    plain.meta = {
        key: value
        for key, value in table.meta.items()
        if isinstance(value, keep) and len(key) <= 8 and key.upper() != "EXTNAME"
    }
    hdu = fits.table_to_hdu(plain)
    hdu.name = name
    return hdu
