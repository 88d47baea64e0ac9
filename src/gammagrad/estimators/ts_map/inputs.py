"""What a map fit needs of a dataset, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gammagrad._programs import compiled, fill, image_room, row_room
from gammagrad.core.images import box_sum
from gammagrad.core.ts_map import BinImages, clean_kernel, cube_bins, summed_bins, weight_offset
from gammagrad.dataset import AnyMapDataset, MapDatasetOnOff
from gammagrad.estimators.ts_map.blended import blended_cube, blended_sum
from gammagrad.estimators.ts_map.free_index import FamilyInputs
from gammagrad.estimators.ts_map.off_counts import OffBins, off_bins, with_off, without_weight
from gammagrad.estimators.ts_map.position_kernels import PositionKernels
from gammagrad.estimators.ts_map.reference_counts import reference_counts, silent_bins
from gammagrad.evaluate import (
    CUTOUT_MARGIN,
    KernelEstimate,
    group_containment,
    is_compact,
    source_flux,
)
from gammagrad.maps import Map, middle, middle_shape, on_sky, reach
from gammagrad.models import SkyModel

_PARTS = 3  # into how many a pixel is cut, each way, where distances are measured


def kernel_sizes(kernel: KernelEstimate, spatial: Any) -> np.ndarray:
    """Return the size of a kernel made for each energy bin alone."""
    # A point spread function in reconstructed energy is as wide as the widest of a group's bins, so
    # that groups have kernels of their own size, as in gammapy. One in true energy is the same for
    # all groups.
    n_energy, *shape = kernel.kernel.data.shape
    if kernel.psf_shape is None or not is_compact(spatial):
        return np.tile(shape, (n_energy, 1))
    geom = kernel.kernel.geom.to_image()
    extent = reach(geom, middle(geom), float(spatial.evaluation_radius) + CUTOUT_MARGIN)
    widths = np.ceil(2 * extent + kernel.psf_shape - 1e-6).astype(int)
    return np.minimum(shape, 2 * (widths // 2) + 1)


def cut_to_size(kernel: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Take what is outside a centred rectangle off a kernel."""
    ny, nx = kernel.shape[-2:]
    cut_y, cut_x = (max(n - m, 0) // 2 for n, m in zip((ny, nx), shape, strict=True))
    return kernel[:, cut_y : ny - cut_y, cut_x : nx - cut_x]


# part of the largest exposure below which there is none: the norms of such bins overflow
_LEAST = 1e-100


class FitInputs(NamedTuple):
    """Arrays of one dataset, shape (energies, rows, cols), and its kernel."""

    name: str  # name of the dataset
    counts: np.ndarray  # observed counts; zero where there is no weight
    # counts expected without the source, per bin; zero where there is no weight
    background: np.ndarray
    # counts that the reference spectrum would give per bin, if all its flux fell there; zero where
    # there is no weight
    exposure: np.ndarray
    # weight of each bin in the likelihood, >= 0; 0 takes a bin out. It is not multiplied into the
    # other arrays yet: `images` does that, once. Booleans where there are only masks.
    weights: np.ndarray
    # flux of the reference spectrum in each energy bin, cm-2 s-1, shape (energies,)
    flux: np.ndarray
    kernel: Map  # shape of the source per reconstructed energy
    # fraction of the source that the kernel holds, per reconstructed energy
    containment: np.ndarray
    # rows and columns of a kernel made for each energy bin alone, shape (energies, 2)
    sizes: np.ndarray
    # the same for the largest of several hypotheses, which all run the code that is compiled for
    # it. None where there is no other.
    windows: np.ndarray | None = None
    # kernels at every position; None where one serves the whole map
    field: PositionKernels | None = None
    # part of each bin, of merged pixels, that is not masked; None is 1
    coverage: np.ndarray | None = None
    # OFF counts where the background is measured; `background` is then what they say, and the
    # counts of models
    off: OffBins | None = None
    # how counts and kernel change with the index of the model, where that is fitted
    family: FamilyInputs | None = None

    @property
    def is_masked(self) -> bool:
        """Whether weights are 0 or 1 throughout, and kept as booleans."""
        return bool(self.weights.dtype == np.bool_)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        if self.field is not None:
            return self.field.shape
        ny, nx = self.counts.shape[1:]
        return ny, nx

    def at_positions(self, image: np.ndarray) -> np.ndarray:
        """Return what an image has at the positions of the result; zero off the image."""
        places = None if self.field is None else self.field.places
        if places is None:
            return image
        (ny, nx), row, column = image.shape, places.row, places.column
        inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
        found = image[np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)]
        return np.where(inside, found, np.zeros((), image.dtype))

    def fitted(self, bins: slice) -> np.ndarray:
        """Return the positions where an energy group of this dataset asks for a fit."""
        weights, background = self.weights[bins], self.background[bins]
        if self.off is not None:
            # that no OFF count was seen is a measurement
            return self.at_positions(weights.max(axis=0) > 0)
        # weights are not negative
        return self.at_positions((weights.max(axis=0) > 0) & (background.sum(axis=0) > 0))

    def group_kernel(self, bins: slice) -> np.ndarray:
        """Return the kernel of an energy group."""
        kernel = self.kernel.data[bins].astype(np.float64)
        rows, cols = self.sizes[bins].max(axis=0).tolist()
        return cut_to_size(kernel, (rows, cols))

    def window(self, bins: slice) -> tuple[int, int]:
        """Return the size of the largest kernel that any hypothesis has in an energy group."""
        sizes = self.sizes if self.windows is None else self.windows
        rows, cols = sizes[bins].max(axis=0).tolist()
        return rows, cols

    def images(self, bins: slice, sum_energies: bool, kernel_weighting: str) -> BinImages:
        """Return the bins of an energy group as images."""
        images = self._images(bins, sum_energies, kernel_weighting)
        if self.off is None:
            return images
        own = OffBins(*(array[bins] for array in self.off))
        return with_off(images, own, self.weights[bins], sum_energies)

    def _images(self, bins: slice, sum_energies: bool, kernel_weighting: str) -> BinImages:
        """Return the bins of an energy group as images, with a known background."""
        counts, background, exposure, weights = (
            array[bins] for array in (self.counts, self.background, self.exposure, self.weights)
        )
        kernel = self.group_kernel(bins)
        if self.field is not None:
            blended = self._blended(bins, sum_energies, kernel_weighting == "equal")
            if blended is not None:
                return blended
        if not sum_energies:
            if self.is_masked:
                return _images(counts, background, exposure[:, None], kernel[:, None])
            return _weighted(_cube, (counts, background, exposure, weights), kernel)
        total = [a.sum(axis=0, keepdims=True) for a in (counts, background)]
        if kernel_weighting == "counts" and self.is_masked:
            return _images(total[0], total[1], exposure[None], kernel[None])
        # one weight for all energies: their plain mean is a single component
        if kernel_weighting == "equal" and np.all(weights == weights[:1]):
            total.append(exposure.sum(axis=0, keepdims=True))
            mean = kernel.mean(axis=0, keepdims=True)
            if self.is_masked:
                return _images(total[0], total[1], total[2][:, None], mean[:, None])
            return _weighted(_cube, (*total, weights[:1]), mean)
        arrays = counts, background, exposure, weights
        return _weighted(_summed, arrays, kernel, kernel_weighting=kernel_weighting)

    def _blended(self, bins: slice, sum_energies: bool, equal: bool) -> BinImages | None:
        """Return the bins of an energy group with a kernel for every position, or None."""
        assert self.field is not None
        arrays = self.counts[bins], self.background[bins], self.weights[bins]
        seen = np.ones(()) if self.coverage is None else self.coverage[bins]
        window = self.group_kernel(bins).shape[-2:]
        if sum_energies:
            return blended_sum(self.field, arrays, seen, bins, window, equal)
        return blended_cube(self.field, arrays, seen, bins, window)

    def with_family(self, images: BinImages, bins: slice) -> BinImages:
        """Return the bins of an energy group with how they change with the index."""
        assert self.family is not None
        return self.family.on(images, bins, self.group_kernel(bins).shape[-2:])

    def group_window(self, bins: slice) -> tuple[int, int]:
        """Return the sides of the kernel of an energy group."""
        rows, cols = self.group_kernel(bins).shape[-2:]
        return rows, cols

    def stat_offset(
        self, bins: slice, sum_energies: bool, window: tuple[int, int]
    ) -> np.ndarray | None:
        """Return what weights add to the statistic; see `gammagrad.core.ts_map.weight_offset`."""
        counts, weights = self.counts[bins], self.weights[bins]
        if self.off is not None or self.is_masked or np.all((weights == 0) | (weights == 1)):
            return None
        with jax.enable_x64(True):
            rows, size = _in_rows((counts, weights.astype(np.float64))), counts[0].size
            image = np.asarray(_offset(*rows, summed=sum_energies))[0, :size]
            (ny, nx), image = counts.shape[1:], image.reshape(counts.shape[1:])
            filled = fill(image, image_room(ny, nx))
            return self.at_positions(np.asarray(_box_sum(filled, shape=window))[:ny, :nx])

    def contained(self, bins: slice) -> float:
        """Return the fraction of a source's counts in an energy group that the kernel holds."""
        return group_containment(self.containment[bins], self._expected(bins))

    def radius(self, bins: slice) -> float:
        """Return the radius in deg that holds 68 % of the kernel of an energy group."""
        image = np.tensordot(self._expected(bins), self.kernel.data[bins], axes=1)
        return radius_of(image, middle_shape(self.kernel.geom).sides)

    def _expected(self, bins: slice) -> np.ndarray:
        """Return the counts that a source may have in each bin of an energy group."""
        exposure = self.exposure[bins]
        if self.is_masked:
            expected: np.ndarray = exposure.sum(axis=(1, 2))
            return expected
        return np.einsum("eyx,eyx->e", self.weights[bins], exposure)


