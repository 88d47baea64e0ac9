"""What holds for any counts, background, kernel and weights, in all three ways to fit a norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from any_data import (
    KERNEL,
    SHAPE,
    AnyField,
    Bins,
    Floats,
    any_bins,
    any_field,
    bins_of,
    bound_of,
    rises,
    scores,
    tens,
    unresolved,
    weighted,
)
from fields import Field
from gammagrad import fit_norm, ts_map
from gammagrad._pytree import replace
from gammagrad.core.images import box_sum
from gammagrad.core.norm import FitOptions, NormFit, Status
from gammagrad.core.ts_map import cube_bins, fit_occupied, weight_offset
from precision import DOUBLE

pytestmark = pytest.mark.skipif(not DOUBLE, reason="states double precision")

SELECTION = ("errn-errp", "ul", "sensitivity")
IN_NORMS = ("norm", "norm_err", "norm_errp", "norm_errn", "norm_ul", "norm_sensitivity")
# part of an error that eight Newton sweeps have left of the way at the worst, in millions of fits
SOLVED = 5e-6
# rounding may tell these from each other where a root lies on the bound, or takes nine sweeps
TIED = (
    *(Status.FITTED, Status.AT_BOUND, Status.ZERO_BACKGROUND_BOUND, Status.LOWER_ERROR_AT_BOUND),
    Status.NOT_CONVERGED,
)


def pixel_fit(bins: Bins, norm_min: float | None = None) -> NormFit:
    return numpy_fit(fit_norm(*bins, selection_optional=SELECTION, norm_min=norm_min))


def dense(field: Field, norm_min: float | None = None) -> NormFit:
    return numpy_fit(ts_map(*field, selection_optional=SELECTION, norm_min=norm_min))


def listed(
    field: Field, norm_min: float | None = None, selection: tuple[str, ...] = SELECTION[:2]
) -> NormFit:
    images = cube_bins(*(jnp.asarray(a) for a in field))
    lowest = -np.inf if norm_min is None else norm_min
    everywhere = np.ones(field.counts.shape[1:], bool)
    options = FitOptions(norm_min=lowest)
    fit = fit_occupied([images], everywhere, options=options, selection=selection)
    # what does not depend on the norm is added by those who have the weights
    weights = np.where(np.isfinite(field.background), field.weights, 0.0)
    offset = weight_offset(jnp.asarray(field.counts), jnp.asarray(weights), False)
    known = np.asarray(box_sum(offset, KERNEL))
    return replace(fit, stat=fit.stat + known, stat_null=fit.stat_null + known)


def numpy_fit(fit: NormFit) -> NormFit:
    return NormFit(**{k: None if v is None else np.asarray(v) for k, v in vars(fit).items()})


# the estimator's engine on every run, its twin with the long studies; one test compares the two
ENGINES = pytest.mark.parametrize("engine", [pytest.param(dense, marks=pytest.mark.slow), listed])
FLIP = st.sampled_from([1, -1])
Engine = Callable[..., NormFit]


def at(fit: NormFit, pixels: tuple[Floats, Floats]) -> NormFit:
    return NormFit(**{k: None if v is None else v[pixels] for k, v in vars(fit).items()})


def with_background(data: Any) -> Any:
    """Give every bin some: the floor under it is per bin, and a weighted bin is one bin."""
    return data._replace(background=np.maximum(data.background, 1e-5))


def assert_identical(one: NormFit, other: NormFit) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


# -- what is asserted


def assert_solved(fit: NormFit, bins: Bins) -> None:
    """The norm solves the equation, or is the bound and the equation's root lies below."""
    model_sum = bins.model.sum(-1)
    seen = model_sum > 0
    np.testing.assert_array_equal(fit.status == Status.NOT_FITTED, ~seen)
    bound = bound_of(bins)
    assert np.all((fit.norm >= bound - 1e-15 * np.abs(bound)) | ~seen)
    s1, s2 = scores(fit.norm, bins)
    at_bound = fit.norm <= bound + 1e-15 * np.abs(bound)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(at_bound, np.maximum(s1 - model_sum, 0), np.abs(s1 - model_sum))
        off = np.where(s2 > 0, off / np.sqrt(s2), np.where(at_bound, 0, np.inf))
    assert np.all((off < SOLVED + 8 * unresolved(fit.norm, bins)) | ~seen)
    converged = (fit.status != Status.NOT_CONVERGED) | (unresolved(fit.norm, bins) > 1e-3)
    assert np.all(converged)


