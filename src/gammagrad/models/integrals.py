"""Integrals over energy: closed forms that stay exact through index 1, and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad.models.base import promote

# the series of sinh(h) / h in h^2, exact to 1e-17 for |h| < 1
_SINHC = tuple(1 / math.factorial(2 * k + 1) for k in range(9))
_N_NODES = 40


def exp_mean(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the mean of an exponential over an interval, from the exponents at its ends."""
    # \int_0^1 e^{a + (b - a) s} ds = \frac{e^b - e^a}{b - a} = e^{(a + b) / 2} \frac{\sinh h}{h},
    # \qquad h = (b - a) / 2
    middle, half = 0.5 * (a + b), 0.5 * (b - a)
    small = jnp.abs(half) < 1.0
    # each branch gets a harmless argument where the other is used, or its gradient is NaN
    square = jnp.where(small, half, 0.0) ** 2
    series = jnp.full_like(square, _SINHC[-1])
    for coefficient in _SINHC[-2::-1]:
        series = series * square + coefficient
    width = jnp.where(small, 1.0, jnp.abs(half))
    far = (jnp.exp(middle + width) - jnp.exp(middle - width)) / (2.0 * width)
    return jnp.where(small, jnp.exp(middle) * series, far)


def power_law_integral(
    energy_min: jax.Array, energy_max: jax.Array, index: jax.Array, reference: jax.Array
) -> jax.Array:
    """Integrate a power law, at any index."""
    # \int_{E_1}^{E_2} (E / E_0)^{-\Gamma} dE
    x1, x2 = jnp.log(energy_min / reference), jnp.log(energy_max / reference)
    return reference * (x2 - x1) * exp_mean((1.0 - index) * x1, (1.0 - index) * x2)


def integrate_log_energy(
    function: Callable[[jax.Array], jax.Array],
    energy_min: Any,
    energy_max: Any,
    breaks: tuple[Any, ...] = (),
    like: tuple[Any, ...] = (),
) -> jax.Array:
    """Integrate a function of energy by Gauss-Legendre quadrature in log energy."""
    low, high = promote(energy_min, energy_max)
    dtype = jnp.result_type(low, high, *promote(*like))
    edges = _piece_edges(jnp.log(low), jnp.log(high), breaks)
    left, width = edges[..., :-1, None], jnp.diff(edges)[..., None]
    nodes, weights = np.polynomial.legendre.leggauss(_N_NODES)
    shape = (1,) * (left.ndim - 1) + (_N_NODES,)
    x = jnp.asarray(0.5 * (nodes + 1.0), dtype).reshape(shape)
    w = jnp.asarray(0.5 * weights, dtype).reshape(shape)
    energy = jnp.exp(left + width * x)
    return jnp.sum(w * width * energy * function(energy), axis=(-2, -1))


def _piece_edges(low: jax.Array, high: jax.Array, breaks: tuple[Any, ...]) -> jax.Array:
    """Return the bounds with the breaks that lie between them, shape (..., n breaks + 2)."""
    if not breaks:
        return jnp.stack([low, high], axis=-1)
    ordered = jnp.sort(jax.lax.stop_gradient(jnp.stack(promote(*breaks))), axis=0)
    return jnp.stack([low, *(jnp.clip(split, low, high) for split in ordered), high], axis=-1)


def interpolate_linear(x: jax.Array, nodes: jax.Array, values: jax.Array) -> jax.Array:
    """Interpolate linearly; the first and last pieces continue outside the nodes."""
    left = jnp.clip(jnp.searchsorted(nodes, x, side="right") - 1, 0, nodes.shape[0] - 2)
    slope = jnp.diff(values) / jnp.diff(nodes)
    return values[left] + slope[left] * (x - nodes[left])
