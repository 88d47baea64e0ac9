"""Counts for commands that need no response: those of a map dataset, or a plain map."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gammagrad.dataset import MapDataset
from gammagrad.errors import InputError
from gammagrad.io import expand_path, file_sha256, read_hdus, read_plain
from gammagrad.maps import Map

_PARTS = {"EXPOSURE", "BACKGROUND", "MASK_SAFE", "MASK_FIT", "PSF", "EDISP"}


@dataclass(frozen=True)
class CountsInput:
    """Counts and what belongs to them.

    Parameters
    ----------
    counts
        Image or cube.
    dataset
        The dataset they are from, if it is one.
    meta
        Name and checksum of the file.
    """

    counts: Map
    dataset: MapDataset | None
    meta: dict[str, Any]

    @property
    def mask(self) -> Map | None:
        """Bins to use, None for all."""
        return None if self.dataset is None else self.dataset.mask

    @property
    def title(self) -> str:
        """Size and geometry in one line."""
        bins = "".join(f", {axis.nbin} bins of {axis.name}" for axis in self.counts.geom.axes)
        return f"{np.nansum(self.counts.data):.6g} counts{bins}; {self.counts.geom.summary()}"


def add_counts_file(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the data.

    Parameters
    ----------
    parser
        The command's parser.
    """
    parser.add_argument(
        "file",
        metavar="FILE",
        help="map dataset in gammapy's FITS layout, or an image or cube of counts; "
        '"file.fits[name]" is one extension of a file',
    )


def load_counts(name: str) -> CountsInput:
    """Read counts.

    Parameters
    ----------
    name
        A map dataset, or an image or cube; an extension may follow in brackets.

    Returns
    -------
    CountsInput
        The counts.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it has no counts.
    """
    if name.endswith("]"):
        return CountsInput(read_plain(name).map, None, _meta(name.partition("[")[0]))
    names = {hdu.name.upper() for hdu in read_hdus(name)}
    if "COUNTS" in names and names & _PARTS:
        dataset = MapDataset.read(name)
        return CountsInput(dataset.require("counts"), dataset, _meta(name))
    if names & _PARTS:
        raise InputError(f"{name}: a map dataset without counts; expected counts in it.")
    return CountsInput(read_plain(name).map, None, _meta(name))


def _meta(name: str) -> dict[str, Any]:
    path = expand_path(name)
    return {"input": Path(path).name, "input_sha256": file_sha256(path)}


def load_map(name: str, counts: Map, what: str) -> Map:
    """Read a map that goes with counts.

    Parameters
    ----------
    name
        The file; an extension may follow in brackets.
    counts
        The counts; of a map with as much data but without energies, or with those of another
        kind, theirs are taken.
    what
        What it is, for the error message.

    Returns
    -------
    Map
        The map.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it has no map, or its pixels are others.
    """
    m = read_plain(name).map
    difference = counts.geom.to_image().difference(m.geom.to_image())
    if difference:
        raise InputError(f"{what} {name}: expected the pixels of the counts, but {difference}.")
    # axes of one name with other edges are left for the error that they are
    other = m.geom.axes.names != counts.geom.axes.names
    if other and m.data.size == counts.data.size:
        return Map(counts.geom, m.data.reshape(counts.data.shape), m.unit, m.meta)
    return m
