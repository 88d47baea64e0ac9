"""Kernels by position: whether one is enough for a map, and otherwise what they are blends of."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.dataset import AnyMapDataset
from gammagrad.estimators.ts_map.own_grid import OwnPlaces, own_places, phase_error
from gammagrad.evaluate import (
    KernelEstimate,
    KernelField,
    Positions,
    Rows,
    has_total,
    kernel_basis,
    one_kernel_error,
    shifted_kernels,
)
from gammagrad.maps import Map, WcsGeom, kept
from gammagrad.models import SkyModel

Floats = NDArray[np.float64]

MOST_ERROR = 1e-3
"""Relative error of a norm up to which one kernel serves a whole map."""

# Error to which the blends are made: a norm has others too.
_TOLERANCE = 7e-4
# Positions along a side of the map at which kernels are compared, if no number is asked for.
_SIDE = 9
# Results that the pixels of a dataset keep.
_KEPT = 8


class Summary(NamedTuple):
    """What the kernels at all positions have in common, and the counts of a source."""

    # counts that the reference spectrum would give at each position, shape (energies, rows, cols)
    amplitude: Floats
    shape: tuple[int, int]  # rows and columns of the kernels
    held: Floats  # least part of a source that a kernel holds, by energy
    sizes: NDArray[np.int64] | None  # see `KernelEstimate.psf_shape`


class Record(NamedTuple):
    """What was done for an energy group."""

    way: str  # "centre", one kernel and the exposure at the bins, or "map"
    kernels: int  # how many are blended; 1 where one serves the whole map
    error: float  # largest error of a norm that is left, relative
    # that of one kernel with the exposure at the bins; None where grids differ
    one_kernel: float | None


class Basis(NamedTuple):
    """Kernels to blend."""

    # shape (images, kernels, rows, cols); of other pixels (phases, images, kernels, rows, cols)
    kernels: Floats
    blend: Floats  # weights of the kernels, shape (kernels, positions)
    raised: Floats  # sum of the kernels of an image, shape (images,) or (images, positions)


@dataclass(frozen=True, eq=False)
class PositionKernels:
    """The kernels of a model at the positions of a dataset."""

    make: Callable[[], KernelField]
    # counts of the reference spectrum at the bins, as one kernel takes them
    seen: Callable[[], Floats]
    kernel: Map  # the kernel of the middle
    side: int  # positions along a side of the map at which kernels are compared
    automatic: bool  # whether one kernel may do
    shape: tuple[int, int]  # rows and columns of the positions
    places: OwnPlaces | None  # where they are on the dataset's pixels, if these are others
    key: str  # the same for the same kernels
    store: dict[str, Any]  # results that are kept
    records: dict[tuple[int, int], Record] = field(default_factory=dict)

    def _field(self) -> KernelField:
        # the largest thing of all: one at a time is kept
        return kept(self.store.setdefault("field", {}), self.key, self.make, 1)

    @cached_property
    def summary(self) -> Summary:
        """What the kernels have in common."""

        def make() -> Summary:
            made = self._field()
            # a source off the middle of its pixel reaches one pixel further
            more = 0 if self.places is None else 2
            shape = made.shape[0] + more, made.shape[1] + more
            amplitude = made.amplitude.T.reshape(-1, *self.shape)
            return Summary(amplitude, shape, made.held(), made.node.sizes)

        return kept(self.store.setdefault("summary", {}), self.key, make, _KEPT)

    @property
    def may_be_one(self) -> bool:
        """Whether one kernel may serve the whole map."""
        return self.automatic and self.places is None

    def only_one(self, bins: tuple[int, int]) -> float:
        """Record that an energy group has one kernel after all; return its error."""
        one = self.records[bins].one_kernel
        assert one is not None
        self.records[bins] = Record("centre", 1, one, one)
        return one

    def basis(
        self, bins: tuple[int, int], rows: Rows, background: Floats, name: str
    ) -> Basis | None:
        """Return the kernels to blend for an energy group, or None where one is enough."""
        # background: mean counts by energy
        digest = hashlib.sha256(np.round(np.log(np.maximum(background, 1e-300)), 3).tobytes())
        key = f"{self.key} {bins} {name} {self.side} {self.automatic} {digest.hexdigest()}"

        def make() -> tuple[Record, Basis | None]:
            made = self._field()
            if self.places is not None:
                return self._with_places(made, rows, background)
            kernel = padded(self.kernel.data, made.shape)
            one = one_kernel_error(made, rows, kernel, self.seen(), background, self.side)
            if self.automatic and one <= MOST_ERROR:
                return Record("centre", 1, one, one), None
            found = kernel_basis(made, rows, background, self.side, _TOLERANCE)
            record = Record("map", len(found.kernels), found.error, one)
            return record, Basis(np.moveaxis(found.kernels, 0, 1), found.blend, 1 + found.loss)

        store = self.store.setdefault("basis", {})
        self.records[bins], found = kept(store, key, make, _KEPT)
        return found

    def _with_places(
        self, made: KernelField, rows: Rows, background: Floats
    ) -> tuple[Record, Basis]:
        """Return the kernels for every place of a source within its pixel."""
        assert self.places is not None
        found = kernel_basis(made, rows, background, self.side, _TOLERANCE, sampled=True)
        sigma = width_in_pixels(self.kernel.data)
        kernels, loss = shifted_kernels(made, rows, found, self.places.shifts, sigma)
        error = found.error + phase_error(self.places.off, sigma)
        loss_at = np.moveaxis(loss[self.places.phase.ravel()], 0, -1)
        basis = Basis(np.moveaxis(kernels, 1, 2), found.blend, 1 + loss_at)
        return Record("map", len(found.kernels), error, None), basis


def padded(kernel: Floats, shape: tuple[int, int]) -> Floats:
    """Return images with zeros around them, or cut, to a shape."""
    more = [(n - own) // 2 for n, own in zip(shape, kernel.shape[1:], strict=True)]
    (rows, cols), (ny, nx) = (max(-n, 0) for n in more), kernel.shape[1:]
    inner = kernel[:, rows : ny - rows, cols : nx - cols]
    return np.pad(inner, ((0, 0), *((max(n, 0),) * 2 for n in more)))


def width_in_pixels(kernels: Floats) -> float:
    """Return the width (sigma) of the narrowest of some images along their narrower side."""
    flat = kernels.reshape(-1, *kernels.shape[-2:])
    flat = flat[flat.sum(axis=(1, 2)) > 0]
    # that of a Gaussian with the same sum of squares, which a cut or a tail does not change
    squares = np.square(flat).sum(axis=(1, 2)) / np.square(flat.sum(axis=(1, 2)))
    return float(np.sqrt(1 / (4 * np.pi * squares.max(initial=1e-6))))


def with_positions(
    estimate: KernelEstimate,
    dataset: AnyMapDataset,
    model: SkyModel,
    seen: Callable[[], Floats],
    kernel_positions: str | int,
    target: WcsGeom | None = None,
    **how: Any,
) -> tuple[KernelEstimate, PositionKernels | None]:
    """Return the kernel of the middle, as large as all others, and the kernels of all positions."""
    # target: the pixels of the result, if the dataset has others
    if target is None and (kernel_positions == "centre" or not has_total(model.spatial_model)):
        # a model without a total has no exposure of its own: the exposure at the bins is right
        return estimate, None
    geom, exposure = dataset.geom.to_image(), dataset.require("exposure")
    places = None
    if target is not None:
        places = own_places(geom, target, width_in_pixels(estimate.kernel.data))

    irfs = [irf for irf in (dataset.psf, dataset.edisp) if irf is not None]

    def make() -> KernelField:
        if places is None:
            rows, columns = (c.ravel().astype(float) for c in np.indices(geom.shape_image))
            alike = all(irf.is_single for irf in irfs)
            positions = Positions(None if alike else geom.get_skycoord().ravel(), rows, columns)
        else:
            positions = Positions(places.sky.ravel(), places.y.ravel(), places.x.ravel())
        parts = (model, exposure, dataset.psf, dataset.edisp, dataset.geom)
        return KernelField(*parts, positions, **how)

    side = _SIDE
    if not isinstance(kernel_positions, str):
        side = max(round(float(kernel_positions) ** 0.5), 2)
    made = PositionKernels(
        make=make,
        seen=seen,
        kernel=estimate.kernel,
        side=side,
        automatic=kernel_positions == "auto",
        shape=geom.shape_image if target is None else target.shape_image,
        places=places,
        key=_key(dataset, model, how, target),
        store=dataset.geom.derived.setdefault("kernels by position", {}),
    )
    summary = made.summary
    grid, kernel = estimate.kernel.geom, estimate.kernel
    half = [max(n - m, 0) // 2 for n, m in zip(summary.shape, grid.shape_image, strict=True)]
    if any(half):
        kernel = kernel.pad(half)
    return KernelEstimate(kernel, summary.held, summary.sizes), made


def _key(
    dataset: AnyMapDataset, model: SkyModel, how: dict[str, Any], target: WcsGeom | None
) -> str:
    """Return a text that is the same for the same kernels."""
    parts = model.spectral_model, model.spatial_model
    # with what is not a number, such as a frame; a name does not matter
    static = [(type(part), str(jax.tree.structure(part))) for part in parts]
    found = hashlib.sha256(repr((static, model.apply_irf, sorted(how.items()))).encode())
    # the store is that of the pixels, whatever the axes
    found.update(dataset.energy_axis.edges_in("TeV").tobytes())
    if target is not None:
        found.update(repr(target.to_header()).encode())
    for leaf in jax.tree.leaves(parts):
        found.update(np.asarray(leaf).tobytes())
    psf = None if dataset.psf is None else dataset.psf.psf_map
    edisp = None if dataset.edisp is None else dataset.edisp.edisp_map
    for one in (dataset.require("exposure"), psf, edisp):
        if one is None:
            found.update(b"none")
            continue
        where = one.geom.to_header() if isinstance(one.geom, WcsGeom) else one.geom.to_image()
        found.update(repr((one.unit, where, one.data.dtype)).encode())
        for axis in one.geom.axes:
            found.update(repr((axis.name, axis.unit)).encode() + axis.edges.value.tobytes())
        # two sums are enough, and a fraction of the time of the rest
        data = np.ascontiguousarray(one.data)
        found.update(repr((zlib.crc32(data.tobytes()), float(np.nansum(data)))).encode())
    return found.hexdigest()
