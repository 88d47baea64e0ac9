"""The background loop, step by step, against a slow twin; how it starts, ends and goes round."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad.core.background import disk_structure, kernel_background
from gammagrad.core.background.mask_loop import REMEMBERED, empty_memory, recognised
from precision import DOUBLE
from skies import DISC, DTYPE, RING, TOL, annulus, both, camera, close, run, sky

COUNTS = sky()
HOLES = COUNTS.copy()
HOLES[5:7, 20:29] = np.nan
HOLES[30, 3] = np.inf
KEEP = np.ones(COUNTS.shape, bool)
KEEP[10:20, 15:25] = False
LEVEL = np.full(COUNTS.shape, 4.0)
PARTLY = LEVEL.copy()
PARTLY[:12] = np.nan
ACCEPTED = sky(acceptance=camera(empty=6), level=9.0)

CASES = {
    "defaults": (COUNTS, DISC, RING, {}),
    "dilation": (
        *(COUNTS, DISC, RING),
        {"significance_threshold": 3, "dilation_structure": disk_structure(3)},
    ),
    "uneven dilation": (
        *(COUNTS, DISC, RING),
        {"significance_threshold": 4, "dilation_structure": np.array([[1, 1, 0, 0], [0, 0, 0, 1]])},
    ),
    "many values in the ring": (
        *(COUNTS, DISC, RING + np.eye(17)),
        {"significance_threshold": 4, "dilation_structure": disk_structure(1)},
    ),
    "whole rings excluded": (
        *(COUNTS, DISC, annulus(2, 4)),
        {"significance_threshold": 3, "dilation_structure": disk_structure(6)},
    ),
    "even ring": (COUNTS, DISC, np.ones((4, 6)), {"significance_threshold": 4}),
    "given start": (COUNTS, DISC, RING, {"background": LEVEL, "exclusion": KEEP}),
    "partly given start": (COUNTS, DISC, RING, {"background": PARTLY, "exclusion": KEEP}),
    "holes": (HOLES, DISC, RING, {"significance_threshold": 4, "exclusion": KEEP}),
    "acceptance": (
        *(ACCEPTED, DISC, RING),
        {"acceptance": camera(empty=6), "dilation_structure": disk_structure(1)},
    ),
    "acceptance with holes": (
        *(HOLES, DISC, annulus(2, 4)),
        {
            "acceptance": np.where(PARTLY > 0, camera(empty=6), np.nan),
            "dilation_structure": disk_structure(4),
            "significance_threshold": 3,
        },
    ),
    "two thresholds": (
        *(sky(1), DISC, RING),
        {"threshold_low": 1.5, "dilation_structure": disk_structure(1)},
    ),
    "growing": (
        *(COUNTS, DISC, RING),
        {"mask_update": "grow", "significance_threshold": 2, "exclusion": KEEP},
    ),
    "cash": (
        *(sky(0, (14, 15), 3.0, ((6, 7, 90),)), np.exp(-np.hypot(*np.mgrid[-1:2, -1:2]))),
        *(annulus(3, 5), {"significance": "cash", "significance_threshold": 3, "niter_max": 4}),
    ),
    "everything": (
        *(HOLES, np.exp(-np.hypot(*np.mgrid[-2:3, -2:3]) / 2), RING * np.arange(1.0, 18)),
        {
            "background": PARTLY,
            "exclusion": KEEP,
            "significance_threshold": 4,
            "dilation_structure": disk_structure(1),
            "acceptance": camera(empty=6) + 0.1,
            "threshold_low": 2.0,
            "mask_update": "grow",
            "niter_min": 1,
            "niter_max": 9,
        },
    ),
}


# what other cases have more of: with the long studies
PARTS = (
    *("defaults", "dilation", "even ring", "given start", "partly given start", "holes"),
    *("acceptance", "acceptance with holes", "two thresholds", "growing"),
)


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in PARTS else c for c in CASES]
)
def test_every_iteration_is_the_twins(case):
    *arguments, options = CASES[case]
    both(*arguments, n_record=10, **options)


@pytest.mark.parametrize("case", ["dilation", "everything"])
def test_without_a_record_the_end_is_the_twins(case):
    *arguments, options = CASES[case]
    both(*arguments, **options)


@pytest.mark.parametrize("niter_max", range(5))
def test_the_record_is_what_shorter_runs_end_with(niter_max):
    *arguments, options = CASES["whole rings excluded"]
    record = run(*arguments, n_record=6, **options).history
    short = run(*arguments, **options, niter_max=niter_max)
    for name in ("background", "exclusion", "significance"):
        close(getattr(record, name)[niter_max], getattr(short, name))


def test_a_record_shorter_than_the_run_keeps_its_beginning():
    *arguments, options = CASES["dilation"]
    whole, part = (run(*arguments, n_record=n, **options) for n in (10, 2))
    assert int(part.niter) == int(whole.niter) > 2
    for name in ("background", "exclusion", "significance"):
        assert len(getattr(part.history, name)) == 3
        close(getattr(part.history, name), getattr(whole.history, name)[:3])


def test_continues_from_where_it_was():
    once, loop = (run(COUNTS, DISC, RING, LEVEL, KEEP, niter_max=niter) for niter in (1, 2))
    twice = run(COUNTS, DISC, RING, once.background, once.exclusion, niter_max=1)
    for name in ("background", "exclusion", "significance"):
        close(getattr(twice, name), getattr(loop, name))


@pytest.mark.parametrize(
    ("niter_min", "niter_max", "niter", "converged"),
    [
        (2, 10, 3, True),
        (0, 10, 2, True),
        (1, 10, 2, True),
        (5, 10, 6, True),
        (12, 10, 10, False),
        (2, 1, 1, False),
        (2, 0, 0, False),
        (0, 0, 0, False),
    ],
)
def test_when_the_loop_ends(niter_min, niter_max, niter, converged):
    # the mask is right after the first iteration, and unchanged from the second on
    counts = np.full((30, 30), 42.0, DTYPE)
    counts[12, 14] = 1000
    result = run(counts, DISC, RING, niter_min=niter_min, niter_max=niter_max)
    assert (int(result.niter), bool(result.converged)) == (niter, converged)
    assert int(result.period) == 0
    excluded = np.zeros((30, 30), bool)
    if niter:
        excluded[10:15, 12:17] = DISC > 0
    np.testing.assert_array_equal(~np.asarray(result.exclusion), excluded)


# (seed, threshold, radius of the dilation): cycles of different lengths, the last two with rings
# that are wholly excluded
CYCLES = {2: (229, 3.0, 1), 4: (4, 2.0, 1), 20: (29, 2.0, 2), 42: (5, 2.0, 2)}


@pytest.mark.skipif(not DOUBLE, reason="in single precision other masks come out")
@pytest.mark.parametrize("period", CYCLES)
def test_cycles_are_found(period):
    seed, threshold, radius = CYCLES[period]
    counts = sky(seed, level=2.0, sources=((13, 16, 120), (26, 34, 50)))
    structure = np.pad(disk_structure(radius), 2 - radius)
    options = {"significance_threshold": threshold, "dilation_structure": structure}
    result = both(counts, DISC, RING, **options, niter_max=150)
    assert int(result.period) == period
    assert bool(np.any(result.kept)) == (period > 4)
    # the end of a cycle is that of walking all the way round
    for niter_max in (150, 151):
        walked = run(counts, DISC, RING, **options, niter_max=niter_max, n_record=0)
        jumped = run(counts, DISC, RING, **options, niter_max=niter_max)
        assert int(walked.niter) == int(jumped.niter) == niter_max
        np.testing.assert_array_equal(walked.exclusion, jumped.exclusion)
        close(jumped.background, walked.background)
    # a mask that can only grow stands still
    grown = run(counts, DISC, RING, **options, niter_max=150, mask_update="grow")
    assert bool(grown.converged)
    assert int(grown.period) == 0


def test_a_state_is_recognised():
    rng = np.random.default_rng(3)
    masks = rng.random((REMEMBERED + 5, 6, 7)) < 0.5
    levels = rng.random((6, 7)).astype(DTYPE)
    nothing = np.zeros((6, 7), bool)
    kept = nothing.copy()
    kept[2, 3] = True
    know = jax.jit(recognised)

    def ages(states):
        memory, found = empty_memory(), []
        for niter, state in enumerate(states, 1):
            memory, again = know(memory, np.int32(niter), *state)
            found.append(int(again))
        return found

    plain = [(mask, nothing, levels) for mask in masks]
    assert ages([*plain[:3], plain[0], plain[0]]) == [0, 0, 0, 3, 1]
    # the oldest is forgotten, the next one is not
    assert ages([*plain[:REMEMBERED], plain[0]])[-1] == REMEMBERED
    assert ages([*plain[: REMEMBERED + 1], plain[0]])[-1] == 0
    # the background belongs to the state where it is kept, and only there
    other = levels + np.where(kept, 1, 0).astype(DTYPE)
    elsewhere = levels + np.where(kept, 0, 1).astype(DTYPE)
    states = [(masks[0], kept, level) for level in (levels, other, elsewhere)]
    assert ages(states) == [0, 0, 2]
    # one pixel of the mask is enough
    flipped = masks[0].copy()
    flipped[5, 6] ^= True
    assert ages([plain[0], (flipped, nothing, levels)]) == [0, 0]


def test_an_empty_ring_keeps_the_last_background():
    background = np.full(COUNTS.shape, 7.0)
    everything, nothing = np.ones(COUNTS.shape, bool), np.zeros(COUNTS.shape, bool)
    once = run(COUNTS, DISC, RING, background, everything, -np.inf, niter_max=3)
    assert not np.any(once.exclusion)  # everything is excluded
    np.testing.assert_array_equal(once.background, background.astype(DTYPE))
    assert np.all(once.kept)
    # no background given: that without the mask
    start, plain = (run(COUNTS, DISC, RING, None, m, niter_max=0) for m in (nothing, everything))
    np.testing.assert_allclose(start.background, plain.background, rtol=TOL)


def test_a_hole_in_the_mask_stays_local():
    # larger than the ring, so that some pixels have nothing to take a mean of
    keep = np.ones(COUNTS.shape, bool)
    whole = run(COUNTS, DISC, RING, None, keep, niter_max=0)
    keep[8:32, 10:34] = False
    hole = run(COUNTS, DISC, RING, None, keep, niter_max=0)
    kept = np.asarray(hole.kept)
    # by hand: the ring around these pixels lies within the hole
    y, x = np.mgrid[: keep.shape[0], : keep.shape[1]]
    inside = np.hypot(
        np.maximum(np.abs(y - 19.5) - 11.5, 0), np.maximum(np.abs(x - 21.5) - 11.5, 0)
    )
    assert not np.any(kept & (inside > 0))
    assert np.all(kept[16:24, 18:26])
    np.testing.assert_allclose(hole.background[kept], whole.background[kept], rtol=TOL)
    # and beyond the ring's reach of the hole nothing is felt of it
    far = (
        np.hypot(np.maximum(np.abs(y - 19.5) - 11.5, 0), np.maximum(np.abs(x - 21.5) - 11.5, 0)) > 8
    )
    assert np.any(far)
    np.testing.assert_allclose(hole.background[far], whole.background[far], rtol=TOL)
    assert np.all(np.isfinite(hole.background))
    assert np.all(np.isfinite(hole.significance))


def test_two_thresholds_exclude_what_hangs_together():
    counts = sky(1)
    excluded, seeds, region = (
        ~np.asarray(
            run(counts, DISC, RING, None, None, t, threshold_low=low, niter_max=1).exclusion
        )
        for t, low in ((5.0, 1.5), (5.0, 5.0), (1.5, 1.5))
    )
    assert np.all(excluded >= seeds)
    assert np.all(region >= excluded)
    assert seeds.sum() < excluded.sum() < region.sum()


def test_other_bounds_and_thresholds_do_not_compile_again():
    traces = []

    @jax.jit
    def traced(counts, threshold, niter_min, niter_max):
        traces.append(counts)
        options = {"niter_min": niter_min, "niter_max": niter_max, "threshold_low": threshold - 1}
        return kernel_background(counts, DISC, RING, significance_threshold=threshold, **options)

    ends = [
        int(traced(COUNTS, t, lo, hi).niter)
        for t, lo, hi in ((5.0, 2, 9), (4.0, 0, 3), (3.0, 5, 7))
    ]
    assert len(traces) == 1
    assert len(set(ends)) > 1


def test_disk_structure():
    sums = [disk_structure(r).sum() for r in (0, 0.9, 1, 1.5, 2, 2.5, 5)]
    assert sums == [1, 1, 5, 9, 13, 21, 81]
    assert disk_structure(0.3 / 0.05).sum() == 109  # 5.999999999999999 does not reach the sixth
    for radius in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="radius must be"):
            disk_structure(radius)


def test_dtype_follows_the_counts():
    single = run(jnp.ones((9, 9), jnp.float32), DISC, annulus(2, 4), acceptance=np.ones((9, 9)))
    assert single.background.dtype == single.significance.dtype == jnp.float32
    assert run(jnp.ones((9, 9), int), DISC, annulus(2, 4)).background.dtype == DTYPE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_src": np.ones((4, 3))}, "odd number of rows"),
        ({"kernel_src": np.ones(3)}, "kernel_src must be a two-dim"),
        ({"counts": np.ones((2, 9, 9))}, "counts must be a two-dim"),
        ({"background": np.ones((9, 8))}, "background must have the shape of counts"),
        ({"exclusion": np.ones((9, 8))}, "exclusion must have the shape of counts"),
        ({"acceptance": np.ones(9)}, "acceptance must have the shape of counts"),
        ({"mask_update": "shrink"}, "mask_update must be one of replace, grow"),
        ({"significance": "lyman"}, "significance must be one of lima, cash"),
        ({"dilation_structure": np.ones(3)}, "structure must be a two-dim"),
    ],
)
def test_bad_input(change, words):
    arguments = {"counts": np.ones((9, 9)), "kernel_src": DISC, "kernel_bkg": annulus(2, 4)}
    with pytest.raises(ValueError, match=words):
        kernel_background(**(arguments | change))
