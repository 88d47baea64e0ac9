"""Masks that are weights of the likelihood, and masks that are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import poisson

from datasets import make_dataset, make_geom
from gammagrad.dataset import MapDataset
from gammagrad.maps import Map

GEOM = make_geom(npix=(5, 4), nbin=2)
MASKS = ("mask_safe", "mask_fit")


def weighted(weights: object, safe: object = None, seed: int = 3) -> MapDataset:
    """Return a dataset with weights, and perhaps a safe mask."""
    dataset = make_dataset(npix=(5, 4), nbin=2, seed=seed, background=1.5)
    dataset.mask_fit = Map(GEOM, weights)
    dataset.mask_safe = None if safe is None else Map(GEOM, safe)
    return dataset


@given(st.integers(0, 10**6), st.booleans())
def test_the_statistic_is_that_of_weighted_log_probabilities(seed: int, safe_too: bool) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 2, GEOM.data_shape) * (rng.random(GEOM.data_shape) < 0.8)
    safe = rng.random(GEOM.data_shape) < 0.7 if safe_too else None
    dataset = weighted(weights, safe, seed % 100)
    counts, npred = dataset.require("counts").data, dataset.npred().data
    # -2 log of the Poisson probability, less the term that does not depend on the model
    terms = -2 * poisson.logpmf(counts, npred) - 2 * gammaln(counts + 1)
    used = weights if safe is None else weights * safe
    assert dataset.stat_sum() == pytest.approx((used * terms).sum(), rel=1e-9)
    np.testing.assert_allclose(dataset.stat_array(), used * terms, rtol=1e-9, atol=1e-12)
    assert dataset.weights is not None
    np.testing.assert_allclose(dataset.weights.data, used)
    assert dataset.mask is not None
    assert dataset.mask.data.dtype == bool
    np.testing.assert_array_equal(dataset.mask.data, used > 0)


def test_zeros_and_ones_are_a_mask_whatever_their_type() -> None:
    pattern = np.arange(40).reshape(2, 4, 5) % 3 == 0
    wanted = weighted(pattern).stat_sum()
    for kind in (bool, int, float, np.float32, np.uint8):
        dataset = weighted(pattern.astype(kind))
        assert dataset.weights is None
        assert dataset.require("mask_fit").is_mask
        assert dataset.stat_sum() == wanted


def test_without_masks_there_are_no_weights() -> None:
    dataset = make_dataset(npix=(5, 4), nbin=2)
    assert dataset.weights is None
    dataset.mask_safe = Map(GEOM, True)
    assert dataset.weights is None


def test_the_product_of_two_weights() -> None:
    dataset = weighted(np.full(GEOM.data_shape, 0.5), np.full(GEOM.data_shape, 0.25))
    assert dataset.weights is not None
    assert np.all(dataset.weights.data == 0.125)
    assert not dataset.is_masked


def test_an_image_of_weights_goes_for_all_energies() -> None:
    dataset = make_dataset(npix=(5, 4), nbin=2)
    image = np.linspace(0, 1, 20).reshape(4, 5)
    dataset.mask_fit = Map(GEOM.to_image(), image.astype(np.float32))
    assert dataset.weights is not None
    assert dataset.weights.data.dtype == np.float64
    np.testing.assert_allclose(dataset.weights.data, np.stack([image, image]), rtol=1e-7)


def test_a_bin_without_weight_may_hold_anything() -> None:
    weights = np.full(GEOM.data_shape, 0.5)
    weights[1, 2, 3] = 0
    dataset = weighted(weights)
    stat = dataset.stat_sum()
    for part, value in (("counts", np.nan), ("counts", -4.0), ("background", np.inf)):
        changed = dataset.copy()
        changed.require(part).data[1, 2, 3] = value
        changed.check()
        assert changed.stat_sum() == stat


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
def test_weights_are_finite_and_not_negative(name: str, value: float) -> None:
    weights = np.full(GEOM.data_shape, 0.5)
    dataset = make_dataset(npix=(5, 4), nbin=2)
    setattr(dataset, name, Map(GEOM, weights))
    dataset.require(name).data[1, 2, 3] = value
    message = rf"{name}: {value} at \(energy, row, col\) \(1, 2, 3\); .*excluded bins to 0"
    with pytest.raises(ValueError, match=message):
        dataset.check()
    weights[1, 2, 3] = value
    with pytest.raises(ValueError, match=message):
        MapDataset(**{name: Map(GEOM, weights)})


def test_whole_numbers_are_no_weights() -> None:
    with pytest.raises(ValueError, match=r"mask_fit: 255 at .*\(data > 0\), or convert to float"):
        MapDataset(mask_fit=Map(GEOM, np.full(GEOM.data_shape, 255)))


@pytest.mark.parametrize("name", MASKS)
def test_a_file_keeps_the_weights(name: str, tmp_path: Path) -> None:
    dataset = make_dataset(npix=(5, 4), nbin=2)
    weights = np.random.default_rng(1).uniform(0, 1, GEOM.data_shape)
    setattr(dataset, name, Map(GEOM, weights))
    dataset.write(tmp_path / "dataset.fits.gz")
    again = MapDataset.read(tmp_path / "dataset.fits.gz")
    np.testing.assert_array_equal(again.require(name).data, weights)
    assert again.stat_sum() == dataset.stat_sum()


def test_a_file_of_zeros_and_ones_is_a_mask(tmp_path: Path) -> None:
    dataset = make_dataset(npix=(5, 4), nbin=2)
    dataset.mask_fit = Map(GEOM, np.arange(40).reshape(2, 4, 5) % 3 == 0)
    dataset.write(tmp_path / "dataset.fits")
    read = MapDataset.read(tmp_path / "dataset.fits").require("mask_fit")
    assert read.is_mask
    np.testing.assert_array_equal(read.data, dataset.require("mask_fit").data)


def test_weights_stay_with_the_parts_of_a_dataset() -> None:
    weights = np.random.default_rng(2).uniform(0.1, 1, GEOM.data_shape)
    dataset = weighted(weights)
    low, high = (
        dataset.slice_by_idx({"energy": slice(1)}),
        dataset.slice_by_idx({"energy": slice(1, 2)}),
    )
    assert low.stat_sum() + high.stat_sum() == pytest.approx(dataset.stat_sum(), rel=1e-12)
    assert dataset.pad(2).stat_sum() == pytest.approx(dataset.stat_sum(), rel=1e-12)


def test_printing_tells_of_weights() -> None:
    weights = np.full(GEOM.data_shape, 0.5)
    weights[0] = 0
    weights[1, 0, 0] = 0.125
    dataset = weighted(weights)
    text = str(dataset)
    assert "mask_fit    : 50 % of bins used, with weights from 0.125 to 0.5" in text
    assert "bins to fit : 20 of 40" in text
    dataset.mask_safe, dataset.mask_fit = dataset.mask_fit, None
    info = dataset.info_dict()
    assert info["n_fit_bins"] == 20
    assert info["counts"] == dataset.require("counts").data[1].sum()
    assert info["stat_sum"] == dataset.stat_sum()
