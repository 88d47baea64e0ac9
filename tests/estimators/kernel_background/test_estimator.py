"""The estimator on maps: the documented example, cubes, acceptance and records."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from astropy import units as u
from astropy.convolution import Gaussian2DKernel, Ring2DKernel, Tophat2DKernel
from scipy.ndimage import label

from gammagrad import fit_norm
from gammagrad.core.background.estimate import _compiled
from gammagrad.errors import InputWarning
from gammagrad.estimators.kernel_background import KernelBackgroundEstimator, SourceKernelWarning
from gammagrad.maps import Map, MapAxis, WcsGeom


def image(npix=10, binsz=1.0, data=42.0, **kwargs):
    return Map.create(npix=npix, binsz=binsz, data=data, **kwargs)


@pytest.fixture
def bright():
    """Return counts of 42 everywhere, 1000 in one pixel, on 10 x 10 pixels."""
    counts = image()
    counts.data[4, 4] = 1000
    return counts


@pytest.fixture
def estimator():
    return KernelBackgroundEstimator(
        kernel_src=np.ones((1, 3)),
        kernel_bkg=np.ones((5, 3)),
        significance_threshold=4,
        mask_dilation_radius="1 deg",
        keep_record=True,
    )


def test_documented_example():
    counts = Map.create(npix=100, binsz=1)
    counts.data += 42
    counts.data[50][50] = 1000
    source_kernel = Tophat2DKernel(3)
    bkg_kernel = Ring2DKernel(radius_in=4, width=2)
    results = [
        KernelBackgroundEstimator(kernel_src=src, kernel_bkg=bkg).run({"counts": counts})
        for src, bkg in ((source_kernel, bkg_kernel), (source_kernel.array, bkg_kernel.array))
    ]
    for result in results:
        expected = np.ones((100, 100), bool)
        expected[47:54, 47:54] = source_kernel.array == 0
        np.testing.assert_array_equal(result["exclusion"].data, expected)
        assert result["exclusion"].is_mask
        np.testing.assert_allclose(result["background"].data, 42, rtol=1e-12)
        # the source kernel has 29 pixels
        n, mu = 28 * 42 + 1000, 29 * 42
        peak = np.sqrt(2 * (n * np.log(n / mu) - n + mu))
        np.testing.assert_allclose(result["significance"].data[50, 50], peak)
        np.testing.assert_allclose(result["significance"].data[10:30, 10:30], 0, atol=1e-10)
        assert result["background"].meta == {
            "niter": 3,
            "converged": True,
            "period": 0,
            "n_kept": 0,
            "status": "The mask converged after 3 iterations; 29 of 10000 pixels are excluded.",
        }


@pytest.mark.parametrize("with_start", [True, False])
def test_ten_by_ten_pixels(bright, estimator, with_start):
    images = {"counts": bright}
    if with_start:
        images |= {"background": image(), "exclusion": image(data=True)}
    result = estimator.run(images)
    assert result["exclusion"].data.sum() == 89
    np.testing.assert_allclose(result["background"].data, 42, rtol=1e-12)
    assert len(estimator.images_stack) == 4
    once = estimator.run_iteration(images)
    assert once["exclusion"].data.sum() == 89
    assert once["exclusion"].data.dtype == bool


def test_record_is_the_loop(estimator, bright):
    rng = np.random.default_rng(1)
    counts = image(30, data=rng.poisson(3.0, (30, 30)))
    counts.data[10:13, 8:11] += rng.poisson(30, (3, 3))
    for bounds in ((2, 10), (0, 10), (2, 0), (7, 5)):
        estimator.keep_record = False
        plain = estimator.run({"counts": counts}, *bounds)
        assert estimator.images_stack == []
        estimator.keep_record = True
        kept = estimator.run({"counts": counts}, *bounds)
        stack = estimator.images_stack
        assert len(stack) == plain["background"].meta["niter"] + 1
        for last in (kept, stack[-1]):
            for name, m in plain.items():
                np.testing.assert_allclose(last[name].data, m.data, rtol=1e-12, atol=1e-9)
                assert last[name].meta == m.meta
    # reset, not continued, and by itself: each record is one iteration from the last
    estimator.run({"counts": counts})
    stack = estimator.images_stack
    for before, after in itertools.pairwise(stack):
        step = estimator.run_iteration(before)
        np.testing.assert_array_equal(step["exclusion"].data, after["exclusion"].data)
        np.testing.assert_allclose(step["background"].data, after["background"].data, rtol=1e-12)
        np.testing.assert_allclose(step["significance"].data, after["significance"].data, atol=1e-9)
    assert estimator.images_stack is stack
    estimator.run({"counts": bright})
    assert len(estimator.images_stack) == 4


def test_run_iteration_starts_as_run_does(estimator, bright):
    estimator.keep_record = False
    once, run = estimator.run_iteration({"counts": bright}), estimator.run({"counts": bright}, 2, 1)
    for name in run:
        np.testing.assert_array_equal(once[name].data, run[name].data)


def test_inputs_stay_as_they_are(estimator, bright):
    images = {"counts": bright, "background": image(), "exclusion": image(data=1)}
    before = {name: m.data.copy() for name, m in images.items()}
    result = estimator.run(images)
    estimator.run_iteration(images)
    assert list(images) == list(before)
    for name, m in images.items():
        np.testing.assert_array_equal(m.data, before[name])
    result["counts"].data += 1
    result["background"].data += 1
    np.testing.assert_array_equal(bright.data, before["counts"])
    assert estimator.images_stack[-1]["counts"].data.sum() == before["counts"].sum()
    assert np.max(np.abs(estimator.images_stack[-1]["background"].data - 42)) < 1e-9


def test_geometry_and_units():
    energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    geom = WcsGeom.create(npix=(12, 10), binsz=0.02, skydir=(83.6, 22.0), axes=[energy])
    counts = Map.from_geom(geom, data=np.full(geom.data_shape, 5), unit="ct")
    result = KernelBackgroundEstimator(np.ones((3, 3)), np.ones((5, 5))).run({"counts": counts})
    for name, unit in (("counts", "ct"), ("background", "ct"), ("significance", "")):
        assert result[name].geom == geom
        assert result[name].unit == u.Unit(unit)
    assert result["counts"].data.dtype == counts.data.dtype
    np.testing.assert_allclose(result["background"].data, 5)


@pytest.mark.parametrize("radius", ["0.06 deg", 0.06 * u.deg, 0.06, "3.6 arcmin"])
def test_dilation_radius_is_an_angle(radius):
    counts = image(31, 0.02, 2.0)
    counts.data[15, 15] = 100
    estimator = KernelBackgroundEstimator([[1.0]], Ring2DKernel(6, 3), mask_dilation_radius=radius)
    result = estimator.run({"counts": counts})
    assert (~result["exclusion"].data).sum() == 29  # a disc of three pixels
    assert not result["exclusion"].data[15, 18]


def test_float64_whatever_the_users_precision(estimator, bright):
    expected = estimator.run({"counts": bright})
    with jax.enable_x64(False):
        result = estimator.run({"counts": bright})
    for name, m in result.items():
        assert m.data.dtype == expected[name].data.dtype
        np.testing.assert_array_equal(m.data, expected[name].data)


def test_second_run_does_not_compile(bright):
    def run(threshold, bounds, keep_record=False):
        estimator = KernelBackgroundEstimator(np.ones((3, 3)), np.ones((5, 5)), threshold)
        estimator.keep_record = keep_record
        before = _compiled.traces
        estimator.run({"counts": bright}, *bounds)
        estimator.run_iteration({"counts": bright})
        return _compiled.traces - before

    run(4, (2, 10))
    assert run(5.5, (0, 3)) == run(np.float32(3), (np.int64(1), 7)) == 0
    # and records of whatever length share another
    run(4, (2, 1), keep_record=True)
    assert run(4, (2, 3), keep_record=True) == run(4, (2, 10), keep_record=True) == 0


def test_pixels_without_counts_data_have_no_weight(estimator, bright):
    whole = estimator.run({"counts": bright})
    bright.data[8, 8] = np.nan
    result = estimator.run({"counts": bright})
    np.testing.assert_array_equal(result["exclusion"].data, whole["exclusion"].data)
    np.testing.assert_allclose(result["background"].data, 42, rtol=1e-12)
    assert np.isnan(result["counts"].data[8, 8])


def simulated(seed=0, npix=60, expected=2.0, peak=40.0):
    """Draw a flat field with a round source of three pixels' width in it."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((npix, npix)) - npix // 2
    source = peak * np.exp(-0.5 * (x**2 + y**2) / 9)
    return image(npix, 0.02, rng.poisson(expected + source).astype(float))


