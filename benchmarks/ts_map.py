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
    print("mode                    package       first    second      best  largest sqrt(TS)")
    for summed in (True, False):
        settings = {"kernel_width": "1 deg", "sum_over_energy_groups": summed}
        slow = gammapy.estimators.TSMapEstimator(**settings)
        theirs_second = report(summed, "gammapy", lambda slow=slow: slow.run(theirs), options.runs)
        for weighting in ("equal", "counts") if summed else ("counts",):
            fast = gammagrad.TSMapEstimator(**settings, kernel_weighting=weighting)
            name = "gammagrad" if not summed else f"gammagrad {weighting}"
            second = report(summed, name, lambda fast=fast: fast.run(ours), options.runs + 3)
            print(f"  ratio of second runs, gammapy / {name}: {theirs_second / second:.1f}")


def report(summed: bool, name: str, run: Callable[[], Any], count: int) -> float:
    """Time some runs, print them, and return the seconds of the second."""
    runs = [timed(run) for _ in range(count)]
    times = [seconds for seconds, _ in runs]
    top = np.nanmax(runs[-1][1]["sqrt_ts"].data)
    print(
        f"{'summed' if summed else 'cube':8} {name:18} {times[0]:9.2f} {times[1]:9.2f} "
        f"{min(times):9.2f}  {top:8.3f}",
        flush=True,
    )
    return times[1]


if __name__ == "__main__":
    main()
