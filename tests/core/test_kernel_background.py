"""The background loop against a slow twin in scipy, stored results, and finite differences."""

from __future__ import annotations

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage as ndi
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from gammagrad.core.kernel_background import disk_structure, kernel_background

DOUBLE = jnp.zeros(()).dtype == jnp.float64
DTYPE = np.float64 if DOUBLE else np.float32
TOL = 1e-9 if DOUBLE else 2e-3
run = jax.jit(kernel_background)


def smooth(image, kernel):
    """Convolve without an FFT: whole numbers stay exact and zeros stay zero."""
    (ny, nx), (ky, kx) = image.shape, kernel.shape
    full = scipy.signal.convolve2d(image, kernel)
    return full[(ky - 1) // 2 :, (kx - 1) // 2 :][:ny, :nx]


def significance(counts, background, kernel):
    n, mu = smooth(counts, kernel / kernel.max()), smooth(background, kernel / kernel.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = 2 * (np.where(n > 0, n * np.log(n / mu), 0) - n + mu)
    return np.sign(n - mu) * np.sqrt(np.maximum(deviance, 0))


def ring_mean(counts, keep, kernel, otherwise):
    weight = smooth(keep.astype(float), kernel)
    empty = smooth(keep.astype(int), (kernel > 0).astype(int)) == 0
    mean = smooth(np.where(keep, counts, 0), kernel) / np.where(empty, 1, weight)
    return np.where(empty, otherwise, mean)


def twin(counts, source, ring, keep=None, threshold=5, structure=None, niter_min=2, niter_max=10):
    """Run the documented algorithm step by step; return the result of every iteration."""
    structure = np.ones((1, 1)) if structure is None else structure
    everywhere = np.ones(counts.shape, bool)
    keep = everywhere if keep is None else keep
    plain = ring_mean(counts, everywhere, ring, counts.mean())
    background = ring_mean(counts, keep, ring, plain)
    records = [(background, keep, significance(counts, background, source))]
    for idx in range(niter_max):
        found = significance(counts, background, source)
        new = ndi.binary_erosion(~(found >= threshold), structure, border_value=1)
        background = ring_mean(counts, new, ring, background)
        records.append((background, new, found))
        if np.array_equal(new, keep) and idx >= niter_min:
            break
        keep = new
    return records


def annulus(inner, outer):
    reach = int(outer)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    r = np.hypot(x, y)
    return ((r >= inner) & (r <= outer)).astype(float)


def field(seed=0, shape=(48, 60), level=4.0, sources=((15, 20, 150), (30, 44, 60))):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mean = np.full(shape, level)
    for row, col, total in sources:
        mean += total * np.exp(-((y - row) ** 2 + (x - col) ** 2) / 8) / (8 * np.pi)
    return rng.poisson(mean).astype(DTYPE)


DISC = disk_structure(2).astype(float)
RING = annulus(5, 8)


@pytest.mark.parametrize(
    ("threshold", "structure", "ring"),
    [
        (5, None, RING),
        (4, disk_structure(1), RING),
        (3, disk_structure(3), RING),
        (4, disk_structure(1), annulus(5, 8) + np.eye(17)),
        (3, disk_structure(6), annulus(2, 4)),  # rings are wholly excluded
        (4, disk_structure(1), np.ones((4, 6))),
    ],
)
def test_every_iteration_is_the_twins(threshold, structure, ring):
    counts = field()
    records = twin(counts, DISC, ring, threshold=threshold, structure=structure, niter_max=8)
    for niter, (background, keep, found) in enumerate(records):
        result = run(
            counts,
            DISC,
            ring,
            significance_threshold=threshold,
            dilation_structure=structure,
            niter_max=niter,
        )
        assert int(result.niter) == niter
        np.testing.assert_array_equal(result.exclusion, keep)
        np.testing.assert_allclose(result.background, background, rtol=TOL, atol=TOL)
        # the twin's root of a difference loses half of its digits at zero
        np.testing.assert_allclose(result.significance, found, rtol=TOL, atol=max(TOL, 1e-6))
    result = run(
        counts,
        DISC,
        ring,
        significance_threshold=threshold,
        dilation_structure=structure,
        niter_max=8,
    )
    assert int(result.niter) == len(records) - 1


def test_starts_from_a_given_background_and_mask():
    counts, (keep, level) = field(), (np.ones((48, 60), bool), 4.0)
    keep[10:20, 15:25] = False
    background = np.full(counts.shape, level)
    start = run(counts, DISC, RING, background, keep, niter_max=0)
    np.testing.assert_array_equal(start.background, background.astype(DTYPE))
    np.testing.assert_array_equal(start.exclusion, keep)
    expected = significance(counts, background, DISC)
    np.testing.assert_allclose(start.significance, expected, rtol=TOL, atol=max(TOL, 1e-6))
    once = run(counts, DISC, RING, background, keep, niter_max=1)
    np.testing.assert_array_equal(once.exclusion, expected < 5)
    np.testing.assert_allclose(once.significance, expected, rtol=TOL, atol=max(TOL, 1e-6))
    # continued from there it is the loop itself
    twice = run(counts, DISC, RING, once.background, once.exclusion, niter_max=1)
    loop = run(counts, DISC, RING, background, keep, niter_max=2)
    np.testing.assert_array_equal(twice.exclusion, loop.exclusion)
    np.testing.assert_allclose(twice.background, loop.background, rtol=TOL)
    np.testing.assert_allclose(twice.significance, loop.significance, rtol=TOL, atol=TOL)


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
    excluded = np.zeros((30, 30), bool)
    if niter:
        excluded[10:15, 12:17] = DISC > 0
    np.testing.assert_array_equal(~np.asarray(result.exclusion), excluded)


def test_other_bounds_and_thresholds_do_not_compile_again():
    traces = []

    @jax.jit
    def traced(counts, threshold, niter_min, niter_max):
        traces.append(counts)
        return kernel_background(
            counts,
            DISC,
            RING,
            significance_threshold=threshold,
            niter_min=niter_min,
            niter_max=niter_max,
        )

    ends = [
        int(traced(field(), t, lo, hi).niter) for t, lo, hi in ((5, 2, 9), (4, 0, 3), (3, 5, 7))
    ]
    assert len(traces) == 1
    assert len(set(ends)) > 1


def test_a_batch_is_a_loop():
    stack = np.stack([field(seed, level=level) for seed, level in enumerate((1.0, 4.0, 9.0))])
    stack[0] = 1  # ends before the others
    together = jax.jit(jax.vmap(lambda c: kernel_background(c, DISC, RING, niter_min=0)))(stack)
    assert len(set(np.asarray(together.niter).tolist())) > 1
    for i, counts in enumerate(stack):
        alone = run(counts, DISC, RING, niter_min=0)
        assert int(alone.niter) == int(together.niter[i])
        assert bool(alone.converged) == bool(together.converged[i])
        np.testing.assert_array_equal(together.exclusion[i], alone.exclusion)
        np.testing.assert_allclose(together.background[i], alone.background, rtol=TOL, atol=TOL)
        np.testing.assert_allclose(together.significance[i], alone.significance, atol=10 * TOL)


@jax.jit
def grown(counts, source, ring, niter_max):
    return kernel_background(
        counts, source, ring, dilation_structure=disk_structure(1), niter_max=niter_max
    )


@pytest.mark.parametrize("niter_max", [0, 1, 10])
def test_gradients_are_those_at_the_final_mask(niter_max):
    """Slopes of all outputs along random directions, against differences of the whole run."""
    rng = np.random.default_rng(4)
    counts = field(3, (16, 17), 6.0, ((8, 8, 600),)) + 0.3
    source = np.exp(-(np.mgrid[-1:2, -1:2] ** 2).sum(axis=0) / 2)  # a single largest value
    ring = rng.uniform(0.5, 1.5, (7, 7))
    ring[2:5, 2:5] = 0
    arguments = tuple(jnp.asarray(x, DTYPE) for x in (counts, source, ring))

    def outputs(*arguments):
        result = grown(*arguments, niter_max)
        return result.background, result.significance

    mask = grown(*arguments, niter_max).exclusion
    assert 9 < (~mask).sum() < 80 if niter_max else np.all(mask)
    eps, tolerance = (1e-6, 1e-6) if DOUBLE else (1e-2, 0.05)
    check_grads(outputs, arguments, order=1, eps=eps, atol=tolerance, rtol=tolerance)


def test_gradients_stay_finite_where_there_is_nothing():
    counts = np.zeros((20, 20), DTYPE)
    counts[5, 5], counts[15, 15] = 3, np.nan
    far = np.zeros((9, 9), DTYPE)
    far[0, 0] = 1  # out of the image for many pixels

    @jax.jit
    @partial(jax.grad, argnums=(0, 1, 2, 3))
    def slopes_of(counts, source, ring, background):
        result = kernel_background(counts, source, ring, background, niter_max=3)
        finite = jnp.isfinite(result.significance)
        return result.background.sum() + jnp.where(finite, result.significance, 0).sum()

    for background in (np.zeros_like(counts), np.ones_like(counts)):
        for ring in (RING.astype(DTYPE), far):
            slopes = slopes_of(counts, DISC.astype(DTYPE), ring, background)
            assert all(np.all(np.isfinite(slope)) for slope in slopes)


def test_an_empty_ring_keeps_the_last_background():
    counts, background = field(), np.full((48, 60), 7.0)
    once = run(counts, DISC, RING, background, significance_threshold=-np.inf, niter_max=3)
    assert not np.any(once.exclusion)  # everything is excluded
    np.testing.assert_array_equal(once.background, background.astype(DTYPE))
    # no background given: that without the mask
    start = run(counts, DISC, RING, None, np.zeros(counts.shape, bool), niter_max=0)
    np.testing.assert_allclose(start.background, run(counts, DISC, RING, niter_max=0).background)
    # a large hole in the mask changes nothing beyond the ring's reach
    keep = np.ones(counts.shape, bool)
    keep[20:44, 10:34] = False
    hole = run(counts, DISC, RING, background, keep, niter_max=1)
    assert np.all(np.isfinite(hole.background))


def test_pixels_that_are_not_finite_have_no_weight():
    counts = field()
    broken = counts.copy()
    broken[15, 21] = np.nan
    result = run(broken, DISC, RING)
    assert np.all(np.isfinite(result.background))
    assert np.all(np.isfinite(result.significance))
    # by hand: the pixel counts neither in the ring nor under the source kernel
    seen = np.isfinite(broken)
    clean = np.where(seen, broken, 0)
    keep = np.asarray(result.exclusion)
    expected = ring_mean(clean, keep & seen, RING, np.nan)
    np.testing.assert_allclose(result.background, expected, rtol=TOL)
    expected = significance(clean, expected * seen, DISC)
    np.testing.assert_allclose(result.significance, expected, rtol=TOL, atol=10 * TOL)
    partial = np.full(counts.shape, 4.0)
    partial[3:9] = np.nan
    start = run(counts, DISC, RING, partial, niter_max=0).background
    own = run(counts, DISC, RING, niter_max=0).background
    np.testing.assert_allclose(start[3:9], own[3:9])
    np.testing.assert_allclose(start[9:], 4)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), low=st.floats(2, 4), more=st.floats(0, 3))
