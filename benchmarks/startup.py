"""What it takes to begin: importing the package, and the first run with and without a cache.

python benchmarks/startup.py [--runs N] [--case NAME]

Every time is that of a fresh process, and the kinds of process take turns. "cold" fills JAX's
persistent compilation cache, "warm" finds it filled. Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cases import CASES, Case
from run import Worker
from summary import write

# what the public interface speaks in: quantities, sky positions, projections, files, tables
ASTROPY = "astropy.coordinates, astropy.io.fits, astropy.table, astropy.units, astropy.wcs"
STATEMENTS = {
    "jax": "import jax",
    "jax and the parts of astropy that are needed": f"import jax, {ASTROPY}",
    "gammagrad": "import gammagrad",
}
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
CACHE = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def import_seconds(statement: str) -> float:
    """Return how long a statement takes in a fresh process."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def first_run(case: Case, cache: Path | None) -> float:
    """Return how long the first run takes in a fresh process."""
    env = dict(os.environ)
    if cache is not None:
        env |= CACHE | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    worker = Worker("gammagrad", case, Path(), env=env)
    seconds = worker.run()["seconds"]
    worker.end()
    return float(seconds)


def imports(runs: int) -> dict[str, Any]:
    """Time imports."""
    found: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for statement in STATEMENTS.values():
        import_seconds(statement)  # files come from the disk the first time
    for _ in range(runs):
        for name, statement in STATEMENTS.items():
            found[name].append(import_seconds(statement))
    medians = {name: statistics.median(times) for name, times in found.items()}
    needed = list(medians.values())[1]
    rows = [[name, f"{time:.2f}", f"{time / needed:.2f}"] for name, time in medians.items()]
    return {"columns": ["import", "seconds", "ratio to what is needed"], "rows": rows}


def first_runs(case: Case, runs: int) -> dict[str, Any]:
    """Time first runs."""
    found: dict[str, list[float]] = {"no cache": [], "cold cache": [], "warm cache": []}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            for name in found:
                cache = None if name == "no cache" else Path(folder)
                found[name].append(first_run(case, cache))
    rows = [[name, f"{statistics.median(times):.2f}"] for name, times in found.items()]
    return {"columns": [f"first run, {case.title}", "seconds"], "rows": rows}


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind")
    names = [name for name, case in CASES.items() if not case.simulated]
    parser.add_argument("--case", choices=names, default="fermi_equal")
    options = parser.parse_args()
    tables = {
        "imports": imports(options.runs),
        "first run": first_runs(CASES[options.case], max(1, options.runs // 2)),
    }
    write("startup", tables)


if __name__ == "__main__":
    main()
