"""gammapy's estimator with the fits of this library."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gammapy.datasets import Datasets, MapDatasetOnOff
from gammapy.estimators import TSMapEstimator as GammapyTSMapEstimator

from gammagrad.errors import InputTypeError
from gammagrad.estimators.ts_map import Collector
from gammagrad.estimators.ts_map import TSMapEstimator as Native
from gammagrad.evaluate import KernelEstimate
from gammagrad.flux_maps import FluxMaps
from gammagrad.interop.datasets import dataset_to_gammapy, plain_dataset
from gammagrad.interop.flux_maps import flux_maps_to_gammapy
from gammagrad.interop.maps import map_from_gammapy
from gammagrad.interop.models import model_from_gammapy
from gammagrad.maps import Map

_SAME = (
    *("downsampling_factor", "n_sigma", "n_sigma_ul", "n_sigma_sensitivity", "threshold", "rtol"),
    *("energy_edges", "sum_over_energy_groups", "max_niter"),
)


@dataclass(frozen=True)
class GammapyKernels(Collector):
    """What collects the arrays of a run, with kernels that gammapy makes."""

    # gammapy's estimator, whose kernels are taken
    theirs: Any = None

    def _estimate(
        self, dataset: Any, model: Any, width: Any = None, position: Any = None
    ) -> KernelEstimate:
        ours = super()._estimate(dataset, model, width, position)
        maker = self.theirs
        if width is not None:
            maker = copy.copy(maker)
            maker.kernel_width = width
        kernel = map_from_gammapy(maker.estimate_kernel(dataset_to_gammapy(dataset)))
        return ours._replace(kernel=kernel)


_TRUNCATED = -2 * float(np.log(1e-25))


class _Fitter(Native):
    """The estimator of this library, with gammapy's kernels."""

    theirs: Any = None

    @property
    def _collector(self) -> Collector:
        plain = super()._collector
        return GammapyKernels(
            **{f.name: getattr(plain, f.name) for f in fields(plain)}, theirs=self.theirs
        )


class TSMapEstimator(GammapyTSMapEstimator):
    """gammapy's `TSMapEstimator`, whose `run` fits with this library.

    Parameters, attributes, configuration and conventions are gammapy's, and so are the objects it
    takes and returns: kernels are weighted equally, the model is sampled as there, and the exposure
    is taken where the counts fall. All models of a dataset are evaluated by gammapy, of whatever
    kind they are, and are background. The list of differences in the documentation says where
    results differ, which are errors of gammapy's.
    """

    def run(self, datasets: Any) -> Any:
        """Fit the norm of the model at every pixel.

        Parameters
        ----------
        datasets
            gammapy's `MapDataset`, several of them, or `Datasets`.

        Returns
        -------
        gammapy.estimators.FluxMaps
            The maps, with the kernel's model as reference and the good time intervals.

        Raises
        ------
        TypeError
            If a dataset is not a `MapDataset`, or has OFF counts.
        ValueError
            If a dataset lacks a part, or nothing is left to fit.
        """
        several = Datasets(datasets)
        for dataset in several:
            if isinstance(dataset, MapDatasetOnOff):
                raise InputTypeError(
                    f": {dataset.name!r} is a MapDatasetOnOff, which this estimator does not take, "
                    "as gammapy's does not; gammagrad.TSMapEstimator fits OFF counts.",
                    "datasets",
                )
        plain = [plain_dataset(dataset) for dataset in several]
        whole: Any = copy.copy(self)
        if whole.kernel_width is None:
            # as in gammapy the widest kernel of all datasets, sampled anew at that width
            widths = [np.max(whole.estimate_kernel(dataset).geom.width) for dataset in several]
            whole.kernel_width = max(widths)
        maps = whole.native().run(plain)
        assert isinstance(maps, FluxMaps)  # of one model
        return flux_maps_to_gammapy(_finite(maps), self.kernel_model, several.gti)

    def native(self) -> Native:
        """Return the estimator of this library with the same settings.

        Returns
        -------
        gammagrad.TSMapEstimator
            The estimator that `run` uses.
        """
        settings = {name: getattr(self, name) for name in _SAME}
        selection = list(self.selection_optional or [])
        if "stat_scan" in selection:
            settings["norm"] = self.norm.scan_values
        if self.n_jobs is not None and self.n_jobs > 1:
            backend = getattr(self.parallel_backend, "value", self.parallel_backend)
            settings |= {"n_jobs": self.n_jobs, "parallel_backend": str(backend)}
        # a class of its own, as estimators have no attributes beside their settings
        fitter = type("_Fitter", (_Fitter,), {"theirs": self})
        made: Native = fitter(
            model_from_gammapy(self.kernel_model),
            kernel_width=self.kernel_width,
            selection_optional=selection,
            kernel_weighting="equal",
            kernel_sampling="gammapy",
            kernel_positions="centre",
            **settings,
        )
        return made


def _finite(maps: FluxMaps) -> FluxMaps:
    """Return maps whose scans go on below the physical bound, as gammapy's do."""
    if "stat_scan" not in maps.computed:
        return maps
    scan = maps["stat_scan"]
    finite = np.isfinite(scan.data)
    highest = np.max(np.where(finite, scan.data, -np.inf), axis=1, keepdims=True)
    # what a count where nothing is predicted adds to gammapy's statistic
    beyond = np.where(finite.any(axis=1, keepdims=True), highest + _TRUNCATED, np.nan)
    data = np.where(finite, scan.data, beyond)
    return FluxMaps(
        {**maps.computed, "stat_scan": Map(scan.geom, data, scan.unit)},
        maps.reference_model,
        maps.meta,
        maps.gti,
    )