def test_a_larger_threshold_excludes_no_more_in_one_iteration(seed, low, more):
    arguments = (field(seed), DISC, RING, None, None)
    some = run(*arguments, DTYPE(low), disk_structure(1), niter_max=1).exclusion
    fewer = run(*arguments, DTYPE(low + more), disk_structure(1), niter_max=1).exclusion
    assert not np.any(some & ~fewer)


@settings(max_examples=10)
@given(level=st.floats(1e-3, 1e5))
def test_constant_counts_are_background(level):
    counts = np.full((30, 33), level, DTYPE)
    result = run(counts, DISC, RING, significance_threshold=DTYPE(0.1))
    assert np.all(result.exclusion)
    np.testing.assert_allclose(result.background, counts, rtol=TOL)
    np.testing.assert_allclose(result.significance, 0, atol=0.01)


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), down=st.integers(-6, 6), right=st.integers(-6, 6))
def test_shifting_the_image_shifts_the_mask(seed, down, right):
    counts = np.zeros((80, 80), DTYPE)
    counts[20:60, 20:60] = field(seed, (40, 40), 5.0, ((20, 20, 200),))
    moved = np.roll(counts, (down, right), (0, 1))
    here = run(counts, DISC, RING).exclusion
    there = run(moved, DISC, RING).exclusion
    # beyond the rings' reach of the counts there is no background at all
    np.testing.assert_array_equal(np.roll(here, (down, right), (0, 1)), there)


