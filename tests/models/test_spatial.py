"""Extended spatial models: formulae, normalisation, gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation, position_angle
from scipy.integrate import quad
from scipy.special import erf, erfinv

import gammagrad.maps.units  # noqa: F401
from gammagrad import models as gm

LON_0, LAT_0 = 359.9, 61.0
CENTRE = {"lon_0": LON_0, "lat_0": LAT_0}
MODELS = {
    "gauss": gm.GaussianSpatialModel(**CENTRE, sigma=0.4),
    "elongated gauss": gm.GaussianSpatialModel(**CENTRE, sigma=0.8, e=0.8, phi=-35.0),
    "disk": gm.DiskSpatialModel(**CENTRE, r_0=0.6, edge_width=0.2),
    "ellipse": gm.DiskSpatialModel(**CENTRE, r_0=0.9, e=0.9, phi=120.0, edge_width=0.1),
    "shell": gm.ShellSpatialModel(**CENTRE, radius=0.4, width=0.3),
    "constant": gm.ConstantSpatialModel(value=2.0),
}
evaluate = jax.jit(lambda model, lon, lat: model.evaluate(lon, lat))


def grid(half_width, n, lat_0=LAT_0, lon_0=LON_0):
    """Return pixel centres on the sphere and solid angles around a centre."""
    lat = lat_0 + half_width * (2 * (np.arange(n) + 0.5) / n - 1)
    stretch = 1 / np.cos(np.deg2rad(min(abs(lat_0) + half_width, 89)))
    lon = lon_0 + half_width * stretch * (2 * (np.arange(n) + 0.5) / n - 1)
    lon, lat = np.meshgrid(lon, lat)
    step = np.deg2rad(2 * half_width / n)
    height = 2 * np.cos(np.deg2rad(lat)) * np.sin(step / 2)
    return lon % 360, lat, height * step * stretch


def polar(lon, lat):
    rad = [np.deg2rad(x) for x in (LON_0, LAT_0, lon, lat)]
    return angular_separation(*rad), np.asarray(position_angle(*rad))


def ellipse_radius(angle, major, e, phi):
    minor = major * np.sqrt(1 - e**2)
    delta = np.deg2rad(phi) - angle
    return major * minor / np.hypot(major * np.sin(delta), minor * np.cos(delta))


def formula(name, lon, lat):
    """Return the models written out with numpy from their definitions."""
    theta, angle = polar(lon, lat)
    model = MODELS[name]
    if name == "constant":
        return np.full_like(theta, 2.0)
    if name == "shell":
        inner, outer = np.deg2rad(0.4), np.deg2rad(0.7)
        depth = [np.sqrt(np.maximum(r**2 - theta**2, 0)) for r in (outer, inner)]
        return 3 / (2 * np.pi * (outer**3 - inner**3)) * (depth[0] - depth[1])
    if "gauss" in name:
        sigma = np.deg2rad(model.sigma)
        size = ellipse_radius(angle, sigma, model.e, model.phi)
        a = 1 - np.cos(sigma)
        minor = sigma * np.sqrt(1 - model.e**2)
        norm = 2 * np.pi * sigma * minor if model.e else 4 * np.pi * a * (1 - np.exp(-1 / a))
        return np.exp(-0.5 * (1 - np.cos(theta)) / (1 - np.cos(size))) / norm
    major = np.deg2rad(model.r_0)
    size = ellipse_radius(angle, major, model.e, model.phi)
    edge = 0.5 * (1 - erf(2 * erfinv(0.9) * (theta - size) / (size * model.edge_width)))
    # solid angle by integrating 1 - cos(rim) over azimuth, the rim being that of a cone
    inverse = [1 / np.sin(r) ** 2 for r in (major, major * np.sqrt(1 - model.e**2))]
    cone = quad(
        lambda x: 1 - np.sqrt(1 - 1 / (inverse[0] * np.cos(x) ** 2 + inverse[1] * np.sin(x) ** 2)),
        0,
        2 * np.pi,
        epsrel=1e-12,
    )[0]
    return edge / cone


@pytest.mark.parametrize("name", MODELS)
def test_value_is_the_formula(name):
    lon, lat, _ = grid(1.2, 24)
    result, expected = evaluate(MODELS[name], lon, lat), formula(name, lon, lat)
    np.testing.assert_allclose(result, expected, rtol=1e-8, atol=1e-10 * expected.max())


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("gauss", 1e-6),
        ("elongated gauss", 2e-4),
        ("disk", 2e-3),
        ("ellipse", 1e-3),
        ("shell", 2e-3),
    ],
)
def test_integral_over_the_sky_is_one(name, tolerance):
    # round Gaussian: exact; the others are normalised for small sizes, or for a sharp edge
    lon, lat, solid_angle = grid(4.2, 600)
    total = np.sum(
        jax.jit(lambda m, *args: m.integrate(*args))(MODELS[name], lon, lat, solid_angle)
    )
    soft = {"disk": (0.2,), "ellipse": (0.1,)}
    # a soft edge adds the variance of its profile to the area
    growth = sum((w / (2 * erfinv(0.9))) ** 2 / 2 for w in soft.get(name, ()))
    np.testing.assert_allclose(total / (1 + growth), 1, rtol=tolerance)


def test_gaussian_of_any_size_has_unit_integral():
    for sigma in (0.01, 3.0, 40.0, 100.0):
        model = gm.GaussianSpatialModel(0.0, 90.0, sigma=sigma)
        top = min(180.0, 12 * sigma)
        total = quad(
            lambda t, m=model: (
                float(evaluate(m, 0.0, 90 - t)) * np.sin(np.deg2rad(t)) * 2 * np.pi * np.pi / 180
            ),
            0,
            top,
            epsabs=0,
            epsrel=1e-9,
        )[0]
        np.testing.assert_allclose(total, 1, rtol=1e-8)


@pytest.mark.parametrize("e", [0.0, 0.5, 0.99, 0.99999])
@pytest.mark.parametrize("r_0", [1e-3, 1.0, 60.0])
def test_solid_angle_of_an_ellipse(r_0, e):
    model = gm.DiskSpatialModel(0.0, 0.0, r_0=r_0, e=e)
    a, b = np.deg2rad(r_0), np.deg2rad(r_0) * np.sqrt(1 - e**2)
    a, b = np.sin(a), np.sin(b)

    def integrand(t):
        return 1 / (1 + np.sqrt(1 - (a * np.cos(t)) ** 2 - (b * np.sin(t)) ** 2))

    expected = 4 * a * b * quad(integrand, 0, np.pi / 2, epsrel=1e-12)[0]
    np.testing.assert_allclose(1 / evaluate(model, 0.0, 0.0), expected, rtol=1e-10)
    if e == 0:
        np.testing.assert_allclose(expected, 4 * np.pi * np.sin(np.deg2rad(r_0) / 2) ** 2, 1e-10)


def test_disk_with_a_sharp_edge():
    model = gm.DiskSpatialModel(0.0, 0.0, r_0=1.0, edge_width=0)
    inside, outside = evaluate(model, jnp.array([0.0, 0.999, 1.001, 5.0]), jnp.zeros(4)).reshape(
        2, 2
    )
    np.testing.assert_allclose(inside, inside[0])
    np.testing.assert_array_equal(outside, 0)


def test_elongation_lies_along_phi():
    # phi counts from north through east
    for phi, far, near in [(0.0, (0, 1), (1, 0)), (90.0, (1, 0), (0, 1)), (45.0, (1, 1), (-1, 1))]:
        for cls, size in ((gm.GaussianSpatialModel, "sigma"), (gm.DiskSpatialModel, "r_0")):
            model = cls(0.0, 0.0, **{size: 1.0}, e=0.9, phi=phi)
            along = evaluate(model, 0.6 * far[0], 0.6 * far[1])
            across = evaluate(model, 0.6 * near[0], 0.6 * near[1])
            assert along > 1.5 * across


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_radius_holds_the_model(name):
    model = MODELS[name]
    if name == "constant":
        assert (model.evaluation_radius, model.scale) == (None, None)
        return
    lon, lat, solid_angle = grid(4.2, 300)
    weights = formula(name, lon, lat) * solid_angle
    outside = polar(lon, lat)[0] > np.deg2rad(model.evaluation_radius)
    assert weights[outside].sum() < 1e-3 * weights.sum()
    assert 0 < model.scale < model.evaluation_radius


def test_scale_is_that_of_the_small_axis():
    assert gm.GaussianSpatialModel(sigma=0.3).scale == pytest.approx(0.1)
    assert gm.GaussianSpatialModel(sigma=0.3, e=0.8).scale == pytest.approx(0.06)
    assert gm.DiskSpatialModel(r_0=1.0, edge_width=0.1).scale == pytest.approx(0.09)
    assert gm.ShellSpatialModel(width=0.2).scale == 0.2


@jax.jit
def slope(model, lon, lat, direction):
    def value(model):
        return jnp.stack([model.evaluate(x, y) for x, y in zip(lon, lat, strict=True)])

    return jax.jvp(value, (model,), (direction,))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_finite_differences(name):
    model = MODELS[name]
    lon, lat = jnp.array([359.7, 0.05, 359.9, 1.0]), jnp.array([61.2, 60.8, 61.31, 61.0])
    leaves, tree = jax.tree.flatten(model)
    for i, leaf in enumerate(leaves):
        unit = jax.tree.unflatten(tree, [float(j == i) for j in range(len(leaves))])
        value, forward = slope(model, lon, lat, unit)
        moved = [
            evaluate(jax.tree.unflatten(tree, [*leaves[:i], leaf + h, *leaves[i + 1 :]]), lon, lat)
            for h in (1e-6, -1e-6)
        ]
        scale = np.max(np.asarray(value))
        np.testing.assert_allclose(
            forward / scale, (moved[0] - moved[1]) / (2e-6 * scale), rtol=2e-5, atol=2e-7
        )


POINTS = {
    "centre": (LON_0, LAT_0),
    "wrapped": (LON_0 - 360, LAT_0),
    "antipode": (LON_0 - 180, -LAT_0),
    "pole": (20.0, 90.0),
    "shell edges": (LON_0, LAT_0 + 0.4),
}


@pytest.mark.parametrize("size", [1.0, 1e-4], ids=["usual", "tiny"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_finite_everywhere(name, size):
    model = jax.tree.map(lambda leaf: leaf, MODELS[name])
    for key in ("sigma", "r_0", "radius", "width"):
        if key in model.parameters:
            model = model.with_parameters(**{key: size * model.parameters[key]})
    gradient = jax.jit(jax.grad(lambda m, x, y: m.evaluate(x, y), (0, 1, 2)))
    for point in POINTS.values():
        leaves = jax.tree.leaves(gradient(model, *point))
        assert np.all(np.isfinite(leaves))


def test_centre_is_a_maximum():
    for name in ("gauss", "elongated gauss"):
        gradient = jax.grad(lambda x, y, n=name: MODELS[n].evaluate(x, y), (0, 1))(LON_0, LAT_0)
        np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_shapes_and_precision():
    model = MODELS["ellipse"]
    lon, lat = np.float32([[359.5, 0.2]]), np.float32([[60.9], [61.0], [61.1]])
    for model in MODELS.values():
        result = evaluate(model, lon, lat)
        assert result.shape == (3, 2)
        assert result.dtype == np.float32
        exact = evaluate(model, lon.astype(float), lat.astype(float))
        np.testing.assert_allclose(result, exact, rtol=5e-3, atol=1e-3 * np.max(exact))


def test_position_from_sky_coordinates():
    position = SkyCoord(30 * u.deg, -5 * u.deg, frame="galactic")
    model = gm.GaussianSpatialModel.from_position(position, sigma="0.2 deg")
    assert (model.lon_0, model.lat_0, model.frame) == (
        pytest.approx(30),
        pytest.approx(-5),
        "galactic",
    )
    moved = model.with_position("31 deg", -6)
    assert (moved.lon_0, moved.lat_0, moved.sigma, moved.frame) == (31, -6, 0.2, "galactic")
    assert MODELS["constant"].with_position(1, 2) is MODELS["constant"]
    assert model.with_frame("icrs").frame == "icrs"
