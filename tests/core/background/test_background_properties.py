"""What holds for the background loop on any image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammagrad.core.background import disk_structure
from precision import DOUBLE
from skies import DISC, DTYPE, RING, TOL, camera, run, sky

SEEDS = st.integers(0, 1000)
LEVELS = st.floats(0.3, 20)
GROW = disk_structure(1)
few = settings(max_examples=10)


def same(one, other, background=1.0):
    """Compare the ends of two runs, the second's background times a factor."""
    np.testing.assert_array_equal(one.exclusion, other.exclusion)
    assert int(one.niter) == int(other.niter)
    tolerance = 10 * TOL
    np.testing.assert_allclose(
        one.background, np.asarray(other.background) * background, rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(
        one.significance, other.significance, rtol=tolerance, atol=max(tolerance, 1e-6)
    )


@few
@given(seed=SEEDS, level=LEVELS, low=st.floats(1, 4), more=st.floats(0, 3))
def test_a_larger_threshold_excludes_no_more_in_one_iteration(seed, level, low, more):
    arguments = (sky(seed, level=level), DISC, RING, None, None)
    some = run(*arguments, DTYPE(low), GROW, niter_max=1).exclusion
    fewer = run(*arguments, DTYPE(low + more), GROW, niter_max=1).exclusion
    assert not np.any(some & ~fewer)


@few
@given(seed=SEEDS, level=LEVELS, low=st.floats(0.5, 5), less=st.floats(0, 3))
def test_a_smaller_second_threshold_excludes_no_less_in_one_iteration(seed, level, low, less):
    arguments = (sky(seed, level=level), DISC, RING, None, None, DTYPE(5), GROW)
    more = run(*arguments, threshold_low=DTYPE(low - less), niter_max=1).exclusion
    some = run(*arguments, threshold_low=DTYPE(low), niter_max=1).exclusion
    assert not np.any(more & ~some)


@few
@given(seed=SEEDS, threshold=st.floats(1.5, 6), above=st.floats(0, 2))
def test_a_second_threshold_not_below_the_first_is_none(seed, threshold, above):
    arguments = (sky(seed), DISC, RING, None, None, DTYPE(threshold), GROW)
    none = run(*arguments)
    for low in (DTYPE(threshold), DTYPE(threshold + above)):
        same(run(*arguments, threshold_low=low), none)


@few
@given(level=st.floats(1e-3, 1e5))
def test_constant_counts_are_background(level):
    counts = np.full((40, 48), level, DTYPE)
    result = run(counts, DISC, RING, None, None, DTYPE(0.1), GROW)
    assert np.all(result.exclusion)
    np.testing.assert_allclose(result.background, counts, rtol=TOL)
    np.testing.assert_allclose(result.significance, 0, atol=0.01)


@few
@given(level=st.floats(1e-2, 1e5))
def test_counts_like_the_acceptance_are_background(level):
    accepted = camera().astype(DTYPE)
    counts = level * accepted
    result = run(counts, DISC, RING, None, None, DTYPE(0.1), GROW, acceptance=accepted)
    assert np.all(result.exclusion)
    np.testing.assert_allclose(result.background, counts, rtol=100 * TOL)


@few
@given(seed=SEEDS, factor=st.floats(1e-3, 1e3))
def test_the_scale_of_the_acceptance_does_not_matter(seed, factor):
    accepted = camera().astype(DTYPE) + DTYPE(0.05)
    arguments = (sky(seed, acceptance=accepted), DISC, RING, None, None, DTYPE(5), GROW)
    scaled = run(*arguments, acceptance=accepted * DTYPE(factor))
    same(scaled, run(*arguments, acceptance=accepted))


@few
@given(seed=SEEDS, value=st.floats(1e-3, 1e3))
def test_a_constant_acceptance_is_none(seed, value):
    arguments = (sky(seed), DISC, RING, None, None, DTYPE(5), GROW)
    same(run(*arguments, acceptance=np.full((40, 48), value, DTYPE)), run(*arguments))


@settings(max_examples=8)
@given(seed=SEEDS, down=st.integers(-6, 6), right=st.integers(-6, 6))
def test_shifting_the_image_shifts_the_mask(seed, down, right):
    counts = np.zeros((80, 80), DTYPE)
    counts[20:60, 20:60] = sky(seed, (40, 40), 5.0, ((20, 20, 200),))
    moved = np.roll(counts, (down, right), (0, 1))
    here = run(counts, DISC, RING).exclusion
    there = run(moved, DISC, RING).exclusion
    # beyond the rings' reach of the counts there is no background at all
    np.testing.assert_array_equal(np.roll(here, (down, right), (0, 1)), there)


FLIPS = (np.flipud, np.fliplr, lambda a: np.rot90(a, 2), np.transpose, np.rot90)


@pytest.mark.skipif(not DOUBLE, reason="roundings decide single pixels of long runs")
@settings(max_examples=4)
@given(seed=SEEDS)
def test_turning_image_and_kernels_turns_the_result(seed):
    source = DISC * np.arange(1.0, 6)[None, :]
    ring = RING + np.arange(17)[:, None] * (RING > 0)
    structure = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)
    images = (sky(seed, (44, 44)), source, ring, camera((44, 44)), structure)

    def found(counts, source, ring, acceptance, structure):
        options = {"dilation_structure": structure, "acceptance": acceptance}
        return run(counts, source, ring, **options)

    plain = found(*images)
    for turn in FLIPS:
        turned = found(*(np.ascontiguousarray(turn(image)) for image in images))
        back = jax.tree.map(lambda a, turn=turn: turn(a) if np.ndim(a) == 2 else a, plain)
        same(turned, back)


