"""What all bins enter, whether they have counts or not: sums over windows, the physical bound.

A map is worked on in square blocks of a few fixed sizes, each with half a kernel of bins around it,
so that what is compiled depends on the kernel and not on the map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gammagrad.core.images import fast_length
from gammagrad.core.ts_map.bins import BinImages
from gammagrad.core.ts_map.blended_blocks import (
    BlendedImages,
    BlendedKernel,
    blended_directly,
    blended_kernel,
    blended_sums,
    needs_transform,
)
from gammagrad.core.ts_map.blocks import block_kernel, block_sums
from gammagrad.core.ts_map.physical_bound import BlockImages, BlockKernel
from gammagrad.core.ts_map.placed_map import Placed
from gammagrad.core.ts_map.threads import in_threads

# below this part of the largest, sums of the model are made without a transform
_SMALL = 1e-6
# numbers copied at a time
_AT_A_TIME = 2**20

_SIDES = (32, 64, 104, 128)
"""Sides of blocks, in pixels: up to what a processor's cache holds."""

_SIDES_WIDE = (208, 256)
"""More for wide kernels, and for accelerators."""

_WIDE = 64
"""Width of a kernel from which on they are worth it."""


class WholeMap(NamedTuple):
    """Sums over each pixel's window and the limits of its norm, numpy maps (rows, cols)."""

    model_sum: np.ndarray  # sum of the model counts at norm 1
    background_sum: np.ndarray  # sum of the background
    stat_null: np.ndarray  # cash statistic at norm 0
    has_model: np.ndarray  # whether the pixel is to be fitted and its model predicts anything, bool
    bound: np.ndarray  # physical bound of the norm
    # whether a bin that the model reaches has counts but no background, bool
    counts_on_zero: np.ndarray


class _Block(NamedTuple):
    """A block: its first row and column."""

    row: int
    col: int


def whole_map(datasets: Sequence[BinImages], fitted: np.ndarray) -> WholeMap:
    """Sum over the windows of a map, and find the physical bound."""
    on_map = [d for d in datasets if d.places is None]
    maps = _in_blocks(on_map, fitted) if on_map else {}
    for images in datasets:
        if images.places is None:
            continue
        zero = np.zeros(fitted.shape, images.background.dtype)
        found = Placed(images).sums(fitted, maps.get("steepest", zero))
        maps = {n: _joined(n, maps[n], found[n]) for n in maps} if maps else found
    return _bounded(maps, datasets, fitted)


def _in_blocks(datasets: Sequence[BinImages], fitted: np.ndarray) -> dict[str, np.ndarray]:
    """Sum over the datasets on the grid of the map, block by block."""
    side = _side(fitted.shape, max(max(d.kernel.shape[-2:]) for d in datasets))
    kernels = [_kernel(d, side) for d in datasets]
    plain = [_arrays(d) for d in datasets]

    def work(block: _Block, _: None) -> tuple[None, dict[str, Any]]:
        """Sum over the datasets of a block."""
        total: dict[str, Any] = {"steepest": np.zeros((side, side), plain[0][1].dtype)}
        wanted = _cut(fitted, block, side, (0, 0))
        for arrays, kernel in zip(plain, kernels, strict=True):
            halo = kernel.kernel.shape[-2] // 2, kernel.kernel.shape[-1] // 2
            cuts = [_cut(a, block, side, halo) for a in arrays[:3]]
            if isinstance(kernel, BlockKernel):
                found = block_sums(BlockImages(*cuts), kernel, wanted, total["steepest"])
            else:
                own = (_cut(a, block, side, (0, 0)) for a in arrays[3:])
                found = blended_sums(BlendedImages(*cuts, *own), kernel, wanted, total["steepest"])
            # the largest ratio is carried on already, and marks are united
            total = found if len(total) == 1 else {n: _joined(n, total[n], found[n]) for n in found}
        return None, total

    maps: dict[str, np.ndarray] = {}
    for block, arrays in in_threads(work, _blocks(fitted.shape, side)):
        rows, cols = (min(side, n - first) for n, first in zip(fitted.shape, block, strict=True))
        there = slice(block.row, block.row + rows), slice(block.col, block.col + cols)
        for name, array in arrays.items():
            if name not in maps:
                maps[name] = np.zeros(fitted.shape, array.dtype)
            maps[name][there] = array[:rows, :cols] if array.ndim else array
    return maps


def _kernel(images: BinImages, side: int) -> BlockKernel | BlendedKernel:
    """Make a dataset's kernel ready for blocks of one size."""
    if not images.blended:
        return block_kernel(images.kernel, side=side)
    transform = needs_transform(np.asarray(images.exposure)[:, 0])
    return blended_kernel(images.kernel, side=side, transform=transform)


