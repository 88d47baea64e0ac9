"""Parts of a dataset from products of Fermi-LAT's tools."""

from __future__ import annotations

import logging
from os import PathLike
from typing import Any

import numpy as np

from gammagrad.dataset import plain
from gammagrad.errors import InputError
from gammagrad.io import read_fermi_cubes, read_plain
from gammagrad.maps import Map, WcsGeom

log = logging.getLogger(__name__)

Filename = str | PathLike[str]


def fermi_parts(
    ccube: Filename,
    bexpmap: Filename,
    model: Filename | None,
    psf: Filename | None,
    masks: dict[str, Filename | None],
    checksum: bool,
) -> dict[str, Any]:
    """Return the arguments of `MapDataset.from_maps`."""
    cubes = read_fermi_cubes(ccube, bexpmap, model, checksum)
    parts: dict[str, Any] = {"counts": cubes.counts, "background": cubes.background}
    for name, file in masks.items():
        parts[name] = None if file is None else read_plain(file, checksum).map
    # the tools write no unit
    parts |= {"exposure": cubes.exposure, "exposure_unit": "cm2 s", "gti": cubes.gti}
    return parts | plain.psf_of_file(psf, checksum)


def on_pixels(exposure: Map, geom: WcsGeom) -> Map:
    """Return an exposure at the pixels of the counts: gtexpcube2 may use others."""
    image = geom.to_image()
    if image.is_aligned(exposure.geom.to_image()):
        return exposure
    data = exposure.interp(image.get_skycoord())
    missing = int(np.isnan(data).any(axis=0).sum())
    if missing:
        raise InputError(
            f": it has no value at {missing} of {data[0].size} pixels of the counts; expected one "
            "of all the sky, or one that covers the counts.",
            "exposure",
        )
    log.info("exposure: interpolated at the pixels of the counts")
    return Map(image.to_cube(exposure.geom.axes), data, unit=exposure.unit, meta=exposure.meta)
