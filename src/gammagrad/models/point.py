"""The point source, and its bilinear weights on a pixel grid."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gammagrad._pytree import pytree, static_field
from gammagrad.models.base import Model, parameter, promote
from gammagrad.models.spatial_base import SpatialModel, check_frame
from gammagrad.models.sphere import haversine, offsets

__all__ = ["PointSpatialModel"]

# pixels from the grid's nearest pixel: further out there is no weight, nor a trustworthy position
_REACH = 4.0
# each step gains a factor of the pixel size in rad
_N_STEPS = 5


@pytree
class PointSpatialModel(SpatialModel):
    r"""Point source.

    .. math:: \phi = \delta(\mathrm{lon} - \mathrm{lon}_0) \, \delta(\mathrm{lat} - \mathrm{lat}_0)

    It has no brightness at a point; `integrate` shares its flux among the four pixels around it.

    Parameters
    ----------
    lon_0, lat_0
        Position, deg.
    frame
        ``"icrs"`` or ``"galactic"``.
    """

    frame: str = static_field()
    lon_0: Any = parameter("deg")
    lat_0: Any = parameter("deg", at_least=-90, at_most=90)

    tag = ("PointSpatialModel", "point")
    __repr__ = Model.__repr__

    def __init__(self, lon_0: Any = 0.0, lat_0: Any = 0.0, frame: str = "icrs") -> None:
        self._set(lon_0=lon_0, lat_0=lat_0)
        object.__setattr__(self, "frame", check_frame(frame, type(self).__name__))

    @property
    def evaluation_radius(self) -> Any:
        """Zero: the source is in its pixels."""
        return 0.0

    def weights(self, lon: Any, lat: Any) -> jax.Array:
        """Return the bilinear weights of the source on a pixel grid.

        The position in pixels comes from a second-order expansion of the grid about the pixel
        nearest to the source, in its tangent plane; so any projection will do, and the weights
        follow the position, gradients included.

        Parameters
        ----------
        lon, lat
            Pixel centres in the model's frame, deg, shape (ny, nx), at least 2 pixels wide and
            high. Pixels off the sky may be NaN.

        Returns
        -------
        array
            Weights, shape (ny, nx). Their centroid is the source. They sum to 1 where the source
            lies between pixel centres, less in the outer half of a border pixel and beyond, and
            are 0 from one pixel outside the outermost centres on.

        Raises
        ------
        ValueError
            If the grid is not two-dimensional or too small.
        """
        lon, lat, lon_0, lat_0 = promote(lon, lat, self.lon_0, self.lat_0)
        if lon.ndim != 2 or lon.shape != lat.shape or min(lon.shape) < 2:
            raise ValueError(
                f"lon and lat have shapes {lon.shape} and {lat.shape}; expected pixel-centre "
                "coordinates of one shape (ny, nx) with at least 2 pixels in each direction."
            )
        row, col, near = _pixel_position(lon, lat, lon_0, lat_0)
        n_rows, n_cols = lon.shape
        weights = _tent(n_rows, row)[:, None] * _tent(n_cols, col)[None, :]
        return jnp.where(near, weights, jnp.zeros_like(weights))

    def integrate(self, lon: Any, lat: Any, solid_angle: Any = None) -> jax.Array:
        """Return the part of the source's flux in each pixel; see `weights`.

        Parameters
        ----------
        lon, lat
            Pixel centres, deg, shape (ny, nx).
        solid_angle
            Not needed; other models have it.

        Returns
        -------
        array
            The weights, shape (ny, nx).
        """
        del solid_angle
        return self.weights(lon, lat)


def _tent(size: int, position: jax.Array) -> jax.Array:
    pixels = jnp.arange(size, dtype=position.dtype)
    return jnp.maximum(1.0 - jnp.abs(pixels - position), 0.0)


def _pixel_position(
    lon: jax.Array, lat: jax.Array, lon_0: jax.Array, lat_0: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return fractional row and column of a position, and whether the grid is near it at all."""
    fixed = jax.lax.stop_gradient((lon, lat, lon_0, lat_0))
    height = haversine(*fixed)
    nearest = jnp.argmin(jnp.where(jnp.isnan(height), jnp.inf, height))
    index = jnp.unravel_index(nearest, lon.shape)

    # a block of 3 x 3 pixels (2 where the grid has no more) with the nearest one in it
    sizes = [min(3, n) for n in lon.shape]
    first = [
        jnp.clip(i - 1, 0, n - size) for i, n, size in zip(index, lon.shape, sizes, strict=True)
    ]
    block = [jax.lax.dynamic_slice(grid, first, sizes) for grid in (lon, lat)]
    middle = [(size - 1) // 2 for size in sizes]
    centre = [grid[middle[0], middle[1]] for grid in block]
    planes = _tangent_plane(block[0], block[1], *centre)
    x_0, y_0, same_side = _tangent_plane(lon_0, lat_0, *centre)

    step, near = _invert(_expand(planes[0]), _expand(planes[1]), x_0, y_0)
    origin = [(f + m).astype(lon.dtype) for f, m in zip(first, middle, strict=True)]
    return origin[0] + step[0], origin[1] + step[1], near & same_side


def _tangent_plane(
    lon: jax.Array, lat: jax.Array, lon_c: jax.Array, lat_c: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    east, north, radial = offsets(lon, lat, lon_c, lat_c)
    front = radial > 0.1
    radial = jnp.where(front, radial, 1.0)
    return east / radial, north / radial, front


def _expand(plane: jax.Array) -> tuple[jax.Array, ...]:
    """Return derivatives along row, column, row-row, column-column, row-column at the middle."""
    rows, cols = plane.shape
    r, c = (rows - 1) // 2, (cols - 1) // 2
    down, right = plane[-1, c], plane[r, -1]
    up, left = plane[0, c], plane[r, 0]
    span_r, span_c = float(rows - 1), float(cols - 1)
    d_r, d_c = (down - up) / span_r, (right - left) / span_c
    # two pixels only have no curvature: there the outer difference is the middle one
    d_rr = down - 2.0 * plane[r, c] + up if rows == 3 else jnp.zeros_like(d_r)
    d_cc = right - 2.0 * plane[r, c] + left if cols == 3 else jnp.zeros_like(d_c)
    d_rc = (plane[-1, -1] - plane[-1, 0] - plane[0, -1] + plane[0, 0]) / (span_r * span_c)
    return d_r, d_c, d_rr, d_cc, d_rc


def _invert(
    x: tuple[jax.Array, ...], y: tuple[jax.Array, ...], x_0: jax.Array, y_0: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Solve the expansions of x and y for the step in pixels that leads to (x_0, y_0)."""
    row, col = jax.lax.stop_gradient(_solve(x, y, x_0, y_0))
    # also false where a neighbour is off the sky, which makes the step NaN
    near = (jnp.abs(row) < _REACH) & (jnp.abs(col) < _REACH)
    # harmless numbers in place of those not used, or their gradients are NaN
    x, y = (tuple(jnp.where(near, d, jnp.zeros_like(d)) for d in c) for c in (x, y))
    x_0, y_0 = (jnp.where(near, v, jnp.zeros_like(v)) for v in (x_0, y_0))
    row, col = _solve(x, y, x_0, y_0)
    for _ in range(_N_STEPS):
        row, col = _solve(x, y, x_0 - _bend(x, row, col), y_0 - _bend(y, row, col))
    return (row, col), near


def _solve(
    x: tuple[jax.Array, ...], y: tuple[jax.Array, ...], x_0: jax.Array, y_0: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Solve the linear parts of the expansions."""
    determinant = x[0] * y[1] - x[1] * y[0]
    determinant = jnp.where(determinant != 0, determinant, 1.0)
    return (x_0 * y[1] - x[1] * y_0) / determinant, (x[0] * y_0 - x_0 * y[0]) / determinant


def _bend(c: tuple[jax.Array, ...], row: jax.Array, col: jax.Array) -> jax.Array:
    """Return the second-order part of an expansion."""
    return 0.5 * (c[2] * row**2 + c[3] * col**2) + c[4] * row * col
