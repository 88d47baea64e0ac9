"""Kernel and exposure as traced functions of the source, against those of the estimator."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datasets import make_dataset
from gammagrad._pytree import replace
from gammagrad.evaluate import estimate_kernel, reco_exposure
from gammagrad.models import (
    ExpCutoffPowerLawSpectralModel,
    GaussianSpatialModel,
    PointSpatialModel,
    SkyModel,
)

SPECTRUM = ExpCutoffPowerLawSpectralModel(index=2.2, amplitude=1e-12, lambda_=0.1)
DATASET = make_dataset(npix=(17, 15), nbin=2, sigma=0.12)
SHAPES = (PointSpatialModel(1.0, 2.0), GaussianSpatialModel(3.0, 4.0, sigma=0.15))


@pytest.mark.parametrize("shape", SHAPES, ids=["point", "extended"])
def test_kernel_and_exposure_are_those_of_the_search(shape) -> None:
    model = SkyModel(SPECTRUM, shape)
    response = DATASET.source_response(model, "0.9 deg")
    maps = (DATASET.exposure, DATASET.psf, DATASET.edisp)
    expected = estimate_kernel(model, *maps, DATASET.geom, "0.9 deg").kernel.data
    found = response.kernel(model)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    axis = DATASET.energy_axis
    reference = reco_exposure(SPECTRUM, DATASET.exposure, DATASET.edisp, axis, normalize=False)
    np.testing.assert_allclose(response.reference_counts(model), reference.data, rtol=1e-6)


def test_kernel_has_the_derivatives_of_differences() -> None:
    model = SkyModel(SPECTRUM, SHAPES[1])
    response = DATASET.source_response(model, "0.9 deg")

    @jax.jit
    def kernel(sigma, width):
        changed = replace(model, spatial_model=SHAPES[1].with_parameters(sigma=sigma))
        psf = response.psf ** (1 / width)
        return response.with_responses(psf=psf / psf.sum(axis=(1, 2), keepdims=True)).kernel(
            changed
        )

    at = tuple(jnp.asarray(value) for value in (0.15, 1.1))
    slopes = jax.jacfwd(kernel, argnums=(0, 1))(*at)
    for index, slope in enumerate(slopes):
        step = 1e-3 if slope.dtype == np.float64 else 3e-2
        ends = [
            kernel(*(value + sign * step * (i == index) for i, value in enumerate(at)))
            for sign in (1, -1)
        ]
        close = 1e-4 if slope.dtype == np.float64 else 3e-2
        scale = float(jnp.abs(slope).max())
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), atol=close * scale)


def test_a_response_of_another_shape_is_refused() -> None:
    response = DATASET.source_response(SkyModel(SPECTRUM, SHAPES[0]), "0.9 deg")
    with pytest.raises(ValueError, match="psf: expected an array of shape"):
        response.with_responses(psf=jnp.ones((2, 3, 3)))
    with pytest.raises(ValueError, match="edisp: expected an array of shape"):
        response.with_responses(edisp=jnp.ones((2, 3)))
