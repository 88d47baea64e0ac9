"""The point source, and its bilinear weights on a pixel grid."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gammagrad._pytree import pytree, static_field
from gammagrad.errors import InputError
from gammagrad.models.base import parameter, promote
from gammagrad.models.spatial_base import SpatialModel
from gammagrad.models.sphere import haversine, offsets

# pixels from the grid's nearest pixel: beyond, weights are 0 and positions unreliable
_REACH = 4.0
_N_STEPS = 5


@pytree
class PointSpatialModel(SpatialModel):
    r"""Point source.

    .. math:: \phi = \delta(\mathrm{lon} - \mathrm{lon}_0) \, \delta(\mathrm{lat} - \mathrm{lat}_0)

    Its surface brightness is not defined; `integrate` divides its flux among the four nearest
    pixels.

    Parameters
    ----------
    lon_0, lat_0
        Position, deg.
    frame
        ``"icrs"`` or ``"galactic"``.
    """

    lon_0: Any = parameter("deg", 0.0)
    lat_0: Any = parameter("deg", 0.0, at_least=-90, at_most=90)
    frame: str = static_field(default="icrs")

    tag = ("PointSpatialModel", "point")

    @property
    def evaluation_radius(self) -> Any:
        """Zero: the source is in its pixels."""
        return 0.0

    def weights(self, lon: Any, lat: Any) -> jax.Array:
        """Return the bilinear weights of the source on a pixel grid.

        The position in pixels comes from interpolating the grid, in the tangent plane, around the
        pixel nearest to the source. So any projection works, and the weights are differentiable in
        the position (one-sided at a pixel centre).

        Parameters
        ----------
        lon, lat
            Pixel centres in the model's frame, deg, shape (ny, nx), at least 2 pixels wide and
            high. Pixels off the sky may be NaN.

        Returns
        -------
        array
            Weights, shape (ny, nx). Their centroid is the source position. They sum to 1 where the
            source lies between pixel centres, less in the outer half of a border pixel and beyond,
            and are 0 from one pixel outside the outermost centres on.

        Raises
        ------
        ValueError
            If the grid is not two-dimensional or too small.
        """
        lon, lat, lon_0, lat_0 = promote(lon, lat, self.lon_0, self.lat_0)
        if lon.ndim != 2 or lon.shape != lat.shape or min(lon.shape) < 2:
            raise InputError(
                f"lon and lat have shapes {lon.shape} and {lat.shape}; expected pixel-centre "
                "coordinates of one shape (ny, nx) with at least 2 pixels in each direction."
            )
        row, col, near = _pixel_position(lon, lat, lon_0, lat_0)
        n_rows, n_cols = lon.shape
        weights = _share(n_rows, row)[:, None] * _share(n_cols, col)[None, :]
        return jnp.where(near, weights, jnp.zeros_like(weights))

    def integrate(self, lon: Any, lat: Any, solid_angle: Any = None) -> jax.Array:
        """Return the fraction of the source's flux in each pixel; see `weights`.

        Parameters
        ----------
        lon, lat
            Pixel centres, deg, shape (ny, nx).
        solid_angle
            Not used; for consistency with other models.

        Returns
        -------
        array
            The weights, shape (ny, nx).
        """
        del solid_angle
        return self.weights(lon, lat)


def _share(size: int, position: jax.Array) -> jax.Array:
    """Return the weights of the pixels along one axis."""
    pixels = jnp.arange(size, dtype=position.dtype)
    first = jnp.floor(position)
    # from one fraction, so that rounding cannot make the two derivatives disagree
    fraction = position - jax.lax.stop_gradient(first)
    last = jnp.where(pixels == first + 1.0, fraction, jnp.zeros_like(fraction))
    return jnp.where(pixels == first, 1.0 - fraction, last)


def _pixel_position(
    lon: jax.Array, lat: jax.Array, lon_0: jax.Array, lat_0: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return fractional row and column of a position, and whether the grid is near it at all."""
    # a block of 3 x 3 pixels (2 where the grid has no more) with the nearest one in it
    index = _nearest_pixel(*jax.lax.stop_gradient((lon, lat, lon_0, lat_0)))
    sizes = [min(3, n) for n in lon.shape]
    first = [
        jnp.clip(i - 1, 0, n - size) for i, n, size in zip(index, lon.shape, sizes, strict=True)
    ]
    block = [jax.lax.dynamic_slice(grid, first, sizes) for grid in (lon, lat)]
    middle = [(size - 1) // 2 for size in sizes]
    centre = [grid[middle[0], middle[1]] for grid in block]
    *planes, _ = _tangent_plane(block[0], block[1], *centre)
    *target, same_side = _tangent_plane(lon_0, lat_0, *centre)
    step, near = _invert(jnp.stack(planes), jnp.stack(target))
    origin = [(f + m).astype(lon.dtype) for f, m in zip(first, middle, strict=True)]
    return origin[0] + step[0], origin[1] + step[1], near & same_side


def _nearest_pixel(
    lon: jax.Array, lat: jax.Array, lon_0: jax.Array, lat_0: jax.Array
) -> tuple[jax.Array, ...]:
    """Return row and column of the nearest pixel, of those without neighbours off the sky."""
    height = haversine(lon, lat, lon_0, lat_0)
    known = jnp.pad(jnp.isfinite(height), 1, constant_values=True)
    whole = known[:-2] & known[1:-1] & known[2:]
    whole = whole[:, :-2] & whole[:, 1:-1] & whole[:, 2:]
    height = jnp.where(whole, height, jnp.inf)
    return jnp.unravel_index(jnp.argmin(height), height.shape)


def _tangent_plane(
    lon: jax.Array, lat: jax.Array, lon_c: jax.Array, lat_c: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return coordinates in the plane that touches the sphere at a centre, and where they hold."""
    east, north, radial = offsets(lon, lat, lon_c, lat_c)
    front = radial > 0.1
    radial = jnp.where(front, radial, 1.0)
    return east / radial, north / radial, front


def _basis(step: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Return Lagrange's polynomials on `size` pixels, and their derivatives."""
    one = jnp.ones_like(step)
    if size == 2:
        return jnp.stack([one - step, step]), jnp.stack([-one, one])
    values = 0.5 * step * (step - 1.0), 1.0 - step**2, 0.5 * step * (step + 1.0)
    return jnp.stack(values), jnp.stack([step - 0.5, -2.0 * step, step + 0.5])


def _invert(planes: jax.Array, target: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Find the step in pixels from the block's middle at which its coordinates are the target."""
    # The coordinates are interpolated in the block, exact at its pixels; Newton's method does the
    # rest. Also returned: whether the target is near the block.
    zero = jnp.zeros_like(target[0])
    row, col = jax.lax.stop_gradient(_newton_step(planes, target, zero, zero))
    # also false where a pixel is off the sky, which makes the step NaN
    near = (jnp.abs(row) < _REACH) & (jnp.abs(col) < _REACH)
    # a harmless grid in place of those not used, or their gradients are NaN
    rows, cols = planes.shape[1:]
    plain = jnp.stack(
        jnp.meshgrid(jnp.arange(rows), jnp.arange(cols), indexing="ij"),
    ).astype(planes.dtype)
    planes = jnp.where(near, planes, plain)
    target = jnp.where(near, target, jnp.zeros_like(target))
    known = jax.lax.stop_gradient((planes, target))
    row, col = jax.lax.fori_loop(
        0, _N_STEPS - 2, lambda _, step: _newton_step(*known, *step), (zero, zero)
    )
    # of a root, one step has the first derivative, two have the second and third as well
    for _ in range(2):
        row, col = _newton_step(planes, target, row, col)
    return (row, col), near


def _newton_step(
    planes: jax.Array, target: jax.Array, row: jax.Array, col: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return an improved step."""
    (by_row, d_row), (by_col, d_col) = (
        _basis(x, n) for x, n in zip((row, col), planes.shape[1:], strict=True)
    )
    # sums, not matrix products: those may be of low precision on accelerators
    x, y = jnp.sum(by_row[None, :, None] * planes * by_col[None, None, :], axis=(1, 2))
    x_row, y_row = jnp.sum(d_row[None, :, None] * planes * by_col[None, None, :], axis=(1, 2))
    x_col, y_col = jnp.sum(by_row[None, :, None] * planes * d_col[None, None, :], axis=(1, 2))
    determinant = x_row * y_col - x_col * y_row
    determinant = jnp.where(determinant != 0, determinant, 1.0)
    d_x, d_y = target[0] - x, target[1] - y
    return (
        row + (d_x * y_col - x_col * d_y) / determinant,
        col + (x_row * d_y - d_x * y_row) / determinant,
    )
