from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.core.fold import add_window, cut_window
from gammagrad.core.fold.place import block_sum, place_kernel, prepare_point, shared_sum
from gammagrad.core.images import convolve

place = jax.jit(place_kernel, static_argnums=(3, 4))


def gaussian(n: int, oversampling: int, sigma: float, y: float = 0.0, x: float = 0.0) -> np.ndarray:
    """Sample a Gaussian at the finer pixels of n pixels, (y, x) pixels from their middle."""
    fine = (np.arange(n * oversampling) - (n * oversampling - 1) / 2) / oversampling
    profile = [np.exp(-0.5 * ((fine - c) / sigma) ** 2) for c in (y, x)]
    image = profile[0][:, None] * profile[1][None, :]
    return image / (2 * np.pi * sigma**2 * oversampling**2)


def moments(image: np.ndarray) -> tuple[float, float, float]:
    """Return sum, centroid and variance along the columns."""
    columns = np.arange(image.shape[1])
    weights = image.sum(axis=0) / image.sum()
    centroid = weights @ columns
    return image.sum(), centroid, weights @ (columns - centroid) ** 2


def test_block_sum_adds_up_blocks() -> None:
    images = np.arange(2 * 4 * 6, dtype=float).reshape(2, 4, 6)
    expected = np.array(
        [[[i[y : y + 2, x : x + 2].sum() for x in (0, 2, 4)] for y in (0, 2)] for i in images]
    )
    np.testing.assert_allclose(block_sum(jnp.asarray(images), 2), expected)
    assert block_sum(images[0], 2).shape == (2, 3)


def test_block_sum_refuses_parts_of_blocks() -> None:
    with pytest.raises(ValueError, match="do not divide into blocks of 4"):
        block_sum(np.zeros((8, 6)), 4)


@pytest.mark.parametrize("oversampling", [1, 3])
@pytest.mark.parametrize(("size", "row"), [(9, 4), (9, 5), (15, 8), (24, 11), (24, 15)])
def test_a_kernel_on_pixel_centres_is_copied(oversampling: int, size: int, row: int) -> None:
    kernel = gaussian(15, oversampling, 2.0)[None]
    placed = place(kernel, float(row), 6.0, (size, 13), oversampling)
    copy = np.pad(block_sum(kernel, oversampling)[0], 30)
    top, left = 30 + 7 - row, 30 + 7 - 6
    expected = copy[top : top + size, left : left + 13]
    np.testing.assert_allclose(placed[0], expected, atol=2e-7)


@pytest.mark.parametrize(("oversampling", "sigma"), [(1, 1.5), (1, 3.0), (3, 1.0), (5, 0.7)])
@given(y=st.floats(-1, 1), x=st.floats(-1, 1))
def test_the_error_between_pixels_is_as_documented(
    oversampling: int, sigma: float, y: float, x: float
) -> None:
    size = 31
    kernel = gaussian(27, oversampling, sigma)[None]
    placed = np.asarray(place(kernel, 15 + y, 15 + x, (size, size), oversampling))[0]
    expected = np.asarray(block_sum(gaussian(size, oversampling, sigma, y, x), oversampling))
    step = 1 / (oversampling * sigma)
    assert np.abs(placed - expected).max() < (0.14 * step**4 + 1e-4) * expected.max()


@given(y=st.floats(-2, 2), x=st.floats(-2, 2))
def test_sum_centroid_and_width_are_kept(y: float, x: float) -> None:
    kernel = np.random.default_rng(1).random((1, 9, 9))
    total, centroid, variance = moments(kernel[0])
    placed = moments(np.asarray(place(kernel, 10 + y, 10 + x, (21, 21), 1)[0]))
    np.testing.assert_allclose(placed[0], total, rtol=1e-5)
    np.testing.assert_allclose(placed[1], centroid + 6 + x, atol=1e-4)
    np.testing.assert_allclose(placed[2], variance, atol=1e-3)


