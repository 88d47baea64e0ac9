"""Values of an array at positions on the sky."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.units import to_value

Array = NDArray[Any]


def values_at(
    data: Array,
    geom: Any,
    skycoord: Any,
    look_up: Callable[[Array, Array, Array], Array],
    fill_value: float,
) -> Array:
    """Return values looked up at positions, and a fill value outside the map."""
    if geom.is_region:
        if isinstance(skycoord, tuple | list):
            shape = np.broadcast_shapes(*(np.shape(to_value(v, "deg")) for v in skycoord))
        else:
            shape = skycoord.shape
        pixel = np.zeros(shape, dtype=int)
        return data[..., pixel, pixel]
    inside = geom.contains(skycoord)
    x, y = (np.where(inside, pixel, 0) for pixel in geom.sky_to_pix(skycoord))
    values = look_up(data, x, y)
    if inside.all():
        return values
    return np.where(inside, values, False if data.dtype == np.bool_ else fill_value)


def nearest(data: Array, x: Array, y: Array) -> Array:
    """Return the values of the pixels that pixel coordinates fall on."""
    row, col = (np.floor(p + 0.5).astype(int) for p in (y, x))
    return data[..., row, col]


def bilinear(data: Array, x: Array, y: Array) -> Array:
    """Return an array interpolated linearly at pixel coordinates."""
    # `scipy.ndimage.map_coordinates` gives NaN beside NaN, even at the pixel centres
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