def radius_of(image: np.ndarray, sides: Sequence[float], fraction: float = 0.68) -> float:
    """Return the radius about the middle of an image of pixels that holds a fraction of its sum."""
    rows, cols = (
        ((np.arange(n * _PARTS) + 0.5) / _PARTS - n / 2) * side
        for n, side in zip(image.shape, reversed(tuple(sides)), strict=True)
    )
    distance = np.hypot(rows[:, None], cols).ravel()
    part = np.repeat(np.repeat(image, _PARTS, axis=0), _PARTS, axis=1).ravel()
    order = np.argsort(distance)
    below = np.cumsum(part[order])
    if not below[-1] > 0:
        return float("inf")
    return float(distance[order][np.searchsorted(below, fraction * below[-1])])


def _images(counts: Any, background: Any, exposure: Any, kernel: np.ndarray) -> BinImages:
    """Return bins whose weights are 1, or 0 where all else is 0, as images: nothing to multiply."""
    return BinImages(
        counts=counts, background=background, exposure=exposure, kernel=clean_kernel(kernel, np)
    )


_cube = compiled(cube_bins)
_summed = compiled(summed_bins, static=("kernel_weighting",))
_offset = compiled(weight_offset, static=("summed",))
_box_sum = compiled(box_sum, static=("shape",))


