"""A model whose index is fitted: how its counts and kernels change with the index."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad._pytree import replace
from gammagrad.core.norm import grid_of_shapes
from gammagrad.core.ts_map import (
    BinImages,
    IndexFamily,
    IndexRange,
    clean_kernel,
    fitted_powers,
    powers_of,
)
from gammagrad.dataset import MapDataset
from gammagrad.derive import index_name
from gammagrad.errors import InputError, short
from gammagrad.estimators.ts_map.reference_counts import reference_counts
from gammagrad.evaluate import KernelEstimate, estimate_kernel, with_shape
from gammagrad.maps import Map, MapAxis
from gammagrad.models import SkyModel

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

LOWEST, HIGHEST = 0.5, 5.5
"""The indices that are tried."""

_FREE = ("norm", "index")

_POWERS = (4, 6, 8)
"""Powers of the polynomials: as few as are accurate."""

_ACCURATE = 1e-4
"""Largest relative error of counts that polynomials may have."""

_SHAPE_ACCURATE = 1e-3
"""The same of a kernel's pixels; their sum is exact."""

_CHECKED = 11
"""Indices at which that is checked."""


class FamilyInputs(NamedTuple):
    """How the counts and kernels of one dataset change with the index, see `IndexFamily`."""

    counts: Floats  # shape (powers, energies, rows, cols)
    kernel: Floats  # shape (fewer powers, energies, kernel rows, kernel cols)
    shape: Floats  # kernel with the fixed index, shape (energies, kernel rows, kernel cols)
    tried: Floats
    nodes: Floats
    error: float  # largest relative error of the counts

    def on(self, images: BinImages, bins: slice, window: tuple[int, int]) -> BinImages:
        """Return the bins of an energy group, with how they change."""
        kernel, shape = (with_shape_of(a, window) for a in (self.kernel, self.shape[None]))
        family = IndexFamily(
            counts=self.counts[:, bins],
            kernel=np.moveaxis(kernel[:, bins], 0, 1),
            shape=clean_kernel(shape[0, bins], np),
            tried=self.tried,
            nodes=self.nodes,
        )
        return replace(images, family=family)


def with_shape_of(images: Floats, window: tuple[int, int]) -> Floats:
    """Return images cut or filled up to a window."""
    flat = with_shape(images.reshape(-1, *images.shape[-2:]), window)
    return flat.reshape(*images.shape[:-2], *flat.shape[-2:])


def index_range(model: SkyModel) -> IndexRange:
    """Return the index of a model and what a unit of `z` is, or say why it cannot be fitted."""
    spectrum = model.spectral_model
    name = index_name(spectrum)
    if name is None:
        raise InputError(
            f" has the index, but {type(spectrum).__name__} has none; pass a model with a power "
            "law, or ('norm',).",
            "free",
        )
    fixed = float(getattr(spectrum, name))
    if not LOWEST <= fixed <= HIGHEST:
        raise InputError(
            f" has the index, which is fitted from {LOWEST:g} to {HIGHEST:g}; that of the model is "
            f"{fixed:g}. Take another one to start from.",
            "free",
        )
    return IndexRange(fixed, (HIGHEST - LOWEST) / 2)


def with_index(model: SkyModel, index: float) -> SkyModel:
    """Return a model with another index."""
    spectrum = model.spectral_model
    return replace(model, spectral_model=spectrum.copy(**{str(index_name(spectrum)): index}))


def family_inputs(dataset: MapDataset, model: SkyModel, kernel: Map, **how: Any) -> FamilyInputs:
    """Tabulate counts and kernels of a dataset over the index, with few powers if they suffice."""
    indices = index_range(model)
    place = _brightest(dataset, model)
    small = dataset.cutout(place, 1.01 * dataset.geom.pixel_scales.max() * 3)
    checked = np.linspace(LOWEST, HIGHEST, _CHECKED)
    error, nodes = np.inf, np.empty(0)
    for powers in _POWERS:
        nodes = _nodes(powers + 1)
        error = _error(small, model, indices, nodes, powers, checked)
        if error <= _ACCURATE:
            break
    else:
        log.warning(
            "dataset %r: between indices %g and %g expected counts are off by up to %.2g",
            *(dataset.name, LOWEST, HIGHEST, error),
        )
    z = _scaled(nodes, indices)
    first = reference_counts(dataset, model)
    shape = np.asarray(kernel.data, float)
    ratios, shapes = [], []
    for index in nodes:
        other = with_index(model, float(index))
        ratios.append(_log_ratio(reference_counts(dataset, other), first))
        own = with_shape(_kernel(dataset, other, kernel, **how).kernel.data, shape.shape[-2:])
        shapes.append(_log_ratio(own, shape))
    counts = fitted_powers(z, nodes.size - 1, np.stack(ratios))
    changes, missing = _few_powers(z, np.stack(shapes), shape)
    counts += missing[..., None, None]
    tried = _scaled(grid_of_shapes(LOWEST, HIGHEST, indices.fixed), indices)
    # the sums of the model change by a little more than the kernels
    sums = _scaled(_nodes(min(len(changes) + 2, nodes.size)), indices)
    return FamilyInputs(counts, changes, shape, tried, sums, error)


