"""Rings: the counts around a pixel and their acceptance, as gammapy has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.convolution import Ring2DKernel, Tophat2DKernel

from datasets import make_dataset
from gammagrad import KernelBackgroundEstimator, MapDataset, MapDatasetOnOff, RingBackgroundMaker
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import Map


def curved(mask: bool = False) -> MapDataset:
    """Return a simulated dataset whose background falls off from the middle."""
    dataset = make_dataset(npix=(31, 27), nbin=2, mask=mask, seed=3)
    offset = dataset.geom.separation(dataset.geom.center_skydir).to_value("deg")
    shape = np.exp(-0.5 * (offset / 1.5) ** 2) * np.array([2.0, 0.5])[:, None, None]
    dataset.background = Map(dataset.geom, shape)
    dataset.counts = Map(dataset.geom, np.random.default_rng(4).poisson(shape).astype(float))
    return dataset


def exclusion(dataset: MapDataset) -> Map:
    image = dataset.geom.to_image()
    return Map(image, image.separation(image.center_skydir).to_value("deg") > 0.35)


@pytest.mark.parametrize("mask", [False, True])
def test_sums_are_those_of_pixels_at_these_distances(mask: bool) -> None:
    dataset = curved(mask)
    kept = exclusion(dataset)
    found = RingBackgroundMaker("0.55 deg", 0.3, kept).run(dataset)
    rows, cols = np.indices(dataset.geom.shape_image)
    used = np.broadcast_to(kept.data, dataset.geom.data_shape)
    if mask:
        used = used & dataset.require("mask_safe").data
    for row, col in ((0, 0), (13, 15), (20, 4)):
        # a pixel on the edge belongs to the ring
        apart = np.hypot(rows - row, cols - col) * 0.1
        ring = (apart > 0.55 - 1e-6) & (apart < 0.85 + 1e-6)
        for name, values in (
            ("counts_off", dataset.require("counts").data),
            ("acceptance_off", dataset.require("background").data),
        ):
            wanted = np.where(used & ring, values, 0).sum(axis=(1, 2))
            assert np.allclose(found.require(name).data[:, row, col], wanted, rtol=1e-12), name
    assert np.array_equal(found.require("acceptance").data, dataset.require("background").data)


def test_a_ring_without_acceptance_measures_nothing() -> None:
    dataset = curved()
    nothing = Map(dataset.geom.to_image(), np.zeros(dataset.geom.shape_image, bool))
    nothing.data[0, 0] = True
    found = RingBackgroundMaker("0.55 deg", "0.3 deg", nothing).run(dataset)
    measured = found.require("acceptance_off").data > 0
    assert 0 < measured.sum() < measured.size / 4
    assert np.array_equal(found.require("mask_safe").data, measured)


def test_the_background_is_right_where_the_acceptance_is_curved() -> None:
    dataset = curved()
    found = RingBackgroundMaker("0.55 deg", "0.5 deg").run(dataset)
    background, truth = found.background, dataset.require("background")
    assert background is not None
    off = found.require("counts_off").data
    pull = (background.data - truth.data) / (found.alpha.data * np.sqrt(np.maximum(off, 1)))
    assert abs(pull[0].mean()) < 0.5
    assert pull[0].std() < 1.3


def test_the_loop_of_a_kernel_background_finds_the_same() -> None:
    dataset = curved()
    ring = Ring2DKernel(5, 3)
    estimator = KernelBackgroundEstimator(Tophat2DKernel(2), ring)
    images = {"counts": dataset.require("counts"), "acceptance": dataset.require("background")}
    result = estimator.run(images)
    found = RingBackgroundMaker(kernel=ring, exclusion_mask=result["exclusion"]).run(dataset)
    background = found.background
    assert background is not None
    assert np.allclose(background.data, result["background"].data, rtol=1e-9, atol=1e-12)


def test_gammapys_maker_has_the_same_sums(tmp_path: Path) -> None:
    makers = pytest.importorskip("gammapy.makers")
    from gammapy.datasets import MapDataset as Theirs
    from gammapy.maps import Map as TheirMap

    dataset = curved(mask=True)
    # gammapy sums what mask_safe leaves out as well
    safe = dataset.require("mask_safe").data
    dataset.counts = Map(dataset.geom, np.where(safe, dataset.require("counts").data, 0))
    dataset.background = Map(dataset.geom, np.where(safe, dataset.require("background").data, 0))
    dataset.write(tmp_path / "dataset.fits")
    kept = exclusion(dataset)
    Map(kept.geom, kept.data.astype(int)).write(tmp_path / "exclusion.fits")
    mask = TheirMap.read(tmp_path / "exclusion.fits")
    mask.data = mask.data.astype(bool)
    # so that no pixel is on an edge
    theirs = makers.RingBackgroundMaker("0.53 deg", "0.31 deg", mask).run(
        Theirs.read(tmp_path / "dataset.fits")
    )
    theirs.write(tmp_path / "ring.fits")
    other = MapDatasetOnOff.read(tmp_path / "ring.fits")
    ours = RingBackgroundMaker("0.53 deg", "0.31 deg", kept).run(dataset)
    for name in ("counts_off", "acceptance", "acceptance_off"):
        assert np.allclose(ours.require(name).data, other.require(name).data, atol=1e-9), name


def test_spaced_pixels_share_no_event_within_a_window() -> None:
    dataset = curved()
    maker = RingBackgroundMaker("0.6 deg", "0.6 deg", spacing="0.35 deg")
    every = maker.run(dataset)
    # a single event, to see in whose OFF regions it is
    counts = np.zeros(dataset.geom.data_shape)
    counts[0, 13, 15] = 1
    dataset.counts = Map(dataset.geom, counts)
    found = maker.run(dataset).require("counts_off").data[0]
    rows, cols = np.nonzero(found)
    assert found.max() == 1
    apart = np.maximum(np.abs(rows[:, None] - rows[None, :]), np.abs(cols[:, None] - cols[None, :]))
    np.fill_diagonal(apart, 99)
    assert apart.min() == 4
    distance = np.hypot(rows - 13, cols - 15)
    assert (distance > 5.99).all()
    assert (distance < 12.01).all()
    # squares of 4 x 4 pixels fill at best as much as the ring has
    area = np.pi * (12**2 - 6**2)
    assert 0.5 * area < 16 * len(rows) < 1.6 * area
    assert every.alpha.data[0, 13, 15] < 0.1


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({}, InputError, "expected r_in and width"),
        ({"r_in": 1}, InputError, "expected r_in and width"),
        ({"r_in": 1, "width": 1, "kernel": np.ones((3, 3))}, InputError, "expected r_in and width"),
        ({"kernel": np.ones((3, 2))}, InputError, "kernel: expected odd numbers"),
        ({"kernel": np.zeros((3, 3))}, InputError, "kernel: expected finite numbers"),
        ({"kernel": np.arange(9.0).reshape(3, 3)}, InputError, "kernel: its values differ"),
    ],
)
def test_a_ring_that_is_none_is_an_error(how: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        RingBackgroundMaker(**how)


def test_what_has_no_background_or_no_mask_is_an_error() -> None:
    maker, dataset = RingBackgroundMaker(0.5, 0.3), curved()
    with pytest.raises(InputTypeError, match="dataset: expected a MapDataset"):
        maker.run(maker.run(dataset))  # type: ignore[arg-type]
    dataset.background = None
    with pytest.raises(InputError, match="has no background, which this needs"):
        maker.run(dataset)
    other = RingBackgroundMaker(0.5, 0.3, Map.create(npix=3))
    with pytest.raises(InputError, match="exclusion_mask does not have the pixels"):
        other.run(curved())