def assert_signed(fit: NormFit, bins: Bins) -> None:
    """TS has the sign of the norm, and is what the statistic falls by."""
    assert np.all(fit.ts * np.sign(fit.norm) >= 0)
    fallen = rises(fit.norm, np.zeros_like(fit.norm), bins)
    fallen = np.where(bins.model.sum(-1) > 0, fallen, 0)
    assert np.all(fallen > -1e-9 * (1 + np.abs(fit.stat)))
    unsure = 1e-9 * (1 + np.abs(fallen)) + 1e-13 * bins.counts.sum(-1) * (1 + np.abs(fit.norm))
    resolved = fit.norm > bound_of(bins) * (1 - 1e-9)
    assert np.all((np.abs(np.abs(fit.ts) - fallen) < unsure) | ~resolved)
    np.testing.assert_allclose(fit.stat, fit.stat_null - np.abs(fit.ts), rtol=1e-12, atol=1e-12)


def assert_limited(fit: NormFit, above_zero: NormFit, bins: Bins) -> None:
    """Limits lie above the fit, where the statistic has risen by what was asked for."""
    seen = bins.model.sum(-1) > 0
    for limit, base in ((fit.norm_ul, fit.norm), (above_zero.norm_ul, np.maximum(fit.norm, 0))):
        assert np.all(np.isfinite(limit))
        assert np.all((limit > base) | ~seen)
        slope = np.abs(bins.model.sum(-1) - scores(limit, bins)[0])
        unsure = 1e-7 + 1e-15 * np.abs(limit) * slope
        assert np.all((np.abs(rises(base, limit, bins) - 4) < unsure) | ~seen)
    assert np.all(above_zero.norm_ul >= 0)
    assert np.all(above_zero.norm_ul >= fit.norm_ul - 1e-12 * np.abs(fit.norm_errp))
    np.testing.assert_array_equal(above_zero.norm, fit.norm)
    np.testing.assert_array_equal(above_zero.norm_errn, fit.norm_errn)
    assert np.all((fit.norm_errp > 0) | ~seen)
    assert np.all(fit.norm_errn >= 0)
    bound = bound_of(bins)
    below = fit.norm - fit.norm_errn >= bound - 1e-12 * (np.abs(bound) + fit.norm_errn)
    assert np.all(below | ~seen)
    if fit.norm_sensitivity is not None:
        assert np.all((fit.norm_sensitivity > 0) | ~seen)


def assert_close(one: NormFit, other: NormFit, in_norms: float = 1.0) -> None:
    """Compare fits of the same data: norms to a part of the errors, the rest to rounding."""
    tied = np.isin(one.status, TIED) & np.isin(other.status, TIED)
    assert np.all((one.status == other.status) | tied)
    error = np.where(np.isfinite(one.norm_err), one.norm_err, one.norm_errp)
    for name in IN_NORMS:
        if getattr(one, name) is None:
            continue
        value, expected = getattr(one, name), getattr(other, name) / in_norms
        with np.errstate(invalid="ignore"):
            off = np.abs(value - expected) <= 2 * SOLVED * error + 1e-9 * np.abs(value)
        same = (value == expected) | off
        assert np.all(same), name
    for name in ("ts", "stat", "stat_null"):
        value, expected = getattr(one, name), getattr(other, name)
        assert np.all(np.abs(value - expected) <= 1e-9 * (1 + np.abs(one.stat) + np.abs(one.ts))), (
            name
        )
    sums = (one.npred - one.npred_excess, other.npred - other.npred_excess)
    np.testing.assert_allclose(*sums, rtol=1e-9, atol=1e-9 * np.max(np.abs(one.npred)))


# -- the properties


@given(bins=any_bins)
def test_a_pixel_is_solved(bins: Bins) -> None:
    fit = pixel_fit(bins)
    assert_solved(fit, weighted(bins))
    assert_signed(fit, weighted(bins))
    assert_limited(fit, pixel_fit(bins, norm_min=0.0), weighted(bins))


@ENGINES
@given(drawn=any_field)
def test_a_map_is_solved(engine: Engine, drawn: AnyField) -> None:
    field = drawn.draw()
    fit, bins = engine(field), bins_of(field)
    assert_solved(fit, bins)
    assert_signed(fit, bins)
    assert_limited(fit, engine(field, norm_min=0.0), bins)


@given(drawn=any_field)
def test_both_engines_find_the_same(drawn: AnyField) -> None:
    field = drawn.draw()
    assert_close(dense(field), listed(field, selection=SELECTION))


@given(bins=any_bins, factor=tens(-9, 9))
def test_more_exposure_gives_a_smaller_norm_of_one_pixel(bins: Bins, factor: float) -> None:
    more = pixel_fit(bins._replace(model=factor * bins.model))
    assert_close(more, pixel_fit(bins), in_norms=factor)


@ENGINES
@given(drawn=any_field, factor=tens(-9, 9))
def test_more_exposure_gives_smaller_norms(engine: Engine, drawn: AnyField, factor: float) -> None:
    field = drawn.draw()
    more = engine(field._replace(exposure=factor * field.exposure))
    assert_close(more, engine(field), in_norms=factor)


