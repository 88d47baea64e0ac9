"""Fits against scipy, closed forms and simulated truth."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

import gammagrad
from datasets import make_dataset
from gammagrad.dataset.likelihood import DatasetLikelihood
from gammagrad.fitting.problem import curvature, evaluate
from gammagrad.fitting.setup import fit_bounds
from gammagrad.maps import Map
from gammagrad.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
)

NPIX = (13, 11)


def source(**changes):
    model = SkyModel(
        PowerLawSpectralModel(index=2.4, amplitude=8e-12),
        GaussianSpatialModel(83.66, 22.04, sigma=0.08),
        "crab",
    )
    return model.copy(**changes)


def dataset_with(seed=0):
    """Return a dataset of a source at the middle with random counts."""
    return make_dataset(NPIX, nbin=2, background=2.0, flux=2e-11, seed=seed, name="one")


def simple(counts, background, name="plain"):
    """Return a dataset of counts and background alone."""
    geom = make_dataset(NPIX, nbin=2).geom
    cubes = [np.broadcast_to(cube, geom.data_shape).astype(float) for cube in (counts, background)]
    counts, background = (Map(geom, cube) for cube in cubes)
    return gammagrad.MapDataset(counts, background=background, name=name)


@pytest.fixture(scope="module")
def models():
    return Models([source(), FoVBackgroundModel("one")]).thaw("one-bkg.tilt").freeze("*.sigma")


@pytest.fixture(scope="module")
def dataset():
    return dataset_with()


@pytest.fixture(scope="module")
def result(dataset, models):
    return gammagrad.fit(dataset, models, progress=False)


def test_the_minimum_is_that_of_scipy(result, dataset, models):
    assert result.success, result
    likelihood = dataset.likelihood(result.models)
    scale = np.sqrt(np.diag(result.covariance))

    @jax.jit
    def stat(x):
        values = dict(zip(result.names, jnp.asarray(result.values) + x * scale, strict=True))
        return likelihood.stat_sum(models.with_parameters(values))

    slow = minimize(stat, np.full(len(scale), 0.3), method="Nelder-Mead", options={"maxfev": 4000})
    assert result.stat <= float(slow.fun) + 1e-6
    np.testing.assert_allclose(slow.x, 0.0, atol=0.05)
    assert result.stat == pytest.approx(float(stat(np.zeros(len(scale)))), abs=1e-6)
    assert result.stat == pytest.approx(dataset.stat_sum(result.models), abs=1e-5)
    # errors: the statistic grows by 1 where one parameter is an error off and the others follow
    inverse = np.linalg.inv(result.correlation)
    for i in range(len(scale)):
        along = np.linalg.inv(inverse)[:, i]
        rise = 0.5 * float(stat(0.2 * along) + stat(-0.2 * along)) - result.stat
        assert rise == pytest.approx(0.04, rel=0.02)


def test_the_report(result, models):
    assert result.names == models.free
    assert result.models.settings == models.settings
    assert result.edm < 1e-6
    assert result.history[0] == result.stat_start
    assert result.history[-1] == pytest.approx(result.stat, abs=1e-9)
    assert result.niter <= 15
    assert result.at_bound == ()
    table = result.parameters
    row = table[(table["model"] == "crab") & (table["name"] == "amplitude")][0]
    assert row["error"] == result.errors["crab.amplitude"]
    assert row["unit"] == "cm-2 s-1 TeV-1"
    assert table["frozen"][table["name"] == "reference"].all()
    text = str(result)
    assert "the minimum was found" in text
    assert "amplitude" in text
    assert "reference" not in text
    assert "5 free" not in repr(result)
    assert "6 free" in repr(result)
    part = result.covariance_of("crab.index", "crab.amplitude")
    assert part.shape == (2, 2)
    assert part[0, 1] == pytest.approx(
        result.correlation[0, 1] * result.errors["crab.index"] * result.errors["crab.amplitude"]
    )


def test_errors_go_through_functions(result):
    def flux(models):
        return models["crab"].spectral_model.integral(jnp.array([1.0, 3.0]), jnp.array([3.0, 10.0]))

    value, error = result.propagate(flux)
    assert value.shape == error.shape == (2,)
    # by hand: the change of the flux with each parameter, and their covariance
    names = ("crab.index", "crab.amplitude")
    changes = []
    for name in names:
        step = 1e-4 * result.errors[name]
        changed = {name: result.models.parameters[name] + step}
        changes.append((flux(result.models.with_parameters(changed)) - value) / step)
    slopes = np.array(changes)
    square = np.sum(slopes * (result.covariance_of(*names) @ slopes), axis=0)
    np.testing.assert_allclose(error, np.sqrt(square), rtol=1e-3)


def test_a_second_fit_of_equal_shapes_compiles_nothing(result, models):
    sizes = evaluate.traces, curvature.traces
    again = gammagrad.fit(dataset_with(seed=3), models.bound("crab.index", 1, 5), progress=False)
    assert again.success
    assert again.stat != result.stat
    assert (evaluate.traces, curvature.traces) == sizes


def test_a_source_far_from_its_place_is_found(result, dataset, models):
    far = models.with_parameters({"crab.lon_0": 83.85, "crab.lat_0": 21.9})
    again = gammagrad.fit(dataset, far, progress=False)
    assert again.success, again
    assert not dataset.likelihood(far).holds(again.models)
    # as if it had been there from the start
    errors = np.array([result.errors[name] for name in result.names])
    np.testing.assert_allclose((again.values - result.values) / errors, 0.0, atol=1e-3)
    assert again.stat == pytest.approx(result.stat, abs=1e-5)
    assert again.stat == pytest.approx(dataset.stat_sum(again.models), abs=1e-5)


def test_float64_in_a_float32_world(result, dataset, models):
    with jax.enable_x64(False):
        again = gammagrad.fit(dataset, models, progress=False)
    assert again.stat == pytest.approx(result.stat, abs=1e-9)
    np.testing.assert_allclose(again.values, result.values, rtol=1e-9)


def test_another_optimiser_finds_the_same(result, dataset, models):
    adam = optax.adam(0.5)
    again = gammagrad.fit(dataset, models, optimiser=adam, max_iterations=500, progress=False)
    assert again.success, again
    assert again.stat == pytest.approx(result.stat, abs=1e-5)
    assert again.niter > result.niter


def test_steps_may_run_out(dataset, models):
    slow = optax.sgd(1e-3)
    found = gammagrad.fit(dataset, models, optimiser=slow, max_iterations=2, progress=False)
    assert not found.success
    assert "raise max_iterations" in found.message
    assert found.stat < found.stat_start


# ---------------------------------------------------------------- backgrounds alone: closed forms


def test_a_norm_is_the_ratio_of_counts_and_its_error_poissonian():
    dataset = simple(6.0, 2.0)
    found = gammagrad.fit(dataset, FoVBackgroundModel("plain"), progress=False)
    assert found.models.parameters["plain-bkg.norm"] == pytest.approx(3.0, rel=1e-9)
    total = dataset.require("counts").data.sum()
    assert found.errors["plain-bkg.norm"] == pytest.approx(3.0 / np.sqrt(total), rel=1e-9)


def test_small_changes_of_the_statistic_of_many_counts_are_seen():
    dataset = simple(3e9, 1e9)
    found = gammagrad.fit(dataset, FoVBackgroundModel("plain"), progress=False)
    assert found.success
    assert found.models.parameters["plain-bkg.norm"] == pytest.approx(3.0, rel=1e-9)


def test_a_joint_fit_is_the_fit_of_the_product():
    def template(name):
        return TemplateNPredModel(np.ones((2, 11, 13)), name=name)

    one, two = simple(6.0, 2.0, "one"), simple(3.0, 2.0, "two")
    found = gammagrad.fit([one, two], template("t"), progress=False)
    # the same norm added to both
    norm = found.models.parameters["t.norm"]
    slope = 6.0 / (2.0 + norm) + 3.0 / (2.0 + norm)
    assert slope == pytest.approx(2.0, rel=1e-9)
    curved = 6.0 / (2.0 + norm) ** 2 + 3.0 / (2.0 + norm) ** 2
    assert found.errors["t.norm"] == pytest.approx((curved * 2 * 11 * 13) ** -0.5, rel=1e-9)
    assert found.stat == pytest.approx(one.stat_sum(found.models) + two.stat_sum(found.models))
    # models for one of them only, and each its own background
    own = Models(
        [FoVBackgroundModel("one"), FoVBackgroundModel("two"), FoVBackgroundModel("three")]
    )
    found = gammagrad.fit([one, two], own, progress=False)
    assert found.names == ("one-bkg.norm", "two-bkg.norm")
    np.testing.assert_allclose(found.values, [3.0, 1.5], rtol=1e-9)
    assert found.correlation[0, 1] == pytest.approx(0.0, abs=1e-12)
    for dataset, index in ((one, 0), (two, 1)):
        dataset.models = own[index]
    again = gammagrad.fit([one, two], progress=False)
    np.testing.assert_allclose(again.values, found.values, rtol=1e-12)


@pytest.mark.parametrize("start", [1.0, 2.0])
def test_a_parameter_ends_at_its_bound_and_the_rest_is_right(start):
    dataset = simple(6.0, 2.0)
    models = Models(FoVBackgroundModel("plain", PowerLawNormSpectralModel(norm=start)))
    models = models.thaw("*.tilt").bound("plain-bkg.norm", 0.5, 2.0)
    found = gammagrad.fit(dataset, models, progress=False)
    assert found.success
    assert found.at_bound == ("plain-bkg.norm",)
    assert "at a bound" in found.message
    assert found.models.parameters["plain-bkg.norm"] == 2.0
    assert np.isnan(found.errors["plain-bkg.norm"])
    fixed = models.freeze("*.norm").with_parameters({"plain-bkg.norm": 2.0})
    alone = gammagrad.fit(dataset, fixed, progress=False)
    assert found.values[1] == pytest.approx(float(alone.values[0]), abs=1e-4)
    assert found.errors["plain-bkg.tilt"] == pytest.approx(alone.errors["plain-bkg.tilt"], rel=1e-5)
    assert found.propagate(lambda m: m["plain-bkg"].spectral_model.norm)[1] == 0.0


def test_what_the_data_do_not_determine_is_said():
    models = Models([FoVBackgroundModel("plain")]).thaw("*.tilt", "*.reference")
    found = gammagrad.fit(simple(6.0, 2.0), models, progress=False)
    assert not found.success
    assert "do not determine" in found.message
    assert "plain-bkg.reference" in found.message
    assert found.models.parameters["plain-bkg.norm"] == pytest.approx(3.0, rel=1e-2)
    assert found.stat == pytest.approx(
        simple(6.0, 2.0).stat_sum(FoVBackgroundModel("plain", PowerLawNormSpectralModel(3.0)))
    )
    assert np.isnan(found.propagate(lambda m: m["plain-bkg"].spectral_model.reference)[1])


def test_a_statistic_that_is_no_number_is_said():
    found = gammagrad.fit(simple(6.0, np.inf), Models(FoVBackgroundModel("plain")), progress=False)
    assert not found.success
    assert "not a number at the start" in found.message
    assert np.isnan(found.covariance).all()
    assert "norm" in str(found)


def test_a_prediction_that_is_not_good_any_more_is_said(monkeypatch):
    monkeypatch.setattr(DatasetLikelihood, "holds", lambda self, models: False)
    found = gammagrad.fit(simple(6.0, 2.0), FoVBackgroundModel("plain"), progress=False)
    assert not found.success
    assert "fit again from the models found" in found.message


def test_sizes_stay_such_that_they_can_be_sampled():
    models = Models(source(sigma=0.08))
    assert fit_bounds(models, ["crab.sigma"], 0.1)[0][0] == pytest.approx(0.002)
    assert fit_bounds(models.bound("crab.sigma", 0.05), ["crab.sigma"], 0.1)[0][0] == 0.05
    assert fit_bounds(models, ["crab.lon_0"], 0.1)[0][0] == -np.inf
    # one that starts smaller is left where it is
    small = models.with_parameters({"crab.sigma": 1e-3})
    assert fit_bounds(small, ["crab.sigma"], 0.1)[0][0] == 1e-3


@pytest.mark.slow
def test_a_gaussian_on_a_point_source_shrinks_to_a_point():
    dataset = make_dataset((15, 15), nbin=2, background=1.0, flux=2e-11, seed=3, name="one")
    found, point = (
        gammagrad.fit(dataset, SkyModel(source().spectral_model, shape, "s"), progress=False)
        for shape in (GaussianSpatialModel(83.66, 22.0, sigma=0.1), PointSpatialModel(83.66, 22.0))
    )
    assert found.success, found
    assert found.at_bound == ("s.sigma",)
    assert found.stat == pytest.approx(dataset.stat_sum(found.models), abs=1e-4)
    assert found.stat == pytest.approx(point.stat, abs=0.1)
    np.testing.assert_allclose(found.values[:2], point.values[:2], rtol=2e-3)
    assert found.errors["s.amplitude"] == pytest.approx(point.errors["s.amplitude"], rel=1e-2)


def test_wrong_input_is_refused():
    dataset = simple(6.0, 2.0)
    model = Models(FoVBackgroundModel("plain"))
    with pytest.raises(ValueError, match="no dataset"):
        gammagrad.fit([])
    with pytest.raises(TypeError, match="takes MapDatasets; got int"):
        gammagrad.fit([dataset, 3])
    with pytest.raises(ValueError, match="named plain"):
        gammagrad.fit([dataset, dataset], model)
    with pytest.raises(ValueError, match="no model for these datasets"):
        gammagrad.fit(dataset)
    with pytest.raises(ValueError, match="thaw some"):
        gammagrad.fit(dataset, model.freeze("*"))
    with pytest.raises(ValueError, match="outside its bounds 2 and 3"):
        gammagrad.fit(dataset, model.bound("*.norm", 2, 3))
    with pytest.raises(TypeError, match="takes MapDatasets; got NoneType"):
        gammagrad.fit(None, model)
    with pytest.raises(TypeError, match="models is a PowerLawSpectralModel; expected a SkyModel"):
        gammagrad.fit(dataset, PowerLawSpectralModel())
    for option, error in (
        ({"tolerance": np.nan}, ValueError),
        ({"tolerance": 0}, ValueError),
        ({"tolerance": "small"}, ValueError),
        ({"max_iterations": -1}, ValueError),
        ({"max_iterations": 2.5}, ValueError),
        ({"sampling": "best"}, ValueError),
        ({"optimiser": "lbfgs"}, TypeError),
    ):
        with pytest.raises(error, match=f"{next(iter(option))} is"):
            gammagrad.fit(dataset, model, **option)
    two = simple(3.0, 2.0, "two")
    shared = TemplateNPredModel(np.ones((2, 11, 13)), name="t")
    dataset.models, two.models = shared, shared.copy(norm=2.0)
    with pytest.raises(ValueError, match="a model 't' that differs"):
        gammagrad.fit([dataset, two])


@pytest.mark.slow
def test_pulls_of_many_fits_are_normal(models):
    truth = {"crab.index": 2.0, "crab.lon_0": 83.63, "crab.lat_0": 22.01, "one-bkg.norm": 1.0}
    point = source(spatial_model=PointSpatialModel(83.66, 22.04))
    models = Models([point, models["one-bkg"]]).thaw("one-bkg.tilt")
    pulls = {name: [] for name in truth}
    for seed in range(300):
        found = gammagrad.fit(dataset_with(seed), models, progress=False)
        assert found.success, found
        for name, value in truth.items():
            pulls[name].append((found.models.parameters[name] - value) / found.errors[name])
    for name, values in pulls.items():
        mean, width = np.mean(values), np.std(values)
        assert abs(mean) < 4 / np.sqrt(len(values)), (name, mean)
        assert abs(width - 1) < 4 / np.sqrt(2 * len(values)), (name, width)


def test_weights_of_the_likelihood_are_weights_of_the_fit():
    """One norm on a flat background: the weighted counts over the weighted background."""
    rng = np.random.default_rng(5)
    data = simple(rng.poisson(4.0, (2, 11, 13)), 3.0, "weighted")
    weights = rng.uniform(0, 2, data.geom.data_shape)
    data.mask_fit = Map(data.geom, weights)
    norm = FoVBackgroundModel("weighted")
    found = gammagrad.fit(data, Models([norm]), progress=False)
    n, b = (weights * data.counts.data).sum(), (weights * data.background.data).sum()
    value = found.models["weighted-bkg"].spectral_model.parameters["norm"]
    assert value == pytest.approx(n / b, rel=1e-8)
    error = np.sqrt(found.covariance[0, 0])
    assert error == pytest.approx(np.sqrt(n) / b, rel=1e-6)
