"""Responses in closed form against quadrature, and their derivatives where formulas break."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from gammagrad.core.fold import broaden_psf, gaussian_edisp, gaussian_psf
from precision import DOUBLE, double_only

SHAPE, BINSZ = (5, 7), 0.1
FLOAT = np.float64 if DOUBLE else np.float32


def variance(kernel: np.ndarray, axis: int) -> float:
    """Return the variance of a kernel along an axis, in square pixels."""
    profile = np.asarray(kernel, float).sum(axis=1 - axis)
    offset = np.arange(profile.size) - profile.size // 2
    return float((profile * offset**2).sum() / profile.sum())


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_a_psf_is_the_integral_over_pixels(sigma: float, rtol: float) -> None:
    kernel = np.asarray(gaussian_psf(np.asarray([sigma, 0.05], FLOAT), SHAPE, BINSZ))
    assert kernel.shape == (2, *SHAPE)
    assert kernel.dtype == FLOAT
    sides = []
    for n in SHAPE:
        edges = (np.arange(n + 1) - n / 2) * BINSZ
        pieces = [
            quad(norm(scale=sigma).pdf, low, high, epsabs=1e-14)[0] for low, high in pairwise(edges)
        ]
        sides.append(np.divide(pieces, np.sum(pieces)))
    np.testing.assert_allclose(kernel[0], np.outer(*sides), rtol=1e2 * rtol, atol=rtol)


def test_far_pixels_of_a_psf_keep_their_digits(rtol: float) -> None:
    side = np.asarray(gaussian_psf(FLOAT(0.1), (1, 13), FLOAT(0.1)))[0, 0]
    exact = norm.sf(np.arange(7) - 0.5) - norm.sf(np.arange(7) + 0.5)
    np.testing.assert_allclose(side[6:] / side[6], exact / exact[0], rtol=1e2 * rtol)


@double_only
def test_a_psf_without_width_is_one_pixel() -> None:
    def weighted(s: jax.Array) -> jax.Array:
        kernel = gaussian_psf(s, SHAPE, BINSZ)
        return (kernel * jnp.arange(35.0).reshape(1, *SHAPE)).sum()

    widths = jnp.array([0.0, 1e-300, 1e-12, 1e-4])
    expected = np.zeros((4, *SHAPE))
    expected[:, 2, 3] = 1
    np.testing.assert_array_equal(gaussian_psf(widths, SHAPE, BINSZ), expected)
    for slope in (jax.grad(weighted), jax.grad(jax.grad(weighted))):
        np.testing.assert_array_equal(jax.jit(jax.vmap(slope))(widths), 0)


@double_only
@pytest.mark.parametrize(("first", "second"), [(0.1, 0.1), (0.15, 0.1), (0.2, 0.02), (0.1, 0.2)])
def test_broadening_adds_widths_in_quadrature(first: float, second: float) -> None:
    narrow = gaussian_psf(first, (31, 25), BINSZ)
    wide = np.asarray(broaden_psf(narrow, second, BINSZ))
    expected = np.asarray(gaussian_psf(np.hypot(first, second), (31, 25), BINSZ))
    assert np.abs(wide - expected).max() < 2e-3 * expected.max()
    for axis in (0, 1):
        grown = variance(wide[0], axis) - variance(np.asarray(narrow)[0], axis)
        assert abs(grown - (second / BINSZ) ** 2) < 1e-4 * grown
    assert wide.min() >= 0


@double_only
def test_broadening_joins_its_ranges_without_a_step() -> None:
    # in units of pixels: where three pixels do, and where the width is a closed form
    kernel = np.zeros((1, 1, 15))
    kernel[0, 0, 7] = 1
    for border in (0.01, 1.2):
        below, above = (broaden_psf(kernel, np.sqrt(border + d), 1.0) for d in (-1e-10, 1e-10))
        np.testing.assert_allclose(below, above, atol=1e-8)


def test_broadening_keeps_sums_shapes_and_kernels(rtol: float) -> None:
    rng = np.random.default_rng(1)
    kernels = rng.random((3, *SHAPE)).astype(FLOAT)
    kernels[2] = 0
    wide = np.asarray(broaden_psf(kernels, np.asarray([0.05, 0.2, 0.3], FLOAT), BINSZ))
    assert wide.dtype == FLOAT
    np.testing.assert_allclose(wide.sum(axis=(1, 2)), kernels.sum(axis=(1, 2)), rtol=1e2 * rtol)
    np.testing.assert_allclose(broaden_psf(kernels, FLOAT(0), BINSZ), kernels, rtol=1e2 * rtol)
    assert broaden_psf(kernels[0], FLOAT(0.1), BINSZ).shape == SHAPE


@pytest.mark.parametrize(("sigma", "bias"), [(0.1, 0.0), (0.25, -0.1), (0.02, 0.1)])
def test_a_dispersion_is_the_mean_over_true_bins(sigma: float, bias: float) -> None:
    true, reco = np.asarray([1, 1.5, 2.5], FLOAT), np.geomspace(0.5, 4, 7).astype(FLOAT)
    matrix = np.asarray(gaussian_edisp(true, reco, FLOAT(sigma), FLOAT(bias)))
    assert matrix.dtype == FLOAT

    def probability(energy: float, low: float, high: float) -> float:
        law = norm(loc=energy * (1 + bias), scale=energy * sigma)
        return (law.cdf(high) - law.cdf(low)) / energy**2

    for i, j in np.ndindex(matrix.shape):
        mean = quad(probability, true[i], true[i + 1], args=(reco[j], reco[j + 1]), limit=200)[0]
        mean /= 1 / true[i] - 1 / true[i + 1]
        assert abs(matrix[i, j] - mean) < (1e-9 if DOUBLE else 1e-5)


def test_a_dispersion_of_narrow_bins_is_the_density_at_their_energy() -> None:
    true = np.asarray([1, 1.001, 1.002], FLOAT)
    reco = np.linspace(0.6, 1.5, 10).astype(FLOAT)
    matrix = np.asarray(gaussian_edisp(true, reco, np.asarray([0.1, 0.2], FLOAT), FLOAT(0)))
    for row, energy, sigma in zip(matrix, (1.0005, 1.0015), (0.1, 0.2), strict=True):
        law = norm(loc=energy, scale=energy * sigma)
        np.testing.assert_allclose(row, np.diff(law.cdf(reco)), atol=1e-5 if DOUBLE else 1e-3)


@double_only
@pytest.mark.parametrize("sigma", [0.0, 1e-300, 1e-10])
def test_a_dispersion_without_width_sorts_energies_exactly(sigma: float) -> None:
    # for 1 / E^2 two thirds of the flux from 1 to 4 TeV lie below 2 TeV
    true, reco = np.array([1.0, 4.0]), np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(gaussian_edisp(true, reco, sigma), [[2 / 3, 1 / 3]], rtol=1e-9)

    def second(s: jax.Array, b: jax.Array) -> jax.Array:
        return gaussian_edisp(true, reco, s, b)[0, 1]

    gradient = jax.grad(second, (0, 1))(jnp.asarray(sigma), jnp.asarray(0.05))
    assert gradient[0] == 0
    # the flux that a bias takes across 2 TeV, less that across 4 TeV
    np.testing.assert_allclose(gradient[1], 4 / 3 / 2 - 4 / 3 / 4, rtol=1e-9)


@double_only
def test_derivatives_are_those_of_differences() -> None:
    true, reco = jnp.array([1.0, 1.5, 2.5]), jnp.geomspace(0.5, 4, 5)
    weights = jnp.cos(jnp.arange(35.0)).reshape(1, *SHAPE)
    mixed = jnp.sin(jnp.arange(8.0)).reshape(2, 4)

    def responses(p: jax.Array) -> jax.Array:
        s, b = p
        kernels = gaussian_psf(0.1, SHAPE, BINSZ) + 3 * gaussian_psf(s, SHAPE, BINSZ)
        matrix = gaussian_edisp(true, reco, s, b)
        return (weights * broaden_psf(kernels, s + b, BINSZ)).sum() + (mixed * matrix).sum()

    value, gradient = jax.jit(responses), jax.jit(jax.grad(responses))
    second = jax.jit(jax.jacfwd(jax.grad(responses)))
    for sigma in (0.02, 0.07, 0.13):
        at = jnp.array([sigma, 0.03])
        steps = 1e-5 * jnp.eye(2)
        slopes = [(value(at + h) - value(at - h)) / 2e-5 for h in steps]
        np.testing.assert_allclose(gradient(at), slopes, rtol=1e-6, atol=1e-7)
        curvature = [(gradient(at + h) - gradient(at - h)) / 2e-5 for h in steps]
        np.testing.assert_allclose(second(at), curvature, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_psf(0.1, (4, 5), 0.1), "two odd sides"),
        (lambda: gaussian_psf(np.ones((2, 2)), (5, 5), 0.1), "sigma has shape"),
        (lambda: broaden_psf(np.ones((3, 5, 5)), [0.1, 0.2], 0.1), "2 widths for 3 kernels"),
        (lambda: broaden_psf(np.ones(5), 0.1, 0.1), "kernels have shape"),
        (lambda: gaussian_edisp([1.0], [1.0, 2.0], 0.1), "edges of its bins"),
        (lambda: gaussian_edisp([1.0, 2.0], [1.0, 2.0], [0.1, 0.2]), "sigma has 2 values for 1"),
        (lambda: gaussian_edisp([1.0, 2.0], [1.0, 2.0], 0.1, [0.1, 0.2]), "bias has 2 values"),
    ],
)
def test_wrong_input_is_told(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
