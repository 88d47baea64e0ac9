"""How far is the iterative background from the truth around an extended source?

python docs/studies/background.py [--toys N]

Fields like one of H.E.S.S. around the Crab nebula are drawn: 225 x 225 pixels of 0.02 deg, an
acceptance that falls off as a Gaussian of 1.6 deg, 0.22 background counts per pixel in the middle,
and a Gaussian source of 1500 counts 0.5 deg away from it. The background from a ring is compared
with the true one before anything is excluded, after one iteration, and when the mask stands still.
The same is done with real counts, whose true background nobody knows; these need the environment
variable GAMMAPY_DATA. Takes a minute or two.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from astropy.convolution import Ring2DKernel, Tophat2DKernel
from numpy.typing import NDArray
from report import write

from gammagrad import KernelBackgroundEstimator, MapDataset, kernel_background
from gammagrad.core.background import KernelBackground, disk_structure
from gammagrad.distribution import significance_distribution

Floats = NDArray[np.float64]

NPIX, PIXEL = 225, 0.02
LEVEL, ACCEPTANCE_SIGMA = 0.22, 1.6
SOURCE_COUNTS, OFFSET = 1500.0, 0.5
NITER_MAX = 30

_Y, _X = (np.mgrid[:NPIX, :NPIX] - NPIX // 2) * PIXEL
ACCEPTANCE = np.exp(-0.5 * (_X**2 + _Y**2) / ACCEPTANCE_SIGMA**2)
TRUTH = LEVEL * ACCEPTANCE
FROM_SOURCE = np.hypot(_X - OFFSET, _Y)
# where the bias is looked at
ON_SOURCE = FROM_SOURCE < 0.3
FIELD = FROM_SOURCE > 1.2
OUTER = FIELD & (np.hypot(_X, _Y) > 1.75)

SOURCE_KERNEL = (Tophat2DKernel(5).array > 0).astype(float)


class Setting(NamedTuple):
    """What the background is made with: by default as in the first table."""

    name: str = ""
    threshold: float = 5.0
    threshold_low: float | None = None
    dilation: float = 0.1
    mask_update: str = "replace"
    ring: tuple[float, float] = (0.4, 0.3)


SETTINGS = (
    Setting("as above"),
    Setting("threshold 4", threshold=4.0),
    Setting("second threshold 3", threshold_low=3.0),
    Setting("second threshold 2", threshold_low=2.0),
    Setting("dilation 0.2 deg", dilation=0.2),
    Setting("dilation 0.3 deg", dilation=0.3),
    Setting("mask that grows", mask_update="grow"),
    Setting("second threshold 2, mask that grows", threshold_low=2.0, mask_update="grow"),
    Setting("ring from 0.7 to 0.9 deg", ring=(0.7, 0.2)),
)
SIGMAS = (0.0, 0.1, 0.2, 0.3)
LOOKED_AT = SIGMAS[-1]


class Run(NamedTuple):
    """Means over toys, and per toy the biases in per cent, shape (toys, 3 regions)."""

    start: Floats
    one: Floats
    end: Floats
    width: float
    excluded: float
    niter: float
    converged: float


def draw(sigma: float, toys: int) -> Floats:
    """Return images of counts, shape (toys, ny, nx)."""
    expected = TRUTH.copy()
    if sigma > 0:
        shape = np.exp(-0.5 * (FROM_SOURCE / sigma) ** 2)
        expected += SOURCE_COUNTS * shape / shape.sum()
    rng = np.random.default_rng(int(1000 * sigma))
    return rng.poisson(expected, size=(toys, NPIX, NPIX)).astype(float)


def bias(background: Floats) -> list[float]:
    """Return how much more than the truth a background has in each region, in per cent."""
    return [
        100 * (background[region].sum() / TRUTH[region].sum() - 1)
        for region in (ON_SOURCE, FIELD, OUTER)
    ]


def run(images: Floats, setting: Setting, has_acceptance: bool) -> Run:
    """Make the background of all images."""
    inner, width = (round(side / PIXEL) for side in setting.ring)
    ring = (Ring2DKernel(inner, width).array > 0).astype(float)
    structure = disk_structure(round(setting.dilation / PIXEL))

    @jax.jit
    def made(counts: Any) -> KernelBackground:
        return kernel_background(
            counts,
            SOURCE_KERNEL,
            ring,
            significance_threshold=setting.threshold,
            dilation_structure=structure,
            niter_max=NITER_MAX,
            acceptance=ACCEPTANCE if has_acceptance else None,
            threshold_low=setting.threshold_low,
            mask_update=setting.mask_update,
            n_record=1,
        )

    biases, rest = [], []
    for image in images:
        found = jax.tree.map(np.asarray, made(image))
        biases.append([bias(b) for b in (*found.history.background, found.background)])
        spread = significance_distribution(found.significance, found.exclusion).width
        rest.append((spread, (~found.exclusion).sum(), found.niter, found.converged))
    stages = np.array(biases).swapaxes(0, 1)
    return Run(*stages, *(float(x) for x in np.mean(rest, axis=0)))


class Data(NamedTuple):
    """Real counts, and radii in pixels: of the source kernel, and of the ring and its width."""

    name: str
    file: str
    source: int
    ring: tuple[int, int]


DATA = (
    Data("H.E.S.S. Crab", "reduced/hess-crab.fits.gz", 5, (20, 15)),
    Data("Fermi-LAT Galactic centre", "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", 3, (10, 8)),
)


def real(data: Data) -> list[list[Any]]:
    """Return the rows of a data set: without its background model, and with it as acceptance."""
    dataset = MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / data.file)
    counts, model = (m.sum_over_axes(keepdims=False) for m in (dataset.counts, dataset.background))
    source = Tophat2DKernel(data.source)
    estimator = KernelBackgroundEstimator(
        source, Ring2DKernel(*data.ring), mask_dilation_radius="0.1 deg", keep_record=True
    )
    rows = []
    for name, images in (
        ("not used", {"counts": counts}),
        ("background model", {"counts": counts, "acceptance": model}),
    ):
        end = estimator.run(images, niter_max=NITER_MAX)
        excluded = [int((~r["exclusion"].data).sum()) for r in estimator.images_stack]
        found = significance_distribution(end["significance"], end["exclusion"], source)
        outside = [
            f"{value:.2f} ± {error:.2f}"
            for value, error in ((found.mean, found.mean_err), (found.width, found.width_err))
        ]
        rows.append([data.name, name, excluded[1], excluded[-1], len(excluded) - 1, *outside])
    return rows


def stated(values: Floats) -> str:
    """Return a mean over toys with its error."""
    mean = round(values.mean(), 1) + 0.0  # no -0.0
    return f"{mean:+.1f} ± {values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=60, help="images of each kind")
    toys = parser.parse_args().toys
    rows, remedies = [], []
    for sigma in SIGMAS:
        images = draw(sigma, toys)
        for has_acceptance in (False, True):
            found = run(images, SETTINGS[0], has_acceptance)
            name = f"{sigma:g} deg" if sigma else "none"
            on = [stated(stage[:, 0]) for stage in (found.start, found.one, found.end)]
            off = [stated(found.end[:, region]) for region in (1, 2)]
            known = "known" if has_acceptance else "not used"
            rows.append([name, known, *on, *off, found.width, found.niter])
    images = draw(LOOKED_AT, toys)
    for setting in SETTINGS:
        found = run(images, setting, True)
        numbers = (found.excluded, found.niter, 100 * found.converged)
        ends = [stated(found.end[:, region]) for region in (0, 1)]
        remedies.append([setting.name, stated(found.one[:, 0]), *ends, *numbers])
    write(
        "background",
        {
            "bias": {
                "columns": [
                    *("source", "acceptance", "on source, no mask", "one pass", "converged"),
                    *("field", "outer field", "width", "iterations"),
                ],
                "formats": {"width": ".2f", "iterations": ".1f"},
                "rows": rows,
            },
            "remedies": {
                "columns": [
                    *("setting", "on source, one pass", "converged", "field"),
                    *("pixels excluded", "iterations", "% converged"),
                ],
                "formats": {"pixels excluded": ".0f", "iterations": ".1f", "% converged": ".0f"},
                "rows": remedies,
            },
            "real": {
                "columns": [
                    *("counts", "acceptance", "pixels excluded, one pass", "converged"),
                    *("iterations", "mean", "width"),
                ],
                "rows": [row for data in DATA for row in real(data)],
            },
        },
        ("gammagrad", "jax", "numpy", "astropy"),
    )


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
