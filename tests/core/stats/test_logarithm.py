"""The vectorisable logarithm against numpy's, and its derivatives against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.core.stats import log, reciprocal
from gammagrad.core.stats.logarithm import log1p
from precision import DOUBLE

ROUNDING = 5e-16 if DOUBLE else 3e-7
VALUES = np.concatenate(
    [
        np.logspace(-18, 18, 4001),
        -np.logspace(-18, -1e-4, 4001),
        np.linspace(-0.7, 1.5, 4001),
        -1 + np.logspace(-7, -1, 1001),
    ]
)


def test_agrees_with_numpy_over_all_sizes() -> None:
    values = VALUES.astype(np.float64 if DOUBLE else np.float32)
    exact = np.log1p(values.astype(np.float64))
    found = np.asarray(jax.jit(log1p)(values), np.float64)
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1e-300)) < ROUNDING


@given(st.floats(min_value=-0.999, max_value=1e12))
def test_is_zero_only_at_zero_and_has_the_sign_of_its_argument(x: float) -> None:
    value = jnp.asarray(x)
    assert np.sign(float(log1p(value))) == np.sign(float(value))


def test_special_values() -> None:
    found = log1p(jnp.asarray([0.0, -1.0, -2.0, np.inf, np.nan]))
    np.testing.assert_array_equal(found, [0, -np.inf, np.nan, np.inf, np.nan])


@pytest.mark.parametrize("x", [-0.9, -1e-9, 0.0, 0.3, 1e6])
def test_derivatives_of_three_orders(x: float) -> None:
    value = jnp.asarray(x)
    first = jax.grad(log1p)
    second = jax.grad(first)
    expected = 1 / (1 + x), -1 / (1 + x) ** 2, 2 / (1 + x) ** 3
    found = first(value), second(value), jax.grad(second)(value)
    np.testing.assert_allclose(np.stack(found), expected, rtol=10 * ROUNDING)
    assert float(jax.grad(reciprocal)(value + 2)) == pytest.approx(-1 / (2 + x) ** 2, rel=1e-6)


def test_the_plain_logarithm_agrees_with_numpy() -> None:
    values = np.logspace(-25, 25, 5001).astype(np.float64 if DOUBLE else np.float32)
    exact = np.log(values.astype(np.float64))
    found = np.asarray(jax.jit(log)(values), np.float64)
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1e-9)) < 10 * ROUNDING
    assert float(jax.grad(log)(jnp.asarray(4.0))) == pytest.approx(0.25)
