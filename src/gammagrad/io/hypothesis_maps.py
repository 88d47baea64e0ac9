"""Flux maps of several models in one FITS file.

As in a file of flux maps every map is an image and a table of its energy groups; their names end in
the number of the model: ``TS_0``, ``NORM_0``, ..., ``TS_1``. Test statistics keep their sign, since
gammapy does not read these files. The card ``HYPOTHES`` of the primary header has names, models and
metadata as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from astropy.io import fits
from astropy.table import Table

from gammagrad.errors import InputError, short
from gammagrad.io.bands_fits import check_bands
from gammagrad.io.fits_file import card_json, read_hdus, write_hdus
from gammagrad.io.flux_header import creator, to_json
from gammagrad.io.flux_maps import HYPOTHESES, map_images, read_images
from gammagrad.io.map_dataset import read_table, table_to_hdu
from gammagrad.io.paths import Filename
from gammagrad.io.reading import reads_file
from gammagrad.maps import Map


class Hypothesis(NamedTuple):
    """The content of a file for one model."""

    maps: Mapping[str, Map]  # maps by name in lower case; ``ts`` has its sign
    model: Mapping[str, Any] | None  # the model as a dict in gammapy's layout, or None
    meta: Mapping[str, Any]  # metadata that JSON can hold


def write_hypotheses(
    filename: Filename,
    hypotheses: Mapping[str, Hypothesis],
    gti: Table | None = None,
    overwrite: bool = False,
    checksum: bool = False,
) -> None:
    """Write the maps of several models."""
    primary = fits.PrimaryHDU()
    primary.header["CREATOR"] = (creator(), "what wrote this file")
    primary.header[HYPOTHESES] = to_json(
        [{"name": name, "model": one.model, "meta": one.meta} for name, one in hypotheses.items()]
    )
    hdus: list[Any] = [primary]
    for number, one in enumerate(hypotheses.values()):
        hdus += map_images(one.maps, f"_{number}", signed=True)
    if gti is not None:
        hdus.append(table_to_hdu(gti, "GTI"))
    write_hdus(hdus, filename, overwrite, checksum)


@reads_file
def read_hypotheses(
    filename: Filename, checksum: bool = True
) -> tuple[dict[str, Hypothesis], Table | None]:
    """Read the maps of several models."""
    hdus = read_hdus(filename, checksum)
    if HYPOTHESES not in hdus[0].header:
        raise InputError(
            f"no maps of several models; expected the card {HYPOTHESES} in the primary "
            "header. FluxMaps.read reads maps of one model."
        )
    check_bands(hdus)
    entries = card_json(hdus[0].header, HYPOTHESES)
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise InputError(
            f"{HYPOTHESES} is {short(entries)}; expected name, model and meta of each model."
        )
    found = {
        entry["name"]: Hypothesis(
            read_images(hdus, f"_{number}", signed=True), entry["model"], entry["meta"]
        )
        for number, entry in enumerate(entries)
    }
    return found, read_table(hdus["GTI"]) if "GTI" in hdus else None


def _is_entry(entry: Any) -> bool:
    """Return whether this is the entry of one model."""
    match entry:
        case {"name": str(), "model": Mapping() | None, "meta": Mapping()}:
            return True
    return False
