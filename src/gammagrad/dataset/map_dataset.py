"""`MapDataset`: one observation as maps, its prediction and its statistic."""

from __future__ import annotations

import html
import itertools
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.table import Table

from gammagrad._programs import is_traced, to_device
from gammagrad.dataset import plain, transforms
from gammagrad.dataset.checks import MAP_NAMES, check_fit
from gammagrad.dataset.info import describe, info_of
from gammagrad.dataset.likelihood import DatasetLikelihood, prepare_likelihood
from gammagrad.dataset.masks import fitted_bins, weights_of
from gammagrad.dataset.parts import map_part, models_for, named_errors, response_part
from gammagrad.dataset.predict import background_npred, signal_npred, sky_models, total_npred
from gammagrad.dataset.response_checks import check_edisp, check_psf
from gammagrad.dataset.statistic import stat_of_bins, sum_of_bins
from gammagrad.dataset.suspicion import NO_PSF
from gammagrad.errors import InputError, InputWarning
from gammagrad.evaluate import CUTOUT_MARGIN, SourceResponse, source_response
from gammagrad.io import read_map_dataset, read_psf, reading, write_map_dataset
from gammagrad.maps import EDispKernelMap, EDispMap, Map, MapAxis, PSFMap, WcsGeom
from gammagrad.models import Component, Models, SkyModel

_numbers = itertools.count(1)


