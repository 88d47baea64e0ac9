"""Datasets added up, masked, and summed over energies, as gammapy's `MapDataset` does."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.dataset.habits import mask_image
from gammagrad.dataset.masks import used_bins
from gammagrad.dataset.parts import named_errors
from gammagrad.dataset.response_stacking import map_of, masked, safe_at, stacked
from gammagrad.dataset.times import union_of_times
from gammagrad.errors import InputError, InputWarning
from gammagrad.maps import EDispKernelMap, Map, MapAxis
from gammagrad.models import FoVBackgroundModel

Array = NDArray[Any]


def _kept(m: Map | None, mask: Map | None) -> Map | None:
    """Return a map that is 0 where a mask excludes it, or where it is not finite."""
    if m is None:
        return None
    keep = np.isfinite(m.data) if mask is None else np.isfinite(m.data) & used_bins(mask)
    return Map(m.geom, np.where(keep, m.data, 0.0), m.unit, m.meta, copy=False)


@contextlib.contextmanager
def expected_to_lack_events() -> Iterator[None]:
    """Allow for energy dispersions whose probabilities of bins that are not safe are 0."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "edisp: the probabilities", InputWarning)
        yield


def masked_parts(dataset: Any) -> dict[str, Any]:
    """Return the parts of a dataset without what is not safe."""
    safe = dataset.mask_safe
    parts = dataset.parts | {
        "counts": _kept(dataset.counts, safe),
        "exposure": _kept(dataset.exposure, mask_image(safe)),
        "background": _kept(dataset.npred_background(), safe),
        "models": None,
    }
    for name in ("psf", "edisp"):
        response = parts[name]
        if response is not None:
            parts[name] = masked(response, safe_at(safe, response))
    for name in ("mask_safe", "mask_fit"):
        parts[name] = None if parts[name] is None else parts[name].copy()
    return parts


def stacked_parts(dataset: Any, other: Any) -> dict[str, Any]:
    """Return the parts of a dataset to which another one is added, where that one is safe."""
    safe = other.mask_safe
    found: dict[str, Any] = {}
    for name, added, mask in (
        ("counts", other.counts, safe),
        ("exposure", other.exposure, mask_image(safe)),
        ("background", other.npred_background(), safe),
    ):
        own = dataset.npred_background() if name == "background" else getattr(dataset, name)
        if own is not None and added is not None:
            found[name] = _sum(own, _kept(added, mask), name)
    if "exposure" in found:
        found["exposure"].meta.update(_livetimes(dataset.exposure, other.exposure, safe))
    for name in ("psf", "edisp"):
        ours, theirs = getattr(dataset, name), getattr(other, name)
        if ours is not None and theirs is not None:
            if type(ours) is not type(theirs):
                kinds = f"{type(ours).__name__} and {type(theirs).__name__}"
                raise InputError(f": {kinds} cannot be stacked.", name)
            found[name] = stacked(ours, theirs, safe_at(safe, theirs), name)
    for name in ("mask_safe", "mask_fit"):
        found[name] = _masks(dataset, other, name)
    found["gti"] = union_of_times([dataset.gti, other.gti], [dataset.name, other.name])
    if dataset.meta_table is None and other.meta_table is not None:
        found["meta_table"] = other.meta_table.copy()
    return found


def _sum(own: Map, added: Any, name: str) -> Map:
    """Return the sum of two maps on the pixels of the first."""
    total = Map(own.geom, np.array(own.data, dtype=float), own.unit, own.meta, copy=False)
    try:
        total.stack(added)
    except ValueError as error:
        raise InputError(f": {error}", name) from error
    return total


def _livetimes(ours: Map, theirs: Map, safe: Map | None) -> dict[str, str]:
    """Return the sum of the livetimes, if the other dataset has one and anything is safe."""
    times = [m.meta["livetime"] for m in (ours, theirs) if "livetime" in m.meta]
    if "livetime" not in theirs.meta or (safe is not None and not used_bins(safe).any()):
        return {}
    return {"livetime": str(u.Quantity([u.Quantity(t).to("s") for t in times]).sum())}