@given(bins=any_bins, order=st.permutations(range(6)))
def test_the_order_of_bins_does_not_matter(bins: Bins, order: list[int]) -> None:
    assert_close(pixel_fit(Bins(*(a[order] for a in bins))), pixel_fit(bins))


@ENGINES
@given(drawn=any_field, order=st.permutations(range(SHAPE[0])), ways=st.tuples(*[FLIP] * 2))
def test_the_order_of_energies_and_the_orientation_do_not_matter(
    engine: Engine, drawn: AnyField, order: list[int], ways: tuple[int, int]
) -> None:
    field = drawn.draw()
    mirror = (..., slice(None, None, ways[0]), slice(None, None, ways[1]))
    turned = engine(Field(*(a[order][mirror] for a in field)))
    upright = NormFit(**{k: None if v is None else v[mirror] for k, v in vars(turned).items()})
    assert_close(upright, engine(field))


JUNK = st.sampled_from([np.nan, np.inf, -np.inf, -3.0, 1e300, 7.0])


@given(bins=any_bins, junk=st.tuples(JUNK, JUNK, JUNK), where=st.integers(0, 5))
def test_a_bin_without_weight_may_hold_anything(
    bins: Bins, junk: tuple[float, float, float], where: int
) -> None:
    clean = Bins(*(np.where(np.arange(6) == where, 0.0, a) for a in bins))
    dirty = [np.where(np.arange(6) == where, j, a) for a, j in zip(clean, junk, strict=False)]
    assert_identical(pixel_fit(Bins(*dirty, clean.weights)), pixel_fit(clean))


@ENGINES
@given(drawn=any_field, junk=st.tuples(JUNK, JUNK, JUNK), seed=st.integers(0, 99))
def test_bins_without_weight_may_hold_anything(
    engine: Engine, drawn: AnyField, junk: tuple[float, float, float], seed: int
) -> None:
    field = drawn.draw()
    out = np.random.default_rng(seed).random(SHAPE) < 0.15
    weights = np.where(out, 0.0, field.weights)
    dirty = [np.where(out, j, a) for a, j in zip(field, junk, strict=False)]
    clean = [np.where(out, 0.0, a) for a in field[:3]]
    one, other = (engine(Field(*a, field.kernel, weights)) for a in (dirty, clean))
    assert_identical(one, other)


@ENGINES
@given(drawn=any_field, seed=st.integers(0, 99), which=st.sampled_from([0, 1]))
def test_what_is_not_known_has_no_weight(
    engine: Engine, drawn: AnyField, seed: int, which: int
) -> None:
    field = drawn.draw()
    out = np.random.default_rng(seed).random(SHAPE) < 0.15
    unknown = list(field)
    unknown[which] = np.where(out, np.nan, field[which])
    weightless = field._replace(weights=np.where(out, 0.0, field.weights))
    assert_identical(engine(Field(*unknown)), engine(weightless))


@given(bins=any_bins, copies=arrays(int, 6, elements=st.integers(0, 3)))
def test_a_weight_is_a_number_of_equal_bins(bins: Bins, copies: NDArray[np.int_]) -> None:
    plain = with_background(bins)._replace(weights=copies.astype(float))
    spread = (np.arange(3)[:, None] < copies[None, :]).astype(float).ravel()
    threefold = Bins(*(np.tile(a, 3) for a in plain[:3]), spread)
    assert_close(pixel_fit(plain), pixel_fit(threefold))


@ENGINES
@given(drawn=any_field)
def test_a_weight_is_a_number_of_equal_images(engine: Engine, drawn: AnyField) -> None:
    field = drawn.draw()
    # two energies, and copies of them where a weight is two
    weights = np.tile(np.minimum(field.weights[:2], 1) * 1.0, (2, 1, 1))
    weights[2:] *= field.weights[2:] > 0
    twice = [np.concatenate([a[:2], a[:2]]) for a in with_background(field)[:4]]
    once = np.concatenate([weights[:2] + weights[2:], np.zeros_like(weights[:2])])
    one, other = (engine(Field(*twice, w)) for w in (once, weights))
    assert_close(one, other)


@ENGINES
@given(drawn=any_field, by=st.tuples(st.integers(-2, 2), st.integers(-1, 1)))
def test_a_shifted_field_has_a_shifted_map(
    engine: Engine, drawn: AnyField, by: tuple[int, int]
) -> None:
    field = drawn.draw()
    # nothing but zero weights is moved across an edge
    inside = np.zeros(SHAPE)
    inside[:, 2:-2, 1:-1] = 1
    still = field._replace(weights=field.weights * inside)
    moved = Field(*(np.roll(a, by, axis=(1, 2)) for a in still[:3]), *still[3:])
    moved = moved._replace(weights=np.roll(still.weights, by, axis=(1, 2)))
    rows, cols = np.indices(SHAPE[1:])[:, 2:-2, 1:-1]
    one = at(engine(still), (rows, cols))
    assert_close(one, at(engine(moved), (rows + by[0], cols + by[1])))
