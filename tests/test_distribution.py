"""Mean and width of significances: their errors are those that toys scatter by."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.convolution import Tophat2DKernel
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import norm, truncnorm

from gammagrad import Map
from gammagrad.distribution import SignificanceDistribution, significance_distribution

DISC = Tophat2DKernel(4).array > 0


def smoothed_noise(
    rng: np.random.Generator, kernel: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return white noise summed under a kernel, in units of its standard deviation."""
    sides = [n + k - 1 for n, k in zip(shape, kernel.shape, strict=True)]
    return fftconvolve(rng.normal(size=sides), kernel, mode="valid") / np.sqrt((kernel**2).sum())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kernel", [DISC.astype(float), np.outer([1, 4, 6, 4, 1], [1, 2, 1])])
def test_errors_are_the_scatter_of_toys(kernel: NDArray[np.float64], masked: bool) -> None:
    rng = np.random.default_rng(0)
    keep = np.ones((50, 60), dtype=bool)
    if masked:
        keep[20:35, 10:40] = False
        keep[:, 50:] = False
    fields = [smoothed_noise(rng, kernel, keep.shape) for _ in range(400)]
    found = [significance_distribution(field, keep, kernel) for field in fields]
    for name in ("mean", "width"):
        scatter = np.std([getattr(one, name) for one in found])
        stated = np.mean([getattr(one, f"{name}_err") for one in found])
        assert stated == pytest.approx(scatter, rel=0.12)  # of 400 toys known to 3.5 %


def test_pairs_are_those_counted_one_by_one() -> None:
    rng = np.random.default_rng(1)
    kernel = rng.random((3, 5))
    keep = rng.random((9, 8)) > 0.3
    moved = np.pad(kernel, 10)
    at = np.argwhere(keep)
    total = squared = 0.0
    for a in at:
        for b in at:
            dy, dx = a - b
            overlap = (moved * np.roll(moved, (dy, dx), axis=(0, 1))).sum() / (kernel**2).sum()
            total, squared = total + overlap, squared + overlap**2
    result = significance_distribution(rng.normal(size=keep.shape), keep, kernel)
    assert result.mean_err == pytest.approx(result.width * np.sqrt(total) / len(at))
    assert result.width_err == pytest.approx(result.width * np.sqrt(squared / 2) / len(at))
    assert result.n_independent == pytest.approx(len(at) ** 2 / total)


def test_on_a_large_field_a_disc_counts_once_for_its_area() -> None:
    values = np.random.default_rng(2).normal(size=(400, 400))
    result = significance_distribution(values, kernel=Tophat2DKernel(4))
    # at the edges a pixel has fewer neighbours
    assert result.n_pixels / result.n_independent == pytest.approx(DISC.sum(), rel=0.03)


def test_without_a_kernel_pixels_are_independent() -> None:
    values = np.random.default_rng(3).normal(0.3, 1.2, size=(2, 80, 90))
    result = significance_distribution(values)
    mean, width = norm.fit(values.ravel())
    assert (result.mean, result.width) == (pytest.approx(mean), pytest.approx(width))
    assert result.n_pixels == result.n_independent == values.size
    assert result.mean_err == pytest.approx(width / np.sqrt(values.size))
    assert result.width_err == pytest.approx(width / np.sqrt(2 * values.size))
    single = significance_distribution(values, kernel=np.ones((1, 1)))
    assert (single.mean_err, single.width_err) == pytest.approx((result.mean_err, result.width_err))


def test_maps_masks_and_what_is_not_finite() -> None:
    significance = Map.create(npix=(20, 10))
    significance.data = np.random.default_rng(4).normal(size=(10, 20))
    keep = Map(significance.geom, np.ones((10, 20)))
    keep.data[:, :5] = 0
    significance.data[3, 3:8] = np.nan
    result = significance_distribution(significance, keep)
    kept = significance.data[:, 5:]
    assert result.n_pixels == 150 - 3
    assert result.mean == pytest.approx(np.nanmean(kept))
    # one mask serves all images, and images count together
    cube = np.stack([significance.data, significance.data])
    twice = significance_distribution(cube, keep, kernel=np.ones((3, 3)))
    once = significance_distribution(significance, keep, kernel=np.ones((3, 3)))
    assert twice.n_pixels == 2 * once.n_pixels
    assert twice.n_independent == pytest.approx(2 * once.n_independent)


