"""TS maps with OFF counts: empty fields, and the H.E.S.S. field of the Crab nebula.

python docs/studies/on_off.py [--quick] [--pictures]

The empty fields need no data, the picture needs GAMMAPY_DATA and the group `plot`. Every empty
field has one background count per pixel, known in shape only; where it is taken as known it is
the ring's estimate.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report import write
from wide_fields import hess

from gammagrad import Map, MapDataset, RingBackgroundMaker, TSMapEstimator, exclusion_mask
from gammagrad.errors import InputWarning
from gammagrad.maps import MapAxis, PSFMap, WcsGeom

Floats = NDArray[np.float64]
PICTURES = Path(__file__).parents[1] / "images"

WIDTH = "0.5 deg"
RING = ("0.6 deg", "0.8 deg")


def empty_field(seed: int, background: float, npix: int = 121) -> MapDataset:
    """Return a field without sources, whose background falls off from the middle."""
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    geom = WcsGeom.create(npix, 0.05, proj="TAN", axes=[axis])
    axis_true = axis.rename("energy_true")
    offset = geom.separation(geom.center_skydir).to_value("deg")
    expected = background * np.exp(-0.5 * (offset / 2.5) ** 2)[None]
    counts = np.random.default_rng(seed).poisson(expected).astype(float)
    return MapDataset(
        counts=Map(geom, counts),
        background=Map(geom, expected),
        exposure=Map(geom.to_image().to_cube([axis_true]), 1e13, unit="cm2 s"),
        psf=PSFMap.from_gauss(axis_true, 0.1),
        name="empty",
    )


def known(dataset: MapDataset) -> MapDataset:
    """Return a field with the background that its ring says, taken as known."""
    return RingBackgroundMaker(*RING).run(dataset).to_map_dataset()


def whole_ring(dataset: MapDataset) -> Any:
    """Return a field with the OFF counts of whole rings, which neighbours share."""
    return RingBackgroundMaker(*RING).run(dataset)


def spaced_ring(dataset: MapDataset) -> Any:
    """Return a field with OFF counts of pixels that are a kernel apart."""
    return RingBackgroundMaker(*RING, spacing=WIDTH).run(dataset)


def wider(dataset: MapDataset) -> Any:
    """Return a field with the same, summed over a disc."""
    return spaced_ring(dataset).with_wider_off("0.1 deg")


WAYS: dict[str, Callable[[MapDataset], Any]] = {
    "true background": lambda dataset: dataset,
    "ring, taken as known": known,
    "whole ring, W": whole_ring,
    "pixels of the ring a kernel apart, W": spaced_ring,
    "the same, summed over 0.1 deg, W": wider,
}


def significances(dataset: Any, width: str = WIDTH) -> Floats:
    """Return the significances of a map, away from its edge."""
    maps = TSMapEstimator(kernel_width=width, show_progress=False).run(dataset)
    return np.asarray(maps["sqrt_ts"].data[0])


def empty(fields: int) -> list[list[Any]]:
    """Return, for each way to take the background, mean and width, and how often 3 is exceeded."""
    rows = []
    for background in (1.0, 0.1):
        for name, way in WAYS.items():
            found, off = [], np.nan
            for seed in range(fields):
                dataset = way(empty_field(seed, background))
                if hasattr(dataset, "counts_off"):
                    off = float(dataset.counts_off.data[0, 30:-30, 30:-30].mean())
                found.append(significances(dataset)[30:-30, 30:-30])
            all_of = np.concatenate([f.ravel() for f in found])
            rate = float((all_of > 3).mean() / 1.35e-3)
            mean, width = float(all_of.mean()), float(all_of.std())
            rows.append([background, name, off, mean, width, rate])
            print(*rows[-1])
    return rows


def picture() -> None:
    """Draw the map of the Crab nebula with a known background, and with OFF counts."""
    import matplotlib.pyplot as plt

    dataset = hess()
    middle = dataset.geom.center_skydir
    mask = exclusion_mask(dataset.geom, circles=[(middle, "0.4 deg")])
    ring = {"r_in": "0.45 deg", "width": "1.2 deg", "exclusion_mask": mask}
    spaced = RingBackgroundMaker(**ring, spacing="0.4 deg").run(dataset)
    ways = {
        "background model, as known": dataset,
        "OFF counts of pixels a kernel apart": spaced,
        "the same, summed over 0.06 deg": spaced.with_wider_off("0.06 deg"),
    }
    found = {}
    for name, one in ways.items():
        estimator = TSMapEstimator(kernel_width="0.4 deg", show_progress=False)
        found[name] = np.asarray(estimator.run(one)["sqrt_ts"].data[0])
    figure, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
    outside = mask.data.reshape(-1, *mask.geom.shape_image)[0] > 0
    # a ring at the rim has too few pixels to be of use
    inside = dataset.geom.to_image().separation(middle).to_value("deg") < 1.6
    for column, (name, image) in enumerate(found.items()):
        axis = axes[0, column]
        shown = axis.imshow(
            np.where(inside, image, np.nan), origin="lower", cmap="RdBu_r", vmin=-6, vmax=6
        )
        axis.set_title(f"{name}\nlargest {np.nanmax(image):.1f}", fontsize=9)
        away = image[outside & inside & np.isfinite(image)]
        axes[1, column].hist(away, np.linspace(-5, 5, 51), density=True, color="0.6")
        x = np.linspace(-5, 5, 200)
        axes[1, column].plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), "k-", lw=1)
        axes[1, column].set_title(
            f"away from the Crab: mean {away.mean():.2f}, width {away.std():.2f}", fontsize=9
        )
        axes[1, column].set_xlabel("significance")
        print(name, np.nanmax(image), away.mean(), away.std())
    print("OFF counts per bin", spaced.require("counts_off").data[:, inside].mean())
    figure.colorbar(shown, ax=axes[0], label="significance", shrink=0.8)
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / "on_off_hess.png", dpi=110)


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few fields; nothing is written")
    parser.add_argument("--pictures", action="store_true", help="draw the picture alone")
    arguments = parser.parse_args()
    logging.getLogger("gammagrad").setLevel(logging.ERROR)
    # that rings share counts, and that few OFF counts are biased, is the point here
    warnings.simplefilter("ignore", InputWarning)
    if arguments.pictures:
        picture()
        return
    rows = empty(1 if arguments.quick else 10)
    if arguments.quick:
        return
    numbers = ("OFF counts", "mean", "width", "above 3")
    table = {
        "columns": ["background", "how it is taken", *numbers],
        "formats": {"background": "g", **dict.fromkeys(numbers, ".2f")},
        "rows": rows,
    }
    write("on_off", {"empty": table}, ("gammagrad", "jax", "numpy", "scipy", "astropy"))
    picture()


if __name__ == "__main__":
    main()