SOURCE, RING = Tophat2DKernel(2), Ring2DKernel(8, 4)


def test_record_longer_than_the_compiled_one():
    estimator = KernelBackgroundEstimator(SOURCE, RING, 3, keep_record=True)
    counts = simulated()
    estimator.run({"counts": counts}, niter_min=100, niter_max=19)
    assert len(estimator.images_stack) == 20
    assert len(estimator.report.n_excluded) == 20
    for i, images in enumerate(estimator.images_stack):
        assert images["exclusion"].meta["niter"] == i
        assert np.sum(~images["exclusion"].data) == estimator.report.n_excluded[i]
    once = estimator.run_iteration(estimator.images_stack[0])
    for name in ("exclusion", "background", "significance"):
        other = estimator.images_stack[1][name].data
        np.testing.assert_allclose(once[name].data, other, rtol=1e-12, atol=1e-9)


def test_acceptance_takes_the_bias_away():
    """Expected counts of any shape come back where the shape is known, and are biased without."""
    y, x = np.indices((60, 60)) - 30
    shape = np.exp(-0.5 * (x**2 + y**2) / 15**2)
    counts = image(60, 0.02, 5 * shape)
    acceptance = image(60, 0.02, 3e9 * shape, unit="m2 s")
    before = acceptance.data.copy()
    estimator = KernelBackgroundEstimator(SOURCE, RING, keep_record=True)
    result = estimator.run({"counts": counts, "acceptance": acceptance})
    np.testing.assert_allclose(result["background"].data, counts.data, rtol=1e-9)
    assert set(result) == {"counts", "background", "exclusion", "significance", "acceptance"}
    assert all("acceptance" in images for images in estimator.images_stack)
    result["acceptance"].data[:] = 0
    np.testing.assert_array_equal(acceptance.data, before)
    biased = estimator.run({"counts": counts})["background"].data
    assert biased[30, 30] < 0.9 * counts.data[30, 30]
    assert "acceptance" not in estimator.images_stack[0]


