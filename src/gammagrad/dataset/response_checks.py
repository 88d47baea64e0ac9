"""Checks that the responses of a dataset are probabilities."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.dataset.checks import check_same_bins
from gammagrad.errors import InputError, InputTypeError, InputWarning
from gammagrad.maps import EDispKernelMap, EDispMap, MapAxis, PSFMap

_MOST = 1.01
# a row that ends inside the axis, with a sum below this, lost events
_LEAST = 0.9
# a row has ended where its values are below this fraction of its largest value
_ENDED = 1e-3


def check_psf(psf: Any, energy_axis: MapAxis | None) -> PSFMap | None:
    """Check the axes of a PSF, and that it is a probability: not negative, with integral 1."""
    if psf is None:
        return None
    if not isinstance(psf, PSFMap):
        raise InputTypeError(
            f": expected a PSFMap or None, got {type(psf).__name__}; PSFMap.from_gauss makes "
            "one from a width, and MapDataset.from_maps accepts psf_sigma or psf_table.",
            "psf",
        )
    if psf.energy_name == "energy" and energy_axis is not None:
        axis = psf.psf_map.geom.axes["energy"]
        check_same_bins("psf and counts have different energy bins", axis, energy_axis)
    m = psf.psf_map.to_unit("sr-1")
    values = np.nan_to_num(m.data)
    _check_sign("psf", values)
    rad = m.geom.axes["rad"]
    centres, width = rad.center_in("deg"), np.diff(rad.edges_in("deg"))
    density = 2 * np.pi * np.deg2rad(centres) * np.moveaxis(values, 1, -1)
    totals = (density * np.deg2rad(width)).sum(axis=-1)
    if not totals.max(initial=0) > _MOST:
        return psf
    # on a coarse table one of the two rules overestimates the integral
    totals = np.minimum(totals, np.trapezoid(density, np.deg2rad(centres), axis=-1))
    if totals.max() > _MOST:
        raise InputError(
            f": its integral over the sky is {totals.max():.6g}; expected at most 1 (to one per "
            "cent), a probability per solid angle. Divide it by its integral.",
            "psf",
        )
    return psf


def check_edisp(
    edisp: Any, energy_axis: MapAxis | None, energy_axis_true: MapAxis | None
) -> EDispKernelMap | EDispMap | None:
    """Check the axes of an energy dispersion, and that its probabilities sum to at most 1."""
    if edisp is None:
        return None
    if not isinstance(edisp, EDispKernelMap | EDispMap):
        raise InputTypeError(
            f": expected an EDispKernelMap, an EDispMap or None, got {type(edisp).__name__}.",
            "edisp",
        )
    m = edisp.edisp_map
    axes = m.geom.axes
    pairs = (("energy", energy_axis, "counts"), ("energy_true", energy_axis_true, "exposure"))
    for name, axis, other in pairs:
        if axis is not None and name in axes.names:
            fault = f"edisp and {other} have different bins on axis {name!r}"
            check_same_bins(fault, axes[name], axis)
    values = np.nan_to_num(m.data)
    _check_sign("edisp", values)
    if isinstance(edisp, EDispMap):
        width = np.diff(m.geom.axes["migra"].edges_in(""))
        values = values * width[None, :, None, None]
    totals = values.sum(axis=1)
    energies = edisp.energy_axis_true.center
    if totals.max(initial=0) > _MOST:
        energy = energies[np.argmax(totals.max(axis=(1, 2)))]
        raise InputError(
            f": the probabilities of true energy {energy:.4g} sum up to {totals.max():.6g}; "
            "expected at most 1 (to one per cent). Divide each row by its sum.",
            "edisp",
        )
    # the first and the last true energy with a response may have an incomplete one
    inner = np.zeros(totals.shape, dtype=bool)
    inner[1:-1] = (totals[:-2] > 0) & (totals[2:] > 0)
    least = _ENDED * values.max(axis=1)
    ended = (values[:, 0] <= least) & (values[:, -1] <= least)
    low = ended & inner & (totals > 0) & (totals < _LEAST)
    if low.any():
        energy = energies[np.argmax(low.any(axis=(1, 2)))]
        warnings.warn(
            f"edisp: the probabilities of true energy {energy:.4g} sum up to "
            f"{totals[low].min():.4g}, though they end inside the axis of reconstructed energies; "
            "expected 1. Fluxes are overestimated by the missing fraction.",
            InputWarning,
            stacklevel=4,
        )
    return edisp


def _check_sign(name: str, values: NDArray[np.float64]) -> None:
    """Check that no value is negative beyond rounding."""
    if values.min(initial=0) < -1e-6 * values.max(initial=0):
        raise InputError(
            f": values down to {values.min():.4g}; expected probabilities, which are not negative.",
            name,
        )
