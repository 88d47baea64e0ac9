"""Cutting, slicing and padding conserve what they should, and leave the original alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from datasets import make_dataset
from gammagrad.dataset import MapDataset
from gammagrad.maps import EDispKernelMap, Map, MapAxis, PSFMap, RegionGeom, WcsGeom
from gammagrad.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
)

MAPS = ("counts", "background", "exposure", "mask_safe", "mask_fit")


def full_dataset(**kwargs: Any) -> MapDataset:
    """Return a dataset with every part, responses on coarse pixels and in both energies."""
    dataset = make_dataset(mask=True, **kwargs)
    axis = dataset.energy_axis
    true = axis.rename("energy_true")
    coarse = WcsGeom.create(4, 1.0, skydir=(83.63, 22.01), proj="TAN")
    rad = MapAxis.from_bounds("0 deg", "0.5 deg", nbin=40, name="rad")
    values = np.exp(-0.5 * (rad.center_in("deg") / 0.15) ** 2) / (2 * np.pi * np.deg2rad(0.15) ** 2)
    psf = Map(
        coarse.to_cube([rad, axis]),
        np.ones((1, 1, 4, 4)) * values[None, :, None, None] * np.ones((axis.nbin, 1, 1, 1)),
        "sr-1",
    )
    dataset.psf = PSFMap(psf, Map(coarse.to_cube([rad.squash(), axis]), 1.0, "m2 s"))
    matrix = np.eye(axis.nbin)[:, :, None, None] * np.ones((1, 1, 4, 4))
    exposure = Map(coarse.to_cube([axis.squash(), true]), 2.0, "m2 s")
    dataset.edisp = EDispKernelMap(Map(coarse.to_cube([axis, true]), matrix), exposure)
    fit = np.ones(dataset.geom.data_shape, dtype=bool)
    fit[:, 5:7, 5:9] = False
    dataset.mask_fit = Map(dataset.geom, fit)
    dataset.models = SkyModel(
        PowerLawSpectralModel(amplitude=1e-11), PointSpatialModel(83.6, 22.1), name="source"
    )
    return dataset


def fingerprint(dataset: MapDataset) -> list[str]:
    maps = [getattr(dataset, name) for name in MAPS]
    for response, name in ((dataset.psf, "psf_map"), (dataset.edisp, "edisp_map")):
        if response is not None:
            maps += [getattr(response, name), response.exposure_map]
    arrays = [m.data for m in maps if m is not None]
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]


def test_no_operation_changes_its_input() -> None:
    dataset = full_dataset()
    before = fingerprint(dataset)
    dataset.cutout((83.6, 22.0), "1 deg")
    dataset.pad(3)
    dataset.slice_by_energy("2 TeV", "8 TeV")
    dataset.check()
    dataset.npred()
    dataset.stat_sum()
    dataset.info_dict()
    str(dataset)
    changed = dataset.copy()
    for name in MAPS:
        changed.require(name).data[:] = 0
    assert changed.psf is not None
    assert changed.edisp is not None
    changed.psf.psf_map.data[:] = 0
    changed.edisp.edisp_map.data[:] = 0
    assert fingerprint(dataset) == before


def test_a_copy_has_all_parts_and_may_have_another_name() -> None:
    dataset = full_dataset()
    copy = dataset.copy()
    assert fingerprint(copy) == fingerprint(dataset)
    assert copy.name == dataset.name
    assert copy.models is not None
    assert copy.models.names == ["source"]
    assert dataset.copy(name="other").name == "other"


@given(row=st.integers(2, 18), col=st.integers(2, 22), ny=st.integers(1, 4), nx=st.integers(1, 4))
def test_a_cutout_is_the_part_of_the_arrays(row: int, col: int, ny: int, nx: int) -> None:
    dataset = full_dataset()
    position = dataset.geom.pix_to_sky(float(col), float(row))
    width = u.Quantity([(2 * nx + 1) * 0.1, (2 * ny + 1) * 0.1], "deg")
    part = dataset.cutout(position, width)
    rows = slice(max(row - ny, 0), row + ny + 1)
    cols = slice(max(col - nx, 0), col + nx + 1)
    for name in MAPS:
        wanted = dataset.require(name).data[:, rows, cols]
        assert np.array_equal(part.require(name).data, wanted), name
    corner = part.geom.pix_to_sky(0, 0)
    x, y = dataset.geom.sky_to_pix(corner)
    assert (round(float(x)), round(float(y))) == (cols.start, rows.start)


def test_a_cutout_off_the_map_is_an_error() -> None:
    dataset = make_dataset()
    with pytest.raises(ValueError, match=r"."):
        dataset.cutout(SkyCoord(120.0, 22.0, unit="deg"), "1 deg")
    with pytest.raises(ValueError, match=r"."):
        dataset.cutout((83.63, 22.01), "9 deg", mode="strict")


@given(st.integers(1, 5))
def test_slices_at_an_edge_add_up_to_the_whole(cut: int) -> None:
    dataset = full_dataset(nbin=6, npix=(9, 8))
    dataset.models = None
    edge = dataset.energy_axis.edges[cut]
    low, high = dataset.slice_by_energy(energy_max=edge), dataset.slice_by_energy(edge, None)
    assert low.energy_axis.nbin + high.energy_axis.nbin == 6
    for name in ("counts", "background", "mask_safe", "mask_fit"):
        both = np.concatenate([low.require(name).data, high.require(name).data])
        assert np.array_equal(both, dataset.require(name).data), name
    for part in (low, high):
        assert np.array_equal(part.require("exposure").data, dataset.require("exposure").data)
    total = dataset.stat_sum()
    assert low.stat_sum() + high.stat_sum() == pytest.approx(total, rel=1e-12)


@given(st.floats(1.001, 9.99), st.floats(1.001, 9.99))
def test_energies_go_to_the_nearest_edge(one: float, other: float) -> None:
    dataset = make_dataset(nbin=4, npix=3)
    low, high = sorted((one, other))
    log_edges = np.log(dataset.energy_axis.edges_in("TeV"))
    nearest = [int(np.argmin(np.abs(log_edges - np.log(energy)))) for energy in (low, high)]
    if nearest[0] == nearest[1]:
        with pytest.raises(ValueError, match=r"'simulated', axis 'energy'"):
            dataset.slice_by_energy(low, high)
        return
    sliced = dataset.slice_by_energy(f"{low} TeV", u.Quantity(high * 1e3, "GeV"))
    expected = dataset.energy_axis.edges[nearest[0] : nearest[1] + 1].value
    assert np.allclose(sliced.energy_axis.edges.value, expected, rtol=1e-12)


def test_a_slice_cuts_the_responses_that_depend_on_that_energy() -> None:
    dataset = full_dataset(nbin=3)
    sliced = dataset.slice_by_idx({"energy": slice(1, 3)})
    assert sliced.psf is not None
    assert sliced.edisp is not None
    assert sliced.psf.psf_map.geom.axes["energy"].nbin == 2
    assert sliced.edisp.edisp_map.data.shape == (3, 2, 4, 4)
    assert sliced.edisp.exposure_map is not None
    assert sliced.edisp.exposure_map.data.shape == (3, 1, 4, 4)
    assert np.allclose(sliced.npred().data, dataset.npred().data[1:], rtol=1e-9)
    true = dataset.slice_by_idx({"energy_true": slice(0, 2)})
    assert true.require("exposure").data.shape[0] == 2
    assert true.edisp is not None
    assert true.edisp.edisp_map.data.shape == (2, 3, 4, 4)
    assert true.edisp.exposure_map is not None
    assert true.edisp.exposure_map.data.shape == (2, 1, 4, 4)


def test_a_slice_of_an_unknown_axis_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no axis 'rad'; expected energy or energy_true"):
        make_dataset().slice_by_idx({"rad": slice(0, 1)})


def test_a_psf_without_position_keeps_its_table() -> None:
    dataset = make_dataset()
    for part in (dataset.cutout((83.63, 22.01), "0.5 deg"), dataset.pad(2)):
        assert part.psf is not None
        assert isinstance(part.psf.psf_map.geom, RegionGeom)


@given(st.integers(0, 4), st.integers(0, 4))
def test_a_border_is_empty_and_masked(rows: int, cols: int) -> None:
    dataset = full_dataset(npix=(7, 6))
    dataset.models = None  # every shape would compile once more
    padded = dataset.pad((rows, cols))
    ny, nx = dataset.geom.shape_image
    inside = (slice(None), slice(rows, rows + ny), slice(cols, cols + nx))
    for name in MAPS:
        data = padded.require(name).data
        assert np.array_equal(data[inside], dataset.require(name).data)
        assert np.count_nonzero(data) == np.count_nonzero(dataset.require(name).data)
        assert data.dtype == dataset.require(name).data.dtype
    assert padded.geom.shape_image == (ny + 2 * rows, nx + 2 * cols)
    x, y = padded.geom.sky_to_pix(dataset.geom.pix_to_sky(0, 0))
    assert (float(x), float(y)) == pytest.approx((cols, rows), abs=1e-6)
    assert padded.stat_sum() == pytest.approx(dataset.stat_sum(), rel=1e-9)


def test_operations_keep_or_change_the_name() -> None:
    dataset = make_dataset()
    assert dataset.pad(1).name == "simulated"
    assert dataset.pad(1, name="padded").name == "padded"
    assert dataset.slice_by_energy(name="slice").name == "slice"
    assert dataset.cutout((83.63, 22.01), "1 deg", name="part").name == "part"


def blocks(data: np.ndarray, factor: int) -> list[tuple[tuple[int, int, int], np.ndarray]]:
    """Return the pixels of each block of each energy, with its index."""
    energies, ny, nx = data.shape
    return [
        ((e, y, x), data[e, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor])
        for e in range(energies)
        for y in range(ny // factor)
        for x in range(nx // factor)
    ]


@given(factor=st.integers(1, 5), ny=st.integers(1, 4), nx=st.integers(1, 4))
def test_merged_pixels_hold_what_their_parts_did(factor: int, ny: int, nx: int) -> None:
    dataset = full_dataset(npix=(factor * nx, factor * ny))
    dataset.models = None
    rng = np.random.default_rng(factor + 10 * ny + 100 * nx)
    shape = dataset.geom.data_shape
    dataset.mask_safe = Map(dataset.geom, rng.random(shape) < 0.7)
    dataset.mask_fit = Map(dataset.geom, rng.random(shape) < 0.2)
    dataset.require("background").data[rng.random(shape) < 0.1] = np.nan
    dataset.require("counts").data[rng.random(shape) < 0.1] = 3
    safe = dataset.require("mask_safe").data
    dataset.require("counts").data[~safe] = np.inf  # masked bins may hold anything
    coarse = dataset.downsample(factor)
    assert coarse.name == dataset.name
    background = dict(blocks(dataset.require("background").data, factor))
    safe_blocks = dict(blocks(safe, factor))
    for index, counts in blocks(dataset.require("counts").data, factor):
        known = safe_blocks[index] & ~np.isnan(background[index])
        assert coarse.require("counts").data[index] == counts[known].sum()
        merged = coarse.require("background").data[index]
        if safe_blocks[index].any() and not known.any():
            assert np.isnan(merged)
        else:
            assert merged == pytest.approx(background[index][known].sum())
    for index, exposure in blocks(dataset.require("exposure").data, factor):
        assert coarse.require("exposure").data[index] == pytest.approx(exposure.mean())
    for name in ("mask_safe", "mask_fit"):
        for index, mask in blocks(dataset.require(name).data, factor):
            assert coarse.require(name).data[index] == mask.any()
    middle = (factor - 1) / 2
    apart = coarse.geom.pix_to_sky(0, 0).separation(dataset.geom.pix_to_sky(middle, middle))
    assert apart.deg < 1e-9
    assert coarse.psf is dataset.psf
    assert coarse.edisp is dataset.edisp


def test_merging_needs_a_factor_that_divides() -> None:
    dataset = make_dataset(npix=(9, 6))
    with pytest.raises(ValueError, match="9 x 6 pixels cannot be merged by 2; pad or crop"):
        dataset.downsample(2)
    assert dataset.pad(((0, 0), (0, 1))).downsample(2, name="x").geom.shape_image == (3, 5)
    only = MapDataset(exposure=dataset.exposure)
    assert only.downsample(3).require("exposure").data.shape == (3, 2, 3)


def test_weights_are_averaged_over_the_pixels_that_have_any() -> None:
    dataset = make_dataset(npix=(4, 4), nbin=1)
    weights = np.zeros((1, 4, 4))
    weights[0, :2, :2] = [[0.5, 0.0], [0.1, 0.0]]
    weights[0, 2:, 2:] = 0.25
    dataset.mask_fit = Map(dataset.geom, weights)
    coarse = dataset.downsample(2)
    np.testing.assert_allclose(coarse.require("mask_fit").data, [[[0.3, 0], [0, 0.25]]])


def test_models_are_predicted_on_merged_pixels() -> None:
    dataset = make_dataset(npix=(20, 24), nbin=2, background=0.5)
    position = dataset.geom.center_skydir
    template = Map(dataset.geom, np.random.default_rng(1).random(dataset.geom.data_shape))
    norm = PowerLawNormSpectralModel(norm=1.5, tilt=0.3)
    dataset.models = [
        SkyModel(
            PowerLawSpectralModel(amplitude=1e-11),
            GaussianSpatialModel(position.ra, position.dec, "0.3 deg"),
            name="source",
        ),
        FoVBackgroundModel(dataset.name, PowerLawNormSpectralModel(norm=2)),
        TemplateNPredModel(template, norm, name="template"),
    ]
    npred = dataset.npred()
    coarse = dataset.downsample(2)
    assert coarse.models is not None
    assert coarse.models.names == ["source", "simulated-bkg", "template"]
    np.testing.assert_allclose(coarse.npred().data, npred.downsample(2).data, rtol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "factor"),
    [
        ("fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", 4),
        ("reduced/hess-crab.fits.gz", 5),
        ("reduced/hess-crab-1deg-maskfit.fits.gz", 5),
        ("reduced/cta-1dc-vela.fits.gz", 2),
        ("hawc/DL4/nHit-8.fits.gz", 6),
    ],
)
def test_merging_is_gammapys(gammapy_data: Path, path: str, factor: int) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    theirs = datasets.MapDataset.read(gammapy_data / path).downsample(factor)
    ours = MapDataset.read(gammapy_data / path).downsample(factor)
    for name in MAPS:
        m, wanted = getattr(ours, name), getattr(theirs, name)
        assert (m is None) == (wanted is None), name
        if m is not None:
            np.testing.assert_allclose(m.data, wanted.data, rtol=1e-5, err_msg=name)
            sky = wanted.geom.to_image().get_coord().skycoord[2, 1]
            assert np.allclose(m.geom.sky_to_pix(sky), (1, 2), atol=1e-3)
