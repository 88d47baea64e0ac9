"""Which files a dataset is made of, and where the results go."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gammagrad.cli.parser import angle, flag, texts
from gammagrad.dataset import (
    AnyMapDataset,
    MapDataset,
    MapDatasetOnOff,
    read_dataset,
    read_datasets,
)
from gammagrad.errors import FileAccessError, InputError
from gammagrad.io import (
    expand_path,
    file_sha256,
    find_fermi_files,
    is_yaml,
    read_dataset_list,
    stem,
)

_OFF = ("counts_off", "acceptance", "acceptance_off")
_PLAIN_FILES = ("counts", "background", *_OFF, "exposure", "psf", "mask")
_PLAIN_OPTIONS = (*_PLAIN_FILES, "psf_sigma", "energy_bins", "exposure_unit")


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the data."""
    parser.add_argument(
        *("files",),
        metavar="FILE",
        nargs="*",
        help="map dataset in gammapy's FITS layout, or a YAML file that lists some; several are "
        "fitted together, with one norm",
    )
    parser.add_argument(
        "--fermi",
        metavar="FOLDER",
        help="folder with ccube.fits, bexpmap.fits, mcube.fits (the background) and gtpsf.fits of "
        "Fermi-LAT's tools, instead of FILE; those of several components, ccube_00.fits and so on, "
        "are fitted together",
    )
    group = parser.add_argument_group("plain FITS maps instead of FILE")
    texts_of = {
        "counts": "image or cube of counts",
        "background": "expected background counts, on the same bins",
        "counts-off": "counts of OFF regions that measure the background of each pixel, instead of "
        "--background",
        "exposure": "effective area times time",
        "mask": "bins to use, not zero where they are good",
        "psf": "point spread function: a table of gtpsf, or a PSF map",
    }
    for name, text in texts_of.items():
        group.add_argument(f"--{name}", metavar="FILE", help=text)
    for name, what in (("acceptance", "each pixel"), ("acceptance-off", "its OFF region")):
        text = f"background expected in {what}, on one scale: a map, or a number"
        group.add_argument(f"--{name}", type=_number_or_name, metavar="FILE", help=text)
    width = 'width of a Gaussian point spread function, such as "0.1 deg"'
    edges = 'edges of the energy bins of maps that do not say them, such as "1 TeV, 10 TeV"'
    unit = 'unit of an exposure that does not say it, such as "cm2 s"'
    group.add_argument("--psf-sigma", type=angle, metavar="ANGLE", help=width)
    group.add_argument("--energy-bins", type=texts, metavar="EDGES", help=edges)
    group.add_argument("--exposure-unit", metavar="UNIT", help=unit)


def _number_or_name(text: str) -> float | str:
    """Return a number if a text is one, else the name of a file."""
    try:
        return float(text)
    except ValueError:
        return text


def load_datasets(args: argparse.Namespace) -> list[AnyMapDataset]:
    """Read the data that the options name."""
    given = {name: getattr(args, name) for name in _PLAIN_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if args.files:
        if given:
            raise InputError(
                f"{flag(next(iter(given)))} goes with --counts, not with {args.files[0]}, which "
                "holds everything already."
            )
        if args.fermi is not None:
            raise InputError(f"--fermi stands instead of a FILE, and there is {args.files[0]}.")
        return [dataset for name in args.files for dataset in _read(name)]
    if args.fermi is not None:
        if given:
            raise InputError(f"{flag(next(iter(given)))} goes with --counts, not with --fermi.")
        found = find_fermi_files(args.fermi)
        return [MapDataset.from_fermi(**one.files, name=one.name) for one in found]
    if "counts" not in given:
        raise InputError(
            "no data: give a FILE, --fermi, or --counts with --background and --exposure."
        )
    if "exposure" not in given:
        raise InputError("--counts alone will not do: give --exposure, and --background.")
    kind = _kind(given)
    given["energy_edges"] = given.pop("energy_bins", None)
    name = stem(given["counts"].partition("[")[0])
    try:
        return [kind.from_files(**given, name=name)]
    except InputError as error:
        if error.argument != "energy_edges":
            raise
        # --energy-edges are the groups of the result
        message, _, where = error.args
        raise InputError(message, "energy_bins", where) from error


def _read(name: str) -> list[AnyMapDataset]:
    """Read datasets; an error says which options plain maps go after, not which function."""
    try:
        return read_datasets(name) if is_yaml(name) else [read_dataset(name)]
    except InputError as error:
        message, *rest = error.args
        options = "after --counts, --background and --exposure"
        text = str(message).replace("into MapDataset.from_files", options)
        raise type(error)(text, *rest) from error


def _kind(given: Mapping[str, Any]) -> type[MapDataset] | type[MapDatasetOnOff]:
    """Return the kind of dataset that plain maps make."""
    off = [name for name in _OFF if name in given]
    if not off:
        return MapDataset
    if "background" in given:
        raise InputError(f"--background and {flag(off[0])}: expected one of them, got both.")
    if missing := [flag(name) for name in _OFF if name not in given]:
        raise InputError(
            f"{', '.join(missing)} missing: --counts-off, --acceptance and --acceptance-off go "
            "together."
        )
    return MapDatasetOnOff


def input_meta(args: argparse.Namespace) -> dict[str, Any]:
    """Return names and checksums of the input."""
    if args.fermi is not None:
        found = find_fermi_files(args.fermi)
        return file_meta([str(file) for one in found for file in one.files.values()])
    names = []
    for name in args.files:
        names.append(name)
        names += [str(one.path) for one in read_dataset_list(name)] if is_yaml(name) else []
    plain = (getattr(args, name) for name in _PLAIN_FILES)
    return file_meta(names or [name for name in plain if isinstance(name, str)])


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
