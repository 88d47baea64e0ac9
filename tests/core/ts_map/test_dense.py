"""Maps of norm fits: both engines against a loop over pixels, transformations, lowering."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fields import Field, random_field
from gammagrad import ts_map
from gammagrad.core.norm import NormFit, Status
from gammagrad.core.ts_map import cube_bins, fit_occupied, summed_bins
from gammagrad.core.ts_map.chunk import fit_chunk
from gammagrad.core.ts_map.ts_map import _ts_map
from oracles import slow_fit, slow_ts_map, windows_at
from precision import DOUBLE, double_only

MODES = ("cube", "counts", "equal")
DTYPE = np.float64 if DOUBLE else np.float32
NAMES = ("norm", "norm_err", "ts", "stat", "stat_null", "npred")


def dense(field: Field, mode: str, **kwargs: float) -> NormFit:
    options = {"sum_over_energy": mode != "cube"}
    if mode != "cube":
        options["kernel_weighting"] = mode
    return ts_map(*field, **options, **kwargs)


def listed(fields: list[Field], mode: str, fitted: np.ndarray | None = None) -> NormFit:
    images = []
    for field in fields:
        arrays = [jnp.asarray(a) for a in field]
        images.append(cube_bins(*arrays) if mode == "cube" else summed_bins(*arrays, mode))
    if fitted is None:
        fitted = np.ones(fields[0].counts.shape[1:], bool)
    return fit_occupied(images, fitted)


def clean(field: Field) -> Field:
    """Take what is not finite out by hand, for the slow twin."""
    bad = ~np.isfinite(field.background)
    return field._replace(
        background=np.where(bad, 0.0, field.background), weights=np.where(bad, 0.0, field.weights)
    )


@pytest.mark.parametrize("mode", MODES)
def test_agrees_with_a_loop_over_pixels(mode: str) -> None:
    field = random_field(3, special=False)._replace(weights=random_field(3).weights)
    fit, slow = dense(field, mode), slow_ts_map(*field, mode)
    scale = np.where(np.isfinite(slow["norm_err"]), slow["norm_err"], 1.0)
    tight = 1e-8 if DOUBLE else 1e-4
    assert np.max(np.abs(fit.norm - slow["norm"]) / scale) < tight
    assert np.max(np.abs(fit.ts - slow["ts"]) / (1 + np.abs(slow["ts"]))) < tight
    for name in ("npred", "stat", "stat_null"):
        np.testing.assert_allclose(getattr(fit, name), slow[name], rtol=1e3 * tight, atol=tight)


@double_only
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [3, 4])
def test_lists_of_occupied_bins_agree_with_all_bins(mode: str, seed: int) -> None:
    field = random_field(seed)
    one, other = dense(field, mode), listed([field], mode)
    np.testing.assert_array_equal(one.status, other.status)
    np.testing.assert_array_equal(one.niter, other.niter)
    for name in NAMES:
        np.testing.assert_allclose(
            getattr(other, name), getattr(one, name), rtol=1e-10, atol=1e-10, err_msg=name
        )


@double_only
def test_a_joint_fit_has_one_norm_for_bins_side_by_side() -> None:
    one, two = random_field(5), random_field(6, shape=(4, 14, 11), kernel_shape=(3, 3))
    joint = ts_map(*([a, b] for a, b in zip(one, two, strict=True)))
    lists = listed([one, two], "cube")
    for name in NAMES:
        np.testing.assert_allclose(
            getattr(lists, name), getattr(joint, name), rtol=1e-10, atol=1e-10, err_msg=name
        )
    bins = []
    for field in map(clean, (one, two)):
        masked = [np.where(field.weights > 0, a, 0.0) for a in field[:3]]
        (n, b, e), k = windows_at(masked, field.kernel, 7, 5)
        bins.append([n.ravel(), b.ravel(), (k * e).ravel()])
    slow = slow_fit(*(np.concatenate(part) for part in zip(*bins, strict=True)))
    assert abs(float(joint.norm[7, 5]) - slow.norm) < 1e-8 * slow.norm_err


@double_only
def test_statuses_where_something_is_missing() -> None:
    field = random_field(7)
    fitted = np.ones(field.counts.shape[1:], bool)
    fitted[0] = False
    fit = listed([field], "cube", fitted)
    assert set(np.unique(fit.status[0])) == {Status.NOT_FITTED}
    assert fit.status[1, 1] == Status.NO_COUNTS
    assert fit.status[9, 8] == Status.COUNTS_WITHOUT_BACKGROUND
    assert fit.status[4, 8] == Status.ZERO_BACKGROUND_BOUND or fit.norm[4, 8] > 0
    assert np.isfinite(fit.norm).all()
    assert np.isfinite(fit.ts).all()


@double_only
def test_no_exposure_at_all_is_not_fitted() -> None:
    field = random_field(8)._replace(exposure=np.zeros((3, 14, 11)))
    for fit in (dense(field, "cube"), listed([field], "cube")):
        assert set(np.unique(fit.status)) == {Status.NOT_FITTED}
        assert np.all(np.asarray(fit.ts) == 0)


@double_only
def test_no_counts_at_all_gives_bounds() -> None:
    field = random_field(8, special=False)._replace(counts=np.zeros((3, 14, 11)))
    one, other = dense(field, "cube"), listed([field], "cube")
    assert set(np.unique(one.status)) == {Status.NO_COUNTS}
    np.testing.assert_allclose(other.norm, one.norm, rtol=1e-12)
    assert np.all(np.isinf(other.norm_err))


@double_only
def test_many_counts_in_one_tile_need_several_blocks() -> None:
    field = random_field(9, shape=(40, 9, 9), kernel_shape=(9, 9), special=False)
    field = field._replace(counts=field.counts + 1)
    one, other = dense(field, "cube"), listed([field], "cube")
    np.testing.assert_allclose(other.norm, one.norm, rtol=1e-10)


@double_only
def test_single_precision_meets_its_stated_accuracy() -> None:
    field = random_field(10)
    exact = dense(field, "cube")
    single = dense(Field(*(a.astype(np.float32) for a in field)), "cube")
    assert single.norm.dtype == np.float32
    error = np.where(np.isfinite(exact.norm_err), exact.norm_err, 1.0)
    norm, ts = (np.asarray(a, np.float64) for a in (single.norm, single.ts))
    assert np.max(np.abs(norm - exact.norm) / error) < 1e-4
    assert np.max(np.abs(ts - exact.ts) / np.sqrt(1 + np.abs(exact.ts))) < 1e-4


@double_only
def test_gradients_pass_through_the_map() -> None:
    field = random_field(11, shape=(2, 6, 5), kernel_shape=(3, 3), special=False)
    counts, background, exposure, kernel, weights = (jnp.asarray(a) for a in field)

    def total(b: jax.Array, e: jax.Array, k: jax.Array) -> jax.Array:
        fit = ts_map(counts, b, e, k, weights)
        return (fit.norm * jnp.cos(jnp.arange(30.0).reshape(6, 5))).sum() + 0.1 * fit.ts.sum()

    check_grads(total, (background, exposure, kernel), order=1, rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_at_special_places() -> None:
    field = random_field(12, shape=(3, 14, 11))

    def total(arrays: tuple[jax.Array, ...]) -> jax.Array:
        fit = ts_map(*arrays)
        return fit.norm.sum() + fit.ts.sum() + fit.npred.sum()

    for gradient in jax.grad(total)(tuple(jnp.asarray(a) for a in clean(field))):
        assert np.all(np.isfinite(gradient))


@double_only
def test_vmap_over_toys_is_a_loop() -> None:
    field = random_field(13, shape=(2, 6, 5), kernel_shape=(3, 3), special=False)
    toys = np.random.default_rng(0).poisson(field.background, (3, *field.background.shape)) * 1.0
    many = jax.vmap(lambda n: ts_map(n, *field[1:]))(jnp.asarray(toys))
    for toy, norm in zip(toys, many.norm, strict=True):
        np.testing.assert_allclose(norm, ts_map(toy, *field[1:]).norm, rtol=1e-9)


@double_only
def test_new_data_of_the_same_shape_compile_nothing() -> None:
    dense(random_field(3), "cube")
    listed([random_field(3)], "cube")
    before = _ts_map.traces, fit_chunk.traces
    dense(random_field(20), "cube", n_sigma=2)
    listed([random_field(20)], "cube")
    assert (_ts_map.traces, fit_chunk.traces) == before


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_solver_lowers_for_accelerators(platform: str) -> None:
    field = [jnp.asarray(a) for a in random_field(1, kernel_shape=(3, 3))]
    lowered = jax.jit(ts_map).trace(*field).lower(lowering_platforms=(platform,))
    assert "module" in lowered.as_text()[:200]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"background": np.ones((3, 14, 10))}, "share one shape"),
        ({"kernel": np.ones((2, 3, 3))}, "one image per energy"),
        ({"kernel": np.ones((3, 4, 3))}, "must be odd"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict, message: str) -> None:
    field = random_field(1)._replace(**change)
    with pytest.raises(ValueError, match=message):
        ts_map(*field)


def test_unknown_weighting_is_named() -> None:
    with pytest.raises(ValueError, match="kernel_weighting"):
        ts_map(*random_field(1), sum_over_energy=True, kernel_weighting="mean")


def test_joint_datasets_must_share_the_grid() -> None:
    fields = random_field(1), random_field(1, shape=(3, 15, 12))
    with pytest.raises(ValueError, match="share one pixel grid"):
        ts_map(*([a, b] for a, b in zip(*fields, strict=True)))


def test_one_array_per_dataset_is_needed() -> None:
    field = random_field(1)
    with pytest.raises(ValueError, match="One array per dataset"):
        ts_map([field.counts, field.counts], *([a] for a in field[1:]))


def test_a_photon_in_an_empty_bin_with_a_weight_changes_the_statistic_by_its_weight():
    b, e, w = (np.full((1, 5, 5), value, DTYPE) for value in (0.5, 2.0, 1.0))
    k = np.full((1, 3, 3), 1 / 9, DTYPE)
    w[0, 2, 2] = 0.25

    def null(photons):
        counts = jnp.zeros_like(b).at[0, 2, 2].set(photons)
        return ts_map(counts, b, e, k, w).stat_null[2, 2]

    slope = jax.grad(null)(DTYPE(0))
    np.testing.assert_allclose(slope, -2 * 0.25 * np.log(0.5), rtol=1e-5)


def test_the_sensitivity_has_a_slope_in_single_precision_where_windows_leave_the_map():
    # one bin without background, at the edge
    b = np.linspace(0.5, 2.0, 49, dtype=np.float32).reshape(1, 7, 7)
    b[0, 0, 3] = 0
    e, k = np.full_like(b, 2.0), np.full((1, 3, 3), 1 / 9, np.float32)

    def total(background):
        fit = ts_map(background, background, e, k, selection_optional="sensitivity")
        return fit.norm_sensitivity.sum()

    b = jnp.asarray(b)
    slope = jax.grad(total)(b)
    assert np.all(np.isfinite(slope))
    # along a factor on all of the background
    numerical = (total(1.02 * b) - total(0.98 * b)) / 0.04
    np.testing.assert_allclose(np.vdot(slope, b), numerical, rtol=2e-3)
    np.testing.assert_allclose(jax.jvp(total, (b,), (b,))[1], numerical, rtol=2e-3)
