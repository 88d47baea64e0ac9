"""`gammagrad background`: from counts to a background without the sources in it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from gammagrad.cli.background_options import add_background_options, make_background_estimator
from gammagrad.cli.counts_input import CountsInput, add_counts_file, load_counts, load_map
from gammagrad.cli.exclude_option import exclusion_of
from gammagrad.cli.load import output_folder
from gammagrad.cli.output import add_output_options, can_draw, check_replaced
from gammagrad.cli.report import align, print_lines, seconds
from gammagrad.dataset import MapDataset, MapDatasetOnOff
from gammagrad.distribution import significance_distribution
from gammagrad.errors import InputError
from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
from gammagrad.evaluate import reco_exposure
from gammagrad.exclusion import write_regions
from gammagrad.io import map_to_hdus, write_hdus
from gammagrad.maps import Map, MapAxis
from gammagrad.models import PowerLawSpectralModel
from gammagrad.plot import plot_exclusion, plot_iterations, plot_significance_histogram, save_figure

MAPS = ("background", "exclusion", "significance")
REGIONS, RECORD, DATASET = "exclusion.reg", "record.fits", "dataset.fits.gz"
PICTURES = ("exclusion.png", "iterations.png", "histogram.png")

# The record of a large map would take more memory than the rest together: it needs to be asked for.
_RECORDED_PIXELS = 1_000_000
_MAX_PANELS = 12

NAME, HELP = "background", "estimate a background from counts, excluding the sources"
DESCRIPTION = """\
Estimate the background of counts by iteration: compute the significance of the counts in a disc,
exclude what is significant, average the rest over a ring, and begin again with that background,
until the mask converges. Written into a folder:

  background.fits                                 background, counts per pixel (and energy bin)
  exclusion.fits, exclusion.reg                   the mask (1 where kept), and as regions for DS9
  significance.fits                               significance from which the mask was made
  exclusion.png, iterations.png, histogram.png    pictures (they need matplotlib)

The background goes into `gammagrad ts-map --counts ... --background` or `gammagrad lima
--background`, the mask into their --exclude.
"""

EXAMPLES = """\
examples:
  gammagrad background counts.fits -o kbe
  gammagrad background counts.fits --source-radius 0.3 --ring-radius 1 --ring-width "30 arcmin" -o kbe
  gammagrad background dataset.fits.gz --acceptance background -o kbe
  gammagrad background counts.fits --acceptance "irf.fits[exposure]" --threshold-low 3 -o kbe
  gammagrad background counts.fits --exclude 83.63,22.01,0.3 --mask-update grow -o kbe
  gammagrad background counts.fits --mask seen.fits -o kbe
  gammagrad background dataset.fits.gz --record --write-dataset -o kbe
