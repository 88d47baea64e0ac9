"""Sums over a disc around every pixel, by additions alone, and the disc that a mask grows by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.core.kernel_background import disk_structure
from gammagrad.maps.around import disc_around
from gammagrad.maps.geom import WcsGeom

__all__ = ["dilation_disc", "disc_sum"]

Floats = NDArray[np.float64]

# A centre that lies on the edge of the disc but for the rounding of a quotient is inside.
_ROUNDING = 1e-9


def dilation_disc(geom: WcsGeom, radius: float) -> NDArray[np.bool_]:
    """Return the disc by which an excluded region grows.

    Parameters
    ----------
    geom
        Geometry; distances on the sky are those around the middle of the map.
    radius
        Radius in deg, at least 0.

    Returns
    -------
    ndarray of bool
        Shape (ky, kx), odd numbers, true where the centre of a pixel is not farther away.
    """
    offsets, side = disc_around(geom, radius)
    if side is not None:
        # whole pixels keep all their digits
        return disk_structure(min(radius / side, max(geom.shape_image)))
    middle = tuple(n // 2 for n in offsets.shape)
    disc = offsets <= radius * (1 + _ROUNDING)
    disc[middle] = True
    return disc


def disc_sum(data: NDArray[Any], disc: NDArray[Any]) -> Floats:
    """Sum over a disc around every pixel; outside of the map there is nothing.

    Nothing is ever subtracted: sums of whole numbers are whole, and sums of zeros are zero, which
    a Fourier transform or a running sum cannot promise.

    Parameters
    ----------
    data
        Values, shape (..., ny, nx), not negative.
    disc
        Which of the pixels around one are summed, zeros and ones, shape (ky, kx), odd numbers.

    Returns
    -------
    ndarray
        Sums, float64, of the shape of the data.
    """
    data = np.asarray(data, dtype=float)
    ny, nx = data.shape[-2:]
    # each row of a disc is a stretch, as a rule: a sum over some columns from the first one on
    stretches = sorted(_stretches(np.asarray(disc) > 0), key=lambda stretch: stretch[2])
    room = disc.shape[1] // 2
    total = np.zeros_like(data)
    padded = np.pad(data, [(0, 0)] * (data.ndim - 2) + [(0, 0), (room, room)])
    row_sum, length = padded.copy(), 1
    for row, first, wanted in stretches:
        while length < wanted:
            row_sum[..., :-length] += padded[..., length:]
            length += 1
        if abs(row) < ny:
            here = row_sum[..., first + room : first + room + nx]
            target = slice(max(-row, 0), ny - max(row, 0))
            source = slice(max(row, 0), ny - max(-row, 0))
            total[..., target, :] += here[..., source, :]
    return total


def _stretches(disc: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return row, first column and length of the stretches of a disc, from its middle."""
    found = []
    for row, line in enumerate(disc):
        ends = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(int)))
        for first, last in zip(ends[::2], ends[1::2], strict=True):
            start = int(first) - disc.shape[1] // 2
            found.append((row - disc.shape[0] // 2, start, int(last - first)))
    return found
