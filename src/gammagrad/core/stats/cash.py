"""The Cash statistic of Poisson counts and the sums that one norm needs.

One bin holds counts `n`, background `b` and model counts `m` at norm 1. With the *ratio*
``r = b / m``, minus which is the norm where the bin's prediction vanishes, the part of the Cash
statistic that depends on the norm ``x`` is ``2 [x m - n log(x + r)]``: everything below follows
from this one term.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from gammagrad._arrays import common_float, takes_arrays
from gammagrad.core.stats.logarithm import log, log1p, log1p_inside

Tangent = Array | SymbolicZero

#: Least predicted number of counts in a logarithm, in counts per bin.
BACKGROUND_FLOOR = 1e-25


@takes_arrays
def cash(counts: ArrayLike, npred: ArrayLike, floor: float = BACKGROUND_FLOOR) -> Array:
    """Cash statistic of each bin, ``2 (mu - n log mu)``.

    Parameters
    ----------
    counts
        Observed counts `n`, any shape.
    npred
        Predicted counts `mu`, of the same shape.
    floor
        Least `mu` in the logarithm, in counts.

    Returns
    -------
    Array
        The statistic, of the same shape. A bin without counts gives ``2 mu``.

    References
    ----------
    Cash (1979), ApJ 228, 939, equation 5.

    Examples
    --------
    >>> float(cash(0.0, 1.5))
    3.0
    """
    n, mu = common_float(counts, npred)
    return 2 * (mu - n * log(jnp.maximum(mu, floor)))


@takes_arrays
def cash_sum(counts: ArrayLike, npred: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Sum of the Cash statistic over all bins.

    Parameters
    ----------
    counts
        Observed counts, any shape.
    npred
        Predicted counts, of the same shape.
    weights
        Weight of each bin, of the same shape; a mask is 0 and 1. None counts every bin once.

    Returns
    -------
    Array
        The sum, a scalar. Bins of weight zero do not enter, whatever they hold.

    References
    ----------
    Cash (1979), ApJ 228, 939, equation 5.
    """
    if weights is None:
        return cash(counts, npred).sum()
    w = jnp.asarray(weights)
    used = w > 0
    value = cash(jnp.where(used, counts, 0), jnp.where(used, npred, 0))
    return (w.astype(value.dtype) * value).sum()


def bin_ratio(background: Array, model: Array, floor: float = BACKGROUND_FLOOR) -> Array:
    """Return ``b / m``, minus which is the norm at which a bin predicts nothing."""
    seen = model > 0
    safe = jnp.where(seen, model, jnp.ones_like(model))
    return jnp.where(seen, jnp.maximum(background, floor) / safe, jnp.inf)


def log_term(norm: Array, counts: Array, ratio: Array) -> Array:
    """Norm-dependent logarithm of the Cash statistic of a bin, ``n log(x + r)``."""
    return counts * jnp.log(norm + ratio)


def ts_term(norm: Array, counts: Array, ratio: Array) -> Array:
    """Gain of one bin's log-likelihood over norm 0, ``n log(1 + x / r)``, without cancellation."""
    # Stewart (2009), A&A 495, 989, appendix A.
    live = jnp.isfinite(ratio) & (norm > -ratio)
    safe_ratio = jnp.where(live, ratio, jnp.ones_like(ratio))
    safe_norm = jnp.where(live, norm, jnp.zeros_like(ratio))
    return counts * _log_gain(safe_norm, safe_ratio)


@jax.custom_jvp
def _log_gain(norm: Array, ratio: Array) -> Array:
    """Return ``log(1 + x / r)`` for ``x > -r``."""
    step = norm / ratio
    # one ulp inside the bound: log1p(-1) is minus infinity
    return log1p(jnp.maximum(step, -1 + jnp.finfo(step.dtype).eps))


@_log_gain.defjvp
def _log_gain_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Differentiate without the square of a ratio, which may underflow."""
    (norm, ratio), (d_norm, d_ratio) = primals, tangents
    total = norm + ratio
    slope = d_norm / total - d_ratio * (norm / total) / ratio
    return _log_gain(norm, ratio), slope


class ScoreSums(NamedTuple):
    """First two derivatives of the summed logarithm: ``S1`` and ``S2`` of the documentation."""

    s1: Array
    s2: Array


def score_terms(norm: Array, counts: Array, ratio: Array) -> ScoreSums:
    """One bin's share of the sums that locate the best norm, by `jax.grad` of the Cash term."""
    _, slope, curvature = _orders(log_term, 2)(*jnp.broadcast_arrays(norm, counts, ratio))
    return ScoreSums(slope, -curvature)


