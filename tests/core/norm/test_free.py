"""The fit of one pixel with a norm of the background: against a plain likelihood, and at its edges.

Windows have bins without a model too, which say how much background there is.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from free_windows import (
    ASKED,
    BINS,
    SCAN,
    WINDOWS,
    assert_finite_slopes,
    assert_slopes,
    compare,
    compare_scan,
    draw,
    fit_windows,
)
from gammagrad import fit_norm
from gammagrad.core.norm import Status
from gammagrad.core.norm.fit import _fit_norm
from oracles import SlowPlane, slow_plane_fit, slow_plane_sensitivity
from precision import DOUBLE, double_only

UNCERTAINTIES = (0.3, 0.05, 0.01)
WAYS = ("free", "constrained")

pixels = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def sigmas_of(way: str) -> np.ndarray:
    """Return the uncertainty of the background in each window."""
    return np.resize(UNCERTAINTIES if way == "constrained" else np.inf, WINDOWS)


@pytest.mark.parametrize("way", WAYS)
def test_agrees_with_a_plain_likelihood(way: str) -> None:
    arrays, sigmas = draw(np.random.default_rng(len(way))), sigmas_of(way)
    tau = sigmas**-2.0
    asked = {"selection_optional": ASKED, "scan_values": SCAN, "norm_min": 0.0}
    fit = fit_windows(arrays, way, sigmas, **asked)
    plane = SlowPlane(*arrays, tau=tau)
    slow = slow_plane_fit(plane, norm_min=0.0)
    compare(fit, slow, np.full(WINDOWS, True))
    compare_scan(fit, plane)
    n, b, m = arrays
    level = (n.sum(axis=1) + tau) / (b.sum(axis=1) + tau)
    unseen = b[:, BINS:].sum(axis=1)
    for at in range(0, WINDOWS, 8):
        own = (b[at, :BINS], m[at, :BINS], tau[at], unseen[at], level[at], 5.0)
        expected = slow_plane_sensitivity(*own)
        np.testing.assert_allclose(
            fit.norm_sensitivity[at], expected, rtol=1e-7 if DOUBLE else 1e-3
        )
    pull = (slow.background_norm[0] - 1) * np.sqrt(tau)
    if way == "constrained":
        np.testing.assert_allclose(fit.background_norm_pull, pull, atol=1e-4 if DOUBLE else 3e-3)


@given(rng=pixels)
def test_both_derivatives_vanish_at_the_best_fit(rng: np.random.Generator) -> None:
    n, b, m = (a[0] for a in draw(rng, 1))
    # backgrounds over many decades, and few to many counts
    b, n = b * 10 ** rng.uniform(-4, 4), np.floor(n * 10 ** rng.uniform(-0.5, 3))
    for sigma in (np.inf, *UNCERTAINTIES):
        tau = sigma**-2.0
        known = {} if tau == 0 else {"background_uncertainty": sigma}
        fit = fit_norm(n, b, m, background_norm="constrained" if known else "free", **known)
        if int(fit.status) not in (Status.FITTED, Status.LOWER_ERROR_AT_BOUND):
            continue
        x, beta = float(fit.norm), float(fit.background_norm)
        mu = beta * b + x * m
        live = n > 0
        assert np.all(mu[live] > 0)
        ratio = np.where(live, n / np.where(live, mu, 1), 0)
        slopes = (m * (1 - ratio)).sum(), (b * (1 - ratio)).sum() + tau * (1 - 1 / beta)
        # in units of how far they are from 0 at one error
        scale = (ratio**2 @ (m**2 / np.maximum(n, 1))), (ratio**2 @ (b**2 / np.maximum(n, 1)))
        bar = 1e-6 if DOUBLE else 5e-2
        noise = (np.finfo(fit.norm.dtype).eps * 8) * np.array([m @ ratio, b @ ratio + tau])
        assert abs(slopes[0]) < bar * np.sqrt(scale[0]) + noise[0]
        assert abs(slopes[1]) < bar * np.sqrt(scale[1] + tau / beta**2) + noise[1]


@double_only
@given(rng=pixels)
def test_a_free_norm_does_not_care_for_the_scale_of_the_background(
    rng: np.random.Generator,
) -> None:
    n, b, m = (a[0] for a in draw(rng, 1))
    factor = 10 ** rng.uniform(-3, 3)
    one, other = (fit_norm(n, s * b, m, background_norm="free") for s in (1.0, factor))
    scale = float(one.norm_err) if np.isfinite(float(one.norm_err)) else 1.0
    assert abs(float(one.norm - other.norm)) < 1e-7 * (scale + abs(float(one.norm)))
    np.testing.assert_allclose(one.ts, other.ts, atol=1e-8, rtol=1e-8)
    np.testing.assert_allclose(one.background_norm, factor * other.background_norm, rtol=1e-7)


@double_only
def test_a_constraint_is_one_more_bin() -> None:
    n, b, m = (a[3] for a in draw(np.random.default_rng(5)))
    options = {"background_norm": "constrained", "background_uncertainty": 0.1}
    constrained = fit_norm(n, b, m, **options)
    free = fit_norm(
        np.append(n, 100.0), np.append(b, 100.0), np.append(m, 0.0), background_norm="free"
    )
    for name in ("norm", "norm_err", "ts", "background_norm", "background_norm_err"):
        np.testing.assert_allclose(getattr(constrained, name), getattr(free, name), rtol=1e-9)


@double_only
def test_a_background_known_ever_better_is_a_known_one() -> None:
    arrays = draw(np.random.default_rng(9))
    asked = {"selection_optional": ("errn-errp", "ul", "sensitivity")}
    fixed = fit_windows(arrays, "fixed", **asked)
    tight = fit_windows(arrays, "constrained", 1e-6, **asked)
    inside = fixed.status == Status.FITTED
    assert inside.sum() > 10
    for name in ("norm", "norm_err", "norm_errp", "norm_errn", "norm_ul", "norm_sensitivity"):
        known = np.isfinite(fixed.norm_err) & (inside | (name != "norm_errn"))
        ours, theirs = getattr(tight, name)[known], getattr(fixed, name)[known]
        off = np.abs(ours - theirs) / fixed.norm_err[known]
        assert np.all(off < 1e-8), (name, off.max())
    np.testing.assert_array_equal(np.isfinite(tight.norm_err), np.isfinite(fixed.norm_err))
    np.testing.assert_allclose(tight.ts, fixed.ts, atol=1e-8, rtol=1e-8)
    np.testing.assert_allclose(tight.background_norm, 1, atol=1e-8)
    # it is no bound of the lower error any more, as the background may rise
    nearly = np.where(fixed.status == Status.LOWER_ERROR_AT_BOUND, 0, fixed.status)
    np.testing.assert_array_equal(tight.status, nearly)


def test_without_counts_there_is_neither_source_nor_background() -> None:
    fit = fit_norm(
        [0.0, 0.0, 0.0],
        [2.0, 3.0, 4.0],
        [4.0, 4.0, 0.0],
        background_norm="free",
        selection_optional=("errn-errp", "ul", "stat_scan"),
        scan_values=[-1.0, 0.5],
    )
    assert int(fit.status) == Status.NO_COUNTS
    assert float(fit.norm) == float(fit.background_norm) == float(fit.ts) == 0
    assert np.isinf(float(fit.norm_err))
    # the statistic is 2 x M
    np.testing.assert_allclose(float(fit.norm_ul), 4 / 16, rtol=1e-6)
    np.testing.assert_allclose(float(fit.norm_errp), 1 / 16, rtol=1e-6)
    np.testing.assert_allclose(fit.stat_scan[1], 8, rtol=1e-6)
    # below 0 the background must fill the deepest hole: beta >= 2, for an expected 2 x 9 counts
    np.testing.assert_allclose(fit.stat_scan[0], 2 * (2 * 9 - 8), rtol=1e-6)


def test_all_counts_in_the_shape_of_the_model_leave_no_background() -> None:
    arrays = np.array([0.0, 4.0, 9.0, 0.0]), np.ones(4), np.array([0.1, 4.0, 9.0, 0.0])
    asked = {"selection_optional": ("errn-errp", "ul")}
    fit = fit_norm(*arrays, background_norm="free", **asked)
    assert int(fit.status) == Status.BACKGROUND_VANISHES
    x = 13 / 13.1
    np.testing.assert_allclose(float(fit.norm), x, rtol=1e-5)
    np.testing.assert_allclose(float(fit.norm_err), x / np.sqrt(13), rtol=1e-5)
    assert float(fit.background_norm) < 1e-5
    plane = SlowPlane(*arrays)
    best = plane.profile(np.array([x]))
    for end, level in ((x + fit.norm_errp, 1), (x - fit.norm_errn, 1), (fit.norm_ul, 4)):
        risen = float((plane.profile(np.array([float(end)])) - best)[0])
        np.testing.assert_allclose(risen, level, rtol=1e-6 if DOUBLE else 1e-3)
    # what is known of the background keeps it
    known = fit_norm(*arrays, background_norm="constrained", background_uncertainty=0.5)
    assert int(known.status) == Status.FITTED
    assert 0.2 < float(known.background_norm) < 1


def test_a_model_in_the_shape_of_the_background_is_not_fitted() -> None:
    shape = np.array([0.5, 1.0, 2.0])
    fit = fit_norm([1.0, 2.0, 3.0], shape, 3 * shape, background_norm="free")
    assert int(fit.status) == Status.BACKGROUND_UNDETERMINED
    numbers = fit.norm, fit.ts, fit.stat, fit.npred
    assert np.isfinite([float(a) for a in numbers]).all()
    known = fit_norm(
        *([1.0, 2.0, 3.0], shape, 3 * shape),
        background_norm="constrained",
        background_uncertainty=0.2,
    )
    assert int(known.status) == Status.FITTED
    # the counts are 6, the background is 3.5 and stays; norm 1 is 10.5 counts
    np.testing.assert_allclose(float(known.norm), 2.5 / 10.5, rtol=1e-4)
    np.testing.assert_allclose(float(known.background_norm), 1, rtol=1e-4)
    # the variance of the counts, and that of the background
    expected = np.sqrt(6 + (0.2 * 3.5) ** 2) / 10.5
    np.testing.assert_allclose(float(known.norm_err), expected, rtol=1e-3)


def test_bins_without_background() -> None:
    options = {"background_norm": "free", "selection_optional": "errn-errp"}
    empty = fit_norm([0.0, 3.0, 9.0], [0.0, 3.0, 8.0], [1.0, 2.0, 0.0], **options)
    assert int(empty.status) == Status.ZERO_BACKGROUND_BOUND
    assert float(empty.norm) == 0
    np.testing.assert_allclose(float(empty.background_norm), 12 / 11, rtol=1e-5)
    some = fit_norm([2.0, 3.0, 9.0], [0.0, 3.0, 8.0], [1.0, 1.0, 0.0], **options)
    assert int(some.status) == Status.COUNTS_WITHOUT_BACKGROUND
    # only the source can have made the two: counts 2 / x, and the rest is shared
    plane = SlowPlane(*([[2.0, 3.0, 9.0], [0.0, 3.0, 8.0], [1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(float(some.norm), plane.minimum()[0], rtol=1e-5)
    assert np.isfinite([float(some.ts), float(some.norm_errn), float(some.norm_errp)]).all()


def test_bins_of_no_weight_do_not_enter_and_weights_count_bins() -> None:
    arrays = np.array([[3.0, 1.0, 4.0], [2.0, 1.0, 3.0], [1.0, 2.0, 0.0]])
    options = {"background_norm": "constrained", "background_uncertainty": 0.2}
    alone = fit_norm(*arrays, **options)
    masked = fit_norm(*np.c_[arrays, [9.0, 1.0, 3.0]], weights=[1.0, 1.0, 1.0, 0.0], **options)
    unknown = fit_norm(*np.c_[arrays, [9.0, np.nan, 3.0]], **options)
    twice = fit_norm(*np.c_[arrays, arrays[:, :1]], **options)
    weighted = fit_norm(*arrays, weights=[2.0, 1.0, 1.0], **options)
    for name in ("norm", "ts", "stat", "npred", "norm_err", "background_norm"):
        assert float(getattr(masked, name)) == float(getattr(alone, name))
        assert float(getattr(unknown, name)) == float(getattr(alone, name))
        bar = 1e-9 if DOUBLE else 2e-4
        np.testing.assert_allclose(getattr(weighted, name), getattr(twice, name), rtol=bar)


def test_limits_start_at_the_least_norm() -> None:
    counts, background, model = [1.0, 2.0, 12.0], [4.0, 5.0, 12.0], [2.0, 1.0, 0.0]
    plane = SlowPlane(counts, background, model)
    for least in (0.0, 0.5, -0.2):
        fit = fit_norm(
            *(counts, background, model),
            background_norm="free",
            selection_optional="ul",
            norm_min=least,
        )
        assert float(fit.norm) < least
        base, top = (plane.profile(np.array([x]))[0] for x in (least, float(fit.norm_ul)))
        np.testing.assert_allclose(top - base, 4, rtol=1e-7 if DOUBLE else 1e-3)


# -- derivatives


@double_only
def test_gradients_agree_with_finite_differences() -> None:
    assert_slopes({"background_norm": "constrained"}, jnp.asarray(0.2))


@double_only
def test_gradients_of_a_free_norm_agree_with_finite_differences() -> None:
    assert_slopes({"background_norm": "free"}, None)


def test_gradients_are_finite_at_zero_counts_background_weight_and_model() -> None:
    assert_finite_slopes({"background_norm": "free"})


def test_new_values_compile_nothing_new() -> None:
    options = {"background_norm": "constrained"}
    arrays = tuple(a[0] for a in draw(np.random.default_rng(0)))
    fit_norm(*arrays, **options)
    before = _fit_norm.traces
    for sigma in (0.1, np.float32(0.2), jnp.asarray(0.3)):
        changed = tuple(a[1] for a in draw(np.random.default_rng(1)))
        fit_norm(*changed, background_uncertainty=sigma, **options)
    assert _fit_norm.traces == before


@double_only
@pytest.mark.parametrize("way", WAYS)
def test_single_precision_meets_its_stated_accuracy(way: str) -> None:
    arrays = draw(np.random.default_rng(21))
    exact = fit_windows(arrays, way, sigmas_of(way))
    single = fit_windows(tuple(a.astype(np.float32) for a in arrays), way, sigmas_of(way))
    assert single.norm.dtype == single.background_norm.dtype == np.float32
    scale = np.minimum(exact.norm_err, 1e10)
    assert np.all(np.abs(single.norm - exact.norm) < 1e-4 * scale)
    assert np.all(np.abs(single.ts - exact.ts) < 1e-4 * np.sqrt(1 + np.abs(exact.ts)))
    scale = np.minimum(exact.background_norm_err, 1e10)
    off = np.abs(single.background_norm - exact.background_norm)
    # where no background is left it has no error either
    assert np.all(off < 1e-4 * scale + 1e-6)
