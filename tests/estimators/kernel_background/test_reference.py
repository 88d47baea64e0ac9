"""The background loop against stored results of gammapy's former estimator.

Stored are, per case, the first iteration of the released code, and the documented algorithm run on
with each iteration starting from the last one's result, with FFT convolutions. Where the latter is
not ours, `DIFFERENCES` says why, and the tests show that it is so, with a twin of the algorithm
that sums whole numbers and is therefore exact.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.signal import convolve, fftconvolve

from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
from gammagrad.maps import Map

pytestmark = pytest.mark.data

Floats = NDArray[np.float64]

CASES = (
    *("unit_run", "unit_run_without_defaults", "unit_evenbkg"),
    *("seed", "seed_0_10", "seed_dil3", "seed_max0", "seed_max1", "seed_min12max10"),
    *("fermi_t3_d0.1", "fermi_t4_d0.3", "fermi_t5_d0.05", "fermi_given_bkg", "fermi_smallring"),
    *("hess-crab_t3_d0.1", "hess-crab_t4_d0.05_bkg", "hess-crab_t4_d0.05_given"),
    *("hess-crab_t4_d0.3", "hess-crab_t5_d0.02"),
    *("poisson_given", "poisson_t3_d0.1", "poisson_t4_d0.3", "poisson_t5_d0.02"),
)

DIFFERENCES = {
    "fermi_t4_d0.3": (
        4,
        "Mask 3 excludes every pixel of the ring around some pixels. An FFT makes 0/0 of it, or "
        "noise over noise; NaN spreads over the map and mask 4 falls back to nothing, for ever "
        "0, 4641, 7579, 9232. Here the background of before is kept there.",
    ),
    "fermi_smallring": (
        2,
        "A ring of 0.4 deg under a dilation of 0.3 deg: mask 1 excludes whole rings, as above, "
        "and 0 and 12057 alternate.",
    ),
    "poisson_t4_d0.3": (
        2,
        "Mask 1 excludes whole rings around the brightest source, as above, and 0 and 2796 "
        "alternate; with the background kept the masks converge to 3058.",
    ),
}
"""First mask that differs from the stored one, and why."""

NITER = {"fermi_smallring": 12, "poisson_t4_d0.3": 12}
"""Number of iterations to look at where those stored are one mask and none in turn."""

PERIODS = {"fermi_t5_d0.05": 2, "hess-crab_t3_d0.1": 4, "fermi_t4_d0.3": 12}
"""Genuine limit cycles of masks that differ in a few pixels, seen within 40 iterations."""


class Case(NamedTuple):
    """A stored case."""

    info: dict
    arrays: np.lib.npyio.NpzFile
    images: dict[str, Floats]

    @property
    def name(self) -> str:
        return self.info["case"]

    @property
    def strict(self) -> dict:
        return self.info["variants"]["strict_float64_fft"]

    @property
    def niter(self) -> int:
        return NITER.get(self.name, self.strict["niter"])

    def stored(self, iteration: int, name: str) -> Floats | None:
        key = f"strict_float64_fft__{iteration}__{name}"
        return self.arrays.get(key)

    def masks(self) -> list[NDArray[np.bool_]]:
        indices = range(self.niter + 1)
        return [np.asarray(self.stored(i, "exclusion"), dtype=bool) for i in indices]

    def estimator(self) -> KernelBackgroundEstimator:
        return KernelBackgroundEstimator(
            self.arrays["kernel_src"],
            self.arrays["kernel_bkg"],
            self.info["significance_threshold"],
            self.info["mask_dilation_radius_deg"],
            keep_record=True,
        )

    def maps(self) -> dict[str, Map]:
        npix = self.info["shape"][::-1]
        size = self.info["pixel_scale_deg"]
        return {n: Map.create(npix=npix, binsz=size, data=a) for n, a in self.images.items()}


def load(folder, name) -> Case:
    info = json.loads((folder / "kbe" / f"{name}.json").read_text())
    inputs = np.load(folder / "kbe" / f"inputs_{info['image']}.npz")
    images = {n: inputs[n] for n in ["counts", *info["given"]]}
    return Case(info, np.load(folder / "kbe" / f"{name}.npz"), images)


def whole_sum(image: Floats, kernel: Floats) -> Floats:
    """Sum whole numbers under a kernel of 0 and 1: exact, since rounding removes the noise."""
    scaled = kernel / kernel.max()
    np.testing.assert_allclose(scaled, np.rint(scaled), atol=1e-12)
    result = fftconvolve(image, np.rint(scaled), mode="same")
    assert np.max(np.abs(result - np.rint(result))) < 1e-3
    return np.rint(result)


def lima(n: Floats, mu: Floats) -> Floats:
    """Significance for a known background, NaN without counts as in the stored results."""
    with np.errstate(all="ignore"):
        deviance = np.maximum(n * np.log(n / mu) - n + mu, 0)
        return np.where(n >= 1, np.sign(n - mu) * np.sqrt(2 * deviance), np.nan)


class State(NamedTuple):
    background: Floats
    exclusion: NDArray[np.bool_]
    significance: Floats | None


def twin(case: Case, niter: int) -> list[State]:
    """Run the documented algorithm in plain numpy, with exact sums of whole numbers."""
    seen = np.isfinite(case.images["counts"])
    counts = np.where(seen, case.images["counts"], 0.0)
    source, ring = case.arrays["kernel_src"], case.arrays["kernel_bkg"]
    footprint = np.rint(source / source.max())
    structure = case.arrays["structure"].astype(bool)

    def mean(mask: NDArray[np.bool_], otherwise: Floats) -> Floats:
        weight = (mask & seen).astype(float)
        total = whole_sum(weight, ring)
        return np.where(
            total > 0, whole_sum(counts * weight, ring) / np.maximum(total, 1), otherwise
        )

    n_on = whole_sum(counts, source)
    exclusion = np.asarray(case.images.get("exclusion", np.ones(counts.shape)), dtype=bool)
    background = case.images.get("background")
    if background is None:
        background = mean(exclusion, mean(np.ones(counts.shape, bool), counts * np.nan))
    states = [State(background, exclusion, None)]
    for _ in range(niter):
        expected = convolve(background * seen, footprint, mode="same", method="direct")
        significance = lima(n_on, expected)
        above = significance >= case.info["significance_threshold"]
        exclusion = ~binary_dilation(above, structure)
        background = mean(exclusion, background)
        states.append(State(background, exclusion, significance))
    return states


def assert_same_state(found: dict[str, Map], state: State) -> None:
    np.testing.assert_array_equal(found["exclusion"].data, state.exclusion)
    np.testing.assert_allclose(found["background"].data, state.background, rtol=1e-9, atol=1e-11)
    if state.significance is not None:
        counted = np.isfinite(state.significance)
        np.testing.assert_allclose(
            found["significance"].data[counted], state.significance[counted], atol=1e-5
        )


def empty_rings(mask: NDArray[np.bool_], case: Case) -> int:
    """Count the pixels around which a mask excludes the whole ring."""
    return int(np.sum(whole_sum(mask.astype(float), case.arrays["kernel_bkg"]) == 0))


class Run(NamedTuple):
    """A case, and the estimator after a run of as many iterations as are stored."""

    case: Case
    estimator: KernelBackgroundEstimator


# much like another case: with the long studies
ALIKE = [
    "fermi_given_bkg",
    "fermi_smallring",
    "fermi_t3_d0.1",
    "fermi_t5_d0.05",
    "hess-crab_t3_d0.1",
    "hess-crab_t4_d0.05_bkg",
    "hess-crab_t4_d0.3",
    "hess-crab_t5_d0.02",
    "poisson_given",
    "poisson_t3_d0.1",
    "poisson_t4_d0.3",
    "poisson_t5_d0.02",
]


def marked(cases):
    return [pytest.param(c, marks=pytest.mark.slow) if c in ALIKE else c for c in cases]


@pytest.fixture(scope="module", params=marked(CASES))
def run(request, reference_dir) -> Run:
    case = load(reference_dir, request.param)
    estimator = case.estimator()
    estimator.run(case.maps(), niter_min=case.niter + 1, niter_max=case.niter)
    return Run(case, estimator)


def test_stored_sequence(run):
    """Masks are equal at every iteration, and so is what is stored of background and significance.

    Up to the first iteration of `DIFFERENCES`.
    """
    case, stack = run.case, run.estimator.images_stack
    masks = case.masks()
    assert len(stack) == len(masks)
    differs, _ = DIFFERENCES.get(case.name, (len(masks), ""))

    # the first iteration is also that of the released code
    released = case.info["variants"]["v012_float64_fft"]["n_excluded"]
    if len(released) > 1:
        assert np.sum(~stack[1]["exclusion"].data) == released[1]
    else:
        assert case.info["niter_max"] == 0

    for i in range(differs):
        ours = stack[i]
        np.testing.assert_array_equal(ours["exclusion"].data, masks[i])
        assert run.estimator.report.n_excluded[i] == case.strict["n_excluded"][i]
        if empty_rings(masks[i], case):  # what is stored of the background is noise there
            continue
        background, significance = case.stored(i, "background"), case.stored(i, "significance")
        data = ours["background"].data
        ends = case.strict["bkg_min"][i], case.strict["bkg_max"][i]
        np.testing.assert_allclose((data.min(), data.max()), ends, rtol=1e-5)
        if background is not None and significance is not None:
            np.testing.assert_allclose(data, background, rtol=1e-5)
            there = np.isfinite(significance)
            np.testing.assert_allclose(
                ours["significance"].data[there], significance[there], atol=1e-5
            )


def test_exact_sequence(run):
    """At every iteration, and where stored results are noise too, ours is the exact result."""
    case, report = run.case, run.estimator.report
    states = twin(case, case.niter)
    for found, state in zip(run.estimator.images_stack, states, strict=True):
        assert_same_state(found, state)
    assert report.n_kept == empty_rings(states[-1].exclusion, case)
    if case.name in PERIODS:
        period = PERIODS[case.name]
        assert report.period == period
        np.testing.assert_array_equal(states[-1].exclusion, states[-1 - period].exclusion)
        assert not any(
            np.array_equal(states[-1].exclusion, states[-1 - p].exclusion) for p in range(1, period)
        )
        assert f"repeat every {period} iterations" in str(report)


def test_every_difference_is_an_empty_ring(run):
    """Stored masks differ from ours right after one that excludes a whole ring, and only then."""
    case = run.case
    masks = case.masks()
    # where the background is given that of the first mask is not used
    first = int("background" in case.info["given"])
    empty = [i for i, mask in enumerate(masks) if i >= first and empty_rings(mask, case)]
    if case.name not in DIFFERENCES:
        assert not empty
        return
    differs, words = DIFFERENCES[case.name]
    assert words
    assert empty[0] == differs - 1
    # the stored background has no values there, and the next mask is none at all, or nonsense
    assert case.strict["nan_background"][differs - 1] > 0
    assert case.strict["n_excluded"][differs] == 0
    # the exact result with the background kept is another mask
    exact = twin(case, differs)
    np.testing.assert_array_equal(exact[differs - 1].exclusion, masks[differs - 1])
    assert np.sum(~exact[differs].exclusion) > 0


@pytest.mark.parametrize("name", marked(sorted(set(CASES) - set(DIFFERENCES))))
def test_documented_end_of_the_loop(reference_dir, name):
    """The loop ends at the iteration that the stored masks and the documentation give."""
    case = load(reference_dir, name)
    masks, least, most = case.masks(), case.info["niter_min"], case.info["niter_max"]
    same = [np.array_equal(a, b) for a, b in zip(masks[1:], masks[:-1], strict=True)]
    ends = [idx + 1 for idx, still in enumerate(same) if still and idx >= least]
    expected = min([*ends, most])
    estimator = case.estimator()
    result = estimator.run(case.maps(), least, most)
    assert len(estimator.images_stack) == expected + 1
    assert estimator.report.niter == expected
    assert estimator.report.converged == (expected in ends)
    np.testing.assert_array_equal(result["exclusion"].data, masks[expected])
    if case.info["image"] == "unit" or name in ("seed", "seed_dil3", "seed_max1"):
        assert len(estimator.images_stack) == case.info["orig_stack_len"]


def test_number_of_records_of_seed_0_10(reference_dir):
    """With niter_min=0 the original ended too early.

    It filled holes before it compared, and the 29 excluded pixels in the middle of the map are one
    hole: the first iteration seemed to have changed nothing. The second is the first that does.
    """
    case = load(reference_dir, "seed_0_10")
    estimator = case.estimator()
    estimator.run(case.maps(), 0, 10)
    assert len(estimator.images_stack) == case.info["orig_stack_len"] + 1 == 3


def test_without_dilation(reference_dir):
    case = load(reference_dir, "unit_dil0")
    result = case.estimator().run(case.maps(), 2, 10)
    assert np.sum(~result["exclusion"].data) == case.info["orig_n_excluded"]


def test_even_source_kernel(reference_dir):
    case = load(reference_dir, "unit_evensrc")
    assert "odd" in case.info["orig_exception"]
    with pytest.raises(ValueError, match="kernel_src: expected odd numbers of rows and columns"):
        case.estimator()


def test_start_that_excludes_everything(reference_dir):
    """Right answer: a mask that keeps nothing says nothing, and the start is that without it.

    Stored is 0/0 everywhere, hence one iteration with no mask at all; from there on the stored
    masks are those that are right from the first iteration on.
    """
    case = load(reference_dir, "poisson_allexcluded")
    case.images["exclusion"] = np.zeros(case.info["shape"])
    estimator = case.estimator()
    result = estimator.run(case.maps(), 2, 10)
    stored = case.strict["n_excluded"]
    assert list(estimator.report.n_excluded) == [stored[0], *stored[2:]]
    np.testing.assert_array_equal(result["exclusion"].data, case.masks()[-1])
    np.testing.assert_allclose(
        result["background"].data, case.stored(case.strict["niter"], "background"), rtol=1e-9
    )


def test_start_with_a_hole_larger_than_the_ring(reference_dir):
    """Right answer: a disc of 40 pixels is excluded, and the ring reaches out of it but in 913.

    There the start is the mean without the mask. What is stored had 0/0 there, spread by the FFT
    over the map. The end is the same, since by the second iteration nothing of the start is left.
    """
    case = load(reference_dir, "poisson_bighole")
    case.images["exclusion"] = case.masks()[0]
    estimator = case.estimator()
    result = estimator.run(case.maps(), 2, 10)
    for found, state in zip(estimator.images_stack, twin(case, 5), strict=False):
        assert_same_state(found, state)
    assert empty_rings(case.masks()[0], case) == 913
    np.testing.assert_array_equal(result["exclusion"].data, case.masks()[-1])


def test_one_pixel_without_counts(reference_dir):
    """Right answer: the pixel has no weight, and changes nothing away from it.

    What is stored is NaN everywhere and no mask.
    """
    case = load(reference_dir, "poisson_nan_counts")
    case.images["counts"] = case.images["counts"].copy()
    whole = case.images["counts"].copy()
    case.images["counts"][100, 100] = np.nan
    estimator = case.estimator()
    result = estimator.run(case.maps(), 2, 10)
    n = estimator.report.niter
    for found, state in zip(estimator.images_stack, twin(case, n), strict=True):
        assert_same_state(found, state)
    case.images["counts"] = whole
    other = case.estimator().run(case.maps(), 2, 10)
    assert np.sum(other["exclusion"].data != result["exclusion"].data) < 10
    reach = case.arrays["kernel_bkg"].shape[0]
    far = np.hypot(*(np.indices(whole.shape) - 100)) > 2 * reach
    np.testing.assert_allclose(
        result["background"].data[far], other["background"].data[far], rtol=1e-9
    )