def _orders(function: Callable[..., Array], number: int) -> Callable[..., tuple[Array, ...]]:
    """Return a function of numbers with its first derivatives by the first of them."""
    # Of the sum, which has each number's derivative in its place: `jax.vmap` of `jax.grad` takes
    # five times as long to trace.
    if number == 0:
        return lambda *bins: (function(*bins),)
    fewer = _orders(function, number - 1)

    def orders(first: Array, *others: Array) -> tuple[Array, ...]:
        def last(x: Array) -> tuple[Array, tuple[Array, ...]]:
            values = fewer(x, *others)
            return values[-1].sum(), values

        slope, values = jax.grad(last, has_aux=True)(first)
        return (*values, slope)

    return orders


class GainSums(NamedTuple):
    """Summed gain over norm 0 and three derivatives of it, with the signs and factors taken off."""

    gain: Array  # ``sum n log(1 + x g)`` with the contrast ``g = m / b``
    # s1, s2, s3: ``sum n q``, ``sum n q^2`` and ``sum n q^3`` with ``q = g / (1 + x g) = 1 / (x +
    # r)``
    s1: Array
    s2: Array
    s3: Array


@jax.custom_jvp
def _contrast_from(norm: Array, contrast: Array) -> Array:
    """Return the contrast seen from a norm, ``q = g / (1 + x g)``."""
    return contrast / (1 + norm * contrast)


@partial(_contrast_from.defjvp, symbolic_zeros=True)
def _contrast_from_jvp(
    primals: tuple[Array, Array], tangents: tuple[Tangent, Tangent]
) -> tuple[Array, Array]:
    """Differentiate by products: each derivative is one more of them."""
    norm, contrast = primals
    q = _contrast_from(norm, contrast)
    inverse = 1 - norm * q
    return q, _change(tangents, (-(q * q), inverse * inverse))


@jax.custom_jvp
def _log_contrast(norm: Array, contrast: Array) -> Array:
    """Return ``log(1 + x g)`` for ``x g > -1``."""
    return log1p_inside(norm * contrast)


@partial(_log_contrast.defjvp, symbolic_zeros=True)
def _log_contrast_jvp(
    primals: tuple[Array, Array], tangents: tuple[Tangent, Tangent]
) -> tuple[Array, Array]:
    """Differentiate with the one division that higher derivatives share."""
    norm, contrast = primals
    q = _contrast_from(norm, contrast)
    return _log_contrast(norm, contrast), _change(tangents, (q, norm * (1 - norm * q)))


def _change(tangents: tuple[Tangent, ...], slopes: tuple[Array, ...]) -> Array:
    """Add up changes, without the products with zero that compilers would keep."""
    pairs = zip(tangents, slopes, strict=True)
    parts = [t * s for t, s in pairs if not isinstance(t, SymbolicZero)]
    return sum(parts[1:], parts[0]) if parts else jnp.zeros_like(slopes[0])


def _gain(norm: Array, counts: Array, contrast: Array) -> Array:
    """Return the gain of one bin over norm 0, ``n log(1 + x g)``."""
    return counts * _log_contrast(norm, contrast)


def contrast_scores(norm: Array, counts: Array, contrast: Array) -> ScoreSums:
    """Return what `score_terms` does, from a bin's contrast instead of its ratio."""
    _, slope, curvature = _orders(_gain, 2)(*jnp.broadcast_arrays(norm, counts, contrast))
    return ScoreSums(slope, -curvature)


def gain_terms(norm: Array, counts: Array, contrast: Array) -> GainSums:
    """Return one bin's share of the gain and its derivatives, by `jax.grad` of the Cash term."""
    bins = jnp.broadcast_arrays(norm, counts, contrast)
    gain, first, second, third = _orders(_gain, 3)(*bins)
    return GainSums(gain, first, -second, third / 2)
