"""The map estimator: a norm fit at every sky position of a dataset."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import astropy.units as u
import jax
import numpy as np

from gammagrad.core.norm import NormFit
from gammagrad.core.occupied import fit_occupied
from gammagrad.core.solve import N_SWEEPS, Status
from gammagrad.dataset import MapDataset
from gammagrad.estimators.inputs import FitInputs, fit_inputs, matched_filter, valid_positions
from gammagrad.estimators.settings import check_settings
from gammagrad.evaluate import KernelEstimate, estimate_kernel
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import warn_if_uneven
from gammagrad.maps.map import Map
from gammagrad.models import SkyModel, default_kernel_model
from gammagrad.progress import progress_bar

__all__ = ["TSMapEstimator"]

log = logging.getLogger(__name__)

_BASE = ("ts", "norm", "niter", "norm_err", "npred", "npred_excess", "stat", "stat_null")
_OF_POSITION = ("ts", "npred", "npred_excess", "stat", "stat_null")


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
        spread function, 99.9 % of which it holds. The kernel is normalised after truncation.
    downsampling_factor : None
        Not available yet.
    n_sigma : float
        Standard deviations of `norm_err`.
    n_sigma_ul : float
        Standard deviations of upper limits, recorded for outputs to come.
    threshold : None
        Not available yet.
    rtol : float
        Size of the last Newton step, in units of the error, above which the fit counts as not
        converged. The norm itself is solved to rounding whatever `rtol` says.
    selection_optional : None
        Not available yet.
    energy_edges : Quantity, list, str or None
        Edges of the energy groups; each group gets a map. They snap to the edges of the dataset's
        energy axis, and the result's axis has the snapped ones. None: one group over the whole
        axis. "all": one group per bin.
    sum_over_energy_groups : bool
        True fits the image summed over each group, False the cube: the cube uses more of the
        data.
    n_jobs : None or 1
        One process uses every core.
    parallel_backend : None
        Not available yet.
    norm : None
        Not available yet.
    max_niter : int
        Most Newton sweeps; eight suffice.
    n_sigma_sensitivity : float
        Recorded for outputs to come.
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
    config_parameters = (
        "model",
        "kernel_width",
        "downsampling_factor",
        "n_sigma",
        "n_sigma_ul",
        "threshold",
        "rtol",
        "selection_optional",
        "energy_edges",
        "sum_over_energy_groups",
        "n_jobs",
        "parallel_backend",
        "norm",
        "max_niter",
        "n_sigma_sensitivity",
        "kernel_weighting",
        "kernel_sampling",
    )

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
        object.__setattr__(self, name, check_settings(name, value))

    @property
    def kernel_model(self) -> SkyModel:
        """Another name of `model`."""
        return self.model

    @property
    def selection_all(self) -> list[str]:
        """Names of the maps that a run computes."""
        return [*_BASE, "success", "status"]

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name, as plain text and numbers."""
        plain: dict[str, Any] = {}
        for name in self.config_parameters:
            value = getattr(self, name)
            if isinstance(value, u.Quantity) and value.ndim:
                value = [str(edge) for edge in value]
            elif isinstance(value, u.Quantity):
                value = str(value)
            plain[name] = value.name if isinstance(value, SkyModel) else value
        return plain

    def __str__(self) -> str:
        rows = [f"  {name:<24}: {value}" for name, value in self.settings.items()]
        return "\n".join([self.tag, "-" * len(self.tag), "", *rows])

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
        """Guess the flux at every pixel with a matched filter: excess over exposure and kernel.

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
        dataset = _single(datasets)
        inputs = self._inputs(dataset)
        with progress_bar(1, self.tag, self.show_progress) as bar:
            arrays = self._fit_group(inputs, slice(None), bar)
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
        dataset = _single(datasets)
        dataset.check(for_fit=True)
        warn_if_uneven(dataset.geom)
        groups, axis = self._energy_groups(dataset.energy_axis)
        inputs = self._inputs(dataset)
        results = []
        with progress_bar(len(groups), self.tag, self.show_progress) as bar:
            for start, stop in groups:
                results.append(self._fit_group(inputs, slice(start, stop), bar))
                bar.update(1)
        geom = dataset.geom.to_image().to_cube([axis])
        data = {
            name: Map(geom, np.stack([result[name] for result in results]))
            for name in self.selection_all
        }
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

    def _energy_groups(self, axis: MapAxis) -> tuple[list[tuple[int, int]], MapAxis]:
        """Snap the energy edges to a dataset's; return each group's bins and their axis."""
        if self.energy_edges is None:
            groups = [(0, axis.nbin)]
        elif isinstance(self.energy_edges, str):
            groups = [(i, i + 1) for i in range(axis.nbin)]
        else:
            groups = axis.group(self.energy_edges)
        edges = axis.edges[[groups[0][0], *(stop for _, stop in groups)]]
        log.info("energy groups: %s", ", ".join(f"{edge:.4g}" for edge in edges))
        return groups, MapAxis.from_energy_edges(edges)

    def _inputs(self, dataset: MapDataset) -> FitInputs:
        """Collect the arrays of a dataset."""
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

    def _fit_group(self, inputs: FitInputs, bins: slice, bar: Any) -> dict[str, np.ndarray]:
        """Fit one energy group; paint what is not fitted."""
        done = 0.0

        def advance(chunk: int, chunks: int) -> None:
            nonlocal done
            step = min(chunk / chunks, 0.999)
            bar.update(step - done)
            done = step

        with jax.enable_x64(True):
            images, fitted = inputs.images(bins, self.sum_over_energy_groups, self.kernel_weighting)
            if not fitted.any():
                raise ValueError(valid_positions(inputs, bins))
            fit: NormFit = fit_occupied(
                [images],
                fitted,
                n_sigma=self.n_sigma,
                rtol=self.rtol,
                n_sweeps=min(self.max_niter, N_SWEEPS),
                progress=advance,
            )
        bar.update(-done)
        arrays = {name: np.array(getattr(fit, name)) for name in (*_BASE, "status")}
        unfitted = arrays["status"] == Status.NOT_FITTED
        for name in ("norm", "norm_err"):
            arrays[name][unfitted] = np.nan
        for name in _OF_POSITION:  # known without a model, too
            arrays[name][~fitted] = np.nan
        arrays["success"] = ~unfitted & (arrays["status"] != Status.NOT_CONVERGED)
        return arrays


def _single(datasets: MapDataset | Sequence[MapDataset]) -> MapDataset:
    """Return the dataset of a sequence of one."""
    if isinstance(datasets, MapDataset):
        return datasets
    found = list(datasets)
    if len(found) != 1 or not isinstance(found[0], MapDataset):
        raise TypeError(
            f"run got {len(found)} datasets of {sorted({type(d).__name__ for d in found})}; this "
            "version of gammagrad fits one MapDataset at a time."
        )
    return found[0]