def test_acceptance_of_zero_has_no_background():
    counts = image(60, 0.02, 2.0)
    acceptance = image(60, 0.02, 1.0)
    counts.data[:20] = 0
    acceptance.data[:10], acceptance.data[10:20] = 0, np.nan
    result = KernelBackgroundEstimator(SOURCE, RING).run(
        {"counts": counts, "acceptance": acceptance}
    )
    np.testing.assert_allclose(result["background"].data, counts.data, atol=1e-12)
    assert result["exclusion"].data.all()


@pytest.fixture
def cube():
    """Return counts in three energy bins with a source that is visible in their sum."""
    axis = MapAxis.from_energy_bounds("1 TeV", "30 TeV", nbin=3)
    geom = WcsGeom.create(npix=60, binsz=0.02, axes=[axis])
    rng = np.random.default_rng(5)
    y, x = np.indices(geom.shape_image)
    source = np.exp(-0.5 * ((x - 20) ** 2 + (y - 30) ** 2) / 4)
    levels = np.array([2.0, 0.5, 0.1])[:, None, None]
    gradient = (1 + x / 50)[None]
    return Map(geom, rng.poisson(levels * (gradient + 15 * source[None])).astype(float), unit="ct")


def test_cube_has_one_mask(cube):
    """The mask is that of the summed image; the background that of each bin at this mask."""
    estimator = KernelBackgroundEstimator(SOURCE, RING, 4, keep_record=True)
    result = estimator.run({"counts": cube})
    stack = estimator.images_stack
    summed = Map(cube.geom.to_image(), cube.data.sum(axis=0))
    expected = estimator.run({"counts": summed})
    assert len(stack) == len(estimator.images_stack)
    assert 0 < np.sum(~result["exclusion"].data) < 400
    for name in ("exclusion", "significance"):
        assert result[name].geom == summed.geom
        np.testing.assert_allclose(result[name].data, expected[name].data, atol=1e-9)
    assert result["background"].geom == cube.geom
    assert result["background"].unit == u.ct
    assert result["counts"].geom == cube.geom
    np.testing.assert_allclose(
        result["background"].data.sum(axis=0), expected["background"].data, rtol=1e-9
    )
    for energy in range(3):
        start = {"counts": cube.image(energy), "exclusion": result["exclusion"]}
        own = estimator.run(start, niter_max=0)["background"].data
        np.testing.assert_allclose(result["background"].data[energy], own, rtol=1e-9)
    # a record has the same form, and each is one iteration from the one before
    for before, after in itertools.pairwise(stack):
        step = estimator.run_iteration(before)
        for name in ("exclusion", "background", "significance"):
            np.testing.assert_allclose(step[name].data, after[name].data, rtol=1e-9, atol=1e-9)