class MapDataset:
    """One observation: counts on the sky, expected counts, and the instrument's response.

    Parameters
    ----------
    counts
        Observed counts, axes (energy): whole numbers, or expected counts (an Asimov dataset).
    exposure
        Effective area times time, axes (energy_true), any unit of area times time.
    background
        Expected counts without the sources searched for, axes (energy). NaN where unknown: such
        bins have weight zero in a fit.
    psf
        Point spread function, a `PSFMap`, in true or reconstructed energy; None for no blur.
    edisp
        Energy dispersion, an `EDispKernelMap` or `EDispMap`; None if the measured energy is
        the true energy.
    mask_safe, mask_fit
        Masks, axes (energy), or images for all energies: bins enter a fit where both are True.
        None masks nothing. Floating-point numbers that are not all 0 or 1 are weights: the
        statistic of a bin is multiplied by its weight.
    gti
        Good time intervals, an astropy table with columns START and STOP.
    models
        Models of the field, one or a list; see `models`.
    name
        Name of the dataset, by default numbered.
    meta_table
        Further information, an astropy table.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If units, axes or geometries of the parts do not fit together.

    Notes
    -----
    A map that is larger than the counts and aligned with them (equal pixels after a shift by whole
    pixels) is cut out, also when a part is set later. Any other difference of the pixels is an
    error. Without counts, the background or else the first mask takes their place. PSF and energy
    dispersion have pixels of their own.

    Examples
    --------
    >>> from gammagrad.maps import Map, MapAxis
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    >>> counts = Map.create(npix=(4, 3), binsz=0.1, axes=[axis])
    >>> background = Map.from_geom(counts.geom, data=np.full((2, 3, 4), 0.5))
    >>> dataset = MapDataset(counts=counts, background=background, name="example")
    >>> float(dataset.npred().data.sum()), dataset.stat_sum()
    (12.0, 24.0)
    """

    tag = "MapDataset"

    counts: Map | None = map_part("counts", "Observed counts per pixel and energy bin.")
    exposure: Map | None = map_part("exposure", "Effective area times time, in true energy.")
    background: Map | None = map_part(
        "background", "Expected counts without the sources searched for."
    )
    mask_safe: Map | None = map_part(
        "mask_safe", "True where the response is reliable; an image is a mask for all energies."
    )
    mask_fit: Map | None = map_part(
        "mask_fit", "True in the bins to fit, or weights; an image is a mask for all energies."
    )
    psf: PSFMap | None = response_part("psf", "Point spread function.", check_psf, "energy")
    edisp: EDispKernelMap | EDispMap | None = response_part(
        "edisp", "Energy dispersion.", check_edisp, "energy", "energy_true"
    )

    def __init__(
        self,
        counts: Map | None = None,
        exposure: Map | None = None,
        background: Map | None = None,
        psf: PSFMap | None = None,
        edisp: EDispKernelMap | EDispMap | None = None,
        mask_safe: Map | None = None,
        mask_fit: Map | None = None,
        gti: Table | None = None,
        models: Component | Iterable[Component] | None = None,
        name: str | None = None,
        meta_table: Table | None = None,
    ) -> None:
        self._name = f"dataset-{next(_numbers)}" if name is None else str(name)
        self._maps: dict[str, Map] = {}
        self.counts, self.exposure, self.background = counts, exposure, background
        self.mask_safe, self.mask_fit = mask_safe, mask_fit
        self.psf, self.edisp, self.models = psf, edisp, models
        self.gti, self.meta_table = gti, meta_table

    # -- parts -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the dataset; the ``datasets_names`` of models refer to it."""
        return self._name

    @property
    def models(self) -> Models | None:
        """Models of the field, without models that name other datasets only."""
        return self._models

    @models.setter
    def models(self, models: Component | Iterable[Component] | None) -> None:
        self._models = None if models is None else models_for(self.name, models)

    @property
    def parts(self) -> dict[str, Any]:
        """All parts by the names of the constructor's arguments."""
        names = ("psf", "edisp", "gti", "models", "name", "meta_table")
        return {name: getattr(self, name) for name in (*MAP_NAMES, *names)}

    def require(self, name: str) -> Map:
        """Return one of the maps, or raise an error if it is missing.

        Parameters
        ----------
        name
            "counts", "exposure", "background", "mask_safe" or "mask_fit".

        Returns
        -------
        Map
            The map.

        Raises
        ------
        ValueError
            If the dataset does not have it.
        """
        if name not in self._maps:
            there = ", ".join(self._maps) or "no map at all"
            raise InputError(
                f"dataset {self.name!r} has no {name}, which this needs; it has {there}."
            )
        return self._maps[name]

    @property
    def _geom(self) -> WcsGeom | None:
        names = ("counts", "background", "mask_safe", "mask_fit")
        return next((self._maps[name].geom for name in names if name in self._maps), None)

    @property
    def geom(self) -> WcsGeom:
        """Geometry of the counts: pixels and reconstructed energy."""
        if self._geom is not None:
            return self._geom
        raise InputError(
            f"dataset {self.name!r} has no geometry; expected counts, a background or a mask."
        )

    @property
    def energy_axis(self) -> MapAxis:
        """Axis of reconstructed energy."""
        return self.geom.axes["energy"]

    @property
    def mask(self) -> Map | None:
        """True in the fitted bins, where both masks are and the pixel is on the sky.

        None if all bins are fitted.
        """
        return fitted_bins(self._geom, self.mask_safe, self.mask_fit)

    @property
    def weights(self) -> Map | None:
        """Weights of the likelihood, the product of the masks; None if the masks are booleans.

        The statistic of a bin is multiplied by its weight; 0 excludes a bin, as False does.
        """
        return weights_of(self.mask_safe, self.mask_fit)

    @property
    def mask_image(self) -> Map:
        """True where any energy bin of a pixel is fitted."""
        mask, geom = self.mask, self.geom.to_image()
        if mask is None:
            return Map(geom, np.ones(geom.data_shape, dtype=bool))
        return Map(geom, mask.data.any(axis=0))

    @property
    def is_masked(self) -> bool:
        """Whether the masks exclude any bin."""
        mask = self.mask
        return mask is not None and not bool(mask.data.all())

    @property
    def energy_range(self) -> u.Quantity:
        """Lowest and highest energy of the fitted bins, shape (2,); NaN without fitted bins."""
        mask, edges = self.mask, self.energy_axis.edges
        used = np.arange(len(edges) - 1)
        if mask is not None:
            used = np.flatnonzero(mask.data.any(axis=(1, 2)))
        if not len(used):
            return u.Quantity([np.nan, np.nan], edges.unit)
        return edges[[used[0], used[-1] + 1]]

    def check(self, for_fit: bool = True) -> None:
        """Check that the values of the maps can be used.

        A background may be NaN: its bins have weight zero in a fit.

        Parameters
        ----------
        for_fit
            Whether the dataset must have counts, an exposure, a background or models, and at
            least one bin to fit.

        Raises
        ------
        ValueError
            If a required map is missing; counts or background are negative, or counts NaN, in a
            fitted bin; a weight is negative or not finite; the exposure is zero everywhere,
            negative or not finite.
        """
        if for_fit:
            self.require("counts")
            self.require("exposure")
            if self.background is None and not self.models:
                raise InputError(
                    f"dataset {self.name!r} has neither a background nor models, so nothing says "
                    "how many counts to expect without a source; give it a background, or models "
                    "that predict one."
                )
        with named_errors(self.name):
            check_fit(self._maps, self.mask, for_fit)

    # -- prediction and statistic ----------------------------------------------------------------

    # With traced parameters (under `jax.jit`, `jax.grad`, ...) the results are JAX arrays instead
    # of maps and numbers. The windows of the prediction are then at the positions of the dataset's
    # own models of the same names. `likelihood` prepares the prediction once, for many calls.

    def likelihood(
        self,
        models: Any = None,
        *,
        room: float = CUTOUT_MARGIN,
        sampling: str = "fine",
        like: DatasetLikelihood | None = None,
    ) -> DatasetLikelihood:
        """Prepare the likelihood of models with varying parameters, for compiled code.

        Parameters
        ----------
        models
            The models with their present parameters; by default the models of the dataset.
            Windows and instrument responses are computed for their present positions and sizes.
        room
            How far in deg a source may move or grow before `DatasetLikelihood.holds` is false.
        sampling
            As in `npred_signal`.
        like
            An earlier likelihood of this dataset. A source that is still within its window keeps
            the pixels of the window and its `room`; only the instrument's responses are updated
            to the present position. Functions compiled for the earlier likelihood are reused.

        Returns
        -------
        DatasetLikelihood
            A tree of arrays, in the precision set in JAX; its methods `npred`,
            `stat_array` and `stat_sum` take models.

        Raises
        ------
        ValueError
            If there are sources but no exposure, or a template does not fit the geometry.

        Examples
        --------
        >>> import jax
        >>> from gammagrad import Map, MapDataset
        >>> from gammagrad.maps import MapAxis
        >>> from gammagrad.models import FoVBackgroundModel
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
        >>> counts = Map.create(npix=(4, 3), binsz=0.1, axes=[axis])
        >>> counts.data += 1
        >>> dataset = MapDataset(counts, background=counts, name="example")
        >>> model = FoVBackgroundModel("example")
        >>> likelihood = dataset.likelihood(model)
        >>> value, slope = jax.jit(jax.value_and_grad(likelihood.stat_sum))(model)
        >>> float(value), float(slope.spectral_model.norm)
        (48.0, 0.0)
        """
        prepared = prepare_likelihood(self, self._chosen(models), sampling, room, like)
        return prepared if is_traced(prepared) else to_device(prepared)

    def source_response(self, model: SkyModel, kernel_width: Any = None) -> SourceResponse:
        """Prepare the kernel and exposure of a source search for a model with varying parameters.

        Parameters
        ----------
        model
            The source to search for; its size sets the size of the kernel.
        kernel_width
            Full width of the kernel, as `TSMapEstimator` takes it.

        Returns
        -------
        SourceResponse
            A tree of arrays, in the precision set in JAX; its methods `kernel` and
            `reference_counts` take models and return the inputs of `gammagrad.ts_map`.

        Raises
        ------
        ValueError
            If there is no exposure, or the model has no shape.
        """
        prepared = source_response(
            model, self.require("exposure"), self.psf, self.edisp, self.geom, kernel_width
        )
        return jax.tree.map(jnp.asarray, prepared)

    def _chosen(self, models: Any) -> Models:
        """Return the models that apply to this dataset, by default its own."""
        return Models(self.models) if models is None else Models(models).for_dataset(self.name)

    def npred_background(self, models: Any = None) -> Any:
        """Return the background with its model applied, in counts per bin.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        Map, Array or None
            The background times the `FoVBackgroundModel` of `models` if there is one; None
            without a background. An array if a parameter is traced.
        """
        chosen = self._chosen(models)
        if self.background is not None and is_traced(chosen):
            return prepare_likelihood(self, chosen).npred_background(chosen)
        return background_npred(self.background, chosen)

    def npred_signal(self, models: Any = None, sampling: str = "fine") -> Any:
        """Return the counts that models predict.

        Parameters
        ----------
        models
            A model or a list of models; by default the models of the dataset. A
            `FoVBackgroundModel` adds nothing here.
        sampling
            "fine" integrates models over pixels accurately and takes the exposure at the position
            of the source; "gammapy" uses the sampling of gammapy 2.1, and the exposure where the
            counts fall, for comparison.

        Returns
        -------
        Map or Array
            Predicted counts per bin, on the geometry of the counts; an array if a parameter is
            traced.

        Raises
        ------
        ValueError
            If there are sky models but no exposure.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return prepare_likelihood(self, chosen, sampling).npred_signal(chosen)
        return signal_npred(self, chosen, sampling)

    def npred(self, models: Any = None, sampling: str = "fine") -> Any:
        """Return all predicted counts: background and models.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.
        sampling
            As in `npred_signal`.

        Returns
        -------
        Map or Array
            Predicted counts per bin, never below 0; NaN where the background is NaN. An array if
            a parameter is traced.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return prepare_likelihood(self, chosen, sampling).npred(chosen)
        background = background_npred(self.background, chosen)
        if background is not None and not sky_models(chosen):
            return Map(self.geom, np.maximum(background.data, 0.0, dtype=float), copy=False)
        return total_npred(signal_npred(self, chosen, sampling), background)

    def stat_array(self, models: Any = None) -> Any:
        """Return the Cash statistic of each bin.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        ndarray or Array
            ``2 (npred - counts log npred)``, shape (energy, row, col), float64; times `weights`
            if there are weights. Boolean masks are not applied. A JAX array if a parameter is
            traced.

        References
        ----------
        Cash (1979), ApJ 228, 939, equation 5.
        """
        return stat_of_bins(self.npred(models), self.require("counts"), self.weights)

    def stat_sum(self, models: Any = None) -> Any:
        """Return the Cash statistic summed over the fitted bins.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        float or Array
            The sum, weighted by `weights` if there are weights, without bins whose background is
            unknown (NaN). A JAX scalar if a parameter is traced.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return prepare_likelihood(self, chosen).stat_sum(chosen)
        return sum_of_bins(self.stat_array(chosen), self.mask)

    # -- datasets made of this one ---------------------------------------------------------------

    def _made_of(self, parts: dict[str, Any], name: str | None) -> Self:
        return type(self)(**(parts if name is None else {**parts, "name": name}))

    def copy(self, name: str | None = None) -> Self:
        """Return a copy that shares no data with this dataset.

        Parameters
        ----------
        name
            Name of the copy; by default the same.

        Returns
        -------
        MapDataset
            The copy, with the models that apply to a dataset of its name.
        """
        return self._made_of(transforms.copied(self.parts), name)

    def cutout(
        self, position: Any, width: Any, mode: str = "trim", name: str | None = None
    ) -> Self:
        """Return a cutout of the dataset around a position.

        The instrument's response (PSF and energy dispersion) is not cut out: it has its own,
        coarser pixels, and is evaluated by position.

        Parameters
        ----------
        position
            Centre of the cutout, a `SkyCoord`.
        width
            Width, one angle or (lon, lat): degrees, text or quantity.
        mode
            "trim" trims the cutout at the edge of the map, "strict" raises an error there.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The cutout.

        Raises
        ------
        ValueError
            If the cutout does not overlap with the map, or an angle cannot be read.
        """
        parts = transforms.each_map(self.parts, lambda m: m.cutout(position, width, mode))
        return self._made_of(parts, name)

    def pad(self, pad_width: Any, name: str | None = None) -> Self:
        """Return the dataset with a border of empty pixels.

        Counts, background and exposure are 0 there, masks False.

        Parameters
        ----------
        pad_width
            Number of pixels on each side: one number, (rows, columns), or the numbers before and
            after, ((rows, rows), (columns, columns)).
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The larger dataset.
        """
        return self._made_of(transforms.each_map(self.parts, lambda m: m.pad(pad_width)), name)

    def downsample(self, factor: int, *, name: str | None = None) -> Self:
        """Return the dataset with blocks of pixels merged.

        Counts and background are summed over the pixels in `mask_safe` with a known background.
        The exposure is averaged over all pixels of a block: in a partly masked block the predicted
        counts of a source are too high. A mask is true if any pixel of the block is true; weights
        are averaged over the pixels with a positive weight.

        Parameters
        ----------
        factor
            Pixels along the side of a block; it must divide rows and columns. `pad` helps.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The coarser dataset, with the same instrument's response.

        Raises
        ------
        ValueError
            If the factor does not divide the number of rows and columns.

        Examples
        --------
        >>> from gammagrad.dataset import MapDataset
        >>> from gammagrad.maps import Map, MapAxis
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=1)
        >>> dataset = MapDataset(counts=Map.create(npix=(6, 4), axes=[axis], data=2))
        >>> dataset.downsample(2).counts.data
        array([[[8, 8, 8],
                [8, 8, 8]]])
        """
        return self._made_of(transforms.downsampled(self, factor), name)

    def slice_by_energy(
        self, energy_min: Any = None, energy_max: Any = None, name: str | None = None
    ) -> Self:
        """Return the dataset between two reconstructed energies.

        Parameters
        ----------
        energy_min, energy_max
            Bounds: text, quantity, or TeV. Each bound is moved to the nearest bin edge; None is the
            end of the axis.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The bins between the bounds. The exposure keeps all true energies.

        Raises
        ------
        ValueError
            If no bin lies between the bounds.

        Examples
        --------
        >>> from gammagrad.dataset import MapDataset
        >>> from gammagrad.maps import Map, MapAxis
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4)
        >>> dataset = MapDataset(counts=Map.create(npix=3, axes=[axis]))
        >>> dataset.slice_by_energy("3 TeV", "40 TeV").energy_axis.edges
        <Quantity [ 3.16227766, 10. , 31.6227766 ] TeV>
        """
        bins = transforms.bins_between(self, energy_min, energy_max)
        return self.slice_by_idx({"energy": bins}, name)

    def slice_by_idx(self, slices: Mapping[str, slice], name: str | None = None) -> Self:
        """Return the dataset with some bins of an axis.

        Parameters
        ----------
        slices
            Slices by the names of the axes, "energy" or "energy_true".
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The dataset; maps without the axis are not sliced.

        Raises
        ------
        ValueError
            If there is no such axis, or no bin is left.
        """
        return self._made_of(transforms.sliced(self, slices), name)

    # -- summary and text ------------------------------------------------------------------------

    def info_dict(self, in_safe_data_range: bool = True) -> dict[str, Any]:
        """Return a summary of the dataset in numbers.

        Parameters
        ----------
        in_safe_data_range
            Whether to sum only where `mask_safe` is True.

        Returns
        -------
        dict
            Sums of counts, background, excess and predicted counts, range of the exposure, times,
            numbers of bins, and the statistic.
        """
        return info_of(self, self.mask_safe if in_safe_data_range else None)

    def __str__(self) -> str:
        return describe(self)

    def __repr__(self) -> str:
        first = next(iter(self._maps.values()), None)
        shape = "empty" if first is None else " x ".join(str(n) for n in first.data.shape)
        return f"<MapDataset {self.name!r}, {shape}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    # -- files and plain maps --------------------------------------------------------------------

    @classmethod
    def read(
        cls, filename: str | PathLike[str], name: str | None = None, checksum: bool = True
    ) -> Self:
        """Read a dataset in gammapy's FITS layout.

        Parameters
        ----------
        filename
            The file, gzipped or not. Environment variables (``$NAME``) and ``~`` are expanded.
        name
            Name of the dataset; by default the name in the file, or the name of the file.
        checksum
            Whether to verify the checksums in the file.

        Returns
        -------
        MapDataset
            The dataset.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is not FITS, is damaged or holds no dataset, or its maps do not fit
            together.

        Warns
        -----
        InputWarning
            If the file has an energy dispersion and no PSF, or HDUs that do not belong to a
            dataset.
        """
        parts = read_map_dataset(filename, checksum)
        if name is not None:
            parts["name"] = name
        with reading(filename):
            dataset = cls(**parts)
        if dataset.edisp is not None and dataset.psf is None:
            warnings.warn(
                f"{filename}: there is an energy dispersion and no PSF. {NO_PSF}",
                InputWarning,
                stacklevel=2,
            )
        return dataset

    def write(
        self, filename: str | PathLike[str], overwrite: bool = False, checksum: bool = False
    ) -> None:
        """Write the dataset in gammapy's FITS layout, without its models.

        Parameters
        ----------
        filename
            The file; a name ending in ".gz" is compressed.
        overwrite
            Whether to replace an existing file.
        checksum
            Whether to write checksums.

        Raises
        ------
        OSError
            If the file exists and `overwrite` is false.
        """
        write_map_dataset(self.parts, filename, overwrite=overwrite, checksum=checksum)

    @classmethod
    def from_maps(
        cls,
        counts: Map,
        background: Map | None = None,
        exposure: Map | None = None,
        psf_sigma: Any = None,
        psf_table: Any = None,
        edisp: Any = None,
        mask: Map | None = None,
        mask_fit: Map | None = None,
        energy_edges: Any = None,
        *,
        exposure_unit: Any = None,
        psf: PSFMap | None = None,
        models: Any = None,
        gti: Any = None,
        name: str | None = None,
    ) -> Self:
        """Make a dataset from plain maps, images or cubes.

        Parameters
        ----------
        counts
            Observed counts: a cube (energy, row, col), or an image with `energy_edges`.
        background
            Expected background counts, on the bins of the counts.
        exposure
            Area times time in true energy. An exposure on the energy bins of the counts has the
            same bins in true energy. An exposure at other energies is interpolated (power laws
            between nodes) at the logarithmic centres of the counts' bins; its energies are kept if
            `edisp` is given, or if its bins subdivide the bins of the counts.
        psf_sigma
            Width of a Gaussian PSF: an angle (numbers are degrees), or an angle for each bin of
            true energy.
        psf_table
            Tabulated PSF: (rad, values) or (rad, energy, values); offsets in degrees, energies in
            TeV, density per sr of shape (rad,) or (energy, rad), unless they are quantities.
        edisp
            Energy dispersion, or None.
        mask, mask_fit
            Bins where the data are good and bins to fit, or weights; an image is a mask for all
            energies.
        energy_edges
            Edges of the energy bins (numbers are TeV) of maps without an energy axis.
        exposure_unit
            Unit of an exposure without a unit.
        psf
            A `PSFMap`, instead of `psf_sigma` or `psf_table`.
        models, gti, name
            As in the class.

        Returns
        -------
        MapDataset
            The dataset.

        Raises
        ------
        TypeError
            If an argument that must be a map is not a `Map`.
        ValueError
            If energies or units are missing, or the maps do not fit together.

        Examples
        --------
        >>> from gammagrad.maps import Map
        >>> counts = Map.create(npix=5, binsz=0.1)
        >>> exposure = Map.create(npix=5, binsz=0.1, unit="m2 s")
        >>> MapDataset.from_maps(
        ...     counts, exposure=exposure, psf_sigma="0.1 deg", energy_edges=["1 TeV", "10 TeV"],
        ...     name="image",
        ... )
        <MapDataset 'image', 1 x 5 x 5>
        """
        axis = plain.energy_axis_of(counts, energy_edges)
        maps = {"counts": counts, "background": background, "mask_safe": mask, "mask_fit": mask_fit}
        parts = plain.maps_on_axis(maps, axis)
        axis_true = axis.rename("energy_true")
        if exposure is not None:
            exposure = plain.exposure_on_axis(
                exposure, exposure_unit, axis, interpolate=edisp is None
            )
            axis_true = exposure.geom.axes["energy_true"]
        psf = plain.psf_from(axis_true, psf=psf, psf_sigma=psf_sigma, psf_table=psf_table)
        parts |= {"exposure": exposure, "psf": psf, "edisp": edisp}
        return cls(**parts, models=models, gti=gti, name=name)

    @classmethod
    def from_files(
        cls,
        counts: str | PathLike[str],
        background: str | PathLike[str] | None = None,
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
        counts, background, exposure, mask, mask_fit
            FITS images or cubes; ``"file.fits[name]"`` is one extension of a file. Environment
            variables (``$NAME``) and ``~`` are expanded. Energies come from EBOUNDS, ENERGIES or
            ``*_BANDS`` tables or the third axis of the header.
        psf
            A FITS file with a point spread function: from Fermi-LAT's ``gtpsf``, or a PSF map.
        checksum
            Whether to verify the checksums in the files.
        **kwargs
            Other arguments of `from_maps`, such as `psf_sigma` and `energy_edges`.

        Returns
        -------
        MapDataset
            The dataset, with the good time intervals of the counts' file.

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            As in `from_maps`, or if a file is not FITS, is damaged or has no map.
        """
        files = {"background": background, "exposure": exposure, "mask": mask}
        files |= {"mask_fit": mask_fit, "counts": counts}
        parts, gti = plain.maps_of_files(files, checksum)
        if psf is not None:
            kwargs["psf"] = read_psf(psf, checksum)
        with plain.naming_files(files):
            return cls.from_maps(**parts, gti=gti, **kwargs)
