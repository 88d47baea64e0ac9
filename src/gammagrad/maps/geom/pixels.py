"""What a pixel is on the sky: its sides, its area, and how far it is to the pixels around it.

All is taken from the coordinate system at the very place, never from the pixel size of a header:
pixels may be oblong, rotated or sheared, and differ from place to place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.geom.sky_grid import SkyGrid
from gammagrad.maps.geom.sphere import tangents, unit_vectors

Floats = NDArray[np.float64]

# Steps of the derivative in rad; the next terms of its series are 1e-12 of it.
_STEP = 1e-3
# Digits to which equal pixels have equal sizes, wherever they are.
_DIGITS = 9
# Directions in which a circle is followed.
_KEPT = 32  # results of `reach` that a grid keeps
_DIRECTIONS = 48
# Pixels whose distances differ by less, in proportion, count as the same.
_SAME = 1e-3
# Steps of the lattices of places that others may stand for, in pixels.
_STEPS = 2.0 ** np.arange(10, 1, -1)
# A circle may reach so much further than the derivative says before the pixels count as uneven.
_UNEVEN = 1.02
# Parts of a circle that seem further than so many times that are on another side of the map.
_JUMP = 4.0


class PixelShape(NamedTuple):
    """A pixel at one place of a map."""

    # degrees to the east and to the north (rows) by a step of one pixel along x and along y
    # (columns), shape (2, 2)
    matrix: Floats

    @property
    def sides(self) -> tuple[float, float]:
        """Length of a step of one pixel along x and along y, deg."""
        x, y = np.hypot(*self.matrix)
        return _rounded(x), _rounded(y)

    @property
    def size(self) -> float:
        """The longest step of one pixel in any direction, deg."""
        return _rounded(np.linalg.svd(self.matrix, compute_uv=False)[0])

    @property
    def least(self) -> float:
        """The shortest step of one pixel in any direction, deg."""
        return _rounded(np.linalg.svd(self.matrix, compute_uv=False)[1])

    @property
    def area(self) -> float:
        """Solid angle in deg2."""
        return float(abs(np.linalg.det(self.matrix)))

    @property
    def per_degree(self) -> Floats:
        """Rows and columns that a circle of 1 deg reaches from its middle, shape (2,)."""
        x, y = np.linalg.norm(np.linalg.inv(self.matrix), axis=1)
        return np.array([_rounded(y), _rounded(x)])


def _rounded(value: Any) -> float:
    """Round off what the derivative does not know."""
    return float(f"{float(value):.{_DIGITS}g}")


def on_sky(grid: SkyGrid) -> NDArray[np.bool_]:
    """Return which pixels have their centre on the sky."""
    if "on sky" not in grid.derived:
        found = np.isfinite(grid.get_coord()[0])
        found.flags.writeable = False
        grid.derived["on sky"] = found
    mask: NDArray[np.bool_] = grid.derived["on sky"]
    return mask


def middle(grid: SkyGrid) -> tuple[float, float]:
    """Return the pixel coordinates (row, column) of the middle of a map."""
    x, y = grid.center_pix
    return y, x


def pixel_shape(grid: SkyGrid, place: tuple[float, float]) -> PixelShape:
    """Return the shape of a pixel at a place of a map."""
    matrix = pixel_matrices(grid, *place)
    if not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
        dx, dy = grid.pixel_scales.to_value("deg")
        matrix = np.diag([-dx, dy])
    return PixelShape(matrix)


def pixel_matrices(grid: SkyGrid, rows: Any, columns: Any) -> Floats:
    """Return the derivatives of the sky by pixel coordinates at several places."""
    step = _STEP / float(np.min(grid.pixel_scales.to_value("rad")))
    steps = step * np.array([-2.0, -1.0, 1.0, 2.0])
    weights = np.array([1.0, -8.0, 8.0, -1.0]) / (12 * step)
    none = np.zeros(4)
    x = np.asarray(columns, float)[..., None] + np.concatenate([[0.0], steps, none])
    y = np.asarray(rows, float)[..., None] + np.concatenate([[0.0], none, steps])
    lon, lat = grid.pix_to_lonlat(x, y)
    vectors = unit_vectors(lon, lat)
    by_pixel = np.stack([weights @ vectors[..., 1:5, :], weights @ vectors[..., 5:9, :]], axis=-1)
    return np.rad2deg(tangents(lon[..., 0], lat[..., 0]) @ by_pixel)


def middle_shape(grid: SkyGrid) -> PixelShape:
    """Return the shape of a pixel in the middle of a map, which the map keeps."""
    if "middle shape" not in grid.derived:
        grid.derived["middle shape"] = pixel_shape(grid, middle(grid))
    shape: PixelShape = grid.derived["middle shape"]
    return shape


def nearest_place(grid: SkyGrid, position: Any) -> tuple[float, float]:
    """Return the row and column of a position, or of the place of the map that is nearest to it."""
    if position is None:
        return middle(grid)
    x, y = (float(c) for c in grid.sky_to_pix(position))
    if not (np.isfinite(x) and np.isfinite(y)):
        return middle(grid)
    nx, ny = grid.npix
    nearest = min(max(y, -0.5), ny - 0.5), min(max(x, -0.5), nx - 0.5)
    if nearest == (y, x):
        return nearest
    # a projection may squeeze the sky without bound; a place that far off does not matter
    beyond = max(nearest[0] - y, y - nearest[0], nearest[1] - x, x - nearest[1]) > max(nx, ny)
    there, here = pixel_matrices(grid, y, x), pixel_shape(grid, nearest).matrix
    if beyond or not np.isfinite(there).all() or np.abs(there - here).max() > np.abs(here).max():
        return nearest
    return y, x


def reach(grid: SkyGrid, place: tuple[float, float], radius: Any) -> Floats:
    """Return how many rows and columns circles on the sky reach from their middle."""
    radius = np.asarray(radius, dtype=float)
    # a run asks several times, and the next run on the same pixels asks the same
    kept: dict[Any, Floats] = grid.derived.setdefault("reach", {})
    key = place, radius.shape, radius.tobytes()
    found = kept.get(key)
    if found is None:
        for old in list(kept)[: 1 - _KEPT]:  # other threads may change it meanwhile
            kept.pop(old, None)
        found = kept[key] = _reach(grid, place, radius)
    return found.copy()


def _reach(grid: SkyGrid, place: tuple[float, float], radius: Floats) -> Floats:
    """Return how many rows and columns circles on the sky reach, computed anew."""
    per_degree, typical = pixel_shape(grid, place).per_degree, middle_shape(grid).per_degree
    # of pixels that are nearly alike a circle takes the same number: less to compile
    alike = (per_degree < _UNEVEN * typical) & (typical < _UNEVEN * per_degree)
    straight = radius[..., None] * np.where(alike, typical, per_degree)
    row, column = place
    lon, lat = (float(c) for c in grid.pix_to_lonlat(column, row))
    if not np.isfinite(lon):
        return straight
    angle = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)
    ways = np.stack([np.sin(angle), np.cos(angle)], axis=1) @ tangents(lon, lat)
    r = np.deg2rad(np.minimum(radius, 179.0))[..., None, None]
    around = np.cos(r) * unit_vectors(np.array(lon), np.array(lat)) + np.sin(r) * ways
    x, y = grid.lonlat_to_pix(
        np.rad2deg(np.arctan2(around[..., 1], around[..., 0])),
        np.rad2deg(np.arcsin(np.clip(around[..., 2], -1, 1))),
    )
    apart = np.abs(np.stack([y - row, x - column], axis=-1))
    apart[~(apart <= _JUMP * straight[..., None, :])] = 0.0
    bent = apart.max(axis=-2)
    return np.where(bent > _UNEVEN * straight, bent, straight)


def common_place(grid: SkyGrid, place: tuple[float, float]) -> tuple[float, float]:
    """Return one place for all places whose pixels agree to a part in a thousand."""
    # What is made for the pixels of a place, such as a kernel, serves all of them.
    anchor, own = grid.wcs.wcs.crpix[::-1] - 1, np.array(place)
    knots = anchor + _STEPS[:, None] * np.round((own - anchor) / _STEPS[:, None])
    rows, columns = np.concatenate([own[None], knots]).T
    matrices = pixel_matrices(grid, rows, columns)
    # the matrix of scalar products, of which distances are made: they go with its root
    metric = np.swapaxes(matrices, -1, -2) @ matrices
    change = np.abs(metric[1:] - metric[0]).max(axis=(1, 2))
    serves = np.flatnonzero(change <= 2 * _SAME * np.abs(metric[0]).max())
    row, column = knots[serves[0]] if serves.size else own
    return float(row), float(column)


def odd_shape(half: Any, noise: float = 1e-6) -> NDArray[np.int64]:
    """Return the odd numbers of pixels that reach so many rows and columns from their middle."""
    half = np.ceil((2 * np.asarray(half, dtype=float) - noise - 1) / 2)
    return np.maximum(2 * half + 1, 1).astype(np.int64)
