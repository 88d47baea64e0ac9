"""The map estimator: a norm fit at every sky position of a dataset."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np

from gammagrad.core.solve import N_SWEEPS
from gammagrad.dataset import MapDataset
from gammagrad.estimators.groups import (
    FITTED_MAPS,
    FitSettings,
    energy_groups,
    fit_group,
    fit_groups,
    one_dataset,
)
from gammagrad.estimators.inputs import FitInputs, fit_inputs, matched_filter
from gammagrad.estimators.settings import CONFIG_PARAMETERS, check_settings, plain_setting
from gammagrad.evaluate import KernelEstimate, estimate_kernel
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps.geom import warn_if_uneven
from gammagrad.maps.map import Map
from gammagrad.models import SkyModel, default_kernel_model
from gammagrad.progress import progress_bar

__all__ = ["TSMapEstimator"]


class TSMapEstimator:
    """Test-statistic map: is there a source, how bright, how sure, at every position.

    At each pixel the norm of `model`, placed there, is fitted to the counts; everything already
    modelled on the dataset counts as background. So the TS of a source is found by leaving it out
    of the dataset's models.

    Parameters
    ----------
    model : SkyModel, optional
        The source to test. Its position does not matter. Default: a point source with a power law
        of index 2. `kernel_model` is another name.
    kernel_width : str or Quantity, optional
        Full width of the kernel, such as "1 deg". Default: as wide as the model with the point
        spread function, 99.9 % of which it holds, but no wider than the map. The kernel is
        normalised after truncation, as gammapy's is: norm and flux come out low by the part of
        the source that it leaves out, which ``maps.meta["containment"]`` has for each energy.
    downsampling_factor, threshold, selection_optional, n_jobs, parallel_backend, norm : None
        Not available yet. One process uses every core.
    n_sigma : float
        Standard deviations of `norm_err`.
    n_sigma_ul, n_sigma_sensitivity : float
        Standard deviations of limits and sensitivity, recorded for outputs to come.
    rtol : float
        Size of the last Newton step, in units of the error, above which the fit counts as not
        converged. The norm itself is solved to rounding whatever `rtol` says.
    energy_edges : Quantity, list, str or None
        Edges of the energy groups; each group gets a map. They snap to the edges of the dataset's
        energy axis, and the result's axis has the snapped ones. None: one group over the whole
        axis. "all": one group per bin.
    sum_over_energy_groups : bool
        True fits the image summed over each group, False the cube: the cube uses more of the
        data.
    max_niter : int
        Most Newton sweeps; eight suffice.
    kernel_weighting : {"counts", "equal"}
        How the kernel of a summed image comes about. "counts" weights each energy's kernel with
        the counts expected there, which is exact. "equal" averages them plainly, as gammapy does,
        and biases the norm where the kernel depends on energy.
    kernel_sampling : {"fine", "gammapy"}
        How the kernel is integrated over pixels: accurately, or with the samples that gammapy 2.1
        takes, to compare with its results.
    kernel_model : SkyModel, optional
        Another name of `model`.
    show_progress : bool, optional
        Show a progress bar; None shows one on a terminal.

    Raises
    ------
    ValueError, TypeError
        If a setting cannot be used.

    References
    ----------
    Stewart (2009), A&A 495, 989, appendix A; Cash (1979), ApJ 228, 939.

    Examples
    --------
    >>> from gammagrad import TSMapEstimator
    >>> from gammagrad.simulate import simulate_field
    >>> field = simulate_field(seed=1, npix=40)
    >>> maps = TSMapEstimator(kernel_width="0.6 deg").run(field.dataset)
    >>> maps["sqrt_ts"].data.shape
    (1, 40, 40)
    """

    tag = "TSMapEstimator"
    config_parameters = CONFIG_PARAMETERS

    model: SkyModel
    kernel_width: u.Quantity | None
    n_sigma: float
    n_sigma_ul: float
    n_sigma_sensitivity: float
    rtol: float
    selection_optional: list[str]
    energy_edges: u.Quantity | str | None
    sum_over_energy_groups: bool
    max_niter: int
    kernel_weighting: str
    kernel_sampling: str

    def __init__(
        self,
        model: SkyModel | None = None,
        kernel_width: Any = None,
        downsampling_factor: int | None = None,
        n_sigma: float = 1,
        n_sigma_ul: float = 2,
        threshold: float | None = None,
        rtol: float = 0.01,
        selection_optional: Any = None,
        energy_edges: Any = None,
        sum_over_energy_groups: bool = True,
        n_jobs: int | None = None,
        parallel_backend: str | None = None,
        norm: Any = None,
        max_niter: int = 100,
        *,
        n_sigma_sensitivity: float = 5,
        kernel_weighting: str = "counts",
        kernel_sampling: str = "fine",
        kernel_model: SkyModel | None = None,
        show_progress: bool | None = None,
    ) -> None:
        if model is not None and kernel_model is not None:
            raise TypeError("model and kernel_model are two names of one thing; pass one of them.")
        model = kernel_model if model is None else model
        self.model = default_kernel_model() if model is None else model
        self.kernel_width = kernel_width
        self.downsampling_factor = downsampling_factor
        self.n_sigma = n_sigma
        self.n_sigma_ul = n_sigma_ul
        self.threshold = threshold
        self.rtol = rtol
        self.selection_optional = selection_optional
        self.energy_edges = energy_edges
        self.sum_over_energy_groups = sum_over_energy_groups
        self.n_jobs = n_jobs
        self.parallel_backend = parallel_backend
        self.norm = norm
        self.max_niter = max_niter
        self.n_sigma_sensitivity = n_sigma_sensitivity
        self.kernel_weighting = kernel_weighting
        self.kernel_sampling = kernel_sampling
        self.show_progress = show_progress

    def __setattr__(self, name: str, value: Any) -> None:
        name = "model" if name == "kernel_model" else name
        if name not in (*self.config_parameters, "show_progress"):
            raise AttributeError(
                f"{self.tag} has no setting {name!r}; there are "
                f"{', '.join((*self.config_parameters, 'show_progress'))}."
            )
        object.__setattr__(self, name, check_settings(name, value))

    @property
    def kernel_model(self) -> SkyModel:
        """Another name of `model`."""
        return self.model

    @property
    def selection_all(self) -> list[str]:
        """Names of the maps that a run computes."""
        return [*FITTED_MAPS, "success", "status"]

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name, as plain text and numbers."""
        return {name: plain_setting(getattr(self, name)) for name in self.config_parameters}

    def __str__(self) -> str:
        rows = [f"  {name:<24}: {value}" for name, value in self.settings.items()]
        return "\n".join([self.tag, "-" * len(self.tag), "", *rows])

    __repr__ = __str__

    def copy(self) -> TSMapEstimator:
        """Return an estimator with the same settings, independent of this one."""
        return copy.copy(self)

    # -- the parts of a run, each of use by itself ------------------------------------------------

    def estimate_kernel(self, dataset: MapDataset) -> Map:
        """Fold the model with the response at the map's centre, or where exposure is nearest.

        Parameters
        ----------
        dataset
            Exposure, point spread function, energy dispersion and geometry.

        Returns
        -------
        Map
            The kernel, normalised to 1 in each reconstructed energy bin.

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
        finite = np.isfinite(dataset.npred().data)
        return Map(dataset.geom, finite if dataset.mask is None else dataset.mask.data & finite)

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
            (the matched filter's guess), mask, weights and kernel. Counts, background and
            exposure are summed if the estimator sums; then weights is the mask, otherwise None,
            being applied already.
        """
        inputs = self._inputs(dataset)
        mask = Map(dataset.geom, inputs.mask)
        cubes = {
            name: Map(dataset.geom, getattr(inputs, name))
            for name in ("counts", "background", "exposure")
        }
        if self.sum_over_energy_groups:
            cubes = {name: cube.sum_over_axes(keepdims=True) for name, cube in cubes.items()}
        energies = dataset.energy_axis.edges_in("TeV")
        flux_ref = float(self.model.spectral_model.integral(energies[0], energies[-1]))
        guess = self.estimate_flux_default(dataset, kernel=inputs.kernel)
        return {
            **cubes,
            "norm": Map(guess.geom, guess.quantity.to_value("cm-2 s-1") / flux_ref),
            "mask": mask,
            "weights": mask if self.sum_over_energy_groups else None,
            "kernel": inputs.kernel,
        }

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
            Integral flux in cm-2 s-1, one image. Zero where there is no exposure.
        """
        kernel = self.estimate_kernel(dataset) if kernel is None else kernel
        return matched_filter(dataset, self.model, kernel, exposure)

    def estimate_flux_map(self, datasets: MapDataset | Sequence[MapDataset]) -> dict[str, Map]:
        """Fit the norm at every pixel of a dataset taken as one energy group.

        Parameters
        ----------
        datasets
            The dataset, or a sequence holding one.

        Returns
        -------
        dict of str to Map
            The quantities of `selection_all`.
        """
        dataset = one_dataset(datasets)
        inputs = self._inputs(dataset)
        with progress_bar(1, self.tag, self.show_progress) as bar:
            arrays = fit_group(inputs, slice(None), self._fit_settings, bar)
        geom = dataset.geom.squash("energy")
        return {name: Map(geom, array[None]) for name, array in arrays.items()}

    # -- the run ----------------------------------------------------------------------------------

    def run(self, datasets: MapDataset | Sequence[MapDataset]) -> FluxMaps:
        """Fit the norm at every pixel, for every energy group.

        Parameters
        ----------
        datasets
            The dataset, or a sequence holding one. It is not changed.

        Returns
        -------
        FluxMaps
            Maps with one plane per energy group.

        Raises
        ------
        ValueError
            If the dataset lacks what a fit needs, or no position can be fitted.
        """
        dataset = one_dataset(datasets)
        warn_if_uneven(dataset.geom)
        groups, axis = energy_groups(dataset.energy_axis, self.energy_edges)
        inputs = self._inputs(dataset)
        with progress_bar(len(groups), self.tag, self.show_progress) as bar:
            arrays = fit_groups(inputs, groups, self._fit_settings, bar)
        geom = dataset.geom.to_image().to_cube([axis])
        data = {name: Map(geom, arrays[name]) for name in self.selection_all}
        meta = {
            "n_sigma": self.n_sigma,
            "n_sigma_ul": self.n_sigma_ul,
            "n_sigma_sensitivity": self.n_sigma_sensitivity,
            "precision": "float64",
            "dataset": dataset.name,
            "energy_edges": [f"{edge:.6g}" for edge in axis.edges],
            "kernel_shape": list(inputs.kernel.data.shape[-2:]),
            "containment": [round(float(c), 6) for c in inputs.containment],
            "settings": self.settings,
        }
        return FluxMaps(data, reference_model=self.model, meta=meta, gti=dataset.gti)

    @property
    def _fit_settings(self) -> FitSettings:
        """What the fit of an energy group depends on, frozen."""
        return FitSettings(
            sum_energies=self.sum_over_energy_groups,
            kernel_weighting=self.kernel_weighting,
            n_sigma=self.n_sigma,
            rtol=self.rtol,
            n_sweeps=min(self.max_niter, N_SWEEPS),
        )

    def _inputs(self, dataset: MapDataset) -> FitInputs:
        """Collect the arrays of a dataset."""
        dataset.check(for_fit=True)
        mask = self.estimate_mask_default(dataset)
        return fit_inputs(dataset, self.model, mask.data, self._kernel(dataset))

    def _kernel(self, dataset: MapDataset) -> KernelEstimate:
        """Fold the model with a dataset's response."""
        return estimate_kernel(
            self.model,
            dataset.require("exposure"),
            dataset.psf,
            dataset.edisp,
            dataset.geom,
            kernel_width=self.kernel_width,
            sampling=self.kernel_sampling,
        )
