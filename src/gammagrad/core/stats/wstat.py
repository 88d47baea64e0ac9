"""The W statistic: ON and OFF counts, the background of every bin fitted on the way.

A bin holds `n` ON and `k` OFF counts, the acceptance ratio ``alpha`` and a signal `s` that is known
or under test. For each signal the background `b` (in the ON region) that fits best has a closed
form; with ``mu = s + b`` the derivative of the statistic is ``2 (1 - n / mu)``. The limit of alpha
to 0 without OFF counts is the Cash statistic of a known background, which is part of `s`: below,
``alpha = 0`` stands for such a bin.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from gammagrad._arrays import common_float, takes_arrays
from gammagrad.core.stats.cash import BACKGROUND_FLOOR
from gammagrad.core.stats.lima import near_and_far
from gammagrad.core.stats.logarithm import log, log1p


class OnOffFit(NamedTuple):
    """The background of a bin that fits best to a signal."""

    excess: Array  # ``1 - n / mu``, half the derivative of the statistic in the signal
    background: Array  # expected background in the ON region
    predicted: Array  # expected counts in the ON region, ``mu``


class _Roots(NamedTuple):
    """What the closed form is made of."""

    share: Array  # ``c = alpha / (1 + alpha)``
    difference: Array  # ``d = c (n - k) - s``
    root: Array  # ``sqrt(d^2 + 4 c^2 n k)``


def _roots(signal: Array, n: Array, k: Array, alpha: Array) -> _Roots:
    share = alpha / (1 + alpha)
    difference = share * (n - k) - signal
    both = 2 * share * (jnp.sqrt(n) * jnp.sqrt(k))
    return _Roots(share, difference, _length(difference, both))


def _length(x: Array, y: Array) -> Array:
    """Return ``sqrt(x^2 + y^2)``, whose squares neither overflow nor vanish."""
    x, y = jnp.abs(x), jnp.abs(y)
    large, small = jnp.maximum(x, y), jnp.minimum(x, y)
    ratio = small / jnp.where(large > 0, large, jnp.ones_like(large))
    return large * jnp.sqrt(1 + ratio * ratio)


def _over(top: Array, bottom: Array) -> Array:
    """Divide, or return 0 where the divisor is 0."""
    used = bottom != 0
    return jnp.where(used, top, 0) / jnp.where(used, bottom, jnp.ones_like(bottom))


@jax.custom_jvp
def on_off_fit(signal: Array, n: Array, k: Array, alpha: Array) -> OnOffFit:
    """Fit the background of each bin to a signal."""
    share, _, root = _roots(signal, n, k, alpha)
    above, size = signal >= 0, jnp.abs(signal)
    near, far = share * n, share * k
    # the larger of signal and background, and the other one, each without cancellation
    large = 0.5 * ((near + far) + size + root)
    rest = (near + far) - size
    other = jnp.where(above, far, near)
    small = jnp.where(rest >= 0, 0.5 * (rest + root), _over(2 * other * size, root - rest))
    predicted, background = jnp.where(above, large, small), jnp.where(above, small, large)
    # a known background ends at its floor, below which counts pull without limit
    known = alpha <= 0
    predicted = jnp.where(known, jnp.maximum(signal, BACKGROUND_FLOOR), predicted)
    background = jnp.where(known, 0, background)
    # ``mu - n`` likewise
    turn = 2 * n - signal - (near + far)
    miss = (n - signal) / (1 + alpha) - far
    over = jnp.where(
        known,
        predicted - n,
        jnp.where(turn < 0, 0.5 * (root - turn), _over(-2 * n * miss, turn + root)),
    )
    # without ON counts and ON prediction only the OFF counts tell: ``k / b - 1 / alpha``
    empty = (n <= 0) & (predicted <= 0) & (signal < 0)
    of_off = _over(k, background) - _over(jnp.ones_like(alpha), alpha)
    excess = jnp.where(n > 0, _over(over, predicted), jnp.where(empty, of_off, 1))
    return OnOffFit(excess, background, predicted)


@on_off_fit.defjvp
def _on_off_fit_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[OnOffFit, OnOffFit]:
    """Differentiate ``n / mu + k / b = 1 + 1 / alpha`` with ``mu = s + b``."""
    (_, n, k, alpha), (ds, dn, dk, da) = primals, tangents
    excess, b, mu = fit = on_off_fit(*primals)
    share = 1 - excess
    inverse = _over(jnp.ones_like(alpha), alpha)
    of_off = inverse + excess  # k / b
    d_inverse = -(inverse * inverse) * da
    total = n * b * b + k * mu * mu
    inside = total > 0
    beyond = ~inside & (mu > 0)  # no OFF counts, and the signal leaves no background
    below = ~inside & (b > 0) & (mu <= 0)  # the same with ON counts

    def chosen(general: Array, without_off: Array, without_on: Array) -> Array:
        value = _over(general, jnp.where(inside, total, 0))
        value = jnp.where(beyond, without_off, value)
        return jnp.where(below, without_on, value)

    one, zero = jnp.ones_like(b), jnp.zeros_like(b)
    per_mu, per_b = _over(one, mu), _over(one, b)
    slope = (
        chosen(k * mu, per_mu, of_off * per_b * _over(one, share)) * dn
        - chosen(n * b, share * per_mu * _over(one, of_off), per_b) * dk
        - chosen(n * k, share * per_mu, of_off * per_b) * ds
        + chosen(n * b * b, zero, one) * d_inverse
    )
    d_b = (
        chosen(mu * b * b, zero, _over(one, share)) * dn
        + chosen(mu * mu * b, _over(one, of_off), zero) * dk
        - chosen(n * b * b, zero, one) * ds
        - chosen((mu * b) ** 2, zero, zero) * d_inverse
    )
    return fit, OnOffFit(-slope, d_b, d_b + ds)


@jax.custom_jvp
def w_terms(signal: Array, n: Array, k: Array, alpha: Array) -> Array:
    """Return the statistic of bins inside the domain, the known background's included."""
    excess, background, predicted = on_off_fit(signal, n, k, alpha)
    inverse = _over(jnp.ones_like(alpha), alpha)
    on = _deviance(n, predicted, -excess * predicted)
    return on + _deviance(k, background * inverse, background * excess)


