"""How long each optional output of TSMapEstimator takes by itself, and what it computes.

python benchmarks/options.py [--cases NAME,...] [--runs N]

A dataset is fitted without options and with each of them, in turns in one process, after a run of
each that compiles. An option's own time is the median of the differences to the run without options
of the same turn. Sweeps are counted by `operations.py`, in terms of one bin and one pixel. Needs
GAMMAPY_DATA. Writes benchmarks/results/options.json.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any

from cases import CASES
from contender import Gammagrad
from operations import Tally, counted
from summary import milliseconds, rounded, write

SELECTIONS = ("", "errn-errp", "ul", "stat_scan", "sensitivity", "all")
"""Optional outputs; the first is none."""

DEFAULT_CASES = ("fermi_equal", "fermi_cube", "crab_cube")
GOAL = 2.0
"""How many fits without options an option may take."""

TIMES = ("case", "option", "first run (s)", "run (ms)", "own time (ms)", "own / fit")
COUNTS = (
    *("case", "option", "single, plain", "single, logarithm", "double, plain"),
    *("double, logarithm", "double, products", "terms / fit"),
)

# methods of the sums over bins whose terms have a logarithm; `gains` makes it in a pass of its own
LOGARITHMS = ("gain", "asimov", "sums_from")
PRODUCTS = "gains_of_whole"


def counts_of(tally: Tally) -> dict[str, float]:
    """Return the terms by what each takes: precision, and a logarithm of its own or shared."""
    found = dict.fromkeys(COUNTS[2:-1], 0.0)
    for kind, terms in tally.terms.items():
        precision = "single" if kind.dtype == "float32" else "double"
        if kind.method == PRODUCTS:
            found["double, products"] += terms * kind.number
            continue
        alone = kind.method == "gains" and kind.number == 1
        has_logarithm = alone or kind.method in LOGARITHMS
        found[f"{precision}, {'logarithm' if has_logarithm else 'plain'}"] += terms
    return found


class Variants:
    """One dataset with all selections of optional outputs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.contender = Gammagrad(CASES[name], argparse.Namespace(folder=folder))
        self.title = CASES[name].title

    def run(self, selection: str) -> float:
        """Run with some optional outputs; return the seconds."""
        self.contender.estimator.selection_optional = selection or None
        return float(self.contender.run()["seconds"])

    def counts(self) -> dict[str, dict[str, float]]:
        """Return the terms that each selection computes."""
        found = {}
        for selection in SELECTIONS:
            with counted() as tally:
                self.run(selection)
            found[selection] = counts_of(tally)
        return found

    def times(self, runs: int) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Return the seconds of first runs, and those of runs in turns."""
        first = {selection: self.run(selection) for selection in SELECTIONS}
        times: dict[str, list[float]] = {selection: [] for selection in SELECTIONS}
        for _ in range(runs):
            for selection in SELECTIONS:
                times[selection].append(self.run(selection))
        return first, times


def rows_of_times(
    title: str, first: dict[str, float], times: dict[str, list[float]]
) -> list[list[str]]:
    """Return the rows of a case: runs, and an option's own time."""
    fit = statistics.median(times[""])
    rows = []
    for selection in SELECTIONS:
        row = [title, selection or "none", f"{first[selection]:.2f}"]
        row += [milliseconds(statistics.median(times[selection])), "", ""]
        if selection:
            own = statistics.median(
                with_it - without
                for with_it, without in zip(times[selection], times[""], strict=True)
            )
            row[-2:] = milliseconds(own), rounded(own / fit, 2)
        rows.append(row)
    return rows


def rows_of_counts(title: str, counts: dict[str, dict[str, float]]) -> list[list[str]]:
    """Return the rows of a case: millions of terms, an option's without those of the fit."""
    fit = counts[""]
    rows = []
    for selection in SELECTIONS:
        own = {n: counts[selection][n] - (fit[n] if selection else 0) for n in fit}
        ratio = sum(own.values()) / max(sum(fit.values()), 1)
        cells = [rounded(number / 1e6) if number else "" for number in own.values()]
        rows.append([title, selection or "none", *cells, rounded(ratio, 2)])
    return rows


def main() -> None:
    """Time and count all cases, print, write."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=",".join(DEFAULT_CASES), help="names of cases")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    timed: list[list[str]] = []
    computed: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases.split(","):
            variants = Variants(name, Path(folder))
            timed += rows_of_times(variants.title, *variants.times(options.runs))
            computed += rows_of_counts(variants.title, variants.counts())
            print(name, "done", flush=True)
    tables: dict[str, dict[str, Any]] = {
        "options": {"columns": TIMES, "rows": timed},
        "terms": {"columns": COUNTS, "rows": computed},
    }
    write("options", tables)
    beyond = [row for row in timed if row[-1] and float(row[-1]) > GOAL]
    for title, option, *_, ratio in beyond:
        print(f"{title}: {option} takes {ratio} fits, more than the {GOAL:g} aimed at")


if __name__ == "__main__":
    main()
