"""What a map fit needs of a dataset, as arrays."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad.core.convolve import convolve
from gammagrad.core.windows import BinImages, cube_bins, summed_bins
from gammagrad.dataset import MapDataset
from gammagrad.evaluate import KernelEstimate, reco_exposure
from gammagrad.maps.map import Map
from gammagrad.models import SkyModel

__all__ = ["FitInputs", "fit_inputs", "matched_filter", "valid_positions"]


class FitInputs(NamedTuple):
    """Arrays of one dataset, shape (energies, rows, cols), and its kernel.

    Attributes
    ----------
    counts
        Observed counts; zero outside the mask.
    background
        Counts expected without the source, per bin; zero outside the mask.
    exposure
        Counts that the reference spectrum would give per bin, if all its flux fell there; zero
        outside the mask.
    mask
        Bins that enter the fit, bool.
    kernel
        Shape of the source per reconstructed energy.
    containment
        Fraction of the source that the kernel holds, per reconstructed energy.
    trim
        Whether an energy group's kernel may be cut to its own support: true where the point
        spread function depends on reconstructed energy.
    """

    counts: np.ndarray
    background: np.ndarray
    exposure: np.ndarray
    mask: np.ndarray
    kernel: Map
    containment: np.ndarray
    trim: bool

    def images(
        self, bins: slice, sum_energies: bool, kernel_weighting: str
    ) -> tuple[BinImages, np.ndarray]:
        """Return the bins of an energy group as images, and the positions to fit.

        Parameters
        ----------
        bins
            The group's energy bins.
        sum_energies
            Whether to sum them into one image.
        kernel_weighting
            How, as for `gammagrad.core.windows.summed_bins`.

        Returns
        -------
        BinImages
            The images.
        ndarray
            Positions to fit: some energy unmasked and some background, bool, shape (rows, cols).
        """
        counts, background, exposure, mask = (
            array[bins] for array in (self.counts, self.background, self.exposure, self.mask)
        )
        kernel = _support(self.kernel.data[bins]) if self.trim else self.kernel.data[bins]
        arrays = (counts, background, exposure, kernel, mask.astype(np.float64))
        fitted = mask.any(axis=0) & (background.sum(axis=0) > 0)
        if not sum_energies:
            return _cube(*arrays), fitted
        # one mask for all energies: their plain mean is a single component
        if kernel_weighting == "equal" and np.array_equal(mask.all(axis=0), mask.any(axis=0)):
            total = [a.sum(axis=0, keepdims=True) for a in (counts, background, exposure)]
            mean = kernel.mean(axis=0, keepdims=True)
            return _cube(*total, mean, mask[:1].astype(np.float64)), fitted
        return _summed(*arrays, kernel_weighting), fitted


_cube = jax.jit(cube_bins)
_summed = partial(jax.jit, static_argnames="kernel_weighting")(summed_bins)


def _support(kernel: np.ndarray) -> np.ndarray:
    """Cut a kernel to the smallest centred square that holds all of it."""
    ky, kx = kernel.shape[-2:]
    rows, cols = np.nonzero((kernel > 0).any(axis=0))
    reach = max(np.abs(rows - ky // 2).max(initial=0), np.abs(cols - kx // 2).max(initial=0))
    cut_y, cut_x = max(ky // 2 - reach, 0), max(kx // 2 - reach, 0)
    return kernel[:, cut_y : ky - cut_y, cut_x : kx - cut_x]


def fit_inputs(
    dataset: MapDataset, model: SkyModel, mask: np.ndarray, kernel: KernelEstimate
) -> FitInputs:
    """Collect a dataset's arrays for the fit of a model at every pixel.

    Parameters
    ----------
    dataset
        The dataset.
    model
        The source to test.
    mask
        Bins that enter the fit, bool, shape (energies, rows, cols).
    kernel
        The source's shape, and how much of it the kernel holds.

    Returns
    -------
    FitInputs
        The arrays, all new.
    """
    exposure_map = dataset.require("exposure")
    exposure = reco_exposure(
        model.spectral_model, exposure_map, dataset.edisp, dataset.energy_axis, normalize=False
    )
    background = dataset.npred().data

    def masked(values: np.ndarray) -> np.ndarray:
        return np.where(mask, values, 0.0).astype(np.float64)

    return FitInputs(
        counts=masked(dataset.require("counts").data),
        background=masked(background),
        exposure=masked(exposure.data),
        mask=mask,
        kernel=kernel.kernel,
        containment=np.asarray(kernel.containment),
        trim=dataset.psf is not None and dataset.psf.energy_name == "energy",
    )


def valid_positions(inputs: FitInputs, bins: slice) -> str:
    """Say why an energy group has no position to fit.

    Parameters
    ----------
    inputs
        The arrays.
    bins
        The group's energy bins.

    Returns
    -------
    str
        Text for an error.
    """
    if not inputs.mask[bins].any():
        return (
            "No valid positions: the mask is False in every bin of the energy group. Check "
            "mask_safe, mask_fit and energy_edges."
        )
    return (
        "No valid positions: the background is zero in every unmasked bin of the energy group. "
        "Set a background, or models that predict one."
    )


@jax.jit
def _filter(excess: Array, exposure: Array, kernel: Array, mask: Array) -> Array:
    """Convolve excess over exposure with the kernel, normalised to respond to its own shape."""
    exposed = exposure > 0
    rate = jnp.where(exposed, excess / jnp.where(exposed, exposure, jnp.ones_like(exposure)), 0)
    response = kernel / (kernel**2).sum()
    return (jax.vmap(convolve)(rate, response) * mask).sum(axis=0)


def matched_filter(
    dataset: MapDataset, model: SkyModel, kernel: Map, exposure: Map | None = None
) -> Map:
    """Guess the flux at every pixel by a matched filter.

    Each energy's excess over exposure is convolved with the kernel and divided by the sum of the
    kernel's squares over all energies, as gammapy does: for one energy it is the flux of a source
    alone, for several about their mean.

    Parameters
    ----------
    dataset
        The dataset.
    model
        The source to test.
    kernel
        Its kernel.
    exposure
        Exposure in reconstructed energy; default: that of the model's spectrum.

    Returns
    -------
    Map
        Integral flux, cm-2 s-1, one image.
    """
    if exposure is None:
        exposure = reco_exposure(
            model.spectral_model,
            dataset.require("exposure"),
            dataset.edisp,
            dataset.energy_axis,
            normalize=True,
        )
    counts = dataset.require("counts")
    mask = np.ones(counts.data.shape) if dataset.mask is None else dataset.mask.data * 1.0
    excess = counts.data - np.nan_to_num(dataset.npred().data)
    with jax.enable_x64(True):
        flux = np.asarray(
            _filter(excess, exposure.quantity.to_value("cm2 s"), kernel.data.astype(float), mask)
        )
    return Map(counts.geom.squash("energy"), flux[None], unit="cm-2 s-1")
