"""Wide fields whose response changes, and the counts of point sources in them.

The counts are integrals over pixels by astropy's separations, numpy and scipy alone: nothing of the
library's own kernels or predictions enters. They come from a point source whose exposure, point
spread function and energy dispersion are taken at its own position.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from gammagrad import Map, MapDataset
from gammagrad.maps import EDispKernelMap, MapAxis, PSFMap, WcsGeom

Floats = NDArray[np.float64]

# Samples along the side of a pixel: profiles may have a core narrower than it.
_SAMPLES = 24


def shared(name: str) -> MapDataset:
    """Read a data set below $GAMMAPY_DATA."""
    return MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / name)


def hess() -> MapDataset:
    """Return the H.E.S.S. Crab field, 4.5 x 4.5 deg."""
    return shared("reduced/hess-crab.fits.gz")


def cta() -> MapDataset:
    """Return a field of 6 x 4 deg with the responses of the CTA Vela field, by offset."""
    small = shared("reduced/cta-1dc-vela.fits.gz")
    axis, axis_true = small.energy_axis, small.exposure.geom.axes["energy_true"]
    middle = small.geom.center_skydir
    image = WcsGeom.create(npix=(300, 200), binsz=0.02, skydir=middle, proj="CAR", frame="galactic")
    offset = image.get_skycoord().separation(middle).deg
    exposure = _by_offset(
        small.exposure.quantity.to_value("cm2 s"), small.geom.to_image(), middle, offset
    )
    background = _by_offset(small.npred_background().data, small.geom.to_image(), middle, offset)
    coarse = WcsGeom.create(npix=(13, 9), binsz=0.5, skydir=middle, proj="CAR", frame="galactic")
    irf = small.psf.psf_map
    away = coarse.get_skycoord().separation(middle).deg
    table = _by_offset(
        irf.data.reshape(-1, *irf.geom.shape_image), irf.geom.to_image(), middle, away
    ).reshape(*irf.data.shape[:2], *coarse.shape_image)
    psf = PSFMap(Map(coarse.to_cube([*irf.geom.axes]), table, irf.unit))
    return _dataset(image, axis, axis_true, exposure, background, psf, small.edisp, "CTA 6 x 4 deg")


def car() -> MapDataset:
    """Return a CAR map from 20 to 50 deg in latitude, with Fermi's response."""
    gc = shared("fermi-3fhl-gc/fermi-3fhl-gc.fits.gz").slice_by_idx({"energy": slice(0, 4)})
    axis, axis_true = gc.energy_axis, gc.exposure.geom.axes["energy_true"]
    middle = SkyCoord(0, 35, unit="deg", frame="galactic")
    # the reference point is on the equator, as a CAR map must have it for equal latitudes
    image = WcsGeom.create(npix=(120, 300), binsz=0.1, skydir=middle, proj="CAR", frame="galactic")
    shape, seen = image.shape_image, gc.exposure.quantity.to_value("cm2 s")
    exposure = np.broadcast_to(seen.mean(axis=(1, 2))[:, None, None], (axis_true.nbin, *shape))
    area = image.solid_angle().to_value("deg2")
    per_area = gc.npred_background().data.mean(axis=(1, 2)) / 0.05**2
    background = per_area[:, None, None] * area
    return _dataset(
        image, axis, axis_true, exposure, background, gc.psf, gc.edisp, "CAR 12 x 30 deg"
    )


def _by_offset(cube: Floats, geom: WcsGeom, middle: SkyCoord, offset: Floats) -> Floats:
    """Return a cube as a function of the offset from the middle of a field."""
    data = np.nan_to_num(np.asarray(cube, dtype=float))
    away = geom.get_skycoord().separation(middle).deg
    bins = np.linspace(0, away.max(), 16)
    which = np.clip(np.digitize(away.ravel(), bins) - 1, 0, len(bins) - 2)
    number = np.bincount(which, minlength=len(bins) - 1)
    centre = np.bincount(which, away.ravel(), len(bins) - 1) / np.maximum(number, 1)
    seen = number > 0
    means = np.array(
        [np.bincount(which, plane.ravel(), len(bins) - 1) / np.maximum(number, 1) for plane in data]
    )
    found = [np.interp(offset.ravel(), centre[seen], row[seen]) for row in means]
    return np.array(found).reshape(len(data), *offset.shape)


def _dataset(
    image: WcsGeom,
    axis: MapAxis,
    axis_true: MapAxis,
    exposure: Floats,
    background: Floats,
    psf: PSFMap,
    edisp: Any,
    name: str,
) -> MapDataset:
    """Put maps together; their energy dispersion is that of the middle."""
    cube, cube_true = image.to_cube([axis]), image.to_cube([axis_true])
    matrix = edisp.get_edisp_kernel(None, axis)
    return MapDataset(
        Map(cube, background),
        exposure=Map(cube_true, exposure, "cm2 s"),
        background=Map(cube, background),
        psf=psf,
        edisp=EDispKernelMap.from_matrix(matrix, axis_true, axis),
        name=name,
    )


