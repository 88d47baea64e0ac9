"""Point sources all over wide fields: the norm with one kernel, and with one for every position.

python docs/studies/positions.py [--quick] [--pictures]

Needs the environment variable GAMMAPY_DATA and the group `test`; the pictures need `plot`. The
right norm is 1. Counts are those expected of background and one source at a time, made with
astropy, numpy and scipy alone (wide_fields.py). "Bright" is a hundred times the background at the
source's peak, "faint" a thousandth of it.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report import write
from wide_fields import car, cta, hess, point_counts, random_places

from gammagrad import Map, MapDataset, TSMapEstimator
from gammagrad.maps import SolidAngleWarning
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

Floats = NDArray[np.float64]

FIELDS: dict[str, Callable[[], MapDataset]] = {
    "H.E.S.S. Crab": hess,
    "CTA 6 x 4 deg": cta,
    "CAR 12 x 30 deg": car,
}
MODES = {"summed": True, "cube": False}
SETTINGS = ("centre", "auto")
# places along a side of a picture
_SIDE = 13
PEAKS = {"bright": 100.0, "faint": 1e-3}
PICTURES = Path(__file__).parents[1] / "images"


MODEL = SkyModel(PowerLawSpectralModel(index=2, amplitude=1e-12), PointSpatialModel())


def counts_of(dataset: MapDataset, place: tuple[int, int]) -> Floats:
    """Return the counts of a source of norm 1 on a pixel."""
    axis_true = dataset.exposure.geom.axes["energy_true"]
    edges = axis_true.edges_in("TeV")
    flux = 1e-12 * (1 / edges[:-1] - 1 / edges[1:])
    position = dataset.geom.to_image().pix_to_sky(place[1], place[0])
    exposure = dataset.exposure.quantity[:, place[0], place[1]].to_value("cm2 s")
    return point_counts(dataset, flux, position, exposure)


def with_source(
    dataset: MapDataset, background: Floats, counts: Floats, place: tuple[int, int], peak: float
) -> tuple[MapDataset, float]:
    """Put a source on a pixel, with so many times the background in its brightest bin."""
    # returns its norm too
    norm = peak * background.sum(axis=0)[place] / counts.sum(axis=0).max()
    data = dataset.copy()
    data.counts = Map(dataset.geom, background + norm * counts)
    return data, norm


def norm_at(dataset: MapDataset, place: tuple[int, int], summed: bool, how: str) -> float:
    """Fit the pixel of the source alone."""
    wanted = np.zeros(dataset.geom.shape_image, bool)
    wanted[place] = True
    estimator = TSMapEstimator(
        MODEL, sum_over_energy_groups=summed, kernel_positions=how, show_progress=False
    )
    return float(estimator.run(dataset, positions=wanted)["norm"].data[0][place])


def errors(
    dataset: MapDataset, places: list[Any], cases: list[tuple[float, bool]]
) -> list[dict[str, Floats]]:
    """Return the errors of the norm at some places with either setting, for each case."""
    # cases: how bright the source is, and whether energies are summed
    background = dataset.npred_background().data
    found = [{how: np.zeros(len(places)) for how in SETTINGS} for _ in cases]
    for index, place in enumerate(places):
        counts = counts_of(dataset, place)
        for (peak, summed), of_case in zip(cases, found, strict=True):
            data, norm = with_source(dataset, background, counts, place, peak)
            for how in SETTINGS:
                of_case[how][index] = norm_at(data, place, summed, how) / norm - 1
    return found


def norms(number: int) -> list[list[Any]]:
    """Return the rows of the table of norms."""
    rows: list[list[Any]] = []
    for name, make in FIELDS.items():
        dataset = make()
        places = random_places(dataset, number, seed=18)
        titles = [(brightness, mode) for brightness in PEAKS for mode in MODES]
        cases = [(PEAKS[brightness], MODES[mode]) for brightness, mode in titles]
        for title, found in zip(titles, errors(dataset, places, cases), strict=True):
            row: list[Any] = [name, *title, len(places)]
            for how in SETTINGS:
                size = np.abs(found[how])
                row += [float(np.median(size)), float(size.max())]
            rows.append(row)
            print(*row)
    return rows


def costs(runs: int) -> list[list[Any]]:
    """Return the rows of the table of times and kernels."""
    rows: list[list[Any]] = []
    for name, make in FIELDS.items():
        dataset = make()
        dataset.counts = Map(
            dataset.geom, np.random.default_rng(1).poisson(dataset.npred_background().data)
        )
        for mode, summed in MODES.items():
            times: dict[str, list[float]] = {how: [] for how in SETTINGS}
            meta = {}
            for run in range(runs + 1):
                for how in SETTINGS:
                    estimator = TSMapEstimator(
                        sum_over_energy_groups=summed, kernel_positions=how, show_progress=False
                    )
                    begin = time.perf_counter()
                    maps = estimator.run(dataset)
                    if run:
                        times[how].append(time.perf_counter() - begin)
                    meta[how] = maps.meta
            centre, default = (statistics.median(times[how]) for how in SETTINGS)
            shape = " x ".join(str(n) for n in meta["auto"]["kernel_shape"])
            rows.append(
                [
                    *(name, mode, shape, meta["auto"]["kernels_per_group"][0][0]),
                    meta["auto"]["one_kernel_error_per_group"][0][0],
                    meta["auto"]["kernel_error_per_group"][0][0],
                    *(centre, default, default / centre),
                ]
            )
            print(*rows[-1])
    return rows


def picture() -> None:
    """Draw the error of a faint source's norm over the fields, before and after."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    for column, (name, make) in enumerate(FIELDS.items()):
        dataset = make()
        ny, nx = dataset.geom.shape_image
        seen = dataset.exposure.data.max(axis=0)
        rows, columns = (np.linspace(0, n - 1, _SIDE).round().astype(int) for n in (ny, nx))
        places = [(r, c) for r in rows for c in columns if seen[r, c] > 0.02 * seen.max()]
        (found,) = errors(dataset, places, [(PEAKS["faint"], True)])
        for row, how in enumerate(SETTINGS):
            image = np.full((_SIDE, _SIDE), np.nan)
            for place, error in zip(places, found[how], strict=True):
                image[rows.tolist().index(place[0]), columns.tolist().index(place[1])] = error
            axis = axes[row, column]
            width, height = dataset.geom.width.to_value("deg")
            shown = axis.imshow(
                100 * image,
                origin="lower",
                cmap="RdBu",
                vmin=-20,
                vmax=20,
                extent=(width / 2, -width / 2, -height / 2, height / 2),
                aspect="auto",
            )
            worst = 100 * np.nanmax(np.abs(image))
            label = "one kernel" if how == "centre" else "every position"
            axis.set_title(f"{name}, {label}: at most {worst:.2g} %", fontsize=9)
            axis.set_xlabel("deg")
    figure.colorbar(shown, ax=axes, label="error of the norm of a faint source (%)", shrink=0.8)
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / "kernel_positions.png", dpi=110)


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few positions; nothing is written")
    parser.add_argument("--pictures", action="store_true", help="draw the pictures alone")
    arguments = parser.parse_args()
    logging.getLogger("gammagrad").setLevel(logging.ERROR)
    # that one kernel is wrong on such maps is the point here
    warnings.simplefilter("ignore", SolidAngleWarning)
    if arguments.pictures:
        picture()
        return
    found = norms(3 if arguments.quick else 20), costs(1 if arguments.quick else 7)
    if arguments.quick:
        return
    percent = ("centre, median", "centre, worst", "default, median", "default, worst")
    tables = {
        "norms": {
            "columns": ["field", "source", "fit", "positions", *percent],
            "formats": dict.fromkeys(percent, ".2%"),
            "rows": found[0],
        },
        "costs": {
            "columns": [
                *("field", "fit", "kernel", "kernels", "one kernel off by", "left"),
                *("centre (s)", "default (s)", "ratio"),
            ],
            "formats": {
                **dict.fromkeys(("one kernel off by", "left"), ".2%"),
                **dict.fromkeys(("centre (s)", "default (s)"), ".3f"),
                "ratio": ".2f",
            },
            "rows": found[1],
        },
    }
    write("positions", tables, ("gammagrad", "jax", "numpy", "scipy", "astropy"))
    picture()


if __name__ == "__main__":
    main()
