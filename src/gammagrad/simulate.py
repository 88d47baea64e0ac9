"""Simulated fields: maps of an observation with known sources.

`simulate_field` makes a field; `asimov` and `poisson` put the expected counts, or a Poisson draw of
them, into an existing dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray

from gammagrad.dataset import MapDataset
from gammagrad.errors import InputTypeError
from gammagrad.evaluate import evaluate_npred, flux_of_reference
from gammagrad.maps import Map, MapAxis, PSFMap, WcsGeom, to_value
from gammagrad.models import (
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    SpatialModel,
)

Floats = NDArray[np.float64]

CENTRE = (30.0, 0.0)
"""Galactic longitude and latitude of the middle of the field, deg."""


class _Source(NamedTuple):
    """A source of the field; place and size in units of half the field's width."""

    name: str
    lon: float
    lat: float
    flux: float  # cm-2 s-1 between the ends of the energy axis
    size: float = 0.0  # sigma of a Gaussian; 0 is a point


_SOURCES = (
    _Source("A", 0.127, 0.063, 2.4e-12),
    _Source("B", -0.482, 0.371, 9.0e-13),
    _Source("C", -0.404, -0.393, 3.6e-13),
    _Source("D", 0.306, -0.563, 1.9e-13),
    _Source("E", 0.031, 0.607, 1.3e-13),
    _Source("nebula", 0.578, 0.412, 2.2e-12, size=0.08),
)
_INDEX = 2.0


@dataclass(frozen=True)
class SimulatedField:
    """A simulated observation and its true sources.

    Parameters
    ----------
    dataset : MapDataset
        Counts, background, exposure and point spread function; the sources are not among its
        models.
    sources : QTable
        One row per source: ``name``, ``kind`` ("point" or "gauss"), ``ra``, ``dec``, ``glon``,
        ``glat`` and ``sigma`` in deg, ``index``, ``flux`` in cm-2 s-1 over the whole energy axis,
        ``npred`` (expected counts on the map), and ``sqrt_ts``, the expected significance for an
        isolated source of known position, shape and spectrum.
    models : Models
        The sources as sky models.
    """

    dataset: MapDataset
    sources: QTable
    models: Models


def simulate_field(
    seed: int = 0,
    npix: int = 200,
    binsz: float = 0.025,
    nbin: int = 5,
    livetime: Any = "50 h",
    brightness: float = 1.0,
) -> SimulatedField:
    """Simulate a field on the Galactic plane as a Cherenkov telescope would see it.

    The field has five point sources and an extended one, an instrumental background and diffuse
    emission along the plane (both in the dataset's background), a point spread function that
    narrows with energy, and an exposure that falls off towards the edge. All sources have a power
    law of index 2. Their positions, and the size of the extended source, scale with the field.

    Parameters
    ----------
    seed
        Seed of the Poisson counts.
    npix
        Number of pixels along each side.
    binsz
        Size of a pixel, deg.
    nbin
        Number of energy bins between 1 and 30 TeV.
    livetime
        Time of observation, a quantity or text, or seconds.
    brightness
        Factor on the fluxes of the sources.

    Returns
    -------
    SimulatedField
        The dataset and its true sources.

    Raises
    ------
    ValueError
        If there are no pixels or bins, or the livetime cannot be read.

    Examples
    --------
    >>> field = simulate_field(seed=1, npix=30, nbin=2)
    >>> field.dataset
    <MapDataset 'simulated field', 2 x 30 x 30>
    >>> field.sources["kind"].tolist()
    ['point', 'point', 'point', 'point', 'point', 'gauss']
    """
    axis = MapAxis.from_energy_bounds("1 TeV", "30 TeV", nbin=nbin)
    geom = WcsGeom.create(npix, binsz, skydir=CENTRE, frame="galactic", axes=[axis])
    exposure = _exposure(geom, float(to_value(livetime, "s", "livetime")))
    axis_true = exposure.geom.axes["energy_true"]
    dataset = MapDataset(
        background=_background(geom, exposure),
        exposure=exposure,
        psf=PSFMap.from_gauss(axis_true, 0.08 * axis_true.center_in("TeV") ** -0.2),
        name="simulated field",
    )
    models = Models([_sky_model(source, geom, brightness) for source in _SOURCES])
    npreds = {model.name: _npred(model, dataset) for model in models}
    expected = dataset.require("background").data + sum(npreds.values())
    dataset.counts = Map(geom, np.random.default_rng(seed).poisson(expected).astype(float))
    return SimulatedField(dataset, _table(models, npreds, dataset), models)


def asimov(dataset: MapDataset, models: Any = None) -> MapDataset:
    """Return a dataset with the expected counts, without noise.

    Parameters
    ----------
    dataset
        Background, exposure and responses; its counts are not used.
    models
        Sources in the field, a model or several; by default the dataset's models.

    Returns
    -------
    MapDataset
        A copy with other counts. Its models are those of `dataset`, so that a fit can look for the
        sources in `models`. Bins with an unknown (NaN) background have no counts.

    Raises
    ------
    ValueError
        If there are models but no exposure.

    Examples
    --------
    >>> field = simulate_field(seed=1, npix=20, nbin=2)
    >>> dataset = asimov(field.dataset, field.models["A"])
    >>> excess = dataset.counts.data - dataset.background.data
    >>> float(excess.sum()) > 10
    True
    """
    return _with_counts(dataset, _expected(dataset, models))


