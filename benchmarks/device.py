"""Time both engines on JAX's default device: compiling, transfers and solving apart.

python benchmarks/device.py [--case NAME] [--runs N]

"dense" is `gammagrad.ts_map` under one `jit`; "occupied" is the engine of the estimators, whose
lists are made on the host, so that its solving includes them and their transfer. Works on a CPU
and, where JAX finds one, on a GPU. Writes benchmarks/results/device-BACKEND.json.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import CASES, Case
from contender import Engine, prepare, timed
from summary import milliseconds, write

import gammagrad
from gammagrad.core.ts_map import BinImages

Stages = dict[str, float]
STAGES = ("compile", "to", "solve", "back")


def inputs_of(case: Case) -> tuple[list[np.ndarray], list[BinImages], np.ndarray, Engine]:
    """Return the arrays of a case, those that the engine gets, and the engine."""
    engine = Engine()
    engine.keeps = True
    with tempfile.TemporaryDirectory() as folder:
        if case.simulated:
            prepare(case, Path(folder))
        datasets = [gammagrad.MapDataset.read(path) for path in case.paths(Path(folder))]
    settings = {**case.settings, **case.ours, "show_progress": False}
    gammagrad.TSMapEstimator(**settings).run(datasets)
    images, fitted, _ = engine.last
    cube = gammagrad.TSMapEstimator(**settings | {"sum_over_energy_groups": False})
    maps = cube.estimate_fit_input_maps(datasets[0])
    names = ("counts", "background", "exposure", "kernel", "mask")
    return [np.asarray(maps[n].data, float) for n in names], images, fitted, engine


def wait(work: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that ends when its result is there."""
    return lambda: jax.block_until_ready(work())


def dense(arrays: list[np.ndarray], case: Case, dtype: str, runs: int) -> Stages:
    """Time the function on arrays."""
    summed = case.settings.get("sum_over_energy_groups", True)
    weighting = case.ours.get("kernel_weighting", "counts")
    function = partial(gammagrad.ts_map, sum_over_energy=summed, kernel_weighting=weighting)
    host = [array.astype(dtype) for array in arrays]
    there, sent = timed(wait(lambda: jax.device_put(host)))
    _, sent = timed(wait(lambda: jax.device_put(host)))  # the first one wakes the device
    program, compiling = timed(lambda: jax.jit(function).lower(*there).compile())
    times = [timed(wait(lambda: program(*there)))[1] for _ in range(runs)]
    result = wait(lambda: program(*there))()
    _, fetched = timed(lambda: jax.device_get(result))
    solving = statistics.median(times)
    return {"compile": compiling, "to": sent, "solve": solving, "back": fetched}


def occupied(
    images: list[BinImages], fitted: np.ndarray, engine: Engine, dtype: str, runs: int
) -> Stages:
    """Time the engine of the estimators; its results come back as it goes."""
    jax.clear_caches()
    host = jax.tree.map(lambda array: np.asarray(array).astype(dtype), images)
    there, sent = timed(wait(lambda: jax.tree.map(jnp.asarray, host)))
    _, sent = timed(wait(lambda: jax.tree.map(jnp.asarray, host)))
    times = [timed(lambda: engine.inner(there, fitted))[1] for _ in range(runs + 1)]
    solving = statistics.median(times[1:])
    return {"compile": max(times[0] - solving, 0.0), "to": sent, "solve": solving}


def main() -> None:
    """Time both in both precisions, print, write."""
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [n for n, case in CASES.items() if case.sigma is None and case.has_one_kernel]
    parser.add_argument("--case", choices=names, default="fermi_equal")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    case = CASES[options.case]
    backend = jax.default_backend()
    arrays, images, fitted, engine = inputs_of(case)
    rows = []
    for dtype in ("float64", "float32"):
        with jax.enable_x64(dtype == "float64"):
            found = {
                "dense": dense(arrays, case, dtype, options.runs),
                "occupied": occupied(images, fitted, engine, dtype, options.runs),
            }
        for name, stages in found.items():
            times = [milliseconds(stages.get(stage)) for stage in STAGES]
            rows.append([case.title, name, dtype, *times])
            print(backend, *rows[-1], flush=True)
    columns = ["case", "engine", "dtype", "compile (ms)", "to device (ms)", "solve (ms)"]
    table = {"columns": [*columns, "back (ms)"], "rows": rows}
    print(jax.devices()[0].device_kind)
    write(f"device-{backend}", {"device": table})


if __name__ == "__main__":
    main()
