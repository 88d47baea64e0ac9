"""Time another version of gammagrad beside this one, and the compiled loop, in turns.

python benchmarks/before.py FOLDER [--cases NAME,...] [--seconds N]

FOLDER is a checkout of the other version; its package is taken from FOLDER/src. Each version has a
process of its own for a case, with the same libraries and data, and they run in turns, so that all
see the same minutes of the machine. Prints a table, and writes benchmarks/results/before.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cases import CASES, Case
from run import FOLDER, Worker, names_of, take_turn
from summary import lines, milliseconds, rounded, write

PACKAGE = FOLDER.parent / "src"
COLUMNS = [
    *("case", "run before (ms)", "now (ms)", "engine before (ms)", "now (ms)", "loop (ms)"),
    *("engine / loop before", "now", "first run before (s)", "now (s)"),
    *("memory before (MB)", "now (MB)"),
]


def answers_of(case: Case, folder: Path, other: Path, seconds: float) -> dict[str, list[Any]]:
    """Run the contenders of a case in turns; return every answer of each, the first one first."""
    if case.simulated:
        prepare = [sys.executable, str(FOLDER / "contender.py"), "prepare", case.name]
        subprocess.run([*prepare, "--folder", str(folder)], check=True)
    workers, found = {}, {}
    for name, package in (("before", other / "src"), ("now", PACKAGE)):
        env = os.environ | {"PYTHONPATH": str(package)}
        workers[name] = Worker("gammagrad", case, folder, env=env)
    if case.has_one_kernel:
        workers["loop"] = Worker("limit", case, folder)
    for name, worker in workers.items():
        if "missing" not in worker.about:
            found[name] = [worker.run()]
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for name in found:
            found[name] += take_turn(workers[name])
    for worker in workers.values():
        worker.end()
    return found


def row_of(case: Case, found: dict[str, list[Any]]) -> list[str]:
    """Return the line of a case."""

    def median(name: str, what: str) -> float:
        return statistics.median(answer[what] for answer in found[name][1:])

    def peak(name: str) -> str:
        known = [answer["peak"] for answer in found[name] if answer["peak"] is not None]
        return rounded(max(known) / 1e6) if known else ""

    both = ("before", "now")
    cells = [milliseconds(median(name, "seconds")) for name in both]
    engine = [median(name, "engine") for name in both]
    cells += [milliseconds(seconds) for seconds in engine]
    # options and backgrounds that are fitted are more than the loop does
    loop = median("loop", "seconds") if "loop" in found else None
    cells.append(milliseconds(loop))
    cells += [rounded(loop and seconds / loop, 2) for seconds in engine]
    cells += [rounded(found[name][0]["seconds"]) for name in both]
    return [case.title, *cells, *map(peak, both)]


def main() -> None:
    """Time all cases, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a checkout of the other version")
    parser.add_argument("--cases", type=names_of, default=list(CASES))
    parser.add_argument("--seconds", type=float, default=20.0, help="for the turns of a case")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for case in (CASES[one] for one in options.cases):
            found = answers_of(case, Path(name), options.folder, options.seconds)
            rows.append(row_of(case, found))
            print(*lines({"columns": COLUMNS, "rows": rows[-1:]}), sep="\n", flush=True)
    write("before", {"before": {"columns": COLUMNS, "rows": rows}})


if __name__ == "__main__":
    main()
