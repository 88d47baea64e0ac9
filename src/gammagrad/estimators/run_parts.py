"""The parts of a run of the map estimator that are of use by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np

from gammagrad.core.options import FitOptions, parse_selection
from gammagrad.core.solve import N_SWEEPS
from gammagrad.dataset import MapDataset
from gammagrad.estimators.configurable import Configurable
from gammagrad.estimators.downsampling import (
    CoarseGrid,
    check_downsampling_factor,
    coarse_grid,
)
from gammagrad.estimators.groups import FitSettings
from gammagrad.estimators.input_maps import default_flux, default_mask, fit_input_maps
from gammagrad.estimators.inputs import FitInputs, fit_inputs
from gammagrad.estimators.kernel_sizes import kernel_sizes
from gammagrad.estimators.scan import scan_values
from gammagrad.evaluate import KernelEstimate, estimate_kernel
from gammagrad.maps.map import Map
from gammagrad.models import SkyModel
from gammagrad.parallel import resolve_jobs

__all__ = ["RunParts"]


class RunParts(Configurable):
    """The steps before the fit of `TSMapEstimator`, which is the class to use."""

    model: SkyModel
    kernel_width: u.Quantity | None
    downsampling_factor: int | None
    n_sigma: float
    n_sigma_ul: float
    n_sigma_sensitivity: float
    threshold: float | None
    rtol: float
    selection_optional: list[str]
    sum_over_energy_groups: bool
    n_jobs: int | None
    parallel_backend: str | None
    norm: Any
    max_niter: int
    norm_min: float | None
    gamma_min: float
    bkg_syst_fraction: float
    background_floor: float | None
    kernel_containment: float | None
    renormalise: bool
    kernel_weighting: str
    kernel_sampling: str
    memory: int | None

    def estimate_kernel(self, dataset: MapDataset) -> Map:
        """Fold the model with the response at the map's centre, or where exposure is nearest.

        Parameters
        ----------
        dataset
            Exposure, point spread function, energy dispersion and geometry.

        Returns
        -------
        Map
            The kernel; its sum in each reconstructed energy bin is 1, or with
            ``renormalise=False`` the part of the source that it holds.

        Raises
        ------
        ValueError
            If there is no exposure anywhere.
        """
        return self._kernel(dataset).kernel

    @staticmethod
    def estimate_mask_default(dataset: MapDataset) -> Map:
        """Return the bins that enter a fit: inside both masks, with a finite prediction.

        Parameters
        ----------
        dataset
            The dataset.

        Returns
        -------
        Map
            Mask with the axes of the counts.
        """
        return default_mask(dataset)

    def estimate_pad_width(self, dataset: MapDataset, kernel: Map | None = None) -> tuple[int, int]:
        """Return half the kernel's size: how far beyond the map a kernel at its edge reaches.

        Parameters
        ----------
        dataset
            The dataset.
        kernel
            Its kernel, if known already.

        Returns
        -------
        tuple of int
            Pixels along rows and columns. `run` needs no padding: what lies outside the map has
            no weight.
        """
        shape = (self.estimate_kernel(dataset) if kernel is None else kernel).data.shape
        return shape[-2] // 2, shape[-1] // 2

    def estimate_fit_input_maps(self, dataset: MapDataset) -> dict[str, Map | None]:
        """Return the maps that enter the fit of a dataset taken as one energy group.

        Parameters
        ----------
        dataset
            The dataset.

        Returns
        -------
        dict of str to Map
            counts, background, exposure (counts that the reference spectrum would give), norm
            (the matched filter's guess), mask, weights and kernel. Weights are applied to counts,
            background and exposure, and these are summed if the estimator sums; otherwise weights
            is None.
        """
        return fit_input_maps(dataset, self._inputs(dataset), self.sum_over_energy_groups)

    def estimate_flux_default(
        self, dataset: MapDataset, kernel: Map | None = None, exposure: Map | None = None
    ) -> Map:
        """Guess the flux at every pixel with a matched filter, averaged over energies.

        Parameters
        ----------
        dataset
            The dataset.
        kernel
            Its kernel, if known already.
        exposure
            Exposure in reconstructed energy, in an area times time unit; default: that of the
            model's spectrum.

        Returns
        -------
        Map
            Integral flux in cm-2 s-1, one image. Bins outside the masks do not enter; zero where
            there is no exposure.
        """
        kernel = self.estimate_kernel(dataset) if kernel is None else kernel
        return default_flux(dataset, self.model, kernel, exposure)

    @property
    def _fit_settings(self) -> FitSettings:
        """What the fit of an energy group depends on, frozen."""
        # the list may have been changed in place
        selection = parse_selection(self.selection_optional)
        return FitSettings(
            sum_energies=self.sum_over_energy_groups,
            kernel_weighting=self.kernel_weighting,
            n_sweeps=min(self.max_niter, N_SWEEPS),
            options=FitOptions(
                n_sigma=float(self.n_sigma),
                n_sigma_ul=float(self.n_sigma_ul),
                n_sigma_sensitivity=float(self.n_sigma_sensitivity),
                norm_min=float("-inf") if self.norm_min is None else float(self.norm_min),
                rtol=float(self.rtol),
                gamma_min=float(self.gamma_min),
                bkg_syst_fraction=float(self.bkg_syst_fraction),
            ),
            selection=selection,
            scan_values=scan_values(self.norm) if "stat_scan" in selection else None,
            threshold=self.threshold,
            jobs=resolve_jobs(self.n_jobs, self.parallel_backend),
            memory=self.memory,
        )

    def _inputs(self, dataset: MapDataset) -> FitInputs:
        """Collect the arrays of a dataset."""
        dataset.check(for_fit=True)
        return fit_inputs(
            dataset, self.model, self._kernel(dataset), self.background_floor, self.kernel_sampling
        )

    def _all_inputs(
        self, datasets: Sequence[MapDataset]
    ) -> tuple[list[FitInputs], CoarseGrid | None]:
        """Collect the arrays of datasets, merged as `downsampling_factor` says."""
        factor = check_downsampling_factor(self.downsampling_factor)
        if factor is None:
            return [self._inputs(dataset) for dataset in datasets], None
        kernels = [self._kernel(dataset) for dataset in datasets]
        halves = np.array([k.kernel.data.shape[-2:] for k in kernels]) // 2
        rows, cols = (int(half) for half in halves.max(axis=0))
        grid = coarse_grid(datasets[0].geom.shape_image, (rows, cols), factor)
        pairs = zip(datasets, kernels, strict=True)
        return [self._merged_inputs(dataset, kernel, grid) for dataset, kernel in pairs], grid

    def _merged_inputs(
        self, dataset: MapDataset, fine: KernelEstimate, grid: CoarseGrid
    ) -> FitInputs:
        """Collect the arrays of a dataset on blocks of pixels."""
        dataset.check(for_fit=True)
        merged = grid.dataset(dataset)
        width = self.kernel_width
        if width is None and self.kernel_containment is None:
            width = fine.kernel.geom.width.max()
        kernel = self._kernel(merged, width)
        options = (self.background_floor, self.kernel_sampling)
        if self.kernel_sampling == "gammapy":
            return fit_inputs(merged, self.model, kernel, *options)
        inputs = grid.inputs(fit_inputs(dataset, self.model, fine, *options), kernel)
        return inputs._replace(sizes=kernel_sizes(kernel, self.model.spatial_model))

    def _kernel(self, dataset: MapDataset, width: u.Quantity | None = None) -> KernelEstimate:
        """Fold the model with a dataset's response."""
        return estimate_kernel(
            self.model,
            dataset.require("exposure"),
            dataset.psf,
            dataset.edisp,
            dataset.geom,
            kernel_width=self.kernel_width if width is None else width,
            sampling=self.kernel_sampling,
            containment=self.kernel_containment,
            renormalise=self.renormalise,
        )
