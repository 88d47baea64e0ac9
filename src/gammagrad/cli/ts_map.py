"""`gammagrad ts-map`: from a file of counts to maps of significance and flux."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import astropy.units as u
from astropy.coordinates import SkyCoord

from gammagrad.cli.exclude_option import add_exclude_options, exclusion_of, place
from gammagrad.cli.fit_options import add_fit_options, make_estimator
from gammagrad.cli.load import add_input_options, input_meta, load_datasets, output_folder
from gammagrad.cli.output import add_output_options, can_draw, check_replaced
from gammagrad.cli.parser import finite, number_or_angle
from gammagrad.cli.report import energy_groups, print_lines, seconds, source_table, status_line
from gammagrad.dataset import AnyMapDataset, MapDatasetOnOff
from gammagrad.errors import InputError
from gammagrad.estimators.background_norm import BackgroundNorm, fit_background_norm
from gammagrad.estimators.config import write_config
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.flux_maps import FluxMaps, HypothesisMaps
from gammagrad.io import map_to_hdus, model_filename, write_hdus, write_peaks
from gammagrad.maps import WcsGeom
from gammagrad.models import Models
from gammagrad.peaks import MIN_DISTANCE
from gammagrad.plot import picture_names, write_pictures

log = logging.getLogger(__name__)

MAPS, CONFIG, TABLES = "ts-map.fits", "config.yaml", ("sources.ecsv", "sources.reg")
FLUXES = "flux.fits"
EACH, BEST = "hypotheses.fits", "hypothesis"

NAME, HELP = "ts-map", "make maps of significance and flux"
DESCRIPTION = """\
Fit, at every pixel, the norm of a source placed there, and write what follows into a folder:

  ts-map.fits                           maps of TS, norm, errors, ..., which gammapy reads too
  flux.fits                             the fluxes that follow, for DS9 and others
  sqrt_ts.png, flux.png, histogram.png  pictures (they need matplotlib), and those of further maps
  sources.ecsv, sources.reg             the sources found, as a table and as DS9 regions
  config.yaml                           the settings, for --config

Of several models every pixel gets the one with the largest TS, and there are

  hypotheses.fits, hypothesis.png       the maps of each model, and which one is best where
"""

EXAMPLES = """\
examples:
  gammagrad ts-map dataset.fits.gz -o maps
  gammagrad ts-map dataset.fits.gz --kernel-width "1 deg" --energy-edges "10 GeV, 500 GeV" -o maps
  gammagrad ts-map dataset.fits.gz --model gauss:0.2 --index 2.3 -o extended
  gammagrad ts-map dataset.fits.gz --model point --model gauss:0.1 --model gauss:0.3 -o sizes
  gammagrad ts-map dataset.fits.gz --config maps/config.yaml --energy-edges all -o bands
  gammagrad ts-map dataset.fits.gz --selection "ul, sensitivity" --n-sigma-ul 1.645 -o limits
  gammagrad ts-map dataset.fits.gz --selection all --around icrs:266.4,-29.0,1.5 -o centre
  gammagrad ts-map dataset.fits.gz --exclude 83.63,22.01,0.4 --exclude sources.reg -o maps
  gammagrad ts-map first.fits.gz second.fits.gz --kernel-containment 0.95 -o joint
  gammagrad ts-map --counts counts.fits --background background.fits --exposure exposure.fits \\
      --psf-sigma "0.1 deg" --energy-bins "10 GeV, 500 GeV" --exposure-unit "cm2 s" -o maps
  gammagrad ts-map datasets.yaml --kernel-containment 0.95 -o joint
  gammagrad ts-map --fermi analysis --kernel-width "3 deg" --energy-edges "1 GeV, 500 GeV" -o maps
  gammagrad ts-map on-off.fits.gz -o maps
  gammagrad ts-map --counts counts.fits --counts-off counts_off.fits --acceptance 1 \\
      --acceptance-off 10 --exposure exposure.fits --psf-sigma "0.1 deg" \\
      --energy-bins "10 GeV, 500 GeV" --exposure-unit "cm2 s" -o maps
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_input_options(parser)
    add_output_options(parser)
    add_fit_options(parser)
    add_exclude_options(
        parser.add_argument_group("norm of the background outside of sources"),
        "fit the norm of the background to the counts outside of an area, and multiply it by that; "
        "the area itself stays in the maps",
    )
    peaks = parser.add_argument_group("source list")
    peaks.add_argument(
        "--peak-threshold",
        type=finite,
        default=5.0,
        metavar="SIGMA",
        help="significance above which a peak is a source (default: 5)",
    )
    peaks.add_argument(
        "--min-distance",
        type=number_or_angle,
        default=MIN_DISTANCE,
        metavar="ANGLE",
        help='least distance of two sources, such as "0.3 deg", or a number of pixels '
        f"(default: {MIN_DISTANCE})",
    )


