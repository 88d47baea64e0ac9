"""Tables of what was measured: printed by `run.py`, and put into the page Performance."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "docs" / "studies"))
import report

__all__ = ["circumstances", "lines", "rounded", "tables_of", "write"]

Record = Mapping[str, Any]
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("gammagrad", "jax", "numpy", "scipy", "astropy", "gammapy")


LARGE = re.compile(r"\b\d(?:\.\d+)?e\+0[1-5]\b")
"""Numbers such as 1.4e+02, which Python writes for 140 with two digits."""


def lines(table: Mapping[str, Any]) -> list[str]:
    """Return a table as lines of Markdown, with large numbers written out."""
    return [LARGE.sub(lambda found: f"{float(found[0]):.0f}", line) for line in report.lines(table)]


def rounded(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits as text, a large one written out; nothing for None."""
    if value is None:
        return ""
    return LARGE.sub(lambda found: f"{float(found[0]):.0f}", f"{value:.{digits}g}")


def circumstances() -> dict[str, Any]:
    """Return what the measurements depend on, as the files of results have it."""
    return {"cores": os.cpu_count(), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def write(name: str, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Print tables, and write them to benchmarks/results with what made them."""
    for title, table in tables.items():
        print("", title, "", *lines(table), sep="\n", flush=True)
    RESULTS.mkdir(exist_ok=True)
    found = {**circumstances(), "tables": tables}
    text = json.dumps(found, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def median(contender: Record, value: Callable[[Record], float]) -> float:
    """Return the median over warm runs."""
    return statistics.median(value(run) for run in contender["warm"])


def is_sampled(record: Record, who: str) -> bool:
    """Return whether a contender fitted some pixels only."""
    return bool(record["contenders"][who].get("every", 1) > 1)


def whole_seconds(record: Record, who: str) -> float:
    """Return gammapy's median time for all pixels, on a line through two samples of them."""
    pixels = record["contenders"]["gammagrad"]["first"]["fitted"]

    def seconds(run: Record) -> float:
        few = run.get("few")
        if few is None:
            return float(run["seconds"])
        each = (run["fitting"] - few["fitting"]) / (run["fitted"] - few["fitted"])
        return float(run["seconds"] + each * (pixels - run["fitted"]))

    return median(record["contenders"][who], seconds)


def marked(text: str, extrapolated: bool) -> str:
    """Mark what is extrapolated."""
    return f"~{text}" if extrapolated else text


def milliseconds(seconds: float | None) -> str:
    """Return a time as text."""
    if seconds is None:
        return ""
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def speed_row(record: Record) -> list[str]:
    """Return how fast the contenders are, end to end."""
    contenders = record["contenders"]
    ours = contenders["gammagrad"]
    seconds = median(ours, lambda run: run["seconds"])
    row = [record["title"], str(ours["first"]["fitted"]), kernels(ours)]
    part = is_sampled(record, "gammapy")
    theirs = [whole_seconds(record, who) for who in ("gammapy", "gammapy 2 jobs")]
    row += [marked(f"{time:.3g}", part) for time in theirs]
    row += [f"{seconds:.3f}"]
    row += [marked(f"{time / seconds:.3g}", part) for time in theirs]
    row += [
        f"{ours['first']['seconds']:.2f}",
        f"{len(ours['warm'])}, {len(contenders['gammapy']['warm'])}",
    ]
    return row


def kernels(ours: Record) -> str:
    """Return the shapes of a case's kernels as text."""
    return ", ".join(f"{shape[0]} x {shape[1]}" for shape in ours["first"]["kernel"])


def engine_row(record: Record) -> list[str]:
    """Return the engine's time beside the compiled loop's."""
    ours, loop = record["contenders"]["gammagrad"], record["contenders"].get("limit")
    whole = median(ours, lambda run: run["seconds"])
    engine = median(ours, lambda run: run["engine"])
    host = median(ours, lambda run: 1 - run["engine"] / run["seconds"])
    row = [record["title"], milliseconds(whole), milliseconds(engine), f"{100 * host:.0f} %"]
    if loop is None:
        return [*row, *6 * [""]]
    both = {
        name: median(loop, lambda run, name=name: run[name]["seconds"]) for name in ("one", "all")
    }
    share = median(loop, lambda run: run["one"]["collect"] / run["one"]["seconds"])
    row += [milliseconds(both["one"]), milliseconds(both["all"]), f"{100 * share:.0f} %"]
    # the loop has no optional outputs
    row += ["" if record["optional"] else f"{engine / both['all']:.2g}"]
    return [*row, f"{loop['off']['norm']:.0e}", f"{loop['off']['ts']:.0e}"]


def megabytes(run: Record) -> float | None:
    """Return how far memory rose above what the process held before a run."""
    if run["peak"] is None:
        return None
    return max(run["peak"], run.get("held", 0) + run.get("grown", 0)) / 1e6


def memory_row(record: Record) -> list[str]:
    """Return how much memory a run takes at most: at least that, where gammapy fits few pixels."""
    row = [record["title"]]
    for who in ("gammagrad", "gammapy"):
        contender = record["contenders"][who]
        peaks = [megabytes(run) for run in (contender["first"], *contender["warm"])]
        known = [peak for peak in peaks if peak is not None]
        mark = "> " if is_sampled(record, who) else ""
        row.append(f"{mark}{max(known):.0f}" if known else "")
    return row


SPEED = (
    *("case", "pixels", "kernel", "gammapy (s)", "two processes (s)", "gammagrad (s)", "ratio"),
    *("ratio to two", "first run (s)", "runs"),
)
ENGINE = (
    *("case", "run (ms)", "engine (ms)", "host", "loop, one core (ms)", "all cores (ms)"),
    *("collecting", "engine / loop", "norm off", "ts off"),
)
MEMORY = ("case", "gammagrad (MB)", "gammapy (MB)")


def tables_of(records: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """Return the tables: speed, engine, memory."""
    rows = list(records.values())
    return {
        "speed": {"columns": SPEED, "rows": [speed_row(record) for record in rows]},
        "engine": {"columns": ENGINE, "rows": [engine_row(record) for record in rows]},
        "memory": {"columns": MEMORY, "rows": [memory_row(record) for record in rows]},
    }
