"""Which files a dataset is made of, and where the results go."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gammagrad.cli.parser import angle, flag, texts
from gammagrad.dataset import MapDataset
from gammagrad.errors import FileAccessError, InputError
from gammagrad.io import expand_path, file_sha256, stem

_PLAIN_FILES = ("counts", "background", "exposure", "psf", "mask")
_PLAIN_OPTIONS = (*_PLAIN_FILES, "psf_sigma", "energy_bins", "exposure_unit")


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the data."""
    parser.add_argument(
        *("files",),
        metavar="FILE",
        nargs="*",
        help="map dataset in gammapy's FITS layout; several are fitted together, with one norm",
    )
    group = parser.add_argument_group("plain FITS maps instead of FILE")
    texts_of = {
        "counts": "image or cube of counts",
        "background": "expected background counts, on the same bins",
        "exposure": "effective area times time",
        "mask": "bins to use, not zero where they are good",
        "psf": "point spread function: a table of gtpsf, or a PSF map",
    }
    for name, text in texts_of.items():
        group.add_argument(f"--{name}", metavar="FILE", help=text)
    width = 'width of a Gaussian point spread function, such as "0.1 deg"'
    edges = 'edges of the energy bins of maps that do not say them, such as "1 TeV, 10 TeV"'
    unit = 'unit of an exposure that does not say it, such as "cm2 s"'
    group.add_argument("--psf-sigma", type=angle, metavar="ANGLE", help=width)
    group.add_argument("--energy-bins", type=texts, metavar="EDGES", help=edges)
    group.add_argument("--exposure-unit", metavar="UNIT", help=unit)


def load_datasets(args: argparse.Namespace) -> list[MapDataset]:
    """Read the data that the options name."""
    given = {name: getattr(args, name) for name in _PLAIN_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if args.files:
        if given:
            raise InputError(
                f"{flag(next(iter(given)))} goes with --counts, not with {args.files[0]}, which "
                "holds everything already."
            )
        return [MapDataset.read(name) for name in args.files]
    if "counts" not in given:
        raise InputError("no data: give a FILE, or --counts with --background and --exposure.")
    if "exposure" not in given:
        raise InputError("--counts alone will not do: give --exposure, and --background.")
    given["energy_edges"] = given.pop("energy_bins", None)
    name = stem(given["counts"].partition("[")[0])
    try:
        return [MapDataset.from_files(**given, name=name)]
    except InputError as error:
        if error.argument != "energy_edges":
            raise
        # --energy-edges are the groups of the result
        message, _, where = error.args
        raise InputError(message, "energy_bins", where) from error


def input_meta(args: argparse.Namespace) -> dict[str, Any]:
    """Return names and checksums of the input."""
    plain = (getattr(args, name) for name in _PLAIN_FILES)
    return file_meta(args.files or [name for name in plain if name is not None])


def file_meta(names: Sequence[str]) -> dict[str, Any]:
    """Return names and checksums of files, for the header of a result."""
    names = [name.partition("[")[0] if name.endswith("]") else name for name in names]
    paths = [path for path in map(expand_path, names) if path.is_file()]
    if not paths:
        return {}
    if len(paths) == 1:
        return {"input": paths[0].name, "input_sha256": file_sha256(paths[0])}
    return {"input": [p.name for p in paths], "input_sha256": [file_sha256(p) for p in paths]}


def output_folder(name: str | Path) -> Path:
    """Return a folder to write into, made if it is not there."""
    folder = expand_path(name)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder to write into.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError(
            f"cannot make the folder {str(folder)!r} ({error.strerror or error}); choose another."
        ) from error
    return folder
