"""The map estimator: what its settings do, what it refuses, that it finds what was put in."""

from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest

from datasets import flux_per_bin, make_dataset, make_geom
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.errors import InputWarning
from gammagrad.estimators.ts_map.groups import energy_groups
from gammagrad.maps import SolidAngleWarning
from gammagrad.models import (
    ConstantSpatialModel,
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    ShellSpatialModel,
    SkyModel,
)
from oracles import slow_ts_map

BASE = ["ts", "norm", "niter", "norm_err", "npred", "npred_excess", "stat", "stat_null", "success"]


def point(index: float = 2.0, amplitude: float = 1e-12) -> SkyModel:
    return SkyModel(PowerLawSpectralModel(index=index, amplitude=amplitude), PointSpatialModel())


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return make_dataset(mask=True)


@pytest.fixture(scope="module")
def maps(dataset: MapDataset) -> FluxMaps:
    return TSMapEstimator(kernel_width="1.1 deg").run(dataset)


def test_a_run_gives_every_base_quantity(maps: FluxMaps, dataset: MapDataset) -> None:
    assert maps.available_quantities[: len(BASE)] == BASE
    assert "status" in maps
    for name in BASE:
        assert maps[name].data.shape == (1, *dataset.geom.shape_image)
    assert maps.n_sigma == 1
    assert maps.meta["precision"] == "float64"


