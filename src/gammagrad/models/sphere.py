"""Angles on the sphere, accurate from zero to 180 degrees and with finite gradients everywhere."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gammagrad.models.base import promote


def offsets(lon: Any, lat: Any, lon_0: Any, lat_0: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the direction of points in the frame of a centre."""
    lon, lat, lon_0, lat_0 = promote(lon, lat, lon_0, lat_0)
    delta_lon, delta_lat = jnp.deg2rad(lon - lon_0), jnp.deg2rad(lat - lat_0)
    cos_lat, lat_0 = jnp.cos(jnp.deg2rad(lat)), jnp.deg2rad(lat_0)
    bend = 2.0 * jnp.sin(0.5 * delta_lon) ** 2
    east = cos_lat * jnp.sin(delta_lon)
    north = jnp.sin(delta_lat) + cos_lat * jnp.sin(lat_0) * bend
    radial = jnp.cos(delta_lat) - cos_lat * jnp.cos(lat_0) * bend
    return east, north, radial


def haversine(lon: Any, lat: Any, lon_0: Any, lat_0: Any) -> jax.Array:
    r"""Return :math:`\sin^2 (\theta / 2) = (1 - \cos \theta) / 2` of the separation."""
    # Sinnott (1984), Sky and Telescope 68, 159.
    lon, lat, lon_0, lat_0 = promote(lon, lat, lon_0, lat_0)
    cosines = jnp.cos(jnp.deg2rad(lat)) * jnp.cos(jnp.deg2rad(lat_0))
    half_lon, half_lat = jnp.deg2rad(0.5 * (lon - lon_0)), jnp.deg2rad(0.5 * (lat - lat_0))
    return jnp.sin(half_lat) ** 2 + cosines * jnp.sin(half_lon) ** 2


def separation(lon: Any, lat: Any, lon_0: Any, lat_0: Any) -> jax.Array:
    """Return the angular separation."""
    # Vincenty (1975), Survey Review 23, 88 (on the sphere).
    east, north, radial = offsets(lon, lat, lon_0, lat_0)
    square = east**2 + north**2
    apart = square > 0
    sine = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
    return jnp.arctan2(sine, radial)