def _masks(dataset: Any, other: Any, name: str) -> Map | None:
    """Return where either dataset is used."""
    ours, theirs = getattr(dataset, name), getattr(other, name)
    if ours is None and (theirs is None or name == "mask_safe"):
        return None
    if theirs is None and name == "mask_fit":
        return ours
    shape = dataset.geom.data_shape
    base = np.ones(shape) if ours is None else used_bins(ours).astype(float)
    added = np.ones(other.geom.data_shape) if theirs is None else used_bins(theirs).astype(float)
    total = Map(dataset.geom, base, copy=False)
    # where only the other dataset has a mask, that is the mask
    total.stack(Map(other.geom, added - (ours is None), copy=False))
    return Map(dataset.geom, total.data > 0, copy=False)


def stack_into(dataset: Any, other: Any) -> None:
    """Add a dataset to another in place; nothing is changed if they do not fit together."""
    if hasattr(other, "to_map_dataset"):
        other = other.to_map_dataset()
    with named_errors(dataset.name, "stack: "):
        parts = stacked_parts(dataset, other)
    if dataset.models is not None:
        # its factor is in the sum
        rest = [m for m in dataset.models if not isinstance(m, FoVBackgroundModel)]
        dataset.models = rest or None
    with expected_to_lack_events():
        for name, part in parts.items():
            setattr(dataset, name, part)


# -- energies summed ---------------------------------------------------------------------------


def _groups(dataset: Any, axis: MapAxis) -> list[slice]:
    """Return the bins of a dataset in each bin of a coarser axis."""
    own, edges = dataset.energy_axis.edges_in("TeV"), axis.edges_in("TeV")
    index = np.argmin(np.abs(np.log(own[:, None] / edges[None, :])), axis=0)
    if axis.name != "energy" or not np.allclose(own[index], edges, rtol=1e-5, atol=0):
        raise InputError(
            f": its edges {axis.edges} are not edges of the dataset, {dataset.energy_axis.edges}; "
            "expected some of these, and the name 'energy'.",
            "energy_axis",
        )
    return [slice(a, b) for a, b in itertools.pairwise(index.tolist())]


def resampled_parts(dataset: Any, axis: MapAxis) -> dict[str, Any]:
    """Return the parts of a dataset with energy bins merged, where they are safe."""
    if dataset.psf is not None and dataset.psf.energy_name == "energy":
        raise InputError(
            ": it is one of reconstructed energy, which has no mean over bins; expected one of "
            "true energy, or sum over energies in the estimator.",
            "psf",
        )
    groups = _groups(dataset, axis)
    safe = dataset.mask_safe

    def merged(m: Map | None, merge: Callable[..., Array]) -> Map | None:
        if m is None:
            return None
        planes = [merge(m.data[group]) for group in groups]
        return Map(m.geom.replace_axis(axis), np.stack(planes), m.unit, m.meta, copy=False)

    parts = dataset.parts | {"models": None}
    for name in ("counts", "background"):
        part = parts[name]
        if part is not None and safe is not None:
            part = Map(part.geom, np.where(used_bins(safe), part.data, 0.0), part.unit, part.meta)
        parts[name] = merged(part, lambda data: np.sum(data, axis=0))
    for name in ("mask_safe", "mask_fit"):
        # of weights the largest
        parts[name] = merged(parts[name], lambda data: np.max(data, axis=0))
    if isinstance(dataset.edisp, EDispKernelMap):
        m, keep = map_of(dataset.edisp), safe_at(safe, dataset.edisp)
        data = m.data if keep is None else np.where(keep, m.data, 0.0)
        planes = np.stack([data[:, group].sum(axis=1) for group in groups], axis=1)
        kernel = Map(m.geom.replace_axis(axis), planes, m.unit, m.meta, copy=False)
        parts["edisp"] = EDispKernelMap(kernel, dataset.edisp.exposure_map)
    return parts
