r"""Spatial models with a closed form: surface brightness on the sky, of unit integral.

Coordinates are longitudes and latitudes in deg, in the frame of the model; values are in sr-1.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad._pytree import pytree, static_field
from gammagrad.models.base import parameter, promote
from gammagrad.models.spatial_base import ExtendedSpatialModel
from gammagrad.models.sphere import haversine, offsets, separation

# 2 erfinv(0.9): the edge of a disk falls from 95 % to 5 % within its width
_EDGE = 2.3261743073533485
_N_AZIMUTH = 64


def _inverse_square_radius(
    lon: Any, lat: Any, lon_0: Any, lat_0: Any, size: jax.Array, e: jax.Array, phi: Any
) -> jax.Array:
    """Return :math:`1 / r^2` (rad-2) of an ellipse in the direction of each point."""
    # 1 / r^2 = \sin^2 \delta / b^2 + \cos^2 \delta / a^2
    # with semi-axes a and b = a sqrt(1 - e^2) and delta the angle from the major axis, at `phi`
    # east of north.
    east, north, _ = offsets(lon, lat, lon_0, lat_0)
    phi = jnp.deg2rad(promote(phi)[0])
    along = jnp.cos(phi) * north + jnp.sin(phi) * east
    across = jnp.sin(phi) * north - jnp.cos(phi) * east
    square = along**2 + across**2
    apart = square > 0
    # at the centre every direction does: the major axis
    fraction = jnp.where(apart, across**2 / jnp.where(apart, square, 1.0), 0.0)
    return (1.0 + fraction * e**2 / (1.0 - e**2)) / size**2


@pytree
class GaussianSpatialModel(ExtendedSpatialModel):
    r"""Gaussian on the sphere, round or elongated.

    .. math:: \phi = N \exp \left( -\frac{1}{2} \frac{1 - \cos \theta}{1 - \cos \sigma(\delta)}
              \right)

    with :math:`\theta` the separation from the centre. Round (e = 0):
    :math:`N = 1 / [4 \pi a (1 - e^{-1/a})], a = 1 - \cos \sigma`, exact on the sphere. Elongated:
    :math:`\sigma(\delta)` is the radius of the ellipse in the point's direction, and
    :math:`N = 1 / (2 \pi \sigma_a \sigma_b)`, its limit for small sizes.

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    sigma
        :math:`\sigma_a`, along the major axis, deg.
    e
        Eccentricity, :math:`\sigma_b = \sigma_a \sqrt{1 - e^2}`, from 0 to below 1.
    phi
        Angle of the major axis, deg from north through east.
    frame
        ``"icrs"`` or ``"galactic"``.

    References
    ----------
    Fisher (1953), Proc. R. Soc. A 217, 295, for the round form.
    """

    lon_0: Any = parameter("deg", 0.0)
    lat_0: Any = parameter("deg", 0.0, at_least=-90, at_most=90)
    sigma: Any = parameter("deg", 1.0, above=0)
    e: Any = parameter("", 0.0, frozen=True, at_least=0, below=1)
    phi: Any = parameter("deg", 0.0, frozen=True)
    frame: str = static_field(default="icrs")

    tag = ("GaussianSpatialModel", "gauss")

    def evaluate(self, lon: Any, lat: Any) -> jax.Array:
        """Evaluate the model.

        Parameters
        ----------
        lon, lat
            Points in the model's frame, deg, of shapes that broadcast.

        Returns
        -------
        array
            Surface brightness, sr-1.
        """
        sigma, e = promote(self.sigma, self.e)
        sigma = jnp.deg2rad(sigma)
        inverse_square = _inverse_square_radius(
            lon, lat, self.lon_0, self.lat_0, sigma, e, self.phi
        )
        sine = jnp.sin(0.5 * jax.lax.rsqrt(inverse_square))
        height = haversine(lon, lat, self.lon_0, self.lat_0)

        a = 2.0 * jnp.sin(0.5 * sigma) ** 2
        sphere = 1.0 / (-4.0 * jnp.pi * a * jnp.expm1(-1.0 / a))
        plane = 1.0 / (2.0 * jnp.pi * sigma**2 * jnp.sqrt(1.0 - e**2))
        return jnp.where(e == 0, sphere, plane) * jnp.exp(-0.5 * height / sine**2)

    @property
    def evaluation_radius(self) -> Any:
        """Five times sigma, deg."""
        return 5.0 * self.sigma

    @property
    def scale(self) -> Any:
        """A third of the smaller sigma, deg."""
        return self.sigma * (1.0 - self.e**2) ** 0.5 / 3.0


@pytree
class DiskSpatialModel(ExtendedSpatialModel):
    r"""Uniform disk or ellipse with a soft edge.

    .. math:: \phi = \frac{1}{2 \Omega} \left[ 1 - \mathrm{erf} \left(
              c \frac{\theta - r(\delta)}{w \, r(\delta)} \right) \right]

    with :math:`\theta` the separation from the centre, :math:`r(\delta)` the radius of the ellipse
    in the point's direction, :math:`c = 2 \, \mathrm{erf}^{-1}(0.9)`, and the solid angle of an
    elliptical cone of semi-axes a and b,

    .. math:: \Omega = 2 \sin a \sin b \int_0^\pi
              \frac{dt}{1 + \sqrt{1 - \sin^2 a \cos^2 t - \sin^2 b \sin^2 t}}

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    r_0
        Radius, or the major semi-axis a, deg, below 90.
    e
        Eccentricity, :math:`b = a \sqrt{1 - e^2}`, from 0 to below 1.
    phi
        Angle of the major axis, deg from north through east.
    edge_width
        :math:`w`, the fraction of the radius over which the edge falls from 95 to 5 %, from 0 to 1.
    frame
        ``"icrs"`` or ``"galactic"``.
    """

    lon_0: Any = parameter("deg", 0.0)
    lat_0: Any = parameter("deg", 0.0, at_least=-90, at_most=90)
    r_0: Any = parameter("deg", 1.0, above=0, below=90)
    e: Any = parameter("", 0.0, frozen=True, at_least=0, below=1)
    phi: Any = parameter("deg", 0.0, frozen=True)
    edge_width: Any = parameter("", 0.01, frozen=True, at_least=0, at_most=1)
    frame: str = static_field(default="icrs")

    tag = ("DiskSpatialModel", "disk")

    def evaluate(self, lon: Any, lat: Any) -> jax.Array:
        """Evaluate the model.

        Parameters
        ----------
        lon, lat
            Points in the model's frame, deg, of shapes that broadcast.

        Returns
        -------
        array
            Surface brightness, sr-1.
        """
        r_0, e, edge = promote(self.r_0, self.e, self.edge_width)
        r_0 = jnp.deg2rad(r_0)
        radius = jax.lax.rsqrt(
            _inverse_square_radius(lon, lat, self.lon_0, self.lat_0, r_0, e, self.phi)
        )
        distance = separation(lon, lat, self.lon_0, self.lat_0) / radius - 1.0
        # a width of exactly zero would divide by it
        edge = 0.5 * jax.scipy.special.erfc(_EDGE * distance / jnp.maximum(edge, 1e-6))
        return edge / _elliptical_cone(r_0, e, edge.dtype)

    @property
    def evaluation_radius(self) -> Any:
        """Radius beyond the soft edge, deg."""
        return 1.1 * self.r_0 * (1.0 + self.edge_width)

    @property
    def scale(self) -> Any:
        """A tenth of the smaller semi-axis within the edge, deg."""
        return self.r_0 * (1.0 - self.e**2) ** 0.5 * (1.0 - self.edge_width) / 10.0


def _elliptical_cone(r_0: jax.Array, e: jax.Array, dtype: Any) -> jax.Array:
    """Return the solid angle (sr) of an ellipse of major semi-axis r_0 (rad)."""
    sin_a, sin_b = jnp.sin(r_0), jnp.sin(r_0 * jnp.sqrt(1.0 - e**2))
    # the trapezoid rule converges geometrically for a periodic integrand
    angles = (np.arange(_N_AZIMUTH) + 0.5) * math.pi / _N_AZIMUTH
    cos_squared = jnp.asarray(np.cos(angles) ** 2, dtype).reshape((1,) * sin_a.ndim + (-1,))
    square = (sin_a**2 - sin_b**2)[..., None] * cos_squared + (sin_b**2)[..., None]
    mean = jnp.mean(1.0 / (1.0 + jnp.sqrt(1.0 - square)), axis=-1)
    return 2.0 * math.pi * sin_a * sin_b * mean


@pytree
class ShellSpatialModel(ExtendedSpatialModel):
    r"""Uniformly emitting shell of finite thickness, seen in projection.

    .. math:: \phi = \frac{3}{2 \pi (R^3 - r^3)} \left[ \sqrt{R^2 - \theta^2} -
              \sqrt{r^2 - \theta^2} \right], \qquad R = r + w

    where the root of a negative number counts as zero. Angles must be small.

    Parameters
    ----------
    lon_0, lat_0
        Centre, deg.
    radius
        :math:`r`, the inner radius, deg.
    width
        :math:`w`, the thickness, deg.
    frame
        ``"icrs"`` or ``"galactic"``.
    """

    lon_0: Any = parameter("deg", 0.0)
    lat_0: Any = parameter("deg", 0.0, at_least=-90, at_most=90)
    radius: Any = parameter("deg", 1.0, at_least=0)
    width: Any = parameter("deg", 0.2, above=0)
    frame: str = static_field(default="icrs")

    tag = ("ShellSpatialModel", "shell")

    def evaluate(self, lon: Any, lat: Any) -> jax.Array:
        """Evaluate the model.

        Parameters
        ----------
        lon, lat
            Points in the model's frame, deg, of shapes that broadcast.

        Returns
        -------
        array
            Surface brightness, sr-1. Its derivative diverges towards the two edges from inside; on
            an edge the outside derivative is used.
        """
        radius, width = promote(self.radius, self.width)
        inner, outer = jnp.deg2rad(radius), jnp.deg2rad(radius + width)
        theta = separation(lon, lat, self.lon_0, self.lat_0)
        depth = _safe_sqrt(outer**2 - theta**2) - _safe_sqrt(inner**2 - theta**2)
        return 1.5 * depth / (jnp.pi * (outer**3 - inner**3))

    @property
    def evaluation_radius(self) -> Any:
        """The outer radius, deg."""
        return self.radius + self.width

    @property
    def scale(self) -> Any:
        """The thickness, deg."""
        return self.width


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """Return the root of the positive part, with gradient zero where there is none."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


@pytree
class ConstantSpatialModel(ExtendedSpatialModel):
    r"""Uniform surface brightness.

    .. math:: \phi = v

    Parameters
    ----------
    value
        :math:`v`, sr-1.
    frame
        ``"icrs"`` or ``"galactic"``; has no effect.
    """

    value: Any = parameter("sr-1", 1.0, frozen=True)
    frame: str = static_field(default="icrs")

    tag = ("ConstantSpatialModel", "const")

    def evaluate(self, lon: Any, lat: Any) -> jax.Array:
        """Evaluate the model.

        Parameters
        ----------
        lon, lat
            Points, deg, of shapes that broadcast.

        Returns
        -------
        array
            Surface brightness, sr-1.
        """
        lon, lat, value = promote(lon, lat, self.value)
        return value * jnp.ones_like(lon + lat)
