"""Whole windows of bins against their definition, and against lists of occupied bins."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from fields import random_field
from gammagrad.core.norm import NormFit
from gammagrad.core.ts_map import (
    BinImages,
    cube_bins,
    fit_occupied,
    fixed_norm,
    sparse,
    summed_bins,
)
from gammagrad.core.ts_map.bins import TilePlan
from gammagrad.core.ts_map.flat import flat_bins, kernel_tables
from gammagrad.core.ts_map.windowed import TileWindows, Windowed, corners, window_places
from precision import DOUBLE, double_only

ALL = ("errn-errp", "ul", "sensitivity", "stat_scan")
SCAN = np.array([-1.0, 0.0, 0.5, 3.0, 40.0])


def images(seed: int, **kwargs: object) -> BinImages:
    return cube_bins(*(jnp.asarray(a) for a in random_field(seed, **kwargs)))


def windowed(data: BinImages, tiles: np.ndarray, occupied: bool) -> tuple[Windowed, TilePlan]:
    plan = TilePlan.create(data.counts.shape, data.kernel.shape)
    window = data.kernel.shape[-2], data.kernel.shape[-1]
    flat = flat_bins([data], window, kernel_tables([np.asarray(data.kernel)], window))
    table = np.asarray(flat.table)
    places = window_places(table, [data.counts.shape[0]], plan.window, plan.shape)
    corner = corners(tiles, plan.grid[1], plan.halo)
    return TileWindows(places, plan.shape, *corner).bins(flat, occupied), plan


@pytest.mark.parametrize("occupied", [False, True])
@pytest.mark.parametrize("summed", [False, True])
def test_sums_are_those_of_every_bin_around_each_pixel(occupied: bool, summed: bool) -> None:
    field = [jnp.asarray(a) for a in random_field(31, special=False)]
    data = summed_bins(*field) if summed else cube_bins(*field)
    tiles = np.array([0, 3, 11])
    bins, plan = windowed(data, tiles, occupied)
    found = bins.total(lambda n, g: (g, n * g), 2)
    n, b, e, k = (np.asarray(a) for a in (data.counts, data.background, data.exposure, data.kernel))
    hy, hx = plan.halo
    weights = n if occupied else b
    weights, e = (np.pad(a, [(0, 0)] * (a.ndim - 2) + [(hy, hy), (hx, hx)]) for a in (weights, e))
    b = np.pad(b, ((0, 0), (hy, hy), (hx, hx)), constant_values=1)
    for tile, value in zip(tiles, np.asarray(found[1]).T, strict=True):
        top, left = np.array(divmod(int(tile), plan.grid[1])) * 4
        for pixel in range(16):
            row, col = top + pixel // 4, left + pixel % 4
            if row >= plan.shape[0] or col >= plan.shape[1]:
                continue
            seen = (..., slice(row, row + 2 * hy + 1), slice(col, col + 2 * hx + 1))
            # a source at a pixel has at offset d from it the kernel's value at d
            model = (e[seen] * k).sum(axis=1)
            expected = (weights[seen] * model / b[seen]).sum()
            assert value[pixel] == pytest.approx(expected, rel=1e-12 if DOUBLE else 1e-4)


def test_one_sum_alone_is_the_same_as_beside_another() -> None:
    bins, _ = windowed(images(32), np.array([0, 1, 2]), occupied=False)
    (alone,) = bins.total(lambda n, g: (n * g,), 1)
    beside, _ = bins.total(lambda n, g: (n * g, g), 2)
    np.testing.assert_allclose(alone, beside, rtol=1e-13 if DOUBLE else 1e-5)


def both_ways(
    monkeypatch: pytest.MonkeyPatch, datasets: list[BinImages], **options: object
) -> tuple[NormFit, NormFit]:
    where = np.ones(datasets[0].counts.shape[1:], bool)
    fits = []
    for share in (2.0, 0.0):
        monkeypatch.setattr(sparse, "_DENSE", share)
        fits.append(fit_occupied(datasets, where, **options))
    return fits[0], fits[1]


@pytest.mark.parametrize("seed", [pytest.param(33, marks=pytest.mark.slow), 34])
@pytest.mark.parametrize("guessed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_lists_and_windows_agree(monkeypatch: pytest.MonkeyPatch, seed: int, guessed: bool) -> None:
    datasets = [images(seed), images(seed + 10, kernel_shape=(3, 9))]
    options: dict[str, object] = {"selection": ALL, "scan_values": SCAN}
    if guessed:
        options |= {"guess": np.random.default_rng(seed).normal(size=(14, 11)), "threshold": 1.0}
    lists, windows = both_ways(monkeypatch, datasets, **options)
    np.testing.assert_array_equal(lists.status, windows.status)
    for name, array in vars(lists).items():
        if array is None or name in ("status", "niter"):
            continue
        scale = np.max(np.abs(array[np.isfinite(array)]), initial=1e-300)
        rtol = 1e-10 if DOUBLE else 2e-3
        np.testing.assert_allclose(
            getattr(windows, name), array, rtol=rtol, atol=rtol * scale, err_msg=name
        )


@double_only
def test_units_of_the_norm_do_not_matter_to_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(35)
    fits = {}
    for unit in (1.0, 1e-30, 1e30):
        scaled = BinImages(data.counts, data.background, data.exposure * unit, data.kernel)
        fits[unit] = both_ways(monkeypatch, [scaled], selection=("ul", "sensitivity"))[1]
    for unit, fit in fits.items():
        for name in ("norm", "norm_err", "norm_ul", "norm_sensitivity"):
            np.testing.assert_allclose(
                getattr(fit, name) * unit, getattr(fits[1.0], name), rtol=1e-9, atol=1e-12
            )


@double_only
def test_kernels_of_any_scale_give_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(36)
    one = both_ways(monkeypatch, [data])[1]
    for scale in (1e-100, 1e-20, 1e20, 1e100):
        scaled = BinImages(data.counts, data.background, data.exposure / scale, data.kernel * scale)
        for other in both_ways(monkeypatch, [scaled]):
            np.testing.assert_allclose(other.norm, one.norm, rtol=1e-9, atol=1e-12)


def test_data_with_counts_in_most_bins_are_fitted_in_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = []
    solve = fixed_norm.fit_chunk

    def watched(flat: object, bins: object, *rest: object, **options: object) -> object:
        kinds.append(type(bins).__name__)
        return solve(flat, bins, *rest, **options)

    monkeypatch.setattr(fixed_norm, "fit_chunk", watched)
    for mean in (0.05, 3.0):
        counts = np.random.default_rng(1).poisson(mean, (1, 20, 20)).astype(float)
        data = images(37, shape=(1, 20, 20), special=False)
        data = BinImages(jnp.asarray(counts), data.background, data.exposure, data.kernel)
        fit_occupied([data], np.ones((20, 20), bool))
    assert sorted(set(kinds)) == ["Lists", "TileWindows"]
    assert kinds == sorted(kinds)
