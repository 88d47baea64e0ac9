"""Masks, weights and positions: what enters a fit, once, and what is fitted."""

from __future__ import annotations

import astropy.units as u
import jax
import numpy as np
import pytest

from datasets import make_dataset
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.estimators.ts_map.inputs import SourceKernel, fit_inputs
from gammagrad.evaluate import estimate_kernel
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from oracles import slow_ts_map

NPIX = (13, 11)
WIDTH = "0.5 deg"
# what a weighted likelihood is made of
SUMS = ("ts", "stat", "stat_null", "npred", "npred_excess")


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return make_dataset(NPIX, mask=True, flux=5e-12)


def weighted(dataset: MapDataset, weights: np.ndarray) -> MapDataset:
    copy = dataset.copy()
    copy.mask_fit = Map(dataset.geom, weights)
    return copy


def assert_same(one: FluxMaps, other: FluxMaps) -> None:
    assert one.available_quantities == other.available_quantities
    for name in [*one.available_quantities, "status"]:
        np.testing.assert_array_equal(one[name].data, other[name].data, err_msg=name)


@pytest.mark.parametrize("mode", ["cube", "counts", "equal"])
def test_weights_multiply_the_likelihood_once(dataset: MapDataset, mode: str) -> None:
    rng = np.random.default_rng(5)
    weights = rng.uniform(0.1, 2.5, dataset.geom.data_shape)
    weights[:, 3:5, 4] = 0
    weights[1, 8, 8:10] = 0
    data = weighted(dataset, weights)
    estimator = TSMapEstimator(
        kernel_width=WIDTH,
        sum_over_energy_groups=mode != "cube",
        kernel_weighting="equal" if mode == "equal" else "counts",
    )
    plain = estimator.copy()
    plain.sum_over_energy_groups = False
    inputs = plain.estimate_fit_input_maps(dataset)
    names = ("counts", "background", "exposure", "kernel")
    arrays = [np.asarray(inputs[name].data, float) for name in names]
    slow = slow_ts_map(*arrays, weights * dataset.mask_safe.data, mode)
    maps = estimator.run(data)
    fitted = maps["status"].data[0] != Status.NOT_FITTED
    off = np.abs(maps["norm"].data[0] - slow["norm"])[fitted] / slow["norm_err"][fitted]
    assert off.max() < 1e-7
    for name in ("ts", "npred"):
        np.testing.assert_allclose(
            maps[name].data[0][fitted], slow[name][fitted], rtol=1e-8, atol=1e-8, err_msg=name
        )


@pytest.mark.parametrize("summed", [True, False])
def test_weight_two_is_two_equal_datasets(dataset: MapDataset, summed: bool) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH, sum_over_energy_groups=summed)
    twice = estimator.run(weighted(dataset, np.full(dataset.geom.data_shape, 2.0)))
    joint = estimator.run([dataset, dataset])
    once = estimator.run(dataset)
    for name in ("norm", "norm_err", *SUMS):
        np.testing.assert_allclose(
            twice[name].data, joint[name].data, rtol=1e-9, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(twice["ts"].data, 2 * once["ts"].data, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(twice["status"].data, joint["status"].data)


@pytest.mark.parametrize("summed", [True, False])
def test_weight_one_is_no_weight(dataset: MapDataset, summed: bool) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH, sum_over_energy_groups=summed)
    weights = np.ones(dataset.geom.data_shape)
    assert_same(estimator.run(weighted(dataset, weights)), estimator.run(dataset))


@pytest.mark.parametrize(
    "settings",
    [
        {"selection_optional": "all", "norm": [-1, 0, 1]},
        {"sum_over_energy_groups": False, "selection_optional": ["ul"]},
        {"threshold": 1.0},
        {"background_floor": 0.5},
        {"kernel_weighting": "equal", "energy_edges": "all"},
    ],
)
def test_a_bin_of_zero_weight_changes_nothing_whatever_it_holds(
    dataset: MapDataset, settings: dict
) -> None:
    weights = np.ones(dataset.geom.data_shape)
    hole = np.s_[:, 4:6, 5:8]
    weights[hole] = 0
    weights[0, 8] = 0
    clean, dirty = weighted(dataset, weights), weighted(dataset, weights)
    for values in (1e6, np.nan):
        dirty.counts.data[hole] = values
        dirty.background.data[hole] = -values
        dirty.counts.data[0, 8] = 1e6
        estimator = TSMapEstimator(kernel_width=WIDTH, **settings)
        assert_same(estimator.run(dirty), estimator.run(clean))


def test_masks_of_images_and_cubes_are_united(dataset: MapDataset) -> None:
    fit = np.ones(dataset.geom.data_shape, bool)
    fit[:, 2:4, 3:9] = False
    fit[2, :, 10] = False
    both = weighted(dataset, fit)
    merged = dataset.copy()
    merged.mask_safe = Map(dataset.geom, fit & dataset.mask_safe.data)
    estimator = TSMapEstimator(kernel_width=WIDTH)
    assert_same(estimator.run(both), estimator.run(merged))
    np.testing.assert_array_equal(
        estimator.estimate_mask_default(both).data, fit & dataset.mask_safe.data
    )


def test_a_floor_under_the_background(dataset: MapDataset) -> None:
    bare = dataset.copy()
    bare.background.data[:, 4:7, 4:8] = 0
    raised = dataset.copy()
    raised.background.data[:, 4:7, 4:8] = 0.01
    estimator = TSMapEstimator(kernel_width=WIDTH)
    expected = estimator.run(raised)
    estimator.background_floor = 0.01
    assert_same(estimator.run(bare), expected)
    assert (bare.background.data[:, 4:7, 4:8] == 0).all()
    assert not (expected["status"].data == Status.COUNTS_WITHOUT_BACKGROUND).any()


def boxes(dataset: MapDataset) -> dict:
    """Return the same 3 x 3 pixels around (row 5, column 7) in every spelling."""
    mask = np.zeros(dataset.geom.shape_image, bool)
    mask[4:7, 6:9] = True
    image = dataset.geom.to_image()
    cube = np.zeros(dataset.geom.data_shape, bool)
    cube[1] = mask
    return {
        "array": mask,
        "map": Map(image, mask),
        "numbers": Map(image, mask.astype(float)),
        "cube": Map(dataset.geom, cube),
        "box": (image.pix_to_sky(7, 5), 0.3 * u.deg),
    }


@pytest.mark.parametrize("kind", ["array", "map", "numbers", "cube", "box"])
def test_some_positions_are_fitted_as_all_are(dataset: MapDataset, kind: str) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH, selection_optional=["ul"], energy_edges="all")
    whole = estimator.run(dataset)
    part = estimator.run(dataset, positions=boxes(dataset)[kind])
    mask = boxes(dataset)["array"]
    fitted = part["status"].data != Status.NOT_FITTED
    np.testing.assert_array_equal(fitted, np.broadcast_to(mask, fitted.shape))
    for name in [*whole.available_quantities, "status"]:
        if name == "niter":
            continue  # a neighbour's norm, to begin with, is another where that is not fitted
        expected, scale = whole[name].data[:, mask], np.nanmax(np.abs(whole[name].data))
        # pixels that are solved together decide when to stop, so that rounding may differ
        np.testing.assert_allclose(
            part[name].data[:, mask], expected, rtol=1e-12, atol=1e-13 * scale, err_msg=name
        )
    assert np.isnan(part["ts"].data[:, ~mask]).all()
    assert part.meta["positions"] == 9


