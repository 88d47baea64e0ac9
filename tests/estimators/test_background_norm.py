"""The norm of a background outside of a mask, and both estimators on the same data."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.convolution import Ring2DKernel, Tophat2DKernel
from astropy.coordinates import SkyCoord
from scipy.optimize import minimize_scalar

from gammagrad import KernelBackgroundEstimator, TSMapEstimator
from gammagrad.dataset import MapDataset
from gammagrad.estimators.background_norm import BackgroundNorm, fit_background_norm
from gammagrad.maps import Map, MapAxis, WcsGeom
from gammagrad.models import (
    FoVBackgroundModel,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    SkyModel,
)
from gammagrad.simulate import asimov, simulate_field
from oracles import slow_cash


@pytest.fixture
def field():
    return simulate_field(seed=3, npix=40, binsz=0.1, nbin=3)


@pytest.fixture
def dataset(field):
    """Return a dataset whose background is too small by 20, 30 and 40 %, and its mask."""
    result = field.dataset.copy()
    factors = np.array([0.8, 0.7, 0.6])[:, None, None]
    result.background = Map(result.geom, result.background.data * factors)
    return result


@pytest.fixture
def exclusion(field):
    """Return an image that is false where sources are expected."""
    source = field.dataset.copy()
    source.models = field.models
    signal = source.npred_signal().data.sum(axis=0)
    return Map(field.dataset.geom.to_image(), signal < 0.05 * signal.max())


def slow_norm(counts, background, signal=0.0, weights=1.0):
    """Return the norm with the smallest statistic, and its error from the curvature."""

    def stat(x):
        mu = np.maximum(signal + x * background, 1e-25)
        return np.sum(weights * 2 * (mu - counts * np.log(mu)))

    norm = minimize_scalar(stat, bounds=(1e-3, 10), method="bounded", options={"xatol": 1e-9}).x
    curvature = np.sum(weights * counts * background**2 / (signal + norm * background) ** 2)
    return norm, curvature**-0.5


def test_one_norm(dataset, exclusion):
    fit = fit_background_norm(dataset, exclusion)
    keep = np.broadcast_to(exclusion.data, dataset.counts.data.shape)
    norm, error = slow_norm(dataset.counts.data[keep], dataset.background.data[keep])
    assert fit.norm == pytest.approx(norm, rel=1e-6)
    assert fit.norm_err == pytest.approx(error, rel=1e-6)
    assert fit.counts == dataset.counts.data[keep].sum()
    assert fit.npred == pytest.approx(dataset.background.data[keep].sum())
    # with the sources inside it would be too large
    assert fit.norm < fit_background_norm(dataset).norm


def test_a_norm_for_each_energy(dataset, exclusion):
    fit = fit_background_norm(dataset, exclusion, per_energy=True)
    for e in range(3):
        keep = exclusion.data
        expected = slow_norm(dataset.counts.data[e][keep], dataset.background.data[e][keep])
        assert (fit.norm[e], fit.norm_err[e]) == pytest.approx(expected, rel=1e-6)
    truth = 1 / np.array([0.8, 0.7, 0.6])
    assert np.all(np.abs(fit.norm - truth) < 3 * fit.norm_err)


def test_pull_of_the_norm():
    """Over many draws the error is the scatter, and the truth the mean."""
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    geom = WcsGeom.create(npix=20, binsz=0.1, axes=[axis])
    rng = np.random.default_rng(0)
    pulls = []
    for _ in range(300):
        counts = Map(geom, rng.poisson(1.3 * 0.8, geom.data_shape).astype(float))
        fit = fit_background_norm(MapDataset(counts=counts, background=Map(geom, 0.8)))
        pulls.append((fit.norm - 1.3) / fit.norm_err)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(300)
    assert abs(np.std(pulls) - 1) < 4 / np.sqrt(600)


def test_sky_models_stay_fixed(dataset, field):
    """With the sources among the models no mask is needed, and the norm is still the best one."""
    dataset.models = field.models
    fit = fit_background_norm(dataset, per_energy=True)
    signal = dataset.npred_signal().data
    for e in range(3):
        data = dataset.counts.data[e], dataset.background.data[e], signal[e]
        norm, error = slow_norm(*data)
        assert fit.norm[e] == pytest.approx(norm, rel=1e-6)
        assert fit.norm_err[e] == pytest.approx(error, rel=1e-6)
    scaled = fit.apply(dataset)
    assert list(scaled.models.names) == list(dataset.models.names)
    assert scaled.stat_sum() < dataset.stat_sum()


def test_the_background_model_is_part_of_the_background(dataset, exclusion):
    bare = fit_background_norm(dataset, exclusion)
    model = FoVBackgroundModel(dataset.name, PowerLawNormSpectralModel(norm=2.0))
    dataset.models = Models([model])
    fit = fit_background_norm(dataset, exclusion)
    assert fit.norm == pytest.approx(bare.norm / 2)
    again = fit_background_norm(fit.apply(dataset), exclusion)
    assert again.norm == pytest.approx(1)


def test_masks_and_weights_of_the_dataset(dataset, exclusion):
    rng = np.random.default_rng(4)
    safe = Map(dataset.geom, rng.random(dataset.geom.data_shape) < 0.7)
    weights = rng.uniform(0, 1, dataset.geom.data_shape)
    dataset.mask_safe = safe
    dataset.mask_fit = Map(dataset.geom, weights)
    dataset.background.data[1, 5, 5] = np.nan  # unknown: without weight
    fit = fit_background_norm(dataset, exclusion)
    used = safe.data & exclusion.data[None]
    used[1, 5, 5] = False
    norm, error = slow_norm(
        dataset.counts.data[used], dataset.background.data[used], weights=weights[used]
    )
    assert (fit.norm, fit.norm_err) == pytest.approx((norm, error), rel=1e-6)


def test_apply_changes_a_copy_only(dataset, exclusion):
    before = dataset.background.data.copy()
    fit = fit_background_norm(dataset, exclusion, per_energy=True)
    scaled = fit.apply(dataset, name="scaled")
    np.testing.assert_array_equal(dataset.background.data, before)
    np.testing.assert_array_equal(scaled.background.data, before * fit.norm[:, None, None])
    assert scaled.name == "scaled"
    assert scaled.mask_fit is None
    again = fit_background_norm(scaled, exclusion, per_energy=True)
    np.testing.assert_allclose(again.norm, 1, rtol=1e-12)
    one = fit_background_norm(dataset, exclusion)
    np.testing.assert_array_equal(one.apply(dataset).background.data, before * one.norm)
    # no other norm of the same background fits better outside of the mask
    keep = np.broadcast_to(exclusion.data, before.shape)
    stats = [
        slow_cash(dataset.counts.data[keep], factor * one.norm * before[keep])
        for factor in (0.999, 1, 1.001)
    ]
    assert min(stats) == stats[1]


def test_masks_with_energies(dataset, exclusion):
    """An image, the same with one bin, and the same in every bin are one mask."""
    image = fit_background_norm(dataset, exclusion)
    axis = dataset.geom.squash("energy").axes["energy"]
    squashed = Map(exclusion.geom.to_cube([axis]), exclusion.data.astype(int)[None])
    cube = Map(dataset.geom, np.repeat(exclusion.data[None], 3, axis=0))
    for mask in (squashed, cube):
        assert fit_background_norm(dataset, mask) == image
    cube.data[0] = False
    fit = fit_background_norm(dataset, cube, per_energy=True)
    assert np.isnan(fit.norm[0])
    assert np.all(np.isfinite(fit.norm[1:]))


def test_without_counts_the_error_is_infinite(dataset):
    dataset.counts.data[2] = 0
    fit = fit_background_norm(dataset, per_energy=True)
    assert fit.norm[2] == 0
    assert fit.norm_err[2] == np.inf
    with pytest.raises(ValueError, match=r"norm: it is 0 at .* TeV.*per_energy=False"):
        fit.apply(dataset)


def test_a_larger_exclusion_is_cut_out(dataset, exclusion):
    fit = fit_background_norm(dataset, exclusion.pad(((1, 2), (0, 3))), per_energy=True)
    assert np.array_equal(fit.norm, fit_background_norm(dataset, exclusion, per_energy=True).norm)


def test_bad_input(dataset, exclusion):
    with pytest.raises(TypeError, match="exclusion is a ndarray; expected a Map"):
        fit_background_norm(dataset, exclusion.data)
    with pytest.raises(ValueError, match="exclusion does not have the pixels of the dataset"):
        fit_background_norm(dataset, Map.create(npix=40, binsz=0.2, data=True))
    with pytest.raises(ValueError, match=r"exclusion: expected booleans.*got 0\.5"):
        fit_background_norm(dataset, Map(exclusion.geom, 0.5))
    with pytest.raises(ValueError, match="no background is left outside of the masks"):
        fit_background_norm(dataset, Map(exclusion.geom, False))
    with pytest.raises(ValueError, match="has no background"):
        fit_background_norm(MapDataset(counts=dataset.counts))
    with pytest.raises(ValueError, match="has 3 energy bins, the norm has 2"):
        BackgroundNorm(np.ones(2), np.ones(2), np.ones(2), np.ones(2)).apply(dataset)
    dataset.counts.data[0, 0, 0] = -1
    with pytest.raises(ValueError, match="counts"):
        fit_background_norm(dataset)


def test_expected_counts_give_the_true_norm(field, exclusion):
    truth = asimov(field.dataset)
    truth.background = Map(truth.geom, truth.background.data / 1.7)
    assert fit_background_norm(truth, exclusion).norm == pytest.approx(1.7, rel=1e-12)


@pytest.fixture(scope="module")
def observed():
    """Return a simulated field, and what the background estimator makes of its counts.

    The acceptance is the background model up to a factor, as one has it in practice.
    """
    field = simulate_field(seed=1, npix=100, binsz=0.05, nbin=2)
    estimator = KernelBackgroundEstimator(
        Tophat2DKernel(3), Ring2DKernel(11, 6), 4, mask_dilation_radius="0.2 deg"
    )
    dataset = field.dataset
    acceptance = Map(dataset.geom, 123 * dataset.background.data)
    found = estimator.run({"counts": dataset.counts, "acceptance": acceptance}, niter_max=30)
    assert estimator.report.converged
    return field, found


@pytest.fixture(scope="module")
def estimator(observed):
    model = observed[0].models["A"]
    return TSMapEstimator(SkyModel(model.spectral_model, PointSpatialModel()), kernel_width="1 deg")


def position(field, name):
    row = field.sources[list(field.sources["name"]).index(name)]
    return SkyCoord(row["ra"], row["dec"], unit="deg")


def test_sources_over_the_background_found(observed, estimator):
    """The background goes into the TS map of the same data: sources come out as they went in."""
    field, found = observed
    dataset = field.dataset.copy()
    dataset.background = found["background"]
    maps = estimator.run(dataset)
    truth = estimator.run(field.dataset)
    flux = dict(zip(field.sources["name"], field.sources["flux"].value, strict=True))
    peaks = maps.find_peaks(threshold=4, min_distance="0.3 deg")
    places = SkyCoord(peaks["ra"], peaks["dec"])
    for name in "ABCDE":
        place = position(field, name)
        norm, error = (float(m.get(place)[0]) for m in (maps.norm, maps.norm_err))
        assert abs(norm - flux[name] / flux["A"]) < 3 * error
        # the true background gives no other answer
        assert abs(norm - float(truth.norm.get(place)[0])) < 0.5 * error
        assert places.separation(place).deg.min() < 0.15


def test_mask_belongs_into_the_norm_of_the_background(observed, estimator):
    """Outside of the mask the norm is right, and in mask_fit the mask would hide the sources."""
    field, found = observed
    dataset = field.dataset.copy()
    dataset.background = Map(dataset.geom, 0.8 * dataset.background.data)
    fit = fit_background_norm(dataset, found["exclusion"])
    assert abs(fit.norm - 1.25) < 3 * fit.norm_err
    assert fit_background_norm(dataset).norm - 1.25 > 10 * fit.norm_err
    scaled = fit.apply(dataset)
    place = position(field, "A")
    norm = estimator.run(scaled)
    assert abs(float(norm.norm.get(place)[0]) - 1) < 3 * float(norm.norm_err.get(place)[0])
    scaled.mask_fit = found["exclusion"]
    assert np.isnan(estimator.run(scaled).norm.get(place)[0])
