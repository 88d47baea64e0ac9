"""The counts that a source would give in every bin, and energies that do not respond to it."""

from __future__ import annotations

import logging

import numpy as np

from gammagrad.dataset import AnyMapDataset, nice_energy
from gammagrad.evaluate import energies_without_psf, reco_exposure, template_totals
from gammagrad.maps import MapAxis
from gammagrad.models import SkyModel

log = logging.getLogger(__name__)

# Counts below this part of what there would be with a PSF are none.
_NOISE = 1e-9
_ENERGIES = {"energy": "reconstructed energy", "energy_true": "true energy"}


def reference_counts(dataset: AnyMapDataset, model: SkyModel) -> np.ndarray:
    """Return the counts that a model would give per bin, if all its flux fell there."""
    # Energies without a PSF give none.
    no_psf = _without_psf(dataset, model)
    return _counts(dataset, model, no_psf if _psf_is_before_edisp(dataset) else None)


def _counts(dataset: AnyMapDataset, model: SkyModel, left_out: np.ndarray | None) -> np.ndarray:
    """Return the counts of a model without those of some true energies."""
    exposure = dataset.require("exposure")
    factors = template_totals(model.spatial_model, exposure.geom.axes["energy_true"])
    if left_out is not None:
        factors = np.where(left_out, 0.0, factors)
    return reco_exposure(
        model.spectral_model,
        exposure,
        dataset.edisp,
        dataset.energy_axis,
        normalize=False,
        factors=factors,
    ).data


def _without_psf(dataset: AnyMapDataset, model: SkyModel) -> np.ndarray:
    """Return the energies without a PSF, true or reconstructed as the PSF's are."""
    axis_true = dataset.require("exposure").geom.axes["energy_true"]
    position = dataset.geom.center_skydir
    return energies_without_psf(model, dataset.psf, axis_true, dataset.energy_axis, position)


def _psf_is_before_edisp(dataset: AnyMapDataset) -> bool:
    """Return whether the PSF is one of true energies."""
    return dataset.psf is not None and dataset.psf.energy_name == "energy_true"


def silent_bins(dataset: AnyMapDataset, model: SkyModel, exposure: np.ndarray) -> np.ndarray:
    """Return the energy bins that have exposure but no response for want of a PSF, and say so."""
    no_psf = _without_psf(dataset, model)
    if not no_psf.any():
        return np.zeros(len(exposure), bool)
    axis = dataset.energy_axis
    if _psf_is_before_edisp(dataset):
        axis = dataset.require("exposure").geom.axes["energy_true"]
        exposed = _largest(dataset.require("exposure").data) > 0
        most = _largest(_counts(dataset, model, None))
        # what comes in from other energies, by rounding of the dispersion, is no response
        silent = (most > 0) & (_largest(exposure) <= _NOISE * most)
    else:
        exposed = _largest(exposure) > 0
        silent = no_psf & exposed
    if np.any(lost := no_psf & exposed):
        log.warning(
            "dataset %r: there is exposure but no PSF at %s of %s; a source has no response there, "
            "and these energies are left out. Give the PSF at these energies, or mask them.",
            *(dataset.name, ", ".join(_ranges(axis, lost)), _ENERGIES[axis.name]),
        )
    return silent


def _largest(cube: np.ndarray) -> np.ndarray:
    """Return the largest finite value of each image."""
    return np.asarray(np.where(np.isfinite(cube), cube, 0.0).max(axis=(1, 2)))


def _ranges(axis: MapAxis, chosen: np.ndarray) -> list[str]:
    """Return some bins of an energy axis as ranges in words."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    edges = axis.edges
    return [
        f"{nice_energy(edges[low])} to {nice_energy(edges[high])}"
        for low, high in zip(ends[::2], ends[1::2], strict=True)
    ]
