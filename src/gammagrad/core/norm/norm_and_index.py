"""Fit of norm and index of one pixel, as a function on arrays that gradients pass through."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._arrays import check_counts, takes_arrays
from gammagrad._programs import compiled, is_traced
from gammagrad._pytree import replace
from gammagrad.core.norm.fit import floating
from gammagrad.core.norm.fixed_bins import fit_bins
from gammagrad.core.norm.options import FitOptions, make_options
from gammagrad.core.norm.result import NormFit
from gammagrad.core.norm.solve import Status
from gammagrad.core.norm.two_numbers import (
    LEAST_GAIN,
    Pair,
    PairSums,
    best_of,
    climbed,
    covariance,
    curvature,
    log_total,
    pair_terms,
    polynomial,
    started,
)
from gammagrad.core.stats import BACKGROUND_FLOOR, ScoreSums
from gammagrad.errors import InputError, short

_TRIED = 6
"""Indices that are tried first, the fixed one aside."""

_SWEEPS, _STEP = 40, 1e-7
_STEP_SINGLE = 1e-3


class _Held(NamedTuple):
    """One pixel's bins at a fixed index."""

    counts: Array
    contrast: Array  # over the sum of the model

    def scores(self, norm: Array) -> ScoreSums:
        """Return the two sums that a fit of the counts needs."""
        q = self.contrast / (1 + norm * self.contrast)
        return ScoreSums((self.counts * q).sum(), (self.counts * q * q).sum())

    def gain(self, norm: Array) -> Array:
        """Return ``sum n log(1 + s h)``."""
        return (self.counts * jnp.log1p(norm * self.contrast)).sum()


class _Bins(NamedTuple):
    """One pixel's bins, see `gammagrad.core.norm.two_numbers.Family`."""

    counts: Array
    contrast: Array  # model with the fixed index over background
    model: Array  # with the fixed index
    powers: Array  # polynomials of the logarithm of the model, shape (powers, bins)

    def total(self, shape: Array) -> tuple[Array, Array, Array]:
        """Return the logarithm of the sum of the model, and its first two derivatives."""
        return log_total(self.model, self.powers, shape)

    def _seen(self, shape: Array) -> tuple[Array, Array, Array]:
        total, slope, bend = self.total(shape)
        value, first, second = polynomial(self.powers, shape)
        h = self.contrast * jnp.exp(jnp.clip(value - total, -80, 80))
        return h, first - slope, second - bend

    def held(self, shape: Array) -> _Held:
        """Return the bins at a shape that is kept."""
        return _Held(self.counts, self._seen(shape)[0])

    def pairs(self, counts: Array, shape: Array) -> PairSums:
        """Return all sums."""
        h, slope, bend = self._seen(shape)
        q = h / (1 + counts * h)
        terms = pair_terms(self.counts, q, counts, slope, bend)
        return PairSums(*(t.sum() for t in (*terms, jnp.zeros_like(counts))))