def test_scales_of_the_kernels_do_not_matter():
    plain = run(field(), DISC, RING)
    scaled = run(field(), DISC / 13, RING * 7)
    np.testing.assert_array_equal(plain.exclusion, scaled.exclusion)
    np.testing.assert_allclose(plain.background, scaled.background, rtol=TOL)
    np.testing.assert_allclose(plain.significance, scaled.significance, rtol=TOL, atol=TOL)


def test_disk_structure():
    assert [disk_structure(r).sum() for r in (0, 0.9, 1, 1.5, 2, 2.5, 5)] == [
        1,
        1,
        5,
        9,
        13,
        21,
        81,
    ]
    assert disk_structure(0.3 / 0.05).sum() == 109  # 5.999999999999999 does not reach the sixth
    for radius in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="radius must be"):
            disk_structure(radius)


def test_dtype_follows_the_counts():
    assert run(jnp.ones((9, 9), jnp.float32), DISC, annulus(2, 4)).background.dtype == jnp.float32
    assert run(jnp.ones((9, 9), int), DISC, annulus(2, 4)).background.dtype == DTYPE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_src": np.ones((4, 3))}, "odd number of rows"),
        ({"kernel_src": np.ones(3)}, "kernel_src must be a two-dim"),
        ({"counts": np.ones((2, 9, 9))}, "counts must be a two-dim"),
        ({"background": np.ones((9, 8))}, "background must have the shape of counts"),
        ({"exclusion": np.ones((9, 8))}, "exclusion must have the shape of counts"),
    ],
)
def test_bad_input(change, words):
    arguments = {"counts": np.ones((9, 9)), "kernel_src": DISC, "kernel_bkg": annulus(2, 4)}
    with pytest.raises(ValueError, match=words):
        kernel_background(**(arguments | change))


