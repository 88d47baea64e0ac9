"""The physical bound of the norm: the largest model-to-background ratio, exact in few visits."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_FEW, _QUICK = 1024, 12
"""At most so many pixels that can still rise go on alone, after so many visits of all."""


class BlockImages(NamedTuple):
    """A block of a dataset's bins, with half a kernel around it, see `BinImages`."""

    # counts, background: shape (images, rows, cols)
    counts: Any
    background: Any
    exposure: Any  # shape (images, components, rows, cols)


class BlockKernel(NamedTuple):
    """A kernel, made ready for blocks of one size."""

    kernel: Array  # shape (images, components, kernel rows, kernel cols)
    # its transform, mirrored, shape (images times components, ...); None where sums are made
    # without one
    spectrum: Array | None
    peak: Array  # its largest values, shape (images, components)
    # largest value at each place over the components, relative to their peaks, shape (images,
    # places)
    envelope: Array
    order: Array  # places from the largest value down, same shape


def local_max(image: Array, window: tuple[int, ...]) -> Array:
    """Return the maximum over the windows that lie inside an image."""
    for axis, size in zip((-2, -1), window, strict=True):
        reach = 1  # image[i] covers `reach` elements from i on
        while reach < size:
            shift = min(reach, size - reach)
            total = image.shape[axis]
            here = lax.slice_in_dim(image, 0, total - shift, axis=axis)
            there = lax.slice_in_dim(image, shift, total, axis=axis)
            image = jnp.maximum(here, there)
            reach += shift
    return image


class _Pixels(NamedTuple):
    """Pixels whose largest value is sought."""

    best: Array  # largest values so far
    settled: Array  # infinite at pixels that do not matter
    ceiling: Array  # no value is above it times the envelope of its offset

    def visited(
        self,
        step: Array,
        offsets: tuple[Array, Array],
        value_at: Callable[[Array], Array],
        most: int,
    ) -> tuple[Array, Array]:
        """Visit offsets until few pixels can still rise; return the next offset and the values."""

        def hopeful(state: tuple[Array, Array]) -> Array:
            step, best = state
            open_ = self._replace(best=best).open(step, offsets).sum(dtype=jnp.int32)
            # so few visits take less time than to pick pixels
            return open_ > jnp.where(step < _QUICK, 0, most)

        def visit(state: tuple[Array, Array]) -> tuple[Array, Array]:
            step, best = state
            return step + 1, jnp.maximum(best, value_at(offsets[1][step]))

        return lax.while_loop(hopeful, visit, (step, self.best))

    def open(self, step: Array, offsets: tuple[Array, Array]) -> Array:
        """Tell which pixels can still rise at the offsets from a step on."""
        envelope, order = offsets
        last = len(order) - 1
        weight = jnp.where(step > last, 0, envelope[order[jnp.minimum(step, last)]])
        return (weight * self.ceiling > jnp.maximum(self.best, self.settled)) & (weight > 0)


def raised_to(
    best: Array,
    settled: Array,
    ceiling: Array,
    offsets: tuple[Array, Array],
    value_at: Callable[[Array], Array],
    value_of: Callable[[Array, Array, Array], Array] | None = None,
) -> Array:
    """Raise the largest values so far to those at kernel offsets, in as few visits as possible."""
    # see `_Pixels`; offsets: the envelope, and the offsets from its largest value down; value_at,
    # value_of: values at an offset, of all pixels, and of some in given rows and columns
    every, offsets = _Pixels(best, settled, ceiling), (offsets[0], offsets[1].astype(jnp.int32))
    first = jnp.int32(0)
    if value_of is None or best.size < 4 * _FEW:
        return every.visited(first, offsets, value_at, 0)[1]
    step, best = every.visited(first, offsets, value_at, _FEW)
    open_ = every._replace(best=best).open(step, offsets)

    def of_few(best: Array) -> Array:
        # those that are still open go on alone, one of them repeatedly if they are fewer
        (where,) = jnp.nonzero(open_.reshape(-1), size=_FEW, fill_value=0)
        row, col = jnp.divmod(where.astype(jnp.int32), np.int32(best.shape[1]))
        few = _Pixels(*(a[row, col] for a in (best, settled, ceiling)))
        own = few.visited(step, offsets, lambda offset: value_of(offset, row, col), 0)[1]
        return best.at[row, col].max(own)

    return lax.cond(open_.any(), of_few, lambda best: best, best)


