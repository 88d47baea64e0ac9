"""Time maps with unknown backgrounds, OFF counts and a free index as multiples of the plain map.

python benchmarks/backgrounds.py [--runs 5]

All ways of a dataset run in turns, so that a busy machine slows all alike; the median of the ratios
of each turn counts. Needs GAMMAPY_DATA. Writes benchmarks/results/backgrounds.json.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from cases import CRAB, CUBE, FERMI
from summary import write

from gammagrad import Map, MapDataset, MapDatasetOnOff, TSMapEstimator

WAYS: dict[str, dict[str, Any]] = {
    "fixed": {},
    "free": {"background": "free"},
    "constrained": {"background": "constrained"},
    "gaussian": {"background": "constrained", "background_prior": "gaussian"},
    "per energy": {"background": "free", "background_norms": "per energy"},
    "OFF counts": {},
    "free index": {"free": ("norm", "index")},
}

ROWS = (
    ("Fermi, cube", FERMI, {"kernel_width": "1 deg", **CUBE}),
    ("Fermi, summed", FERMI, {"kernel_width": "1 deg"}),
    ("H.E.S.S. Crab, cube", CRAB, {"kernel_width": "0.5 deg", **CUBE}),
)


def with_off(dataset: MapDataset, alpha: float = 0.1) -> MapDatasetOnOff:
    """Return a dataset with OFF counts drawn from its background."""
    npred = dataset.npred().data
    off = np.random.default_rng(0).poisson(npred / alpha).astype(float)
    one = Map(dataset.geom, np.ones(npred.shape))
    return MapDatasetOnOff.from_map_dataset(
        dataset,
        acceptance=one,
        acceptance_off=Map(dataset.geom, np.full(npred.shape, 1 / alpha)),
        counts_off=Map(dataset.geom, off),
    )


def ratios_of(files: str, settings: dict[str, Any], runs: int) -> dict[str, float]:
    """Return the median time of each way over that of the plain map."""
    dataset = MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / files)
    off = with_off(dataset)
    summed = settings.get("sum_over_energy_groups", True)
    calls = {}
    for way, more in WAYS.items():
        if summed and way in ("free index", "per energy"):
            continue
        estimator = TSMapEstimator(
            kernel_positions="centre", show_progress=False, **settings, **more
        )
        calls[way] = (estimator, off if way == "OFF counts" else dataset)
        estimator.run(calls[way][1])  # compiles
    times: dict[str, list[float]] = {way: [] for way in calls}
    for _ in range(runs):
        for way, (estimator, data) in calls.items():
            start = time.perf_counter()
            estimator.run(data)
            times[way].append(time.perf_counter() - start)
    found = {
        way: statistics.median(t / f for t, f in zip(own, times["fixed"], strict=True))
        for way, own in times.items()
    }
    return {"seconds": statistics.median(times["fixed"]), **found}


def main() -> None:
    """Time all rows, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    rows = {}
    for title, files, settings in ROWS:
        rows[title] = ratios_of(files, settings, runs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        rows[title]["peak MB so far"] = round(peak)
        print(title, {k: round(v, 3) for k, v in rows[title].items()}, flush=True)
    columns = ["", *dict.fromkeys(key for row in rows.values() for key in row)]
    table = [[title, *(row.get(key) for key in columns[1:])] for title, row in rows.items()]
    title = "time as a multiple of the plain map"
    write("backgrounds", {title: {"columns": columns, "rows": table}})


if __name__ == "__main__":
    main()