# ---------------------------------------------------------------- stored results

# the sequence of masks without the rounding noise of an empty ring's 0 / 0
CLEAN = [
    *("fermi_given_bkg", "fermi_t3_d0.1", "fermi_t5_d0.05", "hess-crab_t3_d0.1"),
    *("hess-crab_t4_d0.05_bkg", "hess-crab_t4_d0.05_given", "hess-crab_t4_d0.3"),
    *("hess-crab_t5_d0.02", "poisson_given", "poisson_t3_d0.1", "poisson_t5_d0.02", "seed"),
    *("seed_0_10", "seed_dil3", "seed_max0", "seed_max1", "seed_min12max10", "unit_evenbkg"),
    *("unit_run", "unit_run_without_defaults"),
]
# the same up to the first mask that excludes a whole ring
CLEAN_UNTIL = {"fermi_smallring": 1, "fermi_t4_d0.3": 3, "poisson_t4_d0.3": 1}

needs_float64 = pytest.mark.skipif(not DOUBLE, reason="stored results are in float64")


class Stored:
    """One stored case: its input, settings and the record of its iterations."""

    def __init__(self, folder, case):
        self.info = json.loads((folder / f"{case}.json").read_text())
        self.arrays = np.load(folder / f"{case}.npz")
        inputs = np.load(folder / f"inputs_{self.info['image']}.npz")
        self.counts = inputs["counts"]
        self.start = {name: inputs[name] for name in self.info["given"]}
        self.record = self.info["variants"]["strict_float64_fft"]

    def run(self, **bounds):
        return run(
            self.counts,
            self.arrays["kernel_src"],
            self.arrays["kernel_bkg"],
            dilation_structure=self.arrays["structure"],
            significance_threshold=float(self.info["significance_threshold"]),
            **self.start,
            **bounds,
        )

    def get(self, niter, name, variant="strict"):
        key = f"{variant}_float64_fft__{niter}__{name}"
        return self.arrays[key] if key in self.arrays.files else None

    def compare(self, niter, variant="strict"):
        """Hold the state after some iterations to what is stored of it."""
        result = self.run(niter_min=100, niter_max=niter)
        mask = self.get(niter, "exclusion", variant)
        if mask is not None:
            np.testing.assert_array_equal(result.exclusion, mask, err_msg=f"iteration {niter}")
        # stored ones that came from nothing were made in single precision
        tolerance = 1e-9 if niter else 1e-6
        background = self.get(niter, "background", variant)
        if background is not None:
            np.testing.assert_allclose(result.background, background, rtol=tolerance, atol=1e-12)
        found = self.get(niter, "significance", variant)
        if found is not None:
            # stored ones lose half of their digits where counts agree with the background, and are
            # not a number where that turns a root negative, or without counts
            finite = np.isfinite(found)
            ours = np.asarray(result.significance)
            assert np.all(np.isfinite(ours))
            np.testing.assert_allclose(ours[finite], found[finite], atol=1e-5)
        return result