def _in_rows(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return maps as one row of pixels an energy, filled up to one of few lengths."""
    size = arrays[0][0].size
    return [fill(array.reshape(len(array), 1, size), (row_room(size),)) for array in arrays]


def _weighted(
    function: Callable[..., BinImages],
    arrays: Sequence[np.ndarray],
    kernel: np.ndarray,
    **how: str,
) -> BinImages:
    """Make images of counts, background, exposure and weights, pixel by pixel."""
    shape, size = arrays[0].shape[1:], arrays[0][0].size
    *rows, weights = _in_rows([*arrays[:3], arrays[3].astype(np.float64, copy=False)])
    images = function(*rows, kernel, weights, **how)

    def back(array: Any) -> Any:
        return np.asarray(array)[..., 0, :size].reshape(*array.shape[:-2], *shape)

    return BinImages(
        counts=back(images.counts),
        background=back(images.background),
        exposure=back(images.exposure),
        kernel=np.asarray(images.kernel),
    )


def fit_weights(dataset: AnyMapDataset, npred: np.ndarray) -> np.ndarray:
    """Return the weight of each bin of a dataset: its masks, and 0 where nothing is predicted."""
    masks = [m.data for m in (dataset.mask_safe, dataset.mask_fit) if m is not None]
    weights: np.ndarray = np.isfinite(npred) & on_sky(dataset.geom)
    for mask in masks:
        # booleans stay booleans until they meet a number
        weights = weights * mask
    return weights


class SourceKernel(NamedTuple):
    """The kernel of a model on a dataset."""

    estimate: KernelEstimate
    field: PositionKernels | None = None  # kernels at every position, unless one serves all


def fit_inputs(
    dataset: AnyMapDataset,
    model: SkyModel,
    kernel: SourceKernel,
    background_floor: float | None = None,
    sampling: str = "fine",
) -> FitInputs:
    """Collect a dataset's arrays for the fit of a model at every pixel."""
    exposure = reference_counts(dataset, model)
    exposure[exposure < _LEAST * exposure.max(initial=0)] = 0
    off = None
    if isinstance(dataset, MapDatasetOnOff):
        off, background = off_bins(dataset, sampling)
    else:
        background = dataset.npred(sampling=sampling).data
    weights = fit_weights(dataset, background)
    weights[silent_bins(dataset, model, exposure)] = 0
    if background_floor is not None and off is None:
        background = np.maximum(background, background_floor)

    counts = np.array(dataset.require("counts").data, dtype=np.float64)
    unused = weights <= 0
    if unused.any():
        for values in (counts, background, exposure):
            np.copyto(values, 0.0, where=unused)
        off = None if off is None else without_weight(off, unused)
    return FitInputs(
        name=dataset.name,
        counts=counts,
        background=background,
        exposure=exposure,
        weights=weights,
        off=off,
        **_of_model(dataset, model, kernel),
    )


def inputs_of_model(
    inputs: FitInputs, dataset: AnyMapDataset, model: SkyModel, kernel: SourceKernel, same: bool
) -> FitInputs:
    """Return a dataset's arrays for the fit of another model; what is not the model's is shared."""
    exposure = inputs.exposure
    if not same:
        exposure = reference_counts(dataset, model)
        np.copyto(exposure, 0.0, where=inputs.weights <= 0)
    return inputs._replace(exposure=exposure, **_of_model(dataset, model, kernel))


def _of_model(dataset: AnyMapDataset, model: SkyModel, kernel: SourceKernel) -> dict[str, Any]:
    """Return what belongs to the model alone."""
    estimate = kernel.estimate
    return {
        "flux": source_flux(model, dataset.energy_axis),
        "kernel": estimate.kernel,
        "containment": np.asarray(estimate.containment, dtype=np.float64),
        "sizes": kernel_sizes(estimate, model.spatial_model),
        "field": kernel.field,
    }
