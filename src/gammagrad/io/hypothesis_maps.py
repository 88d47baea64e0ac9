"""Flux maps of several models in one FITS file.

As in a file of flux maps every map is an image and a table of its energy groups; their names have
the number of the model behind them: ``TS_0``, ``NORM_0``, ..., ``TS_1``. Test statistics keep their
sign, since gammapy does not read these files anyway. The card ``HYPOTHES`` of
the primary header has names, models and metadata as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

from astropy.io import fits
from astropy.table import Table

from gammagrad.io.fits_file import read_hdus, write_hdus
from gammagrad.io.flux_maps import HYPOTHESES, creator, map_images, read_images, to_json
from gammagrad.io.map_dataset import read_table, table_to_hdu
from gammagrad.maps.map import Map

__all__ = ["Hypothesis", "read_hypotheses", "write_hypotheses"]


class Hypothesis(NamedTuple):
    """What a file has of one model.

    Attributes
    ----------
    maps
        Maps by name in lower case; ``ts`` has its sign.
    model
        The model as a dict in gammapy's layout, or None.
    meta
        Metadata that JSON can hold.
    """

    maps: Mapping[str, Map]
    model: Mapping[str, Any] | None
    meta: Mapping[str, Any]


def write_hypotheses(
    filename: str | PathLike[str],
    hypotheses: Mapping[str, Hypothesis],
    gti: Table | None = None,
    overwrite: bool = False,
) -> None:
    """Write the maps of several models.

    Parameters
    ----------
    filename
        FITS file to write.
    hypotheses
        Maps, model and metadata by the model's name.
    gti
        Good time intervals.
    overwrite
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file is there and `overwrite` is false.
    """
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
    write_hdus(hdus, filename, overwrite=overwrite)


def read_hypotheses(
    filename: str | PathLike[str],
) -> tuple[dict[str, Hypothesis], Table | None]:
    """Read the maps of several models.

    Parameters
    ----------
    filename
        FITS file to read.

    Returns
    -------
    dict of str to Hypothesis
        Maps, model and metadata by the model's name.
    Table or None
        Good time intervals.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not FITS, or does not hold maps of several models.
    """
    hdus = read_hdus(filename)
    if HYPOTHESES not in hdus[0].header:
        raise ValueError(
            f"{filename}: no maps of several models; expected the card {HYPOTHESES} in the primary "
            "header. FluxMaps.read reads those of one."
        )
    found = {
        entry["name"]: Hypothesis(
            read_images(hdus, f"_{number}", signed=True), entry["model"], entry["meta"]
        )
        for number, entry in enumerate(json.loads(hdus[0].header[HYPOTHESES]))
    }
    return found, read_table(hdus["GTI"]) if "GTI" in hdus else None
