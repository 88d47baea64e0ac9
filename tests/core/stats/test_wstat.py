"""The W statistic against gammapy, against mpmath with sixty digits, its slopes and its edges."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.core.stats import on_off_fit, on_off_gain, on_off_scores
from gammagrad.stats import cash, lima_significance, wstat, wstat_background
from oracles import exact_wstat
from precision import DOUBLE, double_only

DTYPE = np.float64 if DOUBLE else np.float32
RTOL = 1e-13 if DOUBLE else 3e-5

counts = st.one_of(st.just(0.0), st.integers(1, 100).map(float), st.floats(1e-3, 1e7)).map(DTYPE)
ratios = st.floats(1e-3, 10).map(DTYPE)
signals = st.one_of(
    st.just(0.0),
    st.floats(-1e4, 1e4, allow_subnormal=False),
    st.floats(-1, 1, allow_subnormal=False),
).map(lambda s: DTYPE(s if abs(s) > 1e-30 else 0))
fast, fast_background, fast_gain = map(jax.jit, (wstat, wstat_background, on_off_gain))


def drawn(seed: int, number: int, few: bool = False) -> tuple[np.ndarray, ...]:
    """Draw bins with n < 1e3 and k < 1e4, a fifth of them without counts of either kind."""
    rng = np.random.default_rng(seed)
    most = (4, 4) if few else (1000, 10000)
    n, k = (rng.integers(0, top, number) * (rng.random(number) > 0.2) for top in most)
    alpha = 10 ** rng.uniform(-2, 0.5, number)
    signal = 10 ** rng.uniform(-4, 3, number) * (rng.random(number) > 0.1)
    return n.astype(float), k.astype(float), alpha, signal


@double_only
@pytest.mark.parametrize("few", [False, True])
def test_it_is_that_of_gammapy(few: bool) -> None:
    gammapy = pytest.importorskip("gammapy.stats")
    bins = drawn(1, 20000, few)
    expected = gammapy.wstat(*bins)
    error = np.abs(np.asarray(wstat(*bins)) - expected) / np.maximum(1, expected)
    assert error.max() < 1e-10
    np.testing.assert_allclose(
        wstat_background(*bins), gammapy.get_wstat_mu_bkg(*bins), rtol=1e-7, atol=1e-9
    )


@given(n=counts, k=counts, alpha=ratios, signal=signals)
def test_it_is_exact(n: float, k: float, alpha: float, signal: float) -> None:
    expected, background = map(float, exact_wstat(n, k, alpha, signal))
    spread = np.finfo(DTYPE).eps * (n + k + abs(float(signal)) * (1 + 1 / alpha)) ** 0.5
    # a deviation lost in the rounding of what is subtracted cannot be found again
    close = RTOL * max(1.0, expected) + 40 * spread * expected**0.5 + spread**2 * 1e3
    assert abs(float(fast(n, k, alpha, signal)) - expected) <= close
    scale = max(background, np.finfo(DTYPE).eps * 40 * float(n + k + abs(signal)))
    assert abs(float(fast_background(n, k, alpha, signal)) - background) <= 1e3 * RTOL * scale


@double_only
def test_large_counts_near_the_best_signal_keep_their_digits() -> None:
    n, k, alpha = 1e7, 4e7, 0.1
    for shift in (1e-3, 1.0, 1e3):
        expected = float(exact_wstat(n, k, alpha, n - alpha * k + shift)[0])
        value = float(wstat(n, k, alpha, n - alpha * k + shift))
        # rounding of the shift itself
        assert abs(value / expected - 1) < 1e-8 / shift + 1e-10


def test_without_signal_it_is_the_square_of_li_and_ma() -> None:
    n, k, alpha, _ = drawn(2, 2000, few=True)
    expected = np.square(lima_significance(n, k, alpha))
    np.testing.assert_allclose(wstat(n, k, alpha, 0.0), expected, rtol=1e3 * RTOL, atol=1e3 * RTOL)


@given(n=counts, k=counts, alpha=ratios, pair=st.tuples(signals, signals))
def test_convex(n: float, k: float, alpha: float, pair: tuple[float, float]) -> None:
    low, high = min(pair), max(pair)
    values = np.asarray(fast(n, k, alpha, np.array([low, 0.5 * (low + high), high])))
    spread = np.finfo(DTYPE).eps * (1 + (n + k + abs(low) + abs(high)) * (1 + 1 / alpha))
    assert values[1] <= 0.5 * (values[0] + values[2]) + 1e3 * spread**0.5 * spread**0.5


@given(n=counts, k=counts, alpha=ratios)
def test_zero_at_its_minimum(n: float, k: float, alpha: float) -> None:
    best = n - alpha * k
    value = float(fast(n, k, alpha, best))
    rounding = np.finfo(DTYPE).eps * max(float(n), float(alpha * k))
    assert 0 <= value <= 1e2 * rounding**2 / max(float(n), 1e-3) * (1 + 1 / alpha) + 1e-30
    step = 0.1 * (1 + abs(best))
    assert float(fast(n, k, alpha, best + step)) > value
    assert float(fast(n, k, alpha, best - step)) > value


def test_straight_lines_and_kinks() -> None:
    # no counts of either kind: 2 s above 0, and 2 |s| / alpha below
    np.testing.assert_allclose(wstat(0.0, 0.0, 0.25, np.array([3.0, 0.0, -3.0])), [6, 0, 24])
    # no ON counts: a line until the ON prediction vanishes
    line = wstat(0.0, 5.0, 0.5, np.array([0.0, 1.0, -1.0, -5 / 3]))
    np.testing.assert_allclose(line, 2 * np.array([0, 1, -1, -5 / 3]) + 10 * np.log(1.5), rtol=1e-5)
    # no OFF counts: the ON prediction stays until the background vanishes
    flat = wstat(6.0, 0.0, 0.5, np.array([-1.0, 0.0, 1.0, 2.0]))
    np.testing.assert_allclose(np.diff(flat), -2 / 0.5, rtol=1e-5)


def test_without_background_it_is_the_statistic_of_a_known_one() -> None:
    above = np.array([3.0, 7.0, 40.0])
    expected = cash(6.0, above) - cash(6.0, 6.0)
    np.testing.assert_allclose(wstat(6.0, 0.0, 0.5, above), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        (-1.0, 1, 1, 0),
        (1, -1.0, 1, 0),
        (1, 1, 0.0, 0),
        (1, 1, -1.0, 0),
        (np.nan, 1, 1, 0),
        (1, 1, 1, np.inf),
        (1, 1, np.nan, 0),
    ],
)
def test_outside_the_domain_it_is_nan(bad: tuple[float, ...]) -> None:
    assert np.isnan(wstat(*bad))
    assert np.isnan(wstat_background(*bad))
    assert np.isfinite(wstat(1.0, 1.0, 1.0, 0.0))


@double_only
@pytest.mark.parametrize("which", range(4))
def test_slopes_are_those_of_differences(which: int) -> None:
    n, k, alpha, signal = drawn(3, 500)
    few = drawn(4, 500, few=True)
    bins = [np.concatenate(pair) for pair in zip((n, k, alpha, signal), few, strict=True)]
    bins[3][::2] *= -1
    slope = np.asarray(jax.vmap(jax.grad(wstat, which))(*bins))
    assert np.isfinite(slope).all()
    step = 1e-5 * np.maximum(np.abs(bins[which]), 1e-2)
    up, down = (
        [a + sign * step if i == which else a for i, a in enumerate(bins)] for sign in (1, -1)
    )
    difference = (np.asarray(wstat(*up)) - np.asarray(wstat(*down))) / (2 * step)
    # away from counts of zero, where ``n log n`` is taken to be flat, and from the kink
    smooth = (bins[which] > 0) | (which > 1)
    smooth &= (bins[0] + bins[1] > 0) | (np.abs(bins[3]) > 1e-2)
    np.testing.assert_allclose(slope[smooth], difference[smooth], rtol=2e-5, atol=2e-5)


@double_only
def test_higher_derivatives() -> None:
    n, k, alpha, signal = drawn(5, 400)
    signal[::2] *= -1
    share = alpha / (1 + alpha)
    slope, bend = (np.asarray(a) for a in on_off_scores(signal, n, k, share))
    first = jax.vmap(jax.grad(wstat, 3))
    np.testing.assert_allclose(1 - slope, first(n, k, alpha, signal) / 2, rtol=1e-9, atol=1e-9)
    second = jax.vmap(jax.grad(jax.grad(wstat, 3), 3))(n, k, alpha, signal)
    np.testing.assert_allclose(bend, second / 2, rtol=1e-8, atol=1e-12)
    for which in range(3):
        mixed = np.asarray(jax.vmap(jax.grad(jax.grad(wstat, 3), which))(n, k, alpha, signal))
        bins = [n, k, alpha]
        step = 1e-5 * np.maximum(bins[which], 1e-2)
        up, down = (
            [a + sign * step if i == which else a for i, a in enumerate(bins)] for sign in (1, -1)
        )
        difference = (np.asarray(first(*up, signal)) - np.asarray(first(*down, signal))) / (
            2 * step
        )
        smooth = bins[which] > 0
        np.testing.assert_allclose(mixed[smooth], difference[smooth], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("signal", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize("n", [0.0, 4.0])
@pytest.mark.parametrize("k", [0.0, 3.0])
def test_derivatives_are_finite_at_the_edges(n: float, k: float, signal: float) -> None:
    bins = (n, k, 0.5, signal)
    for order in (jax.grad(wstat, (0, 1, 2, 3)), jax.hessian(wstat, (2, 3))):
        assert all(np.isfinite(a).all() for a in jax.tree.leaves(order(*bins)))
    gain = jax.grad(on_off_gain, (0, 1, 2, 3, 4))
    assert np.isfinite(gain(0.5, signal, n, k, 0.5)).all()
    assert np.isfinite(gain(0.0, signal, n, k, 0.5)).all()


@given(n=counts, k=counts, alpha=ratios, pair=st.tuples(signals.map(abs), signals))
def test_gains_are_differences(n: float, k: float, alpha: float, pair: tuple[float, float]) -> None:
    before, after = (exact_wstat(n, k, alpha, one)[0] for one in pair)
    expected = float(before - after) / 2
    step = abs(float(pair[1]) - float(pair[0]))
    scale = abs(expected) + float(n + k) * 1e-3 + step * (1 + 1 / alpha)
    value = float(fast_gain(*map(DTYPE, pair), n, k, alpha))
    assert abs(value - expected) <= 100 * np.finfo(DTYPE).eps * scale * (1 + 1 / alpha)


def test_a_share_of_zero_stands_for_a_known_background() -> None:
    n, mu = np.array([0.0, 3.0, 8.0]), np.array([2.0, 5.0, 0.5])
    ratio, bend = on_off_scores(mu, n, jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(ratio, n / mu, rtol=1e-6)
    np.testing.assert_allclose(bend, n / mu**2, rtol=1e-6)
    excess, background, predicted = on_off_fit(mu, n, jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(excess, 1 - n / mu, rtol=1e-6)
    np.testing.assert_allclose(predicted, mu)
    assert not np.any(background)
    gain = on_off_gain(mu, mu + 1, n, jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_allclose(gain, (cash(n, mu) - cash(n, mu + 1)) / 2, rtol=1e-5)
