"""The arrays of a run: those of every dataset for every model, on the pixels that are fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from gammagrad.dataset import AnyMapDataset, MapDatasetOnOff, warn_of_suspicions
from gammagrad.derive import same_spectrum
from gammagrad.errors import InputError
from gammagrad.estimators.ts_map.downsampling import CoarseGrid, coarse_grid
from gammagrad.estimators.ts_map.free_index import family_inputs
from gammagrad.estimators.ts_map.inputs import (
    FitInputs,
    SourceKernel,
    fit_inputs,
    inputs_of_model,
    kernel_sizes,
)
from gammagrad.estimators.ts_map.own_grid import has_own_grid
from gammagrad.estimators.ts_map.position_kernels import with_positions
from gammagrad.estimators.ts_map.reference_counts import reference_counts
from gammagrad.evaluate import KernelEstimate, estimate_kernel, has_total
from gammagrad.maps import Map, WcsGeom
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
    kernel_positions: str | int
    free: tuple[str, ...] = ("norm",)

    def arrays(self, dataset: AnyMapDataset, model: SkyModel, kernel: SourceKernel) -> FitInputs:
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

    def follows_positions(self, model: SkyModel | None = None) -> bool:
        """Whether a map may have more than one kernel."""
        may = self.kernel_positions != "centre" and self.sampling != "gammapy"
        return may and (model is None or has_total(model.spatial_model))

    def inputs(
        self, datasets: Sequence[AnyMapDataset], target: WcsGeom
    ) -> tuple[Iterator[list[FitInputs]], CoarseGrid | None]:
        """Collect the arrays of datasets for each model, merged as `downsampling_factor` says."""
        factor = self.downsampling_factor
        own = [has_own_grid(dataset, target) for dataset in datasets]
        if any(own):
            self._check_own_grids(datasets, own)
        if factor in (None, 1):
            fine = [
                [
                    self.kernel(d, model, target=target if other else None)
                    for d, other in zip(datasets, own, strict=True)
                ]
                for model in self.models
            ]
            return self._by_model(datasets, fine, fine, None, own), None
        # of merged pixels the kernels at every position are those on blocks
        fine = [
            [self.kernel(d, model, positions="centre") for d in datasets] for model in self.models
        ]
        sides = [
            k.estimate.kernel.data.shape[-2:]
            for kernels in fine
            for k, other in zip(kernels, own, strict=True)
            if not other
        ]
        rows, cols = (int(half) for half in np.max([*sides, (1, 1)], axis=0) // 2)
        grid = coarse_grid(target.shape_image, (rows, cols), factor)
        # a dataset on a grid of its own keeps its bins
        merged = [
            d if other else self._merged(d, grid) for d, other in zip(datasets, own, strict=True)
        ]
        coarse = [
            [
                self.kernel(d, model, target=grid.geom(target))
                if other
                else self._merged_kernel(d, model, k)
                for d, k, other in zip(merged, kernels, own, strict=True)
            ]
            for model, kernels in zip(self.models, fine, strict=True)
        ]
        if self.sampling == "gammapy":
            return self._by_model(merged, coarse, coarse, None, own), grid
        return self._by_model(datasets, fine, coarse, grid, own), grid

    def _check_own_grids(self, datasets: Sequence[AnyMapDataset], own: Sequence[bool]) -> None:
        """Raise if datasets with other pixels than the result cannot be fitted."""
        name = next(d.name for d, other in zip(datasets, own, strict=True) if other)
        if not self.follows_positions():
            what = "kernel_sampling" if self.sampling == "gammapy" else "kernel_positions"
            value = self.sampling if self.sampling == "gammapy" else self.kernel_positions
            raise InputError(
                f" is {value!r}, but dataset {name!r} has other pixels than the result, on which "
                "its kernel depends on the position. Leave the setting at its default, or bin all "
                "datasets on one grid.",
                what,
            )
        for model in self.models:
            if not has_total(model.spatial_model):
                raise InputError(
                    f"dataset {name!r} has other pixels than the result, which takes a model with "
                    f"an edge; {type(model.spatial_model).__name__} has none. Bin all datasets on "
                    "one grid."
                )

    def _by_model(
        self,
        datasets: Sequence[AnyMapDataset],
        kernels: Sequence[Sequence[SourceKernel]],
        fitted: Sequence[Sequence[SourceKernel]],
        grid: CoarseGrid | None,
        other_pixels: Sequence[bool],
    ) -> Iterator[list[FitInputs]]:
        """Yield the arrays of all datasets for each model, with the size of the largest kernel."""
        models = self.models
        windows = [
            np.max([kernel_sizes(k.estimate, m.spatial_model) for m, k in pairs], axis=0)
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
                    (i if other else grid.inputs(i))._replace(
                        kernel=k.estimate.kernel,
                        containment=np.asarray(k.estimate.containment),
                        sizes=kernel_sizes(k.estimate, model.spatial_model),
                        field=k.field,
                    )
                    for i, k, other in zip(inputs, used, other_pixels, strict=True)
                ]
            if "index" in self.free:
                inputs = self._with_families(datasets, model, inputs, other_pixels)
            yield [i._replace(windows=w) for i, w in zip(inputs, windows, strict=True)]

    def _with_families(
        self,
        datasets: Sequence[AnyMapDataset],
        model: SkyModel,
        inputs: Sequence[FitInputs],
        other_pixels: Sequence[bool],
    ) -> list[FitInputs]:
        """Return arrays with how they change with the index of a model."""
        for dataset, other in zip(datasets, other_pixels, strict=True):
            if other:
                raise InputError(
                    f" has the index, but dataset {dataset.name!r} has other pixels than the "
                    "result. Bin all datasets on one grid.",
                    "free",
                )
        how = {"sampling": self.sampling, "renormalise": self.renormalise}
        found = []
        for i, d in zip(inputs, datasets, strict=True):
            if isinstance(d, MapDatasetOnOff):
                raise InputError(
                    f" has the index, but dataset {d.name!r} has OFF counts. Fit the norm alone, "
                    "or take the background as known: dataset.to_map_dataset().",
                    "free",
                )
            found.append(i._replace(family=family_inputs(d, model, i.kernel, **how)))
        return found

    def _merged(self, dataset: AnyMapDataset, grid: CoarseGrid) -> AnyMapDataset:
        """Return a dataset on blocks of pixels, with the exposure of the pixels in each."""
        merged = grid.dataset(dataset)
        if self.sampling == "gammapy":
            return merged
        part = grid.sum(np.ones(dataset.geom.shape_image)) / grid.factor**2
        exposure = merged.require("exposure")
        # blocks at the edge of the map are partly empty
        data = np.divide(exposure.data, part, out=np.zeros(exposure.data.shape), where=part > 0)
        merged.exposure = Map(exposure.geom, data, exposure.unit)
        return merged

    def _merged_kernel(
        self, merged: AnyMapDataset, model: SkyModel, fine: SourceKernel
    ) -> SourceKernel:
        """Fold a model with a dataset's response on blocks of pixels."""
        width = self.kernel_width
        if width is None and self.containment is None:
            width = fine.estimate.kernel.geom.width.max()
        return self.kernel(merged, model, width)

    def kernel(
        self,
        dataset: AnyMapDataset,
        model: SkyModel,
        width: u.Quantity | None = None,
        positions: str | int | None = None,
        target: WcsGeom | None = None,
    ) -> SourceKernel:
        """Fold a model with a dataset's response, at every position of a result if that differs."""
        # target: the pixels of the result, if the dataset has others
        asked = self.kernel_positions if positions is None else positions
        found = with_positions(
            self._estimate(dataset, model, width),
            dataset,
            model,
            lambda: reference_counts(dataset, model),
            asked if self.follows_positions() else "centre",
            target,
            kernel_width=self.kernel_width,
            containment=self.containment,
            renormalise=self.renormalise,
        )
        return SourceKernel(*found)

    def kernel_at(
        self, dataset: AnyMapDataset, model: SkyModel, position: SkyCoord | None = None
    ) -> Map:
        """Return the kernel of a model at a position."""
        return self._estimate(dataset, model, None, position).kernel

    def _estimate(
        self,
        dataset: AnyMapDataset,
        model: SkyModel,
        width: u.Quantity | None = None,
        position: SkyCoord | None = None,
    ) -> KernelEstimate:
        """Fold a model with a dataset's response at a position."""
        return estimate_kernel(
            model,
            dataset.require("exposure"),
            dataset.psf,
            dataset.edisp,
            dataset.geom,
            self.kernel_width if width is None else width,
            self.sampling,
            containment=self.containment,
            renormalise=self.renormalise,
            position=position,
        )