@needs_float64
@pytest.mark.data
@pytest.mark.parametrize("case", CLEAN)
def test_stored_sequence(reference_dir, case):
    stored = Stored(reference_dir / "kbe", case)
    excluded = stored.record["n_excluded"]
    for niter in sorted({*range(min(len(excluded), 12)), len(excluded) - 1}):
        result = stored.compare(niter)
        assert int((~result.exclusion).sum()) == excluded[niter]
    for niter in (0, 1):
        stored.compare(niter, "v012")
    last = stored.run(niter_min=stored.info["niter_min"], niter_max=40)
    assert int(last.niter) == stored.record["niter"]
    assert bool(last.converged) == stored.record["converged_strict"][-1]


@needs_float64
@pytest.mark.data
@pytest.mark.parametrize("case", CLEAN_UNTIL)
def test_stored_sequence_until_a_ring_is_empty(reference_dir, case):
    stored = Stored(reference_dir / "kbe", case)
    for niter in range(CLEAN_UNTIL[case] + 1):
        stored.compare(niter)
    stored.compare(1, "v012")
    # from there on the stored masks jump back to nothing; here they go on from where they were
    after = stored.run(niter_min=100, niter_max=CLEAN_UNTIL[case] + 1)
    assert stored.record["n_excluded"][CLEAN_UNTIL[case] + 1] == 0
    assert int((~after.exclusion).sum()) > stored.record["n_excluded"][CLEAN_UNTIL[case]]
    assert np.all(np.isfinite(after.background))
    assert np.all(after.background >= 0)


@needs_float64
@pytest.mark.data
@pytest.mark.parametrize("case", ["poisson_allexcluded", "poisson_bighole"])
def test_stored_start_with_empty_rings_ends_the_same(reference_dir, case):
    stored = Stored(reference_dir / "kbe", case)
    stored.start["exclusion"] = stored.get(0, "exclusion")
    # the noise of an empty ring costs the stored run one iteration, in which it forgets the mask
    result = stored.run(niter_max=40)
    assert int(result.niter) == stored.record["niter"] - 1
    last = stored.record["niter"]
    np.testing.assert_array_equal(result.exclusion, stored.get(last, "exclusion"))
    np.testing.assert_allclose(result.background, stored.get(last, "background"), rtol=1e-9)
    np.testing.assert_allclose(result.significance, stored.get(last, "significance"), atol=1e-5)
