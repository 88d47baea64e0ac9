"""`gammagrad demo`: a first result, without data or with those of Fermi-LAT."""

from __future__ import annotations

import argparse

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from gammagrad.cli.load import output_folder
from gammagrad.cli.output import can_draw
from gammagrad.cli.parser import whole
from gammagrad.cli.report import align, plain_number, print_lines, source_table
from gammagrad.demo import (
    GALACTIC_CENTRE,
    THRESHOLD,
    Demo,
    fermi_demo,
    fermi_file,
    simulated_demo,
    write_demo,
)
from gammagrad.errors import InputError

NAME, HELP = "demo", "simulate a field and find its sources"
DESCRIPTION = (
    "Simulate a field, make its maps, and compare the sources found with those "
    "put in. It needs no data and no network."
)
EXAMPLES = """\
examples:
  gammagrad demo                 simulate a field, find its sources, compare with the truth
  gammagrad demo -o first-maps   the same, into another folder
  gammagrad demo --fermi         the Galactic centre as Fermi-LAT saw it, if $GAMMAPY_DATA has it
"""

OWN_FILE = 'gammagrad ts-map FILE.fits.gz --kernel-width "1 deg" -o maps'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        *("-o", "--output"),
        metavar="OUT",
        help="folder to write, made if needed; what the demo wrote there before is replaced "
        "(default: gammagrad-demo, or gammagrad-demo-fermi)",
    )
    parser.add_argument(
        "--fermi", action="store_true", help="use Fermi-LAT's data in $GAMMAPY_DATA instead"
    )
    parser.add_argument(
        "--seed", type=whole(), default=0, metavar="N", help="seed of the simulation (default: 0)"
    )
    parser.add_argument(
        "--npix",
        type=whole(40),
        default=200,
        metavar="N",
        help="pixels along each side of the simulated field (default: 200, at least 40)",
    )


def run(args: argparse.Namespace) -> None:
    """Make the maps, write and print."""
    pictures, note = can_draw(unwanted=False)
    if args.fermi:
        fermi_file()  # which says where to get it, before a folder is made
    default = "gammagrad-demo-fermi" if args.fermi else "gammagrad-demo"
    folder = output_folder(args.output or default)
    show = False if args.quiet else None

    def say(text: str) -> None:
        print_lines([text], args.quiet)

    if args.fermi:
        demo = fermi_demo(show, say)
        lines = _fermi_lines(demo)
    else:
        demo = simulated_demo(args.seed, args.npix, show, say)
        lines = _simulated_lines(demo)
    print_lines(lines, args.quiet)
    files = write_demo(demo, folder, pictures)
    names = ", ".join(file.name for file in files)
    closing = ["", f"Wrote {names} into {folder}.", *note, "", "With a file of your own:", OWN_FILE]
    print_lines(closing, args.quiet)


def _simulated_lines(demo: Demo) -> list[str]:
    """Return what was found in a simulated field."""
    table = demo.comparison
    if table is None:
        raise InputError("this demo has no simulated field to compare with.")
    missed = int(np.isnan(table["flux"].value).sum())
    return [
        *_comparison(table),
        "",
        "Positions and offsets in deg, fluxes in 1e-13 cm-2 s-1 above 1 TeV; the pull is found "
        "less true, in errors.",
        f"{len(table) - missed} of {len(table)} sources found above {THRESHOLD:g} sigma, "
        f"{demo.spurious} peaks that are none.",
    ]


def _comparison(table: QTable) -> list[str]:
    """Return true and found sources, one line each."""
    head = ["source", "kind", "l", "b", "true flux", "found", "error", "pull", "sqrt(TS)",
            "expected", "offset"]  # fmt: skip
    rows = []
    for i in range(len(table)):
        row = table[i]
        values = {name: plain_number(row[name]) for name in table.colnames[2:]}
        cells = [str(row["name"]), str(row["kind"])]
        cells += [f"{values[name]:.3f}" for name in ("glon", "glat")]
        cells += [f"{1e13 * values[name]:.2f}" for name in ("flux_true", "flux", "flux_err")]
        cells += [f"{values['pull']:+.2f}", f"{values['sqrt_ts']:.1f}", f"{values['expected']:.1f}"]
        cells.append(f"{values['offset']:.3f}")
        rows.append([cell.replace("+nan", "-").replace("nan", "-") for cell in cells])
    return align(head, rows, left=2)


def _fermi_lines(demo: Demo) -> list[str]:
    """Return what was found at the Galactic centre."""
    lines = source_table(demo.peaks)
    if len(demo.peaks):
        brightest = SkyCoord(demo.peaks["ra"][0], demo.peaks["dec"][0])
        apart = brightest.separation(GALACTIC_CENTRE).deg
        lines.append(f"The most significant source is {apart:.3f} deg from Sagittarius A*.")
    return lines
