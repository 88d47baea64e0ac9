"""The physical bound against a search of every bin."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from fields import random_field
from gammagrad.core.bound import kernel_reach, local_max, steepest_ratio
from gammagrad.core.windows import cube_bins, summed_bins
from oracles import windows_at


@pytest.mark.parametrize("window", [(1, 1), (3, 5), (7, 3), (21, 21)])
def test_local_max_is_a_maximum_filter(window: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(size=(2, 12, 15)).astype(np.float32)
    expected = scipy.ndimage.maximum_filter(image, (1, *window), mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(local_max(jnp.asarray(image), window), expected)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_steepest_ratio_is_that_of_a_full_search(summed: bool, seed: int) -> None:
    field = random_field(seed)
    rng = np.random.default_rng(seed)
    field = field._replace(background=field.background * 10 ** rng.uniform(-3, 0, (3, 14, 11)))
    arrays = [jnp.asarray(a) for a in field]
    images = summed_bins(*arrays, "counts") if summed else cube_bins(*arrays)
    everywhere = np.ones((14, 11), bool)
    got = np.asarray(steepest_ratio(images, everywhere, jnp.zeros((14, 11), images.counts.dtype)))
    exposure, kernel = np.asarray(images.exposure), np.asarray(images.kernel)
    for row, col in np.ndindex(14, 11):
        cuts, _ = windows_at([*exposure, np.asarray(images.background)], kernel, row, col)
        background = cuts.pop()
        model = np.stack([(k * e).sum(axis=0) for k, e in zip(kernel, cuts, strict=True)])
        safe = np.where(background > 0, background, np.inf)
        np.testing.assert_allclose(got[row, col], (model / safe).max(), rtol=1e-5)


def test_kernel_reach_is_a_dilation_by_the_kernel() -> None:
    bins = np.zeros((2, 9, 9), bool)
    bins[0, 2, 3] = bins[1, 7, 8] = True
    kernel = np.zeros((2, 1, 3, 5))
    kernel[0, 0, 0, 4] = kernel[1, 0, 1, 2] = 1.0
    reached = np.asarray(kernel_reach(jnp.asarray(bins)[:, None], jnp.asarray(kernel)))
    assert sorted(map(tuple, np.argwhere(reached).tolist())) == [(3, 1), (7, 8)]
