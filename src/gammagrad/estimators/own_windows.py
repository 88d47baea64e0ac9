"""Sums over windows of a kernel that was padded: those of the kernel itself."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax import Array

from gammagrad.core.stats import cash
from gammagrad.core.windows import BinImages

__all__ = ["of_own_windows", "window_sum"]


@jax.jit
def _bin_terms(counts: Array, background: Array) -> tuple[Array, Array]:
    """Return background and null statistic, summed over the images of a dataset."""
    return background.sum(axis=0), cash(counts, background).sum(axis=0)


def window_sum(image: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Sum an image over a rectangle around each pixel, zeros outside; no size compiles.

    Parameters
    ----------
    image
        Shape (rows, cols).
    window
        Odd sides of the rectangle.

    Returns
    -------
    ndarray
        The sums, same shape.

    Examples
    --------
    >>> window_sum(np.ones((2, 4)), (1, 3)).tolist()
    [[2.0, 3.0, 3.0, 2.0], [2.0, 3.0, 3.0, 2.0]]
    """
    total = np.asarray(image, dtype=np.float64)
    for axis, side in enumerate(window):
        length, half = total.shape[axis], side // 2
        running = np.cumsum(total, axis=axis)
        running = np.concatenate([np.zeros_like(np.take(running, [0], axis)), running], axis)
        here = np.arange(length)
        last, first = np.minimum(here + half + 1, length), np.maximum(here - half, 0)
        total = np.take(running, last, axis) - np.take(running, first, axis)
    return total


def of_own_windows(
    arrays: dict[str, np.ndarray],
    images: Sequence[BinImages],
    paddings: Sequence[int],
) -> None:
    """Put sums over windows in order, in place, where kernels were padded with zeros.

    Zeros change neither norm nor test statistic. The predicted counts and the statistic are sums
    over all bins of a window, though, and those of the padding are no part of it.

    Parameters
    ----------
    arrays
        Maps of a fit by name, shape (rows, cols).
    images
        Bins of each dataset, with the padded kernels.
    paddings
        Rings of zeros around the kernel of each.
    """
    background, null = np.zeros_like(arrays["stat"]), np.zeros_like(arrays["stat"])
    for one, rings in zip(images, paddings, strict=True):
        ky, kx = (side - 2 * rings for side in one.kernel.shape[-2:])
        with jax.enable_x64(True):
            terms = _bin_terms(one.counts, one.background)
        for total, term in zip((background, null), terms, strict=True):
            total += window_sum(np.asarray(term), (ky, kx))
    ts = arrays["ts"]
    arrays["npred"] = background + arrays["npred_excess"]
    arrays["stat"] = null - np.where(arrays["norm"] < 0, -ts, ts)
    arrays["stat_null"] = null