"""  # noqa: E501


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_counts_file(parser)
    add_background_options(parser)
    output = add_output_options(parser)
    output.add_argument(
        "--record",
        action="store_true",
        help=f"write the maps of every iteration into {RECORD}, and keep a record of maps of any "
        "size (by default of up to a million pixels, for the table and picture of iterations)",
    )
    output.add_argument(
        "--write-dataset",
        action="store_true",
        help=f"write the dataset with this background as {DATASET}, for `gammagrad ts-map`",
    )


def run(args: argparse.Namespace) -> None:
    """Read, iterate, write and print."""
    draw, note = can_draw(args.no_pictures)
    files = [*(f"{name}.fits" for name in MAPS), REGIONS, *PICTURES * draw]
    files += [RECORD] * args.record + [DATASET] * args.write_dataset
    check_replaced(args.output, files, args.overwrite)
    data = load_counts(args.file)
    if args.write_dataset and isinstance(data.dataset, MapDatasetOnOff):
        raise InputError(
            f"--write-dataset: {args.file} is an ON/OFF dataset, whose background follows from its "
            "OFF counts; expected one with a background."
        )
    if args.write_dataset and data.dataset is None:
        raise InputError(f"--write-dataset: {args.file} has only counts, and is not a map dataset.")
    images = _images(args, data)
    pixels = int(np.prod(data.counts.geom.shape_image))
    start = time.perf_counter()
    keep_record = args.record or pixels <= _RECORDED_PIXELS
    estimator = make_background_estimator(args, data.counts.geom, keep_record)
    result = estimator.run(images, args.niter_min, args.niter_max)
    spent = time.perf_counter() - start
    for name in MAPS:
        result[name].meta |= data.meta
    folder = output_folder(args.output)
    written = _write(args, data, estimator, result, folder)
    if draw:
        written += _draw(estimator, result, folder, args.overwrite)
    lines = [
        data.title,
        _kernel_text(estimator, data.counts),
        "",
        *_table(estimator),
        "",
        str(estimator.report),
        *_distribution(estimator, result),
        "",
        f"time : {seconds(spent)}, compilation included",
        f"Wrote {', '.join(written)} into {folder}.",
        *note,
    ]
    print_lines(lines, args.quiet)


def _images(args: argparse.Namespace, data: CountsInput) -> dict[str, Map]:
    """Return the maps that the loop starts from."""
    images = {"counts": data.counts}
    mask = data.mask if args.mask is None else load_map(args.mask, data.counts, "--mask")
    if mask is not None:
        images["mask"] = mask
    if args.background is not None:
        images["background"] = load_map(args.background, data.counts, "--background")
    if args.acceptance is not None:
        images["acceptance"] = _acceptance(args.acceptance, data)
    if (exclusion := exclusion_of(args, data.counts.geom)) is not None:
        images["exclusion"] = exclusion
    return images


def _acceptance(what: str, data: CountsInput) -> Map:
    """Return the map that a background is expected to be proportional to."""
    if what not in ("background", "exposure"):
        return load_map(what, data.counts, "--acceptance")
    dataset = data.dataset
    found: Map | None = None if dataset is None else getattr(dataset, what)
    if dataset is None or found is None:
        raise InputError(
            f"--acceptance {what}: expected a map dataset with it; for counts alone give the name "
            "of a FITS map."
        )
    if what == "background":
        return found
    spectrum = PowerLawSpectralModel(index=2)
    return reco_exposure(spectrum, dataset.require("exposure"), dataset.edisp, dataset.energy_axis)


def _kernel_text(estimator: KernelBackgroundEstimator, counts: Map) -> str:
    source, ring = (int(k.sum()) for k in estimator.kernels(counts.geom))
    return f"disc of {source} pixels, ring of {ring} pixels"


def _table(estimator: KernelBackgroundEstimator) -> list[str]:
    """Return a line for each iteration."""
    stack = estimator.images_stack
    if not stack:
        return ["(No record of the iterations of a map of this size; --record keeps one.)"]
    rows, before = [], np.zeros(stack[0]["exclusion"].data.shape, bool)
    for number, record in enumerate(stack):
        excluded = ~record["exclusion"].data
        new, freed = int((excluded & ~before).sum()), int((before & ~excluded).sum())
        cells = [str(number) if number else "start", str(int(excluded.sum()))]
        cells += [f"+{new}", f"-{freed}", f"{np.nansum(record['background'].data):.6g}"]
        rows.append([*cells, f"{np.nanmax(record['significance'].data):.2f}"])
        before = excluded
    head = ["iteration", "excluded", "new", "freed", "background", "largest significance"]
    return align(head, rows)


def _distribution(estimator: KernelBackgroundEstimator, result: dict[str, Map]) -> list[str]:
    """Return the distribution of the significances kept, and what is suspicious about it."""
    kept = result["exclusion"].data & _seen(result)
    if kept.sum() < 2:
        return ["Significance of the pixels kept: none."]
    significance = result["significance"].data.reshape(kept.shape)
    source, _ = estimator.kernels(result["counts"].geom)
    found = significance_distribution(significance, kept, source)
    return [f"Significance of the pixels kept: {found}.", *found.hints()]


def _seen(result: dict[str, Map]) -> Any:
    """Return the pixels where there is a background; elsewhere nothing can be expected."""
    background = result["background"].data
    shape = result["exclusion"].data.shape
    return (np.nansum(background.reshape(-1, *shape[-2:]), axis=0) > 0).reshape(shape)


def _write(
    args: argparse.Namespace,
    data: CountsInput,
    estimator: KernelBackgroundEstimator,
    result: dict[str, Map],
    folder: Path,
) -> list[str]:
    """Write all but the pictures, and return the names of the files."""
    names = [f"{name}.fits" for name in MAPS]
    for name in MAPS:
        result[name].write(folder / f"{name}.fits", overwrite=args.overwrite)
    (folder / REGIONS).unlink(missing_ok=True)  # of an earlier run, which may not suit the mask
    if not result["exclusion"].data.all():
        write_regions(result["exclusion"], folder / REGIONS)
        names.insert(2, REGIONS)
    if args.record:
        hdus = [hdu for name in MAPS for hdu in map_to_hdus(_cube(estimator, name), name)]
        write_hdus(hdus, folder / RECORD, overwrite=args.overwrite)
        names.append(RECORD)
    if args.write_dataset and isinstance(data.dataset, MapDataset):
        dataset = data.dataset.copy(data.dataset.name)
        dataset.background = result["background"]
        dataset.write(folder / DATASET, overwrite=args.overwrite)
        names.append(DATASET)
    return names


def _cube(estimator: KernelBackgroundEstimator, name: str) -> Map:
    """Return the images of all iterations as one map, summed over energies."""
    stack = [record[name] for record in estimator.images_stack]
    geom = stack[0].geom.to_image()
    planes = [m.data.reshape(-1, *geom.shape_image) for m in stack]
    data = [p.all(axis=0) if stack[0].is_mask else p.sum(axis=0) for p in planes]
    axis = MapAxis(np.arange(len(stack)), name="iteration", unit="", node_type="center")
    return Map(geom.to_cube([axis]), np.array(data))


def _draw(
    estimator: KernelBackgroundEstimator, result: dict[str, Map], folder: Path, overwrite: bool
) -> list[str]:
    """Draw the mask, the iterations and the distribution of significances."""
    axes = {PICTURES[0]: plot_exclusion(result["counts"], result["exclusion"])}
    (folder / PICTURES[1]).unlink(missing_ok=True)
    if len(estimator.images_stack) > 1:
        step = -(-len(estimator.images_stack) // _MAX_PANELS)
        shown = estimator.images_stack[::-step][::-1]  # with the last
        axes[PICTURES[1]] = plot_iterations(shown)[0]
    kept = result["exclusion"].data & _seen(result)
    if kept.sum() > 1:
        significance = result["significance"]
        source, _ = estimator.kernels(significance.geom)
        fit = plot_significance_histogram(significance, kept, kernel=source)
        axes[PICTURES[2]] = fit.ax
    return [save_figure(ax.figure, folder / name, overwrite).name for name, ax in axes.items()]
