"""The parts of a run of the map estimator that are of use by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import astropy.units as u
import numpy as np

from gammagrad.core.norm import N_SWEEPS, FitOptions, parse_selection
from gammagrad.dataset import MapDataset, warn_of_suspicions
from gammagrad.derive import same_spectrum
from gammagrad.errors import InputError
from gammagrad.estimators.ts_map.downsampling import (
    CoarseGrid,
    check_downsampling_factor,
    coarse_grid,
)
from gammagrad.estimators.ts_map.groups import FitSettings
from gammagrad.estimators.ts_map.input_maps import default_flux, default_mask, fit_input_maps
from gammagrad.estimators.ts_map.inputs import FitInputs, fit_inputs, inputs_of_model, kernel_sizes
from gammagrad.estimators.ts_map.scan_norms import scan_values
from gammagrad.estimators.ts_map.settings import Configurable
from gammagrad.evaluate import KernelEstimate, estimate_kernel
from gammagrad.maps import Map
from gammagrad.models import Models, PointSpatialModel, SkyModel
from gammagrad.parallel import resolve_jobs


class RunParts(Configurable):
    """The steps before the fit of `TSMapEstimator`, which is the class to use."""

    model: SkyModel | Models
    kernel_width: u.Quantity | None
    downsampling_factor: int | None
    n_sigma: float
    n_sigma_ul: float
    n_sigma_sensitivity: float
    threshold: float | None
    rtol: float
    selection_optional: list[str]
    sum_over_energy_groups: bool
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
            If there is no exposure anywhere, or several models are to be tested.
        """
        return self._kernel(dataset, self._only_model).kernel

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
        return default_flux(dataset, self._only_model, kernel, exposure)

    @property
    def _models(self) -> tuple[SkyModel, ...]:
        """The models to test: one or more."""
        return tuple(self.model) if isinstance(self.model, Models) else (self.model,)

    @property
    def _only_model(self) -> SkyModel:
        """The model to test, where there may be but one."""
        if isinstance(self.model, Models):
            raise InputError(
                f"model has several models ({', '.join(self.model.names)}), which only run takes; "
                "set estimator.model to one of them for this."
            )
        return self.model

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
        return self._arrays(dataset, self._only_model, self._kernel(dataset, self._only_model))

    def _arrays(self, dataset: MapDataset, model: SkyModel, kernel: KernelEstimate) -> FitInputs:
        """Collect the arrays of a dataset for a model whose kernel is known."""
        dataset.check(for_fit=True)
        inputs = fit_inputs(dataset, model, kernel, self.background_floor, self.kernel_sampling)
        is_point = isinstance(model.spatial_model, PointSpatialModel | None)
        warn_of_suspicions(
            dataset.name,
            inputs.counts,
            inputs.background,
            blurred=dataset.psf is not None or not is_point,
        )
        return inputs

    def _all_inputs(
        self, datasets: Sequence[MapDataset]
    ) -> tuple[Iterator[list[FitInputs]], CoarseGrid | None]:
        """Collect the arrays of datasets for each model, merged as `downsampling_factor` says."""
        factor = check_downsampling_factor(self.downsampling_factor)
        fine = [[self._kernel(d, model) for d in datasets] for model in self._models]
        if factor is None:
            return self._inputs_by_model(datasets, fine, fine, None), None
        sides = np.array([k.kernel.data.shape[-2:] for kernels in fine for k in kernels])
        rows, cols = (int(half) for half in sides.max(axis=0) // 2)
        grid = coarse_grid(datasets[0].geom.shape_image, (rows, cols), factor)
        merged = [grid.dataset(dataset) for dataset in datasets]
        coarse = [
            [self._merged_kernel(d, model, k) for d, k in zip(merged, kernels, strict=True)]
            for model, kernels in zip(self._models, fine, strict=True)
        ]
        if self.kernel_sampling == "gammapy":
            return self._inputs_by_model(merged, coarse, coarse, None), grid
        return self._inputs_by_model(datasets, fine, coarse, grid), grid

    def _inputs_by_model(
        self,
        datasets: Sequence[MapDataset],
        kernels: Sequence[Sequence[KernelEstimate]],
        fitted: Sequence[Sequence[KernelEstimate]],
        grid: CoarseGrid | None,
    ) -> Iterator[list[FitInputs]]:
        """Yield the arrays of all datasets for each model, with the size of the largest kernel."""
        models = self._models
        windows = [
            np.max([kernel_sizes(k, m.spatial_model) for m, k in pairs], axis=0)
            for pairs in (zip(models, each, strict=True) for each in zip(*fitted, strict=True))
        ]
        first: list[FitInputs] = []
        for model, own, used in zip(models, kernels, fitted, strict=True):
            if first:
                same = same_spectrum(models[0].spectral_model, model.spectral_model)
                inputs = [
                    inputs_of_model(i, d, model, k, same)
                    for i, d, k in zip(first, datasets, own, strict=True)
                ]
            else:
                inputs = [self._arrays(d, model, k) for d, k in zip(datasets, own, strict=True)]
                first = inputs if len(models) > 1 else []
            if grid is not None:
                inputs = [
                    grid.inputs(i, k)._replace(sizes=kernel_sizes(k, model.spatial_model))
                    for i, k in zip(inputs, used, strict=True)
                ]
            yield [i._replace(windows=w) for i, w in zip(inputs, windows, strict=True)]

    def _merged_kernel(
        self, merged: MapDataset, model: SkyModel, fine: KernelEstimate
    ) -> KernelEstimate:
        """Fold a model with a dataset's response on blocks of pixels."""
        width = self.kernel_width
        if width is None and self.kernel_containment is None:
            width = fine.kernel.geom.width.max()
        return self._kernel(merged, model, width)

    def _kernel(
        self, dataset: MapDataset, model: SkyModel, width: u.Quantity | None = None
    ) -> KernelEstimate:
        """Fold a model with a dataset's response."""
        return estimate_kernel(
            model,
            dataset.require("exposure"),
            dataset.psf,
            dataset.edisp,
            dataset.geom,
            kernel_width=self.kernel_width if width is None else width,
            sampling=self.kernel_sampling,
            containment=self.kernel_containment,
            renormalise=self.renormalise,
        )
