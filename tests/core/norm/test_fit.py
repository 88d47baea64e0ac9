"""The fit of one pixel: against bisection, at the places where formulas break, its gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from gammagrad import fit_norm, ts_map
from gammagrad.core.norm import Status
from gammagrad.core.norm.fit import _fit_norm
from gammagrad.core.stats import cash
from oracles import slow_cash, slow_fit
from precision import DOUBLE, double_only

pixels = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def draw(rng: np.random.Generator, size: int = 49) -> tuple[np.ndarray, ...]:
    kernel = np.exp(-0.5 * np.linspace(-3, 3, size) ** 2)
    model = kernel / kernel.sum() * 10 ** rng.uniform(0, 2)
    background = np.full(size, 10 ** rng.uniform(-2, 1)) * rng.uniform(0.5, 1.5, size)
    counts = rng.poisson(background + rng.choice([0, 0.2, 2.0]) * model).astype(float)
    return counts, background, model


@given(rng=pixels)
def test_agrees_with_bisection(rng: np.random.Generator) -> None:
    arrays = draw(rng)
    fit, slow = fit_norm(*arrays), slow_fit(*arrays)
    tight = 1e-8 if DOUBLE else 1e-4
    scale = slow.norm_err if np.isfinite(slow.norm_err) else 1 + abs(slow.norm)
    assert abs(float(fit.norm) - slow.norm) <= tight * (scale + abs(slow.norm))
    assert abs(float(fit.ts) - slow.ts) <= tight * (1 + abs(slow.ts))
    np.testing.assert_allclose(fit.norm_err, slow.norm_err, rtol=1e-6 if DOUBLE else 1e-3)
    np.testing.assert_allclose(fit.npred, slow.npred, rtol=1e-7 if DOUBLE else 1e-4)
    np.testing.assert_allclose(fit.stat, slow.stat, rtol=1e-9 if DOUBLE else 1e-4, atol=1e-3)


@double_only
def test_agrees_with_a_minimiser_of_the_statistic() -> None:
    counts, background, model = draw(np.random.default_rng(11))
    fit = fit_norm(counts, background, model)
    best = scipy.optimize.minimize_scalar(
        lambda x: slow_cash(counts, background + x * model),
        bounds=(float(fit.norm) - 1, float(fit.norm) + 1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert abs(best.x - float(fit.norm)) < 1e-5 * float(fit.norm_err)
    np.testing.assert_allclose(best.fun, fit.stat, rtol=1e-12)


def test_no_counts_gives_the_physical_bound() -> None:
    fit = fit_norm([0.0, 0.0], [2.0, 3.0], [4.0, 4.0])
    assert float(fit.norm) == -0.5
    assert int(fit.status) == Status.NO_COUNTS
    assert int(fit.niter) == 0
    assert np.isinf(float(fit.norm_err))
    assert float(fit.ts) == -8.0  # 2 x M


def test_one_occupied_bin_is_exact() -> None:
    fit = fit_norm([6.0, 0.0], [1.0, 50.0], [2.0, 2.0])
    np.testing.assert_allclose(float(fit.norm), 6 / 4 - 0.5, rtol=1e-6)
    assert int(fit.status) == Status.FITTED


def test_an_empty_bin_without_background_stops_the_norm_at_zero() -> None:
    fit = fit_norm([0.0, 0.0], [0.0, 3.0], [1.0, 1.0])
    assert float(fit.norm) == 0.0
    assert int(fit.status) == Status.ZERO_BACKGROUND_BOUND


def test_counts_without_background_say_so() -> None:
    fit = fit_norm([2.0, 0.0], [0.0, 3.0], [1.0, 1.0])
    assert int(fit.status) == Status.COUNTS_WITHOUT_BACKGROUND
    assert np.isfinite(float(fit.ts))
    assert float(fit.norm) == pytest.approx(1.0)


def test_no_model_is_not_fitted() -> None:
    fit = fit_norm([2.0], [1.0], [0.0])
    assert int(fit.status) == Status.NOT_FITTED
    assert np.isfinite([float(fit.norm), float(fit.ts), float(fit.stat)]).all()


def test_too_few_sweeps_are_reported() -> None:
    counts, background, model = np.array([500.0, 3.0]), np.array([1.0, 5.0]), np.array([1.0, 0.9])
    assert int(fit_norm(counts, background, model, n_sweeps=1).status) == Status.NOT_CONVERGED
    assert int(fit_norm(counts, background, model).status) == Status.FITTED


def test_a_bin_of_no_weight_or_no_background_number_does_not_enter() -> None:
    arrays = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    alone = fit_norm(*arrays)
    masked = fit_norm(*np.c_[arrays, [9.0, 1.0, 3.0]], weights=[1.0, 1.0, 0.0])
    unknown = fit_norm(*np.c_[arrays, [9.0, np.nan, 3.0]])
    for name in ("norm", "ts", "stat", "npred", "norm_err"):
        assert float(getattr(masked, name)) == float(getattr(alone, name))
        assert float(getattr(unknown, name)) == float(getattr(alone, name))


def test_a_weight_of_two_is_the_bin_twice() -> None:
    arrays = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    twice = fit_norm(*np.c_[arrays, arrays[:, :1]])
    weighted = fit_norm(*arrays, weights=[2.0, 1.0])
    np.testing.assert_allclose(weighted.norm, twice.norm, rtol=1e-6)
    np.testing.assert_allclose(weighted.ts, twice.ts, rtol=1e-5)


def test_the_error_scales_with_n_sigma() -> None:
    arrays = draw(np.random.default_rng(0))
    one, three = fit_norm(*arrays), fit_norm(*arrays, n_sigma=3)
    np.testing.assert_allclose(3 * one.norm_err, three.norm_err, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64] if DOUBLE else [jnp.float32])
def test_follows_the_dtype_of_its_input(dtype: type) -> None:
    arrays = [jnp.asarray(a, dtype) for a in draw(np.random.default_rng(1))]
    fit = fit_norm(*arrays)
    assert fit.norm.dtype == fit.ts.dtype == fit.norm_err.dtype == dtype


@double_only
def test_single_precision_meets_its_stated_accuracy() -> None:
    for seed in range(30):
        arrays = draw(np.random.default_rng(seed))
        exact, single = fit_norm(*arrays), fit_norm(*(jnp.asarray(a, jnp.float32) for a in arrays))
        scale = min(float(exact.norm_err), 1e10)
        assert abs(float(single.norm) - float(exact.norm)) < 1e-4 * scale
        ts = float(exact.ts)
        assert abs(float(single.ts) - ts) < 1e-4 * np.sqrt(1 + abs(ts))


def names_and_values() -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Return a fitted pixel and one at its bound, with some empty bins."""
    counts = jnp.asarray([4.0, 0.0, 7.0, 1.0])
    background = jnp.asarray([2.0, 0.7, 3.0, 0.4])
    model = jnp.asarray([1.0, 0.5, 2.0, 0.2])
    weights = jnp.asarray([1.0, 1.0, 0.5, 1.0])
    fitted = {"counts": counts, "background": background, "model": model, "weights": weights}
    return fitted, fitted | {"counts": 0 * counts.at[0].set(1.0)}


