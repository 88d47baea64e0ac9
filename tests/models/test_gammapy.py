"""The same numbers and files as gammapy, where it is installed."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import yaml
from astropy import units as u

import gammagrad.maps.units  # noqa: F401
from gammagrad import models as gm

gp = pytest.importorskip("gammapy.modeling.models")
maps = pytest.importorskip("gammapy.maps")

TABLE = np.geomspace(0.1, 10, 4)
VALUES = np.array([3.0, 2.0, 0.5, 0.8])
ENERGY = np.geomspace(0.01, 100, 30)
CENTRE = {"lon_0": 83.7, "lat_0": 21.9}

SPECTRAL = [
    gm.PowerLawSpectralModel(2.3, 3e-11, 2.0),
    gm.ExpCutoffPowerLawSpectralModel(1.7, lambda_=0.2, alpha=0.7),
    gm.LogParabolaSpectralModel(beta=0.3),
    gm.BrokenPowerLawSpectralModel(1.3, 3.0),
    gm.PowerLawNormSpectralModel(2.0, 0.4),
    gm.PiecewiseNormSpectralModel(TABLE, VALUES),
    gm.PiecewiseNormSpectralModel(TABLE, VALUES, "lin"),
    gm.TemplateSpectralModel(TABLE, VALUES * 1e-12),
]
SPATIAL = [
    gm.GaussianSpatialModel(**CENTRE, sigma=0.3),
    gm.GaussianSpatialModel(**CENTRE, sigma=0.5, e=0.8, phi=-35.0),
    gm.DiskSpatialModel(**CENTRE, r_0=0.5),
    gm.DiskSpatialModel(**CENTRE, r_0=0.5, e=0.7, phi=120.0, edge_width=0.2),
    gm.ShellSpatialModel(**CENTRE, radius=0.3, width=0.2),
]


def ids(models):
    return [repr(model)[:60] for model in models]


def theirs(model):
    """Hand a model over through the layout of model files."""
    kind = "spatial" if isinstance(model, gm.SpatialModel) else "spectral"
    flux, norm = gm.PowerLawSpectralModel(), isinstance(model, gm.SpectralModel) and model.is_norm
    if norm:
        whole = gm.FoVBackgroundModel("d", model)
    else:
        whole = gm.SkyModel(model) if kind == "spectral" else gm.SkyModel(flux, model)
    text = yaml.safe_dump(gm.models_to_dict(whole))
    return getattr(gp.Models.from_yaml(text)[0], f"{kind}_model")


@pytest.mark.parametrize("model", SPECTRAL, ids=ids(SPECTRAL))
def test_spectral_values(model):
    expected = theirs(model)(ENERGY * u.TeV).value
    np.testing.assert_allclose(model(ENERGY), expected, rtol=1e-12)


def test_integrals_with_a_closed_form():
    for model in (SPECTRAL[0], SPECTRAL[4], gm.PowerLawSpectralModel(1.0)):
        edges = ENERGY[:-1] * u.TeV, ENERGY[1:] * u.TeV
        for method in ("integral", "energy_flux"):
            with np.errstate(all="ignore"):  # index 1 is 0 / 0 before it is replaced
                expected = getattr(theirs(model), method)(*edges).value
            np.testing.assert_allclose(getattr(model, method)(*edges), expected, rtol=1e-12)


@pytest.mark.parametrize("model", SPATIAL, ids=ids(SPATIAL))
def test_spatial_values(model):
    geom = maps.WcsGeom.create(skydir=(83.6, 22), binsz=0.05, width=3, proj="TAN")
    coords = geom.get_coord()
    reference = theirs(model)
    expected = reference.evaluate_geom(geom).to_value("sr-1")
    result = np.asarray(model.evaluate(coords.lon.value, coords.lat.value))
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-10 * expected.max())
    radius = reference.evaluation_radius.to_value("deg")
    assert model.evaluation_radius == pytest.approx(radius)
    if model.parameters.get("e", 0) == 0:
        scale = reference.evaluation_bin_size_min.to_value("deg")
        assert model.scale == pytest.approx(scale)


@pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
def test_point_weights(proj):
    geom = maps.WcsGeom.create(skydir=(30, 40), frame="galactic", binsz=0.1, width=3, proj=proj)
    coords = geom.get_coord()
    run = jax.jit(lambda model, lon, lat: model.weights(lon, lat))
    for lon_0, lat_0 in ((30.0, 40.0), (30.33, 40.51), (28.77, 39.02)):
        model = gm.PointSpatialModel(lon_0, lat_0, frame="galactic")
        expected = theirs(model).integrate_geom(geom).data
        result = run(model, coords.lon.value, coords.lat.value)
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_template_map():
    axis = maps.MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=3, name="energy_true")
    geom = maps.WcsGeom.create(skydir=(83.6, 22), binsz=0.1, width=1, proj="TAN", axes=[axis])
    data = np.random.default_rng(0).uniform(1, 2, geom.data_shape)
    unit = "cm-2 s-1 TeV-1 sr-1"
    reference = gp.TemplateSpatialModel(
        maps.Map.from_geom(geom, data=data, unit=unit), normalize=False
    )
    model = gm.TemplateSpatialModel(data, axis.center.value, normalize=False, unit=unit)
    coords = geom.to_image().get_coord()
    x, y = geom.to_image().get_pix()
    for energy in (0.3, 1.0, 4.0):
        expected = reference.evaluate(coords.lon, coords.lat, energy * u.TeV).value
        np.testing.assert_allclose(model.evaluate(x, y, energy), expected, rtol=1e-9)


def test_files_of_gammapy_are_read():
    for model in SPECTRAL + SPATIAL:
        reference = theirs(model).to_dict(full_output=True)
        if isinstance(model, gm.SpatialModel):
            data = {"type": "SkyModel", "spectral": {"type": "pl"}, **reference}
            mine = gm.model_from_dict(data).spatial_model
        else:
            kind = "FoVBackgroundModel" if model.is_norm else "SkyModel"
            data = {"type": kind, "datasets_names": ["d"], **reference}
            mine = gm.model_from_dict(data).spectral_model
        assert type(mine) is type(model)
        for key, value in model.parameters.items():
            np.testing.assert_allclose(mine.parameters[key], value, rtol=1e-12)
