"""Plain FITS images and cubes: one map per file or extension, as most tools write them."""

from __future__ import annotations

import re
from os import fspath
from typing import Any, NamedTuple

from astropy import units as u
from astropy.table import Table

from gammagrad.io.fits_file import card_text, get_hdu, read_hdus
from gammagrad.io.map_dataset import read_table
from gammagrad.io.map_fits import map_from_hdus
from gammagrad.io.paths import Filename
from gammagrad.io.reading import reads_file
from gammagrad.maps import Map

_EXTENSION = re.compile(r"(?P<file>.+)\[(?P<hdu>[^\[\]]+)\]")


class PlainMap(NamedTuple):
    """A map, and further information from its file."""

    map: Map
    gti: Table | None


@reads_file
def read_plain(filename: Filename, checksum: bool = True) -> PlainMap:
    """Read an image or a cube."""
    path, hdu = _split(fspath(filename))
    hdus = read_hdus(path, checksum)
    m = map_from_hdus(hdus, hdu)
    header = get_hdu(hdus, 0 if hdu is None else hdu).header
    if _is_fermi_exposure(hdus, header, m):
        m = Map(m.geom, m.data, unit="cm2 s", meta=m.meta)
    gti = read_table(hdus["GTI"]) if "GTI" in hdus else None
    return PlainMap(m, gti)


def _split(filename: str) -> tuple[str, str | int | None]:
    found = _EXTENSION.fullmatch(filename)
    if found is None:
        return filename, None
    hdu = found["hdu"]
    return found["file"], int(hdu) if hdu.isdigit() else hdu


def _is_fermi_exposure(hdus: Any, header: Any, m: Map) -> bool:
    """Return whether a map is an exposure cube of gtexpcube2: at energies, without a unit."""
    return bool(
        m.unit == u.dimensionless_unscaled
        and "ENERGIES" in hdus
        and card_text(header, "TELESCOP").upper() in ("GLAST", "FERMI")
    )
