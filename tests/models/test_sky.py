"""Sky models, backgrounds and collections."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gammagrad.maps.units  # noqa: F401
from gammagrad import models as gm

PL, NORM = gm.PowerLawSpectralModel(index=2.5), gm.PowerLawNormSpectralModel(norm=2.0)
GAUSS, POINT = gm.GaussianSpatialModel(1.0, 2.0, sigma=0.3), gm.PointSpatialModel(1.0, 2.0)
ENERGY = np.array([0.5, 1.0, 4.0])


def test_sky_model_is_a_product():
    model = gm.SkyModel(PL, GAUSS, name="a")
    lon, lat = np.meshgrid(np.linspace(0.5, 1.5, 4), np.linspace(1.5, 2.5, 3))
    expected = np.asarray(PL(ENERGY))[:, None, None] * np.asarray(GAUSS(lon, lat))
    np.testing.assert_allclose(model.evaluate(lon, lat, ENERGY), expected, rtol=1e-14)
    assert model.evaluate(lon, lat, 1.0).shape == (3, 4)
    assert model.evaluate(1.0, 2.0, ENERGY).shape == (3,)
    np.testing.assert_array_equal(gm.SkyModel(PL).evaluate(lon, lat, ENERGY), PL(ENERGY))
    with pytest.raises(TypeError, match="point source"):
        gm.SkyModel(PL, POINT).evaluate(lon, lat, ENERGY)


def test_energy_dependent_template():
    cube = np.random.default_rng(0).uniform(1, 2, (3, 2, 4))
    template = gm.TemplateSpatialModel(cube, ENERGY, normalize=False, unit="cm-2 s-1 TeV-1 sr-1")
    model = gm.SkyModel(NORM, template)
    x, y = np.meshgrid(np.arange(4.0), np.arange(2.0))
    np.testing.assert_allclose(model.evaluate(x, y, ENERGY), 2 * cube, rtol=1e-12)
    with pytest.raises(ValueError, match="norm model"):
        gm.SkyModel(PL, template)
    with pytest.raises(ValueError, match="cm-2 s-1 TeV-1"):
        gm.SkyModel(NORM, GAUSS)


def test_properties_of_a_sky_model():
    model = gm.SkyModel(PL, GAUSS.with_frame("galactic"), datasets_names="one")
    assert (model.frame, model.evaluation_radius) == ("galactic", 1.5)
    assert model.datasets_names == ("one",)
    assert (model.applies_to("one"), model.applies_to("two")) == (True, False)
    assert model.apply_irf == {"exposure": True, "psf": True, "edisp": True}
    free = gm.SkyModel(PL, apply_irf={"psf": False})
    assert free.apply_irf == {"exposure": True, "psf": False, "edisp": True}
    assert (free.frame, free.evaluation_radius, free.applies_to(None)) == (None, None, True)
    assert free.with_position(1, 2) is free
    moved = model.with_position("3 deg", 4)
    assert (moved.spatial_model.lon_0, moved.spatial_model.lat_0) == (3, 4)


def test_copies_with_new_parameters():
    model = gm.SkyModel(PL, GAUSS, name="a", datasets_names=["one", "two"])
    other = model.copy(name="b", index=3, sigma="6 arcmin", datasets_names=None)
    assert (other.name, other.spectral_model.index) == ("b", 3.0)
    assert other.spatial_model.sigma == pytest.approx(0.1)
    assert other.datasets_names is None
    assert model.spectral_model.index == 2.5
    assert model.copy(spectral_model=gm.PowerLawSpectralModel(4)).spectral_model.index == 4
    with pytest.raises(TypeError, match="no parameter width; choose from index"):
        model.with_parameters(width=3)


def test_printing():
    text = str(gm.SkyModel(PL, GAUSS, name="a", datasets_names=("one", "two")))
    for part in ("a", "one, two", "PowerLawSpectralModel", "GaussianSpatialModel (icrs)", "sigma"):
        assert part in text
    assert repr(gm.SkyModel(PL, name="a")) == "SkyModel(name='a', PowerLawSpectralModel)"


def test_gradient_with_respect_to_a_whole_model():
    model = gm.SkyModel(PL, GAUSS, name="a")
    gradient = jax.jit(jax.grad(lambda m: jnp.sum(m.evaluate(1.1, 2.1, ENERGY))))(model)
    assert isinstance(gradient, gm.SkyModel)
    assert gradient.name == "a"
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(gradient))
    # proportional to the amplitude
    total = jnp.sum(model.evaluate(1.1, 2.1, ENERGY))
    np.testing.assert_allclose(gradient.spectral_model.amplitude * 1e-12, total, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: gm.SkyModel(GAUSS), TypeError, "spectral_model must be a SpectralModel"),
        (lambda: gm.SkyModel(PL, PL), TypeError, "spatial_model must be a SpatialModel"),
        (lambda: gm.SkyModel(PL, name=""), TypeError, "not empty"),
        (lambda: gm.SkyModel(PL, datasets_names=[3]), TypeError, "datasets_names"),
        (lambda: gm.SkyModel(PL, apply_irf={"aeff": True}), ValueError, "no aeff"),
        (lambda: gm.FoVBackgroundModel("d", PL), ValueError, "norm model"),
        (lambda: gm.FoVBackgroundModel(None), TypeError, "name"),
        (lambda: gm.TemplateNPredModel(np.ones((2, 2))), ValueError, r"shape \(2, 2\)"),
        (lambda: gm.Models([PL]), TypeError, "expected a SkyModel"),
    ],
)
def test_wrong_parts_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_backgrounds():
    background = gm.FoVBackgroundModel("crab")
    assert (background.name, background.datasets_names) == ("crab-bkg", ("crab",))
    np.testing.assert_allclose(background.evaluate(ENERGY), 1)
    tilted = background.copy(norm=2, tilt=0.5)
    np.testing.assert_allclose(tilted.evaluate(ENERGY), 2 / np.sqrt(ENERGY))
    assert "norm" in str(tilted)


def test_template_of_predicted_counts():
    data = np.random.default_rng(0).uniform(0, 2, (3, 2, 4)).astype(np.float32)
    source = SimpleNamespace(data=data, geom=SimpleNamespace())
    model = gm.TemplateNPredModel(source, NORM, datasets_names="d", filename="a.fits")
    assert model.geom is source.geom
    assert (model.name, model.filename, model.datasets_names) == ("template", "a.fits", ("d",))
    result = model.evaluate(ENERGY)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, 2 * data, rtol=1e-6)
    assert gm.TemplateNPredModel(data).geom is None


class TestModels:
    a, b = gm.SkyModel(PL, name="a"), gm.SkyModel(PL, GAUSS, name="b", datasets_names="one")
    background = gm.FoVBackgroundModel("one")

    def test_behaves_as_a_list_with_names(self):
        models = gm.Models([self.a, self.b])
        assert (len(models), models.names) == (2, ["a", "b"])
        assert models["b"] is models[1] is models[-1]
        assert [model.name for model in models] == ["a", "b"]
        assert "a" in models
        assert self.b in models
        assert "c" not in models
        assert isinstance(models[:1], gm.Models)
        assert (models + self.background).names == ["a", "b", "one-bkg"]
        assert gm.Models(self.a).names == ["a"]
        assert len(gm.Models(None)) == 0
        assert "SkyModel" in str(models)
        assert repr(models) == "Models(a, b)"

    def test_unnamed_models_get_numbers(self):
        models = gm.Models([gm.SkyModel(PL), gm.SkyModel(PL), gm.SkyModel(PL, name="source-2")])
        assert models.names == ["source", "source-3", "source-2"]
        assert (models + gm.SkyModel(PL)).names[-1] == "source-4"

    def test_equal_names_are_refused(self):
        with pytest.raises(ValueError, match="two models are named 'a'"):
            gm.Models([self.a, self.a])
        with pytest.raises(ValueError, match="both scale the background of dataset 'one'"):
            gm.Models([self.background, self.background.copy(name="other")])
        with pytest.raises(KeyError, match="no model named 'z'; there are a"):
            gm.Models(self.a)["z"]

    def test_replace_and_select(self):
        models = gm.Models([self.a, self.b, self.background])
        changed = models.replace(self.b.copy(index=7))
        assert changed["b"].spectral_model.index == 7
        assert models["b"].spectral_model.index == 2.5
        assert models.for_dataset("one").names == ["a", "b", "one-bkg"]
        assert models.for_dataset("two").names == ["a"]

    def test_is_a_pytree(self):
        models = gm.Models([self.a, self.b, self.background])
        halved = jax.tree.map(lambda leaf: leaf / 2, models)
        assert halved.names == models.names
        assert halved["a"].spectral_model.index == 1.25
        gradient = jax.grad(lambda m: sum(x.spectral_model(2.0) for x in m))(models)
        assert gradient["one-bkg"].spectral_model.norm == 1


def test_the_default_kernel_model():
    model = gm.default_kernel_model()
    assert model.name == "ts-kernel"
    assert isinstance(model.spatial_model, gm.PointSpatialModel)
    assert model.spectral_model.parameters == {"index": 2, "amplitude": 1e-12, "reference": 1}
