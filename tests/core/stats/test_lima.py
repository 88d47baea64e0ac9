"""Li and Ma's significance against mpmath with fifty digits, its slopes and its edges."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.core.stats import lima_significance, lima_significance_known_background

DOUBLE = jnp.zeros(()).dtype == jnp.float64
RTOL = 2e-14 if DOUBLE else 3e-6
DTYPE = np.float64 if DOUBLE else np.float32


def number(value):
    return DTYPE(value)


def exact_known(n, mu):
    with mpmath.workdps(50):
        n, mu = mpmath.mpf(float(n)), mpmath.mpf(float(mu))
        log = n * mpmath.log(n / mu) if n > 0 else mpmath.mpf(0)
        return float(mpmath.sign(n - mu) * mpmath.sqrt(2 * (log - n + mu)))


def exact_on_off(on, off, alpha):
    with mpmath.workdps(50):
        on, off, alpha = (mpmath.mpf(float(x)) for x in (on, off, alpha))
        total = on + off
        log = mpmath.mpf(0)
        if on > 0:
            log += on * mpmath.log((1 + alpha) / alpha * on / total)
        if off > 0:
            log += off * mpmath.log((1 + alpha) * off / total)
        return float(mpmath.sign(on - alpha * off) * mpmath.sqrt(2 * log))


amounts = st.one_of(
    st.just(0.0), st.floats(1e-3, 1e6), st.integers(0, 100000).map(float), st.floats(1e-12, 1e-3)
).map(number)
positive = st.one_of(st.floats(1e-6, 1e6), st.floats(1e-20, 1e-6)).map(number)
known = jax.jit(lima_significance_known_background)
on_off = jax.jit(lima_significance)


@given(n=amounts, mu=positive)
def test_known_background(n, mu):
    np.testing.assert_allclose(known(n, mu), exact_known(n, mu), rtol=RTOL)


@given(mu=st.floats(1e-3, 1e8).map(number), shift=st.floats(-0.3, 0.3), power=st.integers(0, 7))
def test_known_background_near_agreement(mu, shift, power):
    n = number(mu * number(1 + shift * 10.0**-power))
    np.testing.assert_allclose(known(n, mu), exact_known(n, mu), rtol=RTOL)


@given(on=amounts, off=amounts, alpha=st.floats(1e-3, 10).map(number))
def test_on_off(on, off, alpha):
    expected = exact_on_off(on, off, alpha)
    # the deviation on - alpha off has the rounding of its product
    spread = np.finfo(DTYPE).eps * float(alpha) * float(off) / max(float(on + off), 1e-30) ** 0.5
    np.testing.assert_allclose(on_off(on, off, alpha), expected, rtol=RTOL, atol=4 * spread)


def test_textbook_numbers():
    # the tail probability of one Poisson count, in the limit in which the root is normal
    n, mu = 10500.0, 10000.0
    tail = scipy.stats.norm.isf(scipy.stats.poisson.sf(n - 0.5, mu))
    assert abs(float(known(n, mu)) - tail) < 0.02
    # equation 17 as printed
    on, off, alpha = 30.0, 40.0, 0.25
    printed = np.sqrt(2) * np.sqrt(
        on * np.log((1 + alpha) / alpha * on / (on + off))
        + off * np.log((1 + alpha) * off / (on + off))
    )
    np.testing.assert_allclose(on_off(on, off, alpha), printed, rtol=1e-6)


@given(on=st.integers(0, 1000), mu=st.floats(0.1, 100))
def test_on_off_tends_to_the_known_background(on, mu):
    alpha = 1e-7 if DOUBLE else 1e-5
    close = on_off(number(on), number(mu / alpha), number(alpha))
    # to first order in alpha the background's own error takes alpha (n - mu)^2 / mu off S^2
    shift = alpha * abs(on - mu) / mu
    np.testing.assert_allclose(
        close, known(number(on), number(mu)), rtol=max(shift, 1e-5), atol=1e-3
    )


@given(a=st.floats(0.5, 1e4).map(number), b=st.floats(0.5, 1e4).map(number))
def test_swapping_the_regions_turns_the_sign(a, b):
    np.testing.assert_allclose(on_off(a, b, 1.0), -on_off(b, a, 1.0), rtol=RTOL)


def test_edges():
    one, zero = number(1), number(0)
    assert known(number(7), number(7)) == 0
    assert known(zero, zero) == 0
    assert known(one, zero) == np.inf
    assert on_off(zero, zero, one) == 0
    assert on_off(number(2), number(8), number(0.25)) == 0
    for n, mu in ((-1, 1), (1, -1), (np.nan, 1), (1, np.nan)):
        assert np.isnan(known(number(n), number(mu)))
    for arguments in ((-1, 1, 1), (1, -1, 1), (1, 1, 0), (1, 1, np.nan)):
        assert np.isnan(on_off(*(number(x) for x in arguments)))


@pytest.mark.parametrize("n", [0.0, 1e-6, 1.0, 9.9, 9.999999, 10.0, 10.1, 12.0, 50.0, 1e5])
def test_slopes_of_the_known_background(n):
    mu = 10.0
    slope_n, slope_mu = jax.grad(known, argnums=(0, 1))(number(n), number(mu))
    with mpmath.workdps(40):
        if n == mu:
            expected = (mu**-0.5, -(mu**-0.5))
        elif n == 0:
            expected = ((2 * mu) ** -0.5, -((2 * mu) ** -0.5))
        else:
            exact_n = mpmath.mpf(float(number(n)))
            s = mpmath.sqrt(2 * (exact_n * mpmath.log(exact_n / mu) - exact_n + mu))
            s *= mpmath.sign(exact_n - mu)
            expected = (float(mpmath.log(exact_n / mu) / s), float((1 - exact_n / mu) / s))
    np.testing.assert_allclose((slope_n, slope_mu), expected, rtol=1e-12 if DOUBLE else 2e-4)


@pytest.mark.parametrize(
    ("on", "off", "alpha"), [(10, 40, 0.25), (11, 40, 0.25), (30, 40, 0.25), (3, 50, 0.2)]
)
def test_slopes_of_on_off(on, off, alpha):
    slopes = jax.grad(on_off, argnums=(0, 1, 2))(number(on), number(off), number(alpha))
    with mpmath.workdps(40):

        def signed(x, y, a):
            deviance = x * mpmath.log((1 + a) / a * x / (x + y)) + y * mpmath.log(
                (1 + a) * y / (x + y)
            )
            return mpmath.sign(x - a * y) * mpmath.sqrt(abs(2 * deviance))

        point = [mpmath.mpf(float(number(v))) for v in (on, off, alpha)]
        for i, slope in enumerate(slopes):
            step = mpmath.mpf(10) ** -12
            ends = [[v + s * step * (j == i) for j, v in enumerate(point)] for s in (-1, 1)]
            expected = (signed(*ends[1]) - signed(*ends[0])) / (2 * step)
            np.testing.assert_allclose(slope, float(expected), rtol=1e-10 if DOUBLE else 3e-4)


@pytest.mark.parametrize("arguments", [(0, 0, 1), (0, 5, 0.5), (5, 0, 0.5), (1, 1, 1)])
def test_slopes_stay_finite_without_counts(arguments):
    arguments = tuple(number(x) for x in arguments)
    for transform in (jax.grad, jax.jacfwd):
        slopes = transform(lima_significance, argnums=(0, 1, 2))(*arguments)
        assert all(np.isfinite(s) for s in slopes)
    for pair in ((0, 0), (0, 3), (3, 0), (3, 3)):
        slopes = jax.grad(known, argnums=(0, 1))(number(pair[0]), number(pair[1]))
        assert all(np.isfinite(s) for s in slopes)


def test_smooth_across_the_change_of_formula():
    mu = number(100)
    n = (mu * np.linspace(0.75, 1.25, 2001)).astype(DTYPE)
    second = jax.vmap(jax.grad(jax.grad(known)), in_axes=(0, None))(jnp.array(n), mu)
    with mpmath.workdps(60):
        expected = []
        for value in n:
            x = mpmath.mpf(float(value)) + mpmath.mpf(10) ** -12
            s = mpmath.sign(x - 100) * mpmath.sqrt(2 * (x * mpmath.log(x / 100) - x + 100))
            expected.append(float(1 / (x * s) - mpmath.log(x / 100) ** 2 / s**3))
    np.testing.assert_allclose(second, expected, rtol=1e-6 if DOUBLE else 0.1)


def test_dtype_and_shape_follow_the_arguments():
    single = jnp.ones((2, 3), jnp.float32)
    assert known(single, 2.0).dtype == jnp.float32
    assert known(jnp.ones((2, 3), jnp.int32), single).dtype == jnp.float32
    assert on_off(single, single, 0.5).shape == (2, 3)
    assert known(3, 2).dtype == jnp.zeros(()).dtype
    batch = jax.vmap(known)(jnp.arange(4.0), jnp.ones(4))
    np.testing.assert_array_equal(batch, known(jnp.arange(4.0), jnp.ones(4)))