@few
@given(seed=SEEDS, level=LEVELS, threshold=st.floats(0.5, 4))
def test_a_growing_mask_only_grows_and_stands_still(seed, level, threshold):
    arguments = (sky(seed, level=level), DISC, RING, None, None, DTYPE(threshold), GROW)
    result = run(*arguments, niter_max=2000, mask_update="grow", n_record=12)
    masks = np.asarray(result.history.exclusion)
    assert not np.any(masks[1:] & ~masks[:-1])
    assert bool(result.converged)
    assert int(result.period) == 0


@few
@given(seed=SEEDS, level=LEVELS, threshold=st.floats(0.5, 4), niter_max=st.integers(0, 30))
def test_how_a_run_ends_says_which_it_was(seed, level, threshold, niter_max):
    arguments = (sky(seed, level=level), DISC, RING, None, None, DTYPE(threshold), GROW)
    result = run(*arguments, niter_max=np.int32(niter_max))
    niter = int(result.niter)
    assert niter <= niter_max
    assert bool(result.converged) or niter == niter_max
    assert not (bool(result.converged) and int(result.period))
    assert np.all(np.isfinite(result.background))
    assert np.all(np.asarray(result.background) >= 0)
    if bool(result.converged):
        # one iteration more changes nothing
        on = run(*arguments[:3], result.background, result.exclusion, *arguments[5:], niter_max=1)
        np.testing.assert_array_equal(on.exclusion, result.exclusion)
        np.testing.assert_allclose(on.background, result.background, rtol=TOL, atol=TOL)


@few
@given(seed=SEEDS, source=st.floats(0.01, 100), ring=st.floats(0.01, 100))
def test_scales_of_the_kernels_do_not_matter(seed, source, ring):
    counts = sky(seed)
    scaled = run(counts, DISC * source, RING * ring, None, None, DTYPE(5), GROW)
    same(scaled, run(counts, DISC, RING, None, None, DTYPE(5), GROW))


@few
@given(seed=SEEDS, row=st.integers(0, 39), col=st.integers(0, 47), value=st.floats(0, 1e6))
def test_counts_under_an_excluded_pixel_do_not_matter(seed, row, col, value):
    keep = np.ones((40, 48), bool)
    keep[row, col] = False
    counts = sky(seed)
    other = counts.copy()
    other[row, col] = value
    first, second = (
        run(c, DISC, RING, None, keep, niter_max=0).background for c in (counts, other)
    )
    tolerance = 1e-7 if DOUBLE else 10
    np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@settings(max_examples=5)
@given(seed=SEEDS, row=st.integers(0, 39), col=st.integers(0, 47))
def test_a_pixel_that_is_not_finite_is_one_that_is_not_there(value, seed, row, col):
    counts, accepted = sky(seed), np.ones((40, 48), DTYPE)
    broken, without = counts.copy(), accepted.copy()
    broken[row, col] = value
    counts[row, col] = without[row, col] = 0
    lost = run(broken, DISC, RING, None, None, DTYPE(5), GROW, acceptance=accepted)
    absent = run(counts, DISC, RING, None, None, DTYPE(5), GROW, acceptance=without)
    np.testing.assert_array_equal(lost.exclusion, absent.exclusion)
    np.testing.assert_allclose(lost.significance, absent.significance, rtol=TOL, atol=10 * TOL)
    there = np.arange(40 * 48).reshape(40, 48) != row * 48 + col
    np.testing.assert_allclose(
        lost.background[there], absent.background[there], rtol=TOL, atol=10 * TOL
    )
    assert jnp.all(jnp.isfinite(lost.background))
