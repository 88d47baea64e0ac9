"""A small field whose responses and exposure change from place to place."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from scipy.special import erf

from gammagrad.dataset import MapDataset
from gammagrad.maps import EDispKernelMap, Map, MapAxis, PSFMap, WcsGeom

Floats = NDArray[np.float64]

MIDDLE = SkyCoord(83.6, 22.0, unit="deg", frame="icrs")
TRUE = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=4, name="energy_true")
RECO = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=2)


def sigma_at(offset: Floats, energy: int) -> Floats:
    """Return the width of the point spread function in deg."""
    return (0.09 - 0.01 * energy) * (1 + 0.25 * offset**2)


def exposure_at(offset: Floats) -> Floats:
    """Return the exposure in cm2 s."""
    return 1e13 * np.exp(-0.5 * (offset / 0.9) ** 2)


def psf_map(binsz: float = 0.4, npix: int = 9, n_rad: int = 91) -> PSFMap:
    """Return Gaussians that are wider further out, on coarse pixels."""
    rad = MapAxis(np.linspace(0, 0.9, n_rad), name="rad", unit="deg", node_type="center")
    coarse = WcsGeom.create(npix, binsz, skydir=MIDDLE, proj="TAN", axes=[rad, TRUE])
    away = coarse.to_image().get_skycoord().separation(MIDDLE).deg
    radii = rad.center_in("deg")
    values = np.empty(coarse.data_shape)
    for energy in range(TRUE.nbin):
        width = sigma_at(away, energy)[None]
        values[energy] = np.exp(-0.5 * (radii[:, None, None] / width) ** 2) / (
            2 * np.pi * np.deg2rad(width) ** 2
        )
    return PSFMap(Map(coarse, values, "sr-1"))


def edisp_map() -> EDispKernelMap:
    """Return matrices that leak more on the northern half than on the southern one."""
    coarse = WcsGeom.create(2, 2.0, skydir=MIDDLE, proj="TAN", axes=[RECO, TRUE])
    values = np.zeros(coarse.data_shape)
    for row, leak in enumerate((0.05, 0.25)):
        own = np.array([[1 - leak, leak], [1 - leak, leak], [leak, 1 - leak], [leak, 1 - leak]])
        values[:, :, row] = own[..., None]
    return EDispKernelMap(Map(coarse, values))


def varying_dataset(
    npix: tuple[int, int] = (41, 31),
    binsz: float = 0.06,
    *,
    background: float = 0.4,
    seed: int | None = 0,
    **parts: Any,
) -> MapDataset:
    """Return the field, with Poisson counts of its background unless `seed` is None."""
    geom = WcsGeom.create(npix, binsz, skydir=MIDDLE, proj="TAN", axes=[RECO])
    away = geom.to_image().get_skycoord().separation(MIDDLE).deg
    expected = background * np.exp(-away / 2) * np.array([1.0, 0.3])[:, None, None]
    counts = expected if seed is None else np.random.default_rng(seed).poisson(expected)
    spectrum = np.array([0.6, 0.8, 1.0, 1.2])[:, None, None]
    given = {"psf": psf_map(), "edisp": edisp_map()} | parts
    return MapDataset(
        Map(geom, np.asarray(counts, dtype=float)),
        exposure=Map(geom.to_image().to_cube([TRUE]), exposure_at(away) * spectrum, "cm2 s"),
        background=Map(geom, expected),
        name="varying",
        **given,
    )


def gaussian_pixels(geom: WcsGeom, position: SkyCoord, sigma: float) -> Floats:
    """Return a Gaussian integrated over the pixels of a small map, flat around its position."""
    x, y = (float(c) for c in geom.to_image().sky_to_pix(position))
    step = geom.pixel_scales.to_value("deg")
    lines = []
    for size, place, side in zip(geom.shape_image, (y, x), step[::-1], strict=True):
        edges = (np.arange(size + 1) - 0.5 - place) * side
        lines.append(0.5 * np.diff(erf(edges / (np.sqrt(2) * sigma))))
    return lines[0][:, None] * lines[1][None, :]
