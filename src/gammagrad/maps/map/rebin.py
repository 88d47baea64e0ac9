"""Merging, repeating, interpolating and adding the last two dimensions of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.map.lookup import bilinear

Array = NDArray[Any]


def block_sum(data: Array, factor: int) -> Array:
    """Return the sums of blocks of factor x factor pixels."""
    *rest, ny, nx = data.shape
    blocks = data.reshape(*rest, ny // factor, factor, nx // factor, factor)
    return blocks.sum(axis=(-3, -1), dtype=float if data.dtype.kind == "f" else None)


def merged(data: Array, factor: int, preserve_counts: bool, weights: Any) -> Array:
    """Return the weighted sums or means of blocks; NaN pixels are left out, blocks of NaN stay."""
    if data.dtype == np.bool_:
        return block_sum(data.astype(int), factor) > 0
    good = ~np.isnan(data)
    weight = np.broadcast_to(np.asarray(1 if weights is None else weights), data.shape) * good
    result = block_sum(np.where(good, data, 0) * weight, factor)
    if not preserve_counts:
        total = block_sum(weight, factor)
        result = np.divide(result, total, out=np.zeros(result.shape), where=total != 0)
    if not good.all():
        result[block_sum(good.astype(int), factor) == 0] = np.nan
    return result


def repeat_blocks(data: Array, factor: int) -> Array:
    """Return an array with every pixel repeated factor x factor times."""
    return data.repeat(factor, axis=-2).repeat(factor, axis=-1)


def zoom_bilinear(data: Array, factor: int) -> Array:
    """Return an array interpolated at the centres of the parts of its pixels."""
    ny, nx = data.shape[-2:]
    y, x = ((np.arange(n * factor) - 0.5 * (factor - 1)) / factor for n in (ny, nx))
    return bilinear(data, x[None, :], y[:, None])


def shared_out(data: Array, factor: int, zoom: Any, area: Array) -> Array:
    """Return an array with the values of pixels shared among their parts by area."""
    total = block_sum(area, factor)
    # at the rim of the sky some areas are unknown: there, equal parts
    bad = np.isnan(total)
    area = np.where(repeat_blocks(bad, factor), 1.0 / factor**2, area)
    return zoom(data / np.where(bad, 1.0, total), factor) * area


def add_part(data: Array, part: Array, start: tuple[int, int]) -> None:
    """Add an array in place from a pixel (column, row) on; pixels beyond and NaN do not count."""
    spans = []
    for first, size, npix in zip(start, part.shape[:-3:-1], data.shape[:-3:-1], strict=True):
        low = max(first, 0)
        high = max(low, min(first + size, npix))
        spans.append((slice(low, high), slice(low - first, high - first)))
    (cols, part_cols), (rows, part_rows) = spans
    data[..., rows, cols] += np.nan_to_num(part[..., part_rows, part_cols])
