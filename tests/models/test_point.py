"""Bilinear weights of a point source on pixel grids of several projections."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from gammagrad import models as gm

# projection, centre, pixel size, shape (ny, nx), tolerance of the position in pixels
GRIDS = {
    "car": ("CAR", (0.0, 0.0), 0.1, (31, 40), 2e-6),
    "tan": ("TAN", (83.6, 22.0), 0.02, (50, 41), 1e-9),
    "car far off the equator": ("CAR", (10.0, 62.0), 0.3, (24, 30), 2e-5),
    "ait": ("AIT", (359.9, -30.0), 0.5, (32, 40), 5e-5),
    "small": ("TAN", (83.6, 22.0), 0.02, (2, 2), 1e-4),
    "strip": ("TAN", (83.6, 22.0), 0.02, (2, 9), 1e-4),
}


def make_wcs(name):
    projection, centre, size, (ny, nx), _ = GRIDS[name]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = f"RA---{projection}", f"DEC--{projection}"
    wcs.wcs.crval, wcs.wcs.cdelt = centre, (-size, size)
    wcs.wcs.crpix = (nx + 1) / 2, (ny + 1) / 2
    if projection == "CAR":
        # as usual for this projection: the reference lies on the equator
        wcs.wcs.crval = centre[0], 0.0
        wcs.wcs.crpix = (nx + 1) / 2, (ny + 1) / 2 - centre[1] / size
    return wcs


def pixel_grid(name):
    ny, nx = GRIDS[name][3]
    return make_wcs(name).pixel_to_world_values(*np.meshgrid(np.arange(nx), np.arange(ny)))


def expected_weights(shape, x, y):
    """Return tents around the exact pixel position."""
    wx = np.maximum(1 - np.abs(np.arange(shape[1]) - x), 0)
    wy = np.maximum(1 - np.abs(np.arange(shape[0]) - y), 0)
    return wy[:, None] * wx


weights = jax.jit(lambda lon_0, lat_0, *grid: gm.PointSpatialModel(lon_0, lat_0).weights(*grid))


@given(st.sampled_from(list(GRIDS)), st.floats(0, 1), st.floats(0, 1))
def test_weights_are_those_of_the_exact_pixel_position(name, u, v):
    ny, nx = GRIDS[name][3]
    x, y = u * (nx - 1), v * (ny - 1)
    lon, lat = make_wcs(name).pixel_to_world_values(x, y)
    result = np.asarray(weights(float(lon), float(lat), *pixel_grid(name)))
    np.testing.assert_allclose(result, expected_weights((ny, nx), x, y), atol=GRIDS[name][4])
    np.testing.assert_allclose(result.sum(), 1, atol=1e-3 if ny == 2 else 1e-4)


@given(st.sampled_from(["car", "tan", "ait"]), st.floats(-3, 3), st.floats(-3, 3))
def test_weights_fall_off_at_the_border(name, u, v):
    ny, nx = GRIDS[name][3]
    x, y = u if u < 0 else nx - 1 + u, v if v < 0 else ny - 1 + v
    lon, lat = make_wcs(name).pixel_to_world_values(x, y)
    result = weights(float(lon), float(lat), *pixel_grid(name))
    np.testing.assert_allclose(result, expected_weights((ny, nx), x, y), atol=2e-3)
    if max(abs(u), abs(v)) > 1.01:
        np.testing.assert_array_equal(result, 0)


@pytest.mark.parametrize("lon_0", [263.6, 180.0, 84.6, 263.59999])
@pytest.mark.parametrize("lat_0", [-22.0, 22.0, 90.0, -90.0])
def test_a_source_elsewhere_has_no_weight(lon_0, lat_0):
    result = weights(lon_0, lat_0, *pixel_grid("tan"))
    np.testing.assert_array_equal(result, 0)


def test_longitudes_may_wrap():
    lon, lat = pixel_grid("ait")
    plain = weights(359.7, -30.2, lon, lat)
    np.testing.assert_allclose(weights(-0.3, -30.2, lon, lat), plain, atol=1e-10)
    np.testing.assert_allclose(
        weights(359.7, -30.2, (lon + 180) % 360 - 180, lat), plain, atol=1e-10
    )


def test_a_source_on_a_pixel_is_in_that_pixel():
    for name in GRIDS:
        lon, lat = pixel_grid(name)
        result = weights(lon[1, 1], lat[1, 1], lon, lat)
        np.testing.assert_allclose(result[1, 1], 1, atol=1e-10)


@pytest.mark.parametrize("pixel", [(20.3, 11.8), (20.0, 11.0), (0.2, 30.9), (20.5, 11.5)])
def test_the_centroid_moves_with_the_source(pixel):
    lon, lat = pixel_grid("tan")
    ny, nx = lon.shape
    position = make_wcs("tan").pixel_to_world_values(*pixel)

    def centroid(lon_0, lat_0):
        w = gm.PointSpatialModel(lon_0, lat_0).weights(lon, lat)
        return jnp.sum(w * jnp.arange(nx)[None, :].astype(float)), jnp.sum(
            w * jnp.arange(ny)[:, None].astype(float)
        )

    # the inverse of d(lon, lat) / d(x, y) of the exact projection
    steps = np.array([[1e-4, 0], [0, 1e-4]])
    moved = [make_wcs("tan").pixel_to_world_values(*(pixel + step)) for step in steps]
    sky = np.array([(np.array(m) - position) / 1e-4 for m in moved]).T
    jacobian = jax.jit(jax.jacobian(centroid, (0, 1)))(*map(float, position))
    np.testing.assert_allclose(np.array(jacobian) @ sky, np.eye(2), atol=1e-5)


def test_gradients_are_finite_inside_outside_and_off_the_sky():
    lon, lat = (np.array(x) for x in pixel_grid("ait"))
    lon[:5, :5] = lat[:5, :5] = np.nan
    gradient = jax.jit(
        jax.grad(
            lambda lon_0, lat_0, lon, lat: jnp.sum(
                gm.PointSpatialModel(lon_0, lat_0).weights(lon, lat) ** 2
            ),
            (0, 1, 2, 3),
        )
    )
    spots = [(lon[16, 20], lat[16, 20]), (0.4, -31.1), (180.0, 30.0), (lon[5, 5], lat[5, 5])]
    for spot in spots:
        for leaf in gradient(*map(float, spot), lon, lat)[:2]:
            assert np.isfinite(leaf)


def test_integrate_is_the_same_as_weights():
    model = gm.PointSpatialModel(83.61, 22.03)
    grid = pixel_grid("tan")
    np.testing.assert_array_equal(model.integrate(*grid, 1e-7), model.weights(*grid))
    assert (model.evaluation_radius, model.scale) == (0, None)


def test_single_precision():
    lon, lat = (x.astype(np.float32) for x in pixel_grid("tan"))
    result = weights(83.613, 22.031, lon, lat)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, weights(83.613, 22.031, *pixel_grid("tan")), atol=2e-3)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1)])
def test_a_grid_too_small_is_refused(shape):
    with pytest.raises(ValueError, match="at least 2 pixels"):
        gm.PointSpatialModel().weights(np.zeros(shape), np.zeros(shape))
