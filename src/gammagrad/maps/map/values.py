"""Values of an array at bins, and between them, on all its dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError

Array = NDArray[Any]

# Values below this are this, where their logarithm is wanted.
_TINY = np.finfo(np.float32).tiny


def at_indices(data: Array, idx: Sequence[Any], fill_value: float) -> Array:
    """Return values at indices, the last dimension first; a negative index is outside."""
    where = np.broadcast_arrays(*idx)
    inside = np.logical_and.reduce([index >= 0 for index in where])
    values = np.asarray(data[tuple(np.where(inside, index, 0) for index in where[::-1])])
    return values if inside.all() else np.where(inside, values, fill_value)


def at_pixels(data: Array, pix: Sequence[Any], fill_value: float) -> Array:
    """Return values of the bins that pixel coordinates fall in, the last dimension first."""
    if len(pix) != data.ndim:
        raise InputError(f"pix: expected {data.ndim} numbers, got {len(pix)}.")
    idx = []
    for values, size in zip(pix, data.shape[::-1], strict=True):
        pixel = np.asarray(values, dtype=float)
        index = np.floor(np.where(np.isfinite(pixel), pixel, -1.0) + 0.5).astype(int)
        idx.append(np.where((index >= 0) & (index < size), index, -1))
    return at_indices(data, idx, fill_value)


def interpolated(data: Array, pix: Sequence[Array], method: str, scale: str) -> NDArray[np.float64]:
    """Return values between bins at pixel coordinates, in straight lines beyond the ends."""
    from scipy.interpolate import RegularGridInterpolator

    scales: dict[str, Any] = {
        "lin": (lambda x: x, lambda x: x),
        "log": (lambda x: np.log(np.clip(x, _TINY, np.inf)), np.exp),
        "sqrt": (lambda x: np.sqrt(np.clip(x, 0, np.inf)), np.square),
    }
    if scale not in scales or method not in ("linear", "nearest"):
        raise InputError(
            f"values_scale is {scale!r} and method {method!r}; expected {', '.join(scales)}, and "
            "'linear' or 'nearest'."
        )
    forward, back = scales[scale]
    where = np.broadcast_arrays(*pix)[::-1]
    # between the ends of one bin there is nothing to interpolate
    wide = [i for i, size in enumerate(data.shape) if size > 1]
    values = forward(np.asarray(data, dtype=float)).reshape([data.shape[i] for i in wide])
    if not wide:
        return np.full(where[0].shape, float(back(values)))
    grid = [np.arange(data.shape[i], dtype=float) for i in wide]
    fit = RegularGridInterpolator(grid, values, method, bounds_error=False, fill_value=None)
    points = np.stack([np.asarray(where[i], dtype=float) for i in wide], axis=-1)
    known = np.isfinite(points).all(axis=-1)
    found = np.full(points.shape[:-1], np.nan)
    found[known] = fit(points[known])
    return np.asarray(back(found), dtype=float)
