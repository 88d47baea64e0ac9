"""Parameters, units, copies and printing, the same for all models."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u

import gammagrad.maps.units  # noqa: F401  (makes strings and quantities readable)
from gammagrad import models as gm

TABLE = np.geomspace(0.1, 10, 4)
SPECTRAL = [
    gm.PowerLawSpectralModel(index=2.3),
    gm.PowerLawNormSpectralModel(norm=2.0, tilt=0.3),
    gm.BrokenPowerLawSpectralModel(index1=1.5, index2=3.0),
    gm.ExpCutoffPowerLawSpectralModel(),
    gm.LogParabolaSpectralModel(),
    gm.PiecewiseNormSpectralModel(TABLE, np.array([1.0, 2.0, 0.5, 1.0])),
    gm.PiecewiseNormSpectralModel(TABLE, interp="lin"),
    gm.TemplateSpectralModel(TABLE, 1e-12 * TABLE**-2),
]
SPATIAL = [
    gm.PointSpatialModel(10.0, 20.0, frame="galactic"),
    gm.GaussianSpatialModel(10.0, 20.0, sigma=0.3, e=0.5, phi=20.0),
    gm.DiskSpatialModel(10.0, 20.0, r_0=0.3),
    gm.ShellSpatialModel(10.0, 20.0),
    gm.ConstantSpatialModel(),
    gm.TemplateSpatialModel(np.ones((2, 3)), normalize=False),
]
ALL = SPECTRAL + SPATIAL
IDS = [type(model).__name__ for model in ALL]


@pytest.mark.parametrize("model", ALL, ids=IDS)
def test_tree_map_keeps_the_model(model):
    doubled = jax.tree.map(lambda leaf: 2 * leaf, model)
    assert type(doubled) is type(model)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(getattr(doubled, name), 2 * np.asarray(value))
    assert getattr(doubled, "frame", None) == getattr(model, "frame", None)


@pytest.mark.parametrize("model", ALL, ids=IDS)
def test_copies_of_all_kinds_are_equal(model):
    leaves = jax.tree.leaves(model)
    for other in (model.copy(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other) is type(model)
        for mine, yours in zip(leaves, jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize("model", ALL, ids=IDS)
def test_printing_names_every_parameter_and_unit(model):
    assert list(model.parameters) == list(model.parameter_units)
    for name, unit in model.parameter_units.items():
        assert name in str(model)
        assert unit in str(model)
        assert f"{name}=" in repr(model)
    assert str(model).startswith(type(model).__name__)
    assert repr(model).startswith(type(model).__name__)


def test_the_short_form_rebuilds_the_model():
    model = gm.GaussianSpatialModel("83.6 deg", "22 deg", sigma="6 arcmin")
    again = eval(repr(model), vars(gm))
    assert again.parameters == pytest.approx(model.parameters)


def test_printing_inside_jit():
    seen = []
    jax.jit(lambda model: seen.append(str(model)) or model.index)(SPECTRAL[0])
    assert "traced float" in seen[0]


def test_units_are_converted_at_the_door():
    model = gm.ExpCutoffPowerLawSpectralModel(
        amplitude="1 GeV-1 m-2 s-1", reference=500 * u.GeV, lambda_=1 / (2000 * u.GeV), index=2
    )
    assert model.parameters == pytest.approx(
        {"index": 2.0, "amplitude": 0.1, "reference": 0.5, "lambda_": 0.5, "alpha": 1.0}
    )
    assert all(isinstance(value, float) for value in model.parameters.values())
    spatial = gm.DiskSpatialModel("1 hourangle", 0.5 * u.rad, r_0="30 arcmin")
    assert spatial.lon_0 == pytest.approx(15)
    assert spatial.lat_0 == pytest.approx(np.rad2deg(0.5))
    assert spatial.r_0 == pytest.approx(0.5)


def test_energies_may_be_quantities():
    model = SPECTRAL[0]
    np.testing.assert_allclose(model([1.0, 10.0] * u.TeV), model(np.array([1.0, 10.0])))
    np.testing.assert_allclose(model.integral("100 GeV", "1 TeV"), model.integral(0.1, 1.0))
    with pytest.raises(ValueError, match="energy"):
        model(3 * u.deg)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: gm.PowerLawSpectralModel(amplitude="1 TeV"), r"PowerLawSpectralModel\.amplitude"),
        (lambda: gm.PowerLawSpectralModel(reference=-1), "above 0"),
        (lambda: gm.PowerLawSpectralModel(index=np.nan), "finite"),
        (lambda: gm.GaussianSpatialModel(sigma=0), "above 0"),
        (lambda: gm.GaussianSpatialModel(e=1.0), "below 1"),
        (lambda: gm.PointSpatialModel(lat_0=91), "at most 90"),
        (lambda: gm.PointSpatialModel(frame="fk4"), "icrs, galactic"),
        (lambda: gm.DiskSpatialModel(edge_width=2), "at most 1"),
        (lambda: gm.PowerLawSpectralModel().with_parameters(reference="-3 TeV"), "above 0"),
        (lambda: gm.PiecewiseNormSpectralModel([1.0, 2.0], interp="cubic"), "cubic"),
        (lambda: gm.PiecewiseNormSpectralModel([1.0, 2.0], [1.0]), "length"),
        (lambda: gm.TemplateSpectralModel([2.0, 1.0], [1.0, 1.0]), "increase"),
        (lambda: gm.TemplateSpectralModel([1.0, 2.0], [1.0, -1.0]), "at least 0"),
        (lambda: SPECTRAL[7].with_parameters(values=[1.0, 1.0]), "length"),
    ],
)
def test_wrong_values_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("value", [None, {}, "ten", [1, "x"]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises((TypeError, ValueError), match=r"PowerLawSpectralModel\.index"):
        gm.PowerLawSpectralModel(index=value)


def test_unknown_parameters_are_named():
    with pytest.raises(TypeError, match=r"no parameter gamma; choose from index, amplitude"):
        SPECTRAL[0].with_parameters(gamma=2)


def test_with_parameters_leaves_the_original():
    model = gm.PowerLawSpectralModel()
    other = model.with_parameters(index=3, reference="10 GeV")
    assert (model.index, model.reference) == (2.0, 1.0)
    assert (other.index, other.reference) == (3.0, pytest.approx(0.01))


def test_models_are_frozen():
    with pytest.raises(AttributeError):
        SPECTRAL[0].index = 3.0


@jax.jit
def value_and_flux(model, low, high):
    return model(low), model.integral(low, high)


@pytest.mark.parametrize("model", SPECTRAL, ids=IDS[: len(SPECTRAL)])
def test_precision_follows_the_energies(model):
    low, high = np.array([0.2, 0.5, 1.0]), np.array([0.5, 1.0, 5.0])
    exact = value_and_flux(model, low, high)
    single = value_and_flux(model, low.astype(np.float32), high.astype(np.float32))
    for mine, reference in zip(single, exact, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, reference, rtol=2e-5)
    assert value_and_flux(model, 1, 2)[0].shape == ()


@pytest.mark.parametrize("model", SPECTRAL, ids=IDS[: len(SPECTRAL)])
def test_models_in_single_precision(model):
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
    exact = value_and_flux(model, 0.5, 2.0)
    for mine, reference in zip(value_and_flux(single, 0.5, 2.0), exact, strict=True):
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, reference, rtol=2e-5)


def test_constructors_work_inside_traced_code():
    def flux(index, lon):
        model = gm.PowerLawSpectralModel(index=index)
        place = gm.GaussianSpatialModel(lon_0=lon, sigma="0.2 deg")
        return model.integral(1.0, 10.0) * place.evaluate(0.1, 0.0)

    gradient = jax.jit(jax.grad(flux, (0, 1)))(1.0, 0.05)
    assert np.all(np.isfinite(gradient))
