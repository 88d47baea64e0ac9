"""What all bins enter, whether they have counts or not: sums over windows, the physical bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad.core.bound import kernel_reach, local_max, steepest_ratio
from gammagrad.core.convolve import box_sum, correlate_sum
from gammagrad.core.stats import cash
from gammagrad.core.windows import BinImages

__all__ = ["WholeMap", "whole_map"]

# below this part of the largest, sums of the model are made without a transform
_SMALL = 1e-6
# numbers copied at a time
_AT_A_TIME = 2**20


class WholeMap(NamedTuple):
    """Sums over each pixel's window and the limits of its norm, numpy maps (rows, cols).

    Attributes
    ----------
    model_sum
        Sum of the model counts at norm 1.
    background_sum
        Sum of the background.
    stat_null
        Cash statistic at norm 0.
    has_model
        Whether the pixel is to be fitted and its model predicts anything, bool.
    bound
        Physical bound of the norm.
    counts_on_zero
        Whether a bin that the model reaches has counts but no background, bool.
    """

    model_sum: np.ndarray
    background_sum: np.ndarray
    stat_null: np.ndarray
    has_model: np.ndarray
    bound: np.ndarray
    counts_on_zero: np.ndarray


def whole_map(datasets: Sequence[BinImages], fitted: np.ndarray) -> WholeMap:
    """Sum over the windows of a map, and find the physical bound.

    Parameters
    ----------
    datasets
        Bins of each dataset of a joint fit, on one pixel grid.
    fitted
        Pixels to fit, bool, shape (rows, cols).

    Returns
    -------
    WholeMap
        The sums.
    """
    sums = [_sums(d) for d in datasets]
    model_sum, background_sum, stat_null = (
        np.array(sum(s[index] for s in sums)) for index in range(3)
    )
    reached = np.any([np.asarray(s[3]) for s in sums], axis=0) & fitted
    # what a transform leaves there is the rounding of the largest sums
    small = reached & (model_sum < _SMALL * model_sum.max())
    model_sum[small] = _summed_directly(datasets, small)
    has_model = reached & (model_sum > 0)
    return WholeMap(
        model_sum=model_sum,
        background_sum=background_sum,
        stat_null=stat_null,
        has_model=has_model,
        bound=_physical_bound(datasets, has_model),
        counts_on_zero=_reach(datasets, lambda d: (d.counts > 0) & (d.background <= 0)),
    )


def _summed_directly(datasets: Sequence[BinImages], where: np.ndarray) -> np.ndarray:
    """Sum the model counts of some pixels without a transform."""
    rows, cols = np.nonzero(where)
    total = np.zeros(rows.size, datasets[0].background.dtype)
    for images in datasets:
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


@jax.jit
def _sums(images: BinImages) -> tuple[Array, Array, Array, Array]:
    """Sum model, background and null statistic over each pixel's window; see where a model is."""
    window = (images.kernel.shape[-2], images.kernel.shape[-1])
    flat = images.exposure.reshape(-1, *images.exposure.shape[-2:])
    return (
        correlate_sum(flat, images.kernel.reshape(-1, *window)),
        box_sum(_stacked(images.background), window),
        box_sum(_stacked(cash(images.counts, images.background)), window),
        local_max(_stacked(flat), window) > 0,
    )


def _stacked(images: Array) -> Array:
    """Sum images: as a product, which is several times as fast as a sum over the first axis."""
    flat = images.reshape(len(images), -1)
    total = jnp.matmul(jnp.ones_like(flat[:, :1]).T, flat, precision="highest")
    return total.reshape(images.shape[1:])


def _physical_bound(datasets: Sequence[BinImages], fitted: np.ndarray) -> np.ndarray:
    """Least norm at which no bin of a pixel's window predicts a negative number."""
    ratio = jnp.zeros(fitted.shape, datasets[0].background.dtype)
    for images in datasets:
        ratio = steepest_ratio(images, fitted, ratio)
    bare = _reach(datasets, lambda d: d.background <= 0)
    steepest = np.asarray(ratio)
    bound = np.divide(-1.0, steepest, out=np.zeros_like(steepest), where=steepest > 0)
    return np.where(bare, 0.0, bound)


def _reach(datasets: Sequence[BinImages], special: Callable[[BinImages], Array]) -> np.ndarray:
    """Mark the pixels whose model has counts in a bin of a kind that most data do not have."""
    reached = np.zeros(datasets[0].counts.shape[1:], bool)
    for images in datasets:
        bins = special(images)[:, None] & (images.exposure > 0)
        if bool(bins.any()):
            reached |= np.asarray(kernel_reach(bins, images.kernel))
    return reached
