"""Outlines of the areas of a mask, as polygons without holes along the edges of pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError

Bools = NDArray[np.bool_]
Corners = NDArray[np.float64]

# Longest side of a polygon in pixels: what is straight on one map is not on another.
_MAX_SIDE = 8

# Sides of a pixel in counter-clockwise order: bottom, right, top, left. Where each begins relative
# to the pixel's lower left corner (row, col), and where it leads.
_START = ((0, 0), (0, 1), (1, 1), (1, 0))
_STEP = ((0, 1), (1, 0), (0, -1), (-1, 0))
_BOTTOM, _RIGHT, _TOP, _LEFT = range(4)

_Side = tuple[int, int, int]  # row and column of a pixel, and which of its sides


def outlines(area: Bools) -> Iterator[Corners]:
    """Return polygons around the true pixels of a mask."""
    # They do not overlap, and together cover just these pixels. Pixels that touch in a corner alone
    # are in different polygons. An area with holes is cut in two along rows at each of them.
    padded = np.pad(np.asarray(area, bool), 1)
    sides = _sides(padded, np.zeros(padded.shape, bool))
    loops = list(_loops(padded, sides))
    if holes := [loop for loop in loops if _is_hole(loop)]:
        loops = list(_loops(padded, _sides(padded, _cuts(padded, holes))))
    yield from map(_corners, loops)


def row_boxes(area: Bools, margin: float) -> Iterator[Corners]:
    """Return one thin box for each run of true pixels in a row."""
    padded = np.pad(np.asarray(area, np.int8), ((0, 0), (1, 1)))
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, stops = np.nonzero(np.diff(padded, axis=1) == -1)
    for row, start, stop in zip(rows, starts, stops, strict=True):
        low, high = start - margin, stop - 1 + margin
        x = np.linspace(low, high, 2 + int((high - low) / _MAX_SIDE))
        below = np.stack([x, np.full(len(x), row - margin)], axis=1)
        above = np.stack([x[::-1], np.full(len(x), row + margin)], axis=1)
        yield np.concatenate([below, above])


def _sides(padded: Bools, cut: Bools) -> NDArray[np.bool_]:
    """Return which sides of pixels are part of an outline, shape (4, ny, nx)."""
    # `cut` is true where a pixel is parted from the one below it.
    sides = np.zeros((4, *padded.shape), bool)
    sides[_BOTTOM, 1:] = padded[1:] & (~padded[:-1] | cut[1:])
    sides[_TOP, :-1] = padded[:-1] & (~padded[1:] | cut[1:])
    sides[_RIGHT, :, :-1] = padded[:, :-1] & ~padded[:, 1:]
    sides[_LEFT, :, 1:] = padded[:, 1:] & ~padded[:, :-1]
    return sides


def _loops(padded: Bools, sides: NDArray[np.bool_]) -> Iterator[list[_Side]]:
    """Follow the sides of outlines, each once, with the area to the left."""
    left = sides.copy()
    for side, row, col in np.argwhere(sides):
        if not left[side, row, col]:
            continue
        loop = [(int(row), int(col), int(side))]
        while (place := _next(loop[-1], sides)) != loop[0]:
            loop.append(place)
            left[place[2], place[0], place[1]] = False
        yield loop


def _next(place: _Side, sides: NDArray[np.bool_]) -> _Side:
    """Return the side after one: turn left around the pixel, else go on to the neighbours."""
    row, col, side = place
    turned = (side + 1) % 4
    for _ in range(4):
        if sides[turned, row, col]:
            return row, col, turned
        # through that side into the next pixel, and around the same corner there
        out_row, out_col = _OUTWARD[turned]
        row, col, turned = row + out_row, col + out_col, (turned - 1) % 4
    raise InputError("area: an outline that does not close.")


_OUTWARD = ((-1, 0), (0, 1), (1, 0), (0, -1))


def _is_hole(loop: list[_Side]) -> bool:
    """Return whether a loop runs clockwise, which it does around a hole."""
    row, col = np.array([(r + _START[s][0], c + _START[s][1]) for r, c, s in loop]).T
    return bool(np.sum(col * np.roll(row, -1) - row * np.roll(col, -1)) < 0)


def _cuts(padded: Bools, holes: list[list[_Side]]) -> Bools:
    """Return where to part rows so that no area has a hole."""
    # From the leftmost side of a hole the area is cut to the left until it ends, and from the
    # rightmost to the right. A cut ends outside, or at another hole which reaches farther, so that
    # the cuts lead from hole to hole outside on either side, and part what is above from what is
    # below.
    cut = np.zeros(padded.shape, bool)
    for hole in holes:
        for most, side, step in ((min, _RIGHT, -1), (max, _LEFT, 1)):
            col, row = most((c, r) for r, c, s in hole if s == side)
            while padded[row, col]:
                cut[row, col] = True
                col += step
    return cut


def _corners(loop: list[_Side]) -> Corners:
    """Return the corners of a loop, without those that are on a straight line."""
    places = []
    length = 0
    for i, (row, col, side) in enumerate(loop):
        straight = side == loop[i - 1][2] and i > 0 and length < _MAX_SIDE
        length = length + 1 if straight else 1
        if not straight:
            # corners of the padded mask: its first pixel lies one before that of the mask
            places.append((col + _START[side][1] - 1.5, row + _START[side][0] - 1.5))
    return np.array(places)
