"""Morphology of masks against scipy.ndimage."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.core.images import flood, prepare_footprint

# few shapes: each one compiles
masks = st.builds(
    lambda shape, seed, fill: np.random.default_rng(seed).random(shape) < fill,
    st.sampled_from([(1, 1), (1, 7), (6, 2), (13, 12)]),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 0.95),
)
structures = st.builds(
    lambda shape, seed: np.random.default_rng(seed).random(shape) < 0.6,
    st.sampled_from([(1, 1), (2, 4), (3, 3), (5, 2), (1, 6)]),
    st.integers(0, 2**32 - 1),
)


def dilate(mask, structure):
    return prepare_footprint(structure, mask.shape).dilate(jnp.asarray(mask))


@given(mask=masks, structure=structures)
def test_dilation_agrees_with_scipy(mask, structure):
    if not structure.any():  # scipy calls an empty structure an error; here it has no reach
        assert not np.any(dilate(mask, structure))
        return
    np.testing.assert_array_equal(dilate(mask, structure), ndi.binary_dilation(mask, structure))


@pytest.mark.parametrize("shape", [(15, 15), (17, 17), (19, 18), (31, 31), (40, 5), (51, 52)])
def test_dilation_by_large_footprints(shape):
    y, x = (np.arange(n) - n // 2 for n in shape)
    disc = (y[:, None] / shape[0]) ** 2 + (x[None, :] / shape[1]) ** 2 < 0.25
    disc[0, -2:] = True  # no symmetry
    mask = np.random.default_rng(3).random((90, 70)) < 0.001
    np.testing.assert_array_equal(dilate(mask, disc), ndi.binary_dilation(mask, disc))


def test_dilation_in_one_batch_is_a_loop():
    stack = np.random.default_rng(5).random((6, 15, 17)) < 0.5
    grown = jax.jit(jax.vmap(lambda m: dilate(m, np.ones((3, 3)))))(stack)
    for one, grow in zip(stack, grown, strict=True):
        np.testing.assert_array_equal(grow, ndi.binary_dilation(one, np.ones((3, 3))))


@given(mask=masks, fill=st.floats(0.01, 0.5), seed=st.integers(0, 99))
def test_flood_agrees_with_scipy(mask, fill, seed):
    seeds = np.random.default_rng(seed).random(mask.shape) < fill
    structure = np.ones((3, 3))
    # seeds out of the region belong to it
    expected = ndi.binary_propagation(seeds, structure, mask | seeds)
    np.testing.assert_array_equal(flood(seeds, mask), expected)


def test_flood_follows_long_and_crooked_ways():
    y, x = np.mgrid[:150, :140]
    # a lane of one pixel up and down the image, and a long diagonal
    lane = (x % 4 == 0) | ((x % 4 == 2) & (y == np.where(x % 8 == 2, 149, 0)))
    lane |= (x % 2 == 1) & (y == np.where(x % 8 < 4, 149, 0))
    steps = (x == y) & (x < 135)
    seeds = (x == 0) & (y == 0)
    structure = np.ones((3, 3))
    for region in (lane, steps):
        expected = ndi.binary_propagation(seeds, structure, region | seeds)
        np.testing.assert_array_equal(flood(seeds, region), expected)
    assert ndi.binary_propagation(seeds, structure, lane | seeds).sum() > 1000


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: prepare_footprint(jnp.ones(3), (3, 3)), "structure must be a two-dim"),
        (lambda: flood(jnp.ones((3, 3)), jnp.ones((3, 4))), "must have one shape"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
