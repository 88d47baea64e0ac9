"""Local maxima of images: within a number of pixels, or within an angle on the sky."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.geom import on_sky, unit_vectors
from gammagrad.maps.map.map import Map

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Pixels = tuple[NDArray[np.int64], NDArray[np.int64]]

# Pixels farther apart than an angle by less than this part of it are within it.
_ROUNDING = 1e-6


def _unsurpassed(points: Floats, heights: Floats, others: Floats, tall: Floats, r: float) -> Bools:
    """Tell for each point whether no other point within a distance is higher."""
    from scipy.spatial import KDTree

    near = KDTree(others)
    found = (tall[near.query_ball_point(point, r)] for point in points)
    return np.array([np.all(t <= h) for t, h in zip(found, heights, strict=True)], dtype=bool)


def _first_of_close(points: Floats, r: float) -> Bools:
    """Tell which points to keep so that none is within a distance of an earlier one."""
    from scipy.spatial import KDTree

    keep, near = np.ones(len(points), dtype=bool), KDTree(points)
    for i, point in enumerate(points):
        if keep[i]:
            others = np.asarray(near.query_ball_point(point, r))
            keep[others[others > i]] = False
    return keep


def _summits(values: Floats, top: Bools) -> Pixels:
    """Return the pixel nearest to the middle of every plateau that is at the top as a whole."""
    from scipy.ndimage import label, maximum_filter

    # touching pixels at the top are equally high
    labels, _ = label(top, np.ones((3, 3)))
    # a plateau that touches higher ground anywhere is a shelf: an equal pixel is not at the top
    beside = maximum_filter(np.where(top, -np.inf, values), 3)
    labels[np.isin(labels, labels[top & (beside == values)])] = 0
    rows, cols = np.nonzero(labels)
    plateau = labels[rows, cols]
    size = np.bincount(plateau)[plateau]
    row, col = (np.bincount(plateau, weights=x)[plateau] / size for x in (rows, cols))
    order = np.lexsort((np.hypot(rows - row, cols - col), plateau))
    first = order[np.unique(plateau[order], return_index=True)[1]]
    return rows[first], cols[first]


def local_maxima(
    image: NDArray[Any], threshold: float, radius: tuple[float, float] = (1.0, 1.0)
) -> Pixels:
    """Find the pixels above a threshold that are the largest within a radius."""
    # A plateau of equal pixels counts once, as the pixel nearest to its middle. Of equally high
    # peaks within the radius of each other the first one stays. An image that is constant has no
    # peak.
    from scipy.ndimage import maximum_filter

    values = np.asarray(image, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.any() or np.ptp(values[finite]) == 0:
        none = np.empty(0, dtype=np.int64)
        return none, none
    values = np.where(finite, values, -np.inf)
    above = values > threshold
    top = above & (values == maximum_filter(values, 3))
    # the eight neighbours, which the filter sees, are always within the radius
    scale, within = np.maximum(radius, 1.0), 1 + 1e-9
    if np.max(radius) > 1:
        points = np.argwhere(top) / scale
        top[top] = _unsurpassed(
            points, values[top], np.argwhere(above) / scale, values[above], within
        )
    rows, cols = _summits(values, top)
    order = np.lexsort((cols, rows, -values[rows, cols]))
    rows, cols = rows[order], cols[order]
    keep = _first_of_close(np.stack([rows, cols], axis=1) / scale, within)
    return rows[keep], cols[keep]


def sky_maxima(image: Map, threshold: float, distance: float) -> Pixels:
    """Find the pixels above a threshold that are the largest within an angle on the sky."""
    # Distances are between pixel centres on the sphere, across the edge of an all-sky map too.
    # Plateaus and ties as in `local_maxima`; pixels without a place on the sky are left out.
    values = np.where(np.isfinite(image.data) & on_sky(image.geom), image.data, np.nan)
    # sorted by height: of equal peaks the first one stays, and counts as the higher one
    rows, cols = local_maxima(values, threshold)
    vectors, above = unit_vectors(*image.geom.get_coord()), values > threshold
    chord = 2 * np.sin(np.deg2rad(min(distance, 180.0)) / 2) * (1 + _ROUNDING)
    keep = _first_of_close(vectors[rows, cols], chord)
    rows, cols = rows[keep], cols[keep]
    # a higher pixel need not be a peak itself, but lie on the side of one
    places, everywhere = vectors[rows, cols], vectors[above]
    keep = _unsurpassed(places, values[rows, cols], everywhere, values[above], chord)
    return rows[keep], cols[keep]
