"""Compare whole runs of the map estimator with stored results of gammapy, quantity by quantity.

Needs the environment variable GAMMAPY_DATA, and the stored results beside that folder or where
GAMMAGRAD_REFERENCE says. Prints a table; ``--json FILE`` writes it.

Deviations above their bar are explained, where they are, by what gammapy does there: the numbers
are those of the list in the documentation's page *Coming from gammapy*.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
import yaml

from gammagrad import MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.estimators.ts_map import collect
from gammagrad.estimators.ts_map.downsampling import CoarseGrid
from gammagrad.io.atomic import write_text
from gammagrad.models import ConstantSpatialModel, SkyModel, models_from_dict

LIMITS = ("norm_ul", "norm_errp", "norm_errn", "norm_sensitivity")
QUANTITIES = ("ts", "norm", "norm_err", "npred", "npred_excess", "stat", "stat_null", *LIMITS)

AT_BOUND = (
    Status.LOWER_ERROR_AT_BOUND,
    Status.AT_BOUND,
    Status.NO_COUNTS,
    Status.ZERO_BACKGROUND_BOUND,
)


class Row(NamedTuple):
    """One quantity of one case, all its energy groups together.

    Attributes
    ----------
    case, quantity
        Their names.
    compared
        Pixels compared: a number there and here, not explained otherwise.
    worst
        Largest deviation among them, in units of the bar.
    above
        Pixels above the bar that nothing explains.
    explained
        Pixels above the bar, or without a number on one side, by the item that explains them.
    """

    case: str
    quantity: str
    compared: int
    worst: float
    above: int
    explained: dict[str, int]


def deviation(quantity: str, value: np.ndarray, expected: np.ndarray, error: np.ndarray) -> Any:
    """Return how far a value is off, in units of its bar."""
    size = np.abs(expected)
    if quantity == "ts":
        return np.abs(np.abs(value) - size) / (1e-3 * size + 1e-3)
    if quantity == "norm":
        return np.abs(value - expected) / (0.01 * error)
    if quantity in ("npred", "stat", "stat_null"):
        return np.abs(value - expected) / (1e-4 * np.maximum(1, size))
    if quantity == "npred_excess":
        return np.abs(value - expected) / (1e-3 * size + 1e-3)
    return np.abs(value - expected) / (1e-3 * size)


def explanations(
    quantity: str, about: dict[str, Any], status: np.ndarray, expected: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Return, item by item of gammapy's oddities, the pixels that it explains."""
    settings = about["settings"]
    scanned = re.search("all|stat_scan", str(settings.get("selection_optional")))
    value = expected[quantity]
    everywhere = np.ones(value.shape, bool)
    if not settings.get("downsampling_factor"):
        yield "1 one occupied bin", ~expected["success"].astype(bool)
    if quantity == "norm_sensitivity":
        yield "6 sign or NaN of the sensitivity", ~(value > 0)
    if quantity in ("norm_ul", "norm_errp", "norm_errn"):
        yield "3 no counts", ~np.isfinite(value) & (status == Status.NO_COUNTS)
    if quantity == "norm_errn":
        yield "4 below the physical bound", np.isin(status, AT_BOUND)
    if scanned and quantity not in ("stat_null", "norm_sensitivity"):
        yield "5 read off a scan", everywhere
    if settings.get("threshold") is not None:
        yield "7 kept guess", (status == Status.GUESS_KEPT) | (expected["niter"] == 0)
    if settings.get("downsampling_factor") and "fit grid" not in about["case"]:
        yield "11 merged pixels", everywhere if quantity == "ts" else ~np.isfinite(value)
        if quantity == "norm_errn":
            # interpolated between blocks, some of which are at the bound
            yield "4 below the physical bound", _beside(np.isin(status, AT_BOUND))
    if "nan" in about["case"] and not settings.get("sum_over_energy_groups", True):
        yield "14 background that is not a number", ~np.isfinite(value)


def _beside(mask: np.ndarray, reach: int = 4) -> np.ndarray:
    """Return a mask with what is beside it, along rows and columns."""
    grown = mask.copy()
    for axis in (-2, -1):
        grown = np.any([np.roll(grown, n, axis) for n in range(-reach, reach + 1)], axis=0)
    return grown


