"""Time the test-statistic map of the Fermi Galactic centre, gammapy beside it in one process.

Needs the extra `gammapy` and the environment variable GAMMAPY_DATA. Prints the first run, compiling
included, the second and third, and the ratio of second runs; the noise of the machine divides out.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path("fermi-3fhl-gc") / "fermi-3fhl-gc.fits.gz"


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main() -> None:
    """Time both, summed over energies and as a cube."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2, help="runs of gammapy in each mode")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    path = Path(os.environ["GAMMAPY_DATA"]) / FILE

    import gammapy.datasets
    import gammapy.estimators

    import gammagrad

    ours, theirs = gammagrad.MapDataset.read(path), gammapy.datasets.MapDataset.read(path)
    print("mode     package    first     second    best      largest sqrt(TS)")
    for mode, summed in (("summed", True), ("cube", False)):
        settings = {"kernel_width": "1 deg", "sum_over_energy_groups": summed}
        fast = gammagrad.TSMapEstimator(**settings)
        slow = gammapy.estimators.TSMapEstimator(**settings)
        times = {}
        for name, run, count in (
            ("gammagrad", lambda fast=fast: fast.run(ours), options.runs + 3),
            ("gammapy", lambda slow=slow: slow.run(theirs), options.runs),
        ):
            runs = [timed(run) for _ in range(count)]
            times[name] = [seconds for seconds, _ in runs]
            top = np.nanmax(runs[-1][1]["sqrt_ts"].data)
            print(
                f"{mode:8} {name:9} {times[name][0]:7.2f} s {times[name][1]:7.2f} s "
                f"{min(times[name]):7.2f} s  {top:8.3f}"
            )
        print(f"{mode:8} ratio of second runs: {times['gammapy'][1] / times['gammagrad'][1]:.1f}\n")


if __name__ == "__main__":
    main()
