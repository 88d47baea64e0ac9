"""The arrays of a run: those of every dataset for every model, on the pixels that are fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import astropy.units as u
import numpy as np

from gammagrad.dataset import MapDataset, warn_of_suspicions
from gammagrad.derive import same_spectrum
from gammagrad.estimators.ts_map.downsampling import CoarseGrid, coarse_grid
from gammagrad.estimators.ts_map.inputs import FitInputs, fit_inputs, inputs_of_model, kernel_sizes
from gammagrad.evaluate import KernelEstimate, estimate_kernel
from gammagrad.models import PointSpatialModel, SkyModel


@dataclass(frozen=True)
class Collector:
    """What the arrays of a run depend on, frozen when it begins."""

    models: tuple[SkyModel, ...]
    kernel_width: u.Quantity | None
    containment: float | None
    renormalise: bool
    sampling: str
    background_floor: float | None
    downsampling_factor: int | None

    def arrays(self, dataset: MapDataset, model: SkyModel, kernel: KernelEstimate) -> FitInputs:
        """Collect the arrays of a dataset for a model whose kernel is known."""
        dataset.check(for_fit=True)
        inputs = fit_inputs(dataset, model, kernel, self.background_floor, self.sampling)
        is_point = isinstance(model.spatial_model, PointSpatialModel | None)
        warn_of_suspicions(
            dataset.name,
            inputs.counts,
            inputs.background,
            blurred=dataset.psf is not None or not is_point,
        )
        return inputs

    def inputs(
        self, datasets: Sequence[MapDataset]
    ) -> tuple[Iterator[list[FitInputs]], CoarseGrid | None]:
        """Collect the arrays of datasets for each model, merged as `downsampling_factor` says."""
        factor = self.downsampling_factor
        fine = []
        for model in self.models:
            fine.append(list(map(self.kernel, datasets, repeat(model))))
        if factor in (None, 1):
            return self._by_model(datasets, fine, fine, None), None
        sides = np.array([k.kernel.data.shape[-2:] for kernels in fine for k in kernels])
        rows, cols = (int(half) for half in sides.max(axis=0) // 2)
        grid = coarse_grid(datasets[0].geom.shape_image, (rows, cols), factor)
        merged = [grid.dataset(dataset) for dataset in datasets]
        coarse = [
            [self._merged_kernel(d, model, k) for d, k in zip(merged, kernels, strict=True)]
            for model, kernels in zip(self.models, fine, strict=True)
        ]
        if self.sampling == "gammapy":
            return self._by_model(merged, coarse, coarse, None), grid
        return self._by_model(datasets, fine, coarse, grid), grid

    def _by_model(
        self,
        datasets: Sequence[MapDataset],
        kernels: Sequence[Sequence[KernelEstimate]],
        fitted: Sequence[Sequence[KernelEstimate]],
        grid: CoarseGrid | None,
    ) -> Iterator[list[FitInputs]]:
        """Yield the arrays of all datasets for each model, with the size of the largest kernel."""
        models = self.models
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
                inputs = [self.arrays(d, model, k) for d, k in zip(datasets, own, strict=True)]
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
        if width is None and self.containment is None:
            width = fine.kernel.geom.width.max()
        return self.kernel(merged, model, width)

    def kernel(
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
            sampling=self.sampling,
            containment=self.containment,
            renormalise=self.renormalise,
        )