def test_cube_with_acceptance(cube):
    """An acceptance with energies counts in each bin, an image in all of them alike."""
    y, x = np.indices(cube.geom.shape_image)
    shapes = np.stack([1 + x / 50, np.exp(-((y - 30) ** 2) / 800), 1 + (x / 50) ** 2])
    expected = Map(cube.geom, shapes * np.array([2.0, 1.0, 0.5])[:, None, None])
    acceptance = Map(cube.geom, shapes)
    estimator = KernelBackgroundEstimator(SOURCE, RING)
    result = estimator.run({"counts": expected, "acceptance": acceptance})
    np.testing.assert_allclose(result["background"].data, expected.data, rtol=1e-9)
    image_only = Map(cube.geom.to_image(), shapes[1])
    flat = Map(cube.geom, np.stack([shapes[1]] * 3))
    one, other = (
        estimator.run({"counts": cube, "acceptance": a})["background"].data
        for a in (image_only, flat)
    )
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_cube_where_nothing_is_kept(cube):
    """There the image's background is shared out as the background given was, or the kept counts.

    Its sum is that of the image.
    """
    y, x = np.indices(cube.geom.shape_image)
    exclusion = Map(cube.geom.to_image(), np.hypot(y - 30, x - 25) > 14)
    cube.data[:, 30, 25] += 1000  # the mask stays about there
    estimator = KernelBackgroundEstimator(SOURCE, RING, 5, mask_update="grow")
    summed = Map(cube.geom.to_image(), cube.data.sum(axis=0))
    alone = estimator.run({"counts": summed, "exclusion": exclusion})
    assert estimator.report.n_kept > 0
    assert "every pixel under the background kernel is excluded" in str(estimator.report)
    kept = estimator.report.kept.data
    result = estimator.run({"counts": cube, "exclusion": exclusion})["background"].data
    np.testing.assert_array_equal(estimator.report.kept.data, kept)
    np.testing.assert_allclose(result.sum(axis=0), alone["background"].data, rtol=1e-9)
    share = cube.data[:, alone["exclusion"].data].sum(axis=1)
    np.testing.assert_allclose(
        result[:, kept] / result[:, kept].sum(axis=0),
        np.broadcast_to((share / share.sum())[:, None], (3, kept.sum())),
        rtol=1e-9,
    )
    given = Map(cube.geom, np.array([1.0, 2.0, 3.0])[:, None, None] * np.ones(cube.data.shape))
    start = {"counts": cube, "exclusion": exclusion, "background": given}
    np.testing.assert_array_equal(estimator.run(start, niter_max=0)["background"].data, given.data)
    result = estimator.run(start)["background"].data
    np.testing.assert_allclose(result[:, kept], given.data[:, kept], rtol=1e-12)


def test_axis_of_one_bin_is_an_image(cube):
    counts = cube.sum_over_axes()
    result = KernelBackgroundEstimator(SOURCE, RING).run({"counts": counts})
    assert all(m.geom == counts.geom for m in result.values())
    mask = Map(counts.geom.to_image(), result["exclusion"].data[0])
    again = KernelBackgroundEstimator(SOURCE, RING).run({"counts": counts, "exclusion": mask})
    np.testing.assert_array_equal(again["exclusion"].data, result["exclusion"].data)