@takes_arrays
def fit_norm_and_index(
    counts: ArrayLike,
    background: ArrayLike,
    model: ArrayLike,
    index: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    fixed: ArrayLike = 2.0,
    n_sigma: ArrayLike = 1.0,
    rtol: ArrayLike = 0.01,
) -> NormFit:
    """Fit the norm and the spectral index of a model to one set of Poisson counts.

    Maximises the likelihood of ``counts ~ Poisson(background + norm * m(index))`` over all positive
    norms and the range of the indices, where the logarithm of ``m`` is a polynomial through the
    given models. Differentiable, forward and reverse, by the implicit function theorem. `index` may
    be any other number that a model depends on smoothly.

    Parameters
    ----------
    counts
        Observed counts, any shape. Not finite: no weight.
    background
        Expected counts of everything but the model, same shape, >= 0. Not finite: no weight.
    model
        Expected counts of the model at norm 1 for each of some indices, shape (indices, ...). Bins
        where any of them is zero are not reached by the model. Chebyshev nodes suit best; the
        counts of a power law take five to nine of them for a range of 5.
    index
        These indices, ascending, shape (indices,): two or more.
    weights
        Weight of each bin in the likelihood, shape of the counts; a mask is 0 and 1. None: all 1.
    fixed
        Index that the fit is compared with, between the lowest and the highest.
    n_sigma
        Standard deviations of the errors.
    rtol
        Last step, in units of the error, above which the status is "not converged".

    Returns
    -------
    NormFit
        Scalars; `norm`, `norm_err`, `ts` and the other fields are those of the best pair, and
        `index`, `index_err`, `norm_index_corr` and `ts_index` are set. Where no positive norm
        has a best index (status 13), or the norm is a bound, the index is NaN and the norm that of
        the fixed index.

    Raises
    ------
    ValueError
        If the shapes do not fit together, the indices do not ascend, `fixed` is not among them,
        or counts are above 2^53.

    References
    ----------
    Cash (1979), ApJ 228, 939, equation 5 and section on confidence regions.

    Examples
    --------
    A power law in four energy bins, three of its indices tabulated:

    >>> import numpy as np
    >>> energy, index = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 2.5, 4.0])
    >>> model = 100 * energy ** -index[:, None]
    >>> fit = fit_norm_and_index(2 * 100 * energy**-3.0 + 1, np.ones(4), model, index)
    >>> round(float(fit.norm), 3), round(float(fit.index), 3)
    (2.0, 3.0)
    """
    n, b, m, i = floating(jnp, counts, background, model, index)
    w = jnp.ones_like(n) if weights is None else jnp.asarray(weights).astype(n.dtype)
    shapes = {"counts": n.shape, "background": b.shape, "weights": w.shape, "model": m.shape[1:]}
    if len(set(shapes.values())) > 1 or n.size == 0:
        raise InputError(
            f"Arrays must share one shape and hold a bin or more, and the model has the indices in "
            f"front; got {shapes | {'model': m.shape}}."
        )
    if i.ndim != 1 or i.size < 2 or i.size != m.shape[0]:
        raise InputError(
            f" has shape {i.shape} and the model {m.shape}; expected two indices or more, one for "
            "each model.",
            "index",
        )
    check_counts(n, w)
    if not is_traced(i, fixed):
        _check_range(np.asarray(i), fixed)
    options = make_options(b.dtype, None, n_sigma=n_sigma, rtol=rtol)
    flat = (a.reshape(-1) for a in (n, b, w))
    return _fit(*flat, m.reshape(len(i), -1), i, jnp.asarray(fixed, b.dtype), options)


def _check_range(index: np.ndarray, fixed: ArrayLike) -> None:
    """Check that indices ascend and hold the fixed one."""
    if not np.all(np.diff(index) > 0):
        raise InputError(f" is {short(index)}; expected numbers that ascend.", "index")
    value = np.asarray(fixed)
    if value.ndim or not index[0] <= value <= index[-1]:
        raise InputError(
            f" is {short(fixed)}; expected one number from {index[0]:g} to {index[-1]:g}, the "
            "range of the indices.",
            "fixed",
        )


@compiled
def _fit(
    counts: Array,
    background: Array,
    weights: Array,
    models: Array,
    index: Array,
    fixed: Array,
    options: FitOptions,
) -> NormFit:
    """Apply the weights, fit with the fixed index and with a free one, and put them together."""
    used = (weights > 0) & jnp.isfinite(background) & jnp.isfinite(counts)
    reached = used & (models > 0).all(axis=0)
    w = jnp.where(used, weights, 0)
    n, b = (jnp.where(used, w * jnp.where(used, a, 0), 0) for a in (counts, background))
    half = (index[-1] - index[0]) / 2
    # a polynomial through the logarithms, its constant that of the fixed index
    powers = jnp.vander((index - fixed) / half, len(index), increasing=True)
    logs = jnp.log(jnp.where(reached[None], models, 1))
    found = jnp.linalg.solve(powers, logs)
    model = jnp.where(reached, w * jnp.exp(found[0]), 0)
    plain = fit_bins(n, b, model, options)
    largest = float(jnp.finfo(b.dtype).max) ** 0.3
    contrast = jnp.minimum(model / jnp.maximum(b, BACKGROUND_FLOOR), largest)
    bins = _Bins(n, contrast, model, jnp.where(reached[None], found[1:], 0))
    limits = jnp.sort(jnp.append(jnp.linspace(index[0], index[-1], _TRIED), fixed))
    free = _with_index(bins, plain, (limits - fixed) / half, fixed, half, options)
    lacking = 2 * (n * jnp.log(jnp.where(w > 0, w, 1))).sum()
    return replace(free, stat=free.stat + lacking, stat_null=free.stat_null + lacking)


