"""Whether the responses of a dataset are probabilities."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputWarning
from gammagrad.maps import EDispKernelMap, EDispMap, PSFMap

_MOST = 1.01
# a row that ends inside the axis, and holds less than this, lost events
_LEAST = 0.9
# part of a row's largest value below which it has ended
_ENDED = 1e-3


def check_psf_values(psf: PSFMap) -> None:
    """Check that a PSF is a probability: not negative, with an integral of at most 1."""
    m = psf.psf_map.to_unit("sr-1")
    values = np.nan_to_num(m.data)
    _check_sign("psf", values)
    rad = m.geom.axes["rad"]
    centres, width = rad.center_in("deg"), np.diff(rad.edges_in("deg"))
    density = 2 * np.pi * np.deg2rad(centres) * np.moveaxis(values, 1, -1)
    totals = (density * np.deg2rad(width)).sum(axis=-1)
    if not totals.max(initial=0) > _MOST:
        return
    # a coarse table overestimates by one rule, and not by the other
    totals = np.minimum(totals, np.trapezoid(density, np.deg2rad(centres), axis=-1))
    if totals.max() > _MOST:
        raise InputError(
            f"psf: its integral over the sky is {totals.max():.6g}; expected at most 1 (to one per "
            "cent), a probability per solid angle. Divide it by its integral."
        )


def check_edisp_values(edisp: EDispKernelMap | EDispMap) -> None:
    """Check that the probabilities of an energy dispersion sum to at most 1 per true energy."""
    m = edisp.edisp_map
    values = np.nan_to_num(m.data)
    _check_sign("edisp", values)
    if isinstance(edisp, EDispMap):
        width = np.diff(m.geom.axes["migra"].edges_in(""))
        values = values * width[None, :, None, None]
    totals = values.sum(axis=1)
    if totals.max(initial=0) > _MOST:
        index = int(np.argmax(totals.max(axis=(1, 2))))
        energy = edisp.energy_axis_true.center[index]
        raise InputError(
            f"edisp: the probabilities of true energy {energy:.4g} sum up to {totals.max():.6g}; "
            "expected at most 1 (to one per cent). Divide each row by its sum."
        )
    # the first and the last true energy that has a response may have a part of one
    inner = np.zeros(totals.shape, dtype=bool)
    inner[1:-1] = (totals[:-2] > 0) & (totals[2:] > 0)
    low = _ended(values) & inner & (totals > 0) & (totals < _LEAST)
    if low.any():
        index = int(np.argmax(low.any(axis=(1, 2))))
        energy = edisp.energy_axis_true.center[index]
        warnings.warn(
            f"edisp: the probabilities of true energy {energy:.4g} sum up to "
            f"{totals[low].min():.4g}, though they end inside the axis of reconstructed energies; "
            "expected 1. Fluxes come out high by what is missing.",
            InputWarning,
            stacklevel=5,
        )


def _ended(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where the values along the second axis are small at both ends."""
    least = _ENDED * values.max(axis=1)
    return (values[:, 0] <= least) & (values[:, -1] <= least)


def _check_sign(name: str, values: NDArray[np.float64]) -> None:
    """Check that no value is negative beyond rounding."""
    if values.min(initial=0) < -1e-6 * values.max(initial=0):
        raise InputError(
            f"{name}: values down to {values.min():.4g}; expected probabilities, which are not "
            "negative."
        )