def poisson(dataset: MapDataset, seed: int = 0, models: Any = None) -> MapDataset:
    """Return a dataset with a Poisson draw of the expected counts.

    Parameters
    ----------
    dataset
        Background, exposure and responses; its counts are not used.
    seed
        Seed of the draw.
    models
        Sources in the field, a model or several; by default the dataset's models.

    Returns
    -------
    MapDataset
        A copy with other counts, as from `asimov`.

    Raises
    ------
    ValueError
        If there are models but no exposure.
    """
    expected = _expected(dataset, models)
    return _with_counts(dataset, np.random.default_rng(seed).poisson(expected).astype(float))


def _expected(dataset: MapDataset, models: Any) -> Floats:
    """Return the counts expected from background and models."""
    if not isinstance(dataset, MapDataset):
        raise InputTypeError(
            f": expected a MapDataset, got {type(dataset).__name__}; the to_map_dataset() of an "
            "ON/OFF dataset has a background to draw counts from.",
            "dataset",
        )
    if models is not None:
        dataset = dataset.copy()
        dataset.models = models
    return np.nan_to_num(np.asarray(dataset.npred().data, dtype=float), nan=0.0)


def _with_counts(dataset: MapDataset, counts: Floats) -> MapDataset:
    result = dataset.copy()
    result.counts = Map(dataset.geom, counts)
    return result


def _exposure(geom: WcsGeom, seconds: float) -> Map:
    """Return an effective area that grows with energy and falls off from the middle."""
    axis = geom.axes["energy"].rename("energy_true")
    energy = axis.center_in("TeV")[:, None, None]
    offset = geom.separation(geom.center_skydir).to_value("deg")[None, :, :]
    # the field of view widens with energy
    width = 1.7 * energy**0.1
    area = 2e9 * energy**0.4 / (1 + 0.02 * energy) * np.exp(-0.5 * (offset / width) ** 2)
    return Map(geom.to_image().to_cube([axis]), area * seconds, unit="cm2 s")


def _background(geom: WcsGeom, exposure: Map) -> Map:
    """Return misidentified cosmic rays, and diffuse emission along the Galactic plane."""
    axis = geom.axes["energy"]
    _, lat = geom.get_coord("galactic")
    # amplitudes are per sr
    cosmic_rays = flux_of_reference(PowerLawSpectralModel(index=2.5, amplitude=1.3e-8), axis)
    diffuse = flux_of_reference(PowerLawSpectralModel(index=2.3, amplitude=6e-9), axis)
    plane = np.exp(-0.5 * (lat / 0.35) ** 2)
    flux = cosmic_rays[:, None, None] + diffuse[:, None, None] * plane[None, :, :]
    return Map(geom, flux * exposure.data * geom.solid_angle().to_value("sr")[None, :, :])


def _sky_model(source: _Source, geom: WcsGeom, brightness: float) -> SkyModel:
    half = 0.5 * geom.width.to_value("deg")[1]
    # the field is too small for the sphere to matter
    lon, lat = CENTRE[0] + source.lon * half, CENTRE[1] + source.lat * half
    unit = PowerLawSpectralModel(_INDEX, amplitude=1.0)
    amplitude = brightness * source.flux / flux_of_reference(unit, geom.axes["energy"]).sum()
    spatial: SpatialModel = PointSpatialModel(lon, lat, frame="galactic")
    if source.size:
        spatial = GaussianSpatialModel(lon, lat, sigma=source.size * half, frame="galactic")
    return SkyModel(PowerLawSpectralModel(_INDEX, amplitude), spatial, name=source.name)


def _npred(model: SkyModel, dataset: MapDataset) -> Floats:
    return evaluate_npred(model, dataset.require("exposure"), dataset.psf, None, dataset.geom).data


def _asimov_sqrt_ts(npred: Floats, background: Floats) -> float:
    """Return the significance of a source in exactly the expected counts."""
    total = background + npred
    return float(np.sqrt(2 * np.sum(total * np.log1p(npred / background) - npred)))


def _table(models: Models, npreds: dict[str, Floats], dataset: MapDataset) -> QTable:
    """Return the sources of a field as a table."""
    background = dataset.require("background").data
    shapes = [model.spatial_model for model in models]
    lon, lat = ([float(getattr(s, key)) for s in shapes] for key in ("lon_0", "lat_0"))
    sky = SkyCoord(lon, lat, unit="deg", frame="galactic")
    fluxes = [flux_of_reference(m.spectral_model, dataset.energy_axis).sum() for m in models]
    table = QTable()
    table["name"] = models.names
    table["kind"] = [shape.tag[1] for shape in shapes]
    table["ra"], table["dec"] = sky.icrs.ra.to("deg"), sky.icrs.dec.to("deg")
    table["glon"], table["glat"] = sky.l.to("deg"), sky.b.to("deg")
    table["sigma"] = [float(getattr(shape, "sigma", 0.0)) for shape in shapes] * u.deg
    table["index"] = [float(model.spectral_model.index) for model in models]
    table["flux"] = u.Quantity(fluxes, "cm-2 s-1")
    table["npred"] = [float(npreds[name].sum()) for name in models.names]
    table["sqrt_ts"] = [_asimov_sqrt_ts(npreds[name], background) for name in models.names]
    formats = {"sigma": ".2f", "flux": ".3g", "npred": ".1f", "sqrt_ts": ".2f"}
    formats |= dict.fromkeys(("ra", "dec", "glon", "glat"), ".4f")
    for name, text in formats.items():
        table[name].info.format = text
    return table
