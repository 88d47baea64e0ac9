"""Template maps: interpolation, normalisation, limits."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from scipy.interpolate import RegularGridInterpolator

import gammagrad.maps.units  # noqa: F401
from gammagrad import models as gm

ENERGY = np.geomspace(0.1, 10, 4)
CUBE = np.random.default_rng(1).gamma(3.0, 1.0, (4, 5, 7))
evaluate = jax.jit(lambda model, x, y, energy=None: model.evaluate(x, y, energy))


def make(data=CUBE, energy=ENERGY, **kwargs):
    return gm.TemplateSpatialModel(data, energy, normalize=False, **kwargs)


def make_map(data, unit="sr-1", energy=None, name="energy_true"):
    """Return the least of a map that the model needs."""
    ny, nx = data.shape[-2:]
    axes = [] if energy is None else [SimpleNamespace(name=name, center_in=lambda unit: energy)]
    solid_angle = 1e-5 * (1 + np.arange(ny * nx).reshape(ny, nx) / (ny * nx))
    geom = SimpleNamespace(
        axes=axes, frame="galactic", solid_angle=lambda: solid_angle * u.sr, width=[4, 3] * u.deg
    )
    return SimpleNamespace(geom=geom, data=data, unit=u.Unit(unit), quantity=u.Quantity(data, unit))


def test_images_are_bilinear():
    model = make(CUBE[0], None)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 6, 50), rng.uniform(0, 4, 50)
    oracle = RegularGridInterpolator((np.arange(5), np.arange(7)), CUBE[0])
    np.testing.assert_allclose(evaluate(model, x, y), oracle(np.stack([y, x], -1)), rtol=1e-12)


def test_energies_are_log_log():
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(np.arange(7.0), np.arange(5.0))
    energy = np.exp(rng.uniform(np.log(0.1), np.log(10), 6))
    oracle = RegularGridInterpolator((np.log(ENERGY), np.arange(5), np.arange(7)), np.log(CUBE))
    result = evaluate(make(), x, y, energy)
    assert result.shape == (6, 5, 7)
    for e, image in zip(energy, result, strict=True):
        expected = np.exp(oracle(np.stack([np.full_like(x, np.log(e)), y, x], -1)))
        np.testing.assert_allclose(image, expected, rtol=1e-12)
    assert evaluate(make(), x, y, 1.0).shape == (5, 7)
    np.testing.assert_allclose(evaluate(make(), x, y, ENERGY), CUBE, rtol=1e-12)


def test_zero_outside_and_half_a_pixel_of_margin():
    model = make()
    x = jnp.array([-0.6, -0.4, 6.4, 6.6, jnp.nan])
    inside = [False, True, True, False, False]
    np.testing.assert_array_equal(evaluate(model, x, jnp.full(5, 2.0), 1.0) > 0, inside)
    energy = np.array([0.02, 0.05, 0.99 * 10**1.3, 30.0])
    value = evaluate(model, jnp.array(2.0), jnp.array(2.0), energy)
    np.testing.assert_array_equal(value > 0, [False, True, True, False])


def test_rounding_does_not_cut_the_border():
    x, y = np.meshgrid([-0.5 - 1e-9, 6.5 + 1e-9], [-0.5 - 1e-9, 4.5 + 1e-9])
    assert np.all(evaluate(make(), x, y, ENERGY * (1 - 1e-12)) > 0)


def test_empty_pixels_and_energies():
    data = CUBE.copy()
    data[1, 2, 3] = data[2] = 0
    x, y = np.meshgrid(np.arange(7.0), np.arange(5.0))
    np.testing.assert_allclose(evaluate(make(data), x, y, ENERGY), data, rtol=1e-12, atol=1e-300)
    halfway = np.sqrt(ENERGY[0] * ENERGY[1])
    # no power law leads to zero: a straight line does
    np.testing.assert_allclose(evaluate(make(data), 3.0, 2.0, halfway), data[0, 2, 3] / 2)

    def total(data, x):
        return jnp.sum(make(data).evaluate(x, y, np.geomspace(0.04, 20, 9)))

    gradient = jax.jit(jax.grad(total, (0, 1)))(jnp.array(data), jnp.array(x))
    assert all(np.all(np.isfinite(leaf)) for leaf in gradient)


def test_gradient_in_position_is_the_slope():
    slope = jax.grad(lambda x: make(CUBE[0], None).evaluate(x, 2.0))(3.4)
    np.testing.assert_allclose(slope, CUBE[0, 2, 4] - CUBE[0, 2, 3], rtol=1e-12)


def test_integrate_multiplies_by_the_solid_angle():
    x, y = np.meshgrid(np.arange(7.0), np.arange(5.0))
    solid_angle = np.linspace(1, 2, 35).reshape(5, 7)
    result = make().integrate(x, y, solid_angle, ENERGY)
    np.testing.assert_allclose(result, CUBE * solid_angle, rtol=1e-12)
    np.testing.assert_allclose(make(CUBE[0], None).integrate(x, y, 2.0), 2 * CUBE[0], rtol=1e-12)


def test_from_map_normalises_each_image():
    data = CUBE.copy()
    data[3] = 0
    source = make_map(data, "deg-2", ENERGY)
    model = gm.TemplateSpatialModel.from_map(source, filename="a.fits")
    total = np.sum(model.data * source.geom.solid_angle().value, axis=(1, 2))
    np.testing.assert_allclose(total, [1, 1, 1, 0])
    # brightness keeps its shape
    np.testing.assert_allclose(model.data[0] / model.data[0, 0, 0], data[0] / data[0, 0, 0])
    assert (model.unit, model.frame, model.filename) == ("sr-1", "galactic", "a.fits")
    assert model.geom is source.geom
    assert model.evaluation_radius == 2.0
    assert model.is_energy_dependent
    assert not model.carries_flux


def test_from_map_with_the_unit_of_a_spectrum():
    source = make_map(CUBE, "cm-2 s-1 MeV-1 sr-1", ENERGY)
    model = gm.TemplateSpatialModel.from_map(source, normalize=False)
    assert (model.unit, model.carries_flux) == ("cm-2 s-1 TeV-1 sr-1", True)
    np.testing.assert_allclose(model.data, CUBE * 1e6)


def test_from_map_without_unit_and_with_bad_pixels():
    data = CUBE[:1].copy()
    data[0, :2, 0] = np.nan, -1
    model = gm.TemplateSpatialModel.from_map(make_map(data, "", ENERGY[:1]), normalize=False)
    assert model.data.shape == (5, 7)
    np.testing.assert_array_equal(model.data[:2, 0], 0)
    np.testing.assert_array_equal(model.data[:, 1:], data[0, :, 1:])
    assert not model.is_energy_dependent
    assert np.isnan(data[0, 0, 0])


def test_single_precision_follows_the_coordinates():
    x, y = np.meshgrid(np.arange(7, dtype=np.float32), np.arange(5, dtype=np.float32))
    result = evaluate(make(), x, y, ENERGY)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, CUBE, rtol=1e-5)
    assert evaluate(make(CUBE.astype(np.float32)), *map(np.float64, (x, y)), ENERGY).dtype == float


def test_the_same_geometry_does_not_compile_again():
    geom, count = SimpleNamespace(), []

    @jax.jit
    def run(model):
        count.append(1)
        return model.evaluate(1.0, 2.0, 1.0)

    for data in (CUBE, 2 * CUBE):
        run(make(data, geom=geom))
    assert len(count) == 1
    run(make(geom=SimpleNamespace()))
    assert len(count) == 2


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: make(CUBE[0], ENERGY), "as many energies"),
        (lambda: make(CUBE, None), "as many energies"),
        (lambda: make(CUBE, ENERGY[::-1]), "increasing"),
        (lambda: make(CUBE, unit="m"), "unit is 'm'"),
        (lambda: make(CUBE * u.TeV), "Expected a unit like"),
        (lambda: gm.TemplateSpatialModel(CUBE[0]), "from_map"),
        (lambda: make().evaluate(1.0, 1.0), "pass `energy`"),
        (
            lambda: gm.TemplateSpatialModel.from_map(make_map(CUBE, energy=ENERGY, name="rad")),
            "axes rad",
        ),
        (lambda: gm.TemplateSpatialModel.from_map(make_map(CUBE, "TeV", ENERGY)), "cannot convert"),
    ],
)
def test_what_cannot_be_a_template_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
