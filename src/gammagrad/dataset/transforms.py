"""Datasets cut out, sliced, padded and merged; the originals stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.dataset.checks import MAP_NAMES
from gammagrad.dataset.masks import used_bins
from gammagrad.dataset.parts import DatasetParts
from gammagrad.dataset.predict import template_on
from gammagrad.errors import InputError
from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap, quantity
from gammagrad.models import TemplateNPredModel

Response = TypeVar("Response", PSFMap, EDispKernelMap, EDispMap)


def _map_of(response: PSFMap | EDispKernelMap | EDispMap) -> Map:
    return response.psf_map if isinstance(response, PSFMap) else response.edisp_map


def _slice_map(m: Map, slices: Mapping[str, slice]) -> Map:
    own: dict[str, slice | int] = {
        name: bins for name, bins in slices.items() if name in m.geom.axes.names
    }
    return m.slice_by_idx(own) if own else m


def _slice(response: Response | None, slices: Mapping[str, slice]) -> Response | None:
    if response is None:
        return None
    # the exposure of a response has one bin on every axis but that of true energy
    true = {name: bins for name, bins in slices.items() if name == "energy_true"}
    exposure = response.exposure_map
    exposure = None if exposure is None else _slice_map(exposure, true)
    return type(response)(_slice_map(_map_of(response), slices), exposure)


def _copy(response: Response | None) -> Response | None:
    if response is None:
        return None
    exposure = response.exposure_map
    return type(response)(_map_of(response).copy(), None if exposure is None else exposure.copy())


def _merged(m: Map, used: bool | NDArray[np.bool_], factor: int) -> Map:
    """Sum counts over blocks of pixels, bins that are not used left out."""
    return Map(m.geom, np.where(used, m.data, 0), meta=m.meta).downsample(factor)


def _merged_background(m: Map, safe: bool | NDArray[np.bool_], factor: int) -> Map:
    """Sum a background over blocks; unknown where it is in each safe bin of a block."""
    known = ~np.isnan(m.data)
    result = _merged(m, safe & known, factor)
    unknown, some = (Map(m.geom, safe & bins).downsample(factor).data for bins in (~known, known))
    result.data[unknown & ~some] = np.nan
    return result


def _merged_mask(m: Map, factor: int) -> Map:
    """Return a mask where any pixel of a block has it, a weight as the mean of those not 0."""
    if m.is_mask:
        return m.downsample(factor)
    return m.downsample(factor, preserve_counts=False, weights=used_bins(m))


class DatasetTransforms(DatasetParts):
    """A dataset that can be cut out, sliced, padded and merged; `MapDataset` is the one to use."""

    def _with(self, change: Callable[[Map], Map], name: str | None, **changes: Any) -> Self:
        """Return a dataset with each of its maps changed alike, and other parts as given."""
        parts = {**self.parts, **changes}
        for part in MAP_NAMES:
            if parts[part] is not None:
                parts[part] = change(parts[part])
        if name is not None:
            parts["name"] = name
        return type(self)(**parts)

    def copy(self, name: str | None = None) -> Self:
        """Return a copy that shares no data with this dataset.

        Parameters
        ----------
        name
            Name of the copy; by default the same.

        Returns
        -------
        MapDataset
            The copy, with the models that are for a dataset of its name.
        """
        tables = {
            key: None if self.parts[key] is None else self.parts[key].copy()
            for key in ("gti", "meta_table")
        }
        return self._with(Map.copy, name, psf=_copy(self.psf), edisp=_copy(self.edisp), **tables)

    def cutout(
        self, position: Any, width: Any, mode: str = "trim", name: str | None = None
    ) -> Self:
        """Return the part of the dataset around a position.

        The instrument's response (PSF and energy dispersion) stays whole: it has its own, coarser
        pixels, and is looked up by position.

        Parameters
        ----------
        position
            Middle of the part, a `SkyCoord`.
        width
            Extent, one angle or (lon, lat): degrees, text or quantity.
        mode
            "trim" cuts the part off at the edge of the map, "strict" makes that an error.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The part.

        Raises
        ------
        ValueError
            If the part does not lie on the map, or an angle cannot be read.
        """
        return self._with(lambda m: m.cutout(position, width, mode), name)

    def pad(self, pad_width: Any, name: str | None = None) -> Self:
        """Return the dataset with a border of empty pixels.

        Counts, background and exposure are 0 there, masks False.

        Parameters
        ----------
        pad_width
            Number of pixels on each side: one, (rows, columns), or two of each, before and after:
            ((rows, rows), (columns, columns)).
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The larger dataset.
        """
        return self._with(lambda m: m.pad(pad_width), name)

    def downsample(self, factor: int, *, name: str | None = None) -> Self:
        """Return the dataset with blocks of pixels merged.

        Counts and background are summed over the pixels that `mask_safe` leaves, and over those
        where the background is known. The exposure is averaged over all pixels of a block: where a
        block is partly masked, a source is predicted with too many counts. A mask is true where
        any pixel of a block has it; weights are averaged over the pixels that have any.

        Parameters
        ----------
        factor
            Pixels along the side of a block; it must divide rows and columns. `pad` helps.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The coarser dataset. The instrument's response is the same.

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
        parts = dict(self.parts)
        if name is not None:
            parts["name"] = name
        safe: Any = True if self.mask_safe is None else used_bins(self.mask_safe)
        used = safe if self.background is None else safe & ~np.isnan(self.background.data)
        for part in MAP_NAMES:
            m = parts[part]
            if m is None:
                continue
            if part == "exposure":
                parts[part] = m.downsample(factor, preserve_counts=False)
            elif part == "counts":
                parts[part] = _merged(m, used, factor)
            elif part == "background":
                parts[part] = _merged_background(m, safe, factor)
            else:
                parts[part] = _merged_mask(m, factor)
        if self.models is not None:
            parts["models"] = [self._merged_model(model, used, factor) for model in self.models]
        return type(self)(**parts)

    def _merged_model(self, model: Any, used: bool | NDArray[np.bool_], factor: int) -> Any:
        """Return a template of counts on blocks of pixels; other models do not know of pixels."""
        if not isinstance(model, TemplateNPredModel):
            return model
        counts = _merged(Map(self.geom, template_on(model, self.geom)), used, factor)
        return TemplateNPredModel(counts, model.spectral_model, model.name, model.datasets_names)

    def slice_by_energy(
        self, energy_min: Any = None, energy_max: Any = None, name: str | None = None
    ) -> Self:
        """Return the dataset between two reconstructed energies.

        Parameters
        ----------
        energy_min, energy_max
            Bounds: text, quantity, or TeV. Each is moved to the nearest edge of a bin; None is the
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
        axis = self.energy_axis
        low, high = axis.edges[0], axis.edges[-1]
        bounds = [
            low if energy_min is None else quantity(energy_min, "TeV", "energy_min"),
            high if energy_max is None else quantity(energy_max, "TeV", "energy_max"),
        ]
        with self._named_errors():
            start, stop = axis.group(u.Quantity(bounds, "TeV"))[0]
        return self.slice_by_idx({"energy": slice(start, stop)}, name)

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
            The dataset; maps without that axis are whole.

        Raises
        ------
        ValueError
            If there is no such axis, or no bin is left.
        """
        known = ("energy", "energy_true")
        for axis in slices:
            if axis not in known:
                raise InputError(
                    f"dataset {self.name!r}, slices: no axis {axis!r}; "
                    f"expected {' or '.join(known)}."
                )
        return self._with(
            lambda m: _slice_map(m, slices),
            name,
            psf=_slice(self.psf, slices),
            edisp=_slice(self.edisp, slices),
        )
