"""Convolution against scipy.signal, gradients by transposes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.signal
from jax.test_util import check_grads

from gammagrad.core.images import (
    box_sum,
    convolve,
    convolve_stack,
    fast_length,
    prepare_kernel,
)

SHAPES = [
    ((12, 9), (3, 5)),
    ((12, 9), (4, 2)),
    ((7, 8), (15, 3)),
    ((6, 5), (21, 20)),
    ((1, 1), (3, 3)),
    ((40, 31), (1, 1)),
    ((33, 40), (11, 13)),
]
METHODS = ("auto", "fft", "direct")


def cut_convolution(image, kernel):
    """Convolve in the fullest form and cut the middle out: the definition, by scipy."""
    (ny, nx), (ky, kx) = image.shape, kernel.shape
    y, x = (ky - 1) // 2, (kx - 1) // 2
    return scipy.signal.convolve2d(image, kernel)[y : y + ny, x : x + nx]


def test_lengths_of_transforms_are_those_of_scipy():
    numbers = [*range(1, 3000), 4097, 65537, 100001]
    assert [fast_length(n) for n in numbers] == [
        scipy.fft.next_fast_len(n, real=True) for n in numbers
    ]


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("shape", "kernel_shape"), SHAPES)
def test_convolve_is_the_cut_full_convolution(shape, kernel_shape, method, rtol):
    image, kernel = draw(shape), draw(kernel_shape, 1)
    result = jax.jit(convolve, static_argnums=2)(jnp.array(image), jnp.array(kernel), method)
    assert result.shape == shape
    np.testing.assert_allclose(result, cut_convolution(image, kernel), atol=rtol * kernel.size)


@pytest.mark.parametrize("kernel_shape", [(3, 3), (4, 6), (9, 11)])
def test_convolve_agrees_with_scipy_same_mode(kernel_shape, rtol):
    image, kernel = draw((20, 24)), draw(kernel_shape, 1)
    expected = scipy.signal.convolve(image, kernel, mode="same", method="direct")
    result = convolve(jnp.array(image), jnp.array(kernel))
    np.testing.assert_allclose(result, expected, atol=100 * rtol)


@pytest.mark.parametrize("method", ["fft", "direct"])
def test_gradients(method):
    image, kernel = jnp.array(draw((6, 7))), jnp.array(draw((3, 4), 1))
    # a small polynomial in its arguments, so that differences bear a long step
    check_grads(
        lambda i, k: convolve(i, k, method), (image, kernel), order=2, eps=1 / 64, rtol=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
def test_stack_is_a_loop(method, rtol):
    images, kernels = draw((4, 10, 12)), draw((4, 9, 7), 1)
    shared = convolve_stack(jnp.array(images), jnp.array(kernels[0]), method)
    own = convolve_stack(jnp.array(images), jnp.array(kernels), method)
    for i in range(4):
        tolerance = {"rtol": 1e3 * rtol, "atol": 1e3 * rtol}
        np.testing.assert_allclose(shared[i], cut_convolution(images[i], kernels[0]), **tolerance)
        np.testing.assert_allclose(own[i], cut_convolution(images[i], kernels[i]), **tolerance)


def test_dtype_follows_the_image():
    single = jnp.ones((4, 4), jnp.float32)
    assert convolve(single, np.ones((3, 3))).dtype == jnp.float32
    assert convolve(jnp.ones((4, 4), int), jnp.ones((3, 3), jnp.float32)).dtype == jnp.float32
    assert convolve(jnp.ones((4, 4), bool), jnp.ones((3, 3), int)).dtype == jnp.zeros(()).dtype
    assert box_sum(single, (2, 3)).dtype == jnp.float32


def test_direct_keeps_nan_local():
    image = np.zeros((20, 20))
    image[10, 10] = np.nan
    result = np.asarray(convolve(jnp.array(image), jnp.ones((3, 3)), "direct"))
    assert np.isnan(result).sum() == 9


@pytest.mark.parametrize(("shape", "kernel_shape"), SHAPES)
def test_box_sum_is_convolution_with_ones(shape, kernel_shape, rtol):
    image = draw(shape)
    expected = cut_convolution(image, np.ones(kernel_shape))
    np.testing.assert_allclose(box_sum(jnp.array(image), kernel_shape), expected, atol=100 * rtol)


def test_box_sum_of_counts_is_exact_and_differentiable():
    counts = np.random.default_rng(0).poisson(3, (9, 8))
    np.testing.assert_array_equal(
        box_sum(jnp.array(counts), (3, 5)), cut_convolution(counts, np.ones((3, 5), int))
    )
    np.testing.assert_array_equal(
        box_sum(jnp.array(counts > 2), (3, 3)),
        cut_convolution((counts > 2).astype(int), np.ones((3, 3), int)),
    )
    image = jnp.array(draw((5, 6)))
    check_grads(lambda i: box_sum(i, (3, 2)) ** 2, (image,), order=2, eps=1 / 64, rtol=1e-3)


def test_second_call_does_not_compile():
    traces = []

    @jax.jit
    def run(image, kernel):
        traces.append(image)
        return convolve(image, kernel)

    for seed in range(3):
        run(jnp.array(draw((8, 8), seed)), jnp.array(draw((3, 3), seed)))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: convolve(jnp.ones((2, 3, 3)), jnp.ones((3, 3))), "image must be a two-dim"),
        (lambda: convolve(jnp.ones((3, 3)), jnp.ones(3)), "kernel must be a two-dim"),
        (lambda: convolve(jnp.ones((3, 0)), jnp.ones((3, 3))), "at least one pixel"),
        (lambda: convolve(jnp.ones((3, 3)), jnp.ones((3, 3)), "quick"), "method must be"),
        (lambda: convolve_stack(jnp.ones((3, 3)), jnp.ones((3, 3))), "images must have shape"),
        (lambda: convolve_stack(jnp.ones((2, 3, 3)), jnp.ones((3, 3, 3))), "one for each of the 2"),
        (lambda: box_sum(jnp.ones((3, 3)), (0, 3)), "at least one pixel"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("side", [3, 9])
def test_prepared_kernels_convolve_one_image_or_one_each(side: int) -> None:
    rng = np.random.default_rng(8)
    images, kernels = jnp.array(rng.random((3, 10, 12))), jnp.array(rng.random((3, side, side)))
    ready = prepare_kernel(kernels, (10, 12))
    wanted = convolve_stack(images, kernels)
    np.testing.assert_allclose(ready.convolve(images), wanted, rtol=1e-5)
    shared = convolve_stack(jnp.broadcast_to(images[:1], images.shape), kernels)
    np.testing.assert_allclose(ready.convolve(images[:1]), shared, rtol=1e-5)
