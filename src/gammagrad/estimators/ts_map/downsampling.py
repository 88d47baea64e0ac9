"""Fits on merged pixels: a coarser grid, and the way to it and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.dataset import AnyMapDataset
from gammagrad.errors import InputError, short
from gammagrad.estimators.ts_map.inputs import FitInputs
from gammagrad.maps import WcsGeom, block_sum, repeat_blocks, zoom_bilinear

Array = NDArray[Any]
Padding = tuple[tuple[int, int], tuple[int, int]]

# gammapy's grids have a multiple of 8 pixels before they are merged
_MULTIPLE = 8


class CoarseGrid(NamedTuple):
    """Blocks of pixels on which a map is fitted."""

    factor: int  # pixels along the side of a block
    # empty pixels put around the map: rows before the first and after the last, and columns
    padding: Padding

    def geom(self, geom: WcsGeom) -> WcsGeom:
        """Return the blocks as a geometry."""
        return geom.pad(self.padding).downsample(self.factor)

    def dataset(self, dataset: AnyMapDataset) -> AnyMapDataset:
        """Return a dataset padded and merged, as gammapy has it."""
        # Its exposure, response and geometry give the kernel on the coarser grid. Its counts,
        # background and models are what gammapy fits; `inputs` is exact where blocks are partly
        # masked, where a background is unknown, and where models are narrower than a block.
        return dataset.pad(self.padding).downsample(self.factor)

    def inputs(self, fine: FitInputs) -> FitInputs:
        """Merge what a fit needs of a dataset."""
        # Counts and background are summed and the exposure is averaged over the pixels that are
        # unmasked, so that all three are of the same pixels. Weights go into the sums, and their
        # mean stays the weight of the block.
        weights = self.mean_weights(fine.weights)
        total = np.where(weights > 0, weights, 1.0)
        return fine._replace(
            counts=self.sum(fine.weights * fine.counts) / total,
            background=self.sum(fine.weights * fine.background) / total,
            exposure=self.sum(fine.weights * fine.exposure) / total / self.factor**2,
            weights=weights,
            coverage=self.sum(fine.weights) / total / self.factor**2,
            off=None if fine.off is None else fine.off.merged(self.sum, fine.weights, total),
        )

    def sum(self, values: Array) -> Array:
        """Return sums over blocks."""
        widths = [(0, 0)] * (values.ndim - 2) + list(self.padding)
        return block_sum(np.pad(values, widths), self.factor)

    def any(self, mask: Array) -> NDArray[np.bool_]:
        """Return the blocks of which any pixel is true."""
        return np.asarray(self.sum(np.asarray(mask, dtype=np.int64)) > 0)

    def needed(self, mask: Array) -> NDArray[np.bool_]:
        """Return the blocks that results at some pixels are interpolated from."""
        own = np.pad(self.any(mask), 1)
        rows, cols = own.shape
        shifts = (own[r : rows - 2 + r, c : cols - 2 + c] for r in range(3) for c in range(3))
        return np.asarray(np.logical_or.reduce(list(shifts)))

    def mean_weights(self, weights: Array) -> NDArray[np.float64]:
        """Return weights of blocks: the means over their pixels of positive weight."""
        many = self.sum(np.asarray(weights > 0, dtype=np.int64))
        return np.asarray(self.sum(np.asarray(weights, dtype=float)) / np.maximum(many, 1))

    def upsampled(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return results on the pixels of the map."""
        # Floating-point numbers are interpolated linearly between the middles of blocks; a signed
        # test statistic therefore passes through zero where the norm does. A number that is not
        # finite stays within its block, and does not enter the interpolation in the blocks beside
        # it. Whole numbers and masks (iterations, status, success) are those of the block.
        return {name: self._upsampled(np.asarray(array)) for name, array in values.items()}

    def _upsampled(self, array: Array) -> Array:
        planes = array.reshape(-1, *array.shape[-2:])
        ny, nx = (n * self.factor for n in array.shape[-2:])
        (top, bottom), (left, right) = self.padding
        rows, cols = slice(top, ny - bottom), slice(left, nx - right)
        zoom = _zoom if array.dtype.kind == "f" else repeat_blocks
        out = np.empty((len(planes), ny - top - bottom, nx - left - right), array.dtype)
        # plane by plane: a likelihood scan has hundreds
        for plane, coarse in zip(out, planes, strict=True):
            plane[:] = zoom(coarse, self.factor)[rows, cols]
        return out.reshape(*array.shape[:-2], *out.shape[-2:])


def _zoom(image: Array, factor: int) -> Array:
    """Interpolate an image linearly, among the pixels that are finite."""
    finite = np.isfinite(image)
    if finite.all():
        return zoom_bilinear(image, factor)
    share = zoom_bilinear(finite.astype(float), factor)
    total = zoom_bilinear(np.where(finite, image, 0.0), factor)
    # the block's own value has a share, so nothing is divided by zero where it is finite
    inside = repeat_blocks(finite, factor)
    result = repeat_blocks(image, factor)
    np.divide(total, share, out=result, where=inside)
    return result


def coarse_grid(shape: tuple[int, int], reach: tuple[int, int], factor: int) -> CoarseGrid:
    """Lay blocks of pixels over a map of any size."""
    # As in gammapy, the map is padded by half a kernel and on to a multiple of 8 pixels (of the
    # factor too, where that is none of 8's), so that blocks lie where its blocks do. Where the
    # number of pixels to add is odd, which gammapy refuses, one more is put after the last row or
    # column.
    if int(factor) != factor or factor < 1:
        raise InputError(f"factor is {factor!r}; expected a whole number of at least 1.")
    if factor > max(64, *shape):
        raise InputError(
            f"downsampling_factor is {short(factor)}, and the map has {shape[1]} x {shape[0]} "
            "pixels; expected a factor that leaves several blocks of them."
        )
    multiple = math.lcm(_MULTIPLE, int(factor))
    pads = []
    for size, half in zip(shape, reach, strict=True):
        least = size + 2 * half
        # a multiple already is taken one further, as gammapy does
        added = (least // multiple + 1) * multiple - size
        pads.append((added // 2, added - added // 2))
    return CoarseGrid(int(factor), (pads[0], pads[1]))
