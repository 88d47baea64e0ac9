"""Optional outputs and ways to fit fewer pixels: each adds its own and changes nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import yaml

from datasets import make_dataset
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.core.norm.options import OPTIONAL
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel, models_from_dict
from oracles import slow_cash, slow_profile, windows_at
from precision import DOUBLE

NPIX = (13, 11)
WIDTH = "0.5 deg"
BASE = ["ts", "norm", "niter", "norm_err", "npred", "npred_excess", "stat", "stat_null", "success"]
ADDED = {
    "errn-errp": ["norm_errp", "norm_errn"],
    "ul": ["norm_ul"],
    "stat_scan": ["dnde_scan_values", "stat_scan"],
    "sensitivity": ["norm_sensitivity"],
}
SCAN = [-2.0, -0.1, 0.0, 0.3, 5.0]


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return make_dataset(NPIX, mask=True, flux=2e-12, background=0.05)


def run(dataset: MapDataset, selection: object = None, **settings: object) -> FluxMaps:
    estimator = TSMapEstimator(
        kernel_width=WIDTH, selection_optional=selection, norm=SCAN, **settings
    )
    return estimator.run(dataset)


@pytest.fixture(scope="module")
def everything(dataset: MapDataset) -> FluxMaps:
    return run(dataset, "all")


@pytest.mark.parametrize(
    "selection", [[], *([name] for name in OPTIONAL), ["ul", "errn-errp"], ["sensitivity", "ul"]]
)
def test_an_option_adds_its_maps_and_changes_no_other(
    dataset: MapDataset, everything: FluxMaps, selection: list[str]
) -> None:
    maps = run(dataset, selection)
    added = {name for option in selection for name in ADDED[option]}
    assert set(maps.available_quantities) == {*BASE, *added}
    unasked = {name for option in OPTIONAL for name in ADDED[option]} - added
    assert not any(name in maps for name in unasked)
    for name in [*BASE, "status", *added]:
        # the tests' compiler rounds other programs in other ways
        np.testing.assert_allclose(
            maps[name].data, everything[name].data, rtol=1e-13, atol=1e-13, err_msg=name
        )


def test_the_names_come_in_the_order_of_gammapy() -> None:
    estimator = TSMapEstimator(selection_optional="all")
    added = ["dnde_scan_values", "stat_scan", "norm_errp", "norm_errn", "norm_ul"]
    assert estimator.selection_all == [*BASE, *added, "norm_sensitivity", "status"]
    estimator.selection_optional = None
    assert estimator.selection_all == [*BASE, "status"]
    estimator.selection_optional = ["ul", "errn-errp"]
    assert estimator.selection_all[len(BASE) : -1] == ["norm_errp", "norm_errn", "norm_ul"]


@pytest.mark.parametrize("summed", [True, False])
def test_optional_maps_agree_with_a_loop(dataset: MapDataset, summed: bool) -> None:
    settings = {"n_sigma": 1.5, "n_sigma_ul": 1.645, "n_sigma_sensitivity": 3.0}
    maps = run(dataset, "all", sum_over_energy_groups=summed, **settings)
    cube = TSMapEstimator(kernel_width=WIDTH, sum_over_energy_groups=False)
    inputs = cube.estimate_fit_input_maps(dataset)
    *cubes, kernel = (
        np.asarray(inputs[name].data, float)
        for name in ("counts", "background", "exposure", "kernel")
    )
    for row, col in ((0, 2), (5, 6), (5, 9), (10, 12)):
        (n, b, e), k = windows_at(cubes, kernel, row, col)
        parts = [n, b, k * e]
        if summed:
            parts = [part.sum(axis=0) for part in parts]
        slow = slow_profile(
            *(part.ravel() for part in parts), **settings, scan_values=np.array(SCAN)
        )
        for name in ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity"):
            value = maps[name].data[0, row, col]
            assert value == pytest.approx(getattr(slow, name), rel=1e-6, abs=1e-9), name
        scan = maps["stat_scan"].data[0, :, row, col]
        np.testing.assert_allclose(scan, slow.stat_scan, rtol=1e-8, atol=1e-8)


def test_a_scan_has_its_norms_as_an_axis(dataset: MapDataset) -> None:
    maps = run(dataset, ["stat_scan"], energy_edges="all")
    scan = maps["stat_scan"]
    assert scan.data.shape == (3, len(SCAN), *dataset.geom.shape_image)
    axis = scan.geom.axes["norm"]
    assert axis.node_type == "center"
    np.testing.assert_allclose(axis.center.value, SCAN)
    # the statistic without a source is that at norm 0
    fitted = maps["status"].data != Status.NOT_FITTED
    assert np.all(scan.data[:, 2][fitted] == 0)
    assert np.isnan(scan.data[:, :, ~dataset.mask_safe.data.any(axis=0)]).all()
    values = maps["dnde_scan_values"]
    assert values.data.shape == scan.data.shape
    reference = maps.dnde_ref.to_value(values.unit).ravel()
    seen = values.data[:, :, 5, 6]
    np.testing.assert_allclose(seen, reference[:, None] * np.array(SCAN)[None, :])


def test_a_scan_of_the_default_norms_and_of_one(dataset: MapDataset) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH, selection_optional=["stat_scan"])
    maps = estimator.run(dataset)
    norms = maps["stat_scan"].geom.axes["norm"].center.value
    assert (norms[0], norms[-1]) == (-100, 100)
    estimator.norm = [0.5]
    assert estimator.run(dataset)["stat_scan"].data.shape[1] == 1
    group = estimator.estimate_flux_map(dataset)
    assert list(group) == estimator.selection_all
    assert group["dnde_scan_values"].data.shape == group["stat_scan"].data.shape


def test_no_limit_is_negative_from_norm_zero_on(dataset: MapDataset) -> None:
    quiet = make_dataset(NPIX, flux=0.0, background=2.0, seed=4)
    quiet.counts.data[:, 3:8, 3:8] = 0
    below, above = run(quiet, ["ul"]), run(quiet, ["ul"], norm_min=0)
    assert (below["norm_ul"].data < 0).any()
    assert (above["norm_ul"].data > 0).all()
    positive = below["norm"].data >= 0
    np.testing.assert_array_equal(above["norm_ul"].data[positive], below["norm_ul"].data[positive])
    np.testing.assert_array_equal(above["norm"].data, below["norm"].data)


def test_sensitivity_asks_for_counts_and_for_more_than_the_background_may_err() -> None:
    quiet = make_dataset(NPIX, flux=0.0, background=0.4)
    plain = run(quiet, ["sensitivity"])
    many = run(quiet, ["sensitivity"], gamma_min=1000)
    inputs = TSMapEstimator(kernel_width=WIDTH).estimate_fit_input_maps(quiet)
    per_norm = float(inputs["exposure"].data[0, 5, 6])
    assert many["norm_sensitivity"].data[0, 5, 6] == pytest.approx(1000 / per_norm, rel=1e-6)
    wide = run(quiet, ["sensitivity"], bkg_syst_fraction=5.0)
    assert (wide["norm_sensitivity"].data > plain["norm_sensitivity"].data).all()
    assert (plain["norm_sensitivity"].data > 0).all()


def test_guesses_below_the_threshold_are_kept(dataset: MapDataset) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH)
    exact = estimator.run(dataset)
    guess = estimator.estimate_fit_input_maps(dataset)["norm"].data[0]
    estimator.threshold = 1.0
    maps = estimator.run(dataset)
    kept = maps["status"].data[0] == Status.GUESS_KEPT
    assert kept.any()
    assert (~kept & dataset.mask_safe.data.any(axis=0)).any()
    assert (maps["ts"].data[0][kept] * np.sign(maps["norm"].data[0][kept]) <= 1).all()
    # a guess is moved up to where the best fit can be, and no further
    assert (maps["norm"].data[0][kept] >= guess[kept] - 1e-9).all()
    same = np.isclose(maps["norm"].data[0], guess, rtol=1e-9)[kept]
    assert same.mean() > 0.5
    assert maps["success"].data[0][kept].all()
    assert (maps["niter"].data[0][kept] == 0).all()
    for name in [*BASE, "status"]:
        np.testing.assert_array_equal(maps[name].data[0][~kept], exact[name].data[0][~kept])
    # the guess gains no more than the best fit
    drop = maps["stat"].data[0][kept] - exact["stat"].data[0][kept]
    assert drop.min() > -1e-8


def test_the_guess_is_finite_and_a_mean_over_datasets(dataset: MapDataset) -> None:
    holed = dataset.copy()
    holed.exposure.data[:, 5, 6] = 0
    holed.counts.data[:, 5, 6] = 3
    maps = run(holed, ["ul"], threshold=1e9)
    status = maps["status"].data[0]
    fitted = status != Status.NOT_FITTED
    assert np.isfinite(maps["norm"].data[0][fitted]).all()
    assert np.isfinite(maps["norm_ul"].data[0][fitted]).all()
    double = dataset.copy()
    double.counts.data *= 2
    estimator = TSMapEstimator(kernel_width="0.3 deg", threshold=1e9)
    joint = estimator.run([dataset, double])
    guesses = [estimator.estimate_fit_input_maps(d)["norm"].data[0] for d in (dataset, double)]
    mean = (guesses[0] + guesses[1]) / 2
    kept = joint["norm"].data[0]
    assert np.isclose(kept, mean, rtol=1e-9).mean() > 0.3


def test_a_cut_kernel_is_warned_of_and_can_be_corrected(caplog) -> None:
    flux = 1e-11
    asimov = make_dataset((15, 15), nbin=2, flux=flux, seed=None)
    edges = asimov.energy_axis.edges_in("TeV")
    unit = float(PowerLawSpectralModel(index=2, amplitude=1.0).integral(edges[0], edges[-1]))
    model = SkyModel(PowerLawSpectralModel(index=2, amplitude=flux / unit), PointSpatialModel())
    estimator = TSMapEstimator(model, kernel_width="0.3 deg")
    low = estimator.run(asimov)
    (((held,),),) = [low.meta["containment_per_group"]]
    warned = [r.message for r in caplog.records if "less than 95 %" in r.message]
    assert len(warned) == 1
    assert "'simulated', 1 TeV to 10 TeV" in warned[0]
    assert "a kernel that is not renormalised corrects it" in warned[0]
    assert f"{100 * held:.3g} %" in warned[0]
    # low by about what the kernel leaves out
    assert low["norm"].data[0, 7, 7] == pytest.approx(held, rel=0.05)
    estimator.renormalise = False
    assert estimator.run(asimov)["norm"].data[0, 7, 7] == pytest.approx(1, abs=1e-3)
    caplog.clear()
    estimator.kernel_width = None
    estimator.kernel_containment = 0.96
    maps = estimator.run(asimov)
    assert all(c >= 0.96 for c in maps.meta["containment"])
    assert maps["norm"].data[0, 7, 7] == pytest.approx(1, abs=1e-3)
    assert not caplog.records
    wider = maps.meta["kernel_shape"][0]
    estimator.kernel_containment = 0.5
    assert estimator.run(asimov).meta["kernel_shape"][0] < wider


@pytest.mark.parametrize("npix", [pytest.param((26, 22), marks=pytest.mark.slow), (25, 21)])
def test_blocks_of_pixels_give_nearly_the_same_maps(npix: tuple[int, int]) -> None:
    asimov = make_dataset(npix, nbin=2, flux=2e-12, binsz=0.05, sigma=0.2, seed=None)
    estimator = TSMapEstimator(
        kernel_width="1.6 deg", selection_optional=["ul", "stat_scan"], norm=SCAN
    )
    fine = estimator.run(asimov)
    estimator.downsampling_factor = 2
    coarse = estimator.run([asimov])
    for name in fine.available_quantities:
        assert coarse[name].data.shape == fine[name].data.shape
        assert coarse[name].data.dtype == fine[name].data.dtype
    off = np.abs(coarse["norm"].data - fine["norm"].data) / fine["norm_err"].data
    assert np.median(off) < 0.05
    peak = fine["ts"].data.max()
    assert coarse["ts"].data.max() == pytest.approx(peak, rel=0.1)
    assert coarse["success"].data.all()
    ratio = coarse["norm_ul"].data / fine["norm_ul"].data
    assert np.median(np.abs(ratio - 1)) < 0.05
    estimator.downsampling_factor = 1
    one = estimator.run(asimov)
    np.testing.assert_array_equal(one["ts"].data, fine["ts"].data)


def test_some_positions_of_a_downsampled_map(dataset: MapDataset) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH, downsampling_factor=2)
    mask = np.zeros(dataset.geom.shape_image, bool)
    mask[3:6, 5:8] = True
    whole, part = estimator.run(dataset), estimator.run(dataset, positions=mask)
    for name in [*BASE, "status"]:
        np.testing.assert_array_equal(part[name].data[:, mask], whole[name].data[:, mask])
    assert (part["status"].data[:, ~mask] == Status.NOT_FITTED).all()
    assert np.isnan(part["norm"].data[:, ~mask]).all()
    assert not part["success"].data[:, ~mask].any()


def test_weights_of_merged_pixels(dataset: MapDataset) -> None:
    twice = dataset.copy()
    twice.mask_fit = Map(dataset.geom, np.full(dataset.geom.data_shape, 2.0))
    estimator = TSMapEstimator(kernel_width=WIDTH, downsampling_factor=2)
    one, joint = estimator.run(twice), estimator.run([dataset, dataset])
    for name in ("norm", "ts", "norm_err", "stat", "npred"):
        np.testing.assert_allclose(one[name].data, joint[name].data, rtol=1e-8, atol=1e-8)


def test_the_statistic_of_weighted_bins_is_the_weighted_statistic(dataset: MapDataset) -> None:
    rng = np.random.default_rng(7)
    weights = rng.uniform(0.2, 2.0, dataset.geom.data_shape)
    copy = dataset.copy()
    copy.mask_fit = Map(dataset.geom, weights)
    maps = run(copy, sum_over_energy_groups=False)
    inputs = TSMapEstimator(
        kernel_width=WIDTH, sum_over_energy_groups=False
    ).estimate_fit_input_maps(dataset)
    names = ("counts", "background", "kernel")
    counts, background, kernel = (np.asarray(inputs[name].data, float) for name in names)
    (n, b, w), _ = windows_at([counts, background, weights], kernel, 5, 6)
    null = sum(
        wi * slow_cash(np.array([ni]), np.array([bi]))
        for ni, bi, wi in zip(n.ravel(), b.ravel(), w.ravel(), strict=True)
    )
    assert maps["stat_null"].data[0, 5, 6] == pytest.approx(null, rel=1e-10)
    gain = maps["stat_null"].data - maps["stat"].data
    np.testing.assert_allclose(gain, np.abs(maps["ts"].data), rtol=1e-8, atol=1e-9)


# -- gammapy's results on public data


def stored(data: Path, reference: Path, case: str) -> tuple[list[MapDataset], dict, dict]:
    """Return the datasets of a stored case, what is known of it, and its arrays."""
    about = json.loads((reference / "ts" / f"{case}.json").read_text(encoding="utf-8"))
    datasets = []
    for file, name, models in zip(
        about["files"], about["datasets"], about["models_yaml"], strict=True
    ):
        dataset = MapDataset.read(data / file, name=name)
        if models:
            dataset.models = models_from_dict(yaml.safe_load(models))
        datasets.append(dataset)
    return datasets, about, dict(np.load(reference / "ts" / f"{case}.npz"))


CASES = {
    "fake_joint_onemasked": ["errn-errp", "ul"],
    "hawc_joint_sumF": None,
    "fake_withmodel_ds2": None,
    "hesscrab_sens": ["sensitivity"],
}
# joint fits and sensitivities have tests of their own: with the long studies
PLAIN = ("hawc_joint_sumF", "hesscrab_sens")


@pytest.mark.data
@pytest.mark.skipif(not DOUBLE, reason="the references are in double precision")
@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in PLAIN else c for c in CASES]
)
def test_gammapys_results_on_several_datasets_and_blocks(
    case: str, gammapy_data: Path, reference_dir: Path
) -> None:
    datasets, about, arrays = stored(gammapy_data, reference_dir, case)
    settings = about["settings"]
    estimator = TSMapEstimator(
        *models_from_dict({"components": [about["kernel_model"]]}),
        settings["kernel_width"],
        settings.get("downsampling_factor"),
        selection_optional=CASES[case],
        energy_edges=arrays["energy_edges"] * u.TeV if settings.get("energy_edges") else None,
        sum_over_energy_groups=settings.get("sum_over_energy_groups", True),
        kernel_weighting="equal",
        kernel_sampling="gammapy",
        kernel_positions="centre",
    )
    maps = estimator.run(datasets)
    good = np.isfinite(arrays["precise__norm"]) & arrays["precise__success"].astype(bool)
    error = np.where(good, arrays["precise__norm_err"], math.inf)
    off = np.abs(maps["norm"].data - arrays["precise__norm"])[good] / error[good]
    assert off.max() < 1e-3
    if "downsampling_factor" not in settings:  # gammapy interpolates TS without its sign
        ts = np.abs(arrays["precise__ts"])[good]
        np.testing.assert_allclose(np.abs(maps["ts"].data)[good], ts, rtol=1e-4, atol=1e-4)
    for name in ("npred", "stat", "stat_null"):
        wanted = arrays[f"precise__{name}"][good]
        np.testing.assert_allclose(maps[name].data[good], wanted, rtol=1e-4, atol=1e-4)
    for name in ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity"):
        if name in maps:
            wanted = arrays[f"precise__{name}"]
            # gammapy's sensitivity has the sign of the fit, and is NaN without one
            use = good & (wanted > 0)
            np.testing.assert_allclose(maps[name].data[use], wanted[use], rtol=1e-3)
