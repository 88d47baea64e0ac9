"""Time gammagrad and gammapy side by side, each in a process of its own, in turns.

python benchmarks/run.py [--cases NAME,...] [--budget MINUTES] [--quick] [--output FILE]

Needs the extra `gammapy` and the environment variable GAMMAPY_DATA. For each case the contenders
load their libraries and data, and then run in turns, so that all of them see the same minutes of
the machine. The first run of each, which compiles, is kept apart; what is reported of the others
is the median. Prints tables; without --quick it also writes them to benchmarks/results/maps.json,
from which `docs/make_performance.py` makes the page Performance.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cases import CASES, Case
from summary import RESULTS, circumstances, lines, tables_of

FOLDER = Path(__file__).parent
RESULT = RESULTS / "maps.json"

ORDER = ("gammagrad", "gammapy", "gammapy 2 jobs", "limit")
TURN_SECONDS = 2.0
"""Fast contenders run again within their turn until this has passed."""
TURN_RUNS = 5


class Worker:
    """A contender's process."""

    def __init__(
        self,
        who: str,
        case: Case,
        folder: Path,
        quick: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        name, _, jobs = who.partition(" ")
        command = [sys.executable, str(FOLDER / "contender.py"), name, case.name]
        command += ["--folder", str(folder)]
        command += ["--jobs", jobs.split()[0]] if jobs else []
        command += ["--quick"] if quick else []
        pipe = subprocess.PIPE
        self.who = who
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)
        self.about = self.answer()

    def answer(self) -> dict[str, Any]:
        """Read one line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.who} ended early, with status {self.process.wait()}.")
        return json.loads(line)

    def run(self) -> dict[str, Any]:
        """Have it run once."""
        self.tell("run")
        return self.answer()

    def tell(self, word: str) -> None:
        """Write one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Have it end."""
        if self.process.poll() is None:
            self.tell("end")
            self.process.wait()


def measure(
    case: Case, folder: Path, seconds: float, quick: bool, order: Sequence[str] = ORDER
) -> dict[str, Any]:
    """Run the contenders of a case in turns, and return every answer."""
    if case.simulated:
        prepare = [sys.executable, str(FOLDER / "contender.py"), "prepare", case.name]
        subprocess.run([*prepare, "--folder", str(folder)], check=True)
    optional = "selection_optional" in case.settings
    record: dict[str, Any] = {"title": case.title, "optional": optional, "quick": quick}
    record["contenders"] = {}
    workers = []
    for who in order:
        if who == "limit" and not case.has_one_kernel:
            continue
        if case.alone and who != "gammagrad":
            continue
        # one after the other: the first run is timed in quiet, too
        worker = Worker(who, case, folder, quick)
        if "missing" in worker.about:
            print(f"{case.name}: no {who}: {worker.about['missing']}", file=sys.stderr)
            worker.end()
            continue
        workers.append(worker)
        print(f"{case.name}: first run of {who}", file=sys.stderr)
        record["contenders"][who] = {**worker.about, "first": worker.run(), "warm": []}
    begin = time.perf_counter()
    while True:
        turn = time.perf_counter()
        for worker in workers:
            record["contenders"][worker.who]["warm"] += take_turn(worker)
        took, spent = time.perf_counter() - turn, time.perf_counter() - begin
        if spent + took > seconds:
            break
    for worker in workers:
        worker.end()
    return record


def take_turn(worker: Worker) -> list[dict[str, Any]]:
    """Run a contender once, or several times if it is fast."""
    start, found = time.perf_counter(), []
    while len(found) < TURN_RUNS:
        found.append(worker.run())
        if time.perf_counter() - start > TURN_SECONDS:
            break
    return found


def names_of(text: str) -> list[str]:
    """Return the cases named in an option."""
    names = text.split(",")
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    return names


def show(records: dict[str, Any], only: Sequence[str] | None = None) -> None:
    """Print the tables of some cases."""
    chosen = {name: r for name, r in records.items() if only is None or name in only}
    for title, table in tables_of(chosen).items():
        print("", title, "", *lines(table), sep="\n", flush=True)


def save(path: Path, records: dict[str, Any]) -> None:
    """Write every answer, a case a line."""
    head = json.dumps(circumstances())[1:-1]
    rows = [f'"{name}": {json.dumps(records[name])}' for name in CASES if name in records]
    path.parent.mkdir(exist_ok=True)
    text = "{" + head + ',\n"cases": {\n' + ",\n".join(rows) + "\n}}\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=names_of, default=list(CASES), help="names, by commas")
    parser.add_argument("--budget", type=float, default=45.0, help="minutes for all cases")
    parser.add_argument("--quick", action="store_true", help="see that all works; write nothing")
    parser.add_argument("--output", type=Path, help=f"where to write (default {RESULT.name})")
    options = parser.parse_args()
    output = options.output or (None if options.quick else RESULT)

    records: dict[str, Any] = {}
    if output is not None and output.exists():
        records = json.loads(output.read_text(encoding="utf-8"))["cases"]
    each = 0.0 if options.quick else 60 * options.budget / len(options.cases)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            records[name] = measure(CASES[name], Path(folder), each, options.quick)
            show(records, [name])
            if output is not None:
                save(output, records)
    print("\nAll together:")
    show(records, options.cases)


if __name__ == "__main__":
    main()