def run(args: argparse.Namespace) -> None:
    """Read, fit, write and print."""
    estimator = make_estimator(args)
    estimator.show_progress = False if args.quiet else None
    draw, note = can_draw(args.no_pictures)
    pictures = picture_names(estimator.selection_optional) if draw else ()
    several = isinstance(estimator.model, Models)
    pictures = (*pictures, BEST) if draw and several else pictures
    names = [MAPS, model_filename(Path(MAPS)).name, FLUXES, CONFIG, *TABLES, *[EACH] * several]
    check_replaced(args.output, (*names, *(f"{p}.png" for p in pictures)), args.overwrite)

    start = time.perf_counter()
    datasets = load_datasets(args)
    meta = input_meta(args)
    read = time.perf_counter() - start
    folder = output_folder(args.output)
    for dataset in datasets:
        print_lines([str(dataset), ""], args.quiet)
    box = _box(args.positions, datasets[0].geom)
    datasets, norms = _with_fitted_background(args, datasets)
    if norms:
        meta["background_norm"] = [fit.norm for fit in norms.values()]

    titles = ", ".join(dataset.name for dataset in datasets)
    log.info("read %s in %s; fitting with\n%s", titles, seconds(read), estimator)
    start = time.perf_counter()
    found = estimator.run(datasets, positions=box)
    found = found if box is None else found.cutout(*box)
    maps = found.best() if isinstance(found, HypothesisMaps) else found
    fitted = time.perf_counter() - start
    log.info("fitted in %s; writing into %s", seconds(fitted), folder)
    maps.meta |= meta
    peaks = maps.find_peaks(args.peak_threshold, args.min_distance)

    written = _write(maps, peaks, estimator, folder, args.overwrite)
    if isinstance(found, HypothesisMaps):
        written.append(folder / EACH)
        found.write(written[-1], overwrite=args.overwrite)
    written += write_pictures(maps, folder, peaks, args.overwrite, pictures)
    lines = [
        *(f"background    : {_norm_text(name, fit)}" for name, fit in norms.items()),
        f"energy groups : {energy_groups(maps.energy_axis.edges)}",
        *_kernel_lines(found),
        f"pixels        : {status_line(maps)}",
        f"time          : {seconds(fitted)} to fit, compilation included; {seconds(read)} to read",
        "",
        *source_table(peaks, energy_groups(maps.energy_axis.edges)),
        "",
        f"Wrote {', '.join(path.name for path in written)} into {folder}.",
        *note,
    ]
    print_lines(lines, args.quiet)


def _box(
    given: tuple[str, list[float]] | None, geom: WcsGeom
) -> tuple[SkyCoord, u.Quantity] | None:
    """Return the position and the width of a box of the sky, if there is one."""
    if given is None:
        return None
    frame, (lon, lat, width) = given
    return place(geom, frame, lon, lat), u.Quantity(width, "deg")


def _with_fitted_background(
    args: argparse.Namespace, datasets: list[AnyMapDataset]
) -> tuple[list[AnyMapDataset], dict[str, BackgroundNorm]]:
    """Return datasets whose background fits the counts outside of the areas given, and its norm."""
    fitted: list[AnyMapDataset] = []
    norms = {}
    for dataset in datasets:
        exclusion = exclusion_of(args, dataset.geom)
        if exclusion is None:
            return datasets, {}
        if isinstance(dataset, MapDatasetOnOff):
            raise InputError(
                f"--exclude fits the norm of a known background, and that of dataset "
                f"{dataset.name!r} is measured, from OFF counts; leave it out."
            )
        norms[dataset.name] = fit_background_norm(dataset, exclusion)
        fitted.append(norms[dataset.name].apply(dataset))
    return fitted, norms


def _norm_text(name: str, fit: BackgroundNorm) -> str:
    return f"norm {fit.norm:.4f} +- {fit.norm_err:.4f} outside of the excluded areas, in {name}"


def _kernel_lines(found: FluxMaps | HypothesisMaps) -> list[str]:
    """Return a line on the kernel, or one on that of each model."""
    if isinstance(found, FluxMaps):
        return [f"kernel        : {_kernel_text(found)}"]
    return [f"kernel        : {_kernel_text(maps)}, of {name}" for name, maps in found.items()]


def _kernel_text(maps: FluxMaps) -> str:
    """Return how large the kernel is, and what it holds."""
    rows, cols = maps.meta["kernel_shape"]
    held = maps.containment
    text = "" if held is None else f", which hold at least {100 * held:.4g} % of a source"
    return f"{cols} x {rows} pixels{text}{maps.missing_flux}"


def _write(
    maps: FluxMaps, peaks: Any, estimator: TSMapEstimator, folder: Path, overwrite: bool
) -> list[Path]:
    """Write everything but the pictures."""
    files = [folder / name for name in (MAPS, FLUXES, CONFIG, *TABLES)]
    maps.write(files[0], overwrite=overwrite)
    fluxes = {n: maps[n] for n in maps if n.partition("_")[0] == "flux"}
    hdus = [hdu for name, m in fluxes.items() for hdu in map_to_hdus(m, name)]
    write_hdus(hdus, files[1], overwrite=overwrite)
    write_config(estimator, files[2], overwrite=overwrite)
    for file in files[3:]:
        write_peaks(peaks, file, overwrite=overwrite)
    return files