def test_positions_of_one_group(dataset: MapDataset) -> None:
    estimator = TSMapEstimator(kernel_width=WIDTH)
    group = estimator.estimate_flux_map(dataset, positions=boxes(dataset)["array"])
    assert group["success"].data.sum() == 9


def test_positions_that_cannot_be_used_are_named(dataset: MapDataset) -> None:
    run = TSMapEstimator(kernel_width=WIDTH).run
    image = dataset.geom.to_image()
    with pytest.raises(ValueError, match=r"positions: got an array of shape \(3, 4\).*\(11, 13\)"):
        run(dataset, positions=np.ones((3, 4), bool))
    with pytest.raises(ValueError, match="positions: no pixel is True"):
        run(dataset, positions=np.zeros(image.data_shape, bool))
    with pytest.raises(ValueError, match="positions: the mask does not have the pixels"):
        run(dataset, positions=Map(make_dataset((9, 9)).geom.to_image(), True))
    with pytest.raises(ValueError, match=r"(?s)positions: cutout: .* is outside the map"):
        run(dataset, positions=(image.pix_to_sky(100, 100), "0.3 deg"))
    with pytest.raises(ValueError, match="positions: width"):
        run(dataset, positions=(image.pix_to_sky(5, 5), "3 TeV"))
    for wrong in ("all", (1, 2), (image.center_skydir,)):
        with pytest.raises(TypeError, match="positions: got"):
            run(dataset, positions=wrong)
    with pytest.raises(ValueError, match="the mask has NaN"):
        run(dataset, positions=np.full(image.data_shape, np.nan))
    masked = np.zeros(image.data_shape, bool)
    masked[:, 0] = True
    with pytest.raises(ValueError, match="not at the positions asked for"):
        run(dataset, positions=masked)


@pytest.mark.parametrize("mode", ["cube", "counts", "equal"])
def test_masks_need_no_products_of_weights(dataset: MapDataset, mode: str) -> None:
    model = SkyModel(PowerLawSpectralModel(), PointSpatialModel())
    maps = (dataset.exposure, dataset.psf, dataset.edisp, dataset.geom)
    inputs = fit_inputs(dataset, model, SourceKernel(estimate_kernel(model, *maps, WIDTH)))
    assert inputs.is_masked
    numbers = inputs._replace(weights=inputs.weights.astype(float))
    how = (slice(None), mode != "cube", "equal" if mode == "equal" else "counts")
    with jax.enable_x64(True):
        one, other = inputs.images(*how), numbers.images(*how)
    for name in ("counts", "background", "exposure", "kernel"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-14, err_msg=name
        )
    np.testing.assert_array_equal(inputs.fitted(how[0]), numbers.fitted(how[0]))
    assert inputs.contained(how[0]) == pytest.approx(numbers.contained(how[0]))