@pytest.mark.parametrize("mode", ["cube", "counts", "equal"])
def test_agrees_with_a_loop_over_the_input_maps(dataset: MapDataset, mode: str) -> None:
    weighting = "counts" if mode == "cube" else mode
    estimator = TSMapEstimator(
        kernel_width="0.5 deg", sum_over_energy_groups=mode != "cube", kernel_weighting=weighting
    )
    cube = estimator.copy()
    cube.sum_over_energy_groups = False
    inputs = cube.estimate_fit_input_maps(dataset)
    names = ("counts", "background", "exposure", "kernel", "mask")
    arrays = [inputs[name].data.astype(float) for name in names]
    slow = slow_ts_map(*arrays, mode)
    maps = estimator.run(dataset)
    fitted = maps["status"].data[0] != Status.NOT_FITTED
    np.testing.assert_array_equal(fitted, dataset.mask_safe.data.any(axis=0))
    off = np.abs(maps["norm"].data[0] - slow["norm"])[fitted] / slow["norm_err"][fitted]
    assert off.max() < 1e-7
    np.testing.assert_allclose(maps["ts"].data[0][fitted], slow["ts"][fitted], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(maps["npred"].data[0][fitted], slow["npred"][fitted], rtol=1e-8)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("index", [1.0, 2.0, 2.6])
def test_expected_counts_of_a_source_give_its_flux_back(summed: bool, index: float) -> None:
    flux = 1e-11
    asimov = make_dataset(nbin=4, flux=flux, index=index, seed=None)
    edges = asimov.energy_axis.edges_in("TeV")
    unit = float(PowerLawSpectralModel(index=index, amplitude=1.0).integral(edges[0], edges[-1]))
    model = point(index, flux / unit)
    maps = TSMapEstimator(model, "1.5 deg", sum_over_energy_groups=summed).run(asimov)
    centre = tuple(n // 2 for n in asimov.geom.shape_image)
    assert maps["norm"].data[0][centre] == pytest.approx(1, abs=1e-3)
    assert maps["flux"].data[0][centre] == pytest.approx(flux, rel=1e-3)
    assert np.nanargmax(maps["ts"].data[0]) == np.ravel_multi_index(centre, asimov.geom.shape_image)


def test_plain_mean_of_kernels_is_biased_and_exact_weighting_is_not() -> None:
    geom = make_geom(npix=(31, 31), nbin=2)
    sigmas = [0.1, 0.3] * u.deg
    base = make_dataset(npix=(31, 31), nbin=2, seed=None)
    psf = type(base.psf).from_gauss(base.psf.psf_map.geom.axes["energy_true"], sigmas)
    model = point(index=3.0, amplitude=1e-11)
    quiet = MapDataset(
        counts=Map(geom, 0.0 * base.counts.data),
        background=base.background,
        exposure=base.exposure,
        psf=psf,
    )
    estimator = TSMapEstimator(model, "3 deg", sum_over_energy_groups=False)
    with pytest.warns(InputWarning, match="0 counts, where the background predicts"):
        inputs = estimator.estimate_fit_input_maps(quiet)
    expected = np.zeros(geom.data_shape)
    kernel = inputs["kernel"].data
    half = kernel.shape[-1] // 2
    window = np.s_[:, 15 - half : 16 + half, 15 - half : 16 + half]
    expected[window] = kernel * inputs["exposure"].data[window]
    asimov = quiet.copy()
    asimov.counts = Map(geom, base.background.data + expected)
    norms = {
        weighting: TSMapEstimator(
            model, "3 deg", kernel_weighting=weighting, kernel_positions="centre"
        )
        .run(asimov)["norm"]
        .data[0, 15, 15]
        for weighting in ("counts", "equal")
    }
    assert norms["counts"] == pytest.approx(1, abs=1e-6)
    assert abs(norms["equal"] - 1) > 0.01


def test_energy_edges_snap_to_the_dataset(dataset: MapDataset) -> None:
    axis = dataset.energy_axis
    groups, snapped = energy_groups(axis, [1, 4, 11] * u.TeV)
    assert groups == [(0, 2), (2, 3)]
    np.testing.assert_allclose(snapped.edges, axis.edges[[0, 2, 3]])
    maps = TSMapEstimator(energy_edges="1 TeV, 4 TeV, 11 TeV", kernel_width="0.5 deg").run(dataset)
    assert maps["ts"].data.shape[0] == 2
    assert maps.meta["energy_edges"][1].startswith("4.64")


def test_one_group_per_bin_is_each_bin_alone(dataset: MapDataset) -> None:
    every = TSMapEstimator(energy_edges="all", kernel_width="0.5 deg").run(dataset)
    assert every["ts"].data.shape[0] == 3
    edges = dataset.energy_axis.edges
    alone = TSMapEstimator(energy_edges=edges[1:3], kernel_width="0.5 deg").run(dataset)
    np.testing.assert_allclose(every["norm"].data[1], alone["norm"].data[0], rtol=1e-10)


def test_n_sigma_scales_the_error_and_rtol_decides_convergence_only(dataset: MapDataset) -> None:
    one = TSMapEstimator(kernel_width="0.5 deg").run(dataset)
    two = TSMapEstimator(kernel_width="0.5 deg", n_sigma=2).run(dataset)
    strict = TSMapEstimator(kernel_width="0.5 deg", rtol=1e-300).run(dataset)
    np.testing.assert_allclose(two["norm_err"].data, 2 * one["norm_err"].data)
    np.testing.assert_array_equal(strict["norm"].data, one["norm"].data)
    assert (strict["status"].data == Status.NOT_CONVERGED).any()
    assert not strict["success"].data[strict["status"].data == Status.NOT_CONVERGED].any()
    few = TSMapEstimator(kernel_width="0.5 deg", max_niter=1).run(dataset)
    assert few["niter"].data.max() == 1


def test_sign_and_status(maps: FluxMaps, dataset: MapDataset) -> None:
    norm, ts, status = (maps[name].data[0] for name in ("norm", "ts", "status"))
    fitted = status != Status.NOT_FITTED
    assert np.all(np.isnan(norm) == ~fitted)
    assert not maps["success"].data[0][~fitted].any()
    assert np.all(np.sign(ts[fitted]) * np.sign(norm[fitted]) >= 0)


def test_what_is_already_modelled_is_background() -> None:
    dataset = make_dataset(flux=3e-11, seed=None)
    spectrum = PowerLawSpectralModel(index=2, amplitude=3e-11 / 0.9)
    centre = dataset.geom.center_skydir
    spatial = PointSpatialModel(centre.ra, centre.dec)
    without = TSMapEstimator(kernel_width="1 deg").run(dataset)
    dataset.models = [SkyModel(spectrum, spatial, name="known")]
    maps = TSMapEstimator(kernel_width="1 deg").run(dataset)
    assert np.nanmax(without["ts"].data) > 100
    assert np.nanmax(np.abs(maps["ts"].data)) < 0.05


def test_nan_background_is_weight_zero(dataset: MapDataset) -> None:
    holed = dataset.copy()
    holed.background.data[1, 8:10, 9:12] = np.nan
    masked = dataset.copy()
    masked.mask_safe.data[1, 8:10, 9:12] = False
    one, other = (TSMapEstimator(kernel_width="0.5 deg").run(d) for d in (holed, masked))
    np.testing.assert_allclose(one["norm"].data, other["norm"].data, rtol=1e-12)


def test_an_extended_kernel_wider_than_the_map(dataset: MapDataset) -> None:
    for sigma in (0.11, 0.3, 0.57):
        model = SkyModel(PowerLawSpectralModel(), GaussianSpatialModel(sigma=f"{sigma} deg"))
        estimator = TSMapEstimator(model, kernel_width="10 deg")
        kernel = estimator.estimate_kernel(dataset)
        assert kernel.data.shape[-1] % 2 == 1
        np.testing.assert_allclose(kernel.data.sum(axis=(1, 2)), 1)
        rows, cols = estimator.estimate_pad_width(dataset)
        assert (2 * rows + 1, 2 * cols + 1) == kernel.data.shape[-2:]
        assert estimator.run(dataset)["success"].data.sum() == (25 - 2) * 21


def test_a_model_without_counts_is_not_fitted_and_has_no_ts(dataset: MapDataset) -> None:
    model = SkyModel(PowerLawSpectralModel(), ConstantSpatialModel(value="0 sr-1"))
    maps = TSMapEstimator(model, kernel_width="0.5 deg").run(dataset)
    fitted = dataset.mask_safe.data.any(axis=0)
    assert np.all(maps["ts"].data[0][fitted] == 0)
    assert not maps["success"].data.any()


def test_the_matched_filter_finds_the_flux_of_a_source_alone() -> None:
    dataset = make_dataset(nbin=1, flux=1e-9, background=1e-6, seed=None)
    guess = TSMapEstimator(kernel_width="1.5 deg").estimate_flux_default(dataset)
    assert guess.unit == u.Unit("cm-2 s-1")
    assert guess.data[0, 10, 12] == pytest.approx(1e-9, rel=0.02)
    assert np.isfinite(guess.data).all()


def test_input_maps_have_the_layout_of_gammapy(dataset: MapDataset) -> None:
    summed = TSMapEstimator(kernel_width="0.5 deg").estimate_fit_input_maps(dataset)
    assert set(summed) == {
        *("counts", "background", "norm", "mask", "weights", "exposure", "kernel"),
    }
    assert summed["counts"].data.shape[0] == summed["exposure"].data.shape[0] == 1
    assert summed["mask"].data.shape[0] == summed["kernel"].data.shape[0] == 3
    flux = flux_per_bin(dataset.geom, 1e-12 * 0.9, 2.0).sum()
    expected = flux * 3e13
    assert summed["exposure"].data.max() == pytest.approx(expected, rel=1e-6)


def test_one_group_as_a_dict_of_maps(dataset: MapDataset, maps: FluxMaps) -> None:
    group = TSMapEstimator(kernel_width="1.1 deg").estimate_flux_map([dataset])
    np.testing.assert_allclose(group["norm"].data, maps["norm"].data, rtol=1e-12)


def test_uneven_pixels_are_warned_of() -> None:
    wide = make_dataset(npix=(5, 21), binsz=2.0, proj="CAR", skydir=(0.0, 50.0), sigma=3.0)
    with pytest.warns(SolidAngleWarning):
        TSMapEstimator(kernel_width="6 deg", kernel_positions="centre").run(wide)
    # with a kernel for every position there is nothing to warn of
    with warnings.catch_warnings():
        warnings.simplefilter("error", SolidAngleWarning)
        TSMapEstimator(kernel_width="6 deg").run(wide)


def test_datasets_that_cannot_be_fitted_are_named(dataset: MapDataset) -> None:
    estimator = TSMapEstimator(kernel_width="0.5 deg")
    unexposed = dataset.copy()
    unexposed.exposure.data[...] = 0
    with pytest.raises(ValueError, match="exposure"):
        estimator.run(unexposed)
    dark = dataset.copy()
    dark.background.data[...] = 0
    with pytest.raises(ValueError, match="No valid positions: the background is zero"):
        estimator.run(dark)
    with pytest.raises(ValueError, match="counts"):
        estimator.run(MapDataset(exposure=dataset.exposure, background=dataset.background))


@pytest.mark.parametrize(
    "spatial", [DiskSpatialModel(r_0=0.3), ShellSpatialModel(radius=0.3, width=0.1)]
)
def test_models_with_edges_are_folded_with_a_psf(dataset: MapDataset, spatial) -> None:
    model = SkyModel(PowerLawSpectralModel(), spatial)
    maps = TSMapEstimator(model, kernel_width="1.5 deg").run(dataset)
    assert maps["success"].data.any()
    assert all(0.9 < c <= 1.001 for c in maps.meta["containment"])


def test_a_group_that_is_masked_everywhere_leaves_the_others(caplog) -> None:
    dataset = make_dataset(mask=True)
    dataset.mask_safe.data[0] = False
    maps = TSMapEstimator(energy_edges="all", kernel_width="0.5 deg").run(dataset)
    assert "energy bins 0 to 0 are not fitted" in caplog.text
    assert set(np.unique(maps["status"].data[0])) == {Status.NOT_FITTED}
    assert maps["success"].data[1:].any(axis=(1, 2)).all()


def test_fewer_groups_than_asked_for_are_told(dataset: MapDataset, caplog) -> None:
    groups, _ = energy_groups(dataset.energy_axis, [1, 1.1, 10] * u.TeV)
    assert len(groups) == 1
    assert "2 energy groups asked for, 1 come out" in caplog.text


def test_counts_that_are_no_counts_are_refused_everywhere(dataset: MapDataset) -> None:
    wrong = dataset.copy()
    wrong.counts.data[1, 5, 5] = -1
    with pytest.raises(ValueError, match="counts"):
        TSMapEstimator().estimate_flux_map(wrong)