@double_only
@pytest.mark.parametrize("quantity", ["norm", "norm_err", "ts", "stat", "npred"])
def test_gradients_agree_with_finite_differences(quantity: str) -> None:
    fitted, at_bound = names_and_values()
    for pixel in (fitted, at_bound):
        if pixel is at_bound and quantity == "norm_err":
            continue  # infinite there
        floating = [n for n in pixel if not (pixel is at_bound and n == "counts")]

        def value(*args: jax.Array, names=floating, pixel=pixel) -> jax.Array:
            return getattr(fit_norm(**(pixel | dict(zip(names, args, strict=True)))), quantity)

        check_grads(value, [pixel[n] for n in floating], order=1, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("quantity", ["norm", "ts", "stat", "npred"])
def test_gradients_are_finite_at_zero_counts_background_weight_and_model(quantity: str) -> None:
    zero_or_one = jnp.asarray([0.0, 1.0])
    grid = jnp.stack([g.reshape(-1) for g in jnp.meshgrid(*[zero_or_one] * 4)])

    def value(args: jax.Array) -> jax.Array:
        return getattr(fit_norm(*args[:3], weights=args[3]), quantity)

    for bins in (grid, grid[:, :1], grid.at[0].set(0.0), grid.at[2].set(0.0)):
        assert np.all(np.isfinite(jax.grad(value)(bins)))


def test_composes_with_vmap_and_jit() -> None:
    stacks = [
        np.stack(a) for a in zip(*(draw(np.random.default_rng(s)) for s in range(4)), strict=True)
    ]
    many = jax.jit(jax.vmap(fit_norm))(*(jnp.asarray(s) for s in stacks))
    one = fit_norm(*(s[2] for s in stacks))
    np.testing.assert_allclose(many.norm[2], one.norm, rtol=1e-5)


def test_new_values_compile_nothing_new() -> None:
    fit_norm(*draw(np.random.default_rng(0)))
    before = _fit_norm.traces
    for n_sigma in (1, 2.0, np.float32(3), jnp.asarray(4.0)):
        fit_norm(*draw(np.random.default_rng(2)), n_sigma=n_sigma)
    assert _fit_norm.traces == before


@pytest.mark.parametrize("background", [1.0, [1.0, 1.0], []])
def test_arrays_of_different_shapes_are_refused(background: object) -> None:
    with pytest.raises(ValueError, match="Arrays must share one shape"):
        fit_norm([1.0, 2.0, 3.0], background, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="hold a bin or more"):
        fit_norm([], [], [])


def test_counts_that_are_not_known_have_no_weight() -> None:
    known, unknown = fit_norm([2.0], [1.0], [3.0]), fit_norm([2.0, np.nan], [1.0, 1.0], [3.0, 1.0])
    assert float(known.norm) == float(unknown.norm)


def test_the_statistic_of_weighted_bins_is_the_weighted_statistic() -> None:
    counts, background = np.array([3.0, 0.0, 5.0]), np.array([2.0, 1.0, 4.0])
    weights = np.array([0.5, 2.0, 3.0])
    fit = fit_norm(counts, background, np.ones(3), weights)
    expected = (weights * np.asarray(cash(counts, background))).sum()
    assert float(fit.stat_null) == pytest.approx(expected, rel=1e-6)
    maps = ts_map(
        *(a[None, None] for a in (counts, background, np.ones(3))),
        np.ones((1, 1, 1)),
        weights[None, None],
    )
    np.testing.assert_allclose(
        maps.stat_null[0], weights * np.asarray(cash(counts, background)), rtol=1e-6
    )
