"""What a dataset takes, what it refuses, and what it says then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy import units as u

from datasets import make_dataset, make_geom
from gammagrad.dataset import MapDataset
from gammagrad.maps import EDispKernelMap, Map, MapAxis, PSFMap, RegionGeom, WcsGeom
from gammagrad.models import (
    FoVBackgroundModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

GEOM = make_geom(npix=(5, 4), nbin=2)
TRUE = GEOM.axes["energy"].rename("energy_true")


def source(name: str, **kwargs: Any) -> SkyModel:
    return SkyModel(PowerLawSpectralModel(), PointSpatialModel(), name=name, **kwargs)


def test_an_empty_dataset_has_nothing_but_a_name_of_its_own() -> None:
    one, other = MapDataset(), MapDataset()
    assert one.name != other.name
    assert one.counts is None
    assert one.mask is None
    with pytest.raises(ValueError, match=r"no geometry; expected counts, a background or a mask"):
        _ = one.geom
    with pytest.raises(ValueError, match=r"has no counts, which this needs; it has no map at all"):
        one.require("counts")


@pytest.mark.parametrize(
    ("part", "make", "error", "message"),
    [
        ("counts", lambda: np.zeros((2, 4, 5)), TypeError, r"counts: expected a gammagrad Map"),
        ("counts", lambda: Map(GEOM, unit="s"), ValueError, r"counts: unit 's'; expected counts"),
        (
            "background",
            lambda: Map(GEOM, unit="s-1 sr-1"),
            ValueError,
            r"background: unit .* expected counts per pixel and energy bin",
        ),
        ("counts", lambda: Map(GEOM.to_image()), ValueError, r"counts: an image without energy"),
        (
            "counts",
            lambda: Map(RegionGeom(GEOM.axes)),
            ValueError,
            r"counts: it has a region and no sky pixels",
        ),
        (
            "exposure",
            lambda: Map(GEOM.to_image().to_cube([TRUE]), 1.0, "s"),
            ValueError,
            r"exposure: unit 's' cannot be converted to 'cm2 s'",
        ),
        (
            "exposure",
            lambda: Map(GEOM.to_image().to_cube([TRUE]), 1.0),
            ValueError,
            r"exposure: it has no unit; expected area times time",
        ),
        (
            "exposure",
            lambda: Map(GEOM, 1.0, "cm2 s"),
            ValueError,
            r"exposure: axes energy; expected .*'energy_true'.*from_maps accepts",
        ),
        (
            "mask_fit",
            lambda: Map(GEOM, -0.5),
            ValueError,
            r"mask_fit: -0.5 at \(energy, row, col\) \(0, 0, 0\); expected booleans",
        ),
        ("psf", lambda: 0.1, TypeError, r"psf: expected a PSFMap or None, got float"),
        ("edisp", lambda: "none", TypeError, r"edisp: expected an EDispKernelMap.* got str"),
        ("models", lambda: ["crab"], TypeError, r"models: expected a SkyModel.* got 'crab'"),
    ],
)
def test_a_part_that_cannot_be_one_is_named(
    part: str, make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        MapDataset(**{part: make()}, name="mine")
    assert str(caught.value).startswith("dataset 'mine', ")


def other_geometry(kind: str) -> WcsGeom:
    options: dict[str, Any] = {"npix": (5, 4), "nbin": 2}
    options |= {
        "size": {"npix": (5, 5)},
        "pixels": {"binsz": 0.11},
        "place": {"skydir": (83.64, 22.01)},
        "frame": {"frame": "galactic"},
    }[kind]
    return make_geom(**options)


@pytest.mark.parametrize("kind", ["size", "pixels", "place", "frame"])
@pytest.mark.parametrize("part", ["background", "mask_safe", "exposure"])
def test_maps_on_other_pixels_are_refused(part: str, kind: str) -> None:
    geom = other_geometry(kind)
    unit = ""
    if part == "exposure":
        geom, unit = geom.to_image().to_cube([TRUE]), "cm2 s"
    with pytest.raises(ValueError, match=rf"{part} does not have the pixels of counts: it"):
        MapDataset(counts=Map(GEOM), **{part: Map(geom, 1.0, unit)})


def test_maps_with_other_energy_bins_are_refused() -> None:
    finer = make_geom(npix=(5, 4), nbin=3)
    with pytest.raises(
        ValueError, match=r"background and counts have different energy bins: 3 bins from 1 TeV"
    ):
        MapDataset(counts=Map(GEOM), background=Map(finer))
    shifted = GEOM.to_image().to_cube([MapAxis.from_energy_bounds("1 TeV", "11 TeV", nbin=2)])
    with pytest.raises(ValueError, match=r"to 11 TeV against 2 bins from 1 TeV to 10 TeV"):
        MapDataset(counts=Map(GEOM), mask_fit=Map(shifted, True))


def test_responses_with_other_bins_are_refused() -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    counts = Map(GEOM)
    with pytest.raises(ValueError, match=r"psf and counts have different energy bins"):
        MapDataset(counts=counts, psf=PSFMap.from_gauss(axis, "0.1 deg"))
    edisp = EDispKernelMap.from_diagonal(TRUE, axis)
    with pytest.raises(ValueError, match=r"edisp and counts have different bins on axis 'energy'"):
        MapDataset(counts=counts, edisp=edisp)
    exposure = Map(GEOM.to_image().to_cube([axis.rename("energy_true")]), 1.0, "m2 s")
    edisp = EDispKernelMap.from_diagonal(TRUE, GEOM.axes["energy"])
    with pytest.raises(ValueError, match=r"edisp and exposure have .* axis 'energy_true'"):
        MapDataset(counts=counts, exposure=exposure, edisp=edisp)


def test_equal_bins_in_other_units_are_equal() -> None:
    edges = GEOM.axes["energy"].edges.to("keV").astype("float32")
    axis = MapAxis.from_edges(edges, "energy", interp="lin")
    dataset = MapDataset(counts=Map(GEOM), background=Map(GEOM.to_image().to_cube([axis]), 1.0))
    assert dataset.background is not None


def test_the_unit_of_counts_is_dropped_and_the_input_left_alone() -> None:
    counts = Map(GEOM, 3.0, unit="ct pix-1")
    dataset = MapDataset(counts=counts)
    assert dataset.require("counts").unit == u.dimensionless_unscaled
    assert counts.unit == u.Unit("ct pix-1")


def test_masks_of_zeros_and_ones_become_booleans() -> None:
    given = Map(GEOM, np.arange(40).reshape(2, 4, 5) % 2)
    mask = MapDataset(mask_safe=given).mask
    assert mask is not None
    assert mask.data.dtype == bool
    assert np.array_equal(mask.data, given.data == 1)
    assert given.data.dtype.kind == "i"


def test_the_mask_is_where_both_masks_are() -> None:
    safe, fit = np.zeros((2, 2, 4, 5), dtype=bool)
    safe[0, 1, 2] = safe[1, 1, 3] = fit[0, 1, 2] = fit[1, 0, 0] = True
    dataset = MapDataset(mask_safe=Map(GEOM, safe), mask_fit=Map(GEOM, fit))
    assert dataset.mask is not None
    assert np.argwhere(dataset.mask.data).tolist() == [[0, 1, 2]]
    assert np.argwhere(dataset.mask_image.data).tolist() == [[1, 2]]
    dataset.mask_fit = None
    assert np.array_equal(dataset.mask.data, safe)
    dataset.mask_safe = None
    dataset.counts = Map(GEOM)
    assert dataset.mask is None
    assert dataset.mask_image.data.all()


def test_an_image_masks_all_energies() -> None:
    image = np.zeros((4, 5))
    image[1, 2] = 1
    dataset = MapDataset(counts=Map(GEOM))
    dataset.mask_fit = Map(GEOM.to_image(), image)
    assert np.argwhere(dataset.require("mask_fit").data).tolist() == [[0, 1, 2], [1, 1, 2]]


def test_whether_anything_is_masked_and_which_energies_are_left() -> None:
    dataset = make_dataset(npix=(5, 4), nbin=4)
    edges = dataset.energy_axis.edges
    assert not dataset.is_masked
    assert np.array_equal(dataset.energy_range, edges[[0, -1]])
    mask = np.ones(dataset.geom.data_shape, dtype=bool)
    dataset.mask_safe = Map(dataset.geom, mask)
    assert not dataset.is_masked
    mask[[0, 3]] = False
    dataset.mask_safe = Map(dataset.geom, mask)
    assert dataset.is_masked
    assert np.array_equal(dataset.energy_range, edges[[1, 3]])
    dataset.mask_safe = Map(dataset.geom, False)
    assert np.isnan(dataset.energy_range).all()


def test_a_part_can_be_replaced_but_not_by_one_that_does_not_fit() -> None:
    dataset = make_dataset(npix=(5, 4), nbin=2)
    before = dataset.require("background")
    with pytest.raises(ValueError, match="background does not have the pixels of counts"):
        dataset.background = Map(other_geometry("size"))
    assert dataset.background is before
    dataset.background = Map(GEOM, 7.0)
    assert dataset.npred().data.max() == 7.0


def test_models_for_other_datasets_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    dataset = make_dataset(npix=3, nbin=1, name="crab")
    dataset.models = [
        source("all"),
        source("mine", datasets_names="crab"),
        source("other", datasets_names=["vela", "gc"]),
        FoVBackgroundModel(dataset_name="crab"),
        FoVBackgroundModel(dataset_name="vela"),
    ]
    assert dataset.models is not None
    assert dataset.models.names == ["all", "mine", "crab-bkg"]
    with caplog.at_level(logging.WARNING):
        dataset.models = source("other", datasets_names="vela")
    assert len(dataset.models) == 0
    assert "'crab': none of the models other applies to it" in caplog.text
    dataset.models = None
    assert dataset.models is None


def test_two_models_of_one_background_are_refused() -> None:
    two = [FoVBackgroundModel("simulated", name="a"), FoVBackgroundModel("simulated", name="b")]
    with pytest.raises(ValueError, match=r"'simulated', models: 'a' and 'b' both scale"):
        make_dataset(npix=3, nbin=1).models = two


def spoil(part: str, value: float, index: tuple[int, int, int] = (1, 2, 3)) -> MapDataset:
    dataset = make_dataset(npix=(5, 4), nbin=2)
    dataset.require(part).data[index] = value
    return dataset


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("counts", -2.0, r"counts: negative in 1 of 40 bins, the first at .*\(1, 2, 3\) \(-2\)"),
        ("counts", np.nan, r"counts: NaN in 1 of 40 bins, the first at .*\(1, 2, 3\)"),
        ("counts", np.inf, r"counts: infinite in 1 of 40 bins"),
        ("background", -1e-3, r"background: negative in 1 of 40 bins, .*\(1, 2, 3\) \(-0.001\)"),
        ("background", np.inf, r"background: infinite in 1 of 40 bins"),
        ("exposure", np.nan, r"exposure: not finite in 1 of 40 bins, .* \(1, 2, 3\)"),
        ("exposure", -1.0, r"exposure: negative in 1 of 40 bins"),
    ],
)
def test_values_that_cannot_be_fitted_are_located(part: str, value: float, message: str) -> None:
    for for_fit in (True, False):
        with pytest.raises(ValueError, match=message):
            spoil(part, value).check(for_fit)


@pytest.mark.parametrize("part", ["counts", "background"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_masked_bins_may_hold_anything(part: str, value: float) -> None:
    dataset = spoil(part, value)
    mask = np.ones(GEOM.data_shape, dtype=bool)
    mask[1, 2, 3] = False
    dataset.mask_fit = Map(GEOM, mask)
    dataset.check()


def test_a_background_that_is_not_known_somewhere_is_no_error() -> None:
    spoil("background", np.nan).check()


def test_an_exposure_of_zero_is_an_error() -> None:
    dataset = make_dataset(npix=3, nbin=1, exposure=0.0)
    with pytest.raises(ValueError, match=r"'simulated', exposure: zero everywhere, so no flux"):
        dataset.check()


def test_a_mask_that_leaves_nothing_is_an_error_for_a_fit() -> None:
    dataset = make_dataset(npix=(5, 4), nbin=2)
    dataset.mask_safe = Map(GEOM, False)
    dataset.check(for_fit=False)
    with pytest.raises(ValueError, match="mask_safe and mask_fit leave no bin to fit"):
        dataset.check()


@pytest.mark.parametrize("part", ["counts", "exposure"])
def test_a_fit_needs_counts_and_exposure(part: str) -> None:
    dataset = make_dataset(npix=3, nbin=1)
    setattr(dataset, part, None)
    dataset.check(for_fit=False)
    with pytest.raises(ValueError, match=rf"'simulated' has no {part}, which this needs; it has"):
        dataset.check()


def test_a_fit_needs_a_background_or_models() -> None:
    dataset = make_dataset(npix=3, nbin=1)
    dataset.background = None
    with pytest.raises(ValueError, match="neither a background nor models"):
        dataset.check()
    dataset.models = source("crab")
    dataset.check()
