"""Time maps from ten thousand to ten million pixels, with gammapy beside the smaller ones.

python benchmarks/scaling.py [--largest N] [--gammapy]

Images of one energy bin with a quarter of a count per pixel, and a kernel of 21 x 21 pixels. The
first run compiles and is not counted. gammapy, where it is asked for and installed, makes maps of
up to a hundred thousand pixels. Writes benchmarks/results/scaling.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from summary import write

from gammagrad import Map, MapDataset, TSMapEstimator
from gammagrad.maps import MapAxis, PSFMap, WcsGeom

SIDES = (100, 316, 1000, 2000, 3162)
GAMMAPY_PIXELS = 110_000
WIDTH = "0.21 deg"


def dataset(side: int) -> MapDataset:
    """Return a field of so many by so many pixels of 0.01 deg without sources."""
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    geom = WcsGeom.create(npix=side, binsz=0.01, axes=[axis], proj="TAN", skydir=(0, 0))
    true = axis.rename("energy_true")
    geom_true = geom.to_image().to_cube([true])
    counts = np.random.default_rng(0).poisson(0.25, geom.data_shape).astype(np.float32)
    return MapDataset(
        counts=Map(geom, counts),
        background=Map(geom, np.full(geom.data_shape, 0.25, np.float32)),
        exposure=Map(geom_true, np.full(geom.data_shape, 1e12, np.float32), unit="cm2 s"),
        psf=PSFMap.from_gauss(true, sigma="0.03 deg"),
        name=f"{side}",
    )


def seconds(run: Any) -> float:
    """Return how long a run takes after the first: the median of as many as take a second."""
    run()
    times: list[float] = []
    while sum(times) < 1:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gammapys(field: MapDataset) -> float:
    """Return gammapy's time for the same map."""
    from gammapy.estimators import TSMapEstimator as Gammapys

    theirs = field.to_gammapy()
    estimator = Gammapys(kernel_width=WIDTH)
    start = time.perf_counter()
    estimator.run(theirs)
    return time.perf_counter() - start


def main() -> None:
    """Time all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIDES[-1], help="largest side in pixels")
    parser.add_argument("--gammapy", action="store_true", help="time gammapy, too")
    arguments = parser.parse_args()
    rows = []
    for side in (side for side in SIDES if side <= arguments.largest):
        field = dataset(side)
        one = TSMapEstimator(kernel_width=WIDTH, kernel_positions="centre")
        ours = seconds(lambda field=field, one=one: one.run(field))
        small = side**2 <= GAMMAPY_PIXELS
        theirs = gammapys(field) if arguments.gammapy and small else None
        rows.append([side**2, ours, theirs])
        print(rows[-1], flush=True)
    columns = ["pixels", "gammagrad (s)", "gammapy (s)"]
    write("scaling", {"scaling": {"columns": columns, "rows": rows}})


if __name__ == "__main__":
    main()
