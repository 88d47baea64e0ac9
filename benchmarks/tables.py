"""Tables of what was measured: printed by `run.py`, and put into the page Performance."""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "docs" / "studies"))
from report import lines

__all__ = ["lines", "tables_of", "versions"]

Record = Mapping[str, Any]
PACKAGES = ("gammagrad", "gammapy", "jax", "numpy", "scipy", "astropy")


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def median(contender: Record, value: Callable[[Record], float]) -> float:
    """Return the median over warm runs."""
    return statistics.median(value(run) for run in contender["warm"])


def whole_seconds(record: Record, who: str) -> tuple[float, bool]:
    """Return the median time of a whole map, and whether it is extrapolated from a part.

    What a run does before the first pixel was timed on the whole map and on the part; the rest is
    scaled with the number of pixels fitted.
    """
    contender = record["contenders"][who]
    seconds = median(contender, lambda run: run["seconds"])
    first = contender["first"]
    if "setup" not in first:
        return seconds, False
    scale = record["contenders"]["gammagrad"]["first"]["fitted"] / first["fitted"]
    setup = median(contender, lambda run: run["setup_part"])
    return first["setup"] + max(seconds - setup, 0.0) * scale, True


def marked(text: str, extrapolated: bool) -> str:
    """Mark what is extrapolated."""
    return f"~{text}" if extrapolated else text


def milliseconds(seconds: float | None) -> str:
    """Return a time as text."""
    return (
        "" if seconds is None else f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:.0f}"
    )


def speed_row(record: Record) -> list[str]:
    """Return how fast the contenders are, end to end."""
    contenders = record["contenders"]
    ours = contenders["gammagrad"]
    seconds = median(ours, lambda run: run["seconds"])
    row = [record["title"], str(ours["first"]["fitted"]), kernels(ours)]
    theirs = [whole_seconds(record, who) for who in ("gammapy", "gammapy 2 jobs")]
    row += [marked(f"{time:.3g}", part) for time, part in theirs]
    row += [f"{seconds:.3f}"]
    row += [marked(f"{time / seconds:.3g}", part) for time, part in theirs]
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
    row += [f"{engine / both['all']:.2g}"]
    return [*row, f"{loop['off']['norm']:.0e}", f"{loop['off']['ts']:.0e}"]


def memory_row(record: Record) -> list[str]:
    """Return how much memory the first run takes above what the process held before."""
    row = [record["title"]]
    for who in ("gammagrad", "gammapy"):
        contender = record["contenders"][who]
        peaks = [run["peak"] for run in (contender["first"], *contender["warm"])]
        known = [peak for peak in peaks if peak is not None]
        text = f"{max(known) / 1e6:.0f}" if known else ""
        if "setup" in contender["first"] and text:
            text += " (on {} x {} pixels)".format(*contender["pixels"])
        row.append(text)
    return row


def tables_of(records: Mapping[str, Record]) -> dict[str, dict[str, Any]]:
    """Return the tables: speed, engine, memory."""
    rows = list(records.values())
    return {
        "speed": {
            "columns": [
                *("case", "pixels", "kernel", "gammapy (s)", "2 processes (s)", "gammagrad (s)"),
                *("ratio", "ratio to 2", "first run (s)", "runs"),
            ],
            "rows": [speed_row(record) for record in rows],
        },
        "engine": {
            "columns": [
                *("case", "run (ms)", "engine (ms)", "host", "loop, 1 core (ms)"),
                *("loop, all cores (ms)", "collecting", "engine / loop", "norm off", "ts off"),
            ],
            "rows": [engine_row(record) for record in rows],
        },
        "memory": {
            "columns": ["case", "gammagrad (MB)", "gammapy (MB)"],
            "rows": [memory_row(record) for record in rows],
        },
    }
