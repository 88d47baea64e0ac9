"""Derivatives of predicted counts, and of what a TS map makes of them, in the source's parameters.

All of a prediction's arrays are made from the parameters, the instrument's included; finite
differences know nothing of how.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gammagrad import ts_map
from gammagrad._pytree import replace
from gammagrad.core.fold import FoldInputs, fold_model
from gammagrad.models import (
    ExpCutoffPowerLawSpectralModel,
    GaussianSpatialModel,
    PointSpatialModel,
)
from gammagrad.responses import apply_edisp, broaden_psf, gaussian_edisp, gaussian_psf

TRUE, RECO = np.geomspace(0.7, 14, 6), np.geomspace(1, 10, 4)
BINSZ, SIDE = 0.1, 15

# each in a unit in which a step of 1e-3 is a small one
NAMES = ("index", "cut-off", "amplitude", "lon", "lat", "size", "psf", "bias", "resolution")
START = np.array([2.1, 0.1, 2.0, 0.23, -0.34, 0.15, 0.13, 0.05, 0.15])


def window(p: jax.Array, kind: str, exposure: jax.Array) -> FoldInputs:
    """Return a window around (0, 0) with the responses that the parameters ask for."""
    side = (np.arange(SIDE) - SIDE // 2) * BINSZ
    lon, lat = np.meshgrid(side, side)
    return FoldInputs(
        x=lon,
        y=lat,
        solid_angle=np.full_like(lon, np.deg2rad(BINSZ) ** 2),
        exposure=exposure,
        energy_edges=TRUE,
        psf=gaussian_psf(p[6] * jnp.linspace(1.2, 0.8, 5), (9, 9), BINSZ),
        edisp=gaussian_edisp(TRUE, RECO, p[8], p[7]),
        kind=kind,
    )


def predicted(p: jax.Array, kind: str, exposure: jax.Array) -> jax.Array:
    """Return the counts of a source with a cut-off, point-like or Gaussian."""
    spectral = ExpCutoffPowerLawSpectralModel(index=p[0], amplitude=p[2], lambda_=p[1])
    if kind == "point":
        spatial = PointSpatialModel(lon_0=p[3], lat_0=p[4])
    else:
        spatial = GaussianSpatialModel(lon_0=p[3], lat_0=p[4], sigma=p[5])
    return fold_model(spectral, spatial, window(p, kind, exposure))


def exposure_cube() -> jax.Array:
    """Return an exposure that changes over the window and with energy."""
    row, col = np.mgrid[:SIDE, :SIDE] / SIDE
    return jnp.asarray(np.linspace(5, 20, 5)[:, None, None] * (1 + 0.3 * row - 0.5 * col)[None])


def slopes(function: Callable[[jax.Array], jax.Array], at: jax.Array, step: float) -> np.ndarray:
    """Return derivatives from four values on each axis, exact to the fourth power of the step."""
    found = []
    for shift in step * np.eye(at.size):
        near, far = (function(at + n * shift) - function(at - n * shift) for n in (1, 2))
        found.append(np.asarray(8 * near - far) / (12 * step))
    return np.array(found)


@pytest.mark.parametrize("kind", ["extended", "point"])
def test_predicted_counts_know_their_derivatives(kind: str) -> None:
    weights = np.random.default_rng(3).random((3, SIDE, SIDE))

    @jax.jit
    def total(p: jax.Array, exposure: jax.Array) -> jax.Array:
        return jnp.sum(weights * predicted(p, kind, exposure))

    gradient = jax.jit(jax.grad(total, (0, 1)))
    exposure = exposure_cube()
    for index, psf in ((2.1, 0.13), (1.0, 0.13), (1.0 + 1e-9, 0.02), (0.4, 0.07)):
        at = jnp.asarray(START).at[0].set(index).at[6].set(psf)
        expected = slopes(lambda p: total(p, exposure), at, 1e-4)
        found = np.asarray(gradient(at, exposure)[0])
        scale = np.abs(expected) + 1e-3 * np.abs(expected).max()
        worst = np.abs(found - expected) / scale
        assert worst.max() < 1e-6, dict(zip(NAMES, worst, strict=True))
        assert (found[5] != 0) == (kind == "extended")
    # no exposure: no counts, no slope, and no NaN; nor with a response of no width
    for name in ("psf", "resolution", "bias"):
        at = jnp.asarray(START).at[NAMES.index(name)].set(0.0)
        for cube in (exposure, 0 * exposure):
            found = gradient(at, cube)
            assert all(np.isfinite(part).all() for part in found), name
    np.testing.assert_array_equal(found[0], 0)


@pytest.mark.parametrize("at_bins", [False, True])
@pytest.mark.parametrize("kind", ["extended", "point"])
def test_predicted_counts_know_their_derivatives_by_exposure(kind: str, at_bins: bool) -> None:
    weights = np.random.default_rng(3).random((3, SIDE, SIDE))
    base = window(jnp.asarray(START), kind, exposure_cube())
    spectral = ExpCutoffPowerLawSpectralModel(index=2.1, amplitude=2.0, lambda_=0.1)
    spatial = {
        "extended": GaussianSpatialModel(lon_0=0.23, lat_0=-0.34, sigma=0.15),
        "point": PointSpatialModel(lon_0=0.23, lat_0=-0.34),
    }[kind]

    @jax.jit
    def total(exposure: jax.Array) -> jax.Array:
        inputs = replace(base, exposure=exposure, exposure_at_bins=at_bins)
        return jnp.sum(weights * fold_model(spectral, spatial, inputs))

    exposure = exposure_cube()
    found = np.asarray(jax.grad(total)(exposure))
    # (0, 0) is the middle pixel, row and column 7; the source lies around row 3.6, column 9.3
    for pixel in ((0, 3, 9), (0, 4, 10), (2, 4, 9), (4, 6, 8), (1, 0, 14)):
        step = jnp.zeros_like(exposure).at[pixel].set(1.0)
        slope = (total(exposure + step) - total(exposure - step)) / 2
        np.testing.assert_allclose(found[pixel], slope, rtol=1e-6, atol=1e-9 * found.max())
    # a point is seen with the exposure of the four pixels around it, and no other
    if kind == "point":
        wanted = [[3, 9], [3, 10], [4, 9], [4, 10]]
        np.testing.assert_array_equal(np.argwhere(found[0]), wanted)


def test_forward_and_reverse_agree_for_a_source() -> None:
    weights = np.random.default_rng(3).random((3, SIDE, SIDE))
    exposure = exposure_cube()

    @jax.jit
    def total(p: jax.Array) -> jax.Array:
        return jnp.sum(weights * predicted(p, "extended", exposure))

    check_grads(total, (jnp.asarray(START),), order=1, rtol=1e-6, atol=1e-6)


def test_a_ts_map_knows_the_derivatives_of_its_kernel() -> None:
    # from the width and the index of a source, over its kernel and its exposure, to the limit
    rng = np.random.default_rng(4)
    shape = (3, 7, 7)
    background = rng.uniform(0.5, 2, shape)
    counts = rng.poisson(background).astype(float)
    counts[:, 3, 3] += 4
    seen = np.linspace(4, 12, 5)

    @jax.jit
    def at_pixel(p: jax.Array) -> jax.Array:
        size, index, psf, bias = p
        spectral = ExpCutoffPowerLawSpectralModel(index=index, amplitude=1.0, lambda_=0.1)
        flux = spectral.integral(TRUE[:-1], TRUE[1:])
        reco = apply_edisp(flux * seen, gaussian_edisp(TRUE, RECO, 0.15, bias))
        exposure = jnp.broadcast_to(reco[:, None, None], shape)
        kernel = broaden_psf(gaussian_psf(psf * jnp.array([1.2, 1.0, 0.8]), (5, 5), 0.1), size, 0.1)
        fit = ts_map(counts, background, exposure, kernel, selection_optional="ul")
        return jnp.stack([fit.norm[3, 3], fit.ts[3, 3], fit.norm_ul[3, 3], fit.norm[1, 5]])

    reverse, forward = jax.jit(jax.jacrev(at_pixel)), jax.jit(jax.jacfwd(at_pixel))
    for index in (2.3, 1.0):
        at = jnp.array([0.08, index, 0.07, 0.05])
        expected = slopes(at_pixel, at, 1e-3).T
        scale = np.abs(expected) + 1e-3 * np.abs(expected).max()
        for jacobian in (reverse(at), forward(at)):
            assert np.max(np.abs(jacobian - expected) / scale) < 1e-6
    assert np.isfinite(reverse(jnp.array([0.0, 1.0, 0.0, 0.0]))).all()
