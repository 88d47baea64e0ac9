"""Many images at once, and the ways to run the loop: all must come to the same."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad._pytree import replace
from gammagrad.core.background import disk_structure, kernel_background
from gammagrad.core.background.mask_loop import MaskRule, Problem, run_loop, solve
from gammagrad.core.background.ring import make_scene
from gammagrad.core.images import prepare_footprint
from precision import DOUBLE
from skies import DISC, DTYPE, RING, TOL, camera, sky

N_IMAGES = 4
SHAPE = (40, 48)
NAMES = ("background", "exclusion", "significance", "niter", "converged", "kept", "period")


def every_argument():
    """Return arrays for every argument that may be one, with a leading axis of images."""
    rng = np.random.default_rng(1)
    counts = np.stack([sky(seed, level=1.0 + 3 * seed) for seed in range(N_IMAGES)])
    counts[0] = 1  # ends before the others
    exclusion = rng.random(counts.shape) < 0.99
    return {
        "counts": counts,
        "kernel_src": np.stack([DISC] * N_IMAGES) * rng.uniform(1, 2, (N_IMAGES, 1, 1)),
        "kernel_bkg": np.stack([RING] * N_IMAGES) + rng.random((N_IMAGES, 17, 17)),
        "background": np.where(rng.random(counts.shape) < 0.9, 4.0, np.nan),
        "exclusion": exclusion,
        "significance_threshold": np.array([5.0, 4.0, 3.0, 4.5]),
        "dilation_structure": np.stack([disk_structure(1)] * 3 + [np.ones((3, 3), bool)]),
        "niter_min": np.array([0, 2, 1, 5]),
        "niter_max": np.array([9, 10, 2, 6]),
        "acceptance": np.stack([camera()] * N_IMAGES) + rng.random((N_IMAGES, 1, 1)),
        "threshold_low": np.array([2.0, 3.0, 3.0, 1.5]),
    }


def same(found, expected, i):
    for name in NAMES:
        one, other = np.asarray(getattr(found, name))[i], np.asarray(getattr(expected, name))
        if one.dtype == DTYPE:
            np.testing.assert_allclose(one, other, rtol=10 * TOL, atol=10 * TOL)
        else:
            np.testing.assert_array_equal(one, other)


def call(arguments):
    return kernel_background(**arguments)


@pytest.mark.parametrize("some", [("counts",), ("kernel_bkg", "niter_max"), None])
def test_a_batch_is_a_loop(some):
    arguments = every_argument()
    names = set(some or arguments)
    batched = {k: (v if k in names else v[1]) for k, v in arguments.items()}
    axes = {k: (0 if k in names else None) for k in arguments}
    together = jax.jit(jax.vmap(call, in_axes=(axes,)))(batched)
    alone = jax.jit(call)
    for i in range(N_IMAGES):
        same(together, alone({k: (v[i] if k in names else v) for k, v in batched.items()}), i)
    assert len(set(np.asarray(together.niter).tolist())) > 1


def test_batches_of_batches():
    counts = np.stack([sky(seed) for seed in range(4)]).reshape(2, 2, *SHAPE)
    run = partial(kernel_background, kernel_src=DISC, kernel_bkg=RING, niter_min=0)
    together = jax.jit(jax.vmap(jax.vmap(run)))(counts)
    alone = jax.jit(run)
    for i in np.ndindex(2, 2):
        same(together, alone(counts[i]), i)


def problem_of(counts, **changes):
    dtype = DTYPE
    scene = make_scene(counts, jnp.asarray(DISC, dtype), jnp.asarray(RING, dtype), None, "lima")
    rule = MaskRule(jnp.asarray(3.0, dtype), None, prepare_footprint(DISC, SHAPE), grows=False)
    bounds = (jnp.int32(1), jnp.int32(20))
    return replace(Problem(scene, rule, None, None, *bounds, n_record=None), **changes)


@pytest.mark.skipif(not DOUBLE, reason="sums are made anew in single precision")
def test_updated_sums_are_new_ones():
    # many iterations, the first with many changes and the later ones with few
    for counts in (sky(3), sky(3) * 0.37, sky(3) + np.where(sky(1) > 20, 1e9, 0)):
        updated, anew = (
            jax.jit(partial(run_loop, updates=updates))(problem_of(jnp.asarray(counts)))
            for updates in (True, False)
        )
        assert int(updated.niter) > 2
        for one, other in zip(updated, anew, strict=True):
            if one is not None:
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * counts.mean())


def test_all_images_together_are_one_after_the_other():
    counts = jnp.asarray(np.stack([sky(seed, level=1.0 + seed) for seed in range(3)]))
    one_by_one = jax.jit(jax.vmap(lambda c: solve(problem_of(c))))(counts)
    together = jax.jit(jax.vmap(lambda c: run_loop(problem_of(c), updates=False)))(counts)
    for one, other in zip(one_by_one, together, strict=True):
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=10 * TOL, atol=10 * TOL)
