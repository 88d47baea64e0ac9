"""Time both engines on JAX's default device, and compare their results with the processor's.

python benchmarks/device.py [--cases NAME,...] [--runs N]

"dense" is `gammagrad.ts_map` under one `jit`; "occupied" is the engine of the estimators, whose
lists are made on the host, so that its solving includes them and their transfer. Works on a CPU
and, where JAX finds one, on an accelerator; double precision is left out on one without it. Norms
(in units of their errors) and TS (relative to 1 + TS) are compared with those of the occupied
engine in double precision on the CPU of this process: the status is 1 where the largest difference
is beyond the tolerance. Writes benchmarks/results/device-BACKEND.json.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from cases import CASES, Case
from contender import Engine, Gammagrad, prepare, timed
from summary import milliseconds, write

import gammagrad
from gammagrad.core.norm import NormFit
from gammagrad.core.ts_map import BinImages

Stages = dict[str, float]
STAGES = ("compile", "to", "solve", "back")
COLUMNS = (
    *("case", "engine", "dtype", "compile (ms)", "to device (ms)", "solve (ms)", "back (ms)"),
    *("norm off", "ts off"),
)
DEFAULT_CASES = ("fermi_equal", "fermi_cube", "million")
NAMES = [n for n, case in CASES.items() if case.sigma is None and case.has_one_kernel]

TOLERANCE = {"float64": (1e-6, 1e-9), "float32": (1e-3, 1e-4)}
"""Largest difference of norms, in errors, and of TS, relative to 1 + TS."""

DENSE_PIXELS = 100_000
"""Pixels of a map up to which the dense engine is timed."""

LONG = 20.0
"""Seconds after which nothing is run again."""


class Inputs(NamedTuple):
    """What a case gives to both engines, and what comes out in double precision on the CPU."""

    arrays: list[np.ndarray]
    images: list[BinImages]
    fitted: np.ndarray
    engine: Engine
    reference: NormFit


def cpu() -> jax.Device:
    """Return the processor that computes what results are compared with."""
    try:
        return jax.devices("cpu")[0]
    except RuntimeError as error:
        message = "The comparison needs JAX's CPU: set JAX_PLATFORMS to a list that ends in ',cpu'."
        raise SystemExit(message) from error


def has_double() -> bool:
    """Tell whether JAX's default device computes in double precision."""
    small = 2.0**-40
    try:
        with jax.enable_x64(True):
            one = jax.device_put(np.float64(1))
            return float(jax.jit(lambda x: x + small)(one)) == 1 + small
    except (RuntimeError, TypeError, ValueError):
        return False


def inputs_of(case: Case) -> Inputs:
    """Return the arrays of a case, those that the engine gets, and its results on the CPU."""
    with tempfile.TemporaryDirectory() as folder, jax.default_device(cpu()):
        if case.simulated:
            prepare(case, Path(folder))
        ours = Gammagrad(case, argparse.Namespace(folder=Path(folder)))
        ours.engine.keeps = True
        ours.run()
        images, fitted, _ = ours.engine.last
        host = jax.tree.map(np.asarray, images)
        with jax.enable_x64(True):
            reference = jax.device_get(ours.engine.inner(host, fitted))
        arrays = []
        if fitted.size <= DENSE_PIXELS:
            cube = {**case.settings, **case.ours, "sum_over_energy_groups": False}
            estimator = gammagrad.TSMapEstimator(**cube, show_progress=False)
            maps = estimator.estimate_fit_input_maps(ours.datasets[0])
            names = ("counts", "background", "exposure", "kernel", "mask")
            arrays = [np.asarray(maps[n].data, float) for n in names]
    return Inputs(arrays, host, fitted, ours.engine, reference)