@given(side=st.integers(2, 30), reach=st.integers(1, 40))
def test_a_kernel_of_any_size_takes_no_pixels_away(side: int, reach: int) -> None:
    values = np.random.default_rng(side).normal(size=(side, side))
    result = significance_distribution(values, kernel=np.ones((reach, reach)))
    assert 1 - 1e-9 <= result.n_independent <= side**2 * (1 + 1e-9)
    assert 0 <= result.width_err <= result.mean_err * (1 + 1e-9)


def test_it_reads_as_a_line() -> None:
    text = str(SignificanceDistribution(0.0123, 0.02, 1.05, 0.01, 5000, 100.4))
    assert text == (
        "mean 0.012 +- 0.020, width 1.050 +- 0.010 (5000 pixels, worth 100 independent ones)"
    )
    assert "independent" not in str(SignificanceDistribution(0.0, 0.1, 1.0, 0.1, 100, 100.0))


def test_what_does_not_fit_is_refused() -> None:
    values = np.zeros((4, 5))
    with pytest.raises(ValueError, match=r"images of \(4, 5\) pixels"):
        significance_distribution(values, np.ones((5, 4)))
    with pytest.raises(ValueError, match="does not fit"):
        significance_distribution(values, np.ones((3, 4, 5)))
    with pytest.raises(ValueError, match="fewer than two"):
        significance_distribution(values, np.zeros((4, 5)))
    with pytest.raises(ValueError, match="expected images"):
        significance_distribution(np.zeros(4))
    with pytest.raises(ValueError, match="array of numbers"):
        significance_distribution(np.array([["a", "b"]]))
    for kernel in (np.zeros((3, 3)), np.ones(3), np.full((3, 3), np.nan)):
        with pytest.raises(ValueError, match="kernel"):
            significance_distribution(values, kernel=kernel)


def test_a_core_has_the_width_of_the_whole_without_its_tail() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0.2, 1.1, size=40_000)
    values = np.concatenate([noise, rng.uniform(4, 40, 2_000)]).reshape(200, 210)
    found = significance_distribution(values, core=3)
    assert abs(found.mean - 0.2) < 4 * 1.1 / np.sqrt(40_000)
    assert abs(found.width - 1.1) < 4 * 1.1 / np.sqrt(40_000)
    inside = noise[np.abs(noise) < 3]
    only = significance_distribution(noise.reshape(200, 200), core=3)

    def likelihood(mean: float, width: float) -> float:
        ends = [(end - mean) / width for end in (-3, 3)]
        return float(truncnorm.logpdf(inside, *ends, loc=mean, scale=width).sum())

    best = likelihood(only.mean, only.width)
    for step in (-1e-3, 1e-3):
        assert likelihood(only.mean + step, only.width) < best
        assert likelihood(only.mean, only.width + step) < best


def test_a_core_must_have_a_width() -> None:
    with pytest.raises(ValueError, match="core is 0; expected"):
        significance_distribution(np.zeros((4, 5)), core=0)


@pytest.mark.parametrize(
    ("mean", "width", "words"),
    [
        (0.0, 1.0, []),
        (-0.26, 1.2, ["The mean is below 0", "The width is above 1"]),
        (0.3, 1.0, ["The mean is above 0"]),
        (0.0, 0.7, ["The width is below 1"]),
    ],
)
def test_a_suspicious_distribution_says_so(mean: float, width: float, words: list[str]) -> None:
    values = np.random.default_rng(3).normal(mean, width, size=(300, 300))
    hints = significance_distribution(values).hints()
    assert [hint[: len(start)] for hint, start in zip(hints, words, strict=True)] == words
