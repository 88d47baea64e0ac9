"""Fits of one pixel to ON and OFF counts: a plain twin, kinks and edges, gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad import fit_norm
from gammagrad.core.norm import Status
from gammagrad.core.norm.fit import _fit_norm
from gammagrad.errors import InputError
from gammagrad.stats import lima_significance, wstat
from oracles import slow_on_off
from precision import DOUBLE, double_only

Bins = tuple[np.ndarray, ...]
KINDS = ("all", "joint", "signal")


def draw(rng: np.random.Generator, kind: str, size: int = 49) -> Bins:
    """Draw n, k, alpha, known signal or background, and model; a few OFF counts or many."""
    kernel = np.exp(-0.5 * np.linspace(-3, 3, size) ** 2)
    model = kernel / kernel.sum() * 10 ** rng.uniform(0, 2)
    background = 10 ** rng.uniform(-2, 1) * rng.uniform(0.5, 1.5, size)
    alpha = 10 ** rng.uniform(-1.5, 0.5) * rng.uniform(0.7, 1.4, size)
    n = rng.poisson(background + rng.choice([0, 0.2, 2.0]) * model).astype(float)
    k = rng.poisson(background / alpha).astype(float)
    signal = np.zeros(size)
    if kind == "joint":
        alpha[::2], k[::2], signal[::2] = 0, 0, background[::2]
    if kind == "signal":
        signal = rng.uniform(0, 0.3, size) * background * (rng.random(size) < 0.5)
    return n, k, alpha, signal, model


def fitted(bins: Bins, *optional: str, **options: object) -> object:
    n, k, alpha, signal, model = bins
    return fit_norm(
        n, signal, model, counts_off=k, alpha=alpha, selection_optional=optional, **options
    )


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_a_plain_twin(kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    tight = 1e-5 if DOUBLE else 2e-2
    for _ in range(30):
        bins = draw(rng, kind)
        fit = fitted(bins, "errn-errp", "ul", "sensitivity")
        slow = slow_on_off(*bins)
        scale = slow.norm_errp
        for name in ("norm", "norm_errp", "norm_errn", "norm_ul"):
            assert abs(float(getattr(fit, name)) - getattr(slow, name)) < tight * scale, name
        np.testing.assert_allclose(fit.norm_sensitivity, slow.norm_sensitivity, rtol=tight)
        assert abs(float(fit.ts) - slow.ts) <= (1e-9 if DOUBLE else 1e-3) * (1 + abs(slow.ts))


@pytest.mark.slow
@double_only
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_windows(kind: str) -> None:
    rng = np.random.default_rng(10 + KINDS.index(kind))
    for _ in range(334):
        bins = draw(rng, kind)
        fit, slow = fitted(bins, "errn-errp", "ul"), slow_on_off(*bins)
        for name in ("norm", "norm_errp", "norm_errn", "norm_ul"):
            error = abs(float(getattr(fit, name)) - getattr(slow, name))
            assert error < 1e-4 * slow.norm_errp, name
        assert abs(float(fit.ts) - slow.ts) < 1e-6


def test_one_bin_has_the_significance_of_li_and_ma() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        n, k, alpha = float(rng.integers(0, 50)), float(rng.integers(0, 50)), rng.uniform(0.05, 3)
        fit = fit_norm([n], [0.0], [7.0], counts_off=[k], alpha=[alpha])
        expected = float(lima_significance(n, k, alpha))
        root = np.sign(fit.ts) * np.sqrt(np.abs(fit.ts))
        assert abs(float(root) - expected) < (1e-8 if DOUBLE else 2e-3) * (1 + abs(expected))
        if n + k > 0:
            np.testing.assert_allclose(fit.norm, (n - alpha * k) / 7, rtol=1e-4, atol=1e-4)


def test_one_bin_has_the_error_of_a_difference() -> None:
    fit = fit_norm([30.0], [0.0], [10.0], counts_off=[40.0], alpha=[0.25])
    np.testing.assert_allclose(fit.norm_err, np.sqrt(30 + 0.25**2 * 40) / 10, rtol=1e-5)
    np.testing.assert_allclose(fit.npred, 30, rtol=1e-5)
    np.testing.assert_allclose(fit.npred_excess, 20, rtol=1e-5)
    np.testing.assert_allclose(fit.stat_null, wstat(30.0, 40.0, 0.25, 0.0), rtol=1e-5)


def test_bins_without_counts_keep_the_norm_at_a_kink() -> None:
    model, alpha = np.array([1.0, 2.0, 1.0]), np.full(3, 0.5)
    fit = fit_norm(
        np.zeros(3), np.zeros(3), model, counts_off=np.zeros(3), alpha=alpha,
        selection_optional=("errn-errp", "ul"),
    )  # fmt: skip
    assert int(fit.status) == Status.AT_KINK
    assert float(fit.norm) == float(fit.ts) == 0
    # lines of slope 2 M up, and 2 sum m / alpha down
    np.testing.assert_allclose([fit.norm_errp, fit.norm_errn], [1 / 8, 1 / 16], rtol=1e-5)
    np.testing.assert_allclose(fit.norm_err, 0.5 * (1 / 8 + 1 / 16), rtol=1e-5)
    np.testing.assert_allclose(fit.norm_ul, 4 / 8, rtol=1e-5)


def test_a_fit_below_zero_has_no_bound() -> None:
    fit = fit_norm([0.0], [0.0], [2.0], counts_off=[40.0], alpha=[0.5])
    np.testing.assert_allclose(fit.norm, -10, rtol=1e-4)
    assert int(fit.status) == Status.FITTED
    assert float(fit.ts) < 0


def test_bins_with_a_known_background_are_those_of_another_fit() -> None:
    rng = np.random.default_rng(4)
    n, _, _, background, model = draw(rng, "joint")
    background = background + 0.5
    zero = np.zeros_like(n)
    options = {"selection_optional": "all", "scan_values": [-0.001, 0.2]}
    known = fit_norm(n, background, model, **options)
    joint = fit_norm(n, background, model, counts_off=zero, alpha=zero, **options)
    for name in ("norm", "norm_err", "ts", "stat", "npred", "norm_ul", "norm_errn", "stat_scan"):
        np.testing.assert_allclose(
            getattr(joint, name), getattr(known, name), rtol=1e-6 if DOUBLE else 3e-3, atol=1e-3
        )
    np.testing.assert_allclose(joint.norm_sensitivity, known.norm_sensitivity, rtol=1e-3)
    assert int(joint.status) == int(known.status)


def test_weights_are_factors_of_the_statistic() -> None:
    n, k, alpha, signal, model = draw(np.random.default_rng(5), "signal")
    once = fit_norm(n, signal, model, counts_off=k, alpha=alpha)
    half = fit_norm(n, signal, model, np.full(n.shape, 0.5), counts_off=k, alpha=alpha)
    np.testing.assert_allclose(half.norm, once.norm, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([half.ts, half.stat], [once.ts / 2, once.stat / 2], rtol=1e-3)
    k[3], alpha[5] = np.nan, np.nan
    weights = np.ones_like(n)
    weights[[3, 5]] = 0
    masked = fit_norm(
        n, signal, model, weights, counts_off=np.nan_to_num(k), alpha=np.nan_to_num(alpha, nan=1.0)
    )
    unknown = fit_norm(n, signal, model, counts_off=k, alpha=alpha)
    assert float(masked.norm) == float(unknown.norm)


@double_only
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["norm", "norm_err", "ts", "norm_errp", "norm_errn", "norm_ul"])
def test_gradients_are_those_of_differences(kind: str, name: str) -> None:
    rng = np.random.default_rng(20)
    bins = next(b for b in iter(lambda: draw(rng, kind, 9), None) if regular(b))

    def value(*bins: jax.Array) -> jax.Array:
        n, k, alpha, signal, model = bins
        fit = fit_norm(
            n, signal, model, counts_off=k, alpha=alpha, selection_optional=("errn-errp", "ul")
        )
        found: jax.Array = getattr(fit, name)
        return found

    slopes = jax.jit(jax.grad(value, argnums=range(5)))(*map(jnp.asarray, bins))
    fast = jax.jit(value)
    for which, slope in enumerate(slopes):
        assert np.isfinite(slope).all()
        for pixel in (2, 3, 5):
            step = 1e-5 * max(bins[which][pixel], 1e-2)
            if bins[which][pixel] < step:
                continue
            up, down = ([a.copy() for a in bins] for _ in range(2))
            up[which][pixel] += step
            down[which][pixel] -= step
            difference = (float(fast(*up)) - float(fast(*down))) / (2 * step)
            assert abs(float(slope[pixel]) - difference) < 1e-5 * (1 + abs(difference)), which


def regular(bins: Bins) -> bool:
    """Tell whether a window is fitted away from kinks."""
    fit = fitted(bins)
    return int(fit.status) == Status.FITTED and bins[0].min() > 0 and abs(float(fit.norm)) > 0.05


def test_gradients_are_finite_without_counts() -> None:
    n = jnp.zeros(4)

    def total(n: jax.Array, k: jax.Array, alpha: jax.Array, m: jax.Array) -> jax.Array:
        fit = fit_norm(n, n, m, counts_off=k, alpha=alpha, selection_optional=("errn-errp", "ul"))
        return fit.norm + fit.norm_err + fit.ts + fit.stat + fit.norm_ul + fit.norm_errn

    for k in (jnp.zeros(4), jnp.array([0.0, 2.0, 0.0, 1.0])):
        slopes = jax.grad(total, argnums=(0, 1, 2, 3))(n, k, jnp.full(4, 0.3), jnp.ones(4))
        assert all(np.isfinite(a).all() for a in slopes)


def test_a_second_call_compiles_nothing() -> None:
    rng = np.random.default_rng(6)
    fitted(draw(rng, "all"), "ul")
    before = _fit_norm.traces
    fitted(draw(rng, "all", 40), "ul", n_sigma_ul=3)
    assert _fit_norm.traces == before


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"counts_off": [1.0]}, "alpha"),
        ({"alpha": [1.0]}, "counts_off"),
        ({"counts_off": [1.0], "alpha": [-1.0]}, "alpha"),
        ({"counts_off": [1.0], "alpha": [0.0]}, "alpha"),
    ],
)
def test_bad_input_is_refused(given: dict, argument: str) -> None:
    with pytest.raises(InputError) as caught:
        fit_norm([1.0], [0.0], [1.0], **given)
    assert caught.value.argument == argument


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="share one shape"):
        fit_norm([1.0, 2.0], [0.0, 0.0], [1.0, 1.0], counts_off=[1.0], alpha=[1.0])
