"""Parts of a dataset copied, sliced and downsampled; the originals are not changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.dataset.masks import used_bins
from gammagrad.dataset.parts import named_errors
from gammagrad.dataset.predict import template_on
from gammagrad.errors import InputError
from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap, quantity
from gammagrad.models import TemplateNPredModel

Response = TypeVar("Response", PSFMap, EDispKernelMap, EDispMap)
Change = Callable[[Any], Any]


def each_map(parts: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Return the parts of a dataset with the same change applied to each map."""
    return {name: change(part) if isinstance(part, Map) else part for name, part in parts.items()}


def _changed(response: Response | None, change: Change, change_exposure: Change) -> Any:
    if response is None:
        return None
    m = response.psf_map if isinstance(response, PSFMap) else response.edisp_map
    exposure = response.exposure_map
    return type(response)(change(m), None if exposure is None else change_exposure(exposure))


def copied(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a dataset with data of their own."""
    own = each_map(parts, Map.copy)
    own |= {name: _changed(parts[name], Map.copy, Map.copy) for name in ("psf", "edisp")}
    tables = {name: parts[name] for name in ("gti", "meta_table") if parts[name] is not None}
    return own | {name: table.copy() for name, table in tables.items()}


def sliced(dataset: Any, slices: Mapping[str, slice]) -> dict[str, Any]:
    """Return the parts of a dataset with some bins of its energy axes."""
    known = ("energy", "energy_true")
    if unknown := [axis for axis in slices if axis not in known]:
        raise InputError(
            f"dataset {dataset.name!r}, slices: no axis {unknown[0]!r}; "
            f"expected {' or '.join(known)}."
        )

    def change(m: Map, axes: Sequence[str] = known) -> Map:
        names = slices.keys() & set(axes) & set(m.geom.axes.names)
        return m.slice_by_idx({name: slices[name] for name in names}) if names else m

    def change_exposure(m: Map) -> Map:
        # the exposure of a response has one bin on every axis but true energy
        return change(m, ("energy_true",))

    responses = {"psf": dataset.psf, "edisp": dataset.edisp}
    parts = {name: _changed(r, change, change_exposure) for name, r in responses.items()}
    return each_map(dataset.parts, change) | parts


def bins_between(dataset: Any, energy_min: Any, energy_max: Any) -> slice:
    """Return the bins of reconstructed energy between two bounds; None is the end of the axis."""
    axis = dataset.energy_axis
    bounds = [
        axis.edges[0] if energy_min is None else quantity(energy_min, "TeV", "energy_min"),
        axis.edges[-1] if energy_max is None else quantity(energy_max, "TeV", "energy_max"),
    ]
    with named_errors(dataset.name):
        return slice(*axis.group(u.Quantity(bounds, "TeV"))[0])


def downsampled(dataset: Any, factor: int, used: Any = None) -> dict[str, Any]:
    """Return the parts of a dataset with blocks of pixels merged: of their used bins."""
    safe: Any = True if dataset.mask_safe is None else used_bins(dataset.mask_safe)
    if used is None:
        used = safe if dataset.background is None else safe & ~np.isnan(dataset.background.data)
    merges: dict[str, Change] = {
        "counts": lambda m: _merged(m, used, factor),
        "background": lambda m: _merged_background(m, safe, factor),
        "exposure": lambda m: m.downsample(factor, preserve_counts=False),
        "mask_safe": lambda m: _merged_mask(m, factor),
        "mask_fit": lambda m: _merged_mask(m, factor),
        "models": lambda models: [_merged_model(m, dataset, used, factor) for m in models],
    }
    parts = dataset.parts
    return parts | {k: do(parts[k]) for k, do in merges.items() if parts.get(k) is not None}


def _merged(m: Map, used: bool | NDArray[np.bool_], factor: int) -> Map:
    """Sum counts over blocks of pixels, without bins that are not used."""
    return Map(m.geom, np.where(used, m.data, 0), meta=m.meta).downsample(factor)


def _merged_background(m: Map, safe: bool | NDArray[np.bool_], factor: int) -> Map:
    """Sum a background over blocks; it is unknown if all safe bins of a block are unknown."""
    known = ~np.isnan(m.data)
    result = _merged(m, safe & known, factor)
    unknown, some = (Map(m.geom, safe & bins).downsample(factor).data for bins in (~known, known))
    result.data[unknown & ~some] = np.nan
    return result


def _merged_mask(m: Map, factor: int) -> Map:
    """Return a mask that is true if any pixel of a block is, or the mean of positive weights."""
    if m.is_mask:
        return m.downsample(factor)
    return m.downsample(factor, preserve_counts=False, weights=used_bins(m))


def _merged_model(model: Any, dataset: Any, used: Any, factor: int) -> Any:
    """Return a template of counts on blocks of pixels; other models do not depend on pixels."""
    if not isinstance(model, TemplateNPredModel):
        return model
    counts = Map(dataset.geom, template_on(model, dataset.geom))
    counts = _merged(counts, used, factor)
    return TemplateNPredModel(counts, model.spectral_model, model.name, model.datasets_names)
