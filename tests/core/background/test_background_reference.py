"""The background loop on stored images, against what other code made of them step by step."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from oracles import slow_kernel_background
from precision import DOUBLE
from skies import compare, run

pytestmark = [
    # the estimator's own tests look at every case, too
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.skipif(not DOUBLE, reason="stored results are in float64"),
]

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
# cycles that are no noise: their lengths, and the iteration after which they are closed
CYCLES = {"fermi_t5_d0.05": (2, 10), "hess-crab_t3_d0.1": (4, 26)}

N_RECORD = 12


class Stored:
    """One stored case: its input, settings and the record of its iterations."""

    def __init__(self, folder, case):
        self.info = json.loads((folder / f"{case}.json").read_text())
        self.arrays = np.load(folder / f"{case}.npz")
        inputs = np.load(folder / f"inputs_{self.info['image']}.npz")
        self.counts = inputs["counts"]
        self.start = {name: inputs[name] for name in self.info["given"]}
        self.record = self.info["variants"]["strict_float64_fft"]

    def arguments(self):
        return {
            "counts": self.counts.astype(float),
            "source": self.arrays["kernel_src"],
            "ring": self.arrays["kernel_bkg"],
            "dilation_structure": self.arrays["structure"],
            "significance_threshold": float(self.info["significance_threshold"]),
            **self.start,
        }

    def run(self, **bounds):
        options = self.arguments()
        kernels = (options.pop("counts"), options.pop("source"), options.pop("ring"))
        return run(*kernels, **options, **bounds)

    def twin(self, **bounds):
        return slow_kernel_background(**self.arguments(), **bounds)

    def get(self, niter, name, variant="strict"):
        key = f"{variant}_float64_fft__{niter}__{name}"
        return self.arrays[key] if key in self.arrays.files else None

    def compare(self, history, niter, variant="strict", at=None):
        """Hold the state after some iterations to what is stored of it."""
        at = niter if at is None else at
        mask = self.get(niter, "exclusion", variant)
        if mask is not None:
            message = f"iteration {niter}"
            np.testing.assert_array_equal(history.exclusion[at], mask, err_msg=message)
        # stored ones that came from nothing were made in single precision
        tolerance = 1e-9 if niter else 1e-6
        background = self.get(niter, "background", variant)
        if background is not None:
            np.testing.assert_allclose(
                history.background[at], background, rtol=tolerance, atol=1e-12
            )
        found = self.get(niter, "significance", variant)
        if found is not None:
            # stored ones lose half of their digits where counts agree with the background, and are
            # not a number where that turns a root negative, or without counts
            finite = np.isfinite(found)
            ours = np.asarray(history.significance[at])
            assert np.all(np.isfinite(ours))
            np.testing.assert_allclose(ours[finite], found[finite], atol=1e-5)


@pytest.mark.parametrize("case", CLEAN)
def test_stored_sequence(reference_dir, case):
    stored = Stored(reference_dir / "kbe", case)
    excluded = stored.record["n_excluded"]
    result = stored.run(niter_min=100, niter_max=len(excluded) - 1, n_record=N_RECORD)
    for niter in range(min(len(excluded), N_RECORD + 1)):
        stored.compare(result.history, niter)
        assert int((~result.history.exclusion[niter]).sum()) == excluded[niter]
    for niter in (0, 1):
        if niter < len(excluded):
            stored.compare(result.history, niter, "v012")
    assert int((~result.exclusion).sum()) == excluded[-1]
    last = stored.run(niter_min=stored.info["niter_min"], niter_max=40)
    assert int(last.niter) == stored.record["niter"]
    assert bool(last.converged) == stored.record["converged_strict"][-1]
    assert int(last.period) == CYCLES.get(case, (0, 0))[0]


@pytest.mark.parametrize("case", CYCLES)
def test_stored_cycles_are_found_once_they_are_closed(reference_dir, case):
    stored = Stored(reference_dir / "kbe", case)
    period, closed = CYCLES[case]
    excluded = stored.record["n_excluded"]
    # equal numbers of pixels are equal masks here, but for two in a row
    assert excluded[closed - period + 1 : closed + 1] == excluded[closed + 1 : closed + period + 1]
    assert int(stored.run(niter_max=closed - 1).period) == 0
    for niter_max in (closed, closed + 1, 40, 100_001):
        result = stored.run(niter_max=niter_max)
        assert (int(result.period), int(result.niter)) == (period, niter_max)
        same = closed + (niter_max - closed) % period
        assert int((~result.exclusion).sum()) == excluded[same]


@pytest.mark.parametrize("case", CLEAN_UNTIL)
def test_stored_sequence_until_a_ring_is_empty(reference_dir, case):
    stored = Stored(reference_dir / "kbe", case)
    until = CLEAN_UNTIL[case]
    history = stored.run(niter_max=until + 1, n_record=until + 1).history
    for niter in range(until + 1):
        stored.compare(history, niter)
    stored.compare(history, 1, "v012")
    # from there on the stored masks jump back to nothing; here they go on from where they were
    assert stored.record["n_excluded"][until + 1] == 0
    n_excluded = int((~history.exclusion[until + 1]).sum())
    assert n_excluded > stored.record["n_excluded"][until]
    assert np.all(np.isfinite(history.background))
    assert np.all(history.background >= 0)


@pytest.mark.parametrize("case", CLEAN_UNTIL)
def test_from_an_empty_ring_on_the_twin_tells(reference_dir, case):
    stored = Stored(reference_dir / "kbe", case)
    niter_max = CLEAN_UNTIL[case] + 3
    compare(stored.twin(niter_max=niter_max), stored.run(niter_max=niter_max, n_record=niter_max))


@pytest.mark.parametrize("case", ["poisson_allexcluded", "poisson_bighole"])
def test_stored_start_with_empty_rings_ends_the_same(reference_dir, case):
    # Where nothing is kept under a ring there is no mean of it. The stored start has the noise of
    # 0 / 0 there. The right one is the best that is known of the background without the mask, the
    # mean under the whole ring; that is what all starts from, if no mask is given.
    stored = Stored(reference_dir / "kbe", case)
    hole = stored.get(0, "exclusion")
    stored.start["exclusion"] = hole
    result = stored.run(niter_max=40, n_record=10)
    compare(stored.twin(niter_max=40), result)
    stored.start["exclusion"] = np.ones_like(hole)
    whole = stored.run(niter_max=0)
    first = np.asarray(result.history.background[0])
    empty = ~binary_dilation(hole, stored.arrays["kernel_bkg"] > 0)
    assert np.any(empty)
    np.testing.assert_allclose(first[empty], whole.background[empty], rtol=1e-9)
    # beyond the reach of the ring nothing is felt of the hole
    far = ~binary_dilation(~hole, stored.arrays["kernel_bkg"] > 0)
    np.testing.assert_allclose(first[far], whole.background[far], rtol=1e-9)
    # the noise costs the stored run one iteration, in which it forgets the mask; its end is right
    assert int(result.niter) == stored.record["niter"] - 1
    last = stored.record["niter"]
    np.testing.assert_array_equal(result.exclusion, stored.get(last, "exclusion"))
    np.testing.assert_allclose(result.background, stored.get(last, "background"), rtol=1e-9)
    np.testing.assert_allclose(result.significance, stored.get(last, "significance"), atol=1e-5)


def test_one_pixel_that_is_not_a_number(reference_dir):
    # In the stored run it makes all of the background NaN, and nothing is ever excluded. Right is
    # to leave it out: it counts neither in the ring nor under the source kernel, as in the twin.
    stored = Stored(reference_dir / "kbe", "poisson_nan_counts")
    lost = ~np.isfinite(stored.counts)
    if not lost.any():
        lost[100, 100] = True
        stored.counts = np.where(lost, np.nan, stored.counts)
    result = stored.run(niter_max=10, n_record=10)
    compare(stored.twin(niter_max=10), result)
    assert np.all(np.isfinite(result.background))
    assert np.all(np.isfinite(result.significance))
    # beyond the reach of the kernels the first background is that without the pixel lost
    clean = Stored(reference_dir / "kbe", "poisson_nan_counts")
    clean.counts = np.where(lost, 1.0, stored.counts)
    far = ~binary_dilation(lost, np.ones((47, 47)))
    np.testing.assert_allclose(
        np.asarray(result.history.background[0])[far],
        clean.run(niter_max=0).background[far],
        rtol=1e-9,
    )
    assert stored.record["nan_background"][-1] == stored.counts.size
    assert int((~result.exclusion).sum()) > 0
