"""The instrument responses at the position of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.evaluate.sampling import kind_of
from gammagrad.maps import (
    EDispKernelMap,
    EDispMap,
    Map,
    MapAxis,
    PSFKernel,
    PSFMap,
    WcsGeom,
    diagonal_edisp,
)

Floats = NDArray[np.float64]
Dispersion = EDispKernelMap | EDispMap


def check_geometries(exposure: Map | None, geom: WcsGeom) -> MapAxis:
    """Return the axis of true energy, after checking the geometries."""
    if exposure is None:
        raise InputError("a sky model needs an exposure to predict counts, but there is none.")
    if "energy_true" not in exposure.geom.axes.names or "energy" not in geom.axes.names:
        raise InputError(
            "expected an exposure with the axis 'energy_true' and counts with the axis 'energy', "
            f"got {exposure.geom.axes.names} and {geom.axes.names}."
        )
    difference = geom.to_image().difference(exposure.geom.to_image())
    if difference:
        raise InputError(f": its pixels differ from those of the counts: {difference}.", "exposure")
    return exposure.geom.axes["energy_true"]


def finite(values: Any) -> Floats:
    """Return a copy of an array in float64, 0 where it is not finite."""
    copied = np.array(values, dtype=float)
    copied[~np.isfinite(copied)] = 0.0
    return copied


def is_compact(spatial: Any) -> bool:
    """Return whether a spatial model is evaluated on a window around it."""
    kind = kind_of(spatial)
    return kind == "point" or (kind == "extended" and spatial.evaluation_radius is not None)


def model_position(spatial: Any, geom: WcsGeom) -> SkyCoord:
    """Return the position that stands for a spatial model: where the responses are taken."""
    if is_compact(spatial):
        lon, lat = float(spatial.lon_0), float(spatial.lat_0)
        return SkyCoord(lon, lat, unit="deg", frame=spatial.frame)
    if kind_of(spatial) == "template" and spatial.geom is not None:
        centre = spatial.geom.center_skydir
        if bool(geom.contains(centre)):
            return centre
    return geom.center_skydir


def _psf_axis(psf: PSFMap, axis_true: MapAxis, axis: MapAxis) -> MapAxis:
    return axis if psf.energy_name == "energy" else axis_true


def acting(model: Any, psf: PSFMap | None) -> PSFMap | None:
    """Return the PSF that acts on a model, if any."""
    return psf if model.spatial_model is not None and model.apply_irf["psf"] else None


def narrowest_psf(
    model: Any, psf: PSFMap | None, axis_true: MapAxis, axis: MapAxis, position: SkyCoord
) -> float | None:
    """Return the smallest half width of the PSF at a position."""
    psf = acting(model, psf)
    if psf is None:
        return None
    widths = psf.half_widths(position, _psf_axis(psf, axis_true, axis))
    return float(np.nanmin(widths)) if np.isfinite(widths).any() else None


def energies_without_psf(
    model: Any, psf: PSFMap | None, axis_true: MapAxis, axis: MapAxis, position: SkyCoord
) -> NDArray[np.bool_]:
    """Return at which energies the PSF at a position is zero."""
    psf = acting(model, psf)
    if psf is None:
        return np.zeros(axis_true.nbin, dtype=bool)
    profile = psf.profile(position, _psf_axis(psf, axis_true, axis))
    return np.asarray(profile.max(axis=1) <= 0)


def responses(
    model: Any,
    psf: PSFMap | None,
    edisp: Dispersion | None,
    geom: WcsGeom,
    axis_true: MapAxis,
    position: SkyCoord,
    oversampling: int,
    sampling: str,
) -> tuple[PSFKernel | None, Floats]:
    """Return PSF kernel and energy dispersion matrix at a position."""
    axis = geom.axes["energy"]
    kernel, active = None, acting(model, psf)
    if active is not None:
        cube = geom.to_image().to_cube([_psf_axis(active, axis_true, axis)])
        kernel = active.get_psf_kernel(
            cube, position=position, oversampling=oversampling, sampling=sampling
        )
    dispersion = edisp if model.apply_irf["edisp"] else None
    return kernel, edisp_matrix(dispersion, axis_true, axis, position)


def edisp_matrix(
    edisp: Dispersion | None,
    axis_true: MapAxis,
    axis: MapAxis,
    position: SkyCoord | None = None,
) -> Floats:
    """Return the energy dispersion matrix at a position."""
    if edisp is None:
        return diagonal_edisp(axis_true, axis)
    if edisp.energy_axis_true != axis_true:
        raise InputError(
            f"energy dispersion: its true energies {edisp.energy_axis_true} differ from those of "
            f"the exposure, {axis_true}."
        )
    return edisp.get_edisp_kernel(position, axis)
