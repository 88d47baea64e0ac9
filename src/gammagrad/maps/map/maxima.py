"""Local maxima of images: within a number of pixels, or within an angle on the sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.geom import on_sky, unit_vectors
from gammagrad.maps.map.map import Map

# Pixels farther apart than an angle by less than this part of it are within it.
_ROUNDING = 1e-6
_GATHER = 4_000_000  # values looked at in one go: bounds the memory of `local_maxima`


def _footprint(radius: tuple[float, float]) -> NDArray[np.int64]:
    """Return the (row, col) offsets within an ellipse, the eight neighbours always included."""
    ny, nx = (max(1, int(np.floor(r))) for r in radius)
    dy, dx = np.mgrid[-ny : ny + 1, -nx : nx + 1]
    distance = np.hypot(dy / max(radius[0], 1e-9), dx / max(radius[1], 1e-9))
    keep = (distance <= 1 + 1e-9) | ((np.abs(dy) <= 1) & (np.abs(dx) <= 1))
    return np.stack([dy[keep], dx[keep]], axis=1)


def _plateaus(values: NDArray[np.float64], nodes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Label the selected pixels: touching ones of equal value get one label."""
    # Labels spread over the pairs of neighbours, each taking the smaller one, and jump along their
    # chains in between, which makes the number of passes grow with the logarithm of a plateau's
    # size.
    number = np.full(values.shape, -1)
    number[nodes] = np.arange(np.count_nonzero(nodes))
    pairs = []
    rows, cols = values.shape
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = np.s_[: rows - dy, max(0, -dx) : cols - max(0, dx)]
        second = np.s_[dy:, max(0, dx) : cols - max(0, -dx)]
        equal = nodes[first] & nodes[second] & (values[first] == values[second])
        pairs.append(np.stack([number[first][equal], number[second][equal]]))
    a, b = np.concatenate(pairs, axis=1)
    labels = np.arange(np.count_nonzero(nodes))
    while np.any(labels[a] != labels[b]):
        low = np.minimum(labels[a], labels[b])
        for end in (a, b):
            np.minimum.at(labels, labels[end], low)
        labels = labels[labels]
    return labels


def _is_window_maximum(
    values: NDArray[np.float64], rows: NDArray[np.int64], cols: NDArray[np.int64], offsets: Any
) -> NDArray[np.bool_]:
    """Tell for each pixel whether no pixel at the offsets is larger."""
    reach = np.abs(offsets).max(axis=0)
    padded = np.pad(values, ((reach[0], reach[0]), (reach[1], reach[1])), constant_values=-np.inf)
    ok = np.empty(len(rows), dtype=bool)
    step = max(1, _GATHER // len(offsets))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        r = rows[part, None] + reach[0] + offsets[:, 0]
        c = cols[part, None] + reach[1] + offsets[:, 1]
        ok[part] = padded[r, c].max(axis=1) <= values[rows[part], cols[part]]
    return ok


def _one_per_plateau(
    labels: NDArray[np.int64],
    ok: NDArray[np.bool_],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return one pixel, that nearest to its middle, of every plateau all of whose pixels are ok."""
    # A plateau that touches higher ground anywhere is a shelf, not a summit.
    summit = np.ones(len(labels), dtype=bool)
    summit[labels[~ok]] = False
    members = np.flatnonzero(summit[labels])
    size = np.bincount(labels)[labels[members]]
    row = np.bincount(labels, weights=rows)[labels[members]] / size
    col = np.bincount(labels, weights=cols)[labels[members]] / size
    offset = np.hypot(rows[members] - row, cols[members] - col)
    order = np.lexsort((offset, labels[members]))
    first = np.unique(labels[members][order], return_index=True)[1]
    return members[order][first]


def _drop_close_ties(
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    radius: tuple[float, float],
) -> NDArray[np.bool_]:
    """Tell which peaks to keep where several of exactly equal height lie within the radius."""
    keep = np.ones(len(rows), dtype=bool)
    heights, counts = np.unique(values, return_counts=True)
    for height in heights[counts > 1]:
        tied = np.flatnonzero(values == height)  # in order of their rows
        last = np.searchsorted(rows[tied], rows[tied] + max(radius[0], 1.0), side="right")
        for position, i in enumerate(tied):
            if keep[i]:
                others = tied[position + 1 : last[position]]
                distance = np.hypot(
                    (rows[others] - rows[i]) / max(radius[0], 1.0),
                    (cols[others] - cols[i]) / max(radius[1], 1.0),
                )
                keep[others[distance <= 1 + 1e-9]] = False
    return keep


def local_maxima(
    image: NDArray[Any], threshold: float, radius: tuple[float, float] = (1.0, 1.0)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pixels above a threshold that are the largest within a radius."""
    # A plateau of equal pixels counts once, as the pixel nearest to its middle. Of equally high
    # peaks within the radius of each other the first one stays. An image that is constant has no
    # peak.
    values = np.asarray(image, dtype=np.float64)
    finite = np.isfinite(values)
    none = np.empty(0, dtype=np.int64)
    if not finite.any() or np.ptp(values[finite]) == 0:
        return none, none
    values = np.where(finite, values, -np.inf)
    nodes = values > threshold
    rows, cols = np.nonzero(nodes)
    if not len(rows):
        return none, none
    ok = _is_window_maximum(values, rows, cols, _footprint((1.0, 1.0)))
    candidates = np.flatnonzero(ok)
    ok[candidates] = _is_window_maximum(
        values, rows[candidates], cols[candidates], _footprint(radius)
    )
    peaks = _one_per_plateau(_plateaus(values, nodes), ok, rows, cols)
    height = values[rows[peaks], cols[peaks]]
    peaks = peaks[np.lexsort((cols[peaks], rows[peaks], -height))]
    keep = _drop_close_ties(values[rows[peaks], cols[peaks]], rows[peaks], cols[peaks], radius)
    return rows[peaks][keep], cols[peaks][keep]


def sky_maxima(
    image: Map, threshold: float, distance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pixels above a threshold that are the largest within an angle on the sky."""
    # Distances are those of the pixel centres on the sphere, across the edge of an all-sky map too.
    # Plateaus and ties as in `local_maxima`; pixels without a place on the sky are left out.
    from scipy.spatial import KDTree

    values = np.where(np.isfinite(image.data) & on_sky(image.geom), image.data, np.nan)
    rows, cols = local_maxima(values, threshold)
    if not len(rows):
        return rows, cols
    vectors = unit_vectors(*image.geom.get_coord())
    chord = 2 * np.sin(np.deg2rad(min(distance, 180.0)) / 2) * (1 + _ROUNDING)
    above = values > threshold
    # sorted by height: of equal peaks the first one stays, and counts as the higher one
    heights, places = values[rows, cols], vectors[rows, cols]
    keep = np.ones(len(rows), dtype=bool)
    near = KDTree(places)
    for i, place in enumerate(places):
        if keep[i]:
            others = np.asarray(near.query_ball_point(place, chord))
            keep[others[others > i]] = False
    # what is higher need not be a peak itself, but lie on the side of one
    heights_above, everywhere = values[above], KDTree(vectors[above])
    for i in np.flatnonzero(keep).tolist():
        around = everywhere.query_ball_point(places[i], chord)
        keep[i] = not np.any(heights_above[around] > heights[i])
    return rows[keep], cols[keep]
