"""`gammagrad lima`: from counts and background to excess and significance within a radius."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from gammagrad.cli.counts_input import CountsInput, add_counts_file, load_counts, load_map
from gammagrad.cli.exclude_option import add_exclude_options, exclusion_of
from gammagrad.cli.load import output_folder
from gammagrad.cli.output import add_output_options, can_draw, check_replaced
from gammagrad.cli.parser import flag, radius_text
from gammagrad.cli.report import position_text, print_lines, seconds
from gammagrad.dataset import MapDatasetOnOff
from gammagrad.distribution import significance_distribution
from gammagrad.errors import InputError
from gammagrad.estimators.lima import lima_maps
from gammagrad.io import map_to_hdus, write_hdus
from gammagrad.maps import Map, disc_kernel
from gammagrad.plot import plot_map, plot_significance_histogram, save_figure

MAPS, PICTURES = "lima.fits", ("sqrt_ts.png", "histogram.png")

NAME, HELP = "lima", "make maps of excess and significance within a radius"
DESCRIPTION = """\
Sum counts and background over a disc around every pixel, and write the excess and its significance
after Li and Ma into a folder:

  lima.fits                   counts, background, excess and sqrt_ts, one extension each
  sqrt_ts.png, histogram.png  pictures (they need matplotlib)

The background is known (that of the dataset, or --background), or measured in OFF regions (those of
an ON/OFF dataset, or --counts-off).
"""

EXAMPLES = """\
examples:
  gammagrad lima dataset.fits.gz --radius "0.1 deg" -o lima
  gammagrad lima dataset.fits.gz --radius 0.1 --background kbe/background.fits -o lima
  gammagrad lima dataset.fits.gz --radius 0.1 --exclude kbe/exclusion.fits -o lima
  gammagrad lima on-off.fits.gz --radius 0.1 -o lima
  gammagrad lima counts.fits --radius "5 pix" --background background.fits -o lima
  gammagrad lima "onoff.fits[counts]" --radius 0.1 --counts-off "onoff.fits[counts_off]" \\
      --acceptance "onoff.fits[acceptance]" --acceptance-off "onoff.fits[acceptance_off]" -o lima
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_counts_file(parser)
    parser.add_argument(
        "--radius",
        required=True,
        type=radius_text,
        metavar="ANGLE",
        help='radius of the disc: an angle such as "0.1 deg" (a number is in deg), or "5 pix"',
    )
    data = parser.add_argument_group("background")
    texts = {
        "background": "expected counts per pixel, a FITS map (default: those of the dataset)",
        "counts-off": "counts of OFF regions, a FITS map, instead of a known background: what was "
        "counted in the OFF region of each pixel, which is not summed over the disc",
        "acceptance": "expected background of pixels, on any scale, for --counts-off",
        "acceptance-off": "expected background of their OFF regions, on the same scale",
        "mask": "bins to use, not zero where they are good (default: those of the dataset)",
    }
    for name, text in texts.items():
        data.add_argument(f"--{name}", metavar="FILE", help=text)
    data.add_argument(
        "--correlate-off",
        action="store_true",
        help="sum OFF counts over the disc as well: for OFF events that belong to one pixel each, "
        "never for those of a ring",
    )
    data.add_argument(
        "--sum-over-energy",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make one map of all energies (default), or one for each bin",
    )
    add_exclude_options(
        parser.add_argument_group("areas with sources"),
        "leave an area out of the distribution of significances, not out of the maps",
    )
    add_output_options(parser)


def run(args: argparse.Namespace) -> None:
    """Read, compute, write and print."""
    draw, note = can_draw(args.no_pictures)
    names = (MAPS, *(PICTURES if draw else ()))
    check_replaced(args.output, names, args.overwrite)
    data = load_counts(args.file)
    parts = _parts(args, data)
    exclusion = exclusion_of(args, data.counts.geom)
    start = time.perf_counter()
    maps = lima_maps(
        data.counts,
        correlation_radius=args.radius,
        correlate_off=args.correlate_off,
        sum_over_energy=args.sum_over_energy,
        **parts,
    )
    spent = time.perf_counter() - start
    for m in maps.values():
        m.meta |= data.meta
    folder = output_folder(args.output)
    hdus = [hdu for name, m in maps.items() for hdu in map_to_hdus(m, name)]
    write_hdus(hdus, folder / MAPS, overwrite=args.overwrite)
    kernel = disc_kernel(data.counts.geom, args.radius)
    written = [MAPS]
    if draw:
        written += _draw(_seen(maps), exclusion, kernel, folder, args.overwrite)
    lines = [
        data.title,
        f"disc          : radius {args.radius}, {int(kernel.sum())} pixels",
        f"background    : {_background_text(args, parts)}",
        *_significance_lines(maps, exclusion, kernel),
        f"time          : {seconds(spent)}, compilation included",
        "",
        f"Wrote {', '.join(written)} into {folder}.",
        *note,
    ]
    print_lines(lines, args.quiet)


