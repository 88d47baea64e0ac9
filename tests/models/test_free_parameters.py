"""Which parameters a fit changes, and their bounds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import gammagrad.maps.units  # noqa: F401
from gammagrad import models as gm


def make_models():
    return gm.Models(
        [
            gm.SkyModel(gm.PowerLawSpectralModel(2.5), gm.PointSpatialModel(1.0, 2.0), name="a"),
            gm.SkyModel(gm.LogParabolaSpectralModel(), gm.GaussianSpatialModel(sigma=0.3), "b"),
            gm.FoVBackgroundModel("d"),
            gm.TemplateNPredModel(np.ones((1, 2, 2)), name="t"),
        ]
    )


NODES = np.array([1.0, 2.0, 3.0])


def test_parameters_have_full_names_and_the_usual_ones_are_free():
    models = make_models()
    assert models.parameters["a.index"] == 2.5
    assert models.parameters["d-bkg.norm"] == 1.0
    assert models.free == (
        *("a.index", "a.amplitude", "a.lon_0", "a.lat_0"),
        *("b.amplitude", "b.alpha", "b.beta", "b.lon_0", "b.lat_0", "b.sigma"),
        *("d-bkg.norm", "t.norm"),
    )
    assert models["a"].parameters == {
        "index": 2.5,
        "amplitude": 1e-12,
        "reference": 1.0,
        "lon_0": 1.0,
        "lat_0": 2.0,
    }


@pytest.mark.parametrize(
    ("model", "frozen"),
    [
        (gm.ExpCutoffPowerLawSpectralModel(), {"reference", "alpha"}),
        (gm.BrokenPowerLawSpectralModel(), set()),
        (gm.PowerLawNormSpectralModel(), {"reference", "tilt"}),
        (gm.DiskSpatialModel(), {"e", "phi", "edge_width"}),
        (gm.ShellSpatialModel(), set()),
        (gm.ConstantSpatialModel(), {"value"}),
        (gm.TemplateSpectralModel(NODES, NODES), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_frozen_by_default(model, frozen):
    if isinstance(model, gm.SpatialModel):
        whole = gm.SkyModel(gm.PowerLawSpectralModel(), model, "m")
    else:
        whole = gm.FoVBackgroundModel("d", model, "m") if model.is_norm else gm.SkyModel(model)
    models = gm.Models(whole)
    fixed = set(models.parameters) - set(models.free)
    own = {name.split(".")[1] for name in fixed} & set(model.parameters)
    assert own == frozen


def test_freezing_thawing_and_bounds():
    models = make_models()
    new = models.freeze("*.lon_0", "a.index").thaw("d-bkg.tilt", "a.index")
    assert set(models.free) - set(new.free) == {"a.lon_0", "b.lon_0"}
    assert set(new.free) - set(models.free) == {"d-bkg.tilt"}
    bounded = new.bound("a.index", 1, 4).bound("*.lon_0", "30 arcmin")
    assert bounded.bounds["a.index"] == (1.0, 4.0)
    assert bounded.bounds["b.lon_0"] == (0.5, np.inf)
    # what the model allows still holds
    assert bounded.bounds["b.lat_0"] == (-90.0, 90.0)
    assert bounded.bound("b.sigma", -1, 2).bounds["b.sigma"] == (0.0, 2.0)
    assert bounded.bound("a.index").bound("*.lon_0").settings == new.settings
    assert models.settings == make_models().settings
    # equal states are equal trees, however one came there
    assert jax.tree.structure(new.freeze("d-bkg.tilt").thaw("*.lon_0")) == jax.tree.structure(
        models.freeze("d-bkg.tilt")
    )


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (lambda m: m.freeze("a.idnex"), r"'a\.idnex'; there are a\.index"),
        (lambda m: m.thaw("c.*"), "no parameter is named"),
        (lambda m: m.bound("b.data", 1), "no parameter is named"),
        (lambda m: m.bound("a.index", 4, 1), r"a\.index: the bounds 4 and 1"),
        (lambda m: m.bound("b.sigma", -2, 0), "above 0"),
        (lambda m: m.bound("b.sigma", "1 TeV"), r"a bound of b\.sigma"),
        (lambda m: m.with_parameters({"a.sigma": 1.0}), "no parameter is named"),
        (lambda m: m.with_parameters({"b.sigma": -1.0}), "above 0"),
    ],
)
def test_what_makes_no_sense_is_named(act, match):
    with pytest.raises(ValueError, match=match):
        act(make_models())


def test_new_values():
    models = make_models().freeze("a.index")
    new = models.with_parameters({"a.index": 3, "b.sigma": "6 arcmin"})
    assert (new["a"].spectral_model.index, models["a"].spectral_model.index) == (3.0, 2.5)
    assert new.parameters["b.sigma"] == pytest.approx(0.1)
    assert new.settings == models.settings


def test_settings_follow_the_models():
    models = make_models().freeze("*.index", "b.sigma").bound("b.alpha", 1, 2)
    assert models[:1].free == ("a.amplitude", "a.lon_0", "a.lat_0")
    assert models[1:].bounds["b.alpha"] == (1.0, 2.0)
    assert gm.Models(models).settings == models.settings
    assert "b.sigma" not in models.replace(models["b"].copy(sigma=1)).free
    for_dataset = gm.Models([models["a"].copy(datasets_names="d"), models["b"]]).freeze("b.beta")
    assert "b.beta" not in for_dataset.for_dataset("e").free
    assert "a.index" not in for_dataset.for_dataset("e").parameters


def test_settings_follow_a_model_that_gets_another_name():
    unnamed = gm.SkyModel(gm.PowerLawSpectralModel())
    named = gm.SkyModel(gm.PowerLawSpectralModel(), name="source")
    both = gm.Models(unnamed).freeze("source.index") + gm.Models(named).bound("source.index", 1)
    assert both.names == ["source-2", "source"]
    assert both.free == ("source-2.amplitude", "source.index", "source.amplitude")
    assert both.bounds["source.index"] == (1.0, np.inf)
    assert both.bounds["source-2.index"] == (-np.inf, np.inf)


def test_norms_at_nodes_are_parameters_of_their_own():
    norm = gm.PiecewiseNormSpectralModel(NODES, [1.0, 2.0, 3.0])
    models = gm.Models(gm.FoVBackgroundModel("d", norm, "m"))
    assert models.free == ("m.norm_0", "m.norm_1", "m.norm_2")
    new = models.with_parameters({"m.norm_1": 5.0})
    np.testing.assert_array_equal(new["m"].spectral_model.norms, [1.0, 5.0, 3.0])
    mask = models.freeze("m.norm_0").frozen_mask
    np.testing.assert_array_equal(mask["m"].spectral_model.norms, [True, False, False])
    assert mask["m"].spectral_model.energy is True
    with pytest.raises(TypeError, match="no parameter norm_3"):
        norm.with_parameters(norm_3=1.0)
    gradient = jax.grad(
        lambda value: jnp.sum(models.with_parameters({"m.norm_1": value})["m"].evaluate(NODES))
    )(2.0)
    assert float(gradient) == pytest.approx(1.0)


def test_the_mask_is_a_tree_like_the_models():
    models = make_models().freeze("a.index")
    mask = models.frozen_mask
    assert jax.tree.structure(mask) == jax.tree.structure(models)
    fixed = jax.tree.map(lambda leaf, frozen: leaf if frozen else 0 * leaf, models, mask)
    assert fixed.parameters["a.index"] == 2.5
    assert fixed.parameters["b.alpha"] == 0.0
    assert mask["t"].data is True


def test_gradients_with_respect_to_the_free_parameters():
    models = make_models().freeze("b.*")

    def brightness(values):
        changed = models.with_parameters(values)
        return changed["a"].spectral_model.evaluate(2.0)

    free = {name: models.parameters[name] for name in models.free}
    gradient = jax.grad(brightness)(free)
    assert set(gradient) == set(models.free)
    assert float(gradient["a.amplitude"]) == pytest.approx(2.0**-2.5)
    assert float(gradient["d-bkg.norm"]) == 0.0


def test_settings_are_written_and_read_in_the_layout_of_gammapy():
    models = make_models()[:3].freeze("b.alpha").thaw("d-bkg.tilt", "a.reference")
    models = models.bound("a.amplitude", 0).bound("a.index", 1, 4)
    data = yaml.safe_load(yaml.safe_dump(gm.models_to_dict(models)))
    index, amplitude, reference = data["components"][0]["spectral"]["parameters"]
    assert (index["min"], index["max"]) == (1.0, 4.0)
    assert amplitude["min"] == 0.0
    assert "max" not in amplitude
    assert "frozen" not in amplitude
    assert reference["frozen"] is False
    again = gm.models_from_dict(data)
    assert again.settings == models.settings
    assert jax.tree.structure(again) == jax.tree.structure(models)


def test_links_of_parameters_are_not_dropped_in_silence():
    item = {"name": "index", "value": 2.5, "link": "index@x"}
    spectrum = {"type": "pl", "parameters": [item]}
    data = [{"type": "SkyModel", "name": name, "spectral": spectrum} for name in ("a", "b")]
    with pytest.warns(UserWarning, match=r"links of a\.index, b\.index are not kept"):
        models = gm.models_from_dict(data)
    assert models.parameters["b.index"] == 2.5


def test_frozen_is_true_or_false():
    item = {"name": "index", "value": 2.5, "frozen": "false"}
    data = {"type": "SkyModel", "name": "a", "spectral": {"type": "pl", "parameters": [item]}}
    with pytest.raises(ValueError, match=r"a\.index: frozen is 'false'; expected true or false"):
        gm.models_from_dict(data)


def test_names_are_texts():
    with pytest.raises(TypeError, match="not a parameter name; pass names or patterns one by"):
        make_models().freeze(["a.index"])


def test_bounds_are_read_in_their_unit():
    item = {"name": "amplitude", "value": 1.0, "unit": "cm-2 s-1 GeV-1", "min": "1e-3"}
    item |= {"max": float("nan"), "frozen": True}
    data = {"type": "SkyModel", "name": "a", "spectral": {"type": "pl", "parameters": [item]}}
    models = gm.models_from_dict(data)
    assert models.bounds["a.amplitude"] == (pytest.approx(1.0), np.inf)
    assert models.free == ("a.index",)
