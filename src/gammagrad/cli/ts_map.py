"""`gammagrad ts-map`: from a file of counts to maps of significance and flux."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

from gammagrad.cli.load import add_input_options, input_meta, load_dataset, output_folder
from gammagrad.cli.parser import angle, number_or_angle, setting
from gammagrad.cli.report import energy_groups, print_lines, seconds, source_table, status_line
from gammagrad.estimators.config import read_config, read_model, write_config
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.flux_maps import FluxMaps
from gammagrad.io.flux_maps import model_filename
from gammagrad.io.tables import write_peaks
from gammagrad.models import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.plot.overview import PICTURES, draw_to_files, write_pictures

__all__ = ["add_parser", "run"]

log = logging.getLogger(__name__)

MAPS, CONFIG, TABLES = "ts-map.fits", "config.yaml", ("sources.ecsv", "sources.reg")

_DESCRIPTION = """\
Fit, at every pixel, the norm of a source placed there, and write what follows into a folder:

  ts-map.fits                           maps of TS, norm, flux, ..., which gammapy reads too
  sqrt_ts.png, flux.png, histogram.png  pictures (they need matplotlib)
  sources.ecsv, sources.reg             the sources found, as a table and as DS9 regions
  config.yaml                           the settings, for --config
"""

_EXAMPLES = """\
examples:
  gammagrad ts-map dataset.fits.gz -o maps
  gammagrad ts-map dataset.fits.gz --kernel-width "1 deg" --energy-edges "10 GeV, 500 GeV" -o maps
  gammagrad ts-map dataset.fits.gz --model gauss:0.2 --index 2.3 -o extended
  gammagrad ts-map dataset.fits.gz --config maps/config.yaml --energy-edges all -o bands
  gammagrad ts-map --counts counts.fits --background background.fits --exposure exposure.fits \\
      --psf-sigma "0.1 deg" -o maps
