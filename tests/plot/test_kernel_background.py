"""Pictures of exclusion masks, checked on the objects drawn."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.convolution import Ring2DKernel, Tophat2DKernel
from scipy.ndimage import gaussian_filter

from gammagrad import KernelBackgroundEstimator, Map
from gammagrad.maps import MapAxis
from gammagrad.plot import plot_exclusion, plot_iterations, plot_significance_histogram


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def make_counts(nx: int = 60, ny: int = 50) -> Map:
    counts = Map.create(npix=(nx, ny), binsz=0.1)
    counts.data = np.random.default_rng(0).poisson(20.0, size=counts.data.shape).astype(float)
    counts.data[20, 30] = 900
    return counts


def make_mask(counts: Map) -> Map:
    mask = Map(counts.geom, np.ones(counts.data.shape, dtype=bool))
    mask.data[18:23, 28:33] = False
    mask.data[0, :3] = False
    return mask


def border(ax: plt.Axes) -> set[tuple[tuple[float, float], ...]]:
    """Return the pieces of the border drawn last."""
    return {tuple(map(tuple, piece)) for piece in ax.collections[-1].get_segments()}


def test_the_border_runs_along_the_edges_of_excluded_pixels() -> None:
    counts = make_counts()
    mask = Map(counts.geom, np.ones(counts.data.shape))
    mask.data[7, 4] = 0
    ax = plot_exclusion(counts, mask)
    left, right, low, high = 3.5, 4.5, 6.5, 7.5
    assert border(ax) == {
        ((left, low), (left, high)),
        ((right, low), (right, high)),
        ((left, low), (right, low)),
        ((left, high), (right, high)),
    }


def test_what_is_excluded_is_tinted_and_counted() -> None:
    counts = make_counts()
    mask = make_mask(counts)
    ax = plot_exclusion(counts, mask)
    tint = np.asarray(ax.images[-1].get_array())
    np.testing.assert_array_equal(tint[..., 3] > 0, ~mask.data)
    assert ax.get_title() == "28 of 3000 pixels excluded (0.9 %)"
    # 5 x 5 pixels, and 3 in a row at the edge of the map
    assert len(border(ax)) == 20 + 8
    kept = plot_exclusion(counts, np.ones(counts.data.shape, dtype=bool), title="nothing")
    assert len(border(kept)) == 0
    assert kept.get_title() == "nothing"


def test_counts_are_smoothed_and_stay_counts_per_pixel() -> None:
    counts = make_counts()
    mask = make_mask(counts)
    drawn = np.asarray(plot_exclusion(counts, mask, smooth="0.15 deg").images[0].get_array())
    # scipy mirrors at the edge, where here what lies outside has no weight
    expected = gaussian_filter(counts.data, 1.5, truncate=6, mode="constant")
    expected /= gaussian_filter(np.ones_like(counts.data), 1.5, truncate=6, mode="constant")
    np.testing.assert_allclose(drawn, expected, rtol=2e-3)
    for nothing in (0, "1 arcsec"):
        ax = plot_exclusion(counts, mask, smooth=nothing)
        np.testing.assert_array_equal(ax.images[0].get_array(), counts.data)


def test_pixels_that_are_no_number_stay_grey_and_alone() -> None:
    counts = make_counts()
    counts.data[5, 5] = np.nan
    drawn = plot_exclusion(counts, make_mask(counts)).images[0].get_array()
    assert np.ma.getmaskarray(drawn).sum() == 1
    assert np.ma.getmaskarray(drawn)[5, 5]


def test_a_cube_is_summed_and_a_pixel_kept_anywhere_is_kept() -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    image = make_counts()
    cube = Map(image.geom.to_cube([axis]), np.stack([image.data, 2 * image.data]))
    mask = Map(cube.geom, np.ones(cube.data.shape, dtype=bool))
    mask.data[0, :5] = False
    mask.data[:, 10, 10] = False
    ax = plot_exclusion(cube, mask, smooth=0)
    np.testing.assert_array_equal(ax.images[0].get_array(), 3 * image.data)
    assert ax.get_title().startswith("1 of 3000")


def run(counts: Map, niter_max: int = 4) -> KernelBackgroundEstimator:
    estimator = KernelBackgroundEstimator(
        Tophat2DKernel(2), Ring2DKernel(4, 3), mask_dilation_radius="0.1 deg", keep_record=True
    )
    estimator.run({"counts": counts}, niter_max=niter_max)
    return estimator


@pytest.mark.parametrize("shape", [(60, 50), (90, 40)])
def test_one_panel_for_each_record_with_its_number_of_excluded_pixels(
    shape: tuple[int, int],
) -> None:
    stack = run(make_counts(*shape)).images_stack
    axes = plot_iterations(stack)
    assert len(axes) == len(stack) >= 3
    excluded = [int((~record["exclusion"].data).sum()) for record in stack]
    names = ["start", *(f"iteration {i + 1}" for i in range(len(stack) - 1))]
    titles = [f"{name}: {n} excluded" for name, n in zip(names, excluded, strict=True)]
    assert [ax.get_title() for ax in axes] == titles
    assert excluded[0] == 0 < excluded[-1]
    # all on one scale
    assert len({(ax.images[0].norm.vmin, ax.images[0].norm.vmax) for ax in axes}) == 1
    width, height = axes[0].figure.get_size_inches()
    assert 4 < width < 15
    assert 1 < height < 30


def test_what_changed_since_the_iteration_before_is_coloured() -> None:
    counts = make_counts()
    masks = [np.ones(counts.data.shape, dtype=bool) for _ in range(3)]
    masks[1][10:13, 10] = False
    masks[2][12:14, 10] = False
    stack = [{"background": counts, "exclusion": Map(counts.geom, mask)} for mask in masks]
    axes = plot_iterations(stack, "background", vmax=30)
    tints = [[np.argwhere(image.get_array()[..., 3] > 0) for image in ax.images[1:]] for ax in axes]
    new, freed = zip(*tints, strict=True)
    assert [len(pixels) for pixels in new] == [0, 3, 1]
    assert [len(pixels) for pixels in freed] == [0, 0, 2]
    assert new[2].tolist() == [[13, 10]]
    assert freed[2].tolist() == [[10, 10], [11, 10]]
    assert {ax.images[0].norm.vmax for ax in axes} == {30}


def test_records_are_needed() -> None:
    with pytest.raises(ValueError, match="keep_record=True"):
        plot_iterations([])
    counts = make_counts()
    with pytest.raises(ValueError, match=r"significance.*not in its records.*counts"):
        plot_iterations([{"counts": counts, "exclusion": make_mask(counts)}])


def test_what_does_not_fit_is_refused() -> None:
    counts = make_counts()
    with pytest.raises(ValueError, match=r"\(50, 60\) pixels"):
        plot_exclusion(counts, np.ones((60, 50)))
    for smooth in (-1, "nan deg", [1.0, 2.0]):
        with pytest.raises(ValueError, match="smooth"):
            plot_exclusion(counts, make_mask(counts), smooth=smooth)


# the histogram of a map of significances


def test_a_map_of_significances_has_a_histogram_with_errors() -> None:
    counts = make_counts()
    result = run(counts)
    significance = result.images_stack[-1]["significance"]
    keep = result.images_stack[-1]["exclusion"]
    fit = plot_significance_histogram(significance, keep, kernel=result.kernel_src)
    kept = significance.data[keep.data]
    assert fit.number == np.sum(np.abs(kept) < 3)
    whole = plot_significance_histogram(significance, keep, kernel=result.kernel_src, core=None)
    assert whole.number == keep.data.sum()
    assert (whole.mean, whole.width) == (pytest.approx(kept.mean()), pytest.approx(kept.std()))
    assert fit.mean_err > 2 * fit.width / np.sqrt(fit.number)
    assert 0 < fit.width_err < fit.mean_err
    assert fit.ax.get_xlabel() == "significance"
    words = " ".join(text.get_text() for text in fit.ax.get_legend().get_texts())
    assert "pm" in words
    assert "outside the exclusion" in words
    without = plot_significance_histogram(significance, keep, core=None)
    assert np.isnan(without.mean_err)
    words = " ".join(text.get_text() for text in without.ax.get_legend().get_texts())
    assert "pm" not in words


def test_histogram_of_an_image_has_no_energies() -> None:
    rng = np.random.default_rng(0)
    significance = Map.create(npix=20, binsz=0.1, data=rng.normal(size=(20, 20)))
    with pytest.raises(ValueError, match="energy: the map is an image"):
        plot_significance_histogram(significance, energy=0)
    keep = np.ones((2, 20, 20), bool)
    keep[0, :5] = keep[1, :6] = False
    assert plot_significance_histogram(significance, keep, core=None).number == 280
    assert plot_significance_histogram(significance, keep[:1], core=None).number == 300
