"""Small simulated datasets whose expected counts are known in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from gammagrad.dataset import MapDataset
from gammagrad.maps import Map, MapAxis, PSFMap, WcsGeom

ENERGY = ("1 TeV", "10 TeV")


def make_geom(
    npix: int | tuple[int, int] = (25, 21),
    nbin: int = 3,
    binsz: float = 0.1,
    *,
    skydir: tuple[float, float] = (83.63, 22.01),
    frame: str = "icrs",
    proj: str = "TAN",
) -> WcsGeom:
    """Return a geometry of (nx, ny) pixels with logarithmic energy bins from 1 to 10 TeV."""
    axis = MapAxis.from_energy_bounds(*ENERGY, nbin=nbin)
    return WcsGeom.create(npix, binsz, skydir=skydir, frame=frame, proj=proj, axes=[axis])


def flux_per_bin(geom: WcsGeom, flux: float, index: float) -> NDArray[np.float64]:
    """Return the integral flux of a power law in each bin of "energy", of `flux` in all."""
    edges = geom.axes["energy"].edges_in("TeV")
    primitive = np.log(edges) if index == 1 else edges ** (1 - index) / (1 - index)
    return flux * np.diff(primitive) / (primitive[-1] - primitive[0])


def source_image(
    geom: WcsGeom, sigma: float, offset: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float64]:
    """Return a Gaussian integrated over flat pixels, shape (row, col).

    `offset` is its position (rows, columns) from the middle of the map, in pixels; `sigma` its
    width in deg. The sum is 1 but for what falls off the map.
    """
    scales = geom.pixel_scales.to_value("deg")[::-1]
    profiles = []
    for n, shift, scale in zip(geom.shape_image, offset, scales, strict=True):
        edges = (np.arange(n + 1) - 0.5 - ((n - 1) / 2 + shift)) * scale
        profiles.append(0.5 * np.diff(erf(edges / (np.sqrt(2) * sigma))))
    return profiles[0][:, None] * profiles[1][None, :]


def source_counts(
    geom: WcsGeom,
    flux: float = 1e-11,
    index: float = 2.0,
    *,
    exposure: float = 3e13,
    sigma: float = 0.15,
    offset: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float64]:
    """Return the expected counts of a point source, shape (energy, row, col)."""
    image = source_image(geom, sigma, offset)
    return exposure * flux_per_bin(geom, flux, index)[:, None, None] * image[None, :, :]


def make_dataset(
    npix: int | tuple[int, int] = (25, 21),
    nbin: int = 3,
    *,
    binsz: float = 0.1,
    flux: float = 1e-11,
    index: float = 2.0,
    offset: tuple[float, float] = (0.0, 0.0),
    exposure: float = 3e13,
    background: float = 0.3,
    sigma: float = 0.15,
    mask: bool = False,
    seed: int | None = 0,
    name: str = "simulated",
    **geometry: str | tuple[float, float],
) -> MapDataset:
    """Return a dataset with one point source and a flat background.

    `flux` is the integral from 1 to 10 TeV in cm-2 s-1, `exposure` is in cm2 s, `background` in
    counts per bin, `sigma` the width of the PSF in deg. With `mask`, mask_safe leaves out two
    columns at the left and the first energy in the top row. Seed None gives expected counts.
    """
    geom = make_geom(npix, nbin, binsz, **geometry)
    expected = np.full(geom.data_shape, float(background))
    expected += source_counts(geom, flux, index, exposure=exposure, sigma=sigma, offset=offset)
    if seed is None:
        counts = expected
    else:
        counts = np.random.default_rng(seed).poisson(expected).astype(float)
    axis_true = geom.axes["energy"].rename("energy_true")
    safe = np.ones(geom.data_shape, dtype=bool)
    safe[:, :, :2] = False
    safe[0, -1] = False
    return MapDataset(
        counts=Map(geom, counts),
        background=Map(geom, np.full(geom.data_shape, float(background))),
        exposure=Map(geom.to_image().to_cube([axis_true]), exposure, unit="cm2 s"),
        psf=PSFMap.from_gauss(axis_true, sigma),
        mask_safe=Map(geom, safe) if mask else None,
        name=name,
    )
