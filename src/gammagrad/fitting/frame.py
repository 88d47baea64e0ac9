r"""Coordinates in which a fit is well scaled and has no bounds.

Each parameter :math:`p` is a smooth function of a number :math:`u` without bounds, in steps of its
expected error :math:`s`:

.. math:: p = p_0 + s u, \qquad p = p_\mathrm{min} + s (\sqrt{1 + u^2} - 1), \qquad
          p = p_\mathrm{min} + \frac{p_\mathrm{max} - p_\mathrm{min}}{2}
          \left( 1 + \sin \frac{2 s u}{p_\mathrm{max} - p_\mathrm{min}} \right)

without, with one and with two bounds. These numbers in turn are :math:`u = u_0 + W z` with
:math:`W W^T` the inverse of the expected curvature of the statistic at the start, so that in
:math:`z` it is close to a round bowl.

References
----------
James and Roos (1975), Comput. Phys. Commun. 10, 343, section 4, for the sine.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from gammagrad._pytree import pytree

Floats = NDArray[np.float64]

# Least eigenvalue of the correlations of the expected curvature.
_FLOOR = 1e-9
# A parameter starts this far within its bounds, in expected errors.
_INSIDE = 0.1


@pytree
class Frame:
    """Coordinates of a fit; see the module."""

    origin: Any  # values of the parameters at the origin, shape (n,)
    scale: Any  # expected errors, shape (n,)
    # lower, upper: bounds, infinite where there is none, shape (n,)
    lower: Any
    upper: Any
    centre: Any  # the numbers u at the origin, shape (n,)
    matrix: Any  # from the coordinates to these numbers, shape (n, n)

    def to_parameters(self, z: Array) -> Array:
        """Return the values of the parameters."""
        u = jnp.asarray(self.centre) + jnp.dot(self.matrix, z, precision=lax.Precision.HIGHEST)
        s, has_low, has_high = self.scale, jnp.isfinite(self.lower), jnp.isfinite(self.upper)
        low = jnp.where(has_low, self.lower, self.origin)
        high = jnp.where(has_high, self.upper, low + s)
        root = s * (jnp.sqrt(1.0 + u**2) - 1.0)
        half = 0.5 * (high - low)
        between = low + half * (1.0 + jnp.sin(s * u / half))
        one = jnp.where(has_low, low + root, high - root)
        free = self.origin + s * u
        return jnp.where(has_low & has_high, between, jnp.where(has_low | has_high, one, free))


def error_scales(values: Floats, information: Floats) -> Floats:
    """Return the error of each parameter, were all others known."""
    diagonal = np.diag(information)
    known = np.isfinite(diagonal) & (diagonal > 0)
    fallback = 0.1 * np.where(values != 0, np.abs(values), 1.0)
    return np.where(known, np.sqrt(2.0 / np.where(known, diagonal, 1.0)), fallback)


def make_frame(values: Floats, information: Floats, lower: Floats, upper: Floats) -> Frame:
    """Make the coordinates for a fit that starts somewhere."""
    scale = np.minimum(error_scales(values, information), upper - lower)
    margin = np.minimum(_INSIDE * scale, 0.25 * (upper - lower))
    origin = np.clip(values, lower + margin, upper - margin)
    centre, slope = np.zeros_like(values), scale.copy()
    for i, (low, high, s) in enumerate(zip(lower, upper, scale, strict=True)):
        if np.isfinite(low) and np.isfinite(high):
            half = 0.5 * (high - low)
            angle = np.arcsin(np.clip((origin[i] - low) / half - 1.0, -1.0, 1.0))
            centre[i], slope[i] = angle * half / s, s * np.cos(angle)
        elif np.isfinite(low) or np.isfinite(high):
            away = 1.0 + (origin[i] - low if np.isfinite(low) else high - origin[i]) / s
            centre[i] = np.sqrt(away**2 - 1.0)
            slope[i] = (s if np.isfinite(low) else -s) * centre[i] / away
    matrix = _whitening(information * slope[:, None] * slope[None, :])
    return Frame(origin, scale, lower, upper, centre, matrix)


def plain_frame(n: int) -> Frame:
    """Return the coordinates that are the parameters themselves."""
    none = np.full(n, np.inf)
    return Frame(np.zeros(n), np.ones(n), -none, none, np.zeros(n), np.eye(n))


def _whitening(information: Floats) -> Floats:
    """Return W with W W^T the inverse of a matrix, as far as it has one."""
    diagonal = np.diag(information)
    known = np.isfinite(diagonal) & (diagonal > 0)
    step = np.where(known, 1.0 / np.sqrt(np.where(known, diagonal, 1.0)), 1.0)
    correlation = np.where(known[:, None] & known[None, :], information, 0.0)
    correlation = correlation * step[:, None] * step[None, :]
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    return step[:, None] * vectors / np.sqrt(np.maximum(values, _FLOOR))[None, :]
