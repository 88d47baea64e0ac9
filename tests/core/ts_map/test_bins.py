"""Tiles and their windows against plain indexing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fields import random_field
from gammagrad.core.ts_map import TILE, clean_kernel, cube_bins, summed_bins
from gammagrad.core.ts_map.bins import TilePlan, from_tiles, kernel_table, to_tiles


@given(ny=st.integers(1, 20), nx=st.integers(1, 20))
def test_tiles_and_back(ny: int, nx: int) -> None:
    image = np.arange(ny * nx, dtype=float).reshape(ny, nx)
    plan = TilePlan.create((ny, nx), (3, 5))
    tiles = to_tiles(image, plan)
    assert tiles.shape == (plan.n_tiles, TILE * TILE)
    np.testing.assert_array_equal(from_tiles(tiles, plan), image)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="must be odd"):
        TilePlan.create((5, 5), (4, 5))


def test_the_table_holds_the_kernel_between_each_bin_and_pixel() -> None:
    kernel = np.random.default_rng(0).uniform(size=(2, 3, 3, 5))
    table = np.asarray(kernel_table(jnp.asarray(kernel)))
    for row, col, py, px in ((0, 0, 0, 0), (3, 4, 2, 1), (5, 7, 3, 3), (0, 0, 3, 3)):
        inside = 0 <= row - py < 3 and 0 <= col - px < 5
        expected = kernel[:, :, row - py, col - px] if inside else 0
        np.testing.assert_allclose(table[:, row, col, :, py * TILE + px], expected, rtol=1e-6)


def test_kernel_noise_is_dropped() -> None:
    kernel = jnp.asarray([[[1.0, 1e-13, -1e-3], [1e-11, 0.0, 0.5], [0.1, 0.2, 0.3]]])
    cleaned = np.asarray(clean_kernel(kernel))[0]
    assert cleaned[0].tolist() == [1.0, 0.0, 0.0]
    assert cleaned[1, 0] > 0


def model_image(images, row: int, col: int) -> np.ndarray:
    """Predict the counts of a source at a pixel, away from the edges."""
    _, _, ky, kx = images.kernel.shape
    cut = np.asarray(images.exposure)[
        :, :, row - ky // 2 : row + ky // 2 + 1, col - kx // 2 : col + kx // 2 + 1
    ]
    return (cut * np.asarray(images.kernel)).sum(axis=1)


def test_summed_images_hold_the_sum_of_the_cube() -> None:
    field = random_field(1)
    arrays = [jnp.asarray(a) for a in field]
    cube, summed = cube_bins(*arrays), summed_bins(*arrays, "counts")
    np.testing.assert_allclose(
        model_image(summed, 6, 5)[0], model_image(cube, 6, 5).sum(axis=0), rtol=1e-5
    )
    np.testing.assert_allclose(
        summed.background[0], np.nansum(field.background * field.weights, axis=0), rtol=1e-5
    )


def test_equal_weighting_averages_the_unmasked_kernels() -> None:
    field = random_field(2)
    summed = summed_bins(*(jnp.asarray(a) for a in field), "equal")
    weights = field.weights * np.isfinite(field.background)
    window = np.s_[:, 4:9, 2:9]
    mean = (field.kernel * weights[window]).sum(axis=0) / weights[window].sum(axis=0)
    expected = mean * (weights * field.exposure)[window].sum(axis=0)
    np.testing.assert_allclose(model_image(summed, 6, 5)[0], expected, rtol=1e-5)