def load(
    data: Path, folder: Path, case: str
) -> tuple[list[MapDataset], TSMapEstimator, dict[str, Any], Any]:
    """Return a case's datasets, an estimator with its settings, what it is about, its arrays."""
    about = json.loads((folder / f"{case}.json").read_text(encoding="utf-8"))
    stored = np.load(folder / f"{case}.npz")
    datasets = []
    for number, (file, text) in enumerate(zip(about["files"], about["models_yaml"], strict=True)):
        dataset = MapDataset.read(data / file).copy(name=f"{number}-{Path(file).name}")
        if text:
            content = yaml.safe_load(text)
            for component in content["components"]:
                component.pop("datasets_names", None)
            dataset.models = models_from_dict(content)
        datasets.append(dataset)
    settings = about["settings"]
    selection = str(settings.get("selection_optional"))
    (model,) = models_from_dict({"components": [about["kernel_model"]]})
    if case == "fermicut_constant0":
        # a model without counts: its value is not among what was stored
        model = SkyModel(model.spectral_model, ConstantSpatialModel(value="0 sr-1"))
    estimator = TSMapEstimator(
        model,
        settings.get("kernel_width"),
        downsampling_factor=settings.get("downsampling_factor"),
        threshold=settings.get("threshold"),
        energy_edges=stored["energy_edges"] * u.TeV if settings.get("energy_edges") else None,
        sum_over_energy_groups=settings.get("sum_over_energy_groups", True),
        selection_optional=selection if selection == "all" else ast.literal_eval(selection),
        kernel_weighting="equal",
        kernel_sampling="gammapy",
        kernel_positions="centre",
        show_progress=False,
    )
    return datasets, estimator, about, stored


def compare(data: Path, folder: Path, case: str) -> Iterator[Row]:
    """Run a case and compare what it has in common with the stored results."""
    datasets, estimator, about, stored = load(data, folder, case)
    maps = estimator.run(datasets)
    arrays = {name: maps[name].data for name in (*maps.available_quantities, "status")}
    prefix = "precise__"
    expected = {k.removeprefix(prefix): stored[k] for k in stored.files if k.startswith(prefix)}
    yield from _rows(about, arrays, expected)
    if estimator.downsampling_factor is not None:
        yield from _rows(*_on_fit_grid(datasets, estimator, about, stored))


def _on_fit_grid(
    datasets: list[MapDataset], estimator: TSMapEstimator, about: dict[str, Any], stored: Any
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a case's maps on merged pixels, before they are interpolated."""
    found: dict[str, np.ndarray] = {}

    class Kept(CoarseGrid):
        def upsampled(self, arrays: Any) -> Any:
            found.update(arrays)
            return super().upsampled(arrays)

    original = collect.coarse_grid
    collect.coarse_grid = lambda *given: Kept(*original(*given))
    try:
        estimator.run(datasets)
    finally:
        collect.coarse_grid = original
    start = "fitgrid_precise__g0__"
    expected = {k.removeprefix(start): stored[k] for k in stored.files if k.startswith(start)}
    return about | {"case": about["case"] + ", fit grid"}, found, expected


def _rows(
    about: dict[str, Any], maps: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> Iterator[Row]:
    """Compare all quantities of a case."""
    for quantity in QUANTITIES:
        if quantity not in expected or quantity not in maps:
            continue
        value, there = maps[quantity], expected[quantity]
        with np.errstate(all="ignore"):
            off = deviation(quantity, value, there, expected["norm_err"])
        # neither has a number: they agree
        left = np.isfinite(value) | np.isfinite(there)
        if quantity == "norm":
            # no counts, no error: nothing to measure a deviation with
            left &= np.isfinite(expected["norm_err"])
        wrong = left & ~(off <= 1)
        explained: dict[str, int] = {}
        for item, where in explanations(quantity, about, maps["status"], expected):
            if (wrong & where).any():
                explained[item] = int((wrong & where).sum())
            left &= ~(wrong & where)
            wrong &= ~where
        worst = float(np.max(off[left & np.isfinite(off)], initial=0.0))
        yield Row(about["case"], quantity, int(left.sum()), worst, int(wrong.sum()), explained)


def main() -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="names of cases; default: all of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the table to")
    args = parser.parse_args()
    data = Path(os.environ["GAMMAPY_DATA"])
    folder = Path(os.environ.get("GAMMAGRAD_REFERENCE", data.parent / "reference")) / "ts"
    rows: list[Row] = []
    for case in args.cases or sorted(p.stem for p in folder.glob("*.npz")):
        for row in compare(data, folder, case):
            rows.append(row)
            notes = ", ".join(f"{n} x {item}" for item, n in row.explained.items())
            print(
                f"{row.case:34} {row.quantity:17} {row.compared:7} compared  worst "
                f"{row.worst:8.1e} of the bar  above {row.above:5}  {notes}",
                flush=True,
            )
    print(f"{len(rows)} rows, {sum(r.above for r in rows)} pixels above a bar without a reason")
    if args.json:
        write_text(json.dumps([r._asdict() for r in rows], indent=1), args.json, overwrite=True)


if __name__ == "__main__":
    main()
