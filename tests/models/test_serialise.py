"""Models to and from the dictionaries of gammapy's model files."""

from __future__ import annotations

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import yaml
from astropy import units as u

import gammagrad.maps.units  # noqa: F401
from gammagrad import models as gm

TABLE = np.geomspace(0.1, 10, 3)
MODELS = gm.Models(
    [
        gm.SkyModel(
            gm.ExpCutoffPowerLawSpectralModel(index=1.7, lambda_=0.3),
            gm.DiskSpatialModel(10.0, -5.0, r_0=0.2, e=0.3, phi=10.0, frame="galactic"),
            name="disk",
            datasets_names=["one", "two"],
            apply_irf={"psf": False},
        ),
        gm.SkyModel(gm.PowerLawSpectralModel(), gm.PointSpatialModel(83.6, 22.0), name="point"),
        gm.SkyModel(gm.LogParabolaSpectralModel(), gm.GaussianSpatialModel(), name="gauss"),
        gm.SkyModel(gm.BrokenPowerLawSpectralModel(), gm.ShellSpatialModel(), name="shell"),
        gm.SkyModel(
            gm.TemplateSpectralModel(TABLE, 1e-12 / TABLE), gm.ConstantSpatialModel(3.0), name="iso"
        ),
        gm.FoVBackgroundModel("one", gm.PiecewiseNormSpectralModel(TABLE, [1.0, 2.0, 3.0], "lin")),
        gm.FoVBackgroundModel("two", gm.PowerLawNormSpectralModel(1.1, 0.1), name="second"),
    ]
)


def component(spectral=None, **extra):
    return {"name": "a", "type": "SkyModel", "spectral": spectral or {"type": "pl"}, **extra}


def test_round_trip_through_yaml():
    text = yaml.safe_dump(gm.models_to_dict(MODELS), sort_keys=False)
    again = gm.models_from_dict(yaml.safe_load(text))
    assert jax.tree.structure(again) == jax.tree.structure(MODELS)
    for mine, yours in zip(jax.tree.leaves(again), jax.tree.leaves(MODELS), strict=True):
        np.testing.assert_allclose(mine, yours, rtol=1e-15)


def test_layout_of_a_component():
    assert gm.model_to_dict(MODELS["point"]) == {
        "name": "point",
        "type": "SkyModel",
        "spectral": {
            "type": "PowerLawSpectralModel",
            "parameters": [
                {"name": "index", "value": 2.0},
                {"name": "amplitude", "value": 1e-12, "unit": "cm-2 s-1 TeV-1"},
                {"name": "reference", "value": 1.0, "unit": "TeV"},
            ],
        },
        "spatial": {
            "type": "PointSpatialModel",
            "frame": "icrs",
            "parameters": [
                {"name": "lon_0", "value": 83.6, "unit": "deg"},
                {"name": "lat_0", "value": 22.0, "unit": "deg"},
            ],
        },
    }


def test_short_tags_units_and_missing_parameters():
    spectral = {
        "type": "ecpl",
        "parameters": [
            {"name": "amplitude", "value": "1e-18", "unit": "MeV-1 s-1 cm-2", "frozen": False},
            {"name": "lambda_", "value": 1.0, "unit": "GeV-1", "error": 0.1, "min": float("nan")},
        ],
    }
    spatial = {"type": "gauss", "parameters": [{"name": "sigma", "value": 6, "unit": "arcmin"}]}
    model = gm.model_from_dict(component(spectral, spatial=spatial))
    assert model.spectral_model.parameters == pytest.approx(
        {"index": 1.5, "amplitude": 1e-12, "reference": 1.0, "lambda_": 1000.0, "alpha": 1.0}
    )
    assert model.spatial_model.sigma == pytest.approx(0.1)
    tags = {"lp", "bpl", "pl"}
    assert {
        type(gm.model_from_dict(component({"type": t})).spectral_model).tag[1] for t in tags
    } == tags
    for tag in ("point", "disk", "shell", "const"):
        model = gm.model_from_dict(component(spatial={"type": tag, "parameters": []}))
        assert model.spatial_model.tag[1] == tag
    background = {"type": "fov-bkg", "datasets_names": ["d"], "spectral": {"type": "pl-norm"}}
    assert gm.model_from_dict(background).name == "d-bkg"