def point_counts(dataset: MapDataset, flux: Floats, position: SkyCoord, exposure: Floats) -> Floats:
    """Return the expected counts of a point source, without the library's predictions."""
    # flux: of every bin of true energy; exposure: at the source, in cm2 s
    irf = dataset.psf.psf_map
    rad = irf.geom.axes["rad"]
    table = _psf_at(irf, position, dataset)
    matrix = _edisp_at(dataset, position)
    geom = dataset.geom.to_image()
    offsets, values = rad.center_in("deg"), table
    edge = float(rad.edges_in("deg")[-1])
    # the library cuts at what holds 99.9 %, here nothing is cut
    x0, y0 = (float(c) for c in geom.sky_to_pix(position))
    sub = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    ny, nx = geom.shape_image
    image = np.zeros((len(table), ny, nx))
    half = int(np.ceil(1.2 * edge / geom.pixel_size)) + 1
    rows = np.arange(max(int(y0) - half, 0), min(int(y0) + half + 1, ny))
    columns = np.arange(max(int(x0) - half, 0), min(int(x0) + half + 1, nx))
    y = (rows[:, None] + sub).ravel()
    x = (columns[:, None] + sub).ravel()
    sky = geom.pix_to_sky(x[None, :], y[:, None])
    away = sky.separation(position).deg
    area = geom.solid_angle().to_value("sr")[rows[:, None], columns[None, :]]
    for energy, profile in enumerate(values):
        fine = np.interp(away, offsets, profile) * (away <= edge)
        blocks = fine.reshape(rows.size, _SAMPLES, columns.size, _SAMPLES).mean(axis=(1, 3))
        image[energy, rows[:, None], columns[None, :]] = blocks * area
    total = integral_of(offsets, edge, values)
    image /= np.where(total > 0, total, 1.0)[:, None, None]
    return np.einsum("t,tr,tyx->ryx", flux * exposure, matrix, image, optimize=True)


def integral_of(offsets: Floats, edge: float, values: Floats) -> Floats:
    """Integrate profiles over the sky."""
    fine = np.linspace(0, edge, 20001)
    weights = 2 * np.pi * np.deg2rad(fine) * np.deg2rad(fine[1])
    return np.array([(np.interp(fine, offsets, row) * weights).sum() for row in values])


def _psf_at(irf: Map, position: SkyCoord, dataset: MapDataset) -> Floats:
    """Return the point spread function by true energy and offset, linear between its pixels."""
    data = np.nan_to_num(irf.to_unit("sr-1").data)
    energies = np.log(irf.geom.axes["energy_true"].center_in("TeV"))
    wanted = np.log(dataset.exposure.geom.axes["energy_true"].center_in("TeV"))
    if data.shape[-2:] == (1, 1):
        table = data[:, :, 0, 0]
    else:
        x, y = irf.geom.to_image().sky_to_pix(position)
        ny, nx = data.shape[-2:]
        at = np.array([[np.clip(float(y), 0, ny - 1)], [np.clip(float(x), 0, nx - 1)]])
        planes = data.reshape(-1, ny, nx)
        found = [map_coordinates(plane, at, order=1)[0] for plane in planes]
        table = np.array(found).reshape(data.shape[:2])
    return np.array([np.interp(wanted, energies, column) for column in table.T]).T


def _edisp_at(dataset: MapDataset, position: SkyCoord) -> Floats:
    """Return the energy dispersion of the pixel that a position is in."""
    m = dataset.edisp.edisp_map
    data = np.nan_to_num(m.data)
    row = column = 0
    if data.shape[-2:] != (1, 1):
        x, y = (float(c) for c in m.geom.to_image().sky_to_pix(position))
        row = int(np.clip(np.ceil(y - 0.5), 0, data.shape[-2] - 1))
        column = int(np.clip(np.ceil(x - 0.5), 0, data.shape[-1] - 1))
    return np.asarray(data[:, :, row, column], dtype=float)


def random_places(dataset: MapDataset, number: int, seed: int, least: float = 0.02) -> list[Any]:
    """Return pixels with at least a part of the largest exposure."""
    seen = dataset.exposure.data.max(axis=0)
    places = np.argwhere(seen > least * seen.max())
    chosen = np.random.default_rng(seed).choice(len(places), number, replace=False)
    return [tuple(int(c) for c in places[i]) for i in chosen]


def offset_of(dataset: MapDataset, place: tuple[int, int]) -> float:
    """Return how far a pixel is from the middle of the map, in deg."""
    position = dataset.geom.to_image().pix_to_sky(place[1], place[0])
    return float(position.separation(dataset.geom.center_skydir).to_value(u.deg))
