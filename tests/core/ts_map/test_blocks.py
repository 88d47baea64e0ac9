"""Sums over the windows of a block, and its physical bound, against a search of every bin."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from fields import random_field
from gammagrad.core.ts_map import BinImages, cube_bins, summed_bins
from gammagrad.core.ts_map.blocks import block_kernel, block_sums
from gammagrad.core.ts_map.physical_bound import _FEW, BlockImages, local_max
from gammagrad.core.ts_map.whole_map import whole_map
from oracles import windows_at

SHAPE = (14, 11)


@pytest.mark.parametrize("window", [(1, 1), (3, 5), (7, 3), (11, 11)])
def test_local_max_is_a_maximum_filter(window: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(size=(2, 12, 15)).astype(np.float32)
    expected = scipy.ndimage.maximum_filter(image, (1, *window))
    inside = tuple(slice(w // 2, n - w // 2) for w, n in zip(window, image.shape[1:], strict=True))
    np.testing.assert_array_equal(
        local_max(jnp.asarray(image), window), expected[:, inside[0], inside[1]]
    )


@pytest.mark.parametrize("components", [1, 3])
def test_pixels_that_can_still_rise_go_on_alone(components: int) -> None:
    # a flat field, and some bins with next to no background: around them all offsets count
    side, width = 72, 9
    rng = np.random.default_rng(4)
    shape = (side + width - 1, side + width - 1)
    background = rng.uniform(1.0, 1.1, (1, *shape))
    background[0, rng.integers(0, 80, 6), rng.integers(0, 80, 6)] = 1e-3
    exposure = rng.uniform(0.9, 1.0, (1, components, *shape))
    y, x = np.mgrid[-4:5, -4:5]
    widths = np.linspace(2.0, 3.0, components)[None, :, None, None]
    kernel = np.exp(-(x**2 + y**2) / (2 * widths**2))
    ratio = exposure / background[:, None]
    expected = np.zeros((side, side))
    for row, col in np.ndindex(width, width):
        there = ratio[0, :, row : row + side, col : col + side]
        expected = np.maximum(expected, np.einsum("c,cyx->yx", kernel[0, :, row, col], there))
    # more pixels than go on alone, of which few see such a bin
    assert side**2 > 4 * _FEW
    assert (expected > 5).sum() < _FEW
    dtype = jnp.zeros(()).dtype
    arrays = (jnp.asarray(a, dtype) for a in (np.zeros_like(background), background, exposure))
    ready = block_kernel(kernel.astype(dtype), side=side)
    every, none = jnp.ones((side, side), bool), jnp.zeros((side, side), dtype)
    found = block_sums(BlockImages(*arrays), ready, every, none)["steepest"]
    np.testing.assert_allclose(found, expected, rtol=1e-12 if dtype == np.float64 else 1e-5)


def sums_of(images: BinImages) -> dict[str, np.ndarray]:
    """Return the sums of a small map, as one block."""
    (ky, kx), side = images.kernel.shape[-2:], 16
    ny, nx = images.counts.shape[-2:]
    more = ((ky // 2, side - ny + ky // 2), (kx // 2, side - nx + kx // 2))
    block = BlockImages(
        *(
            np.pad(a, [(0, 0)] * (np.ndim(a) - 2) + list(more))
            for a in (images.counts, images.background, images.exposure)
        )
    )
    kernel = block_kernel(jnp.asarray(images.kernel), side=side)
    zero = jnp.zeros((side, side), images.counts.dtype)
    found = block_sums(block, kernel, jnp.ones((side, side), bool), zero)
    return {name: np.asarray(a)[..., :ny, :nx] for name, a in found.items() if a.ndim}


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sums_are_those_of_a_full_search(summed: bool, seed: int, rtol: float) -> None:
    field = random_field(seed)
    rng = np.random.default_rng(seed)
    field = field._replace(background=field.background * 10 ** rng.uniform(-3, 0, (3, *SHAPE)))
    arrays = [jnp.asarray(a) for a in field]
    images = summed_bins(*arrays, "counts") if summed else cube_bins(*arrays)
    found = sums_of(images)
    exposure, kernel = np.asarray(images.exposure), np.asarray(images.kernel)
    for row, col in np.ndindex(*SHAPE):
        cuts, _ = windows_at([*exposure, np.asarray(images.background)], kernel, row, col)
        background = cuts.pop()
        model = np.stack([(k * e).sum(axis=0) for k, e in zip(kernel, cuts, strict=True)])
        safe = np.where(background > 0, background, np.inf)
        np.testing.assert_allclose(found["steepest"][row, col], (model / safe).max(), rtol=1e-5)
        np.testing.assert_allclose(
            found["background_sum"][row, col], background.sum(), rtol=10 * rtol
        )
        scale = np.abs(found["model_sum"]).max()
        np.testing.assert_allclose(
            found["model_sum"][row, col], model.sum(), rtol=rtol, atol=rtol * scale
        )


def test_bins_without_background_reach_as_far_as_the_kernel() -> None:
    background, counts = np.ones((2, 9, 9)), np.zeros((2, 9, 9))
    background[0, 2, 3] = background[1, 7, 8] = 0.0
    counts[1, 7, 8] = 1.0
    kernel = np.zeros((2, 1, 3, 5))
    kernel[0, 0, 0, 4] = kernel[1, 0, 1, 2] = 1.0
    images = BinImages(
        counts=counts, background=background, exposure=np.ones((2, 1, 9, 9)), kernel=kernel
    )
    whole = whole_map([images], np.ones((9, 9), bool))
    # of a bound, what background there is says -1
    assert sorted(map(tuple, np.argwhere(whole.bound == 0).tolist())) == [(3, 1), (7, 8)]
    assert np.argwhere(whole.counts_on_zero).tolist() == [[7, 8]]


@pytest.mark.parametrize("shape", [(33, 40), (70, 200), (130, 65)])
def test_a_map_of_several_blocks_is_the_same_as_one(shape: tuple[int, int], rtol: float) -> None:
    """Sums at a place depend on the bins around it, not on where a block begins."""
    rng = np.random.default_rng(3)
    background = rng.uniform(0.1, 2.0, (2, *shape))
    counts = rng.poisson(background).astype(float)
    exposure = rng.uniform(1.0, 20.0, (2, 1, *shape))
    y, x = np.mgrid[-4:5, -4:5]
    kernel = np.broadcast_to(np.exp(-(x**2 + y**2) / 6), (2, 1, 9, 9)).copy()
    dtype = jnp.zeros(()).dtype
    images = BinImages(
        *(jnp.asarray(a.astype(dtype)) for a in (counts, background, exposure, kernel))
    )
    whole = whole_map([images], np.ones(shape, bool))
    wanted = sum(
        scipy.ndimage.correlate(e[0], k[0], mode="constant")
        for e, k in zip(exposure, kernel, strict=True)
    )
    np.testing.assert_allclose(whole.model_sum, wanted, rtol=10 * rtol)
    box = scipy.ndimage.uniform_filter(background.sum(axis=0), 9, mode="constant") * 81
    np.testing.assert_allclose(whole.background_sum, box, rtol=10 * rtol)
    ratio = np.max(exposure[:, 0] / background, axis=0)
    # no kernel value exceeds 1
    steepest = scipy.ndimage.maximum_filter(ratio, 9, mode="constant")
    assert np.all(-1 / whole.bound <= steepest * (1 + rtol))
    at = shape[0] // 2, shape[1] // 2
    rows, cols = slice(at[0] - 4, at[0] + 5), slice(at[1] - 4, at[1] + 5)
    steepest = (kernel[:, 0] * exposure[:, 0, rows, cols] / background[:, rows, cols]).max()
    np.testing.assert_allclose(whole.bound[at], -1 / steepest, rtol=10 * rtol)
