"""Remember how fast each commit is: one line per run in benchmarks/results/history.jsonl.

python benchmarks/history.py [--cases NAME,...] [--seconds SECONDS] [--show]

Runs gammagrad and the compiled loop `limit.c` in turns, as `run.py` does. A time is the machine's
as much as the code's, so what to compare between lines is the ratio of the two: the engine's
fastest run over the loop's. Without --cases it takes those that simulate their data, and so need
neither gammapy nor files. The line has the commit, with "+" behind it if the package differs from
it, and the date of the run. Prints the history of each case; with --show it does nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cases import CASES
from run import measure, names_of
from summary import RESULTS, circumstances, lines

import gammagrad

HISTORY = RESULTS / "history.jsonl"
SIMULATED = [case.name for case in CASES.values() if case.simulated]
COLUMNS = ("commit", "date", "jax", "run (s)", "first run (s)", "engine / loop", "change")


def commit() -> str:
    """Return the commit of the package that is timed, marked if the package differs from it."""
    folder = Path(gammagrad.__file__).parent

    def git(*arguments: str) -> str:
        """Return what git says, which is nothing outside of a repository."""
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    differs = git("status", "--porcelain", "--", ".")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if differs else "")


def figures(record: dict[str, Any]) -> dict[str, float | None]:
    """Return what is remembered of a case: seconds, and the ratio to the loop if it ran."""
    ours, loop = record["contenders"]["gammagrad"], record["contenders"].get("limit")

    # what else runs on the machine makes a run slower, never faster
    def fastest(runs: list[dict[str, Any]], part: str) -> float:
        return float(min(run[part] for run in runs))

    ratio = loop and fastest(ours["warm"], "engine") / fastest(loop["warm"], "seconds")
    return {
        "run": round(fastest(ours["warm"], "seconds"), 5),
        "first": round(ours["first"]["seconds"], 3),
        "ratio": ratio and round(ratio, 3),
    }


def measured(names: list[str], seconds: float) -> dict[str, Any]:
    """Run some cases, and return the line to remember."""
    cases = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            order = ("gammagrad", "limit")
            cases[name] = figures(measure(CASES[name], Path(folder), seconds, False, order))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"commit": commit(), "date": now, **circumstances(), "cases": cases}


def history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, the oldest first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of(past: list[dict[str, Any]], name: str) -> list[list[str]]:
    """Return what became of a case, with the change of its ratio since the line before."""
    rows, last = [], None
    for line in past:
        found = line["cases"].get(name)
        if found is None:
            continue
        ratio = found["ratio"]
        change = "" if None in (ratio, last) else f"{100 * (ratio / last - 1):+.0f} %"
        row = [line["commit"], line["date"][:10], line["versions"].get("jax", "")]
        row += [f"{found['run']:.3g}", f"{found['first']:.3g}"]
        row += ["" if ratio is None else f"{ratio:.3g}", change]
        rows.append(row)
        last = ratio or last
    return rows


def main() -> None:
    """Measure, remember, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=names_of, default=SIMULATED, help="names, by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each case")
    parser.add_argument("--output", type=Path, default=HISTORY, help="where the lines are")
    parser.add_argument("--show", action="store_true", help="only print")
    options = parser.parse_args()
    if not options.show:
        line = json.dumps(measured(options.cases, options.seconds))
        with options.output.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    past = history(options.output)
    for name, case in CASES.items():
        if rows := rows_of(past, name):
            table = {"columns": COLUMNS, "rows": rows}
            print("", f"{name}: {case.title}", "", *lines(table), sep="\n")


if __name__ == "__main__":
    main()
