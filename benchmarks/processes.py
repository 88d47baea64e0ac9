"""Time a fit in one process and in several: `python benchmarks/processes.py`.

Runs alternate, so that whatever else the machine does falls on both alike. The table is the one of
"More processes" in docs/how_to_choose.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from gammagrad import MapDataset, TSMapEstimator, parallel
from gammagrad.simulate import simulate_field

FERMI = "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz"


def data(name: str) -> MapDataset:
    if name == "fermi":
        return MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / FERMI)
    return simulate_field(seed=1, npix=int(name)).dataset


def estimator(n_jobs: int) -> TSMapEstimator:
    return TSMapEstimator(
        kernel_width="1 deg",
        sum_over_energy_groups=False,
        kernel_positions="centre",
        n_jobs=n_jobs,
    )


def seconds(n_jobs: int, dataset: MapDataset) -> float:
    start = time.perf_counter()
    estimator(n_jobs).run(dataset)
    return time.perf_counter() - start


def first_run(n_jobs: int, name: str) -> float:
    """Time the first run of a fresh Python, reading apart: the best of three."""
    command = [sys.executable, __file__, "--first", str(n_jobs), name]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["fermi", "700"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--first", type=int, help="time one run with so many processes")
    args = parser.parse_args()
    if args.first:
        print(seconds(args.first, data(args.names[0])))
        return
    print(f"| map | processes | first, best of 3 | warm, best of {args.repeats} | warm, median |")
    print("|---|---|---|---|---|")
    for name in args.names:
        dataset, times = data(name), {1: [], args.jobs: []}
        first = {n_jobs: first_run(n_jobs, name) for n_jobs in times}
        for repeat in range(args.repeats + 1):
            for n_jobs, taken in times.items():
                spent = seconds(n_jobs, dataset)
                if repeat:
                    taken.append(spent)
        parallel.shutdown()
        for n_jobs, taken in times.items():
            warm = f"{min(taken):.2f} s | {statistics.median(taken):.2f} s"
            print(f"| {name} | {n_jobs} | {first[n_jobs]:.1f} s | {warm} |", flush=True)


if __name__ == "__main__":
    main()
