"""Merging, repeating and interpolating the last two dimensions of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def block_sum(data: Array, factor: int) -> Array:
    """Return the sums of blocks of factor x factor pixels."""
    *rest, ny, nx = data.shape
    blocks = data.reshape(*rest, ny // factor, factor, nx // factor, factor)
    return blocks.sum(axis=(-3, -1), dtype=float if data.dtype.kind == "f" else None)


def repeat_blocks(data: Array, factor: int) -> Array:
    """Return an array with every pixel repeated factor x factor times."""
    return data.repeat(factor, axis=-2).repeat(factor, axis=-1)


def zoom_bilinear(data: Array, factor: int) -> Array:
    """Return an array interpolated at the centres of the parts of its pixels."""
    ny, nx = data.shape[-2:]
    y, x = ((np.arange(n * factor) - 0.5 * (factor - 1)) / factor for n in (ny, nx))
    return bilinear(data, x[None, :], y[:, None])


def bilinear(data: Array, x: Array, y: Array) -> Array:
    """Return an array interpolated linearly at pixel coordinates."""
    x, y = np.broadcast_arrays(x, y)
    values: Array = np.zeros(data.shape[:-2] + x.shape)
    x, y = (np.clip(p, 0, n - 1) for p, n in zip((x, y), data.shape[:-3:-1], strict=True))
    col, row = (np.floor(p).astype(int) for p in (x, y))
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - (x - col)) * np.abs(1 - dy - (y - row))
            part = data[
                ...,
                np.minimum(row + dy, data.shape[-2] - 1),
                np.minimum(col + dx, data.shape[-1] - 1),
            ]
            values = values + np.where(weight > 0, part * weight, 0)
    return values
