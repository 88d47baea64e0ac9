"""The significance of the counts over the predicted counts."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from gammagrad.core.images import convolve
from gammagrad.core.stats import lima_significance_known_background
from gammagrad.errors import InputError
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import Map, disc_kernel, to_value
from gammagrad.models import SkyModel
from gammagrad.plot.marks import positions
from gammagrad.plot.sky import plot_map


def _source(model: SkyModel, position: SkyCoord, norm: float, name: str) -> SkyModel:
    """Return a model moved to a position and scaled."""
    spectrum, shape = model.spectral_model, model.spatial_model
    factor = "amplitude" if "amplitude" in spectrum.parameters else "norm"
    spectrum = spectrum.with_parameters(**{factor: spectrum.parameters[factor] * norm})
    there = position.transform_to(shape.frame)
    shape = shape.with_position(there.spherical.lon.deg, there.spherical.lat.deg)
    return SkyModel(spectral_model=spectrum, spatial_model=shape, name=name)


def _npred_of_peaks(maps: FluxMaps, dataset: Any, peaks: Table) -> NDArray[np.float64]:
    """Return the predicted counts of the sources found, each in its own energy group."""
    centers = dataset.energy_axis.center_in("TeV")
    edges = maps.energy_axis.edges_in("TeV")
    sky = positions(peaks)
    total = np.zeros(dataset.counts.data.shape)
    for group in range(maps.energy_axis.nbin):
        chosen = np.flatnonzero(np.asarray(peaks["energy_group"]) == group)
        inside = (centers > edges[group]) & (centers < edges[group + 1])
        if not len(chosen) or not inside.any():
            continue
        models = [
            _source(maps.reference_model, sky[i], float(peaks["norm"][i]), f"peak-{i}")
            for i in chosen
        ]
        total[inside] += dataset.npred_signal(models).data[inside]
    return total


def residual_map(
    dataset: Any,
    maps: FluxMaps | None = None,
    peaks: Table | None = None,
    radius: Any = "0.1 deg",
) -> Map:
    """Return the significance of counts over predicted counts, summed in a disc.

    Counts ``n`` and predicted counts ``mu`` are summed over the unmasked energies and over a disc
    around every pixel; the value is ``sign(n - mu) sqrt(2 (n log(n / mu) - n + mu))``. Where the
    model is right its distribution is close to a standard normal.

    Parameters
    ----------
    dataset : MapDataset
        The data; ``mu`` is their background and models.
    maps : FluxMaps, optional
        Maps of the same data, for the norms and the shape of the peaks.
    peaks : astropy.table.Table, optional
        Sources found in the maps (`find_peaks`) to add to ``mu``. Each was fitted alone: the flux
        of overlapping sources is counted more than once.
    radius : str or Quantity
        Radius of the disc; less than a pixel means no smoothing.

    Returns
    -------
    Map
        The significance on the dataset's image geometry, NaN where all bins are masked.

    Raises
    ------
    ValueError
        If peaks are given without maps that have a reference model.

    References
    ----------
    Li and Ma (1983), ApJ 272, 317, equation 17, for an exactly known background.
    """
    if peaks is not None and (maps is None or maps.reference_model is None):
        raise InputError(": to take them out, pass the maps they were found in as well.", "peaks")
    mu = np.array(dataset.npred().data, dtype=float)
    if peaks is not None and maps is not None:
        mu += _npred_of_peaks(maps, dataset, peaks)
    counts = np.array(dataset.counts.data, dtype=float)
    keep = np.isfinite(mu) & np.isfinite(counts)
    if dataset.mask is not None:
        keep &= np.asarray(dataset.mask.data, dtype=bool)
    geom = dataset.counts.geom.to_image()
    smooth = to_value(radius, "deg", "radius") > 0
    disc = disc_kernel(geom, radius, name="radius") if smooth else np.ones((1, 1))
    images = [np.where(keep, x, 0.0).sum(axis=0) for x in (counts, mu)]
    with jax.enable_x64(True):
        sums = [np.asarray(convolve(image, disc)) if disc.size > 1 else image for image in images]
        # an FFT leaves noise where there is nothing
        n, total = (np.where(s > 1e-12 * max(s.max(), 1.0), s, 0.0) for s in sums)
        value = np.array(lima_significance_known_background(n, total))
    value[~keep.any(axis=0)] = np.nan
    return Map.from_geom(geom, data=np.where(np.isfinite(value), value, np.nan))


def plot_residuals(
    maps: FluxMaps,
    dataset: Any,
    *,
    peaks: Table | None = None,
    radius: Any = "0.1 deg",
    ax: Any = None,
    **kwargs: Any,
) -> Any:
    """Draw the residual map of a dataset.

    Parameters
    ----------
    maps : FluxMaps
        Maps of the same data.
    dataset : MapDataset
        The data.
    peaks : astropy.table.Table, optional
        Sources found in the maps, to be taken out and circled.
    radius : str or Quantity
        Radius of the disc in which counts are summed.
    ax : WCSAxes, optional
        Where to draw.
    **kwargs
        Options of `plot_map`.

    Returns
    -------
    WCSAxes
        The axes.
    """
    residual = residual_map(dataset, maps, peaks, radius)
    options = {"label": "residual significance", "peaks": peaks, "title": "", **kwargs}
    return plot_map(residual, ax, name="residual", **options)