def _few_powers(z: Floats, logs: Floats, shape: Floats) -> tuple[Floats, Floats]:
    """Return the change of kernels in as few powers as are accurate, and of their sums in all."""
    # logs: at all nodes, shape (nodes, energies, kernel rows, kernel cols)
    seen = shape > 1e-4 * shape.max(axis=(-2, -1), keepdims=True)
    for powers in range(1, len(z)):
        found = fitted_powers(z, powers, logs)
        off = np.tensordot(powers_of(z, powers), found, 1) - logs
        if np.abs(off[:, seen]).max(initial=0) <= _SHAPE_ACCURATE:
            break
    total = shape.sum(axis=(-2, -1))
    exact, ours = ((shape * np.exp(a)).sum(axis=(-2, -1)) for a in (logs, logs + off))
    ratio = np.where(total > 0, exact / np.where(ours > 0, ours, 1), 1)
    return found, fitted_powers(z, len(z) - 1, np.log(np.where(ratio > 0, ratio, 1)))


def _scaled(index: Any, indices: IndexRange) -> Floats:
    return np.asarray((index - indices.fixed) / indices.half)


def _nodes(many: int) -> Floats:
    """Return Chebyshev nodes between the limits of the index."""
    angle = (2 * np.arange(many) + 1) / (2 * many) * np.pi
    return (LOWEST + HIGHEST) / 2 - (HIGHEST - LOWEST) / 2 * np.cos(angle)


def _log_ratio(values: Floats, first: Floats) -> Floats:
    """Return the logarithm of a ratio; 0 where either is nothing."""
    seen = (values > 0) & (first > 0)
    return np.log(np.where(seen, values, 1.0)) - np.log(np.where(seen, first, 1.0))


def _kernel(dataset: MapDataset, model: SkyModel, kernel: Map, **how: Any) -> KernelEstimate:
    """Fold a model with the response in the middle, on about the grid of a kernel."""
    exposure = dataset.require("exposure")
    width = kernel.geom.width.max()
    return estimate_kernel(
        *(model, exposure, dataset.psf, dataset.edisp, dataset.geom, width), **how
    )


def _brightest(dataset: MapDataset, model: SkyModel) -> Any:
    """Return a position where there are counts to expect."""
    total = reference_counts(dataset, model).sum(axis=0)
    row, col = np.unravel_index(int(np.argmax(total)), total.shape)
    return dataset.geom.to_image().pix_to_sky(float(col), float(row))


def _error(
    dataset: MapDataset,
    model: SkyModel,
    indices: IndexRange,
    nodes: Floats,
    powers: int,
    checked: Floats,
) -> float:
    """Return the largest relative error of counts between the nodes."""
    first = reference_counts(dataset, model)

    def logs(some: Floats) -> Floats:
        counts = (reference_counts(dataset, with_index(model, float(i))) for i in some)
        return np.stack([_log_ratio(a, first) for a in counts])

    found = fitted_powers(_scaled(nodes, indices), powers, logs(nodes))
    values = np.tensordot(powers_of(_scaled(checked, indices), powers), found, 1)
    seen = first.sum(axis=(1, 2)) > 1e-9 * first.sum(axis=(1, 2)).max(initial=0)
    return float(np.abs(np.expm1(values - logs(checked)))[:, seen].max(initial=0))


def read_free(text: str) -> tuple[str, ...]:
    """Return what is free from a text with names between commas."""
    return ("norm", *(name for name in text.replace(",", " ").split() if name != "norm"))


def check_free(value: Any, name: str) -> tuple[str, ...]:
    """Return the names of what is fitted."""
    several = isinstance(value, Iterable) and not isinstance(value, Mapping | str)
    found = list(value) if several else [value]
    unknown = [one for one in found if one not in _FREE]
    if "size" in unknown:
        raise InputError(
            " has the size, with which kernels change too much for one fit; pass models of several "
            "sizes instead, as model=[...], and compare them with best().",
            name,
        )
    if unknown or "norm" not in found:
        raise InputError(
            f" is {short(value)}; expected ('norm',) or ('norm', 'index'): the norm is always "
            "fitted.",
            name,
        )
    return tuple(one for one in _FREE if one in found)


def check_settings(
    models: Sequence[SkyModel], *, sums: bool, selection: Sequence[str], **others: Any
) -> None:
    """Raise if other settings do not go with a free index."""
    if len(models) > 1:
        raise InputError(
            f" has the index, which takes one model; {len(models)} are given. Fit them one by one.",
            "free",
        )
    if sums:
        raise InputError(
            " has the index, which only the energies of a cube can tell: set "
            "sum_over_energy_groups=False.",
            "free",
        )
    for name, value in others.items():
        if value not in (None, 1):
            raise InputError(f" has the index, which excludes {name}; set {name}=None.", "free")
    if selection:
        raise InputError(
            f" has the index, with which {', '.join(map(repr, selection))} cannot be computed; "
            "run once more with free=('norm',) for these maps at the index of the model.",
            "free",
        )


def check_energies(bins: Sequence[Sequence[slice | None]], axis: MapAxis) -> None:
    """Raise if the groups have one energy bin each, and tell of those that do."""
    energies = [max(b.stop - b.start for b in row if b is not None) for row in bins]
    lone = [str(group) for group, many in enumerate(energies) if many < 2]
    if len(lone) == axis.nbin:
        raise InputError(
            " has the index, but every energy group has one energy bin, which tells no index: "
            "leave energy_edges None, or give wider groups.",
            "free",
        )
    if lone:
        log.warning(
            "the index is not determined in energy groups of one energy bin: number %s",
            ", ".join(lone),
        )
