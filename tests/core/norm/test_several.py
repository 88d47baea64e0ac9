"""The fit of one pixel with several norms of the background, or with a Gaussian prior."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from free_windows import (
    ASKED,
    SCAN,
    WINDOWS,
    assert_finite_slopes,
    assert_slopes,
    compare,
    compare_curvature,
    compare_scan,
    draw,
    fit_windows,
)
from gammagrad import fit_norm
from gammagrad.core.norm import Status
from gammagrad.core.norm.fit import _fit_norm
from oracles import SlowPlane, slow_plane_fit
from precision import DOUBLE, double_only

GAUSSIAN = {"background_prior": "gaussian"}


def two(rng: np.random.Generator) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return windows of two groups, of unlike backgrounds, and the group of each bin."""
    one, other = draw(rng, 24), draw(rng, 24)
    arrays = tuple(np.concatenate(pair, axis=1) for pair in zip(one, other, strict=True))
    return arrays, np.repeat([0, 1], one[0].shape[1])


def test_a_gaussian_prior_agrees_with_a_plain_likelihood() -> None:
    arrays = draw(np.random.default_rng(3))
    sigmas = np.resize([0.3, 0.05, 0.01], WINDOWS)
    asked = {"selection_optional": ASKED[:3], "scan_values": SCAN, "norm_min": 0.0}
    fit = fit_windows(arrays, "constrained", sigmas, **asked, **GAUSSIAN)
    plane = SlowPlane(*arrays, tau=sigmas**-2.0, gaussian=True)
    compare(fit, slow_plane_fit(plane, norm_min=0.0), np.full(WINDOWS, True))
    compare_scan(fit, plane)


@pytest.mark.parametrize("way", ["free", "constrained"])
def test_norms_of_groups_agree_with_a_plain_likelihood(way: str) -> None:
    arrays, groups = two(np.random.default_rng(4))
    asked = {"selection_optional": ASKED[:3], "scan_values": SCAN, "norm_min": 0.0}
    fit = fit_windows(arrays, way, 0.1, background_groups=groups, **asked)
    plane = SlowPlane(*arrays, tau=100.0 if way == "constrained" else 0.0, groups=groups)
    compare(fit, slow_plane_fit(plane, norm_min=0.0), np.full(len(arrays[0]), True))
    compare_scan(fit, plane)


def test_a_group_that_the_model_does_not_reach_sets_no_bound() -> None:
    (_, background, model), groups = two(np.random.default_rng(4))
    model = model * (groups == 0)
    model = 3 * model / model.max(axis=1, keepdims=True)
    background = 0.1 * background + 2
    # a hole where the model is, in more background than expected; elsewhere there is less
    rate = np.where(groups == 0, 8 * background * (1 - 0.2 * model), 0.4 * background)
    arrays = (np.random.default_rng(5).poisson(rate).astype(float), background, model)
    fit = fit_windows(arrays, "free", background_groups=groups, selection_optional=ASKED[:2])
    assert np.all(fit.norm < -fit.background_norm[:, 1])
    plane = SlowPlane(*arrays, groups=groups)
    compare(fit, slow_plane_fit(plane), np.full(len(arrays[0]), True))
    alone = fit_windows(tuple(a[:, groups == 0] for a in arrays), "free")
    np.testing.assert_allclose(fit.norm, alone.norm, rtol=1e-6 if DOUBLE else 1e-3)
    ours = arrays[0][:, groups == 1].sum(axis=1) / arrays[1][:, groups == 1].sum(axis=1)
    np.testing.assert_allclose(fit.background_norm[:, 1], ours, rtol=1e-6 if DOUBLE else 1e-4)


@double_only
def test_a_background_known_ever_better_is_a_known_one() -> None:
    arrays, groups = two(np.random.default_rng(6))
    fixed = fit_windows(arrays, "fixed")
    options: dict[str, Any] = {"background_groups": groups, **GAUSSIAN}
    tight = fit_windows(arrays, "constrained", 1e-6, **options)
    inside = fixed.status == Status.FITTED
    assert inside.sum() > 8
    error = fixed.norm_err[inside]
    assert np.all(np.abs(tight.norm - fixed.norm)[inside] < 1e-8 * error)
    assert np.all(np.abs(tight.norm_err - fixed.norm_err)[inside] < 1e-8 * error)
    np.testing.assert_allclose(tight.ts[inside], fixed.ts[inside], atol=1e-8, rtol=1e-8)
    np.testing.assert_allclose(tight.background_norm, 1, atol=1e-8)


