"""A source in the middle of maps of all kinds of pixels: norm, discs, predicted counts, sizes.

python docs/studies/skies.py [--gammapy] [--fit]

The counts are integrals over pixels of a Gaussian of the true separation, by astropy alone
(tests/any_sky.py). The right norm is 1, and the right number of pixels in a disc is the number of
centres within its radius. ``--gammapy`` puts gammapy's norm beside, for the same arrays. ``--fit``
adds a point source and a Gaussian fitted with a free size, which are to have 0 and 0.2 deg.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from any_sky import MIDDLE, NPIX, SKIES, gaussian, integrated, separations
from gammagrad import Map, MapDataset, TSMapEstimator, fit
from gammagrad.maps import MapAxis, PSFMap, WcsGeom, disc_kernel
from gammagrad.models import (
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

Floats = NDArray[np.float64]

SIGMA, SIZE, SOURCE, BACKGROUND = 0.12, 0.2, 1000.0, 5.0
ENERGY = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
TRUE = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1, name="energy_true")
SPECTRUM = PowerLawSpectralModel(index=2, amplitude=SOURCE / 0.9 * 1e-12)


def dataset_of(wcs: Any, signal: Floats) -> MapDataset:
    """Return a dataset of one energy bin, on a bright background."""
    geom = WcsGeom(wcs, (NPIX, NPIX))
    flat = np.full((1, NPIX, NPIX), BACKGROUND)
    return MapDataset(
        Map(geom.to_cube([ENERGY]), flat + signal),
        exposure=Map(geom.to_cube([TRUE]), np.full((1, NPIX, NPIX), 1e12), unit="cm2 s"),
        background=Map(geom.to_cube([ENERGY]), flat),
        psf=PSFMap.from_gauss(TRUE, SIGMA),
        name="sky",
    )


def gammapys_norm(wcs: Any, signal: Floats) -> float:
    """Return the norm that gammapy finds at the source's pixel."""
    from gammapy.datasets import MapDataset as TheirDataset
    from gammapy.estimators import TSMapEstimator as TheirEstimator
    from gammapy.irf import PSFMap as TheirPSF
    from gammapy.maps import Map as TheirMap
    from gammapy.maps import MapAxis as TheirAxis
    from gammapy.maps import WcsGeom as TheirGeom
    from gammapy.modeling import models

    axis = TheirAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    axis_true = TheirAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1, name="energy_true")
    image = TheirGeom(wcs, npix=(NPIX, NPIX))
    flat = np.full((1, NPIX, NPIX), BACKGROUND)
    exposure = np.full((1, NPIX, NPIX), 1e12)
    dataset = TheirDataset(
        counts=TheirMap.from_geom(image.to_cube([axis]), data=flat + signal),
        exposure=TheirMap.from_geom(image.to_cube([axis_true]), data=exposure, unit="cm2 s"),
        background=TheirMap.from_geom(image.to_cube([axis]), data=flat),
        psf=TheirPSF.from_gauss(axis_true, sigma=f"{SIGMA} deg"),
    )
    amplitude = f"{SOURCE / 0.9 * 1e-12} cm-2 s-1 TeV-1"
    spectrum = models.PowerLawSpectralModel(index=2, amplitude=amplitude)
    model = models.SkyModel(spectrum, models.PointSpatialModel())
    estimator = TheirEstimator(model, kernel_width="1.2 deg", selection_optional=[])
    return float(estimator.run(dataset)["norm"].data[0, MIDDLE, MIDDLE])


def fitted_size(wcs: Any, place: tuple[float, float], size: float) -> tuple[float, float]:
    """Return the size and the relative flux of a source of some size, fitted as a Gaussian."""
    dataset = dataset_of(wcs, SOURCE * integrated(wcs, place, gaussian(np.hypot(SIGMA, size))))
    start = SkyModel(SPECTRUM, GaussianSpatialModel(*place, sigma=0.1), name="it")
    found = fit(dataset, start).models["it"]
    flux = float(found.spectral_model.integral(1.0, 10.0) / SPECTRUM.integral(1.0, 10.0))
    return float(found.spatial_model.sigma), flux


def main() -> None:
    """Print a line for each sky."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gammapy", action="store_true", help="put gammapy's norm beside")
    parser.add_argument("--fit", action="store_true", help="fit sizes")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    heads = ["norm", "gammapy"] if options.gammapy else ["norm"]
    heads += ["disc", "right", "npred", "extended"]
    heads += ["size of 0", "flux", "size of 0.2", "flux"] if options.fit else []
    print(f"{'sky':20}" + "".join(f"{head:>12}" for head in heads) + f"{'s':>8}")
    y, x = np.mgrid[:NPIX, :NPIX]
    for name, make in SKIES.items():
        start, wcs = time.monotonic(), make()
        lon, lat = (float(c) for c in wcs.all_pix2world(MIDDLE, MIDDLE, 0))
        signal = SOURCE * integrated(wcs, (lon, lat), gaussian(SIGMA))
        dataset = dataset_of(wcs, signal)
        maps = TSMapEstimator(SkyModel(SPECTRUM, PointSpatialModel())).run(dataset)
        row = [f"{maps['norm'].data[0, MIDDLE, MIDDLE]:.5f}"]
        row += [f"{gammapys_norm(wcs, signal):.3f}"] if options.gammapy else []
        disc = int(disc_kernel(dataset.geom, "0.3 deg").sum())
        row += [str(disc), str(int((separations(wcs, x, y, (lon, lat)) <= 0.3).sum()))]
        wide = SOURCE * integrated(wcs, (lon, lat), gaussian(np.hypot(SIGMA, SIZE)))
        cases = (
            (PointSpatialModel(lon, lat), signal),
            (GaussianSpatialModel(lon, lat, sigma=SIZE), wide),
        )
        for spatial, right in cases:
            npred = dataset.npred_signal([SkyModel(SPECTRUM, spatial)]).data[0]
            row.append(f"{np.abs(npred - right).max() / right.max():.1e}")
        for size in (0.0, SIZE) if options.fit else ():
            row += [f"{value:.4f}" for value in fitted_size(wcs, (lon, lat), size)]
        print(f"{name:20}" + "".join(f"{value:>12}" for value in row), end="")
        print(f"{time.monotonic() - start:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
