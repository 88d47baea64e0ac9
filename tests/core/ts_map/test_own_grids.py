"""Joint fits of datasets on pixel grids of their own, against plain loops over pixels and bins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fields import blend_field, random_field
from gammagrad import parallel
from gammagrad._pytree import replace
from gammagrad.core.norm import NormFit, Status
from gammagrad.core.ts_map import (
    BinImages,
    OwnGrid,
    cube_bins,
    fit_occupied,
    placed_map,
    summed_bins,
)
from gammagrad.core.ts_map.chunk import fit_chunk
from gammagrad.core.ts_map.sensitivity import listed_sensitivity
from gammagrad.core.ts_map.strips import strip_height
from gammagrad.parallel import Jobs, run_jobs
from oracles import slow_placed_bins, slow_positions
from precision import double_only

ALL = ("errn-errp", "ul", "sensitivity", "stat_scan")
SCAN = np.array([-1.0, -0.02, 0.0, 0.5, 3.0])
SHAPE = (10, 9)
COLUMNS = ("norm", "norm_errp", "norm_errn", "norm_ul", "norm_sensitivity")


def own_grid(
    seed: int,
    ratio: float,
    *,
    shape: tuple[int, int] = SHAPE,
    start: tuple[float, float] = (0.0, 0.0),
    bins: tuple[int, int] | None = None,
    n_images: int = 2,
    special: bool = True,
) -> BinImages:
    """Draw a dataset whose pixels are so many times smaller than those of the map."""
    rng = np.random.default_rng(seed)
    ny, nx = bins or tuple(int(np.ceil(n * ratio)) for n in shape)
    field = blend_field(seed, (n_images, 10, 9), (5, 5), special=False)
    # a kernel for each of three places along the diagonal of a bin
    steps = np.linspace(0.8, 1.2, 3)[:, None, None, None, None]
    kernel = field.kernel.swapaxes(0, 1)[None] * steps
    row, col = ((np.arange(n) + 0.5) * ratio + first for n, first in zip(shape, start, strict=True))
    y, x = np.meshgrid(row, col, indexing="ij")
    phase = np.minimum((3 * (y - np.floor(y))).astype(np.int32), 2)
    places = OwnGrid(np.floor(y).astype(np.int32), np.floor(x).astype(np.int32), phase)
    weight = np.ones((n_images, ny, nx))
    background = rng.uniform(0.1, 1.0, weight.shape)
    counts = rng.poisson(background).astype(float)
    counts[:, ny // 2, nx // 2] += 7
    if special:
        weight[0, : ny // 3, : nx // 3] = 0
        weight[-1, -2:] = rng.uniform(0.2, 1, (2, nx))
        background[0, ny // 2, 2], counts[0, ny // 2, 2] = 0, 0
        background[-1, ny - 2, nx - 3], counts[-1, ny - 2, nx - 3] = 0, 2
    rows, cols = np.indices(shape)
    amplitude = 20 * (
        1 + 0.4 * np.sin(0.3 * rows + 0.2 * cols + np.arange(n_images)[:, None, None])
    )
    amplitude[-1, 0, :3] = 0
    blend = np.stack([np.ones(shape), *(np.sin(k + 0.2 * rows - 0.3 * cols) for k in range(2))])
    return BinImages(
        counts=counts * weight,
        background=background * weight,
        exposure=weight[:, None],
        kernel=kernel,
        amplitude=amplitude,
        blend=blend,
        places=places,
    )


def on_map(seed: int, kind: str = "blended", shape: tuple[int, int] = SHAPE) -> BinImages:
    """Draw a dataset on the pixels of the map."""
    if kind != "blended":
        arrays = [jnp.asarray(a) for a in random_field(seed, (2, *shape), special=False)]
        return cube_bins(*arrays) if kind == "cube" else summed_bins(*arrays)
    field = blend_field(seed, (2, *shape))
    return BinImages(
        counts=field.counts * field.weights,
        background=field.background * field.weights,
        exposure=field.weights[:, None],
        kernel=field.kernel.swapaxes(0, 1),
        amplitude=field.exposure,
        blend=field.blend,
    )


def slow_bins(
    datasets: Sequence[BinImages], pixel: tuple[int, int]
) -> list[tuple[float, float, float]]:
    """Return the bins of all datasets that a source at a pixel predicts counts in, or may."""
    found = []
    for data in datasets:
        arrays = [np.asarray(a) for a in (data.counts, data.background, data.exposure, data.kernel)]
        n, b, w, kernel = arrays
        if data.places is not None:
            own = (data.amplitude, data.blend, data.places)
            found += slow_placed_bins(n, b, w[:, 0], kernel, *own, pixel)
            continue
        here = (*np.indices(SHAPE), np.zeros(SHAPE, int))
        if data.blended:
            own = (data.amplitude, data.blend, here)
            found += slow_placed_bins(n, b, w[:, 0], kernel[None], *own, pixel)
            continue
        # each component as if it were alone, its models added up
        ones = np.ones((len(n), *SHAPE))
        parts = [
            slow_placed_bins(n, b, w[:, c], kernel[None, :, c, None], ones, ones[:1], here, pixel)
            for c in range(w.shape[1])
        ]
        found += [
            (same[0][0], same[0][1], sum(one[2] for one in same))
            for same in zip(*parts, strict=True)
        ]
    return found


def fit_map(datasets: Sequence[BinImages], **options: Any) -> NormFit:
    options = {"selection": ALL, "scan_values": SCAN} | options
    return fit_occupied(datasets, np.ones(datasets[0].map_shape, bool), **options)


def assert_slow(fit: NormFit, datasets: Sequence[BinImages]) -> None:
    slow, scan = slow_positions(partial(slow_bins, datasets), SHAPE, SCAN)
    seen = np.isfinite(slow["norm"])
    np.testing.assert_array_equal(fit.status != Status.NOT_FITTED, seen)
    error = np.where(np.isfinite(slow["norm_err"]), slow["norm_err"], slow["norm_errp"])[seen]
    for name in COLUMNS:
        off = np.abs(getattr(fit, name)[seen] - slow[name][seen]) / error
        # the last digits of a sensitivity are those of its own root
        assert off.max() < (1e-9 if name == "norm" else 2e-8), name
    for name in ("norm_err", "ts", "stat", "stat_null", "npred"):
        value, expected = getattr(fit, name)[seen], slow[name][seen]
        np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-9, err_msg=name)
    at_bound = np.isin(fit.status, (Status.AT_BOUND, Status.ZERO_BACKGROUND_BOUND))
    np.testing.assert_allclose(fit.norm[at_bound], slow["bound"][at_bound], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(fit.stat_scan[:, seen], scan[:, seen], rtol=1e-8, atol=1e-8)


def assert_same(one: NormFit, other: NormFit, rtol: float = 1e-9) -> None:
    for name, array in vars(one).items():
        if array is not None and name != "niter":
            scale = np.max(np.abs(array[np.isfinite(array)]), initial=1e-300)
            np.testing.assert_allclose(
                getattr(other, name), array, rtol=rtol, atol=rtol * scale, err_msg=name
            )


@double_only
@pytest.mark.parametrize("ratio", [2.0, 0.5, np.sqrt(2), 1.0])
def test_grids_of_any_ratio_agree_with_plain_loops(ratio: float) -> None:
    data = [own_grid(1, ratio)]
    assert_slow(fit_map(data), data)


@double_only
def test_transforms_give_what_sums_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [own_grid(14, 1.5)]
    monkeypatch.setattr(placed_map, "_DIRECTLY", 0)
    assert_slow(fit_map(data), data)


@double_only
def test_a_dataset_may_cover_a_part_of_the_map() -> None:
    data = [own_grid(2, 2.0, start=(-7.0, 5.0), bins=(12, 14)), own_grid(3, 0.7, bins=(4, 5))]
    fit = fit_map(data[:1])
    assert (fit.status == Status.NOT_FITTED).any()
    assert_slow(fit, data[:1])
    assert_slow(fit_map(data), data)


@double_only
@pytest.mark.parametrize("kind", ["blended", "cube", "summed"])
def test_a_joint_fit_with_a_dataset_on_the_map(kind: str) -> None:
    data = [on_map(4, kind), own_grid(5, np.sqrt(3), n_images=1)]
    assert_slow(fit_map(data), data)


@double_only
def test_the_same_grid_told_as_its_own_is_the_same() -> None:
    one = on_map(6)
    rows, cols = np.indices(SHAPE)
    places = OwnGrid(rows, cols, np.zeros_like(rows))
    told = replace(one, kernel=one.kernel[None], places=places)
    plain = fit_map([one])
    assert_same(plain, fit_map([told]))
    np.testing.assert_array_equal(plain.status, fit_map([told]).status)


@double_only
@pytest.mark.parametrize("guessed", [False, True])
def test_strips_give_what_the_whole_map_does(guessed: bool) -> None:
    shape = (37, 9)
    data = [on_map(7, shape=shape), own_grid(8, 2.0, shape=shape, start=(-6.0, 1.0))]
    options: dict[str, Any] = {}
    if guessed:
        options = {"guess": np.random.default_rng(3).normal(0, 0.1, shape), "threshold": 1.0}
    for some in (data, data[1:]):
        assert strip_height(some, 90_000) < 37
        whole = fit_map(some, **options)
        parts = fit_map(some, memory=90_000, **options)
        assert_same(whole, parts)
        np.testing.assert_array_equal(whole.status, parts.status)


@double_only
def test_processes_give_what_one_does() -> None:
    shape = (37, 9)
    data = [own_grid(9, 2.0, shape=shape), on_map(10, "cube", shape)]
    alone = fit_map(data)
    try:
        together = fit_map(data, processes=2, run=partial(run_jobs, Jobs(2)))
    finally:
        parallel.shutdown()
    assert_same(alone, together)


@double_only
def test_places_far_away_or_torn_apart_only_take_time() -> None:
    data = own_grid(11, 1.0)
    assert data.places is not None
    row, col, phase = (np.array(a) for a in data.places)
    row[0, :4], col[3, 3] = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    row[5], row[8] = row[8].copy(), row[5].copy()
    torn = [replace(data, places=OwnGrid(row, col, phase))]
    fit = fit_map(torn)
    assert (fit.status[0, :4] == Status.NOT_FITTED).all()
    assert_slow(fit, torn)


@double_only
def test_single_precision_meets_its_stated_accuracy() -> None:
    data = own_grid(15, 1.5, special=False)
    exact = fit_map([data], selection=())
    single = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == float else a, data)
    fit = fit_map([single], selection=())
    assert fit.norm.dtype == np.float32
    error = np.where(np.isfinite(exact.norm_err), exact.norm_err, 1.0)
    assert np.max(np.abs(fit.norm.astype(float) - exact.norm) / error) < 1e-4


@double_only
def test_new_data_compile_nothing() -> None:
    functions = (fit_chunk, listed_sensitivity)
    for seed in (12, 13):
        before = [function.traces for function in functions]
        fit_map([own_grid(seed, 2.0)])
    assert [function.traces for function in functions] == before


@double_only
@settings(max_examples=10)
@given(
    seed=st.integers(0, 50),
    level=st.sampled_from([1e-8, 0.01, 1.0, 300.0]),
    exposure=st.sampled_from([0.0, 1e-12, 1.0, 1e12]),
    holes=st.floats(0, 1),
)
def test_no_nan_without_a_status(seed: int, level: float, exposure: float, holes: float) -> None:
    rng = np.random.default_rng(seed)
    data = own_grid(seed, 1.5, bins=(15, 14))
    weight = data.exposure[:, 0] * (rng.random(data.counts.shape) > holes / 2)
    background = level * weight * (rng.random(weight.shape) > 0.3 * holes)
    data = replace(
        data,
        counts=weight * (rng.poisson(background) + (rng.random(weight.shape) < 0.02)),
        background=background,
        exposure=weight[:, None],
        amplitude=exposure * data.amplitude * (rng.random(data.amplitude.shape) > holes / 2),
    )
    fit = fit_map([data])
    bad = np.isin(fit.status, (Status.OUT_OF_RANGE, Status.NOT_CONVERGED))
    for name, array in vars(fit).items():
        assert array is None or not np.isnan(array[..., ~bad]).any(), name
