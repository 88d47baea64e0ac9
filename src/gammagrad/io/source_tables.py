"""Source tables from other programs: FITS, ECSV and CSV."""

from __future__ import annotations

from os import PathLike

from astropy.io import fits
from astropy.table import Table

from gammagrad.errors import InputError, short
from gammagrad.io.fits_file import hdu_names, read_hdus
from gammagrad.io.map_dataset import read_table
from gammagrad.io.paths import expand_path
from gammagrad.io.reading import reads_file

_FITS = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz")
_TEXT = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}

TABLE_SUFFIXES = (*_TEXT, *_FITS)
"""Endings of the files that `read_source_table` reads."""


@reads_file
def read_source_table(filename: str | PathLike[str]) -> Table:
    """Read a table of sources."""
    path = expand_path(filename)
    name = path.name.lower()
    if not name.endswith(TABLE_SUFFIXES):
        raise InputError(f"{path}: expected a table, with one of {', '.join(TABLE_SUFFIXES)}.")
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}.")
    if not name.endswith(_FITS):
        try:
            return Table.read(path, format=_TEXT[path.suffix.lower()])
        except Exception as error:  # of many kinds
            raise InputError(f"{path}: cannot be read as a table ({short(str(error))}).") from error
    hdus = read_hdus(path)
    for hdu in hdus:
        if isinstance(hdu, fits.BinTableHDU):
            table = read_table(hdu)
            table.convert_bytestring_to_unicode()
            return table
    raise InputError(f"{path}: no table in it; found the HDUs {hdu_names(hdus)}.")
