"""The counts that a source would give in every bin, and energies that do not respond to it."""

from __future__ import annotations

import logging

import numpy as np

from gammagrad.dataset import MapDataset
from gammagrad.dataset.info import nice_energy
from gammagrad.evaluate import KernelEstimate, reco_exposure, template_totals
from gammagrad.maps.axes import MapAxis
from gammagrad.models import SkyModel

__all__ = ["reference_counts", "silent_bins"]

log = logging.getLogger(__name__)

# Counts below this part of what there would be with a PSF are none.
_NOISE = 1e-9
_ENERGIES = {"energy": "reconstructed energy", "energy_true": "true energy"}


def reference_counts(
    dataset: MapDataset, model: SkyModel, kernel: KernelEstimate | None
) -> np.ndarray:
    """Return the counts that a model would give per bin, if all its flux fell there.

    Energies without a PSF give none; a kernel of None asks for them all the same.
    """
    exposure = dataset.require("exposure")
    axis_true = exposure.geom.axes["energy_true"]
    factors = template_totals(model.spatial_model, axis_true)
    if kernel is not None and kernel.no_psf is not None and _psf_is_before_edisp(dataset):
        factors = np.where(kernel.no_psf, 0.0, factors)
    return reco_exposure(
        model.spectral_model,
        exposure,
        dataset.edisp,
        dataset.energy_axis,
        normalize=False,
        factors=factors,
    ).data


def _psf_is_before_edisp(dataset: MapDataset) -> bool:
    """Return whether the PSF is one of true energies."""
    return dataset.psf is not None and dataset.psf.energy_name == "energy_true"


def silent_bins(
    dataset: MapDataset, model: SkyModel, kernel: KernelEstimate, exposure: np.ndarray
) -> np.ndarray:
    """Return the energy bins that have exposure but no response for want of a PSF, and say so."""
    silent = np.zeros(len(exposure), bool)
    if kernel.no_psf is None:
        return silent
    axis = dataset.energy_axis
    if _psf_is_before_edisp(dataset):
        axis = dataset.require("exposure").geom.axes["energy_true"]
        everything = reference_counts(dataset, model, None)
        exposed = dataset.require("exposure").data.max(axis=(1, 2)) > 0
        # what comes in from other energies, by rounding of the dispersion, is no response
        most = everything.max(axis=(1, 2))
        silent = (most > 0) & (exposure.max(axis=(1, 2)) <= _NOISE * most)
    else:
        exposed = exposure.max(axis=(1, 2)) > 0
        silent = kernel.no_psf & exposed
    if np.any(lost := kernel.no_psf & exposed):
        log.warning(
            "dataset %r: there is exposure but no PSF at %s of %s; a source has no response there, "
            "and these energies are left out. Give the PSF at these energies, or mask them.",
            *(dataset.name, ", ".join(_ranges(axis, lost)), _ENERGIES[axis.name]),
        )
    return silent


def _ranges(axis: MapAxis, chosen: np.ndarray) -> list[str]:
    """Return some bins of an energy axis as ranges in words."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    edges = axis.edges
    return [
        f"{nice_energy(edges[low])} to {nice_energy(edges[high])}"
        for low, high in zip(ends[::2], ends[1::2], strict=True)
    ]
