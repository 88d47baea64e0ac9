"""Angles on the sphere against arbitrary precision, and their gradients where angles degenerate."""

from __future__ import annotations

import jax
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.models.sphere import haversine, offsets, separation

run = jax.jit(lambda *angles: (separation(*angles), haversine(*angles), offsets(*angles)))
gradients = jax.jit(
    lambda *angles: (
        jax.grad(separation, (0, 1, 2, 3))(*angles),
        jax.grad(haversine, (0, 1, 2, 3))(*angles),
    )
)
lons, lats = st.floats(-360, 360), st.floats(-90, 90)


def exact_separation(lon, lat, lon_0, lat_0):
    with mpmath.workdps(50):
        lon, lat, lon_0, lat_0 = (mpmath.radians(mpmath.mpf(x)) for x in (lon, lat, lon_0, lat_0))
        a = [mpmath.cos(lat) * mpmath.cos(lon), mpmath.cos(lat) * mpmath.sin(lon), mpmath.sin(lat)]
        b = [mpmath.cos(lat_0) * mpmath.cos(lon_0), mpmath.cos(lat_0) * mpmath.sin(lon_0)]
        b.append(mpmath.sin(lat_0))
        chord = mpmath.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))
        return float(2 * mpmath.asin(min(chord / 2, 1)))


@given(lons, lats, lons, lats)
def test_separation_anywhere(lon, lat, lon_0, lat_0):
    theta, height, _ = run(lon, lat, lon_0, lat_0)
    exact = exact_separation(lon, lat, lon_0, lat_0)
    np.testing.assert_allclose(theta, exact, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(height, np.sin(exact / 2) ** 2, rtol=1e-12, atol=1e-28)


@pytest.mark.parametrize("distance", [1e-12, 1e-7, 1e-3, 1.0, 90.0, 179.0, 180 - 1e-6])
def test_small_and_large_separations_keep_their_digits(distance):
    args = 83.0, 0.0, 83.0 + distance, 0.0
    np.testing.assert_allclose(run(*args)[0], exact_separation(*args), rtol=1e-14)


@given(lons, lats, lons, lats)
def test_offsets_are_a_unit_vector(lon, lat, lon_0, lat_0):
    east, north, radial = run(lon, lat, lon_0, lat_0)[2]
    np.testing.assert_allclose(east**2 + north**2 + radial**2, 1, rtol=1e-14)


def test_offsets_point_east_and_north():
    east, north, _ = run(10.001, 0.0, 10.0, 0.0)[2]
    assert (east > 0, abs(north) < 1e-12) == (True, True)
    east, north, _ = run(359.999, 45.001, 0.001, 45.0)[2]
    assert (east < 0, north > 0) == (True, True)


@pytest.mark.parametrize(
    "angles",
    [
        (10.0, 20.0, 10.0, 20.0),
        (0.0, 90.0, 50.0, 90.0),
        (0.0, 0.0, 180.0, 0.0),
        (30.0, 90.0, 30.0, -90.0),
        (360.0, 5.0, 0.0, 5.0),
    ],
    ids=["same", "pole", "antipode", "pole to pole", "wrapped"],
)
def test_gradients_are_finite(angles):
    assert np.all(np.isfinite(gradients(*angles)))


def test_gradient_of_separation_along_a_meridian():
    d_lat = gradients(10.0, 21.0, 10.0, 20.0)[0][1]
    np.testing.assert_allclose(d_lat, np.pi / 180, rtol=1e-12)