def _deviance(n: Array, mu: Array, d: Array) -> Array:
    """Return ``2 (n log(n / mu) - d)`` with ``d = n - mu``, which the caller knows better."""
    used = mu > 0
    safe = jnp.where(used, mu, jnp.ones_like(mu))
    near, close, far = near_and_far(n, safe, d)
    return jnp.where(used, jnp.where(near, close * d * d, far), 0)


@w_terms.defjvp
def _wstat_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    """Differentiate at the fitted background, where its own derivative vanishes."""
    (signal, n, k, alpha), (ds, dn, dk, da) = primals, tangents
    excess, background, _ = on_off_fit(signal, n, k, alpha)
    # ``n log n`` is flat at 0, where its slope is infinite
    on = jnp.where(n > 0, log1p(jnp.where(n > 0, -excess, 0)), -1)
    off = jnp.where(k > 0, log1p(jnp.where(k > 0, alpha * excess, 0)), -1)
    slope = excess * ds + on * dn + off * dk + _over(background * excess, alpha) * da
    return w_terms(*primals), 2 * slope


@jax.custom_jvp
def on_off_gain(first: Array, second: Array, n: Array, k: Array, alpha: Array) -> Array:
    """Gain of a bin's log-likelihood from one signal to another, without cancellation."""
    _, d0, root0 = _roots(first, n, k, alpha)
    _, d1, root1 = _roots(second, n, k, alpha)
    _, b0, mu0 = on_off_fit(first, n, k, alpha)
    step = second - first
    turned = _over(d0 + d1, root0 + root1)
    d_mu, d_b = 0.5 * step * (1 - turned), -0.5 * step * (1 + turned)
    on = jnp.where(n > 0, n * _log_ratio(d_mu, mu0), 0) - d_mu
    off = jnp.where(k > 0, k * _log_ratio(d_b, b0), 0) - _over(d_b, alpha)
    # a known background: counts meet no prediction
    return jnp.where((alpha <= 0) & (n > 0) & (second <= 0), -jnp.inf, on + off)


def _log_ratio(step: Array, start: Array) -> Array:
    """Return ``log(1 + step / start)`` for positive numbers."""
    safe = jnp.maximum(start, BACKGROUND_FLOOR)
    return log1p(jnp.maximum(step / safe, -1 + jnp.finfo(step.dtype).eps))


@on_off_gain.defjvp
def _on_off_gain_jvp(
    primals: tuple[Array, Array, Array, Array, Array],
    tangents: tuple[Array, Array, Array, Array, Array],
) -> tuple[Array, Array]:
    """Differentiate at the two fitted backgrounds."""
    (first, second, n, k, alpha), (d_first, d_second, dn, dk, da) = primals, tangents
    excess0, b0, mu0 = on_off_fit(first, n, k, alpha)
    excess1, b1, mu1 = on_off_fit(second, n, k, alpha)

    def ratio(one: Array, other: Array) -> Array:
        return log(jnp.maximum(other, BACKGROUND_FLOOR)) - log(jnp.maximum(one, BACKGROUND_FLOOR))

    slope = excess0 * d_first - excess1 * d_second + ratio(mu0, mu1) * dn + ratio(b0, b1) * dk
    return on_off_gain(*primals), slope - _over(b1 * excess1 - b0 * excess0, alpha) * da


