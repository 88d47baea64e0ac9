"""The parts of a dataset, each checked when it is set."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import Any, overload

import numpy as np
from astropy import units as u
from astropy.table import Table

from gammagrad.dataset.checks import (
    MAP_NAMES,
    check_edisp,
    check_exposure_values,
    check_map,
    check_psf,
    check_same_geometry,
    check_values,
)
from gammagrad.dataset.masks import check_weights, used_bins, weights_of
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import EDispKernelMap, EDispMap, Map, MapAxis, PSFMap, WcsGeom, on_sky
from gammagrad.models import Component, Models

log = logging.getLogger(__name__)

_numbers = itertools.count(1)

Dispersion = EDispKernelMap | EDispMap


class _MapPart:
    """A map of a dataset, checked against the others when it is set; None where there is none."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, obj: None, owner: type) -> _MapPart: ...
    @overload
    def __get__(self, obj: DatasetParts, owner: type) -> Map | None: ...
    def __get__(self, obj: DatasetParts | None, owner: type) -> Map | _MapPart | None:
        return self if obj is None else obj._maps.get(self._name)

    def __set__(self, obj: DatasetParts, value: Map | None) -> None:
        obj._set_map(self._name, value)


class DatasetParts:
    """The parts of a `MapDataset`; that class is the one to use."""

    counts = _MapPart("Observed counts per pixel and energy bin.")
    exposure = _MapPart("Effective area times time, in true energy.")
    background = _MapPart("Expected counts that are not the sources searched for.")
    mask_safe = _MapPart(
        "True where the response can be relied on; an image goes for all energies."
    )
    mask_fit = _MapPart(
        "True where the user wants to fit, or weights; an image goes for all energies."
    )

    def __init__(
        self,
        counts: Map | None = None,
        exposure: Map | None = None,
        background: Map | None = None,
        psf: PSFMap | None = None,
        edisp: Dispersion | None = None,
        mask_safe: Map | None = None,
        mask_fit: Map | None = None,
        gti: Table | None = None,
        models: Component | Iterable[Component] | None = None,
        name: str | None = None,
        meta_table: Table | None = None,
    ) -> None:
        self._name = f"dataset-{next(_numbers)}" if name is None else str(name)
        self._maps: dict[str, Map] = {}
        self._psf: PSFMap | None = None
        self._edisp: Dispersion | None = None
        given = (counts, exposure, background, mask_safe, mask_fit)
        for part, value in zip(MAP_NAMES, given, strict=True):
            self._set_map(part, value)
        self.psf = psf
        self.edisp = edisp
        self.gti = gti
        self.meta_table = meta_table
        self.models = models

    def _set_map(self, name: str, value: Map | None) -> None:
        if value is None:
            self._maps.pop(name, None)
            return
        with self._named_errors():
            value = check_map(self._repeated(value, name), name)
            others = {key: m for key, m in self._maps.items() if key != name}
            # the map that is set comes last, so that the error is about it
            check_same_geometry({**others, name: value})
        self._maps[name] = value

    def _repeated(self, value: Map, name: str) -> Map:
        """Return a mask that is an image repeated for all energies."""
        axis = self._axis("energy")
        if not name.startswith("mask") or not isinstance(value, Map) or axis is None:
            return value
        if not value.geom.is_image:
            return value
        data = np.repeat(value.data[None], axis.nbin, axis=0)
        return Map(value.geom.to_cube([axis]), data, unit=value.unit, meta=value.meta)

    @contextlib.contextmanager
    def _named_errors(self, part: str = "") -> Iterator[None]:
        """Put the name of the dataset in front of the errors of a block."""
        try:
            yield
        except ValueError as error:
            raise InputError(f"dataset {self._name!r}, {part}{error}") from error
        except TypeError as error:
            raise InputTypeError(f"dataset {self._name!r}, {part}{error}") from error

    @property
    def name(self) -> str:
        """Name of the dataset, which a model's ``datasets_names`` refer to."""
        return self._name

    @property
    def psf(self) -> PSFMap | None:
        """Point spread function."""
        return self._psf

    @psf.setter
    def psf(self, psf: PSFMap | None) -> None:
        with self._named_errors():
            self._psf = check_psf(psf, self._axis("energy"))

    @property
    def edisp(self) -> Dispersion | None:
        """Energy dispersion."""
        return self._edisp

    @edisp.setter
    def edisp(self, edisp: Dispersion | None) -> None:
        with self._named_errors():
            self._edisp = check_edisp(edisp, self._axis("energy"), self._axis("energy_true"))

    @property
    def models(self) -> Models | None:
        """Models of what is in the field; those that name other datasets only are left out."""
        return self._models

    @models.setter
    def models(self, models: Component | Iterable[Component] | None) -> None:
        if models is None:
            self._models: Models | None = None
            return
        with self._named_errors("models: "):
            given = Models(models)
        self._models = given.for_dataset(self.name)
        if len(given) and not len(self._models):
            log.warning(
                "dataset %r: none of the models %s is for it (datasets_names).",
                self.name,
                ", ".join(given.names),
            )

    @property
    def parts(self) -> dict[str, Any]:
        """All parts by the names of the constructor's arguments."""
        names = ("psf", "edisp", "gti", "models", "name", "meta_table")
        return {name: getattr(self, name) for name in (*MAP_NAMES, *names)}

    def require(self, name: str) -> Map:
        """Return one of the maps, or say that it is missing.

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

    def _axis(self, name: str) -> MapAxis | None:
        for m in self._maps.values():
            if name in m.geom.axes.names:
                return m.geom.axes[name]
        return None

    @property
    def _geom(self) -> WcsGeom | None:
        names = ("counts", "background", "mask_safe", "mask_fit")
        return next((self._maps[name].geom for name in names if name in self._maps), None)

    @property
    def geom(self) -> WcsGeom:
        """Geometry of the counts: pixels and reconstructed energy."""
        geom = self._geom
        if geom is not None:
            return geom
        raise InputError(
            f"dataset {self.name!r} has no geometry; expected counts, a background or a mask."
        )

    @property
    def energy_axis(self) -> MapAxis:
        """Axis of reconstructed energy."""
        return self.geom.axes["energy"]

    @property
    def mask(self) -> Map | None:
        """True where both masks are, on the sky: the bins that are fitted; None if all are."""
        used = [used_bins(m) for m in (self.mask_safe, self.mask_fit) if m is not None]
        geom = self._geom
        if geom is not None and not (seen := on_sky(geom)).all():
            used.append(np.broadcast_to(seen, geom.data_shape))
        if len(used) == 1:
            return Map(self.geom, used[0])
        return Map(self.geom, np.logical_and.reduce(used), copy=False) if used else None

    @property
    def weights(self) -> Map | None:
        """Weights of the likelihood, the product of the masks; None if both are true or false.

        The statistic of a bin is multiplied by its weight; 0 leaves it out, as False does.
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
        """Whether the masks leave out any bin."""
        mask = self.mask
        return mask is not None and not bool(mask.data.all())

    @property
    def energy_range(self) -> u.Quantity:
        """Lowest and highest energy of the bins that are fitted, quantity (2,); NaN if none is."""
        mask, edges = self.mask, self.energy_axis.edges
        used = np.arange(len(edges) - 1)
        if mask is not None:
            used = np.flatnonzero(mask.data.any(axis=(1, 2)))
        if not len(used):
            return u.Quantity([np.nan, np.nan], edges.unit)
        return edges[[used[0], used[-1] + 1]]

    def check(self, for_fit: bool = True) -> None:
        """Check that the values of the maps can be used.

        A background that is NaN is no error: its bins have weight zero in a fit.

        Parameters
        ----------
        for_fit
            Whether counts, exposure and a background (or models) must be there, and a bin be left
            by the masks.

        Raises
        ------
        ValueError
            If a part is missing; counts or background are negative, or counts NaN, in a bin that
            the masks leave; a weight is negative or not finite; the exposure is zero everywhere,
            negative or not finite.
        """
        if for_fit:
            self.require("counts")
            self.require("exposure")
            if self.background is None and not self.models:
                raise InputError(
                    f"dataset {self.name!r} has neither a background nor models, so nothing says "
                    "how many counts to expect without a source; set dataset.background or "
                    "dataset.models."
                )
        with self._named_errors():
            for name in ("mask_safe", "mask_fit"):
                if name in self._maps and not self._maps[name].is_mask:
                    check_weights(name, self._maps[name].data)
            mask = None if self.mask is None else self.mask.data
            if for_fit and mask is not None and not mask.any():
                raise InputError(
                    "mask_safe and mask_fit leave no bin to fit; expected some that are true."
                )
            for name in ("counts", "background"):
                if name in self._maps:
                    check_values(name, self._maps[name].data, mask)
            if self.exposure is not None:
                check_exposure_values(self.exposure.data)
