"""What single precision costs, and that the estimators do not depend on JAX's x64 flag.

python docs/studies/precision.py

Needs the environment variable GAMMAPY_DATA. The map estimator and the array function `ts_map` run
on whole public data sets, in a process of their own for each setting of the flag, and are compared
with the estimator's result with the flag on: norms in units of their errors, TS in units of
``sqrt(1 + |TS|)``. Takes about half an hour on two cores.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import write

from gammagrad.core.norm import Status

BAR = 1e-4


class Case(NamedTuple):
    """A data set below $GAMMAPY_DATA, and the width of the kernel."""

    name: str
    file: str
    kernel_width: str


CASES = (
    Case("Fermi", "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", "1 deg"),
    Case("H.E.S.S. Crab", "reduced/hess-crab.fits.gz", "0.5 deg"),
)
MODES = {"cube": False, "summed": True}
# what runs, the dtype of the inputs, the flag
RUNS = (
    ("TSMapEstimator", "float64", "on"),
    ("TSMapEstimator", "float64", "off"),
    ("ts_map", "float64", "on"),
    ("ts_map", "float32", "on"),
    ("ts_map", "float32", "off"),
)


def run_one(case: Case, mode: str, what: str, dtype: str) -> dict[str, Any]:
    """Run the estimator or the array function; return maps of shape (rows, cols)."""
    from gammagrad import MapDataset, TSMapEstimator, ts_map

    # that kernels cut the source does not matter here
    logging.getLogger("gammagrad").setLevel(logging.ERROR)
    dataset = MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / case.file)
    settings: dict[str, Any] = {
        "kernel_width": case.kernel_width,
        "kernel_positions": "centre",
        "show_progress": False,
    }
    wanted = ("norm", "norm_err", "norm_errp", "ts", "status")
    if what == "TSMapEstimator":
        estimator = TSMapEstimator(
            **settings, sum_over_energy_groups=MODES[mode], selection_optional="errn-errp"
        )
        maps = estimator.run(dataset)
        return {name: maps[name].data[0] for name in wanted}
    cube = TSMapEstimator(**settings, sum_over_energy_groups=False)
    inputs = cube.estimate_fit_input_maps(dataset)
    names = ("counts", "background", "exposure", "kernel", "mask")
    arrays = [inputs[name].data.astype(dtype) for name in names]
    fit = ts_map(*arrays, sum_over_energy=MODES[mode], selection_optional="errn-errp")
    return {name: np.asarray(getattr(fit, name)) for name in wanted}


def compare(found: dict[str, Any], truth: dict[str, Any]) -> list[Any]:
    """Return the cells of a row: pixels, worst deviations, and how many are above the bar."""
    seen = truth["status"] != Status.NOT_FITTED
    # without counts there is no curvature; the way to where the statistic has risen by 1 is left
    error = np.where(np.isfinite(truth["norm_err"]), truth["norm_err"], truth["norm_errp"])[seen]
    norm = np.abs(found["norm"].astype(float) - truth["norm"])[seen] / error
    size = np.sqrt(1 + np.abs(truth["ts"][seen]))
    ts = np.abs(found["ts"].astype(float) - truth["ts"])[seen] / size
    # a comparison that a NaN fails
    above = ~((norm <= BAR) & (ts <= BAR))
    states = (found["status"] != truth["status"])[seen]
    return [int(seen.sum()), norm.max(), ts.max(), int(above.sum()), int(states.sum())]


def main() -> None:
    """Run each setting in a process of its own, compare, print, write."""
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            for mode in MODES:
                truth: dict[str, Any] = {}
                for what, dtype, flag in RUNS:
                    path = Path(folder) / f"{number}-{mode}-{what}-{dtype}-{flag}.npz"
                    env = os.environ | {"JAX_ENABLE_X64": "1" if flag == "on" else "0"}
                    command = [sys.executable, __file__, str(path), str(number), mode, what, dtype]
                    subprocess.run(command, env=env, check=True)
                    found = dict(np.load(path))
                    truth = truth or found
                    rows.append([case.name, mode, what, dtype, flag, *compare(found, truth)])
                    print(*rows[-1], flush=True)
    table = {
        "columns": [
            *("data", "fit", "what runs", "input", "x64 flag", "pixels", "norm off", "ts off"),
            *("above", "other status"),
        ],
        "formats": {"norm off": ".0e", "ts off": ".0e"},
        "rows": rows,
    }
    write("precision", {"precision": table}, ("gammagrad", "jax", "numpy"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        target, number, *rest = sys.argv[1:]
        np.savez(target, **run_one(CASES[int(number)], *rest))
    else:
        main()
