"""The map estimator: a norm fit at every sky position of one dataset, or of several jointly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from gammagrad.core.norm import BACKGROUND_MAPS, N_SWEEPS, FitOptions, parse_selection
from gammagrad.core.ts_map import IndexRange
from gammagrad.dataset import AnyMapDataset, union_of_times
from gammagrad.errors import InputError
from gammagrad.estimators.ts_map.background_norms import BackgroundSettings, refuse_off_counts
from gammagrad.estimators.ts_map.collect import Collector
from gammagrad.estimators.ts_map.free_index import check_energies, check_settings, index_range
from gammagrad.estimators.ts_map.groups import (
    FITTED_MAPS,
    INDEX_MAPS,
    OPTIONAL_MAPS,
    FitSettings,
    as_maps,
    energy_groups,
    fit_groups,
    only_at,
    scanned_fluxes,
)
from gammagrad.estimators.ts_map.input_maps import default_flux, default_mask, fit_input_maps
from gammagrad.estimators.ts_map.inputs import FitInputs
from gammagrad.estimators.ts_map.joint import JointInputs, as_datasets, share_groups
from gammagrad.estimators.ts_map.own_grid import result_grid
from gammagrad.estimators.ts_map.positions import positions_mask
from gammagrad.estimators.ts_map.scan_norms import scan_values
from gammagrad.estimators.ts_map.settings import TSMapSettings
from gammagrad.evaluate import reference_model
from gammagrad.flux_maps import FluxMaps, HypothesisMaps
from gammagrad.maps import Map, WcsGeom, warn_if_uneven
from gammagrad.models import Models, SkyModel
from gammagrad.parallel import resolve_jobs
from gammagrad.progress import progress_bar


class TSMapEstimator(TSMapSettings):
    """Test-statistic map: is there a source, how bright, how sure, at every position.

    At each pixel the norm of `model`, placed there, is fitted to the counts of one dataset or of
    several at once. The models of a dataset count as background, so leave a source out of them to
    find its TS.

    Parameters
    ----------
    model : SkyModel, or a list of them, optional
        The source to test. Its position does not matter. Default: a point source with a power law
        of index 2. A list, such as several sizes, tests each of its models; `run` then returns
        `HypothesisMaps`. Models without a name are named after their differences.
    kernel_width : str, Quantity or float, optional
        Full width of the kernel, such as "1 deg". Default: a kernel that contains 99.9 % of the
        model folded with the point spread function, no wider than the map. See `renormalise`.
    downsampling_factor : int, optional
        Fit blocks of so many by so many pixels, and interpolate the results, which saves time. An
        even number; maps may have any size. None or 1 fits every pixel.
    n_sigma : float
        Standard deviations of `norm_err`, `norm_errp` and `norm_errn`.
    n_sigma_ul : float
        Standard deviations of the upper limit, one-sided: 2 is a limit at 97.7 % confidence,
        1.645 one at 95 %.
    threshold : float, optional
        Keep the norm guessed by a matched filter where its TS is not above this (status "guess
        kept"), which saves time. None fits every pixel.
    rtol : float
        Size of the last Newton step, in units of the error, above which the fit counts as not
        converged. It affects status and niter only: the norm is solved to rounding.
    selection_optional : str or list of str, optional
        Maps to add: "errn-errp" (`norm_errp`, `norm_errn`: errors upwards and downwards, where
        the statistic has risen by n_sigma squared), "ul" (`norm_ul`: upper limit), "stat_scan"
        (`stat_scan`, `dnde_scan_values`: statistic at the norms of `norm`, minus the statistic
        without a source), "sensitivity" (`norm_sensitivity`: norm expected to be detected at
        `n_sigma_sensitivity`); or "all". None adds none. No other map changes.
    energy_edges : Quantity, list, str or None
        Edges of the energy groups, each of which gets a map. They snap to the edges of the energy
        axis of the (first) dataset. None: one group over the whole axis. "all": one group per bin.
    sum_over_energy_groups : bool
        True fits the image summed over each group, False the cube, which uses more information.
    n_jobs : int, optional
        Number of processes that share the fit, at most one per physical core. One process uses
        every core already, so more are rarely faster on one machine. Results agree to a relative
        1e-9, or 1e-12 of the largest value in the map. None:
        `gammagrad.parallel.N_JOBS_DEFAULT`, which is 1.
    parallel_backend : {"multiprocessing", "ray"}, optional
        Where they run: on the processors of this machine, or on a ray cluster. None:
        `gammagrad.parallel.BACKEND_DEFAULT`, which is "multiprocessing".
    norm : dict, sequence of float or object with scan_values, optional
        Norms at which "stat_scan" takes the statistic: the norms themselves, or any of scan_min,
        scan_max, scan_n_values, scan_values and interp ("lin" or "log"). Default: -100 to 100,
        16 norms a decade on both sides of 0.
    max_niter : int
        Most Newton sweeps; eight suffice.
    free : sequence of str
        What is fitted at every pixel: ``("norm",)``, or ``("norm", "index")`` for the norm and the
        spectral index of the model together, from 0.5 to 5.5, to the cube of the energies of each
        group (``sum_over_energy_groups=False``). That adds `index`, `index_err`,
        `norm_index_corr` (the correlation of the two) and `ts_index` (how much of `ts` the index
        of the model lacks); the other maps are those of the best pair. The index is NaN where
        no positive norm has a best one (status 13) or the fit is a bound (1, 2, 3).
    n_sigma_sensitivity : float
        Significance that the sensitivity is for.
    norm_min : {None, 0}
        0 counts upper limits from norm 0 where the fit is negative, so that no limit is negative.
        None counts them from the fit, as gammapy does.
    gamma_min : float
        Minimum number of source counts for the sensitivity. 0: no minimum.
    bkg_syst_fraction : float
        Fraction of the background that a source must exceed for the sensitivity. 0: no condition.
    background_floor : float, optional
        Minimum background of every fitted bin, in counts. It makes significances finite where the
        background is zero. None leaves the background unchanged.
    kernel_containment : float, optional
        Instead of `kernel_width`: the smallest kernel that contains this fraction of the source in
        every energy bin, such as 0.95.
    renormalise : bool
        True normalises the kernel after truncation, as gammapy does: norm and flux are low by the
        fraction of the source outside the kernel. False keeps the flux right. Either way
        ``maps.meta`` has the fraction inside, ``"containment"`` for each energy bin and
        ``"containment_per_group"``; a warning is logged below 0.95.
    kernel_weighting : {"counts", "equal"}
        How the kernels of the energies of a summed image are averaged. "counts" weights them with
        the expected counts, which is exact. "equal" weights them equally, as gammapy does, and
        biases the norm where the kernel depends on energy.
    kernel_sampling : {"fine", "gammapy"}
        How models are integrated over pixels, and partly masked blocks are downsampled:
        accurately, or as in gammapy 2.1, for comparison; "gammapy" has one kernel for all
        positions.
    kernel_positions : {"auto", "centre", "map"} or int
        Whether every position has a kernel of its own: pixels, point spread function, energy
        dispersion and exposure as they are there. "map" makes them always, "auto" only if one
        kernel would be wrong by more than 0.1 % of a norm somewhere. "centre" takes the kernel of
        the middle everywhere, and the exposure where the counts fall, as gammapy does. A number, 4
        to 1089, is that of the positions at which kernels are compared; 81 by default. A model
        without an edge keeps one kernel. ``maps.meta`` has ``"kernels_per_group"`` and, as
        fractions of a norm, ``"kernel_error_per_group"`` and ``"one_kernel_error_per_group"``.
    background : {"fixed", "free", "constrained"}
        Whether the background is known, or has a norm that is fitted at every position, too:
        freely, or constrained by `background_uncertainty`. All results are then those of the
        profile likelihood, and there are maps of the norm of the background, `background_norm`, of
        its error, its pull and its correlation with the norm of the source. See
        *When the background is uncertain*.
    background_uncertainty : float, list of float or Map
        Relative uncertainty of a constrained background, such as 0.05: one number, one for each
        energy group, or a map.
    background_prior : {"gamma", "gaussian"}
        What is known of the norm of a constrained background: as from an auxiliary measurement of
        counts (gamma, at no cost), or a Gaussian.
    background_width : str or Quantity, optional
        Full width of the window in which the norm of the background is fitted, at least the
        kernel's. Default: three times the kernel's width.
    background_norms : {"one", "per dataset", "per energy"}
        Whether one norm is fitted for all datasets and energies of a group, one for each dataset,
        or one for each energy bin of each dataset.
    memory : int, str or Quantity, optional
        Approximate working memory of the fit, such as "500 MB" or a number of bytes: a large map
        is fitted in strips of rows. Default: 256 MB on a processor, a quarter of the memory of
        another device.
    kernel_model : SkyModel or list, optional
        Another name of `model`.
    show_progress : bool, optional
        Show a progress bar; None shows one on a terminal.

    Raises
    ------
    ValueError, TypeError
        If a setting cannot be used. Settings may be changed later, and take effect at the next
        run.

    References
    ----------
    Stewart (2009), A&A 495, 989, appendix A; Cash (1979), ApJ 228, 939.

    Examples
    --------
    >>> from gammagrad import TSMapEstimator
    >>> from gammagrad.simulate import simulate_field
    >>> field = simulate_field(seed=1, npix=40)
    >>> estimator = TSMapEstimator(kernel_width="0.6 deg", selection_optional=["ul"])
    >>> maps = estimator.run(field.dataset)
    >>> maps["sqrt_ts"].data.shape
    (1, 40, 40)

    A limit is above the fit everywhere:

    >>> bool((maps["flux_ul"].data > maps["flux"].data).all())
    True
    """

    tag = "TSMapEstimator"

    @property
    def selection_all(self) -> list[str]:
        """Names of the maps that a run computes."""
        asked = parse_selection(self.selection_optional)
        optional = [name for key in OPTIONAL_MAPS if key in asked for name in OPTIONAL_MAPS[key]]
        scan = ["dnde_scan_values"] if "stat_scan" in asked else []
        free = INDEX_MAPS if "index" in self.free else ()
        own = BACKGROUND_MAPS if self.background != "fixed" else ()
        return [*FITTED_MAPS, "success", *scan, *optional, *free, *own, "status"]

    def estimate_flux_map(
        self, datasets: AnyMapDataset | Iterable[AnyMapDataset], positions: Any = None
    ) -> dict[str, Map]:
        """Fit the norm at every pixel, all of the (first) dataset's energies as one group.

        Parameters
        ----------
        datasets
            A dataset, or several to fit jointly, as for `run`. The maps are not downsampled.
        positions
            Pixels to fit, as for `run`.

        Returns
        -------
        dict of str to Map
            The quantities of `selection_all`.
        """
        found = as_datasets(datasets)
        target, spectrum = result_grid(found, None), self._only_model.spectral_model
        wanted = positions_mask(positions, target)
        groups, axis = energy_groups(found[0].energy_axis, None)
        (inputs,) = replace(self._collector, downsampling_factor=None).inputs(found, target)[0]
        joint = JointInputs(inputs, share_groups(found, groups, axis), axis)
        settings = self._settings_on(found, target, len(groups))
        joint.warn_of_off_counts(settings.sum_energies)
        with progress_bar(1, self.tag, self.show_progress, fraction=True) as bar:
            arrays = fit_groups(joint.groups, settings, wanted, bar)
        names = self.selection_all
        maps = as_maps(arrays, names, target, joint.axis, settings.scan_values)
        if "stat_scan" in maps:
            maps["dnde_scan_values"] = scanned_fluxes(maps["stat_scan"], spectrum)
        return {name: maps[name] for name in names}

    def run(
        self,
        datasets: AnyMapDataset | Iterable[AnyMapDataset],
        positions: Any = None,
        geom: WcsGeom | None = None,
    ) -> FluxMaps | HypothesisMaps:
        """Fit the norm at every pixel, for every energy group.

        Parameters
        ----------
        datasets
            A dataset, or several to fit jointly with one norm: a `MapDataset`, whose background is
            known, or a `MapDatasetOnOff`, whose background is fitted in every bin (the W
            statistic). Pixels, energy axes and responses may differ. The energy groups are defined
            on the first dataset; another dataset contributes the bins that lie wholly inside a
            group, and is left out of a group without such bins, which is logged and recorded in
            ``meta``.
        positions
            Pixels to fit; None fits all. A mask on the pixels of the map (a Map or an array, true
            at any energy), or a sky box, ``(SkyCoord, width)`` as for a cutout. Data around these
            pixels are still used.
        geom
            Pixels of the result; None takes the first dataset's. Every dataset contributes
            its own bins around each position, however its pixels lie.

        Returns
        -------
        FluxMaps, or HypothesisMaps if `model` is a list
            Maps with one plane per energy group. With a list, each model has the maps of a run
            with it alone (downsampled maps use the blocks of the widest kernel), computed in less
            time.

        Raises
        ------
        ValueError
            If a dataset lacks what a fit needs or is off the map, or no position can be fitted.
        TypeError
            If an argument is not a dataset.

        Warns
        -----
        InputWarning
            If data look wrong; and if OFF counts are few or shared, or not measured somewhere.
        """
        found = as_datasets(datasets)
        target, collector = result_grid(found, geom), self._collector
        if not all(collector.follows_positions(model) for model in self._models):
            warn_if_uneven(target)
        wanted = positions_mask(positions, target)
        groups, axis = energy_groups(found[0].energy_axis, self.energy_edges)
        bins = share_groups(found, groups, axis)
        settings = self._settings_on(found, target, len(groups))
        if settings.indices is not None:
            check_energies(bins, axis)
        by_model, grid = collector.inputs(found, target)
        if settings.background is not None:
            settings = settings._replace(background=settings.background.on_blocks(grid))
        blocks = wanted if grid is None or wanted is None else grid.needed(wanted)
        results: dict[str, FluxMaps] = {}
        steps = len(groups) * len(self._models)
        with progress_bar(steps, self.tag, self.show_progress, fraction=True) as bar:
            for model, inputs in zip(self._models, by_model, strict=True):
                joint = JointInputs(inputs, bins, axis)
                several = len(self._models) > 1
                called = repr(model.name) if several else "a source"
                joint.warn_of_cut_kernels(self.renormalise, called)
                if not results:
                    joint.warn_of_off_counts(settings.sum_energies)
                arrays = fit_groups(joint.groups, settings, blocks, bar)
                if grid is not None:
                    arrays = only_at(wanted, grid.upsampled(arrays))
                results[model.name] = self._result(found, model, joint, arrays, wanted, target)
        return HypothesisMaps(results) if isinstance(self.model, Models) else results[model.name]

    def estimate_kernel(self, dataset: AnyMapDataset, position: SkyCoord | None = None) -> Map:
        """Fold the model with the response at a position.

        Parameters
        ----------
        dataset
            Exposure, point spread function, energy dispersion and geometry.
        position
            Where the source is, on the pixels as they are there; None for the middle of the map.
            Without exposure there the nearest position with exposure is taken.

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
        return self._collector.kernel_at(dataset, self._only_model, position)

    @staticmethod
    def estimate_mask_default(dataset: AnyMapDataset) -> Map:
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

    def estimate_pad_width(
        self, dataset: AnyMapDataset, kernel: Map | None = None
    ) -> tuple[int, int]:
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

    def estimate_fit_input_maps(self, dataset: AnyMapDataset) -> dict[str, Map | None]:
        """Return the maps that enter the fit of a dataset as one energy group, with one kernel.

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
        self, dataset: AnyMapDataset, kernel: Map | None = None, exposure: Map | None = None
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
            indices=self._indices,
        )

    def _settings_on(
        self, datasets: Sequence[AnyMapDataset], target: WcsGeom, n_groups: int
    ) -> FitSettings:
        """Return what the fit of energy groups depends on, for the pixels of a map."""
        if self.background == "fixed":
            return self._fit_settings
        refuse_off_counts(datasets, self.background)
        if "index" in self.free:
            raise InputError(
                f" has the index, and background is {self.background!r}: one of the two can be "
                "fitted beside the norm. Set background='fixed', or free=('norm',).",
                "free",
            )
        asked = BackgroundSettings(
            background=self.background,
            uncertainty=self.background_uncertainty,
            prior=self.background_prior,
            width=self.background_width,
            norms=self.background_norms,
        )
        if self.threshold is not None and not asked.one_line:
            raise InputError(
                " cannot be set with a Gaussian prior or several norms of the background; set it "
                "to None.",
                "threshold",
            )
        return self._fit_settings._replace(background=asked.on(target, n_groups))

    @property
    def _indices(self) -> IndexRange | None:
        """The range of a free index, if the other settings go with it."""
        if "index" not in self.free:
            return None
        check_settings(
            self._models,
            sums=self.sum_over_energy_groups,
            selection=parse_selection(self.selection_optional),
            downsampling_factor=self.downsampling_factor,
            threshold=self.threshold,
        )
        return index_range(self._only_model)

    @property
    def _collector(self) -> Collector:
        """What makes arrays of datasets."""
        return Collector(
            models=self._models,
            kernel_width=self.kernel_width,
            containment=self.kernel_containment,
            renormalise=self.renormalise,
            sampling=self.kernel_sampling,
            background_floor=self.background_floor,
            downsampling_factor=self.downsampling_factor,
            kernel_positions=self.kernel_positions,
            free=self.free,
        )

    def _inputs(self, dataset: AnyMapDataset) -> FitInputs:
        """Collect the arrays of a dataset for the one model, with one kernel."""
        collect, model = self._collector, self._only_model
        return collect.arrays(dataset, model, collect.kernel(dataset, model, positions="centre"))

    def _result(
        self,
        datasets: Sequence[AnyMapDataset],
        model: SkyModel,
        joint: JointInputs,
        arrays: dict[str, np.ndarray],
        wanted: np.ndarray | None,
        target: WcsGeom,
    ) -> FluxMaps:
        """Put geometry, fluxes and the record of the run on the arrays of a model's fit."""
        scan = self._fit_settings.scan_values
        maps = as_maps(arrays, self.selection_all, target, joint.axis, scan)
        meta = {
            "n_sigma": self.n_sigma,
            "n_sigma_ul": self.n_sigma_ul,
            "n_sigma_sensitivity": self.n_sigma_sensitivity,
            "norm_min": self.norm_min,
            "background": self.background,
            "precision": "float64",
            **joint.meta(self.sum_over_energy_groups),
            "settings": {**self.settings, "model": model.name},
        }
        if wanted is not None:
            meta["positions"] = int(wanted.sum())
        gti = union_of_times([d.gti for d in datasets], [d.name for d in datasets])
        axis_true = datasets[0].require("exposure").geom.axes["energy_true"]
        return FluxMaps(maps, reference_model(model, axis_true), meta=meta, gti=gti)
