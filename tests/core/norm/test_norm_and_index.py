"""The fit of norm and index of one pixel, against a plain twin and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

import oracles
from gammagrad import fit_norm, fit_norm_and_index
from gammagrad.core.norm import STATUS, Status
from gammagrad.core.norm.norm_and_index import _fit
from gammagrad.errors import InputError
from precision import DOUBLE, double_only

Floats = NDArray[np.float64]

LIMITS = (0.5, 5.5)
ENERGY = np.geomspace(1.0, 30.0, 6)
NODES = 3 - 2.5 * np.cos((2 * np.arange(5) + 1) / 10 * np.pi)
NODES[0], NODES[-1] = LIMITS
# the image of a source, narrower at higher energies
OFFSET = np.hypot(*np.mgrid[-2:3, -2:3])
WIDTH = 0.5 + 1.0 / np.sqrt(ENERGY)[:, None, None]
IMAGE = np.exp(-0.5 * (OFFSET / WIDTH) ** 2) / WIDTH**2
EXPOSURE = 8.0 * ENERGY**1.2


def model(index: float) -> Floats:
    """Return expected counts of a source, of norm 1 and some index, flattened."""
    spectrum = (ENERGY / 5.0) ** -index
    return ((EXPOSURE * spectrum)[:, None, None] * IMAGE).ravel()


MODELS = np.stack([model(index) for index in NODES])


def window(seed: int) -> tuple[Floats, Floats]:
    """Return counts and background of a random window, of a faint or a bright source."""
    rng = np.random.default_rng(seed)
    background = 10 ** rng.uniform(-2, 1) * (ENERGY**-1.5)[:, None, None] * np.ones_like(IMAGE)
    background = background.ravel()
    source = model(rng.uniform(1.0, 4.5))
    expected = 10 ** rng.uniform(0, 2.5) * source / source.sum()
    return rng.poisson(background + expected).astype(float), background


def fitted(counts: Floats, background: Floats, **how: float):
    """Fit with the models of this file."""
    return fit_norm_and_index(counts, background, MODELS, NODES, **how)


@double_only
def test_it_is_the_best_of_a_search_from_many_starts() -> None:
    compared = 0
    for seed in range(28, 52):
        counts, background = window(seed)
        fit = fitted(counts, background)
        slow = oracles.slow_pair(counts, background, model, LIMITS, starts=5)
        status = int(fit.status)
        if np.isnan(float(fit.index)):
            # no positive norm does better than the fixed index
            assert status != Status.FITTED
            assert 2 * slow.gain < abs(float(fit.ts)) + 2.1e-3
            continue
        assert abs(abs(float(fit.ts)) - 2 * slow.gain) < 1e-3, seed
        if status == Status.INDEX_AT_LIMIT:
            assert abs(slow.index - float(fit.index)) < 1e-2
            continue
        compared += 1
        assert status in (Status.FITTED, Status.COUNTS_WITHOUT_BACKGROUND)
        assert abs(float(fit.index) - slow.index) < 1e-3 * float(fit.index_err)
        assert abs(float(fit.norm) - slow.norm) < 1e-3 * float(fit.norm_err)
        errors = np.sqrt(np.diag(slow.inverse))
        assert float(fit.norm_err) == pytest.approx(slow.norm * errors[0], rel=1e-3)
        assert float(fit.index_err) == pytest.approx(errors[1], rel=1e-3)
        correlation = slow.inverse[0, 1] / errors.prod()
        assert float(fit.norm_index_corr) == pytest.approx(correlation, abs=1e-3)
    assert compared > 15


def test_expected_counts_give_back_norm_and_index() -> None:
    background = np.full(MODELS.shape[1], 0.5)
    truth = 2.0 * model(2.7)
    fit = fitted(truth + background, background)
    tolerance = 1e-4 if DOUBLE else 2e-2
    assert abs(float(fit.norm) - 2) < tolerance * float(fit.norm_err)
    assert abs(float(fit.index) - 2.7) < tolerance * float(fit.index_err)
    assert int(fit.status) == Status.FITTED
    assert float(fit.npred_excess) == pytest.approx(truth.sum(), rel=1e-4)


def test_single_precision_agrees() -> None:
    for seed in range(0, 40, 4):
        counts, background = window(seed)
        single = fit_norm_and_index(
            *(np.asarray(a, np.float32) for a in (counts, background, MODELS, NODES))
        )
        assert single.norm.dtype == np.float32
        with jax.enable_x64(True):
            double = fitted(counts, background)
        if int(double.status) != Status.FITTED or float(double.ts) < 1:
            continue
        assert abs(float(single.index) - float(double.index)) < 2e-3 * float(double.index_err)
        assert abs(float(single.norm) - float(double.norm)) < 2e-3 * float(double.norm_err)
        assert float(single.ts) == pytest.approx(float(double.ts), rel=1e-3, abs=1e-3)


def test_the_gain_over_the_fixed_index_is_that_of_two_fits() -> None:
    counts, background = window(3)
    free, fixed = fitted(counts, background, fixed=2.5), fit_norm(counts, background, model(2.5))
    tolerance = 1e-5 if DOUBLE else 1e-3
    expected = float(free.ts) - float(fixed.ts)
    assert float(free.ts_index) == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert float(free.ts_index) > 0
    assert float(free.stat_null) == pytest.approx(float(fixed.stat_null), rel=1e-5)


def test_n_sigma_widens_both_errors() -> None:
    counts, background = window(3)
    one, three = fitted(counts, background), fitted(counts, background, n_sigma=3.0)
    assert float(three.norm_err) == pytest.approx(3 * float(one.norm_err), rel=1e-4)
    assert float(three.index_err) == pytest.approx(3 * float(one.index_err), rel=1e-4)


def test_without_a_source_there_is_no_index() -> None:
    background = np.full(MODELS.shape[1], 2.0)
    few = fitted(np.zeros_like(background), background)
    assert int(few.status) == Status.NO_COUNTS
    deficit = fitted(np.ones_like(background), background)
    assert int(deficit.status) == Status.INDEX_UNDETERMINED
    assert "norm is that with the index of the model" in STATUS[Status.INDEX_UNDETERMINED]
    plain = fit_norm(np.ones_like(background), background, model(2.0))
    for fit, norm in ((few, None), (deficit, float(plain.norm))):
        assert all(np.isnan(float(a)) for a in (fit.index, fit.index_err, fit.norm_index_corr))
        assert float(fit.ts_index) == 0
        assert norm is None or float(fit.norm) == pytest.approx(norm, rel=1e-3)


def test_one_energy_tells_no_index() -> None:
    counts = np.zeros((len(ENERGY), OFFSET.size))
    counts[-1, 12] = 30.0
    background = np.full(counts.shape, 0.1)
    fit = fitted(counts.ravel(), background.ravel())
    assert int(fit.status) == Status.INDEX_AT_LIMIT
    assert float(fit.index) == pytest.approx(LIMITS[0], abs=1e-5)
    assert np.isnan(float(fit.index_err))
    assert float(fit.norm_err) > 0


def outputs(counts: jax.Array, background: jax.Array, models: jax.Array) -> jax.Array:
    """Return what gradients are taken of."""
    fit = fit_norm_and_index(counts, background, models, NODES)
    names = ("norm", "index", "norm_err", "index_err", "norm_index_corr", "ts", "ts_index")
    return jnp.stack([jnp.asarray(getattr(fit, name)) for name in names])


@double_only
@pytest.mark.parametrize("seed", [3, 7])
def test_gradients_are_finite_differences(seed: int) -> None:
    counts, background = window(seed)
    counts, background = counts + 0.3, background + 0.05
    rng = np.random.default_rng(seed)
    args = (counts, background, MODELS)
    ways = tuple(a * rng.normal(size=a.shape) for a in args)
    for which in range(3):
        only = tuple(w if i == which else np.zeros_like(w) for i, w in enumerate(ways))
        _, forward = jax.jvp(outputs, args, only)
        h = 1e-5

        def at(t: float, only: tuple[Floats, ...] = only) -> Floats:
            return np.asarray(outputs(*(a + t * w for a, w in zip(args, only, strict=True))))

        differences = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        np.testing.assert_allclose(forward, differences, rtol=1e-5, atol=1e-6)
        backward = jax.vjp(outputs, *args)[1](np.ones(7))[which]
        assert float((backward * ways[which]).sum()) == pytest.approx(
            float(forward.sum()), rel=1e-8
        )


@pytest.mark.parametrize("change", ["counts", "background", "weights"])
def test_gradients_at_zero_are_finite(change: str) -> None:
    counts, background = window(3)
    weights = np.ones_like(counts)
    changed = {"counts": counts, "background": background, "weights": weights}[change]
    # the square of a count over the background's floor is beyond single precision
    changed[:40] = 0 if DOUBLE or change != "background" else 1e-8

    def total(n: jax.Array, b: jax.Array, m: jax.Array, w: jax.Array) -> jax.Array:
        fit = fit_norm_and_index(n, b, m, NODES, w)
        return fit.norm + fit.index + fit.ts

    found = jax.grad(total, argnums=(0, 1, 2, 3))(counts, background, MODELS, weights)
    assert all(bool(jnp.isfinite(a).all()) for a in found)


def test_it_maps_over_windows_and_compiles_once() -> None:
    several = [window(seed) for seed in range(4)]
    counts, background = (np.stack(a) for a in zip(*several, strict=True))
    together = jax.vmap(lambda n, b: fit_norm_and_index(n, b, MODELS, NODES))(counts, background)
    before = None
    for row, (n, b) in enumerate(several):
        alone = fitted(n, b)
        before = _fit.traces if before is None else before
        np.testing.assert_allclose(
            np.asarray(together.norm)[row], alone.norm, rtol=1e-4 if DOUBLE else 1e-2
        )
    assert _fit.traces == before


def test_wrong_input_is_an_error() -> None:
    counts, background = window(0)
    with pytest.raises(InputError, match="share one shape"):
        fit_norm_and_index(counts, background[1:], MODELS, NODES)
    with pytest.raises(InputError, match="one for each model"):
        fit_norm_and_index(counts, background, MODELS, NODES[1:])
    with pytest.raises(InputError, match="ascend"):
        fit_norm_and_index(counts, background, MODELS, NODES[::-1])
    with pytest.raises(InputError, match="the range of the indices"):
        fit_norm_and_index(counts, background, MODELS, NODES, fixed=6.0)