def test_second_threshold_follows_a_source_into_its_wings():
    counts = simulated()
    plain = KernelBackgroundEstimator(SOURCE, RING, 6, "0 deg")
    low = KernelBackgroundEstimator(SOURCE, RING, 6, "0 deg", threshold_low=2)
    alone, found = (e.run_iteration({"counts": counts}) for e in (plain, low))
    significance = found["significance"].data
    np.testing.assert_array_equal(significance, alone["significance"].data)
    regions, _ = label(significance >= 2, structure=np.ones((3, 3)))
    wanted = np.isin(regions, np.unique(regions[significance >= 6])) & (regions > 0)
    np.testing.assert_array_equal(found["exclusion"].data, ~wanted)
    assert np.sum(wanted) > np.sum(~alone["exclusion"].data)
    # with both the same there is but one
    low.threshold_low = 6
    same = low.run_iteration({"counts": counts})
    np.testing.assert_array_equal(same["exclusion"].data, alone["exclusion"].data)


def test_mask_that_only_grows():
    estimator = KernelBackgroundEstimator(SOURCE, RING, 2.5, keep_record=True, mask_update="grow")
    counts = simulated()
    estimator.run({"counts": counts}, niter_max=100)
    assert estimator.report.converged
    assert estimator.report.period == 0
    masks = [images["exclusion"].data for images in estimator.images_stack]
    assert all(not np.any(after & ~before) for before, after in itertools.pairwise(masks))
    start = Map(counts.geom, np.random.default_rng(0).random(counts.data.shape) > 0.1)
    result = estimator.run({"counts": counts, "exclusion": start})
    assert not np.any(result["exclusion"].data & ~start.data)


def test_significance_of_a_fit():
    """The signed root of the test statistic of the norm of a kernel of any shape."""
    kernel = Gaussian2DKernel(1, x_size=5, y_size=5)
    estimator = KernelBackgroundEstimator(kernel, RING, significance="cash")
    counts = simulated()
    start = estimator.run({"counts": counts}, niter_max=0)
    once = estimator.run_iteration({"counts": counts})["significance"].data
    for row, col in ((30, 30), (12, 40), (20, 21)):
        window = slice(row - 2, row + 3), slice(col - 2, col + 3)
        fit = fit_norm(counts.data[window], start["background"].data[window], kernel.array)
        expected = float(np.sign(fit.norm) * np.sqrt(np.abs(fit.ts)))
        assert once[row, col] == pytest.approx(expected, rel=1e-6)
    # with a kernel of 0 and 1, and many counts, it is that of Li and Ma
    counts = simulated(expected=400.0, peak=200.0)
    lima, cash = (
        KernelBackgroundEstimator(SOURCE, RING, significance=name)
        .run_iteration({"counts": counts})["significance"]
        .data
        for name in ("lima", "cash")
    )
    np.testing.assert_allclose(cash[10:50, 10:50], lima[10:50, 10:50], atol=0.15)


def test_warning_about_a_source_kernel_that_does_not_count():
    counts = simulated()
    estimator = KernelBackgroundEstimator(Gaussian2DKernel(1, x_size=5, y_size=5), RING)
    for call in (estimator.run, estimator.run_iteration):
        with pytest.warns(SourceKernelWarning, match='Pass significance="cash"') as record:
            call({"counts": counts})
        assert record[0].filename == __file__
    # any scale of 0 and 1 is fine, and so is the fit: warnings are errors here
    for kernel in (SOURCE, SOURCE.array, 7 * np.ones((5, 5))):
        KernelBackgroundEstimator(kernel, RING).run({"counts": counts}, niter_max=1)
    estimator.significance = "cash"
    estimator.run({"counts": counts}, niter_max=1)


def test_report_of_a_run(estimator, bright):
    assert estimator.report is None
    result = estimator.run({"counts": bright})
    assert estimator.report.n_excluded == (0, 11, 11, 11)
    assert (estimator.report.niter, estimator.report.converged) == (3, True)
    assert result["exclusion"].meta == estimator.report.meta
    assert not estimator.report.kept.data.any()
    estimator.run_iteration({"counts": bright})
    assert (estimator.report.niter, estimator.report.n_excluded) == (1, (11,))
    estimator.run({"counts": bright}, niter_max=0)
    assert (estimator.report.niter, estimator.report.converged) == (0, False)


