"""Counts for commands that need no response: those of a map dataset, or a plain map."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np

from gammagrad.cli.load import file_meta
from gammagrad.dataset import AnyMapDataset, read_dataset
from gammagrad.errors import InputError
from gammagrad.io import read_hdus, read_plain
from gammagrad.maps import Map, cut_to

_PARTS = {"EXPOSURE", "BACKGROUND", "COUNTS_OFF", "MASK_SAFE", "MASK_FIT", "PSF", "EDISP"}


@dataclass(frozen=True)
class CountsInput:
    """Counts and what belongs to them."""

    counts: Map  # image or cube
    dataset: AnyMapDataset | None  # the dataset they are from, if it is one
    meta: dict[str, Any]  # name and checksum of the file

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
    """Add the argument that names the data."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="map dataset in gammapy's FITS layout, or an image or cube of counts; "
        '"file.fits[name]" is one extension of a file',
    )


def load_counts(name: str) -> CountsInput:
    """Read counts."""
    if name.endswith("]"):
        return CountsInput(read_plain(name).map, None, file_meta([name]))
    names = {hdu.name.upper() for hdu in read_hdus(name)}
    if "COUNTS" in names and names & _PARTS:
        dataset = read_dataset(name)
        return CountsInput(dataset.require("counts"), dataset, file_meta([name]))
    if names & _PARTS:
        raise InputError(f"{name}: a map dataset without counts; expected counts in it.")
    return CountsInput(read_plain(name).map, None, file_meta([name]))


def load_map(name: str, counts: Map, what: str) -> Map:
    """Read a map that goes with counts."""
    m = cut_to(read_plain(name).map, counts.geom, f"{what} {name}", "the counts")
    # axes of one name with other edges are left for the error that they are
    other = m.geom.axes.names != counts.geom.axes.names
    if other and m.data.size == counts.data.size:
        return Map(counts.geom, m.data.reshape(counts.data.shape), m.unit, m.meta)
    return m
