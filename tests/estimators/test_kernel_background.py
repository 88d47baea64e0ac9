"""The estimator on maps: the documented example, stored results, records and bad input."""

from __future__ import annotations

import itertools
import json

import jax
import numpy as np
import pytest
from astropy import units as u
from astropy.convolution import Ring2DKernel, Tophat2DKernel

from gammagrad.estimators import kernel_background as module
from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
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
        assert result["background"].meta == {"niter": 3, "converged": True}


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


def test_second_run_does_not_compile(monkeypatch, bright):
    traces = []

    def counted(*arguments):
        traces.append(arguments)
        return module.kernel_background(*arguments)

    monkeypatch.setattr(module, "_run", jax.jit(counted))
    for threshold, bounds in ((4, (2, 10)), (5.5, (0, 3)), (np.float32(3), (np.int64(1), 7))):
        estimator = KernelBackgroundEstimator(np.ones((3, 3)), np.ones((5, 5)), threshold)
        estimator.run({"counts": bright}, *bounds)
        estimator.run_iteration({"counts": bright})
    assert len(traces) == 1


def test_pixels_without_counts_data_have_no_weight(estimator, bright):
    whole = estimator.run({"counts": bright})
    bright.data[8, 8] = np.nan
    result = estimator.run({"counts": bright})
    np.testing.assert_array_equal(result["exclusion"].data, whole["exclusion"].data)
    np.testing.assert_allclose(result["background"].data, 42, rtol=1e-12)
    assert np.isnan(result["counts"].data[8, 8])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_src": np.ones((4, 3))}, "kernel_src: expected odd numbers"),
        ({"kernel_src": np.ones(3)}, "kernel_src: expected a two-dimensional"),
        ({"kernel_bkg": np.zeros((3, 3))}, "kernel_bkg: expected finite numbers >= 0"),
        ({"kernel_bkg": -np.ones((3, 3))}, "kernel_bkg: expected finite numbers >= 0"),
        ({"kernel_bkg": np.full((3, 3), np.nan)}, "kernel_bkg: expected finite numbers >= 0"),
        ({"significance_threshold": np.nan}, "significance_threshold: expected a number"),
        ({"mask_dilation_radius": "1 TeV"}, "mask_dilation_radius: cannot convert"),
        ({"mask_dilation_radius": "-1 deg"}, "mask_dilation_radius: expected an angle"),
        ({"mask_dilation_radius": [1, 2]}, "mask_dilation_radius: expected an angle"),
    ],
)
def test_bad_settings(change, words):
    with pytest.raises(ValueError, match=words):
        KernelBackgroundEstimator(
            **({"kernel_src": np.ones((3, 3)), "kernel_bkg": np.ones((5, 5))} | change)
        )


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({}, 'expected a dict of maps with "counts"'),
        ({"background": image()}, 'maps with "counts".*got background'),
        (image(), "got Map"),
        ({"counts": image(), "acceptance": image()}, "acceptance unknown"),
        ({"counts": image(), "background": image(11)}, "background: expected the geometry"),
        ({"counts": image(), "exclusion": image(binsz=0.5)}, "exclusion: expected the geometry"),
        ({"counts": image(data=-1)}, "counts: expected numbers >= 0, got -1"),
        ({"counts": image(data=np.nan)}, "counts: expected finite numbers"),
        ({"counts": image(), "background": image(data=-2.0)}, "background: expected numbers >= 0"),
        ({"counts": image(unit="cm-2")}, "counts: expected counts per pixel"),
        ({"counts": image(4)}, "kernel_bkg: expected a kernel that fits in the map of 4 x 4"),
        (
            {"counts": image(axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)])},
            "counts: expected one image of the sky",
        ),
    ],
)
def test_bad_images(estimator, images, words):
    for call in (estimator.run, estimator.run_iteration):
        with pytest.raises(ValueError, match=words):
            call(images)


def test_bad_types(estimator, bright):
    with pytest.raises(TypeError, match="background is a ndarray, expected a Map"):
        estimator.run({"counts": bright, "background": np.ones((10, 10))})
    with pytest.raises(TypeError, match=r"niter_max: expected a whole number, got 2\.5"):
        estimator.run({"counts": bright}, niter_max=2.5)
    with pytest.raises(ValueError, match="niter_min: expected a number >= 0"):
        estimator.run({"counts": bright}, niter_min=-1)


@pytest.mark.data
@pytest.mark.parametrize(
    "case", ["unit_run", "unit_dil0", "seed_dil3", "hess-crab_t4_d0.05_given", "poisson_t3_d0.1"]
)
def test_stored_run(reference_dir, case):
    folder = reference_dir / "kbe"
    info = json.loads((folder / f"{case}.json").read_text())
    arrays, inputs = (
        np.load(folder / f"{case}.npz"),
        np.load(folder / f"inputs_{info['image']}.npz"),
    )
    shape = inputs["counts"].shape
    images = {
        name: Map.create(npix=shape[::-1], binsz=info["pixel_scale_deg"], data=inputs[name])
        for name in ["counts", *info["given"]]
    }
    estimator = KernelBackgroundEstimator(
        arrays["kernel_src"],
        arrays["kernel_bkg"],
        info["significance_threshold"],
        info["mask_dilation_radius_deg"],
    )
    result = estimator.run(images, info["niter_min"], info["niter_max"])
    excluded = (~result["exclusion"].data).sum()
    if case == "unit_dil0":  # only the number of excluded pixels is stored
        assert excluded == info["orig_n_excluded"]
        return
    record = info["variants"]["strict_float64_fft"]
    assert excluded == record["n_excluded"][-1]
    assert result["exclusion"].meta == {"niter": record["niter"], "converged": True}
    key = f"strict_float64_fft__{record['niter']}__"
    np.testing.assert_array_equal(result["exclusion"].data, arrays[f"{key}exclusion"])
    np.testing.assert_allclose(
        result["background"].data, arrays[f"{key}background"], rtol=1e-9, atol=1e-12
    )
    found = arrays[f"{key}significance"]
    ours = result["significance"].data[np.isfinite(found)]
    np.testing.assert_allclose(ours, found[np.isfinite(found)], atol=1e-5)