def test_larger_maps_are_cut_out_to_the_counts():
    rng = np.random.default_rng(6)
    large = Map.create(npix=(36, 33), binsz=0.1, proj="TAN")
    shape = large.data.shape
    maps = {"acceptance": rng.uniform(0.5, 2, shape), "exclusion": rng.uniform(0, 1, shape) > 0.1}
    maps |= {"background": rng.uniform(2, 3, shape), "mask": rng.uniform(0, 1, shape) > 0.05}
    maps = {name: Map(large.geom, data) for name, data in maps.items()}
    before = {name: m.copy() for name, m in maps.items()}
    own = {name: m.crop((3, 4)) for name, m in maps.items()}
    counts = Map(own["mask"].geom, rng.poisson(3.0, own["mask"].data.shape).astype(float))
    estimator = KernelBackgroundEstimator(np.ones((3, 3)), np.ones((9, 9)))
    for run in (estimator.run, estimator.run_iteration):
        expected = run({"counts": counts, **own})
        found = run({"counts": counts, **maps})
        for name, m in expected.items():
            np.testing.assert_array_equal(found[name].data, m.data)
            assert found[name].geom == m.geom
    for name, m in before.items():
        np.testing.assert_array_equal(maps[name].data, m.data)
    with pytest.raises(ValueError, match=r"acceptance does not .* lacks \d+ of \d+ pixels"):
        estimator.run({"counts": counts, "acceptance": own["acceptance"].crop(2)})


def test_a_mask_takes_bins_out_of_each_energy_and_of_the_sum():
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    rng = np.random.default_rng(4)
    counts = Map.create(npix=30, binsz=0.1, axes=[axis])
    counts.data += rng.poisson(3.0, counts.data.shape)
    counts.data[:, 14:17, 14:17] += 30
    acceptance = Map(counts.geom, rng.uniform(0.5, 2, counts.data.shape))
    mask = Map(counts.geom, np.ones(counts.data.shape, bool))
    mask.data[0, :6] = False  # at one energy only
    mask.data[:, :, :3] = False
    estimator = KernelBackgroundEstimator(np.ones((3, 3)), np.ones((9, 9)), keep_record=True)
    found = estimator.run({"counts": counts, "acceptance": acceptance, "mask": mask})
    assert estimator.report.converged
    # the mean of the kept counts over the acceptance, energy by energy, in a slow loop
    kept = found["exclusion"].data
    for energy, row, col in ((0, 8, 10), (1, 2, 20), (2, 15, 5), (0, 20, 20)):
        window = slice(max(row - 4, 0), row + 5), slice(max(col - 4, 0), col + 5)
        use = kept[window] & mask.data[energy][window]
        ratio = counts.data[energy][window][use].sum() / acceptance.data[energy][window][use].sum()
        expected = ratio * acceptance.data[energy, row, col]
        assert found["background"].data[energy, row, col] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(
        estimator.images_stack[-1]["background"].data, found["background"].data
    )
    # counts like the acceptance are no source, however many of its energies a pixel has
    flat = Map(counts.geom, 4 * acceptance.data)
    nothing = estimator.run({"counts": flat, "acceptance": acceptance, "mask": mask})
    seen = np.isfinite(nothing["significance"].data)
    assert seen[:, 3:].all()
    np.testing.assert_allclose(nothing["significance"].data[seen], 0, atol=1e-5)
    # a mask of all bins is none, and one that is partial wants an acceptance
    everything = Map(counts.geom, np.ones(counts.data.shape, bool))
    plain = estimator.run({"counts": counts})
    again = estimator.run({"counts": counts, "mask": everything})
    np.testing.assert_array_equal(again["background"].data, plain["background"].data)
    with pytest.warns(InputWarning, match="leaves out some energies of some pixels only"):
        estimator.run({"counts": counts, "mask": mask})
    with pytest.raises(TypeError, match="mask is a ndarray; expected a Map"):
        estimator.run({"counts": counts, "mask": mask.data})
    with pytest.raises(ValueError, match="mask does not have the pixels of counts"):
        estimator.run({"counts": counts, "mask": Map.create(npix=7)})
