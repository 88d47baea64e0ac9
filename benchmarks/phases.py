"""Where the time of a run of TSMapEstimator goes, phase by phase.

python benchmarks/phases.py [--case NAME ...] [--runs N]

The phases of the thread that runs are apart from each other and add up to the run; the fits of
chunks run in threads beside it, and their time is the sum over threads. Inside them each part is
compiled alone and called on the same chunks in one thread (`chunk_parts.py`); sweeps are counted by
`operations.py`. Writes benchmarks/results/phases.json.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import statistics
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chunk_parts
import jax
from cases import CASES
from contender import Gammagrad, prepare
from operations import Tally, counted
from summary import milliseconds, rounded, write

Seconds = dict[str, float]
DEFAULT_CASES = ("fermi_equal", "fermi_cube", "million")

ENGINE = "gammagrad.core.ts_map"

# what is timed: label, then functions and methods below `ENGINE`, as the callers know them
PHASES: tuple[tuple[str, ...], ...] = (
    (
        "strips: cut, put together",
        *("sparse.rows_of_strips", "sparse.make_strip", "sparse.put"),
    ),
    ("sums over windows and the bound", "sparse.whole_map"),
    ("kernel table and tiles", "sparse.StripBins.__init__", "sparse.flat_bins", "sparse._fit_of"),
    ("pixels without counts", "fixed_norm.FixedNorm.without_counts"),
    ("lists, on the host", "sparse.StripBins.chunks", "sparse.StripBins.whole_chunks"),
    ("waiting for the fits of chunks", "sparse.in_threads"),
    ("assembly of the maps", "fixed_norm.FixedNorm.assembled"),
)
# the same in other threads, which wait for their results
IN_THREADS: tuple[tuple[str, ...], ...] = (
    (
        "fits of chunks, sum over threads",
        *("fixed_norm.FixedNorm.solve", "fixed_norm.FixedNorm.sensitivity"),
    ),
)
REST, OUTSIDE = "the rest of the engine", "outside of the engine"


class Clock:
    """Adds up the time of each phase, without that of the phases inside it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._own, self._lock = threading.local(), threading.Lock()

    def call(self, label: str, work: Callable[[], Any]) -> Any:
        """Do some work of a phase."""
        stack = self._own.__dict__.setdefault("inside", [0.0])
        stack.append(0.0)
        start = time.perf_counter()
        try:
            return work()
        finally:
            took = time.perf_counter() - start
            with self._lock:
                self.seconds[label] += took - stack.pop()
            stack[-1] += took

    def steps(self, label: str, items: Iterator[Any]) -> Iterator[Any]:
        """Go through items whose making is a phase."""
        end = object()
        while True:
            item = self.call(label, lambda: next(items, end))
            if item is end:
                return
            yield item


def timed(clock: Clock, label: str, function: Callable[..., Any], waits: bool) -> Any:
    """Return a function whose time is noted; if it makes its results bit by bit, at each."""

    def call(*args: Any, **named: Any) -> Any:
        def work() -> Any:
            found = function(*args, **named)
            return jax.block_until_ready(found) if waits else found

        found = clock.call(label, work)
        return clock.steps(label, found) if isinstance(found, Iterator) else found

    return call


def watch(clock: Clock) -> None:
    """Note the time of all phases; say which are not there."""
    rows = [(row, False) for row in PHASES] + [(row, True) for row in IN_THREADS]
    for (label, *names), waits in rows:
        for name in names:
            module, *path, last = name.split(".")
            owner = importlib.import_module(f"{ENGINE}.{module}")
            for part in path:
                owner = getattr(owner, part, None)
            if not hasattr(owner, last):
                print(f"there is no {ENGINE}.{name}: its time is in another phase", flush=True)
                continue
            setattr(owner, last, timed(clock, label, getattr(owner, last), waits))


def median_run(contender: Gammagrad, clock: Clock, runs: int) -> Seconds:
    """Return the seconds of the phases in the run that takes the median time."""
    found = []
    for _ in range(runs):
        clock.seconds.clear()
        reply = contender.run()
        own = dict(clock.seconds)
        inside = sum(own.get(label, 0.0) for label, *_ in PHASES)
        own |= {"run": reply["seconds"], "engine": reply["engine"]}
        own |= {REST: reply["engine"] - inside, OUTSIDE: reply["seconds"] - reply["engine"]}
        found.append(own)
    middle = statistics.median_low(own["run"] for own in found)
    return next(own for own in found if own["run"] == middle)


def numbers_of(calls: list[chunk_parts.Call], tally: Tally) -> dict[str, str]:
    """Return the numbers of chunks, bins and mean passes over the bins of a chunk."""
    found = chunk_parts.sizes(calls)
    passes = {
        "lead sweeps": tally.of("scores"),
        # it goes over the bins twice, for the logarithm and for the derivatives
        "sweeps of the finish": tally.of("gains") / 2,
        "looks at the bound": tally.of("gain"),
    }
    terms = max(found["terms of a sweep"], 1)
    means = {f"{name}, mean": rounded(number / terms) for name, number in passes.items()}
    return {name: str(number) for name, number in found.items()} | means


def profile(name: str, folder: Path, runs: int, clock: Clock) -> tuple[Seconds, dict[str, str]]:
    """Return the seconds of a case's phases and parts of chunks, and the numbers of its chunks."""
    case = CASES[name]
    if case.simulated and not case.paths(folder)[0].exists():
        prepare(case, folder)
    contender = Gammagrad(case, argparse.Namespace(folder=folder))
    with counted() as tally:
        contender.run()
    contender.run()
    with chunk_parts.kept_calls() as calls:
        contender.run()
    numbers = numbers_of(calls, tally)
    seconds = median_run(contender, clock, runs)
    with jax.enable_x64(True):
        return seconds | chunk_parts.times(calls), numbers


def tables(found: dict[str, tuple[Seconds, dict[str, str]]]) -> dict[str, dict[str, Any]]:
    """Return the tables of the phases and of the parts of a chunk's fit."""
    titles = [f"{CASES[name].title} (ms)" for name in found]

    def rows(labels: list[str]) -> list[list[str]]:
        each = [seconds for seconds, _ in found.values()]
        return [[label, *(milliseconds(own.get(label)) for own in each)] for label in labels]

    host = [label for label, *_ in PHASES]
    threads = [label for label, *_ in IN_THREADS]
    numbers = next(iter(found.values()))[1]
    counts = [[label, *(own[label] for _, own in found.values())] for label in numbers]
    return {
        "phases": {
            "columns": ["phase", *titles],
            "rows": rows(["run", OUTSIDE, *host, REST, *threads]),
        },
        "parts": {"columns": ["part", *titles], "rows": rows([*chunk_parts.PARTS])},
        "sweeps": {"columns": ["number", *(CASES[name].title for name in found)], "rows": counts},
    }


def main() -> None:
    """Profile all cases, print, write."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [n for n, case in CASES.items() if case.settings.get("selection_optional") is None]
    parser.add_argument("--case", nargs="+", choices=names, default=[*DEFAULT_CASES])
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    clock = Clock()
    watch(clock)
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name in options.case:
            found[name] = profile(name, Path(folder), options.runs, clock)
            print(name, "done", flush=True)
    write("phases", tables(found))


if __name__ == "__main__":
    main()