def test_the_position_has_the_right_derivative() -> None:
    kernel = gaussian(15, 1, 2.0)[None]
    weights = np.random.default_rng(2).random((19, 19))

    def total(position: jax.Array) -> jax.Array:
        return jnp.sum(place(kernel, position[0], position[1], (19, 19))[0] * weights)

    at = jnp.asarray([9.3, 8.6])
    gradient = jax.grad(total)(at)
    step = 1e-2
    for i in range(2):
        shift = jnp.zeros(2).at[i].set(step)
        slope = (total(at + shift) - total(at - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[i], slope, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_shares_keep_where_the_samples_are(factor: int) -> None:
    samples = np.random.default_rng(3).random((2, 3 * factor, 4 * factor))
    shared = np.asarray(shared_sum(samples, factor))
    assert shared.shape == (2, 7, 8)
    y, x = ((np.arange(n * factor) + 0.5) / factor - 0.5 for n in (3, 4))
    rows, columns = np.arange(-2.0, 5.0), np.arange(-2.0, 6.0)
    for a in range(5):
        for b in range(5):
            found = np.einsum("nyx,y,x->n", shared, rows**a, columns**b)
            expected = np.einsum("nyx,y,x->n", samples, y**a, x**b)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    if factor == 1:
        np.testing.assert_allclose(shared[:, 2:-2, 2:-2], samples, rtol=1e-6)


@pytest.mark.parametrize("place", [-0.4, 0.0, 0.2])
def test_a_shared_sample_is_smoothed_where_it_is(place: float) -> None:
    factor, sigma = 5, 2.0
    samples = np.zeros((1, 9 * factor, 9 * factor))
    samples[0, 22, 22 + round(factor * place)] = 1.0
    kernel = gaussian(17, 1, sigma)
    shared = np.asarray(shared_sum(samples, factor))[0]
    expected = gaussian(13, 1, sigma, 0.0, place)
    smooth, moved = (
        np.asarray(convolve(image.astype(float), kernel))
        for image in (shared, np.pad(np.asarray(block_sum(samples, factor))[0], 2))
    )
    assert np.abs(smooth - expected).max() < 3e-3 * expected.max()
    if place:
        assert np.abs(moved - expected).max() > 0.04 * expected.max()


@pytest.mark.parametrize("shape", [(9, 24), (31, 7)])
def test_a_prepared_kernel_is_placed_the_same(shape: tuple[int, int]) -> None:
    kernel = np.random.default_rng(3).random((2, 15, 21))
    ready = prepare_point(kernel, shape, 3, np)
    assert isinstance(ready.values, np.ndarray)
    for y, x in ((shape[0] / 2 + 0.4, shape[1] / 2 - 0.7), (shape[0] / 2 - 100.0, 300.0)):
        wanted = place(kernel, y, x, shape, 3)
        np.testing.assert_allclose(place(ready, y, x, shape, 3), wanted, rtol=1e-5, atol=1e-6)


def test_a_far_position_stays_at_the_last_one() -> None:
    kernel = gaussian(9, 1, 1.0)[None]
    last = np.asarray(place(kernel, 12.0, 8.0, (17, 17), 1))
    far = np.asarray(place(kernel, 500.0, 8.0, (17, 17), 1))
    assert np.argmax(far[0].sum(axis=1)) >= np.argmax(last[0].sum(axis=1))


@pytest.mark.parametrize(
    ("start", "shape"),
    [
        ((1, 2), (3, 2)),
        ((-2, -1), (4, 3)),
        ((3, 5), (4, 3)),
        ((-3, 2), (4, 2)),  # one row in common
        ((0, 0), (5, 6)),
        ((-2, -3), (9, 10)),  # all of the map and more
        ((-7, 4), (9, 8)),  # larger than the map, and beyond it
    ],
)
def test_windows_are_cut_and_added(start: tuple[int, int], shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(6)
    cube, part = jnp.asarray(rng.random((2, 5, 6))), jnp.asarray(rng.random((2, *shape)))
    rows, cols = (first + np.arange(n) for first, n in zip(start, shape, strict=True))
    covers = tuple(
        bool(first <= 0 and first + n >= size)
        for first, n, size in zip(start, shape, (5, 6), strict=True)
    )
    expected, on_map = np.array(cube), np.zeros(part.shape)
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            if 0 <= row < 5 and 0 <= col < 6:
                expected[:, row, col] += part[:, i, j]
                on_map[:, i, j] = 1
    weights = jnp.asarray(rng.random(cube.shape))
    nearest = np.ix_(range(2), np.clip(rows, 0, 4), np.clip(cols, 0, 5))
    for known in {covers, (False, False)}:
        cut = jax.jit(cut_window, static_argnums=(2, 3))
        found = cut(cube, jnp.asarray(start, float), shape, known)
        np.testing.assert_array_equal(found, np.asarray(cube)[nearest])
        add = partial(add_window, start=jnp.asarray(start, float), covers=known)
        total, back = jax.vjp(add, cube, part)
        np.testing.assert_allclose(total, expected, rtol=1e-6)
        of_map, of_part = back(weights)
        np.testing.assert_array_equal(of_map, weights)
        np.testing.assert_array_equal(of_part, np.asarray(weights)[nearest] * on_map)
