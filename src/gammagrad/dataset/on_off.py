"""`MapDatasetOnOff`: an observation whose background is measured in OFF regions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from astropy.table import Table

from gammagrad.dataset import plain
from gammagrad.dataset.base import BaseMapDataset
from gammagrad.dataset.checks import OFF_NAMES, check_fit
from gammagrad.dataset.map_dataset import MapDataset
from gammagrad.dataset.off_info import off_count_rows, on_off_info
from gammagrad.dataset.off_regions import is_measured, on_off_downsampled, ratio, widened
from gammagrad.dataset.on_off_statistic import off_prediction, w_of_bins, weighted_w
from gammagrad.dataset.parts import map_part, named_errors
from gammagrad.errors import InputError, InputTypeError, InputWarning
from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap
from gammagrad.models import Component, FoVBackgroundModel, Models


class MapDatasetOnOff(BaseMapDataset):
    """One observation with a measured background: counts ON and OFF, and their acceptances.

    Parameters
    ----------
    counts
        Counts in each pixel (ON), axes (energy).
    counts_off
        Counts in the OFF region of each pixel, axes (energy).
    acceptance, acceptance_off
        Background expected in the pixel and in its OFF region, both on the same scale, axes
        (energy) or images for all energies. Only their ratio `alpha` matters.
    exposure
        Effective area times time, axes (energy_true).
    psf
        Point spread function, a `PSFMap`; None for no blur.
    edisp
        Energy dispersion, an `EDispKernelMap` or `EDispMap`, or None.
    mask_safe, mask_fit
        Masks or weights, as of a `MapDataset`.
    gti
        Good time intervals, an astropy table with columns START and STOP.
    models
        Models of sources in the field, whose counts are expected besides the background.
    name
        Name of the dataset, by default numbered.
    meta_table
        Further information, an astropy table.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If units, axes or geometries of the parts do not fit together, or there is a
        `FoVBackgroundModel`, which has no meaning where the background is measured.

    Notes
    -----
    The likelihood of a bin has two Poisson terms: the ON counts expect ``s + alpha b``, the OFF
    counts ``b``, and ``b`` is taken where the likelihood is largest (the W statistic). This holds
    if the OFF counts of different bins are different events. Where they are shared, such as those
    of rings around neighbouring pixels, every bin still counts them as a measurement of its own, so
    that the background seems better known than it is; `TSMapEstimator` warns of that.

    Bins without OFF acceptance have no measured background, and no weight in a fit.

    Examples
    --------
    >>> import numpy as np
    >>> from gammagrad import Map, MapDatasetOnOff
    >>> from gammagrad.maps import MapAxis
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    >>> counts = Map.create(npix=(4, 3), binsz=0.1, axes=[axis], data=5)
    >>> dataset = MapDatasetOnOff(
    ...     counts, counts_off=counts * 4.0, acceptance=counts * 1.0, acceptance_off=counts * 10.0,
    ...     name="example",
    ... )
    >>> float(dataset.alpha.data[0, 0, 0]), float(dataset.excess.data.sum())
    (0.1, 36.0)
    """

    tag = "MapDatasetOnOff"
    map_names = ("counts", *OFF_NAMES, "exposure", "mask_safe", "mask_fit")

    counts_off: Map | None = map_part("counts_off", "Counts in the OFF region of each pixel.")
    acceptance: Map | None = map_part("acceptance", "Background expected in each pixel, relative.")
    acceptance_off: Map | None = map_part(
        "acceptance_off", "Background expected in the OFF region, on the scale of `acceptance`."
    )

    def __init__(
        self,
        counts: Map | None = None,
        counts_off: Map | None = None,
        acceptance: Map | None = None,
        acceptance_off: Map | None = None,
        exposure: Map | None = None,
        psf: PSFMap | None = None,
        edisp: EDispKernelMap | EDispMap | None = None,
        mask_safe: Map | None = None,
        mask_fit: Map | None = None,
        gti: Table | None = None,
        models: Component | Iterable[Component] | None = None,
        name: str | None = None,
        meta_table: Table | None = None,
    ) -> None:
        maps = {"counts": counts, "counts_off": counts_off, "acceptance": acceptance}
        maps |= {"acceptance_off": acceptance_off, "exposure": exposure}
        maps |= {"mask_safe": mask_safe, "mask_fit": mask_fit}
        parts = {"psf": psf, "edisp": edisp, "models": models, "gti": gti}
        self._set_parts(maps, {**parts, "name": name, "meta_table": meta_table})

    # -- the measured background -----------------------------------------------------------------

    @property
    def alpha(self) -> Map:
        """Acceptance over OFF acceptance; 0 where there is no OFF acceptance."""
        on, off = self.require("acceptance"), self.require("acceptance_off")
        with named_errors(self.name):
            return Map(self.geom, ratio(on, off), copy=False)

    @property
    def background(self) -> Map | None:
        """Background estimated from the OFF counts alone, ``alpha * counts_off``.

        NaN where it is not measured; None without OFF counts or acceptances.
        """
        if self.counts_off is None or self.acceptance is None or self.acceptance_off is None:
            return None
        data = np.where(is_measured(self), self.alpha.data * self.counts_off.data, np.nan)
        return Map(self.geom, data, copy=False)

    @property
    def excess(self) -> Map:
        """Counts minus the background estimated from OFF counts; NaN where that is unknown."""
        for part in OFF_NAMES:
            self.require(part)
        background = self.background
        assert background is not None
        return Map(self.geom, self.require("counts").data - background.data, copy=False)

    def check(self, for_fit: bool = True) -> None:
        """Check that the values of the maps can be used.

        Parameters
        ----------
        for_fit
            Whether the dataset must have counts ON and OFF, acceptances, an exposure, and at
            least one bin to fit whose background is measured.

        Raises
        ------
        ValueError
            If a required map is missing; counts are negative, or the ON counts NaN, in a fitted
            bin; an acceptance is negative; a weight is negative or not finite; the exposure is
            zero everywhere, negative or not finite; or no bin has a measured background.
        """
        if for_fit:
            for name in ("counts", *OFF_NAMES, "exposure"):
                self.require(name)
        with named_errors(self.name):
            check_fit(self._maps, self.mask, for_fit)
        if for_fit and not (self.alpha.data[is_measured(self)] > 0).any():
            raise InputError(
                f"dataset {self.name!r}: acceptance and acceptance_off are nowhere both above 0 "
                "with a known number of OFF counts, so no background is measured; expected "
                "acceptances > 0 in the bins to fit."
            )

    def _check_models(self, models: Models | None) -> None:
        for model in models or ():
            if isinstance(model, FoVBackgroundModel):
                raise InputError(
                    f"dataset {self.name!r}, models: {model.name!r} is a model of the background, "
                    "which is measured here, from OFF counts. Leave it out, or use "
                    "to_map_dataset(), whose background can have a model."
                )

    # -- prediction and statistic ----------------------------------------------------------------

    # With traced parameters (under `jax.jit`, `jax.grad`, ...) the results are JAX arrays instead
    # of maps and numbers.

    def npred_off(self, models: Any = None) -> Any:
        """Return the OFF counts that fit best to all counts and to what models predict.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        Map or Array
            Expected counts in the OFF region of each pixel; NaN where `alpha` is 0. An array if a
            parameter is traced.

        Raises
        ------
        ValueError
            If counts or acceptances are missing.
        """
        data = off_prediction(self, self.npred_signal(models))
        return Map(self.geom, data, copy=False) if isinstance(data, np.ndarray) else data

    def npred_background(self, models: Any = None) -> Any:
        """Return the background that fits best to all counts and to what models predict.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        Map or Array
            ``alpha`` times `npred_off`, in counts per bin. An array if a parameter is traced.

        Raises
        ------
        ValueError
            If counts or acceptances are missing.
        """
        off = self.npred_off(models)
        data = self.alpha.data * (off.data if isinstance(off, Map) else off)
        return Map(self.geom, data, copy=False) if isinstance(off, Map) else data

    def npred(self, models: Any = None, sampling: str = "fine") -> Any:
        """Return all predicted counts: what models predict, and the background that fits best.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.
        sampling
            As in `npred_signal`.

        Returns
        -------
        Map or Array
            Predicted counts per bin, never below 0; NaN where `alpha` is 0. An array if a
            parameter is traced.

        Raises
        ------
        ValueError
            If counts or acceptances are missing.
        """
        signal = self.npred_signal(models, sampling)
        background = self.alpha.data * off_prediction(self, signal)
        if isinstance(signal, Map):
            return Map(self.geom, np.maximum(signal.data + background, 0.0), copy=False)
        return jnp.maximum(signal + background, 0)

    def stat_array(self, models: Any = None) -> Any:
        """Return the W statistic of each bin, relative to predictions that equal the counts.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        ndarray or Array
            The statistic, shape (energy, row, col); times `weights` if there are weights. Boolean
            masks are not applied. NaN where `alpha` is 0. An array if a parameter is traced.

        References
        ----------
        See `gammagrad.stats.wstat`.
        """
        return weighted_w(w_of_bins(self, self.npred_signal(models)), self.weights)

    def stat_sum(self, models: Any = None) -> Any:
        """Return the W statistic summed over the fitted bins.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        float or Array
            The sum, weighted by `weights` if there are weights, without bins whose background is
            not measured. A JAX scalar if a parameter is traced.
        """
        stat = self.stat_array(models)
        used = is_measured(self) & (self.alpha.data > 0)
        used &= True if self.mask is None else self.mask.data
        if isinstance(stat, np.ndarray):
            return float(stat[used].sum())
        return jnp.where(used, stat, 0).sum()

    # -- datasets made of this one ---------------------------------------------------------------

    def to_map_dataset(self, name: str | None = None) -> MapDataset:
        """Return the dataset with ``alpha * counts_off`` as a known background.

        Parameters
        ----------
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The dataset, with the same models. Its background is NaN, so that bins have no weight,
            where it is not measured.

        Notes
        -----
        The error of the measurement is lost: with few OFF counts errors are too small, and bins
        without OFF counts have a background of 0.
        """
        parts = {key: part for key, part in self.parts.items() if key not in OFF_NAMES}
        parts |= {"background": self.background, "name": self.name if name is None else name}
        return MapDataset(**parts)

    def downsample(self, factor: int, *, name: str | None = None) -> Self:
        """Return the dataset with blocks of pixels merged.

        Counts, OFF counts and acceptances are summed over the pixels in `mask_safe` with a measured
        background. With one `alpha` within a block this is exact. Otherwise the acceptance of the
        OFF region is scaled so that the background of the block is the sum over its pixels, as in
        gammapy: `alpha` is then their mean weighted by OFF counts. Exposure and masks are merged
        as in a `MapDataset`.

        Parameters
        ----------
        factor
            Pixels along the side of a block; it must divide rows and columns. `pad` helps.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDatasetOnOff
            The coarser dataset, with the same instrument's response.

        Raises
        ------
        ValueError
            If the factor does not divide the number of rows and columns, or a map is missing.
        """
        for part in ("counts", *OFF_NAMES):
            self.require(part)
        return self._made_of(on_off_downsampled(self, factor), name)

    def with_wider_off(self, radius: Any, name: str | None = None) -> Self:
        """Return the dataset with OFF counts summed over a disc around every pixel.

        The W statistic is biased where bins have few OFF counts. Summed over a disc there are
        more. They are then shared between bins, so that the background seems better known than
        it is: the sum is for OFF counts that are few in each bin, and many in a window. Merged
        pixels (`downsample`) share nothing.

        Parameters
        ----------
        radius
            Radius of the disc: an angle (a number is in deg), or a number of pixels, ``"3 pix"``.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDatasetOnOff
            The dataset with the sums of counts_off and acceptance_off over the pixels of the disc
            in `mask_safe` with a measured background.

        Raises
        ------
        ValueError
            If a map is missing, or the radius is not positive.
        """
        for part in OFF_NAMES:
            self.require(part)
        return self._made_of(widened(self, radius), name)

    # -- summary, files and plain maps -----------------------------------------------------------

    def _own_info(self, safe: Map | None) -> dict[str, Any]:
        return on_off_info(self, safe)

    def _count_rows(self) -> list[tuple[str, str]]:
        return off_count_rows(self)

    @classmethod
    def _own_parts(cls, parts: dict[str, Any]) -> dict[str, Any]:
        if not any(name in parts for name in OFF_NAMES):
            raise InputError(
                "a dataset without COUNTS_OFF, ACCEPTANCE and ACCEPTANCE_OFF; read it with "
                "MapDataset.read or gammagrad.read_dataset."
            )
        if "background" in parts:
            warnings.warn(
                f"dataset {parts['name']!r}: the BACKGROUND of the file is not read, because the "
                "background of an ON/OFF dataset follows from OFF counts.",
                InputWarning,
                stacklevel=4,
            )
        return {key: part for key, part in parts.items() if key != "background"}

    @classmethod
    def from_map_dataset(
        cls,
        dataset: MapDataset,
        acceptance: Map | float,
        acceptance_off: Map | float,
        counts_off: Map | None = None,
        name: str | None = None,
    ) -> Self:
        """Make an ON/OFF dataset of a dataset and what was measured in OFF regions.

        Parameters
        ----------
        dataset
            Counts, exposure, responses, masks and models.
        acceptance, acceptance_off
            Background expected in each pixel and in its OFF region: maps, or numbers for all bins.
        counts_off
            OFF counts. None takes those that the background of the dataset predicts, which are
            not whole numbers, for studies.
        name
            Name of the new dataset; by default that of the dataset.

        Returns
        -------
        MapDatasetOnOff
            The dataset, with the models of sources.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If maps do not fit together, or there are neither OFF counts nor a background.

        Examples
        --------
        >>> from gammagrad import MapDatasetOnOff
        >>> from gammagrad.simulate import simulate_field
        >>> field = simulate_field(seed=1, npix=30)
        >>> MapDatasetOnOff.from_map_dataset(field.dataset, 1, 10)
        <MapDatasetOnOff 'simulated field', 5 x 30 x 30>
        """
        if not isinstance(dataset, MapDataset):
            raise InputTypeError(
                f": expected a MapDataset, got {type(dataset).__name__}.", "dataset"
            )
        parts = {key: part for key, part in dataset.parts.items() if key != "background"}
        sources = [m for m in dataset.models or () if not isinstance(m, FoVBackgroundModel)]
        parts |= {"models": sources if dataset.models else None}
        parts |= {
            key: _on_bins(value, dataset, key)
            for key, value in (("acceptance", acceptance), ("acceptance_off", acceptance_off))
        }
        result = cls(**parts | {"name": dataset.name if name is None else name})
        if counts_off is not None:
            result.counts_off = counts_off
            return result
        background = dataset.npred_background()
        if background is None:
            raise InputError(
                f": dataset {dataset.name!r} has no background either; expected OFF counts, or a "
                "background that says how many to expect.",
                "counts_off",
            )
        alpha = result.alpha.data
        expected = np.divide(background.data, alpha, out=np.zeros(alpha.shape), where=alpha > 0)
        result.counts_off = Map(dataset.geom, expected, copy=False)
        return result

    @classmethod
    def from_maps(
        cls,
        counts: Map,
        counts_off: Map,
        acceptance: Map | float = 1.0,
        acceptance_off: Map | float = 1.0,
        exposure: Map | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a dataset from plain maps, images or cubes.

        Parameters
        ----------
        counts, counts_off
            Counts, and those in the OFF region of each pixel, on the same bins: cubes, or images
            with `energy_edges`.
        acceptance, acceptance_off
            Background expected in each pixel and in its OFF region: maps, or numbers for all bins.
        exposure
            Area times time, as for `MapDataset.from_maps`.
        **kwargs
            Other arguments of `MapDataset.from_maps`, such as `psf_sigma`, `mask` and
            `energy_edges`.

        Returns
        -------
        MapDatasetOnOff
            The dataset.

        Raises
        ------
        TypeError
            If an argument that must be a map is not a `Map`.
        ValueError
            If energies or units are missing, or the maps do not fit together.
        """
        dataset = MapDataset.from_maps(counts, None, exposure, **kwargs)
        given: dict[str, Any] = {"counts_off": counts_off, "acceptance": acceptance}
        given |= {"acceptance_off": acceptance_off}
        maps = {key: m for key, m in given.items() if isinstance(m, Map) or key == "counts_off"}
        on_axis = plain.maps_on_axis(maps, dataset.energy_axis)
        return cls.from_map_dataset(dataset, **{**given, **on_axis})

    @classmethod
    def from_files(
        cls,
        counts: str | PathLike[str],
        counts_off: str | PathLike[str],
        acceptance: str | PathLike[str] | float = 1.0,
        acceptance_off: str | PathLike[str] | float = 1.0,
        exposure: str | PathLike[str] | None = None,
        psf: str | PathLike[str] | None = None,
        mask: str | PathLike[str] | None = None,
        mask_fit: str | PathLike[str] | None = None,
        checksum: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Make a dataset from plain FITS files.

        Parameters
        ----------
        counts, counts_off, exposure, mask, mask_fit
            FITS images or cubes, as for `MapDataset.from_files`.
        acceptance, acceptance_off
            FITS images or cubes, or numbers for all bins.
        psf
            A FITS file with a point spread function.
        checksum
            Whether to verify the checksums in the files.
        **kwargs
            Other arguments of `from_maps`, such as `psf_sigma` and `energy_edges`.

        Returns
        -------
        MapDatasetOnOff
            The dataset, with the good time intervals of the counts' file.

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            As in `from_maps`, or if a file is not FITS, is damaged or has no map.
        """
        off: dict[str, Any] = {"acceptance": acceptance, "acceptance_off": acceptance_off}
        numbers: dict[str, Any] = {k: v for k, v in off.items() if isinstance(v, int | float)}
        files = {key: value for key, value in off.items() if key not in numbers}
        files |= {"counts_off": counts_off, "exposure": exposure, "mask": mask}
        files |= {"mask_fit": mask_fit, "counts": counts}
        parts, gti = plain.maps_of_files(files, checksum)
        kwargs |= plain.psf_of_file(psf, checksum)
        with plain.naming_files(files):
            return cls.from_maps(**parts, **numbers, gti=gti, **kwargs)


AnyMapDataset = MapDataset | MapDatasetOnOff
"""A dataset with a known background, or with a measured one."""


def _on_bins(value: Map | float, dataset: MapDataset, name: str) -> Map:
    """Return an acceptance as a map: a number is for all bins."""
    if isinstance(value, Map):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise InputTypeError(f": expected a Map or a number, got {type(value).__name__}.", name)
    return Map(dataset.geom, np.full(dataset.geom.data_shape, float(value)))