def _with_index(
    bins: _Bins, plain: NormFit, tried: Array, fixed: Array, half: Array, options: FitOptions
) -> NormFit:
    """Fit both numbers, and keep the fit with the fixed index where there is no other."""
    solved, wanted = _solved(lax.stop_gradient(bins), lax.stop_gradient(tried), plain)
    at_limit = solved.low == solved.high
    s, z = _differentiable(bins, solved, at_limit)
    sums, (log_sum, slope, _) = bins.pairs(s, z), bins.total(z)
    variance, var_z, cov, fine = covariance(sums, s, slope)
    base = jnp.abs(plain.ts)
    gained = 2 * (bins.held(z).gain(s) - s)
    code = jnp.asarray(plain.status)
    may = (code[None] == jnp.asarray(MAY_HAVE_INDEX, code.dtype)).any()
    usable = wanted & may & (gained >= base - 1e-6 * (1 + base))
    fitted, limit = usable & fine & ~at_limit, usable & at_limit
    free = fitted | limit
    ts = jnp.where(free, jnp.maximum(gained, base), base)
    safe = jnp.where(fitted, variance, 1)
    alone = 1 / jnp.sqrt(jnp.where(limit, sums.s2, 1))
    norm = s * jnp.exp(-log_sum)
    error = jnp.where(fitted, norm * jnp.sqrt(safe), alone * jnp.exp(-log_sum))
    excess = jnp.where(free, s, plain.npred_excess)
    both = jnp.sqrt(jnp.where(fitted, variance * var_z, 1))
    return replace(
        plain,
        norm=jnp.where(free, norm, plain.norm),
        norm_err=jnp.where(free, options.n_sigma * error, plain.norm_err),
        ts=jnp.where(free, ts, plain.ts),
        stat=jnp.where(free, plain.stat_null - ts, plain.stat),
        npred=plain.npred - plain.npred_excess + excess,
        npred_excess=excess,
        niter=jnp.where(free, solved.niter, plain.niter),
        status=status_with_index(jnp, plain.status, free, limit, solved.last_step > options.rtol),
        index=jnp.where(free, fixed + half * z, jnp.nan),
        index_err=jnp.where(fitted, options.n_sigma * half * jnp.sqrt(var_z), jnp.nan),
        norm_index_corr=jnp.where(fitted, cov / both, jnp.nan),
        ts_index=jnp.where(free, ts - base, 0),
    )


def _solved(bins: _Bins, tried: Array, plain: NormFit) -> tuple[Pair, Array]:
    """Solve for counts and shape; nothing of it is differentiated."""
    start = jnp.maximum(lax.stop_gradient(plain.npred_excess), 0)
    first = best_of(bins, tried, start)
    wanted = first.gain > LEAST_GAIN
    step = _STEP if start.dtype == jnp.float64 else _STEP_SINGLE
    pair, *_ = climbed(bins, started(first, tried), tried, wanted, _SWEEPS, step)
    return lax.stop_gradient(pair), wanted


def _differentiable(bins: _Bins, solved: Pair, at_limit: Array) -> tuple[Array, Array]:
    """Take one differentiable step from solved numbers: the implicit function theorem."""
    s, z = solved.counts, solved.shape
    bend = curvature(bins.pairs(s, z), s)
    held = lax.stop_gradient(bend)
    known = (held.profiled > 0) & ~at_limit
    safe = jnp.where(held.ss > 0, held.ss, 1)
    slope = bend.slope_t - held.st * bend.slope_s / safe
    move = jnp.where(known, slope / jnp.where(known, held.profiled, 1), 0)
    return s + (bend.slope_s - held.st * move) / safe, z + move


MAY_HAVE_INDEX = tuple(
    int(code)
    for code in (
        *(Status.FITTED, Status.NO_COUNTS, Status.AT_BOUND, Status.ZERO_BACKGROUND_BOUND),
        *(Status.COUNTS_WITHOUT_BACKGROUND, Status.LOWER_ERROR_AT_BOUND),
    )
)
"""How the fit with the fixed index may have ended where the index is fitted."""


def status_with_index(xp: Any, fixed: Any, free: Any, at_limit: Any, late: Any) -> Any:
    """Choose the status code of a fit of norm and index, from that with the fixed index."""
    plain = (fixed == Status.FITTED) | (fixed == Status.LOWER_ERROR_AT_BOUND)
    code = xp.where(plain, int(Status.INDEX_UNDETERMINED), fixed)
    on_zero = fixed == Status.COUNTS_WITHOUT_BACKGROUND
    code = xp.where(free, xp.where(on_zero, fixed, int(Status.FITTED)), code)
    code = xp.where(at_limit, int(Status.INDEX_AT_LIMIT), code)
    return xp.where(free & late, int(Status.NOT_CONVERGED), code)
