"""Maps with norms of the background: what is found, what can be asked for, and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from datasets import make_dataset, make_geom
from gammagrad import FluxMaps, Map, MapDataset, MapDatasetOnOff, TSMapEstimator
from gammagrad.core.norm import BACKGROUND_MAPS, Status
from gammagrad.errors import InputError
from gammagrad.estimators.config import read_config, write_config
from gammagrad.models import GaussianSpatialModel, PowerLawSpectralModel, SkyModel

Floats = NDArray[np.float64]

NPIX = (31, 30)
LEVEL = 1.3
"""What the true background is, over that of the dataset."""
MIDDLE = (0, NPIX[1] // 2, NPIX[0] // 2)
KERNEL = {"kernel_width": "0.7 deg", "sum_over_energy_groups": False}


def estimator(background: str = "free", **how: Any) -> TSMapEstimator:
    return TSMapEstimator(**{**KERNEL, "background": background, **how})


def scaled(dataset: MapDataset, level: float | Floats = 1 / LEVEL) -> MapDataset:
    """Return a dataset with another background model."""
    found = dataset.copy(name=dataset.name)
    found.background = Map(dataset.geom, dataset.background.data * level)
    return found


def field(**how: Any) -> MapDataset:
    return make_dataset(NPIX, **{"nbin": 2, "background": 1.0, "flux": 1.5e-12, **how})


@pytest.fixture(scope="module")
def wrong() -> MapDataset:
    """Return a field whose background model is too low."""
    return scaled(field())


@pytest.fixture(scope="module")
def free(wrong: MapDataset) -> FluxMaps:
    return estimator().run(wrong)


def test_a_wrong_level_is_found(wrong: MapDataset, free: FluxMaps) -> None:
    truth = estimator("fixed").run(field())
    fixed = estimator("fixed").run(wrong)
    # windows without the source
    away = np.ones(NPIX[::-1], bool)
    away[4:-4, 4:-4] = False
    off = np.abs(free["background_norm"].data - LEVEL) / free["background_norm_err"].data
    assert np.median(off[0][away]) < 1
    assert off[0][away].max() < 4
    means = [float(m["sqrt_ts"].data[0][away].mean()) for m in (truth, free, fixed)]
    assert abs(means[0]) < 0.3
    assert abs(means[1]) < 0.3
    assert means[2] > 1
    error = truth["norm_err"].data[MIDDLE]
    assert abs(free["norm"].data[MIDDLE] - truth["norm"].data[MIDDLE]) < error
    assert fixed["norm"].data[MIDDLE] > truth["norm"].data[MIDDLE] + error
    assert (free["background_norm_corr"].data < 0).all()
    # source and background predict the counts
    assert free["success"].data.all()


def test_expected_counts_give_back_what_they_were_made_with() -> None:
    exact = scaled(field(seed=None))
    # a kernel that holds the whole source, nearly
    maps = estimator("free", kernel_width="1.5 deg").run(exact)
    assert maps["background_norm"].data[MIDDLE] == pytest.approx(LEVEL, rel=1e-3)
    assert maps["flux"].data[MIDDLE] == pytest.approx(1.5e-12, rel=2e-3)
    close = estimator("constrained", background_uncertainty=1e-3).run(exact)
    np.testing.assert_allclose(close["background_norm"].data, 1, atol=0.02)
    fixed = estimator("fixed").run(exact)
    tight = estimator("constrained", background_uncertainty=1e-7).run(exact)
    for name in ("norm", "norm_err", "ts"):
        np.testing.assert_allclose(tight[name].data, fixed[name].data, rtol=1e-5, err_msg=name)


def window_of(dataset: MapDataset, how: TSMapEstimator) -> tuple[Floats, Floats, Floats]:
    """Return counts, background and model in the window around the middle, with plain loops."""
    inputs = how.estimate_fit_input_maps(dataset)
    kernel, seen = inputs["kernel"].data, inputs["exposure"].data
    model = np.zeros_like(seen)
    half = kernel.shape[-1] // 2
    y, x = MIDDLE[1:]
    model[:, y - half : y + half + 1, x - half : x + half + 1] = kernel
    wide = slice(y - 10, y + 11), slice(x - 10, x + 11)
    assert kernel.shape[-1] == 7
    cubes = dataset.counts.data, dataset.background.data, model * seen
    counts, background, model = (c[(slice(None), *wide)] for c in cubes)
    return counts, background, model


@pytest.mark.parametrize("prior", ["none", "gamma", "gaussian"])
def test_one_pixel_is_the_least_of_a_plain_likelihood(prior: str, wrong: MapDataset) -> None:
    how = estimator(
        "free" if prior == "none" else "constrained",
        background_uncertainty=0.1,
        background_prior="gamma" if prior == "none" else prior,
        kernel_positions="centre",
    )
    mask = np.zeros(NPIX[::-1], bool)
    mask[MIDDLE[1:]] = True
    maps = how.run(wrong, positions=mask)
    n, b, m = window_of(wrong, how)
    penalty = {
        "none": lambda beta: 0.0,
        "gamma": lambda beta: 200 * (beta - np.log(beta)),
        "gaussian": lambda beta: 100 * (beta - 1) ** 2,
    }[prior]

    def stat(at: Floats) -> float:
        mu = at[1] * b + at[0] * m
        if at[1] <= 0 or mu.min() <= 0:
            return 1e9
        return float(2 * (mu - n * np.log(mu)).sum() + penalty(at[1]))

    best = minimize(stat, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-9})
    norm, error = maps["norm"].data[MIDDLE], maps["norm_err"].data[MIDDLE]
    assert norm == pytest.approx(best.x[0], abs=1e-3 * error)
    assert maps["background_norm"].data[MIDDLE] == pytest.approx(best.x[1], abs=1e-5)
    without = minimize(lambda at: stat(np.array([0, at[0]])), [1.0], method="Nelder-Mead")
    assert maps["ts"].data[MIDDLE] == pytest.approx(without.fun - best.fun, abs=1e-3)


def test_an_uncertainty_for_each_energy_group(wrong: MapDataset) -> None:
    both = estimator("constrained", energy_edges="all", background_uncertainty=[0.01, 0.3])
    maps = both.run(wrong)
    off = np.abs(maps["background_norm"].data - 1).mean(axis=(1, 2))
    assert off[0] < 0.05
    assert off[1] > 0.2
    for index, sigma in enumerate([0.01, 0.3]):
        one = estimator("constrained", energy_edges="all", background_uncertainty=sigma).run(wrong)
        for name in ("ts", "background_norm", "background_norm_pull"):
            np.testing.assert_array_equal(maps[name].data[index], one[name].data[index])
    with pytest.raises(InputError, match=r"background_uncertainty has 3 numbers, and the map 2"):
        estimator("constrained", energy_edges="all", background_uncertainty=[0.1] * 3).run(wrong)


def test_an_uncertainty_for_each_pixel(wrong: MapDataset) -> None:
    image = wrong.geom.to_image()
    sigma = np.full(image.shape_image, 0.01)
    sigma[:, 16:] = 0.3
    maps = estimator("constrained", background_uncertainty=Map(image, sigma)).run(wrong)
    for part, value in ((np.s_[:, :16], 0.01), (np.s_[:, 16:], 0.3)):
        one = estimator("constrained", background_uncertainty=value).run(wrong)
        for name in ("norm", "background_norm", "background_norm_pull"):
            np.testing.assert_allclose(
                maps[name].data[0][part], one[name].data[0][part], rtol=1e-9, err_msg=name
            )
    small = estimator("constrained", background_uncertainty=Map(make_geom(5, 1).to_image(), 0.1))
    with pytest.raises(InputError, match=r"background_uncertainty is a map of shape \(5, 5\)"):
        small.run(wrong)
    sigma[0, 0] = 0
    bad = estimator("constrained", background_uncertainty=Map(image, sigma))
    with pytest.raises(InputError, match=r"background_uncertainty has values that are not above 0"):
        bad.run(wrong)


def test_an_uncertainty_on_merged_pixels(wrong: MapDataset) -> None:
    image = wrong.geom.to_image()
    how = {"downsampling_factor": 2, "kernel_width": "1 deg"}
    flat = estimator("constrained", background_uncertainty=Map(image, 0.05), **how).run(wrong)
    number = estimator("constrained", background_uncertainty=0.05, **how).run(wrong)
    for name in ("norm", "ts", "background_norm", "background_norm_err"):
        np.testing.assert_allclose(flat[name].data, number[name].data, rtol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def joint() -> list[MapDataset]:
    """Return two datasets whose backgrounds are wrong in opposite ways."""
    one, two = (field(seed=seed, name=name, flux=0) for seed, name in ((1, "one"), (2, "two")))
    return [scaled(one, 1 / LEVEL), scaled(two, LEVEL)]


@pytest.mark.parametrize(
    ("norms", "expected"),
    [("per dataset", [1.3, 1 / 1.3]), ("per energy", [1.3, 1.3, 1 / 1.3, 1 / 1.3])],
)
def test_several_norms_have_an_axis(
    norms: str, expected: list[float], joint: list[MapDataset], tmp_path: Path
) -> None:
    positions = np.zeros(NPIX[::-1], bool)
    positions[10:18, 10:18] = True
    maps = estimator(background_norms=norms).run(joint, positions=positions)
    shape = (1, len(expected), *NPIX[::-1])
    for name in BACKGROUND_MAPS:
        assert maps[name].data.shape == shape, name
        assert maps[name].geom.axes.names == ["background", "energy"]
    found = np.nanmedian(maps["background_norm"].data[0], axis=(1, 2))
    np.testing.assert_allclose(found, expected, atol=0.1)
    maps.write(tmp_path / "maps.fits")
    again = FluxMaps.read(tmp_path / "maps.fits")
    for name in BACKGROUND_MAPS:
        np.testing.assert_allclose(again[name].data, maps[name].data, rtol=1e-6)
        assert again[name].geom.axes.names == ["background", "energy"]


def test_a_file_has_the_maps(free: FluxMaps, tmp_path: Path) -> None:
    free.write(tmp_path / "maps.fits")
    again = FluxMaps.read(tmp_path / "maps.fits")
    assert again.available_quantities == free.available_quantities
    for name in BACKGROUND_MAPS:
        np.testing.assert_allclose(again[name].data, free[name].data, rtol=1e-6)
        assert str(again[name].unit) == ""
    assert again.meta["background"] == "free"
    ax = again.plot("background_norm")
    assert ax.figure is not None
    plt.close("all")


def test_what_was_not_fitted_says_how_to(wrong: MapDataset) -> None:
    fixed = estimator("fixed").run(wrong)
    assert not set(BACKGROUND_MAPS) & set(fixed.available_quantities)
    with pytest.raises(KeyError, match=r"background"):
        fixed["background_norm"]


def test_datasets_on_other_pixels() -> None:
    one = scaled(field(seed=1, name="one", flux=0))
    coarse = scaled(make_dataset((16, 15), 2, binsz=0.2, background=4.0, flux=0, name="coarse"))
    how = {"background_width": "2 deg"}
    maps = estimator(**how).run([one, coarse])
    assert maps.geom.shape_image == NPIX[::-1]
    assert np.median(maps["background_norm"].data) == pytest.approx(LEVEL, abs=0.05)
    # twice the counts say it better
    alone = estimator(**how).run(one)
    ratio = maps["background_norm_err"].data[MIDDLE] / alone["background_norm_err"].data[MIDDLE]
    assert 0.6 < ratio < 0.85


def test_several_models(wrong: MapDataset, free: FluxMaps) -> None:
    wide = SkyModel(PowerLawSpectralModel(index=2), GaussianSpatialModel(sigma="0.1 deg"))
    each = estimator(model=[free_model(), wide]).run(wrong)
    np.testing.assert_allclose(each[0]["ts"].data, free["ts"].data, rtol=1e-9, atol=1e-9)
    assert "background_norm" in each.best().available_quantities


def free_model() -> SkyModel:
    return TSMapEstimator().model


def test_kernels_by_position(wrong: MapDataset, free: FluxMaps) -> None:
    maps = estimator(kernel_positions="map").run(wrong)
    error = free["norm_err"].data
    # the response is the same everywhere
    assert (np.abs(maps["norm"].data - free["norm"].data) < 5e-3 * error + 2e-3).all()
    np.testing.assert_allclose(
        maps["background_norm"].data, free["background_norm"].data, rtol=1e-3
    )


@pytest.mark.parametrize("how", [{"n_jobs": 2}, {"memory": "1 MB"}], ids=["processes", "strips"])
def test_shared_work_gives_the_same(how: dict[str, Any], wrong: MapDataset, free: FluxMaps) -> None:
    maps = estimator(**how).run(wrong)
    for name in ("norm", "ts", *BACKGROUND_MAPS):
        np.testing.assert_allclose(
            maps[name].data, free[name].data, rtol=1e-9, atol=1e-12, err_msg=name
        )


def test_limits_hold_the_error_of_the_background(wrong: MapDataset, free: FluxMaps) -> None:
    optional = ["ul", "errn-errp", "sensitivity"]
    maps = estimator(selection_optional=optional).run(wrong)
    fixed = estimator("fixed", selection_optional=optional).run(scaled(wrong, LEVEL))
    np.testing.assert_array_equal(maps["ts"].data, free["ts"].data)
    fitted = maps["status"].data == Status.FITTED
    assert (maps["norm_ul"].data > maps["norm"].data).all()
    up = maps["norm_errp"].data
    assert np.median(up[fitted] / maps["norm_err"].data[fitted]) == pytest.approx(1, abs=0.15)
    # what the norm of the background costs in a window of three kernels
    for name in ("norm_err", "norm_sensitivity"):
        cost = np.median(maps[name].data[fitted] / fixed[name].data[fitted])
        assert 1.0 < cost < 1.1, name


def test_a_wide_window_says_more(wrong: MapDataset) -> None:
    errors = [
        estimator(background_width=width).run(wrong)["background_norm_err"].data[MIDDLE]
        for width in ("0.7 deg", "2 deg", "5 deg")
    ]
    assert errors[0] > errors[1] > errors[2]
    # a window smaller than the kernel is the kernel's
    least = estimator(background_width="0.1 deg").run(wrong)
    assert least["background_norm_err"].data[MIDDLE] == pytest.approx(errors[0], rel=1e-12)


def test_a_source_in_the_window_counts_as_background(wrong: MapDataset) -> None:
    offset = (0.0, 7.0)
    near = make_dataset(NPIX, 2, background=1.0, flux=2e-10, offset=offset)
    maps = estimator().run(near)
    assert maps["background_norm"].data[MIDDLE] > 1.3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"background": "loose"}, r"background is 'loose'; there are fixed, free"),
        ({"background_prior": "flat"}, r"background_prior is 'flat'"),
        ({"background_norms": "two"}, r"background_norms is 'two'"),
        ({"background_uncertainty": 0}, r"background_uncertainty is 0; expected a relative"),
        ({"background_uncertainty": "much"}, r"background_uncertainty is 'much'"),
        ({"background_uncertainty": True}, r"background_uncertainty is True"),
        ({"background_uncertainty": [0.1, True]}, r"background_uncertainty is \[0.1, True\]"),
        ({"background_uncertainty": []}, r"background_uncertainty is \[\]"),
        ({"background_uncertainty": [0.1, np.nan]}, r"background_uncertainty is \[0.1, nan\]"),
        ({"background_width": "-1 deg"}, r"background_width is '-1 deg'; expected one positive"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TSMapEstimator(**settings)


def test_settings_survive_a_file(tmp_path: Path) -> None:
    one = estimator(
        "constrained",
        background_uncertainty=[0.03, 0.1],
        background_prior="gaussian",
        background_width="2 deg",
        background_norms="per energy",
    )
    write_config(one, tmp_path / "config.json")
    again = read_config(tmp_path / "config.json")
    assert again.settings == one.settings
    assert again.background_width.to_value("deg") == 2
    assert "background_uncertainty" in repr(one) or "background_uncertainty" in str(one)
    one.background_uncertainty = Map(make_geom(5, 1).to_image(), 0.1)
    with pytest.raises(InputError, match=r"background_uncertainty is a map, which a file"):
        write_config(one, tmp_path / "other.json")


def test_what_does_not_go_together(wrong: MapDataset) -> None:
    with pytest.raises(InputError, match=r"free has the index, and background is 'free'"):
        estimator(free=("norm", "index")).run(wrong)
    for how in (
        {"background": "constrained", "background_prior": "gaussian"},
        {"background_norms": "per dataset"},
    ):
        with pytest.raises(InputError, match=r"threshold cannot be set with a Gaussian prior"):
            estimator(**how, threshold=4).run(wrong)
    off = MapDatasetOnOff.from_map_dataset(
        wrong, acceptance=Map(wrong.geom, 1.0), acceptance_off=Map(wrong.geom, 10.0)
    )
    counts = np.random.default_rng(4).poisson(10.0, wrong.geom.data_shape)
    off.counts_off = Map(wrong.geom, counts.astype(float))
    with pytest.raises(
        InputError, match=r"dataset .* has OFF counts, .* for which background='free' asks"
    ):
        estimator().run(off)


def test_a_threshold_keeps_guesses(wrong: MapDataset, free: FluxMaps) -> None:
    maps = estimator(threshold=4).run(wrong)
    kept = maps["status"].data == Status.GUESS_KEPT
    assert 0 < kept.sum() < kept.size
    for name in ("norm", "ts", *BACKGROUND_MAPS):
        np.testing.assert_allclose(
            maps[name].data[~kept], free[name].data[~kept], rtol=1e-9, atol=1e-12, err_msg=name
        )


def test_one_bin_does_not_tell_source_and_background_apart() -> None:
    one = make_dataset((15, 15), 1, background=2.0, flux=0)
    how = {"kernel_width": "0.1 deg", "background_width": "0.1 deg"}
    maps = TSMapEstimator(background="free", **how).run(one)
    assert (maps["status"].data == Status.BACKGROUND_UNDETERMINED).all()
    assert not maps["success"].data.any()
    for name in ("norm", "norm_err", *BACKGROUND_MAPS):
        assert np.isnan(maps[name].data).all(), name
    np.testing.assert_array_equal(maps["ts"].data, 0)
    # with knowledge, or with more bins, they can be told
    for more in ({"background": "constrained"}, {"background_width": "0.5 deg"}):
        told = TSMapEstimator(**{"background": "free", **how, **more}).run(one)
        assert told["success"].data.all()
        assert np.isfinite(told["norm"].data).all()


def test_counts_in_the_shape_of_the_source_leave_no_background() -> None:
    geom = make_geom((15, 15), 1)
    lone = make_dataset((15, 15), 1, background=1e-3, flux=0, seed=3)
    lone.counts = Map(geom, np.zeros(geom.data_shape))
    lone.counts.data[0, 7, 7] = 8
    maps = TSMapEstimator(kernel_width="0.7 deg", background="free").run(lone)
    assert maps["status"].data[0, 7, 7] == Status.BACKGROUND_VANISHES
    assert maps["background_norm"].data[0, 7, 7] == pytest.approx(0, abs=1e-12)
    assert maps["norm_err"].data[0, 7, 7] == pytest.approx(
        maps["norm"].data[0, 7, 7] / np.sqrt(8), rel=1e-6
    )
    assert maps["success"].data[0, 7, 7]
