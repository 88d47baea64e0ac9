"""Several datasets: one norm over all of them."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time

from datasets import make_dataset, make_geom
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.dataset import union_of_times
from gammagrad.estimators.ts_map.joint import bins_inside
from gammagrad.maps import MapAxis, PSFMap
from oracles import slow_fit, windows_at

NPIX = (13, 11)
WIDTH = "0.5 deg"


def other_dataset(edges: list[float], seed: int = 3, sigma: float = 0.1) -> MapDataset:
    """Return a dataset with its own energy bins (TeV) and response, half of its map masked."""
    axis = MapAxis.from_energy_edges(edges * u.TeV)
    geom = make_geom(NPIX).to_image().to_cube([axis])
    axis_true = axis.rename("energy_true")
    rng = np.random.default_rng(seed)
    background = rng.uniform(0.2, 0.6, geom.data_shape)
    safe = np.ones(geom.data_shape, bool)
    safe[:, :, 7:] = False
    return MapDataset(
        counts=Map(geom, rng.poisson(background)),
        background=Map(geom, background),
        exposure=Map(geom.to_image().to_cube([axis_true]), 2e13, unit="cm2 s"),
        psf=PSFMap.from_gauss(axis_true, sigma),
        mask_safe=Map(geom, safe),
        name="other",
    )


@pytest.fixture(scope="module")
def first() -> MapDataset:
    return make_dataset(NPIX, mask=True, flux=3e-12, name="first")


@pytest.fixture(scope="module")
def other() -> MapDataset:
    return other_dataset([0.5, 1.0, 3.0, 10.0, 20.0])


def cubes_of(dataset: MapDataset, bins: slice) -> list[np.ndarray]:
    """Return a dataset's counts, background, reference counts and kernel."""
    estimator = TSMapEstimator(kernel_width=WIDTH, sum_over_energy_groups=False)
    inputs = estimator.estimate_fit_input_maps(dataset)
    names = ("counts", "background", "exposure", "kernel")
    return [np.asarray(inputs[name].data[bins], float) for name in names]


def bins_at(cubes: list[np.ndarray], row: int, col: int, summed: bool) -> list[np.ndarray]:
    """Return counts, background and model around a pixel, flat."""
    (n, b, e), k = windows_at(cubes[:3], cubes[3], row, col)
    parts = (n, b, k * e)
    if summed:
        parts = tuple(part.sum(axis=0) for part in parts)
    return [part.ravel() for part in parts]


@pytest.mark.parametrize("summed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_joint_fit_is_one_profile_over_all_bins(
    first: MapDataset, other: MapDataset, summed: bool
) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH, sum_over_energy_groups=summed)
    maps = estimator.run([first, other])
    alone = [estimator.run(d) for d in (first, other)]
    # of the second, the bins inside the axis of the first
    cubes = [cubes_of(first, slice(None)), cubes_of(other, slice(1, 3))]
    for row, col in ((0, 2), (5, 6), (5, 8), (10, 3), (7, 12)):
        parts = [bins_at(c, row, col, summed) for c in cubes]
        slow = slow_fit(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        assert maps["norm"].data[0, row, col] == pytest.approx(slow.norm, abs=1e-7 * slow.norm_err)
        for name in ("norm_err", "ts", "stat", "stat_null", "npred"):
            value = maps[name].data[0, row, col]
            assert value == pytest.approx(getattr(slow, name), rel=1e-8, abs=1e-8), name
    summed_ts = sum(np.nan_to_num(m["ts"].data) for m in alone)
    assert np.nanmax(np.abs(maps["ts"].data - summed_ts)) > 0.1


def test_a_position_is_fitted_where_any_dataset_has_data(
    first: MapDataset, other: MapDataset
) -> None:
    maps = TSMapEstimator(kernel_width=WIDTH).run([first, other])
    fitted = maps["status"].data[0] != Status.NOT_FITTED
    wanted = first.mask_safe.data.any(axis=0) | other.mask_safe.data[1:3].any(axis=0)
    np.testing.assert_array_equal(fitted, wanted)
    dark = other.copy()
    dark.background.data[...] = 0
    dark.counts.data[...] = 0
    maps = TSMapEstimator(kernel_width=WIDTH).run([first, dark])
    fitted = maps["status"].data[0] != Status.NOT_FITTED
    np.testing.assert_array_equal(fitted, first.mask_safe.data.any(axis=0))


def test_edges_are_those_of_the_first_dataset(first: MapDataset, caplog) -> None:
    # 1.000004 TeV is an edge that went through single precision
    other = other_dataset([1.000004, 4.0, 4.6, 10.0])
    estimator = TSMapEstimator(kernel_width="1 deg", energy_edges="all")
    maps = estimator.run([first, other])
    edges = first.energy_axis.edges
    np.testing.assert_allclose(maps.energy_axis.edges.value, edges.value)
    # 2.15 to 4.64 TeV has 4.0 to 4.6; 1 to 2.15 and 4.64 to 10 have none
    assert maps.meta["datasets_per_group"] == [["first"], ["first", "other"], ["first"]]
    assert [row[1] is None for row in maps.meta["containment_per_group"]] == [True, False, True]
    left_out = [r.message for r in caplog.records if "left out" in r.message]
    assert len(left_out) == 1
    assert "'other'" in left_out[0]
    assert "1 TeV to 2.154 TeV" in left_out[0]
    alone = estimator.run(first)
    for group in (0, 2):
        np.testing.assert_array_equal(maps["norm"].data[group], alone["norm"].data[group])
    assert not np.array_equal(maps["norm"].data[1], alone["norm"].data[1], equal_nan=True)


def test_bins_inside_forgive_rounding_only() -> None:
    axis = MapAxis.from_energy_edges([1, 2, 4, 8] * u.TeV)
    assert bins_inside(axis, 1.000001, 7.99999) == slice(0, 3)
    assert bins_inside(axis, 1.001, 7.99) == slice(1, 2)
    assert bins_inside(axis, 2.5, 3.5) is None
    assert bins_inside(axis, 9.0, 20.0) is None


def test_one_dataset_in_a_list_is_that_dataset(first: MapDataset) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH)
    one, other = estimator.run(first), estimator.run(d for d in [first])
    for name in one.available_quantities:
        np.testing.assert_array_equal(one[name].data, other[name].data)
    assert one.meta["dataset"] == "first"
    assert one.meta["kernel_shape"] == one.meta["kernel_shapes"][0]
    assert len(one.meta["containment"]) == 3