@pytest.mark.parametrize("way", ["free", "constrained"])
def test_one_group_is_one_norm(way: str) -> None:
    # two solvers, one of which knows a line only
    arrays = draw(np.random.default_rng(7), 200)
    one = fit_windows(arrays, way, 0.1)
    group = fit_windows(arrays, way, 0.1, background_groups=np.zeros(arrays[0].shape[1], int))
    assert group.background_norm.shape == (200, 1)
    np.testing.assert_array_equal(one.status, group.status)
    assert (one.status == Status.AT_BOUND).sum() > 10
    tau = 0.0 if way == "free" else 100.0
    where = np.isin(one.status, [Status.FITTED, Status.AT_BOUND])
    for fit in (one, group):
        compare_curvature(fit, arrays, tau, where)
    bar = 1e-8 if DOUBLE else 2e-3
    for name in ("norm", "ts", "stat"):
        np.testing.assert_allclose(getattr(one, name), getattr(group, name), rtol=bar, atol=bar)


def test_without_counts_there_is_neither_source_nor_background() -> None:
    arrays = [0.0, 0.0, 0.0], [2.0, 3.0, 4.0], [4.0, 4.0, 0.0]
    fit = fit_norm(*arrays, background_norm="free", background_groups=[0, 1, 1])
    assert int(fit.status) == Status.NO_COUNTS
    assert abs(float(fit.norm)) < 1e-5
    assert float(fit.ts) == 0
    assert np.all(np.abs(fit.background_norm) < 1e-5)


@double_only
def test_a_gaussian_prior_lets_the_background_vanish_where_there_are_no_counts() -> None:
    arrays = [0.0, 0.0, 0.0], [2.0, 3.0, 4.0], [4.0, 4.0, 0.0]
    for sigma, best in ((0.5, 0.0), (0.1, -0.475)):
        fit = fit_norm(
            *arrays, background_norm="constrained", background_uncertainty=sigma, **GAUSSIAN
        )
        assert int(fit.status) == Status.NO_COUNTS
        np.testing.assert_allclose(float(fit.norm), best, atol=1e-9)
        # beta is where 9 beta and the prior are least, and no prediction is negative
        np.testing.assert_allclose(float(fit.background_norm), -2 * best, atol=1e-9)
        plane = SlowPlane(*arrays, tau=sigma**-2.0, gaussian=True)
        gain = plane.profile(np.zeros(1)) - plane.profile(np.array([best]))
        np.testing.assert_allclose(float(fit.ts), -gain[0], atol=1e-7)


def test_a_model_in_the_shape_of_a_groups_background_leaves_it_undetermined() -> None:
    shape = np.array([0.5, 1.0, 2.0])
    arrays = [1.0, 2.0, 3.0], shape, 3 * shape
    fit = fit_norm(*arrays, background_norm="free", background_groups=[0, 0, 0])
    assert int(fit.status) == Status.BACKGROUND_UNDETERMINED
    assert np.isfinite([float(a) for a in (fit.norm, fit.ts, fit.stat, fit.npred)]).all()


def test_bins_without_background() -> None:
    options = {"background_norm": "free", "background_groups": [0, 0, 0, 1]}
    empty = fit_norm([0.0, 3.0, 9.0, 1.0], [0.0, 3.0, 8.0, 2.0], [1.0, 2.0, 0.0, 0.5], **options)
    assert int(empty.status) == Status.ZERO_BACKGROUND_BOUND
    assert float(empty.norm) == 0
    np.testing.assert_allclose(empty.background_norm, [12 / 11, 0.5], rtol=1e-5)
    data = [2.0, 3.0, 9.0, 1.0], [0.0, 3.0, 8.0, 2.0], [1.0, 1.0, 0.0, 0.5]
    some = fit_norm(*data, **options)
    assert int(some.status) == Status.COUNTS_WITHOUT_BACKGROUND
    plane = SlowPlane(*data, groups=np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(float(some.norm), plane.minimum()[0], rtol=1e-5)


# -- derivatives


@double_only
def test_gradients_agree_with_finite_differences() -> None:
    assert_slopes({"background_norm": "constrained", **GAUSSIAN}, jnp.asarray(0.2))


def test_gradients_are_finite_at_zero_counts_background_weight_and_model() -> None:
    assert_finite_slopes({"background_norm": "constrained", **GAUSSIAN})


def test_new_values_compile_nothing_new() -> None:
    options = {"background_norm": "constrained", **GAUSSIAN}
    fit_norm(*(a[0] for a in draw(np.random.default_rng(0))), **options)
    before = _fit_norm.traces
    for sigma in (0.1, np.float32(0.2), jnp.asarray(0.3)):
        changed = tuple(a[1] for a in draw(np.random.default_rng(1)))
        fit_norm(*changed, background_uncertainty=sigma, **options)
    assert _fit_norm.traces == before


@double_only
def test_single_precision_meets_its_stated_accuracy() -> None:
    arrays = draw(np.random.default_rng(21))
    exact = fit_windows(arrays, "constrained", 0.1, **GAUSSIAN)
    single = fit_windows(
        tuple(a.astype(np.float32) for a in arrays), "constrained", 0.1, **GAUSSIAN
    )
    scale = np.minimum(exact.norm_err, 1e10)
    assert np.all(np.abs(single.norm - exact.norm) < 1e-4 * scale)
    assert np.all(np.abs(single.ts - exact.ts) < 1e-4 * np.sqrt(1 + np.abs(exact.ts)))
