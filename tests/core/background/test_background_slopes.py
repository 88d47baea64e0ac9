"""Derivatives of the background loop: those at the masks found, against differences of runs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gammagrad.core.background import disk_structure, kernel_background
from precision import DOUBLE
from skies import DISC, DTYPE, RING, annulus, camera, run, sky

SHAPE = (16, 17)
OPTIONS = ("lima", "cash")


def inputs():
    """Return counts, kernels, acceptance and a background, all of them without special values."""
    rng = np.random.default_rng(4)
    counts = sky(3, SHAPE, 6.0, ((8, 8, 600),)) + 0.3
    source = np.exp(-(np.mgrid[-1:2, -1:2] ** 2).sum(axis=0) / 2)  # a single largest value
    ring = rng.uniform(0.5, 1.5, (7, 7))
    ring[2:5, 2:5] = 0
    background = 6.0 + rng.uniform(0, 1, SHAPE)
    arrays = (counts, source, ring, camera(SHAPE) + 0.5, background)
    return tuple(jnp.asarray(x, DTYPE) for x in arrays)


@partial(jax.jit, static_argnames="significance")
def outputs(counts, source, ring, acceptance, background, niter_max, significance="lima"):
    return kernel_background(
        *(counts, source, ring, background),
        dilation_structure=disk_structure(1),
        niter_max=niter_max,
        acceptance=acceptance,
        significance=significance,
    )


def numbers(*arguments, **options):
    result = outputs(*arguments, **options)
    return result.background, result.significance


@pytest.mark.parametrize(
    ("niter_max", "significance"),
    [
        pytest.param(0, "lima", marks=pytest.mark.slow),
        pytest.param(1, "lima", marks=pytest.mark.slow),
        (10, "lima"),
        pytest.param(10, "cash", marks=pytest.mark.slow),
    ],
)
def test_slopes_are_those_at_the_final_mask(niter_max, significance):
    """Slopes of all outputs along random directions, against differences of the whole run."""
    arguments = inputs()
    options = {"niter_max": np.int32(niter_max), "significance": significance}
    mask = outputs(*arguments, **options).exclusion
    assert 4 < (~mask).sum() < 90 if niter_max else np.all(mask)
    eps, tolerance = (1e-6, 1e-6) if DOUBLE else (1e-2, 0.05)
    if significance == "cash":
        tolerance *= 10
    check_grads(
        jax.jit(partial(numbers, **options)),
        arguments,
        order=1,
        eps=eps,
        atol=tolerance,
        rtol=tolerance,
    )


def test_forward_and_reverse_slopes_agree():
    arguments = inputs()
    objective = jax.jit(lambda c, b: numbers(c, *arguments[1:4], b, niter_max=3)[1][5:9, 4].sum())
    at = (arguments[0], arguments[4])
    reverse = jax.grad(objective, argnums=(0, 1))(*at)
    rng = np.random.default_rng(0)
    along = tuple(jnp.asarray(rng.normal(size=SHAPE), DTYPE) for _ in at)
    forward = jax.jvp(objective, at, along)[1]
    sums = sum(float((slope * way).sum()) for slope, way in zip(reverse, along, strict=True))
    np.testing.assert_allclose(forward, sums, rtol=1e-9 if DOUBLE else 1e-3)


def test_slopes_of_a_batch_are_a_loop():
    counts = np.stack([sky(seed, SHAPE, 6.0, ((8, 8, 600),)) for seed in range(3)])
    rest = inputs()[1:]

    def total(counts):
        background, significance = numbers(counts, *rest, niter_max=4)
        return (background * significance).sum()

    slopes = jax.jit(jax.grad(total))
    together = jax.jit(jax.vmap(jax.grad(total)))(counts)
    summed = jax.jit(jax.grad(lambda c: jax.vmap(total)(c).sum()))(counts)
    for i, alone in enumerate(counts):
        expected = slopes(alone)
        scale = float(jnp.abs(expected).max()) * (1e-10 if DOUBLE else 1e-3)
        np.testing.assert_allclose(together[i], expected, rtol=1e-9, atol=scale)
        np.testing.assert_allclose(summed[i], expected, rtol=1e-9, atol=scale)


def test_slopes_stay_finite_where_there_is_nothing():
    counts = np.zeros((20, 20), DTYPE)
    counts[5, 5], counts[15, 15] = 3, np.nan
    far = np.zeros((9, 9), DTYPE)
    far[0, 0] = 1  # out of the image for many pixels
    accepted = np.ones_like(counts)
    accepted[:, :9] = 0

    @partial(jax.jit, static_argnames="significance")
    @partial(jax.grad, argnums=(0, 1, 2, 3, 4))
    def slopes_of(counts, source, ring, background, acceptance, significance):
        result = kernel_background(
            *(counts, source, ring, background),
            niter_max=3,
            acceptance=acceptance,
            significance=significance,
        )
        finite = jnp.isfinite(result.significance)
        return result.background.sum() + jnp.where(finite, result.significance, 0).sum()

    for significance in OPTIONS:
        for background in (np.zeros_like(counts), np.ones_like(counts)):
            for ring in (np.pad(annulus(2, 3), 1).astype(DTYPE), far):
                arguments = (counts, DISC.astype(DTYPE), ring, background, accepted)
                slopes = slopes_of(*arguments, significance)
                assert all(np.all(np.isfinite(slope)) for slope in slopes)


def test_counts_are_not_rounded():
    counts = sky()
    more = run(counts + DTYPE(0.25), DISC, RING, niter_max=0)
    less = run(counts, DISC, RING, niter_max=0)
    np.testing.assert_allclose(more.background - less.background, 0.25, rtol=1e-3)
    assert not np.any(np.asarray(more.significance) == np.asarray(less.significance))
