"""The traced likelihood of a dataset: the same numbers, slopes in all parameters and data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datasets import make_dataset
from gammagrad.dataset import MapDataset
from gammagrad.dataset.likelihood import DatasetLikelihood
from gammagrad.maps import Map
from gammagrad.models import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    LogParabolaSpectralModel,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
    TemplateSpatialModel,
)
from precision import DOUBLE

pytestmark = pytest.mark.skipif(not DOUBLE, reason="compares derivatives in double precision")

NPIX, NBIN, NAME = (15, 13), 2, "field"


def _stat_sum(likelihood: DatasetLikelihood, models: Any) -> jax.Array:
    return likelihood.stat_sum(models)


slopes = jax.jit(jax.value_and_grad(_stat_sum, argnums=1))
all_slopes = jax.jit(jax.value_and_grad(_stat_sum, argnums=(0, 1)))


class Field(NamedTuple):
    dataset: MapDataset
    models: Models
    likelihood: DatasetLikelihood


def template(dataset: MapDataset) -> Map:
    """Return a smooth image."""
    lon, lat = dataset.geom.get_coord()
    data = np.exp(-0.5 * ((lon - 83.5) ** 2 + (lat - 22.1) ** 2) / 0.3**2)
    return Map(dataset.geom.to_image(), data, unit="sr-1")


def all_kinds(dataset: MapDataset) -> Models:
    """Return a model of every kind, one of them at the edge of the map and one beyond it."""
    counts = np.random.default_rng(4).random(dataset.geom.data_shape)
    wobble = PowerLawNormSpectralModel(norm=1.3, tilt=0.2)
    cut = ExpCutoffPowerLawSpectralModel(index=1.4, amplitude=3e-12, lambda_=0.2)
    flat = PowerLawSpectralModel(index=1.0, amplitude=2e-12)
    shape = TemplateSpatialModel.from_map(template(dataset))
    bell = GaussianSpatialModel(84.35, 21.83, sigma=0.17, e=0.5, phi=30.0)
    return Models(
        [
            SkyModel(flat, PointSpatialModel(83.613, 22.037), name="point"),
            SkyModel(cut, bell, name="edge", apply_irf={"edisp": False}),
            SkyModel(PowerLawSpectralModel(amplitude=1e-12), shape, name="image"),
            SkyModel(PowerLawSpectralModel(amplitude=1e-15), name="uniform"),
            SkyModel(flat, PointSpatialModel(95.0, 22.0), name="outside"),
            TemplateNPredModel(Map(dataset.geom, counts), wobble, name="counts"),
            FoVBackgroundModel(NAME, PowerLawNormSpectralModel(norm=1.1, tilt=0.1)),
            SkyModel(flat, PointSpatialModel(), name="elsewhere", datasets_names="another"),
        ]
    )


def make_field() -> Field:
    dataset = make_dataset(NPIX, NBIN, mask=True, name=NAME)
    background = dataset.require("background").data
    background[1, 4, 5] = np.nan
    background[0, 0, 9] = 0.0
    dataset.models = all_kinds(dataset)
    return Field(dataset, all_kinds(dataset), dataset.likelihood(all_kinds(dataset)))


@pytest.fixture(scope="module")
def field() -> Field:
    return make_field()


@pytest.fixture(scope="module")
def simple() -> Field:
    """A point source on a background."""
    dataset = make_dataset(NPIX, NBIN, mask=True, name=NAME, sigma=0.05)
    source = SkyModel(
        PowerLawSpectralModel(index=2.1, amplitude=1e-11),
        PointSpatialModel(83.613, 22.037),
        name="source",
    )
    dataset.models = [source, FoVBackgroundModel(NAME)]
    return Field(dataset, dataset.models, dataset.likelihood())


@pytest.fixture(scope="module")
def bell() -> Field:
    """An extended source on a background."""
    dataset = make_dataset(NPIX, NBIN, mask=True, name=NAME, sigma=0.05)
    shape = GaussianSpatialModel(83.613, 22.037, sigma=0.03)
    source = SkyModel(PowerLawSpectralModel(amplitude=1e-11), shape, name="source")
    dataset.models = [source, FoVBackgroundModel(NAME)]
    return Field(dataset, dataset.models, dataset.likelihood())


def difference(function: Callable[[float], Any], at: float, step: float) -> float:
    """Return the derivative of a function by differences of fourth order."""
    f = [float(function(at + k * step)) for k in (-2, -1, 1, 2)]
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)


def check_slopes(likelihood: DatasetLikelihood, models: Models, rtol: float) -> int:
    """Hold the derivatives of all parameters to finite differences; return how many there are."""
    stat, slope = slopes(likelihood, models)
    leaves, tree = jax.tree.flatten(models)
    found = jax.tree.leaves(slope)
    checked = 0
    for i, (leaf, derivative) in enumerate(zip(leaves, found, strict=True)):
        assert np.all(np.isfinite(derivative))
        if np.ndim(leaf):
            continue

        def moved(x: Any, i: int = i) -> Any:
            return slopes(likelihood, tree.unflatten([*leaves[:i], x, *leaves[i + 1 :]]))[0]

        step = 1e-4 * min(abs(leaf) or 1.0, 1.0)
        expected = difference(moved, leaf, step)
        noise = 1e-13 * abs(float(stat)) / step
        np.testing.assert_allclose(derivative, expected, rtol=rtol, atol=noise, err_msg=f"{i}")
        checked += 1
    return checked


def test_it_is_what_the_dataset_predicts(field: Field) -> None:
    dataset, models, likelihood = field
    wanted = dataset.stat_sum(models)
    assert dataset.stat_sum() == wanted
    assert float(slopes(likelihood, models)[0]) == pytest.approx(wanted, rel=1e-12)
    background = dataset.npred_background(models).data
    assert np.isnan(background).sum() == 1
    np.testing.assert_allclose(likelihood.npred_background(models), background, rtol=1e-12)


def test_every_parameter_has_its_derivative(field: Field) -> None:
    _, models, likelihood = field
    assert check_slopes(likelihood, models, rtol=1e-6) == 37
    _, slope = slopes(likelihood, models)
    # neither a source that does not reach the map nor one of another dataset matters
    for name in ("outside", "elsewhere"):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(slope[name]))
    counts, npred = (m.data for m in (field.dataset.require("counts"), field.dataset.npred()))
    used = np.asarray(likelihood.weights) > 0
    factor = 1.3 * np.asarray(likelihood.energy)[:, None, None] ** -0.2
    wanted = np.where(used, 2 * (1 - counts / npred) * factor, 0.0)
    np.testing.assert_allclose(slope["counts"].data, wanted, rtol=1e-9, atol=1e-9)


def test_second_calls_do_not_compile(bell: Field) -> None:
    dataset, models, likelihood = bell
    all_slopes(likelihood, models)
    before = all_slopes._cache_size()
    moved = models["source"].with_parameters(index=1.9, lon_0=83.7)
    all_slopes(likelihood.with_data(counts=likelihood.counts + 1.0), models.replace(moved))
    # prepared again, elsewhere: the window is of the same shape
    again = models.replace(moved.with_parameters(lat_0=22.15))
    elsewhere = dataset.likelihood(again)
    starts = [lk.sources[0].windows.start for lk in (likelihood, elsewhere)]
    assert not np.array_equal(*starts)
    all_slopes(elsewhere, again)
    assert all_slopes._cache_size() == before


def test_second_derivatives(simple: Field) -> None:
    _, models, likelihood = simple
    names, scales = ("index", "amplitude", "lon_0", "lat_0"), np.array([1.0, 1e-11, 0.1, 0.1, 1.0])
    start = np.array([models["source"].parameters[name] for name in names] + [1.0])

    def of(numbers: jax.Array) -> jax.Array:
        *source, norm = numbers * scales + start
        new = models["source"].with_parameters(**dict(zip(names, source, strict=True)))
        bkg = models[f"{NAME}-bkg"].with_parameters(norm=norm)
        return likelihood.stat_sum([new, bkg])

    change = jax.jit(lambda at, direction: jax.jvp(jax.grad(of), (at,), (direction,)))
    units = np.eye(5)
    hessian = np.array([change(np.zeros(5), unit)[1] for unit in units])
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-9, atol=1e-9)
    for row, unit in zip(hessian, units, strict=True):
        up, down = (change(sign * 1e-5 * unit, unit)[0] for sign in (1, -1))
        np.testing.assert_allclose(row, (up - down) / 2e-5, rtol=1e-5, atol=1e-4)


def test_data_have_their_derivatives(bell: Field) -> None:
    dataset, models, likelihood = bell
    slope = all_slopes(likelihood, models)[1][0]
    npred, used = dataset.npred(models).data, np.asarray(likelihood.weights) > 0
    np.testing.assert_allclose(slope.counts, np.where(used, -2 * np.log(npred), 0), rtol=1e-9)
    wanted = np.where(used, 2 * (1 - np.asarray(likelihood.counts) / npred), 0)
    np.testing.assert_allclose(slope.background, wanted, rtol=1e-9, atol=1e-12)
    # the counts of the source are proportional to the exposure
    signal = npred - np.asarray(likelihood.background)
    np.testing.assert_allclose(
        np.sum(slope.exposure * likelihood.exposure), np.sum(wanted * signal), rtol=1e-9
    )


def test_bins_that_predict_nothing_have_finite_slopes(bell: Field) -> None:
    _, models, likelihood = bell
    empty = likelihood.with_data(background=jnp.zeros_like(likelihood.background))
    for amplitude in (1e-11, 0.0, -1e-11):
        source = models["source"].with_parameters(amplitude=amplitude)
        for lk in (likelihood, empty):
            leaves = jax.tree.leaves(all_slopes(lk, models.replace(source)))
            assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    # no counts, nothing predicted: more of the source costs what it predicts
    nothing = empty.with_data(counts=jnp.zeros_like(likelihood.counts))
    none = models["source"].with_parameters(amplitude=0.0)
    stat, (_, slope) = all_slopes(nothing, models.replace(none))
    assert float(stat) == 0
    cost = float(all_slopes(nothing, models)[0])
    assert float(slope["source"].spectral_model.amplitude) == pytest.approx(cost / 1e-11)


def test_the_dataset_itself_can_be_differentiated(bell: Field) -> None:
    dataset, models, likelihood = bell
    direction = jax.tree.map(lambda leaf: 0.01 * leaf, models)

    @jax.jit
    def of(models: Models) -> Any:
        forward = jax.jvp(dataset.stat_sum, (models,), (direction,))
        return jax.value_and_grad(dataset.stat_sum)(models), forward, dataset.stat_array(models)

    (stat, slope), forward, array = of(models)
    assert float(stat) == pytest.approx(dataset.stat_sum(), rel=1e-12)
    along = sum(jax.tree.leaves(jax.tree.map(lambda a, b: a * b, slope, direction)))
    np.testing.assert_allclose(forward, (stat, along), rtol=1e-9)
    np.testing.assert_allclose(array, dataset.stat_array(models), rtol=1e-10, atol=1e-12)
    wanted = dataset.npred().data
    np.testing.assert_allclose(likelihood.npred(models), wanted, rtol=1e-12)


def test_single_precision(bell: Field) -> None:
    dataset, models, _ = bell
    with jax.enable_x64(False):
        likelihood = dataset.likelihood()
        found, slope = jax.jit(jax.value_and_grad(likelihood.stat_sum))(models)
        assert {leaf.dtype for leaf in jax.tree.leaves((found, slope))} == {np.dtype("float32")}
    assert float(found) == pytest.approx(dataset.stat_sum(), rel=1e-5)


def test_a_traced_position_needs_a_known_one(simple: Field) -> None:
    models = simple.models
    bare = make_dataset(NPIX, NBIN, name=NAME)
    with pytest.raises(
        ValueError, match="model 'source' is traced, so the pixels of its prediction"
    ):
        jax.grad(bare.stat_sum)(models)
    # a traced spectrum does not
    source = models["source"]

    def of(index: Any) -> Any:
        return bare.stat_sum(source.with_parameters(index=index))

    assert jax.eval_shape(jax.grad(of), 2.1).shape == ()


def test_models_must_be_those_it_was_prepared_for(simple: Field) -> None:
    _, models, likelihood = simple
    source, background = models
    with pytest.raises(ValueError, match=f"prepared for {NAME}-bkg, source, but .* source missing"):
        likelihood.stat_sum(background)
    other = source.copy(name="other")
    with pytest.raises(ValueError, match=r"other new; prepare it again"):
        likelihood.npred([*models, other])
    wide = source.copy(spatial_model=GaussianSpatialModel(83.6, 22.0, sigma=0.1))
    with pytest.raises(ValueError, match=r"'source' has a GaussianSpatialModel .* for a P"):
        likelihood.npred(models.replace(wide))
    with pytest.raises(ValueError, match=r"counts has shape \(2,\); expected"):
        likelihood.with_data(counts=np.zeros(2))
    with pytest.raises(TypeError, match="'psf' is not among the data"):
        likelihood.with_data(psf=np.zeros(2))


def test_it_holds_while_sources_stay_in_their_windows(field: Field) -> None:
    dataset, models, likelihood = field
    assert likelihood.holds(models)

    def holds(name: str, lk: DatasetLikelihood = likelihood, **changes: float) -> bool:
        return lk.holds(models.replace(models[name].with_parameters(**changes)))

    fits = {
        "point": ({"lat_0": 22.1}, {"index": 5.0}),
        "edge": ({"sigma": 0.18}, {"sigma": 0.14}, {"lat_0": 21.9}),
        "counts": ({"norm": 7.0},),
    }
    fails = {
        "point": ({"lat_0": 22.2},),
        "edge": ({"sigma": 0.2}, {"sigma": 0.1}, {"lat_0": 21.9, "sigma": 0.18}),
        "outside": ({"lon_0": 84.0},),
    }
    for wanted, table in ((True, fits), (False, fails)):
        for name, cases in table.items():
            assert [holds(name, **changes) for changes in cases] == [wanted] * len(cases)
    wider = dataset.likelihood(models, room=0.3)
    assert holds("point", wider, lat_0=22.3)
    assert holds("edge", wider, sigma=0.2)


def test_what_the_window_holds_is_predicted_as_from_scratch(bell: Field) -> None:
    dataset, models, likelihood = bell
    moved = models.replace(models["source"].with_parameters(lon_0=83.66, lat_0=22.09))
    assert likelihood.holds(moved)
    wanted = dataset.npred(moved).data
    # the window ends elsewhere, beyond five sigma
    np.testing.assert_allclose(likelihood.npred(moved), wanted, atol=1e-5 * wanted.max())


@pytest.mark.data
def test_the_crab_has_its_derivatives(gammapy_data: Path) -> None:
    dataset = MapDataset.read(gammapy_data / "reduced" / "hess-crab.fits.gz", name="crab")
    dataset = dataset.cutout(dataset.geom.center_skydir, "2 deg")
    spectrum = LogParabolaSpectralModel(amplitude=4e-11, reference=1.0, alpha=2.3, beta=0.15)
    models = Models(
        [
            SkyModel(spectrum, PointSpatialModel(83.6307, 22.0172), name="source"),
            FoVBackgroundModel("crab", PowerLawNormSpectralModel(norm=1.02, tilt=0.03)),
        ]
    )
    likelihood = dataset.likelihood(models)
    wanted = dataset.stat_sum(models)
    assert float(slopes(likelihood, models)[0]) == pytest.approx(wanted, rel=1e-12)
    assert check_slopes(likelihood, models, rtol=1e-6) == 9