def _arrays(images: BinImages) -> list[np.ndarray]:
    """Return the maps that blocks are cut from: three of the bins, then the maps of the pixels."""
    arrays = [np.asarray(a) for a in (images.counts, images.background, images.exposure)]
    if not images.blended:
        return arrays
    return [*arrays[:2], arrays[2][:, 0], np.asarray(images.amplitude), np.asarray(images.blend)]


def _bounded(
    sums: dict[str, np.ndarray], datasets: Sequence[BinImages], fitted: np.ndarray
) -> WholeMap:
    """Mend small sums, and turn the largest ratios into bounds."""
    model_sum, reached = sums["model_sum"], sums["reached"] & fitted
    # what a transform leaves there is the rounding of the largest sums
    small = reached & (model_sum < _SMALL * sums["scale"])
    if small.any():
        model_sum[small] = _summed_directly(datasets, small)
    has_model, steepest = reached & (model_sum > 0), sums["steepest"]
    # no ratio of the model to its background is below zero
    with np.errstate(divide="ignore"):
        bound = np.divide(-1.0, steepest, out=steepest)
    bound[sums["bare"] | np.isinf(bound)] = 0.0
    return WholeMap(
        model_sum=model_sum,
        background_sum=sums["background_sum"],
        stat_null=sums["stat_null"],
        has_model=has_model,
        bound=bound,
        counts_on_zero=sums["counts_on_zero"],
    )


def _side(shape: tuple[int, ...], width: int) -> int:
    """Return the side of blocks that cover a map with the least work."""
    wide = width > _WIDE or jax.default_backend() != "cpu"
    sides = (*_SIDES, *_SIDES_WIDE) if wide else _SIDES

    def work(side: int) -> int:
        number = -(-shape[0] // side) * -(-shape[1] // side)
        return number * fast_length(side + width - 1) ** 2

    return min(sides, key=work)


def _joined(name: str, one: Any, other: Any) -> Any:
    """Join what two datasets have of one name."""
    if name == "steepest":
        return other
    one, other = np.asarray(one), np.asarray(other)
    return one | other if one.dtype == np.bool_ else one + other


def _blocks(shape: tuple[int, ...], side: int) -> Iterator[_Block]:
    """Yield the blocks of a map."""
    for row in range(0, shape[0], side):
        for col in range(0, shape[1], side):
            yield _Block(row, col)


def _cut(array: np.ndarray, block: _Block, side: int, halo: tuple[int, int]) -> np.ndarray:
    """Return a block of maps with what is around it, zero outside the map."""
    size = tuple(side + 2 * h for h in halo)
    first = tuple(b - h for b, h in zip(block, halo, strict=True))
    inside = tuple(
        slice(max(f, 0), max(min(f + s, n), 0))
        for f, s, n in zip(first, size, array.shape[-2:], strict=True)
    )
    part = array[..., inside[0], inside[1]]
    if part.shape[-2:] == size:
        return part
    whole = np.zeros((*array.shape[:-2], *size), array.dtype)
    begin = tuple(max(-f, 0) for f in first)
    there = tuple(slice(b, b + n) for b, n in zip(begin, part.shape[-2:], strict=True))
    whole[..., there[0], there[1]] = part
    return whole


def _summed_directly(datasets: Sequence[BinImages], where: np.ndarray) -> np.ndarray:
    """Sum the model counts of some pixels without a transform."""
    rows, cols = np.nonzero(where)
    total = np.zeros(rows.size, datasets[0].background.dtype)
    for images in datasets:
        if images.places is not None:
            total += Placed(images).directly(where)
            continue
        if images.blended:
            total += blended_directly(images, where)
            continue
        kernels = np.asarray(images.kernel).reshape(-1, *images.kernel.shape[-2:])
        planes = np.asarray(images.exposure).reshape(-1, *where.shape)
        (ky, kx), at_a_time = kernels.shape[-2:], max(1, _AT_A_TIME // kernels[0].size)
        for plane, kernel in zip(planes, kernels, strict=True):
            padded = np.pad(plane, ((ky // 2, ky // 2), (kx // 2, kx // 2)))
            seen = np.lib.stride_tricks.sliding_window_view(padded, (ky, kx))
            for begin in range(0, rows.size, at_a_time):
                part = slice(begin, begin + at_a_time)
                total[part] += np.einsum("pyx,yx->p", seen[rows[part], cols[part]], kernel)
    return total