"""

# options that are settings of the estimator, by the name of the setting
_SETTINGS = ("kernel_width", "energy_edges", "kernel_weighting", "n_sigma", "rtol")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command.

    Parameters
    ----------
    commands
        What `add_subparsers` returned.

    Returns
    -------
    ArgumentParser
        The command's parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "ts-map",
        help="make maps of significance and flux",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    add_input_options(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        *("-o", "--output"), metavar="OUT", required=True, help="folder to write, made if needed"
    )
    output.add_argument("--overwrite", action="store_true", help="replace files that are there")
    output.add_argument("--no-pictures", action="store_true", help="write no PNG files")
    _add_fit_options(parser.add_argument_group("source and fit"))
    peaks = parser.add_argument_group("source list")
    peaks.add_argument(
        "--peak-threshold",
        type=float,
        default=5.0,
        metavar="SIGMA",
        help="significance above which a peak is a source (default: 5)",
    )
    peaks.add_argument(
        "--min-distance",
        type=number_or_angle,
        default="0.3 deg",
        metavar="ANGLE",
        help='least distance of two sources, such as "0.3 deg" (default), or a number of pixels',
    )
    parser.set_defaults(run=run)
    return parser


def _add_fit_options(group: Any) -> None:
    """Add the options that become settings of the estimator."""
    group.add_argument(
        "--config",
        metavar="FILE",
        help="YAML or JSON file of settings, as written by this command; other options override it",
    )
    group.add_argument(
        "--model",
        metavar="SHAPE",
        help="shape of the source: point (default), gauss:SIGMA, disk:RADIUS (such as gauss:0.2 or "
        '"gauss:12 arcmin"), or a YAML file with one SkyModel',
    )
    group.add_argument(
        "--index", type=float, help="index of the source's power law (default: 2), as in E^-2"
    )
    group.add_argument(
        "--kernel-width",
        type=setting("kernel_width", "'1 deg'"),
        metavar="ANGLE",
        help='full width of the kernel, such as "1 deg" (default: 99.9 %% of the source)',
    )
    group.add_argument(
        "--energy-edges",
        type=setting("energy_edges", "'10 GeV, 500 GeV', or all"),
        metavar="EDGES",
        help='energy groups, such as "10 GeV, 50 GeV, 500 GeV", moved to the edges of the data; '
        "all: a map for each bin (default: one group)",
    )
    group.add_argument(
        "--sum-over-energy",
        action=argparse.BooleanOptionalAction,
        help="fit one image per group, summed over its energies (default: fit the cube)",
    )
    group.add_argument(
        "--kernel-weighting",
        choices=("counts", "equal"),
        help="how kernels are averaged when summing: by expected counts (default), or equally",
    )
    group.add_argument(
        "--n-sigma",
        type=setting("n_sigma", "1"),
        metavar="N",
        help="standard deviations of the errors (default: 1)",
    )
    group.add_argument(
        "--rtol",
        type=setting("rtol", "0.01"),
        metavar="R",
        help="last step, in errors, above which a fit counts as not converged (default: 0.01)",
    )


def run(args: argparse.Namespace) -> None:
    """Read, fit, write and print.

    Parameters
    ----------
    args
        Parsed arguments.
    """
    estimator = make_estimator(args)
    estimator.show_progress = False if args.quiet else None
    pictures, note = _can_draw(args.no_pictures)
    _check_replaced(Path(args.output), pictures, args.overwrite)

    start = time.perf_counter()
    dataset = load_dataset(args)
    meta = input_meta(args)
    read = time.perf_counter() - start
    folder = output_folder(args.output)
    print_lines([str(dataset), ""], args.quiet)

    log.info("read %s in %s; fitting with\n%s", dataset.name, seconds(read), estimator)
    start = time.perf_counter()
    maps = estimator.run(dataset)
    fitted = time.perf_counter() - start
    log.info("fitted in %s; writing into %s", seconds(fitted), folder)
    maps.meta |= meta
    peaks = maps.find_peaks(args.peak_threshold, args.min_distance)

    written = _write(maps, peaks, estimator, folder, args.overwrite)
    if pictures:
        written += write_pictures(maps, folder, peaks, args.overwrite)
    lines = [
        f"energy groups : {energy_groups(maps.energy_axis.edges)}",
        f"kernel        : {_kernel_text(maps)}",
        f"pixels        : {status_line(maps)}",
        f"time          : {seconds(fitted)} to fit, compilation included; {seconds(read)} to read",
        "",
        *source_table(peaks),
        "",
        f"Wrote {', '.join(path.name for path in written)} into {folder}.",
        *note,
    ]
    print_lines(lines, args.quiet)


def _kernel_text(maps: FluxMaps) -> str:
    rows, cols = maps.meta["kernel_shape"]
    least = 100 * min(maps.meta["containment"])
    return f"{cols} x {rows} pixels, which hold at least {least:.4g} % of a source"


def make_estimator(args: argparse.Namespace) -> TSMapEstimator:
    """Return the estimator that options and a file of settings describe.

    Parameters
    ----------
    args
        Parsed arguments.

    Returns
    -------
    TSMapEstimator
        The estimator.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is not there or cannot be used.
    """
    if args.config is None:
        estimator = TSMapEstimator(sum_over_energy_groups=False)
    else:
        estimator = read_config(args.config, sum_over_energy_groups=False)
    if args.sum_over_energy is not None:
        estimator.sum_over_energy_groups = args.sum_over_energy
    for name in _SETTINGS:
        value = getattr(args, name)
        if value is not None:
            setattr(estimator, name, value)
    estimator.model = _model(estimator.model, args.model, args.index)
    return estimator


def _model(model: SkyModel, shape: str | None, index: float | None) -> SkyModel:
    """Return a model with another shape or spectrum, where these are given."""
    spectrum, spatial = model.spectral_model, model.spatial_model
    if shape is None and index is None:
        return model
    if shape is not None and shape.lower().endswith((".yaml", ".yml", ".json")):
        read = read_model(shape)
        if index is None:
            return read
        spatial = read.spatial_model
    elif shape is not None:
        spatial = _shape(shape)
    if index is not None:
        spectrum = PowerLawSpectralModel(index)
    return SkyModel(spectrum, spatial, name="ts-kernel")


def _shape(text: str) -> Any:
    """Return the spatial model of a text such as "gauss:0.2 deg"."""
    kind, _, size = text.partition(":")
    kind = kind.strip().lower()
    shapes = {"gauss": ("sigma", GaussianSpatialModel), "disk": ("r_0", DiskSpatialModel)}
    if kind == "point" and not size:
        return PointSpatialModel()
    if kind not in shapes or not size:
        raise ValueError(
            f"--model {text!r}: expected point, gauss:SIGMA or disk:RADIUS, such as gauss:0.2, or "
            "a YAML file with a model."
        )
    name, shape = shapes[kind]
    try:
        return shape(**{name: angle(size)})
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"--model {text!r}: {error}.") from error


def _can_draw(unwanted: bool) -> tuple[bool, list[str]]:
    """Return whether to draw, and a note where matplotlib is missing."""
    if unwanted:
        return False, []
    try:
        draw_to_files()
    except ImportError as error:
        return False, [f"No pictures: {error}"]
    return True, []


def _check_replaced(folder: Path, pictures: bool, overwrite: bool) -> None:
    """Raise before any work if files are there that may not be replaced."""
    maps = folder / MAPS
    files = [maps, model_filename(maps), *(folder / name for name in (CONFIG, *TABLES))]
    files += [folder / f"{name}.png" for name in PICTURES] if pictures else []
    there = [file.name for file in files if file.exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{folder} has {', '.join(there)} already; use --overwrite to replace them, or "
            "another folder."
        )


def _write(
    maps: FluxMaps, peaks: Any, estimator: TSMapEstimator, folder: Path, overwrite: bool
) -> list[Path]:
    """Write everything but the pictures."""
    files = [folder / name for name in (MAPS, CONFIG, *TABLES)]
    maps.write(files[0], overwrite=overwrite)
    write_config(estimator, files[1], overwrite=overwrite)
    for file in files[2:]:
        write_peaks(peaks, file, overwrite=overwrite)
    return files
