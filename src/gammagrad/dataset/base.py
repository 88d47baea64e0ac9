"""What datasets of maps share: parts, geometry, masks, cutting, summary and files."""

from __future__ import annotations

import html
import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.table import Table

from gammagrad._programs import is_traced
from gammagrad._upper import kind_of, ours, upper
from gammagrad.dataset import transforms
from gammagrad.dataset.habits import DatasetHabits
from gammagrad.dataset.info import describe
from gammagrad.dataset.likelihood import prepare_likelihood
from gammagrad.dataset.masks import fitted_bins, weights_of
from gammagrad.dataset.parts import map_part, models_for, response_part
from gammagrad.dataset.predict import signal_npred
from gammagrad.dataset.response_checks import check_edisp, check_psf
from gammagrad.dataset.suspicion import NO_PSF
from gammagrad.errors import InputError, InputTypeError, InputWarning
from gammagrad.evaluate import SourceResponse, source_response
from gammagrad.io import one_dataset, read_map_dataset, reading, write_map_dataset
from gammagrad.maps import EDispKernelMap, EDispMap, Map, MapAxis, PSFMap, WcsGeom
from gammagrad.models import Component, Models, SkyModel

_numbers = itertools.count(1)


class BaseMapDataset(DatasetHabits, ABC):
    """Counts on the sky and the instrument's response; how the background is known is open."""

    tag: ClassVar[str]

    map_names: ClassVar[tuple[str, ...]]
    """Names of the maps of a dataset of this kind."""

    gti: Table | None
    meta_table: Table | None

    counts: Map | None = map_part("counts", "Observed counts per pixel and energy bin.")
    exposure: Map | None = map_part("exposure", "Effective area times time, in true energy.")
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

    def _set_parts(self, maps: Mapping[str, Map | None], parts: Mapping[str, Any]) -> None:
        """Set everything that a new dataset is made of, maps in the order in which they come."""
        name = parts["name"]
        self._name = f"dataset-{next(_numbers)}" if name is None else str(name)
        self._maps: dict[str, Map] = {}
        for key, m in maps.items():
            setattr(self, key, m)
        for key in ("psf", "edisp", "models", "gti", "meta_table"):
            setattr(self, key, parts[key])

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
        found = None if models is None else models_for(self.name, ours(models))
        self._check_models(found)
        self._models = found

    @abstractmethod
    def _check_models(self, models: Models | None) -> None:
        """Raise if a dataset of this kind has no use for one of its models."""

    @property
    def parts(self) -> dict[str, Any]:
        """All parts by the names of the constructor's arguments."""
        names = ("psf", "edisp", "gti", "models", "name", "meta_table")
        return {name: getattr(self, name) for name in (*self.map_names, *names)}

    def require(self, name: str) -> Map:
        """Return one of the maps, or raise an error if it is missing.

        Parameters
        ----------
        name
            One of `map_names`, such as "counts" or "exposure".

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
        names = (name for name in self.map_names if name != "exposure")
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

    @abstractmethod
    def check(self, for_fit: bool = True) -> None:
        """Check that the values of the maps can be used.

        Parameters
        ----------
        for_fit
            Whether the dataset must have all that a fit needs.

        Raises
        ------
        ValueError
            If a required map is missing, or values cannot be used.
        """

    @abstractmethod
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
            Predicted counts per bin, never below 0; NaN where the background is unknown.
        """

    @abstractmethod
    def downsample(self, factor: int, *, name: str | None = None) -> Self:
        """Return the dataset with blocks of pixels merged.

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
        """

    @abstractmethod
    def _own_info(self, safe: Map | None) -> dict[str, Any]:
        """Return what belongs to this kind of dataset in its summary in numbers."""

    @abstractmethod
    def _count_rows(self) -> list[tuple[str, str]]:
        """Return the lines about counts in its summary as text."""

    # -- prediction ------------------------------------------------------------------------------

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
            Sums of counts, background, excess and predicted counts, their rates, the significance
            of the excess, range of the exposure, times, numbers of bins, and the statistic.
        """
        return self._own_info(self.mask_safe if in_safe_data_range else None)

    def __str__(self) -> str:
        return describe(self, self._count_rows())

    def __repr__(self) -> str:
        first = next(iter(self._maps.values()), None)
        shape = "empty" if first is None else " x ".join(str(n) for n in first.data.shape)
        return f"<{self.tag} {self.name!r}, {shape}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    # -- gammapy's objects -----------------------------------------------------------------------

    @classmethod
    def from_gammapy(cls, dataset: Any) -> Self:
        """Make a dataset of one of gammapy's, which stays as it is.

        Parameters
        ----------
        dataset
            gammapy's dataset of the same kind. Models that have no counterpart here are evaluated
            by gammapy into the background.

        Returns
        -------
        dataset
            The dataset, with its models.

        Raises
        ------
        TypeError
            If it is another kind of dataset.
        """
        found = upper("dataset_from_gammapy")(dataset)
        if not isinstance(found, cls):
            raise InputTypeError(f": expected a {cls.tag}, got {kind_of(dataset)}.", "dataset")
        return found

    def to_gammapy(self) -> Any:
        """Return the dataset as one of gammapy's, models included.

        Returns
        -------
        gammapy.datasets.MapDataset or MapDatasetOnOff
            The dataset; it shares nothing with this one.
        """
        return upper("dataset_to_gammapy")(self)

    # -- files and plain maps --------------------------------------------------------------------

    @classmethod
    def read(
        cls, filename: str | PathLike[str], name: str | None = None, checksum: bool = True
    ) -> Self:
        """Read a dataset in gammapy's FITS layout.

        Parameters
        ----------
        filename
            The file, gzipped or not, or a YAML file that lists one dataset. Environment variables
            (``$NAME``) and ``~`` are expanded. `gammagrad.dataset.read_datasets` reads several.
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
        filename, name = one_dataset(filename, name)
        return cls._of_file(read_map_dataset(filename, checksum), filename, name)

    @classmethod
    def _of_file(cls, parts: dict[str, Any], filename: Any, name: str | None) -> Self:
        """Return the dataset that the parts of a file are, with a warning of what it lacks."""
        if name is not None:
            parts["name"] = name
        with reading(filename):
            dataset = cls(**cls._own_parts(parts))
        if dataset.edisp is not None and dataset.psf is None:
            warnings.warn(
                f"{filename}: there is an energy dispersion and no PSF. {NO_PSF}",
                InputWarning,
                stacklevel=3,
            )
        return dataset

    @classmethod
    @abstractmethod
    def _own_parts(cls, parts: dict[str, Any]) -> dict[str, Any]:
        """Return what this kind of dataset takes of a file; an error if that is another kind's."""

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
