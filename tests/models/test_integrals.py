"""Closed-form and quadrature integrals over energy, against arbitrary precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.models.integrals import exp_mean, integrate_log_energy, power_law_integral

exponents = st.floats(-300, 300)


def exact_exp_mean(a: float, b: float) -> float:
    with mpmath.workdps(40):
        a, b = mpmath.mpf(a), mpmath.mpf(b)
        return float(mpmath.exp(a) * (1 if a == b else mpmath.expm1(b - a) / (b - a)))


@given(exponents, exponents)
def test_exp_mean_is_exact(a, b):
    np.testing.assert_allclose(exp_mean(jnp.array(a), jnp.array(b)), exact_exp_mean(a, b), 2e-13)


@pytest.mark.parametrize("gap", [0.0, 1e-300, 1e-12, 1e-4, 0.3, 1.9999999, 2.0, 2.0000001, 30.0])
def test_exp_mean_derivatives_are_exact(gap):
    a, b = 0.4, 0.4 + gap
    with mpmath.workdps(40):
        weight = [lambda s: 1 - s, lambda s: s, lambda s: s * (1 - s)]
        exact = [
            float(mpmath.quad(lambda s, w=w: w(s) * mpmath.exp(a + gap * s), [0, 1]))
            for w in weight
        ]
    first = jax.grad(exp_mean, (0, 1))(a, b)
    mixed = jax.grad(jax.grad(exp_mean, 0), 1)(a, b)
    np.testing.assert_allclose([*first, mixed], exact, rtol=1e-12)


def test_exp_mean_does_not_overflow():
    # the mean of a drop from 1 over a thousand e-folds
    np.testing.assert_allclose(exp_mean(jnp.array(0.0), jnp.array(-1e3)), 1e-3, rtol=1e-15)
    assert all(np.isfinite(jax.grad(exp_mean, (0, 1))(0.0, -1e3)))


@pytest.mark.parametrize("index", [1.0, 1 + 1e-14, 1 - 1e-9, 1 + 1e-5, 0.0, -2.0, 2.0, 4.7])
def test_power_law_and_its_slope_in_index(index):
    low, high, reference = 0.3, 20.0, 2.0
    with mpmath.workdps(40):
        # in x = ln(E / E0) an exponential, whose slope in index has a factor -x
        ends = [mpmath.log(low / reference), mpmath.log(high / reference)]
        rate = 1 - mpmath.mpf(index)
        value = reference * mpmath.quad(lambda x: mpmath.exp(rate * x), ends)
        slope = reference * mpmath.quad(lambda x: -x * mpmath.exp(rate * x), ends)
    args = low, high, index, reference
    np.testing.assert_allclose(power_law_integral(*map(jnp.asarray, args)), float(value), 1e-14)
    gradient = jax.grad(lambda *a: power_law_integral(*a), 2)(*args)
    np.testing.assert_allclose(gradient, float(slope), 1e-12)


def test_quadrature_has_the_gradient_of_its_bounds():
    gradient = jax.grad(
        lambda low, high: integrate_log_energy(lambda e: e**-2.0, low, high, breaks=(0.2, 0.9)),
        (0, 1),
    )(0.5, 7.0)
    np.testing.assert_allclose(gradient, [-(0.5**-2), 7.0**-2], rtol=1e-12)


def test_breaks_outside_the_range_do_nothing():
    plain = integrate_log_energy(lambda e: e**-1.5, 1.0, 2.0)
    split = integrate_log_energy(lambda e: e**-1.5, 1.0, 2.0, breaks=(-9.0, -jnp.inf, 4.0, jnp.inf))
    np.testing.assert_allclose(split, plain, rtol=1e-14)