def _parts(args: argparse.Namespace, data: CountsInput) -> dict[str, Any]:
    """Return background or OFF maps, and the mask."""
    counts = data.counts
    off = ("counts_off", "acceptance", "acceptance_off")
    given = {name: getattr(args, name) for name in ("background", *off, "mask")}
    parts: dict[str, Any] = {
        name: load_map(file, counts, flag(name)) for name, file in given.items() if file is not None
    }
    parts.setdefault("mask", data.mask)
    if isinstance(data.dataset, MapDatasetOnOff) and not parts.keys() & {"background", *off}:
        parts |= {name: data.dataset.require(name) for name in off}
    wanted = [name for name in off if name in parts]
    if wanted and len(wanted) < len(off):
        missing = ", ".join(flag(n) for n in off if n not in parts)
        raise InputError(f"{missing} missing: --counts-off, --acceptance and --acceptance-off go "
                         "together.")  # fmt: skip
    if wanted and "background" in parts:
        raise InputError("--background and --counts-off: expected one of them, got both.")
    if args.correlate_off and not wanted:
        raise InputError("--correlate-off goes with --counts-off.")
    if not wanted and "background" not in parts:
        if data.dataset is None or data.dataset.background is None:
            raise InputError(
                f"{args.file} has no background: give --background, or --counts-off; "
                "`gammagrad background` makes one from the counts."
            )
        parts["background"] = data.dataset.npred()
    return parts


def _background_text(args: argparse.Namespace, parts: dict[str, Any]) -> str:
    if "counts_off" in parts:
        how = "summed over the disc" if args.correlate_off else "of each pixel's own region"
        return f"from OFF counts {how}, its error counted"
    source = args.background or f"that of {Path(args.file).name}"
    return f"{source}, taken as known"


def _seen(maps: dict[str, Map]) -> Map:
    """Return the significance where there is a background: elsewhere nothing can be expected."""
    sqrt_ts = maps["sqrt_ts"]
    return Map(sqrt_ts.geom, np.where(maps["background"].data > 0, sqrt_ts.data, np.nan))


def _significance_lines(maps: dict[str, Map], exclusion: Map | None, kernel: Any) -> list[str]:
    """Return the largest significance, and the distribution, of each energy bin."""
    sqrt_ts = _seen(maps)
    geom = sqrt_ts.geom.to_image()
    planes = sqrt_ts.data.reshape(-1, *geom.shape_image)
    where = "" if exclusion is None else " outside of the excluded areas"
    lines = []
    for plane in planes:
        finite = np.isfinite(plane)
        if not finite.any():
            lines.append("significance  : none, no bin is used")
            continue
        row, col = np.unravel_index(np.argmax(np.where(finite, plane, -np.inf)), plane.shape)
        place = position_text(geom, int(row), int(col))
        lines.append(f"largest       : {plane[row, col]:.2f} sigma at {place}")
        mask = None if exclusion is None else exclusion.data
        if np.sum(finite if mask is None else finite & mask) < 2:
            lines.append(f"distribution  : none{where}, fewer than two pixels are left")
            continue
        found = significance_distribution(plane, mask, kernel)
        lines.append(f"distribution  : {found}{where}")
        lines.extend(found.hints())
    return lines


def _draw(
    sqrt_ts: Map, exclusion: Map | None, kernel: Any, folder: Path, overwrite: bool
) -> list[str]:
    """Draw the significance and, if there are pixels for it, its distribution."""
    ax = plot_map(sqrt_ts, stretch="diverging", label="significance", name="sqrt_ts")
    save_figure(np.ravel(ax)[0].figure, folder / PICTURES[0], overwrite)
    kept = np.isfinite(sqrt_ts.data) & (True if exclusion is None else exclusion.data)
    if np.sum(kept) < 2:
        (folder / PICTURES[1]).unlink(missing_ok=True)  # of an earlier run
        return [PICTURES[0]]
    fit = plot_significance_histogram(sqrt_ts, exclusion, kernel=kernel)
    save_figure(fit.ax.figure, folder / PICTURES[1], overwrite)
    return list(PICTURES)
