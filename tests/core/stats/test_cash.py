"""The Cash statistic against scipy, its derivatives against automatic differentiation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.core.stats import (
    BACKGROUND_FLOOR,
    bin_ratio,
    cash,
    cash_sum,
    contrast_scores,
    gain_terms,
    score_terms,
    ts_term,
)
from gammagrad.core.stats.cash import log_term
from oracles import slow_cash

RNG = np.random.default_rng(5)


def test_cash_is_minus_twice_the_log_likelihood_up_to_the_counts_own_term() -> None:
    counts = RNG.poisson(3.0, 50).astype(float)
    npred = RNG.uniform(0.1, 8.0, 50)
    factorials = scipy.special.gammaln(counts + 1)
    expected = -2 * (scipy.stats.poisson.logpmf(counts, npred) + factorials)
    np.testing.assert_allclose(cash(counts, npred), expected, rtol=1e-5)


@pytest.mark.parametrize("counts", [0.0, 3.0])
def test_cash_is_finite_without_prediction(counts: float) -> None:
    expected = -2 * counts * np.log(BACKGROUND_FLOOR)
    np.testing.assert_allclose(cash(counts, 0.0), expected, rtol=1e-6)


def test_cash_of_whole_numbers_is_not_rounded() -> None:
    assert float(cash(2, 1)) == 2.0
    assert float(cash(1, 2)) == pytest.approx(4 - 2 * np.log(2), rel=1e-6)


def test_cash_sum_leaves_out_what_has_no_weight() -> None:
    counts, npred = np.array([1.0, 2.0, np.nan]), np.array([1.0, 3.0, np.nan])
    weights = np.array([1.0, 0.5, 0.0])
    expected = slow_cash(counts[:1], npred[:1]) + 0.5 * slow_cash(counts[1:2], npred[1:2])
    np.testing.assert_allclose(cash_sum(counts, npred, weights), expected, rtol=1e-6)
    np.testing.assert_allclose(
        cash_sum(counts[:2], npred[:2]), slow_cash(counts[:2], npred[:2]), rtol=1e-6
    )


@given(
    norm=st.floats(-0.4, 50),
    counts=st.integers(0, 40),
    background=st.floats(0.5, 30),
    model=st.floats(1e-3, 1.0),
)
def test_score_terms_are_the_derivatives_of_cash(
    norm: float, counts: int, background: float, model: float
) -> None:
    x, n = jnp.asarray(norm), jnp.asarray(float(counts))
    ratio = bin_ratio(jnp.asarray(background), jnp.asarray(model))

    def statistic(y: jax.Array) -> jax.Array:
        return cash(n, background + y * model)

    s1, s2 = score_terms(x, n, ratio)
    tight = 1e-10 if x.dtype == jnp.float64 else 2e-4
    slope, curvature = jax.grad(statistic)(x), jax.grad(jax.grad(statistic))(x)
    np.testing.assert_allclose(2 * (model - s1), slope, rtol=tight, atol=tight * model)
    np.testing.assert_allclose(2 * s2, curvature, rtol=10 * tight, atol=tight * model**2)


def test_terms_from_contrasts_and_their_gradients_are_closed_forms(rtol: float) -> None:
    x, n, g = (jnp.asarray(v) for v in ([-0.2, 0.0, 7.0], [4.0, 3.0, 1.0], [0.3, 0.0, 2.0]))
    q, inverse = g / (1 + x * g), 1 / (1 + x * g)
    expected = [n * jnp.log1p(x * g), n * q, n * q**2, n * q**3]
    found = gain_terms(x, n, g)
    for got, value in zip(
        (*found, *contrast_scores(x, n, g)), expected + expected[1:3], strict=True
    ):
        np.testing.assert_allclose(got, value, rtol=10 * rtol)
    # the gradients by norm and contrast
    steps = [n * q, -n * q**2, -2 * n * q**3, -3 * n * q**4]
    slopes = [n * x * inverse, *(k * n * q ** (k - 1) * inverse**2 for k in (1, 2, 3))]
    for name, step, slope in zip(found._fields, steps, slopes, strict=True):

        def total(x: jax.Array, g: jax.Array, name: str = name) -> jax.Array:
            return getattr(gain_terms(x, n, g), name).sum()

        got = jax.grad(total, (0, 1))(x, g)
        np.testing.assert_allclose(got[0], step, rtol=20 * rtol)
        np.testing.assert_allclose(got[1], slope, rtol=20 * rtol)


def test_log_term_differs_from_cash_by_what_the_norm_does_not_move() -> None:
    x, n, b, m = (jnp.asarray(v) for v in (0.7, 4.0, 2.0, 3.0))
    ratio = bin_ratio(b, m)
    moved = 2 * (x * m - log_term(x, n, ratio)) - 2 * (0 - log_term(0 * x, n, ratio))
    np.testing.assert_allclose(moved, cash(n, b + x * m) - cash(n, b), rtol=1e-5)


@pytest.mark.parametrize("step", [1e-14, 1e-8, 1e-3, 0.5, -0.3, -1e-12])
def test_ts_term_has_no_cancellation(step: float, rtol: float) -> None:
    counts, ratio = 12.0, 3.0
    expected = float(counts * mpmath.log1p(mpmath.mpf(step)))
    got = ts_term(jnp.asarray(step * ratio), jnp.asarray(counts), jnp.asarray(ratio))
    np.testing.assert_allclose(got, expected, rtol=rtol)


def test_a_bin_without_model_has_no_say() -> None:
    ratio = bin_ratio(jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 0.0]))
    assert np.all(np.isinf(ratio))
    counts, norm = jnp.asarray([3.0, 2.0]), jnp.asarray([1.0, 1.0])
    for value in (*score_terms(norm, counts, ratio), ts_term(norm, counts, ratio)):
        assert np.all(np.asarray(value) == 0)


def test_gradients_are_finite_where_numbers_vanish() -> None:
    def total(args: tuple[jax.Array, ...]) -> jax.Array:
        norm, counts, background, model = args
        ratio = bin_ratio(background, model)
        return (ts_term(norm, counts, ratio) + cash(counts, background)).sum()

    nothing = jnp.zeros(4)
    args = (nothing, jnp.asarray([0.0, 1.0, 0.0, 1.0]), jnp.asarray([0.0, 0.0, 1.0, 1.0]), nothing)
    for gradient in jax.grad(total)(args):
        assert np.all(np.isfinite(gradient))