def wait(work: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that ends when its result is there."""
    return lambda: jax.block_until_ready(work())


def repeated(work: Callable[[], Any], runs: int) -> tuple[Any, float]:
    """Return the result and the median seconds of some runs: of fewer if they take long."""
    seconds: list[float] = []
    result = None
    while len(seconds) < runs and sum(seconds) < LONG:
        result, took = timed(work)
        seconds.append(took)
    return result, statistics.median(seconds)


def dense(inputs: Inputs, case: Case, dtype: str, runs: int) -> tuple[Stages, NormFit]:
    """Time the function on arrays."""
    summed = case.settings.get("sum_over_energy_groups", True)
    weighting = case.ours.get("kernel_weighting", "counts")
    function = partial(gammagrad.ts_map, sum_over_energy=summed, kernel_weighting=weighting)
    host = [array.astype(dtype) for array in inputs.arrays]
    there, sent = timed(wait(lambda: jax.device_put(host)))
    _, sent = timed(wait(lambda: jax.device_put(host)))  # the first one wakes the device
    program, compiling = timed(lambda: jax.jit(function).lower(*there).compile())
    result, solving = repeated(wait(lambda: program(*there)), runs)
    fit, fetched = timed(lambda: jax.device_get(result))
    return {"compile": compiling, "to": sent, "solve": solving, "back": fetched}, fit


def occupied(inputs: Inputs, case: Case, dtype: str, runs: int) -> tuple[Stages, NormFit]:
    """Time the engine of the estimators; its results come back as it goes."""
    jax.clear_caches()
    host = jax.tree.map(lambda array: array.astype(dtype), inputs.images)
    there, sent = timed(wait(lambda: jax.tree.map(jnp.asarray, host)))
    _, sent = timed(wait(lambda: jax.tree.map(jnp.asarray, host)))
    solve = partial(inputs.engine.inner, there, inputs.fitted)
    _, first = timed(solve)
    fit, solving = repeated(solve, runs)
    return {"compile": max(first - solving, 0.0), "to": sent, "solve": solving}, fit


def largest(difference: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest of some differences; infinity where one value alone is not known."""
    known = np.isfinite(one) & np.isfinite(other)
    same = known | (np.isnan(one) & np.isnan(other)) | (one == other)
    return float(np.where(known, difference, np.where(same, 0, np.inf)).max(initial=0))


def differences(fit: NormFit, inputs: Inputs) -> tuple[float, float]:
    """Return how far norms are off, in errors, and TS, relative to 1 + TS."""
    own = inputs.fitted.astype(bool)
    norm, ts = (np.asarray(a, float)[own] for a in (fit.norm, fit.ts))
    true = inputs.reference
    true_norm, error, true_ts = (np.asarray(a)[own] for a in (true.norm, true.norm_err, true.ts))
    # without counts the norm is the bound, and its error is infinite
    unit = np.where(np.isfinite(error), error, np.abs(true_norm))
    off = np.abs(norm - true_norm)
    off = np.divide(off, unit, out=np.where(off > 0, np.inf, 0.0), where=unit > 0)
    off_ts = np.abs(ts - true_ts) / (1 + np.abs(true_ts))
    return largest(off, norm, true_norm), largest(off_ts, ts, true_ts)


def measured(case: Case, dtypes: tuple[str, ...], runs: int) -> tuple[list[list[str]], list[str]]:
    """Return the rows of a case, and what is beyond the tolerance."""
    inputs = inputs_of(case)
    rows, beyond = [], []
    for dtype in dtypes:
        for engine in (dense, occupied) if inputs.arrays else (occupied,):
            with jax.enable_x64(dtype == "float64"):
                stages, fit = engine(inputs, case, dtype, runs)
            off = differences(fit, inputs)
            times = [milliseconds(stages.get(stage)) for stage in STAGES]
            rows.append([case.title, engine.__name__, dtype, *times, *(f"{x:.0e}" for x in off)])
            print(*rows[-1], flush=True)
            for name, value, most in zip(("norm", "ts"), off, TOLERANCE[dtype], strict=True):
                if not value <= most:
                    where = f"{case.name}, {engine.__name__}, {dtype}"
                    beyond.append(f"{where}: {name} is off by {value:.1e}, more than {most:.0e}")
    return rows, beyond


def main() -> int:
    """Time both in both precisions, compare, print, write; return the exit status."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = f"any of {', '.join(NAMES)}"
    parser.add_argument("--cases", default=",".join(DEFAULT_CASES), help=names)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    cases = options.cases.split(",")
    if not set(cases) <= set(NAMES):
        parser.error(f"--cases: {names}")
    backend, device = jax.default_backend(), jax.devices()[0]
    dtypes: tuple[str, ...] = ("float64", "float32")
    if not has_double():
        dtypes = ("float32",)
        print(f"{device.device_kind} has no double precision: rows in float64 are left out")
    rows, beyond = [], []
    for name in cases:
        some, off = measured(CASES[name], dtypes, options.runs)
        rows += some
        beyond += off
    limits = [[dtype, *(f"{most:.0e}" for most in TOLERANCE[dtype])] for dtype in dtypes]
    tolerance = {"columns": ["dtype", "norm off", "ts off"], "rows": limits}
    print(f"on {device.device_kind}, beside float64 on the CPU")
    write(
        f"device-{backend}", {"device": {"columns": COLUMNS, "rows": rows}, "tolerance": tolerance}
    )
    for line in beyond:
        print(line, file=sys.stderr)
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
