"""Tables of sources as files: ECSV, FITS, and DS9 regions."""

from __future__ import annotations

import io
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table

from gammagrad.io.fits_file import write_hdus
from gammagrad.io.paths import expand_path
from gammagrad.io.text_file import write_text

__all__ = ["read_peaks", "write_peaks"]


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
    """Return the ending that says the format."""
    name = path.name.lower()
    for suffix in sorted(_WRITERS, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise ValueError(f"{path}: the name must end in one of {', '.join(_WRITERS)}.")


def write_peaks(table: Table, filename: str | PathLike[str], overwrite: bool = False) -> None:
    """Write a table of sources, in the format that the name's ending says.

    Parameters
    ----------
    table : astropy.table.Table
        Sources, as `find_peaks` returns them. Regions need its columns ``ra`` and ``dec``.
    filename : str or path
        File to write: ``.ecsv`` (text that keeps everything), ``.fits``, ``.fits.gz``, or ``.reg``
        (a point and a name for each source, for DS9).
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file is there and `overwrite` is false.
    ValueError
        If the ending is none of these.
    """
    path = expand_path(filename)
    _WRITERS[_suffix(path)](table, path, overwrite)


def read_peaks(filename: str | PathLike[str]) -> QTable:
    """Read a table of sources written as ECSV or FITS.

    Parameters
    ----------
    filename : str or path
        File to read.

    Returns
    -------
    astropy.table.QTable
        The sources.

    Raises
    ------
    ValueError
        If the ending is neither ``.ecsv`` nor that of a FITS file.
    """
    path = expand_path(filename)
    suffix = _suffix(path)
    if suffix == ".ecsv":
        return QTable.read(path, format="ascii.ecsv")
    if suffix == ".reg":
        raise ValueError(f"{path}: regions hold no table; read the ECSV or FITS file instead.")
    table = QTable.read(path, format="fits", hdu=1)
    table.convert_bytestring_to_unicode()
    return table
