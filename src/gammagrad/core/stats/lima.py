"""Significance of counts over a background, after Li and Ma."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gammagrad._arrays import common_float, takes_arrays
from gammagrad.core.stats.logarithm import log

# Below this relative deviation the series is used: its eight terms reach rounding there, and
# above it the closed form loses at most a factor of some ten of it.
_NEAR = 0.2
_TERMS = 8


def near_and_far(n: Array, mu: Array, d: Array) -> tuple[Array, Array, Array]:
    """Return the deviance ``2 (n log(n / mu) - d)`` with ``d = n - mu`` in two forms."""
    # `mu` must be positive and `n` must not be negative. The deviation `d` is an argument of its
    # own since the caller may know it better than the difference tells. Returned are where the two
    # nearly agree; the deviance over ``d^2``, for there; the deviance itself, for elsewhere.
    near = jnp.abs(d) < _NEAR * mu
    # u = (n - mu) / (n + mu) = tanh(log(n / mu) / 2), in which the series converges fast
    u = d / (n + mu)
    square = u * u
    series = jnp.zeros_like(u)
    for k in range(_TERMS, 0, -1):
        series = series * square + 1 / (2 * k + 1)
    # (1 + u) / (1 - u) = n / mu turns the closed form into this, by log(n / mu) = 2 artanh u
    close = (1 - u) * (1 + u * (1 + u) * series) / mu

    ratio = jnp.where(n > 0, n, mu) / mu
    far = 2 * (n * log(jnp.maximum(ratio, jnp.finfo(ratio.dtype).tiny)) - d)
    return near, close, far


def _deviance_per_square(n: Array, mu: Array, d: Array) -> Array:
    """Return ``2 (n log(n / mu) - d) / d^2``, smooth where ``d`` is zero."""
    near, close, far = near_and_far(n, mu, d)
    safe_d = jnp.where(near, jnp.ones_like(d), d)
    # two divisions: the square of a tiny deviation would underflow
    return jnp.where(near, close, far / safe_d / safe_d)


@takes_arrays
def lima_significance_known_background(n_on: ArrayLike, mu_bkg: ArrayLike) -> Array:
    """Significance of counts over a background that is known without error.

    ``sign(n - mu) sqrt(2 (n log(n / mu) - n + mu))``: the signed root of the Poisson likelihood
    ratio, and the limit of `lima_significance` for a background region that grows without bound.

    Parameters
    ----------
    n_on
        Counts `n`, at least 0; whole numbers or not, any shape.
    mu_bkg
        Expected background counts `mu`, at least 0, of the same shape (or either a scalar).

    Returns
    -------
    Array
        The significance in standard deviations, accurate to rounding also where counts and
        background nearly agree; zero where they do, ``-sqrt(2 mu)`` without counts, infinite for
        counts on no background, NaN where an argument is negative or NaN.

    Notes
    -----
    Its derivatives are finite wherever it is. At ``n = mu`` they are ``1 / sqrt(mu)`` for `n` and
    the opposite for `mu`. At ``n = 0`` the true slope in `n` is infinite: there ``n log n`` is
    taken to be flat, which leaves ``1 / sqrt(2 mu)``; the slope in `mu` is exact.

    References
    ----------
    Li and Ma (1983), ApJ 272, 317, equation 17, in the limit of alpha to 0 at constant
    ``mu = alpha n_off``.

    Examples
    --------
    >>> print(f"{lima_significance_known_background(30.0, 10.0):.4f}")
    5.0908
    """
    n, mu = common_float(n_on, mu_bkg)
    valid = (n >= 0) & (mu >= 0)
    n, mu = (jnp.where(valid, x, jnp.ones_like(x)) for x in (n, mu))
    return jnp.where(valid, lima_of_sums(n, mu), jnp.nan)


def lima_of_sums(n: Array, mu: Array) -> Array:
    """Return `lima_significance_known_background` of numbers that are known to be at least 0."""
    usable = mu > 0
    safe_mu = jnp.where(usable, mu, jnp.ones_like(mu))
    d = n - safe_mu
    near, close, far = near_and_far(n, safe_mu, d)
    root = jnp.sqrt(jnp.where(near, close, far))
    value = root * jnp.where(near, d, jnp.sign(d))
    return jnp.where(usable, value, jnp.where(n > 0, jnp.inf, jnp.zeros_like(value)))


@takes_arrays
def lima_significance(n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike) -> Array:
    """Significance of counts in an ON region, the background measured in an OFF region.

    Parameters
    ----------
    n_on
        Counts in the ON region, at least 0; any shape.
    n_off
        Counts in the OFF region, at least 0; of the same shape (or a scalar).
    alpha
        Exposure of the ON region over that of the OFF region, above 0; same shape or a scalar.

    Returns
    -------
    Array
        The significance in standard deviations with the sign of ``n_on - alpha n_off``, accurate
        to rounding also where the two nearly agree; zero where they do and where there are no
        counts at all, NaN where an argument is out of range or NaN.

    Notes
    -----
    Its derivatives are finite. Where a region has no counts the true slope in that region's
    counts is infinite: there ``n log n`` is taken to be flat.

    References
    ----------
    Li and Ma (1983), ApJ 272, 317, equation 17.

    Examples
    --------
    >>> print(f"{lima_significance(30.0, 40.0, 0.25):.4f}")
    4.3371
    """
    on, off, a = common_float(n_on, n_off, alpha)
    valid = (on >= 0) & (off >= 0) & (a > 0)
    counted = valid & (on + off > 0)
    one = jnp.ones_like(on + off + a)
    on, off, a = (jnp.where(counted, x, one) for x in (on, off, a))
    # counts expected in both regions if there is no source; they differ by -d and d from those
    # observed, so that the linear terms of the two deviances cancel exactly
    mu_on, mu_off = a * (on + off) / (1 + a), (on + off) / (1 + a)
    d = (on - a * off) / (1 + a)
    square = _deviance_per_square(on, mu_on, d) + _deviance_per_square(off, mu_off, -d)
    value = d * jnp.sqrt(square)
    return jnp.where(counted, value, jnp.where(valid, jnp.zeros_like(value), jnp.nan))