def weighted_sum(weights: Array, arrays: Array) -> Array:
    """Sum over the first axis: one after the other, which compilers turn into vectors."""
    return reduce(operator.add, (w * a for w, a in zip(weights, arrays, strict=True)))


def steepest_ratio(images: BlockImages, kernel: BlockKernel, fitted: Array, best: Array) -> Array:
    """Return the largest model-to-background ratio among each pixel's bins with background."""
    # The physical bound is minus its inverse. Kernel offsets are visited from the largest value
    # down, and visiting stops once ``kernel x local maximum of exposure/background`` cannot beat
    # what every pixel already has.
    has_background = images.background > 0
    safe = jnp.where(has_background, images.background, jnp.ones_like(images.background))
    ratio = jnp.where(has_background[:, None], images.exposure / safe[:, None], 0)
    settled = jnp.where(fitted, jnp.zeros_like(best), jnp.full_like(best, jnp.inf))
    # no ratio of an image is above its own largest: the steepest come first, the others may be
    # left out
    highest = weighted_sum(kernel.peak.T, ratio.max(axis=(-2, -1)).T)

    def visit_image(best: Array, index: Array) -> tuple[Array, None]:
        def looked(best: Array) -> Array:
            own = BlockKernel(kernel.kernel[index], None, *(a[index] for a in kernel[2:]))
            return _raised_by(ratio[index], own, settled, best)

        hopeful = (jnp.maximum(best, settled) < highest[index]).any()
        return lax.cond(hopeful, looked, lambda best: best, best), None

    return lax.scan(visit_image, best, jnp.argsort(-highest).astype(jnp.int32))[0]


def _raised_by(ratio: Array, kernel: BlockKernel, settled: Array, best: Array) -> Array:
    """Raise the largest ratios so far to those of one image."""
    ky, kx = kernel.kernel.shape[-2:]
    flat = kernel.kernel.reshape(kernel.kernel.shape[0], -1)

    def value_at(offset: Array) -> Array:
        start = (jnp.zeros_like(offset), offset // kx, offset % kx)
        there = lax.dynamic_slice(ratio, start, (ratio.shape[0], *best.shape))
        return weighted_sum(flat[:, offset], there)

    def value_of(offset: Array, row: Array, col: Array) -> Array:
        return weighted_sum(flat[:, offset], ratio[:, row + offset // kx, col + offset % kx])

    ceiling = local_max(weighted_sum(kernel.peak, ratio), (ky, kx))
    return raised_to(best, settled, ceiling, (kernel.envelope, kernel.order), value_at, value_of)


def reached_by(special: Array, exposure: Array, kernel: Array) -> Array:
    """Mark the pixels whose model has counts in a bin of a kind that most data do not have."""
    bins = special[:, None] & (exposure > 0)
    ky, kx = kernel.shape[-2:]
    shape = (*bins.shape[:2], bins.shape[2] - ky + 1, bins.shape[3] - kx + 1)
    support = (kernel > 0).reshape(*kernel.shape[:2], -1)

    def visit(offset: Array, reached: Array) -> Array:
        zero = jnp.zeros_like(offset)
        there = lax.dynamic_slice(bins, (zero, zero, offset // kx, offset % kx), shape)
        return reached | (there & support[:, :, offset][..., None, None]).any(axis=(0, 1))

    number = jnp.where(bins.any(), ky * kx, 0).astype(jnp.int32)
    return lax.fori_loop(jnp.int32(0), number, visit, jnp.zeros(shape[2:], bool))