def test_the_result_names_the_datasets_and_their_kernels(
    first: MapDataset, other: MapDataset
) -> None:
    maps = TSMapEstimator().run([first, other])
    assert isinstance(maps, FluxMaps)
    assert maps.meta["datasets"] == ["first", "other"]
    (wide, _), (narrow, _) = maps.meta["kernel_shapes"]
    assert wide > narrow
    assert maps.meta["kernel_shape"] == [wide, wide]
    (group,) = maps.meta["containment_per_group"]
    assert all(0.9 < c <= 1 for c in group)


def test_the_group_of_all_energies_as_a_dict(first: MapDataset, other: MapDataset) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH)
    maps = estimator.run([first, other])
    group = estimator.estimate_flux_map([first, other])
    assert list(group) == estimator.selection_all
    for name, m in group.items():
        np.testing.assert_array_equal(m.data, maps[name].data)


def test_what_is_not_a_dataset_is_refused(first: MapDataset) -> None:
    with pytest.raises(ValueError, match="empty list"):
        TSMapEstimator().run([])
    for wrong in ("file.fits", ["file.fits"], {"a": first}, 3):
        with pytest.raises(TypeError, match="expected a MapDataset or several, got"):
            TSMapEstimator().run(wrong)


def intervals(start: list[float], stop: list[float], **meta: object) -> Table:
    table = Table({"START": start * u.s, "STOP": stop * u.s})
    table.meta.update({"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "tt", **meta})
    return table


def test_times_are_united() -> None:
    one = intervals([0, 100, 300], [50, 200, 400])
    two = intervals([150, 400], [250, 500])
    both = union_of_times([one, two], ["a", "b"])
    np.testing.assert_allclose(both["START"].quantity.to_value("s"), [0, 100, 300])
    np.testing.assert_allclose(both["STOP"].quantity.to_value("s"), [50, 250, 500])
    assert both.meta["MJDREFI"] == 51544
    assert union_of_times([None, None], ["a", "b"]) is None
    assert union_of_times([None, one], ["a", "b"]) is one
    empty = intervals([], [])
    assert len(union_of_times([empty, empty], ["a", "b"])) == 0
    assert len(union_of_times([empty, one], ["a", "b"])) == 3


def test_times_with_other_references_are_converted() -> None:
    one = intervals([0.0], [50.0])
    # the same instant, from another day on, in another scale and unit
    zero = Time(51544, 0.5, format="mjd", scale="tt") + 1000 * u.s
    origin = Time(55197, 0.25, format="mjd", scale="utc")
    start = (zero - origin).to_value("min")
    other = Table({"START": [start] * u.min, "STOP": [start + 1] * u.min})
    other.meta.update({"MJDREFI": 55197, "MJDREFF": 0.25, "TIMESYS": "UTC"})
    both = union_of_times([one, other], ["a", "b"])
    np.testing.assert_allclose(both["START"].quantity.to_value("s"), [0, 1000], atol=1e-5)
    np.testing.assert_allclose(both["STOP"].quantity.to_value("s"), [50, 1060], atol=1e-5)


def test_times_without_a_reference_are_left_out_and_told(caplog) -> None:
    one, other = intervals([0], [50]), intervals([10], [20])
    other.meta.clear()
    both = union_of_times([one, other], ["a", "b"])
    assert len(both) == 1
    assert "'b'" in caplog.text
    one.meta.clear()
    assert len(union_of_times([one, other], ["a", "b"])) == 1


def test_the_result_has_the_times_of_all(first: MapDataset, other: MapDataset) -> None:
    one, two = first.copy(), other.copy()
    one.gti, two.gti = intervals([0], [50]), intervals([40, 90], [60, 95])
    maps = TSMapEstimator(kernel_width=WIDTH).run([one, two])
    np.testing.assert_allclose(maps.gti["STOP"].quantity.to_value("s"), [60, 95])
    assert len(one.gti) == 1