class OnOffScores(NamedTuple):
    """What the solvers of a norm need of a bin."""

    ratio: Array  # ``n / mu``: the statistic's derivative in the signal is ``2 (1 - n / mu)``
    bend: Array  # minus its derivative in the signal, at least 0


def on_off_scores(signal: Array, n: Array, k: Array, share: Array) -> OnOffScores:
    """Return the scores of bins, by one root and one division; `share` is that of alpha."""
    # Exchanging ON and OFF mirrors the signal: ``n / mu`` of the one is ``1 / c - k / b`` of the
    # other, so that only positive signals need a formula.
    above, size = (signal >= 0) | (share <= 0), jnp.abs(signal)
    near, far = share * n, share * k
    first = jnp.where(above, n, k)
    d = jnp.where(above, near - far, far - near) - size
    root = jnp.maximum(jnp.sqrt(d * d + 4 * near * far), jnp.sqrt(jnp.finfo(d.dtype).tiny))
    total = (near + far) + size + root
    inverse = 1 / (root * total)
    ratio = 2 * first * root * inverse
    bend = ratio * (root - d) * inverse
    per_share = 1 / jnp.maximum(share, jnp.finfo(d.dtype).tiny)
    return OnOffScores(jnp.where(above, ratio, per_share - ratio), bend)


@takes_arrays
def wstat(n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike) -> Array:
    """W statistic of each bin: ON and OFF counts, a signal, and the background that fits best.

    ``2 (mu_on - n_on log mu_on + mu_off - n_off log mu_off)`` with ``mu_on = mu_sig + alpha
    mu_off``, smallest over `mu_off`, less the same of predictions that equal the counts.

    Parameters
    ----------
    n_on
        Counts in the ON region, at least 0; whole numbers or not, any shape.
    n_off
        Counts in the OFF region, at least 0; of the same shape (or a scalar).
    alpha
        Acceptance of the ON region over that of the OFF region, above 0; same shape or a scalar.
    mu_sig
        Expected signal counts in the ON region, same shape or a scalar. Negative values are allowed
        without limit: the background then is at least their size.

    Returns
    -------
    Array
        The statistic, at least 0, of the same shape, accurate to rounding; NaN where an argument is
        out of its range or not finite.

    Notes
    -----
    It is convex in `mu_sig`. Its derivatives are finite wherever it is. Without counts in a region
    the true slope in these counts is infinite: there ``n log n`` is taken to be flat. Without any
    counts the statistic has a kink at ``mu_sig = 0``, where the slope to the right is given.

    References
    ----------
    Cash (1979), ApJ 228, 939, equation 5, for two Poisson numbers; its minimum over the background,
    which Li and Ma (1983), ApJ 272, 317, equation 17, have for ``mu_sig = 0``.

    Examples
    --------
    >>> print(f"{wstat(n_on=30.0, n_off=40.0, alpha=0.25, mu_sig=0.0):.2f}")
    18.81
    >>> float(wstat(n_on=30.0, n_off=40.0, alpha=0.25, mu_sig=20.0))
    0.0
    """
    valid, bins = _checked(n_on, n_off, alpha, mu_sig)
    return jnp.where(valid, w_terms(*bins), jnp.nan)


@takes_arrays
def wstat_background(
    n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike
) -> Array:
    """Background of each bin that fits best to ON and OFF counts and a signal.

    Parameters
    ----------
    n_on
        Counts in the ON region, at least 0; any shape.
    n_off
        Counts in the OFF region, at least 0; of the same shape (or a scalar).
    alpha
        Acceptance of the ON region over that of the OFF region, above 0; same shape or a scalar.
    mu_sig
        Expected signal counts in the ON region, same shape or a scalar.

    Returns
    -------
    Array
        Expected counts in the OFF region, of the same shape; ``alpha`` times these is the
        background in the ON region. NaN where an argument is out of its range or not finite.

    References
    ----------
    The positive root of the quadratic equation in the background that the derivative of the W
    statistic gives, see `wstat`.

    Examples
    --------
    >>> print(f"{wstat_background(n_on=30.0, n_off=40.0, alpha=0.25, mu_sig=20.0):.2f}")
    40.00
    """
    valid, bins = _checked(n_on, n_off, alpha, mu_sig)
    return jnp.where(valid, on_off_fit(*bins).background / bins[3], jnp.nan)


def _checked(
    n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """Return which bins are inside the domain, and all with harmless numbers elsewhere."""
    n, k, a, s = jnp.broadcast_arrays(*common_float(n_on, n_off, alpha, mu_sig))
    finite = jnp.isfinite(n) & jnp.isfinite(k) & jnp.isfinite(a) & jnp.isfinite(s)
    valid = finite & (n >= 0) & (k >= 0) & (a > 0)
    one = jnp.ones_like(n)
    n, k, a, s = (jnp.where(valid, x, one) for x in (n, k, a, s))
    return valid, (s, n, k, a)
