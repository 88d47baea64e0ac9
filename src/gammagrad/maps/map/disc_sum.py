"""Sums over a disc or a ring around every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def disc_sum(data: NDArray[Any], disc: NDArray[Any]) -> Floats:
    """Sum over a disc or ring around every pixel; outside of the map there is nothing."""
    # Nothing is ever subtracted: sums of whole numbers are whole, and sums of zeros are zero, which
    # a Fourier transform or a running sum cannot promise.
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
