"""Maps of many shapes in one process: time, mappings and memory for each, results as in a new one.

Run ``python benchmarks/shapes.py`` for all cases at full length (some minutes), or name cases and a
number of shapes: ``python benchmarks/shapes.py estimator fit --number 30``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord

import gammagrad
from gammagrad import MapDataset, TSMapEstimator, fit, kernel_background, lima_maps, ts_map
from gammagrad.models import FoVBackgroundModel, Models, SkyModel
from gammagrad.simulate import SimulatedField, simulate_field

NPIX = 160
RANGE = (20, 150)
RADIUS = "0.08 deg"


class Case(NamedTuple):
    """What is run, and how often."""

    run: Callable[[MapDataset], np.ndarray]
    number: int


@cache
def field() -> SimulatedField:
    """Return the field that all shapes are cut from."""
    return simulate_field(seed=1, npix=NPIX)


def brightest() -> SkyModel:
    """Return its brightest source."""
    return field().models[0]


def cutout(shape: Sequence[int] | np.ndarray) -> MapDataset:
    """Cut a shape, in pixels, around the brightest source."""
    data, spatial = field().dataset, brightest().spatial_model
    position = SkyCoord(float(spatial.lon_0), float(spatial.lat_0), unit="deg", frame=spatial.frame)
    pixel = data.geom.pixel_scales[0]
    return data.cutout(position, tuple(int(n) * pixel for n in shape))


def disc(radius: int) -> np.ndarray:
    """Return a disc of ones."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x**2 + y**2 <= radius**2).astype(float)


def run_estimator(data: MapDataset) -> np.ndarray:
    """Fit a map."""
    return ESTIMATOR.run(data)["sqrt_ts"].data


def run_all(data: MapDataset) -> np.ndarray:
    """Fit a cube with all optional maps."""
    return ALL.run(data)["norm_ul"].data


def run_ts_map(data: MapDataset) -> np.ndarray:
    """Fit a map as arrays."""
    y, x = np.mgrid[-5:6, -5:6]
    bell = np.exp(-(x**2 + y**2) / 8)
    kernel = np.stack([bell / bell.sum()] * len(data.counts.data))
    exposure = data.exposure.data / data.exposure.data.max() * 100
    return np.asarray(ts_map(data.counts.data, data.background.data, exposure, kernel).ts)


def run_background(data: MapDataset) -> np.ndarray:
    """Estimate a background."""
    ring = disc(9)
    ring[3:-3, 3:-3] -= disc(6)
    return np.asarray(kernel_background(data.counts.data.sum(axis=0), disc(2), ring).background)


def run_lima(data: MapDataset) -> np.ndarray:
    """Make a map of significances."""
    return lima_maps(data.counts, data.background, RADIUS)["sqrt_ts"].data


def run_fit(data: MapDataset) -> np.ndarray:
    """Fit the brightest source and the background."""
    true = brightest()
    start = true.with_parameters(lon_0=float(true.spatial_model.lon_0) + 0.02, index=2.3)
    result = fit(data, Models([start, FoVBackgroundModel(data.name, name="background")]))
    # in units of the errors, as far as a fit is asked to go
    scale = np.array([result.errors[name] for name in result.names])
    return np.round(np.asarray(result.values) / scale, 2)


def run_refine(data: MapDataset) -> np.ndarray:
    """Find sources and refine their positions."""
    peaks = ESTIMATOR.run(data).find_peaks(threshold=5, refine=True, datasets=data)
    return np.round(np.asarray(peaks["sqrt_ts"], dtype=float), 2)


ESTIMATOR = TSMapEstimator(kernel_width="0.5 deg", show_progress=False)
ALL = TSMapEstimator(
    kernel_width="0.5 deg",
    sum_over_energy_groups=False,
    selection_optional="all",
    norm=[0.0, 1.0, 2.0],
    show_progress=False,
)
CASES = {
    "estimator": Case(run_estimator, 1000),
    "all": Case(run_all, 100),
    "ts_map": Case(run_ts_map, 100),
    "kernel_background": Case(run_background, 100),
    "lima_maps": Case(run_lima, 100),
    "fit": Case(run_fit, 30),
    "refine": Case(run_refine, 30),
}


def shapes(number: int, seed: int = 0) -> np.ndarray:
    """Return random shapes, (number, 2)."""
    return np.random.default_rng(seed).integers(*RANGE, size=(number, 2))


def resident() -> float:
    """Return the memory of the process in MB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found.group(1)) / 1024 if found else float("nan")


def mappings() -> int:
    """Return the number of memory mappings of the process."""
    return len(Path("/proc/self/maps").read_bytes().splitlines())


def measure(name: str, number: int) -> dict[str, Any]:
    """Run a case over many shapes; the last few results are those of a new process, too."""
    case = CASES[name]
    rows, results = [], {}
    for shape in shapes(number):
        own = cutout(shape)
        begin = time.perf_counter()
        found = case.run(own)
        rows.append((time.perf_counter() - begin, mappings(), resident()))
        results[tuple(int(n) for n in shape)] = found
    seconds, maps, memory = np.array(rows).T
    tenth = max(number // 10, 1)
    last = list(results)[-3:]
    return {
        "case": name,
        "shapes": number,
        "seconds_mean": float(seconds.mean()),
        "seconds_median": float(np.median(seconds)),
        "seconds_after_tenth": float(seconds[tenth:].mean()),
        "seconds_first": float(seconds[0]),
        "mappings_tenth": int(maps[tenth - 1]),
        "mappings_growth": float(maps[tenth:].max() / maps[tenth - 1]),
        "memory_tenth": float(memory[tenth - 1]),
        "memory_growth": float(memory[tenth:].max() / memory[tenth - 1]),
        "difference": max(_difference(results[shape], again(name, shape)) for shape in last),
    }


def again(name: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the result of one shape, computed in a new process."""
    command = [sys.executable, __file__, name, "--shape", *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return np.array(json.loads(done.stdout.splitlines()[-1]), dtype=float)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of two results over the larger of 1 and their size."""
    one, other = np.asarray(one, dtype=float).ravel(), other.ravel()
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    known = np.isfinite(one)
    apart = np.abs(one - other)[known] / np.maximum(np.abs(other[known]), 1.0)
    return float(apart.max(initial=0.0))


def main() -> None:
    """Measure the cases named, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--number", type=int, help="shapes, in place of the number of each case")
    parser.add_argument("--shape", type=int, nargs=2, help="print the result of one shape")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    names = args.cases or list(CASES)
    if args.shape:
        result = CASES[names[0]].run(cutout(args.shape))
        print(json.dumps(np.asarray(result, dtype=float).ravel().tolist()))
        return
    if len(names) > 1:
        for name in names:
            more = ["--number", str(args.number)] if args.number else []
            subprocess.run([sys.executable, __file__, name, *more], check=True)
        return
    found = measure(names[0], args.number or CASES[names[0]].number)
    if args.json:
        print(json.dumps(found))
        return
    print(
        f"{gammagrad.__name__} {gammagrad.__version__}, {found['case']}: {found['shapes']} shapes"
    )
    for key, value in list(found.items())[2:]:
        print(f"  {key:20} {value:.4g}")


if __name__ == "__main__":
    main()
