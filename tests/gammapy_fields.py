"""Fields as gammapy's objects, small enough for gammapy's own estimator to be quick."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np


def field(
    seed: int = 0, npix: Any = (30, 24), nbin: int = 3, name: str = "field", source: float = 25.0
) -> Any:
    """Return a dataset of gammapy: a bright point in its middle, a slope in its background."""
    from gammapy.datasets import MapDataset
    from gammapy.irf import EDispKernelMap, PSFMap
    from gammapy.maps import Map, MapAxis, WcsGeom

    energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=nbin)
    true = MapAxis.from_energy_bounds("0.8 TeV", "12 TeV", nbin=nbin + 1, name="energy_true")
    geom = WcsGeom.create(npix=npix, binsz=0.05, skydir=(83.6, 22.0), axes=[energy])
    geom_true = WcsGeom.create(npix=npix, binsz=0.05, skydir=(83.6, 22.0), axes=[true])
    slope = np.linspace(0.8, 1.2, npix[0])
    falling = np.geomspace(2.0, 0.3, nbin)[:, None, None]
    background = Map.from_geom(geom, data=np.ones(geom.data_shape) * slope * falling)
    exposure = Map.from_geom(geom_true, unit="cm2 s", data=np.full(geom_true.data_shape, 3e13))
    expected = background.data.copy()
    expected[:, npix[1] // 2 - 1 : npix[1] // 2 + 2, npix[0] // 2 - 1 : npix[0] // 2 + 2] += (
        source * falling / 9
    )
    counts = Map.from_geom(geom, data=np.random.default_rng(seed).poisson(expected).astype(float))
    sigma = u.Quantity([0.08, 0.07, 0.06, 0.05, 0.05][: nbin + 1], "deg")
    return MapDataset(
        counts=counts,
        background=background,
        exposure=exposure,
        psf=PSFMap.from_gauss(true, sigma=sigma),
        edisp=EDispKernelMap.from_diagonal_response(energy, true),
        name=name,
    )


def point(amplitude: str = "1e-12 cm-2 s-1 TeV-1", **position: str) -> Any:
    """Return a point source of gammapy."""
    from gammapy.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

    spectrum = PowerLawSpectralModel(index=2.3, amplitude=amplitude)
    return SkyModel(spectrum, PointSpatialModel(**position), name="point")


def template() -> Any:
    """Return a source of gammapy whose shape is an image."""
    from gammapy.maps import Map
    from gammapy.modeling.models import PowerLawSpectralModel, SkyModel, TemplateSpatialModel

    geom = field().counts.geom.to_image().to_binsz("0.02 deg")
    distance = geom.separation(geom.center_skydir).deg
    image = Map.from_geom(geom, data=np.exp(-0.5 * (distance / 0.1) ** 2), unit="sr-1")
    return SkyModel(PowerLawSpectralModel(), TemplateSpatialModel(image), name="template")
