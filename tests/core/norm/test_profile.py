"""Errors, limits, scans and sensitivities: against bisection, scipy and mpmath, in both engines."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq
from scipy.stats import chi2, poisson

from fields import Field, random_field
from gammagrad import fit_norm, ts_map
from gammagrad.core.norm import FitOptions, NormFit, Status, parse_selection
from gammagrad.core.norm.options import OPTIONAL
from gammagrad.core.norm.sensitivity import asimov_terms
from gammagrad.core.ts_map import cube_bins, fit_occupied, summed_bins
from gammagrad.core.ts_map.chunk import fit_chunk
from oracles import slow_profile, slow_rise, windows_at
from precision import DOUBLE, double_only

NORMS = np.array([-3.0, -0.2, -0.01, 0.0, 0.01, 0.3, 2.0, 50.0])
ENDS = ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity")


def listed(field: Field, mode: str = "cube", **kwargs) -> NormFit:
    parts = [jnp.asarray(a) for a in field]
    images = cube_bins(*parts) if mode == "cube" else summed_bins(*parts, mode)
    options = {"selection": OPTIONAL, "scan_values": NORMS} | kwargs
    return fit_occupied([images], np.ones(field.counts.shape[1:], bool), **options)


def bins_at(field: Field, row: int, col: int) -> tuple[np.ndarray, ...]:
    known = np.isfinite(field.background)
    weights = np.where(known, field.weights, 0.0)
    masked = [
        np.where(weights > 0, weights * np.where(known, a, 0.0), 0.0)
        for a in (field.counts, field.background, field.exposure)
    ]
    (n, b, e), k = windows_at(masked, field.kernel, row, col)
    return n, b, k * e


@pytest.mark.parametrize("norm_min", [None, 0.0])
def test_a_map_agrees_with_bisection_at_every_pixel(norm_min: float | None) -> None:
    field = random_field(3)
    fit = ts_map(
        *field, selection_optional="all", scan_values=NORMS, n_sigma=1.5, norm_min=norm_min
    )
    tight = 1e-8 if DOUBLE else 1e-3
    for row, col in itertools.product(range(14), range(11)):
        if fit.status[row, col] == Status.NOT_FITTED:
            continue
        slow = slow_profile(
            *bins_at(field, row, col),
            n_sigma=1.5,
            norm_min=-np.inf if norm_min is None else norm_min,
            scan_values=NORMS,
        )
        # in single precision an error is known in units of the whole interval
        scale = abs(slow.norm_errp) + abs(slow.norm_errn)
        for name in ENDS:
            value, expected = float(getattr(fit, name)[row, col]), getattr(slow, name)
            assert abs(value - expected) < tight * max(abs(expected), scale), (name, row, col)
        scan = np.asarray(fit.stat_scan)[:, row, col]
        np.testing.assert_array_equal(np.isinf(scan), np.isinf(slow.stat_scan))
        finite = np.isfinite(scan)
        np.testing.assert_allclose(scan[finite], slow.stat_scan[finite], rtol=tight, atol=tight)


@double_only
@pytest.mark.parametrize(
    "mode", [*(pytest.param(m, marks=pytest.mark.slow) for m in ("cube", "counts")), "equal"]
)
def test_both_engines_agree(mode: str) -> None:
    field = random_field(4)
    how = {} if mode == "cube" else {"sum_over_energy": True, "kernel_weighting": mode}
    numbers = {"n_sigma_ul": 1.645, "gamma_min": 3.0, "bkg_syst_fraction": 0.05}
    one = ts_map(*field, **how, selection_optional="all", scan_values=NORMS, **numbers)
    other = listed(field, mode, options=FitOptions(**numbers))
    for name in (*ENDS, "stat_scan", "norm", "ts"):
        np.testing.assert_allclose(
            getattr(other, name), getattr(one, name), rtol=1e-9, atol=1e-9, err_msg=name
        )


@double_only
@pytest.mark.slow
def test_each_output_changes_no_other() -> None:
    field = random_field(5)
    base, every = listed(field, selection=()), listed(field)
    for name in ("norm", "norm_err", "ts", "stat", "npred", "niter", "status"):
        np.testing.assert_array_equal(getattr(base, name), getattr(every, name))
    for name in OPTIONAL:
        alone = listed(field, selection=(name,))
        given = [n for n in (*ENDS, "stat_scan") if getattr(alone, n) is not None]
        for quantity in given:
            np.testing.assert_array_equal(getattr(alone, quantity), getattr(every, quantity))


def test_without_counts_the_limit_is_a_straight_line() -> None:
    fit = fit_norm(np.zeros(3), [1.0, 2.0, 3.0], [0.5, 0.5, 1.0], selection_optional=["ul"])
    assert float(fit.norm_ul) == pytest.approx(-2 + 4 / (2 * 2.0), rel=1e-6)
    zero = fit_norm(
        np.zeros(3), [1.0, 2.0, 3.0], [0.5, 0.5, 1.0], selection_optional="ul", norm_min=0
    )
    assert float(zero.norm_ul) == pytest.approx(4 / (2 * 2.0), rel=1e-6)


@double_only
def test_a_limit_of_one_bin_is_that_of_the_poisson_likelihood() -> None:
    counts, background = 7.0, 3.0
    fit = fit_norm([counts], [background], [1.0], selection_optional="all", scan_values=[0.0])

    def rise(mean: float) -> float:
        log = poisson.logpmf(7, mean) - poisson.logpmf(7, counts)
        return -2 * log

    upper = brentq(lambda mu: rise(mu) - 4, counts, 40)
    lower = brentq(lambda mu: rise(mu) - 1, 1e-3, counts)
    assert float(fit.norm_ul) == pytest.approx(upper - background, rel=1e-10)
    assert float(fit.norm_errn) == pytest.approx(counts - lower, rel=1e-10)
    # 2 standard deviations are 97.7 % one-sided
    assert chi2(1).cdf(4) / 2 + 0.5 == pytest.approx(0.977, abs=5e-4)


@double_only
def test_the_lower_error_ends_at_the_bound_and_the_status_says_so() -> None:
    fit = fit_norm([1.0, 0.0], [2.0, 0.3], [1.0, 1.0], n_sigma=2, selection_optional="errn-errp")
    assert int(fit.status) == Status.LOWER_ERROR_AT_BOUND or float(fit.norm) == -0.3
    assert float(fit.norm - fit.norm_errn) >= -0.3
    free = fit_norm([40.0], [20.0], [1.0], selection_optional="errn-errp")
    assert int(free.status) == Status.FITTED
    ended = fit_norm([5.0, 0.0], [2.0, 0.3], [1.0, 1.0], n_sigma=2, selection_optional="errn-errp")
    assert int(ended.status) == Status.LOWER_ERROR_AT_BOUND
    assert float(ended.norm - ended.norm_errn) == pytest.approx(-0.3, abs=1e-14)


def test_a_status_of_the_lower_error_needs_no_errors_to_be_asked_for() -> None:
    bins = ([5.0, 0.0], [2.0, 0.3], [1.0, 1.0])
    assert int(fit_norm(*bins, n_sigma=2).status) == Status.LOWER_ERROR_AT_BOUND
    assert int(fit_norm(*bins, n_sigma=0.1).status) == Status.FITTED


@double_only
def test_the_asimov_statistic_is_exact_at_every_scale() -> None:
    for z in (1e-12, 1e-6, 0.0299, 0.0301, 0.7, 1e5):
        value, slope, curvature = asimov_terms(jnp.asarray(z), jnp.asarray(3.0), jnp.asarray(3.0))
        with mpmath.workdps(60):
            exact = 3 * ((1 + mpmath.mpf(z)) * mpmath.log1p(z) - z)
            assert abs(float(value) / exact - 1) < 1e-10
            assert abs(float(slope) / (3 * mpmath.log1p(z)) - 1) < 1e-12
            assert abs(float(curvature) * (1 + z) / 3 - 1) < 1e-12


@double_only
@pytest.mark.parametrize("level", [2.0, 5.0])
def test_a_sensitivity_is_the_norm_whose_expected_counts_have_that_ts(level: float) -> None:
    background, model = np.array([4.0, 1.0, 0.2]), np.array([5.0, 2.0, 0.1])
    found = fit_norm(
        np.zeros(3), background, model, selection_optional="sensitivity", n_sigma_sensitivity=level
    ).norm_sensitivity
    asimov = fit_norm(background + float(found) * model, background, model)
    assert float(asimov.ts) == pytest.approx(level**2, rel=1e-9)
    assert float(asimov.norm) == pytest.approx(float(found), rel=1e-9)


@double_only
def test_counts_and_systematics_that_a_sensitivity_asks_for() -> None:
    bins = (np.zeros(1), np.array([100.0]), np.array([2.0]))
    few = fit_norm(*bins, selection_optional="sensitivity", gamma_min=500)
    assert float(few.norm_sensitivity) == pytest.approx(250)
    # one bin: an excess of that fraction of the background
    systematic = fit_norm(*bins, selection_optional="sensitivity", bkg_syst_fraction=3)
    assert float(systematic.norm_sensitivity) * 2 == pytest.approx(300)
    plain = fit_norm(*bins, selection_optional="sensitivity")
    assert float(plain.norm_sensitivity) < 50


def test_a_sensitivity_does_not_depend_on_the_counts() -> None:
    field = random_field(6)
    empty = field._replace(counts=np.zeros_like(field.counts))
    one, other = (ts_map(*f, selection_optional="sensitivity") for f in (field, empty))
    np.testing.assert_array_equal(one.norm_sensitivity, other.norm_sensitivity)
    fitted = np.asarray(one.status) != Status.NOT_FITTED
    assert np.all(np.asarray(one.norm_sensitivity)[fitted] > 0)
    assert np.isfinite(one.norm_sensitivity).all()


@double_only
@given(
    counts=arrays(float, 6, elements=st.integers(0, 40).map(float)),
    background=arrays(float, 6, elements=st.floats(1e-6, 1e3)),
    model=arrays(float, 6, elements=st.floats(1e-8, 1e3)),
    level=st.sampled_from([1.0, 2.0, 5.0]),
)
def test_ends_solve_the_profile_whatever_the_bins(
    counts: np.ndarray, background: np.ndarray, model: np.ndarray, level: float
) -> None:
    bins = (counts, background, model)
    fit = fit_norm(*bins, n_sigma=level, n_sigma_ul=level, selection_optional=["errn-errp", "ul"])
    norm, upper = float(fit.norm), float(fit.norm_ul)
    bound = -np.min(background / model)
    assert upper > norm
    assert upper == pytest.approx(norm + float(fit.norm_errp), rel=1e-12)
    assert slow_rise(*bins, norm, upper) == pytest.approx(level**2, rel=1e-6, abs=1e-6)
    lower = norm - float(fit.norm_errn)
    assert lower >= bound - 1e-12 * abs(bound)
    risen = slow_rise(*bins, norm, lower)
    resolved = (
        1e-6 * level**2 + 1e-14 * norm / (lower - bound) * counts.sum() if lower > bound else 0
    )
    at_bound = lower <= bound + 1e-12 * abs(bound)
    assert at_bound or abs(risen - level**2) < max(resolved, 1e-5)


@double_only
def test_limits_and_sensitivities_have_the_derivatives_of_differences() -> None:
    rng = np.random.default_rng(0)
    background, model = rng.uniform(0.2, 2, 8), rng.uniform(0.1, 3, 8)
    counts = rng.poisson(background + model).astype(float)

    def ends(counts, background, model) -> jax.Array:
        fit = fit_norm(counts, background, model, selection_optional="all", scan_values=[0.4])
        return jnp.stack([getattr(fit, name) for name in ENDS] + [fit.stat_scan[0]])

    arguments = tuple(jnp.asarray(a) for a in (counts, background, model))
    derivatives = jax.jacrev(ends, argnums=(0, 1, 2))(*arguments)
    forward = jax.jacfwd(ends, argnums=(0, 1, 2))(*arguments)
    for which, (derivative, ahead) in enumerate(zip(derivatives, forward, strict=True)):
        np.testing.assert_allclose(derivative, ahead, rtol=1e-10, atol=1e-10)
        for index in range(8):
            step = 1e-5 * np.eye(8)[index]
            shifted = [
                ends(*(a + sign * step * (k == which) for k, a in enumerate(arguments)))
                for sign in (1, -1)
            ]
            numeric = (shifted[0] - shifted[1]) / 2e-5
            np.testing.assert_allclose(derivative[:, index], numeric, rtol=1e-5, atol=1e-7)


@double_only
def test_a_kept_guess_has_the_profile_seen_from_it() -> None:
    field = random_field(8, special=False)
    guess = np.full(field.counts.shape[1:], 0.2)
    full = listed(field)
    kept = listed(field, guess=guess, threshold=1.0)
    is_kept = kept.status == Status.GUESS_KEPT
    assert 0 < is_kept.sum() < is_kept.size
    for name in ("norm", "norm_ul", "ts", "status", "niter"):
        same = getattr(full, name)[~is_kept], getattr(kept, name)[~is_kept]
        # the tests' compiler rounds other programs in other ways
        np.testing.assert_allclose(*same, rtol=1e-12, atol=1e-12)
    assert np.all(kept.niter[is_kept] == 0)
    for row, col in list(zip(*np.nonzero(is_kept), strict=True))[::7]:
        bins = bins_at(field, row, col)
        norm, limit = kept.norm[row, col], kept.norm_ul[row, col]
        assert norm >= 0.2
        ts = -slow_rise(*bins, 0.0, norm)
        assert ts <= 1
        assert kept.ts[row, col] == pytest.approx(ts, abs=1e-10)
        assert slow_rise(*bins, norm, limit) == pytest.approx(4, rel=1e-8)
        low = norm - kept.norm_errn[row, col]
        bound = -np.min((bins[1] / np.where(bins[2] > 0, bins[2], np.nan))[bins[2] > 0])
        assert low <= bound + 1e-12 or slow_rise(*bins, norm, low) == pytest.approx(1, rel=1e-7)
    alone = listed(field, guess=guess, threshold=1.0, selection=())
    np.testing.assert_allclose(alone.norm, kept.norm, rtol=1e-12)
    np.testing.assert_array_equal(alone.status, kept.status)


@double_only
def test_no_field_at_all_keeps_every_guess_finite() -> None:
    field = random_field(8)._replace(counts=np.zeros((3, 14, 11)))
    kept = listed(field, guess=np.full((14, 11), -1e9), threshold=1.0)
    assert np.isfinite(kept.norm).all()
    assert np.isfinite(kept.norm_ul[kept.status != Status.NOT_FITTED]).all()


@double_only
def test_other_numbers_compile_nothing() -> None:
    field = random_field(9)
    listed(field)
    before = fit_chunk.traces
    listed(random_field(10), options=FitOptions(n_sigma=2, n_sigma_ul=3, norm_min=0.0))
    assert fit_chunk.traces == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("limit", "'limit', which is not an optional output"),
        (["ul", "errn"], "did you mean 'errn-errp'"),
    ],
)
def test_unknown_outputs_are_named(value: str | list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_selection(value)
    with pytest.raises(ValueError, match="scan_values"):
        fit_norm([1.0], [1.0], [1.0], selection_optional="all")


@double_only
def test_a_threshold_leaves_the_intervals_of_bright_pixels_alone() -> None:
    field = random_field(11, special=False)
    bright = field._replace(counts=field.counts * 300.0)
    full = listed(bright, selection=("errn-errp", "ul"))
    kept = listed(bright, selection=("errn-errp", "ul"), guess=np.zeros((14, 11)), threshold=1.0)
    same = kept.status != Status.GUESS_KEPT
    assert same.sum() > 100
    for name in ("norm_errp", "norm_errn", "norm_ul"):
        np.testing.assert_allclose(getattr(kept, name)[same], getattr(full, name)[same], rtol=1e-9)
