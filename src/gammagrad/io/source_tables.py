"""Source tables from other programs: FITS, ECSV and CSV."""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits
from astropy.table import Table

from gammagrad.errors import InputError
from gammagrad.io.fits_file import hdu_names, read_hdus
from gammagrad.io.map_dataset import read_table
from gammagrad.io.paths import Filename, existing_file, expand_path
from gammagrad.io.reading import reads_file

_FITS = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz")
_TEXT = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}

TABLE_SUFFIXES = (*_TEXT, *_FITS)
"""Endings of the files that `read_source_table` reads."""


@reads_file
def read_source_table(filename: Filename) -> Table:
    """Read a table of sources."""
    path = expand_path(filename)
    name = path.name.lower()
    if not name.endswith(TABLE_SUFFIXES):
        raise InputError(f"expected a table, with one of {', '.join(TABLE_SUFFIXES)}.")
    if name.endswith(_FITS):
        return first_table(path)
    return Table.read(existing_file(path), format=_TEXT[path.suffix.lower()])


def first_table(path: Path) -> Table:
    """Return the first table of a FITS file."""
    hdus = read_hdus(path)
    found = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
    if found is None:
        raise InputError(f"no table in it; found the HDUs {hdu_names(hdus)}.")
    table = read_table(found)
    table.convert_bytestring_to_unicode()
    return table
