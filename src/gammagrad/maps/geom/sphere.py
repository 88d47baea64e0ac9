"""Distances and areas on the unit sphere."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.coordinates import angular_separation
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def angular_distance(lon: Any, lat: Any, lon_0: float, lat_0: float) -> Any:
    """Return the angular distances of points from one point, in degrees."""
    # the difference of longitudes is taken first, in degrees: it is exact for near points
    apart, theta, theta_0 = np.deg2rad(lon - lon_0), np.deg2rad(lat), np.deg2rad(lat_0)
    return np.rad2deg(angular_separation(0.0, theta_0, apart, theta))


def unit_vectors(lon: Floats, lat: Floats) -> Floats:
    """Return points on the sphere as unit vectors."""
    phi, theta = np.deg2rad(lon), np.deg2rad(lat)
    return np.stack(
        [np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=-1
    )


def tangents(lon: Any, lat: Any) -> Floats:
    """Return the unit vectors that point east and north at points of the sphere."""
    phi, theta = np.deg2rad(lon), np.deg2rad(lat)
    east = [-np.sin(phi), np.cos(phi), np.zeros_like(phi)]
    north = [-np.sin(theta) * np.cos(phi), -np.sin(theta) * np.sin(phi), np.cos(theta)]
    return np.stack([np.stack(east, axis=-1), np.stack(north, axis=-1)], axis=-2)


def _triangle_areas(a: Floats, b: Floats, c: Floats) -> Floats:
    # The triple product of differences keeps its digits for tiny triangles.
    triple = np.sum(a * np.cross(b - a, c - a), axis=-1)
    dots = np.sum(a * b, axis=-1) + np.sum(b * c, axis=-1) + np.sum(c * a, axis=-1)
    return 2 * np.arctan2(triple, 1 + dots)


def quadrilateral_areas(corners: Floats) -> Floats:
    """Return the solid angles of the cells of a grid of points on the sphere."""
    # The sides of a cell are great circles, so cells that share sides add up to the whole exactly.
    # A cell is two spherical triangles.
    # Van Oosterom and Strackee (1983), IEEE Trans. Biomed. Eng. 30, 125, equation 8.
    low_left, low_right = corners[:-1, :-1], corners[:-1, 1:]
    up_left, up_right = corners[1:, :-1], corners[1:, 1:]
    area = _triangle_areas(low_left, low_right, up_right)
    area = area + _triangle_areas(low_left, up_right, up_left)
    return np.abs(area)
