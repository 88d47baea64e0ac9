"""Settings, reports and bad input of the background estimator."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.convolution import Gaussian2DKernel, Ring2DKernel, Tophat2DKernel

from gammagrad.dataset import MapDataset
from gammagrad.estimators.kernel_background import BackgroundReport, KernelBackgroundEstimator
from gammagrad.maps import Map, MapAxis, disc_kernel

SOURCE, RING = Tophat2DKernel(2), Ring2DKernel(8, 4)


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
    return KernelBackgroundEstimator(np.ones((1, 3)), np.ones((5, 3)), 4, "1 deg")


def report(**changes):
    parts = {"niter": 4, "converged": False, "period": 0, "n_excluded": (0, 9, 7)}
    return BackgroundReport(**(parts | {"kept": image(data=False)} | changes))


def test_report_in_words():
    assert str(report(converged=True)) == (
        "The mask converged after 4 iterations; 7 of 100 pixels are excluded."
    )
    assert str(report(period=2)).startswith("The masks repeat every 2 iterations and will not")
    assert "grow" in str(report(period=2))
    assert str(report(niter=1)).startswith("Stopped after 1 iteration, before the mask had conv")
    assert str(report(niter=0)).startswith("No iteration was done, this is the start")
    kept = image(data=False)
    kept.data[3, 3] = True
    assert "At 1 pixel every pixel under the background kernel" in str(report(kept=kept))
    assert report(kept=kept).n_kept == report(kept=kept).meta["n_kept"] == 1


def test_settings_can_be_written_and_read(bright):
    estimator = KernelBackgroundEstimator(
        SOURCE, RING, 4, "0.1 deg", threshold_low=2, mask_update="grow", significance="cash"
    )
    text = json.dumps(estimator.settings)
    for twin in (KernelBackgroundEstimator(**json.loads(text)), estimator.copy()):
        assert twin.settings == estimator.settings
        np.testing.assert_array_equal(twin.kernel_src, SOURCE.array)
    assert "kernel_src              : 5 x 5 pixels, 0 and 1" in repr(estimator)
    assert "mask_dilation_radius    : 0.1 deg" in str(estimator)
    twin = estimator.copy()
    twin.kernel_src[0, 0] = 3
    twin.significance_threshold = 7
    assert estimator.kernel_src[0, 0] == SOURCE.array[0, 0]
    assert estimator.significance_threshold == 4
    gauss = KernelBackgroundEstimator(Gaussian2DKernel(1), RING)
    assert "9 x 9 pixels, of any values" in repr(gauss)


def test_settings_are_checked_when_set(estimator, bright):
    with pytest.raises(ValueError, match="kernel_src: expected odd numbers"):
        estimator.kernel_src = np.ones((2, 2))
    with pytest.raises(AttributeError, match="did you mean 'significance_threshold'"):
        estimator.significance_treshold = 3
    estimator.threshold_low = 4.5
    with pytest.raises(ValueError, match="threshold_low: expected at most"):
        estimator.run({"counts": bright})
    before = estimator.settings
    estimator.threshold_low = None
    estimator.run({"counts": bright})
    assert estimator.settings == before | {"threshold_low": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_src": np.ones((4, 3))}, "kernel_src: expected odd numbers"),
        ({"kernel_src": np.ones(3)}, "kernel_src: expected a two-dimensional"),
        ({"kernel_src": "top hat"}, "kernel_src: expected a radius above 0, such as"),
        ({"kernel_bkg": None}, "kernel_bkg: expected a two-dimensional array, got shape"),
        ({"kernel_bkg": np.zeros((3, 3))}, "kernel_bkg: expected finite numbers >= 0"),
        ({"kernel_bkg": -np.ones((3, 3))}, "kernel_bkg: expected finite numbers >= 0"),
        ({"kernel_bkg": np.full((3, 3), np.nan)}, "kernel_bkg: expected finite numbers >= 0"),
        ({"significance_threshold": np.nan}, "significance_threshold: expected a number"),
        ({"significance_threshold": "high"}, "significance_threshold: expected a number"),
        ({"mask_dilation_radius": "1 TeV"}, "mask_dilation_radius: cannot convert"),
        ({"mask_dilation_radius": "-1 deg"}, "mask_dilation_radius: expected an angle"),
        ({"mask_dilation_radius": [1, 2]}, "mask_dilation_radius: expected an angle"),
        ({"mask_dilation_radius": "wide"}, "mask_dilation_radius: expected an angle"),
        ({"mask_dilation_radius": None}, "mask_dilation_radius: expected an angle"),
        ({"mask_dilation_radius": "3 pix"}, r"multiply by their size, 3 \* counts.geom.pixel_sc"),
        ({"mask_dilation_radius": 3 * u.pix}, r"multiply by their size, 3 \* counts.geom.pixel"),
        ({"threshold_low": 6}, "threshold_low: expected at most significance_threshold.* 5, got 6"),
        ({"threshold_low": np.nan}, "threshold_low: expected a number"),
        ({"mask_update": "shrink"}, "mask_update is 'shrink'; there are replace, grow"),
        ({"significance": "Lima"}, "significance is 'Lima'; did you mean 'lima'"),
        ({"keep_record": "yes"}, "keep_record is 'yes'; expected True or False"),
    ],
)
def test_bad_settings(change, words):
    with pytest.raises(ValueError, match=words):
        KernelBackgroundEstimator(
            **({"kernel_src": np.ones((3, 3)), "kernel_bkg": np.ones((5, 5))} | change)
        )


AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({}, 'expected a dict of maps with "counts"'),
        ({"background": image()}, 'maps with "counts".*got background'),
        (image(), r'got Map\. Pass \{"counts": counts\}'),
        (MapDataset(counts=image(axes=[AXIS])), r'got MapDataset\. Pass \{"counts": dataset.cou'),
        ({"counts": image(), "exposure": image()}, "exposure unknown; expected counts"),
        ({"counts": image(), "background": image(11)}, "background does not have the pix"),
        ({"counts": image(), "exclusion": image(binsz=0.5)}, "exclusion does not have the pix"),
        ({"counts": image(), "exclusion": image(11)}, "exclusion does not have the pixels"),
        ({"counts": image(), "acceptance": image(11)}, "acceptance does not have the pixels"),
        ({"counts": image(), "exclusion": image(data=0.5)}, r"exclusion: expected booleans.*0\.5"),
        ({"counts": image(data=-1)}, "counts: expected numbers >= 0, got -1"),
        ({"counts": image(data=np.nan)}, "counts: expected finite numbers"),
        ({"counts": image(), "background": image(data=-2.0)}, "background: expected numbers >= 0"),
        ({"counts": image(), "acceptance": image(data=-2.0)}, "acceptance: expected numbers >= 0"),
        ({"counts": image(), "acceptance": image(data=0.0)}, "acceptance: .* not all of them 0"),
        ({"counts": image(unit="cm-2")}, "counts: expected counts per pixel"),
        ({"counts": image(), "background": image(unit="s-1")}, "background: expected counts per"),
        ({"counts": image(4)}, "kernel_bkg: expected a kernel that fits in the map of 4 x 4"),
        ({"counts": image(2)}, "kernel_src: expected a kernel that fits in the map of 2 x 2"),
        ({"counts": image(binsz=0.05)}, "mask_dilation_radius: expected a radius within the map"),
        (
            {"counts": image(axes=[AXIS]), "background": image()},
            "background: expected the geometry of counts",
        ),
        (
            {"counts": image(axes=[AXIS]), "exclusion": image(axes=[AXIS], data=True)},
            "exclusion: expected an image, since one mask goes for all energies, got 3",
        ),
        (
            {"counts": image(axes=[AXIS, MapAxis.from_bounds(0, 1, 2, name="time")])},
            "counts: expected an image or one axis of energies, got axes energy, time",
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
    with pytest.raises(TypeError, match="niter_min: expected a whole number, got None"):
        estimator.run({"counts": bright}, niter_min=None)
    with pytest.raises(ValueError, match="niter_min: expected a number >= 0"):
        estimator.run({"counts": bright}, niter_min=-1)


def test_angles_are_discs_and_rings_on_the_pixels_of_the_map(bright):
    by_angle = KernelBackgroundEstimator("1 deg", ("1.5 deg", "2.5 deg"), 4, "1 deg")
    source, ring = by_angle.kernels(bright.geom)
    np.testing.assert_array_equal(source, disc_kernel(bright.geom, "1 deg"))
    np.testing.assert_array_equal(ring, disc_kernel(bright.geom, "2.5 deg", "1.5 deg"))
    by_image = KernelBackgroundEstimator(source, ring, 4, "1 deg")
    found, expected = (e.run({"counts": bright}) for e in (by_angle, by_image))
    for name, m in expected.items():
        np.testing.assert_array_equal(found[name].data, m.data)
    twin = KernelBackgroundEstimator(**json.loads(json.dumps(by_angle.settings)))
    np.testing.assert_array_equal(twin.kernels(bright.geom)[1], ring)
    in_pixels = KernelBackgroundEstimator("3 pix", [2, 4] * u.pix)
    assert in_pixels.kernels(bright.geom)[0].shape == (7, 7)


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (("0 deg", RING), "kernel_src: expected a radius above 0"),
        (("1 TeV", RING), "kernel_src"),
        (("wide", RING), "kernel_src: expected a radius above 0"),
        ((("1 deg", "2 deg"), RING), "kernel_src: expected the radius of a disc"),
        ((SOURCE, ("2 deg", "1 deg")), "kernel_bkg: expected the inner and then the outer radius"),
        ((0.1, RING), "kernel_src: expected a two-dimensional array"),
    ],
)
def test_what_is_neither_a_kernel_nor_an_angle(kernels, message):
    with pytest.raises(ValueError, match=message):
        KernelBackgroundEstimator(*kernels)


def test_a_ring_between_the_pixels_is_an_error(bright):
    thin = KernelBackgroundEstimator("1 deg", ("1.1 deg", "1.2 deg"))
    with pytest.raises(ValueError, match="kernel_bkg: no pixel lies in the ring"):
        thin.run({"counts": bright})
