"""Linear weights of the nodes of a grid, at many places."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps import WcsGeom, pixel_matrices

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Nodes along a side, at most.
_MOST = 33
# Part by which squares of distances may be off: the norm of a source is off by a quarter of it.
_EVEN = 3e-4


class Stencil(NamedTuple):
    """Nodes, and those that a value at each place is a mean of."""

    nodes: Floats  # row and column of each node, shape (nodes, 2)
    # which: the nodes around each place, weight: theirs, of sum 1; shape (places, 4) or (places, 1)
    which: Integers
    weight: Floats
    cell: Integers  # a number for each place: the same where the nodes are, shape (places,)


def stencil(rows: Floats, columns: Floats, lines: tuple[Floats, Floats]) -> Stencil:
    """Return the bilinear weights of nodes on some lines of a grid, at some places."""
    # beyond the last line its value holds
    found = []
    for place, line in zip((rows, columns), lines, strict=True):
        last = len(line) - 1
        low = np.clip(np.searchsorted(line, place, side="right") - 1, 0, max(last - 1, 0))
        high = np.minimum(low + 1, last)
        step = np.where(high > low, line[high] - line[low], 1.0)
        found.append(
            (low, high, np.where(high > low, np.clip((place - line[low]) / step, 0, 1), 0))
        )
    (y0, y1, fy), (x0, x1, fx) = found
    width = len(lines[1])
    if len(lines[0]) == width == 1:
        node = np.array([[lines[0][0], lines[1][0]]])
        return Stencil(node, y0[:, None], np.ones((rows.size, 1)), y0)
    which = np.stack([y * width + x for y in (y0, y1) for x in (x0, x1)], axis=1)
    weight = np.stack([wy * wx for wy in (1 - fy, fy) for wx in (1 - fx, fx)], axis=1)
    used = np.zeros(len(lines[0]) * width, bool)
    for some, share in zip(which.T, weight.T, strict=True):
        used[some[share > 0]] = True
    number = np.cumsum(used) - 1
    kept = np.flatnonzero(used)
    row, column = np.divmod(kept, width)
    # a node without weight may be any
    which = np.where(used[which], number[which], 0)
    nodes = np.stack([lines[0][row], lines[1][column]], axis=1)
    return Stencil(nodes, which, weight, y0 * width + x0)


def response_lines(coordinates: Floats, number: int) -> Floats:
    """Return the pixels of a response's map, along one axis, between which it is taken."""
    first = max(int(np.floor(coordinates.min())), 0)
    last = min(int(np.ceil(coordinates.max())), number - 1)
    count = last - first + 1
    chosen = np.linspace(first, last, min(max(count, 1), _MOST))
    return np.unique(np.round(chosen))


def shape_lines(geom: WcsGeom) -> tuple[Floats, Floats]:
    """Return the rows and columns between which the shape of pixels is a linear function."""
    rows, columns = (np.linspace(0, n - 1, min(9, n)) for n in geom.shape_image)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    matrices = pixel_matrices(geom.wcs, y, x)
    # of distances only
    shapes = np.swapaxes(matrices, -1, -2) @ matrices
    lines = []
    for axis, size in enumerate(geom.shape_image):
        along = np.moveaxis(shapes, axis, 0)
        largest = np.nanmax(np.abs(along)) if np.isfinite(along).any() else 1.0
        lines.append(_lines(along / largest, size))
    return lines[0], lines[1]


def _lines(along: Any, size: int) -> Floats:
    """Return lines across an axis for what changes along it."""
    finite = np.isfinite(along).all(axis=(-2, -1))
    some = np.where(finite[..., None, None], along, 0.0)
    reached = np.where(finite[..., None, None], some - some[len(some) // 2], 0.0)
    if np.abs(reached).max(initial=0.0) <= _EVEN or size == 1:
        return np.array([(size - 1) / 2])
    inner = (finite[2:] & finite[1:-1] & finite[:-2])[..., None, None]
    bend = np.abs(np.where(inner, np.diff(some, 2, axis=0), 0.0)).max(initial=0.0)
    # a straight line between nodes is off by an eighth of the bend between them
    steps = (len(along) - 1) * np.sqrt(bend / 8 / _EVEN)
    return np.linspace(0, size - 1, int(np.clip(np.ceil(steps) + 1, 2, min(_MOST, size))))
