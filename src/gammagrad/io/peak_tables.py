"""Tables of sources as files: ECSV, FITS, and DS9 regions."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table

from gammagrad.errors import InputError
from gammagrad.io.atomic import write_text
from gammagrad.io.fits_file import write_hdus
from gammagrad.io.paths import Filename, existing_file, expand_path
from gammagrad.io.reading import reads_file
from gammagrad.io.source_tables import first_table


def _write_ecsv(table: Table, path: Path, overwrite: bool) -> None:
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_text(text.getvalue(), path, overwrite=overwrite)


def _write_fits(table: Table, path: Path, overwrite: bool) -> None:
    plain = table.copy()
    plain.meta = {}
    for name in plain.colnames:
        if plain[name].dtype == np.int8:  # which FITS takes for a boolean
            plain[name] = plain[name].astype(np.int16)
    hdu = fits.table_to_hdu(plain)
    hdu.name = "SOURCES"
    for name, value in table.meta.items():
        if isinstance(value, bool | int | float | str | np.number):
            hdu.header[name.upper()[:8]] = value
    write_hdus([fits.PrimaryHDU(), hdu], path, overwrite=overwrite)


def _write_ds9(table: Table, path: Path, overwrite: bool) -> None:
    lines = [
        "# Region file format: DS9 version 4.1",
        'global color=green point=circle font="helvetica 10 normal roman" width=1',
        "icrs",
    ]
    ra, dec = (u.Quantity(table[name], "deg").value for name in ("ra", "dec"))
    names = table["name"] if "name" in table.colnames else range(1, len(table) + 1)
    for x, y, name in zip(ra, dec, names, strict=True):
        # braces delimit a text and cannot be part of it
        text = str(name).replace("{", "(").replace("}", ")")
        lines.append(f"point({x:.6f},{y:.6f}) # text={{{text}}}")
    write_text("\n".join(lines) + "\n", path, overwrite=overwrite)


_WRITERS: dict[str, Callable[[Table, Path, bool], None]] = {
    ".ecsv": _write_ecsv,
    ".fits": _write_fits,
    ".fit": _write_fits,
    ".fits.gz": _write_fits,
    ".reg": _write_ds9,
}


def _suffix(path: Path) -> str:
    """Return the file ending, which sets the format."""
    name = path.name.lower()
    for suffix in sorted(_WRITERS, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise InputError(f"{path}: the name must end in one of {', '.join(_WRITERS)}.")


def write_peaks(table: Table, filename: Filename, overwrite: bool = False) -> None:
    """Write a table of sources, in the format of the file ending."""
    path = expand_path(filename)
    _WRITERS[_suffix(path)](table, path, overwrite)


@reads_file
def read_peaks(filename: Filename) -> QTable:
    """Read a table of sources written as ECSV or FITS."""
    path = expand_path(filename)
    suffix = _suffix(path)
    if suffix == ".reg":
        raise InputError("regions hold no table; read the ECSV or FITS file instead.")
    if suffix == ".ecsv":
        return QTable.read(existing_file(path), format="ascii.ecsv")
    return QTable(first_table(path))