def test_tables_with_units():
    spectral = {
        "type": "template",
        "energy": {"data": [100, 1000], "unit": "GeV"},
        "values": {"data": [1e-15, 1e-16], "unit": "1 / (GeV s cm2)"},
    }
    model = gm.model_from_dict(component(spectral)).spectral_model
    np.testing.assert_allclose(model.energy, [0.1, 1.0])
    np.testing.assert_allclose(model.values, [1e-12, 1e-13])


def test_templates_are_read_by_the_caller():
    geom = SimpleNamespace(
        axes=[],
        frame="icrs",
        solid_angle=lambda: np.full((2, 3), 1e-4) * u.sr,
        width=[1, 1] * u.deg,
    )
    data = np.arange(6.0).reshape(2, 3)
    image = SimpleNamespace(geom=geom, data=data, unit=u.Unit("sr-1"), quantity=data / u.sr)
    cube = SimpleNamespace(geom=geom, data=data[None])
    asked = []

    def load_map(filename):
        asked.append(filename)
        return {"image.fits": image, "cube.fits": cube}[filename]

    data = [
        component(spatial={"type": "template", "filename": "image.fits", "normalize": False}),
        {"type": "TemplateNPredModel", "name": "b", "filename": "cube.fits", "spectral": None},
    ]
    models = gm.models_from_dict({"components": data}, load_map)
    assert asked == ["image.fits", "cube.fits"]
    np.testing.assert_array_equal(models["a"].spatial_model.data, image.data)
    np.testing.assert_array_equal(models["b"].data, cube.data)
    again = gm.models_from_dict(gm.models_to_dict(models), load_map)
    assert jax.tree.structure(again) == jax.tree.structure(models)
    with pytest.raises(ValueError, match=r"image\.fits; pass load_map"):
        gm.models_from_dict(data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("text", "expected a mapping"),
        ({}, "expected a mapping"),
        ({"components": [{"name": "a"}]}, "a `type`"),
        ({"components": [{"type": "Nonsense"}]}, "there are SkyModel, FoVBackgroundModel"),
        ([{"type": "SkyModel", "name": "a"}], "'a' has no `spectral`"),
        ([component({"type": "naima"})], "'naima' is not supported"),
        (
            [component({"type": "pl", "parameters": [{"name": "gamma", "value": 1}]})],
            "no parameter",
        ),
        ([component({"type": "pl", "parameters": [{"name": "index"}]})], "`value`"),
        ([component({"type": "pl", "parameters": [{"name": "index", "value": "x"}]})], "a number"),
        (
            [
                component(
                    {"type": "pl", "parameters": [{"name": "reference", "value": 1, "unit": "m"}]}
                )
            ],
            r"PowerLawSpectralModel\.reference",
        ),
        ([component({"type": "template"})], "has no `energy`"),
        ([component(temporal={"type": "exp"})], "varies in time"),
        ([component(spatial={"type": "template", "filename": None})], "no `filename`"),
        ([{"type": "FoVBackgroundModel", "datasets_names": ["a", "b"]}], "one dataset"),
        (
            [{"type": "FoVBackgroundModel", "datasets_names": "a", "spatial": {"type": "const"}}],
            "spatial",
        ),
    ],
)
def test_what_cannot_be_read_is_named(data, match):
    with pytest.raises(ValueError, match=match):
        gm.models_from_dict(data)


@pytest.mark.data
def test_models_of_the_reference_results(reference_dir):
    files = sorted((reference_dir / "ts").glob("*.json"))
    assert files
    kernels = 0
    for path in files:
        content = json.loads(path.read_text())
        if content.get("kernel_model"):
            model = gm.model_from_dict(content["kernel_model"])
            assert model.spectral_model.index == 2
            # written again, every entry of the file is there
            assert gm.model_to_dict(model).keys() == content["kernel_model"].keys()
            kernels += 1
        for text in content.get("models_yaml") or []:
            if text:
                models = gm.models_from_dict(yaml.safe_load(text))
                assert all(model.spectral_model(1.0) > 0 for model in models)
    assert kernels
