"""Methods of datasets that scripts for gammapy use: sums, masks, images, draws, residuals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from datasets import make_dataset
from gammagrad import MapDatasetOnOff
from gammagrad.dataset import Datasets, MapDataset
from gammagrad.maps import EDispKernelMap, EDispMap, Map, MapAxis, PSFMap, RegionGeom, WcsGeom
from gammagrad.models import FoVBackgroundModel, PowerLawNormSpectralModel

MAPS = ("counts", "background", "exposure", "mask_safe", "mask_fit")
FILES = (
    "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz",
    "reduced/hess-crab.fits.gz",
    "reduced/cta-1dc-vela.fits.gz",
    "reduced/hess-crab-1deg-maskfit.fits.gz",
)


def with_responses(npix: int = 12, exposure: float = 1.0, sigma: float = 0.15) -> MapDataset:
    """Return a dataset with responses on coarse pixels that know their exposure."""
    dataset = make_dataset(npix=npix, nbin=4)
    axis = dataset.energy_axis
    true = axis.rename("energy_true")
    coarse = WcsGeom.create(3, 0.5, skydir=dataset.geom.center_skydir, proj="TAN")
    rad = MapAxis.from_bounds("0 deg", "1 deg", nbin=80, name="rad")
    values = np.exp(-0.5 * (rad.center_in("deg") / sigma) ** 2) / (
        2 * np.pi * np.deg2rad(sigma) ** 2
    )
    everywhere = np.ones((true.nbin, 1, 3, 3))
    seen = Map(coarse.to_cube([rad.squash(), true]), exposure, "m2 s")
    dataset.psf = PSFMap(
        Map(coarse.to_cube([rad, true]), values[None, :, None, None] * everywhere, "sr-1"), seen
    )
    matrix = np.eye(axis.nbin)[:, :, None, None] * np.ones((1, 1, 3, 3))
    seen = Map(coarse.to_cube([axis.squash(), true]), exposure, "m2 s")
    dataset.edisp = EDispKernelMap(Map(coarse.to_cube([axis, true]), matrix), seen)
    dataset.exposure = dataset.exposure * exposure
    return dataset


def half_mask(dataset: MapDataset) -> Map:
    """Return a mask without the left half, and without the first energy bin."""
    data = np.ones(dataset.geom.data_shape, dtype=bool)
    data[0] = False
    data[:, :, : dataset.geom.npix[0] // 2] = False
    return Map(dataset.geom, data)


# ---------------------------------------------------------------- sums of energies


def test_an_image_is_the_sum_of_what_is_safe() -> None:
    dataset = with_responses()
    dataset.mask_safe = half_mask(dataset)
    image = dataset.to_image(name="image")
    assert image.name == "image"
    assert image.models is None
    keep = dataset.mask_safe.data
    np.testing.assert_allclose(image.counts.data[0], (dataset.counts.data * keep).sum(axis=0))
    wanted = (dataset.background.data * keep).sum(axis=0)
    np.testing.assert_allclose(image.background.data[0], wanted)
    np.testing.assert_array_equal(image.mask_safe.data[0], keep.any(axis=0))
    np.testing.assert_array_equal(image.exposure.data, dataset.exposure.data)
    matrix = image.edisp.get_edisp_kernel(dataset.geom.center_skydir)
    np.testing.assert_allclose(matrix.ravel(), [0, 1, 1, 1])
    np.testing.assert_array_equal(image.energy_axis.edges, dataset.energy_axis.edges[[0, -1]])


def test_energies_are_merged_in_groups() -> None:
    dataset = with_responses()
    dataset.mask_fit = Map(dataset.geom, np.full(dataset.geom.data_shape, 0.5))
    axis = MapAxis.from_energy_edges(dataset.energy_axis.edges[[1, 3, 4]])
    merged = dataset.resample_energy_axis(axis)
    counts = dataset.counts.data
    np.testing.assert_allclose(merged.counts.data, [counts[1] + counts[2], counts[3]])
    assert merged.mask_fit.data.max() == 0.5
    assert merged.edisp.get_edisp_kernel().shape == (4, 2)
    with pytest.raises(ValueError, match="not edges of the dataset"):
        dataset.resample_energy_axis(MapAxis.from_energy_edges(["1.3 TeV", "9 TeV"]))
    dataset.psf = PSFMap.from_gauss(dataset.energy_axis, 0.1)
    with pytest.raises(ValueError, match="reconstructed energy"):
        dataset.to_image()


# ---------------------------------------------------------------- sums of datasets


def test_a_sum_is_the_sum_where_the_other_is_safe() -> None:
    first, other = with_responses(), with_responses(exposure=3.0, sigma=0.25)
    other.mask_safe = half_mask(other)
    keep, before = other.mask_safe.data, first.copy()
    counts = first.counts
    first.stack(other)
    assert first.counts is not counts
    np.testing.assert_array_equal(counts.data, before.counts.data)
    for name in ("counts", "background"):
        wanted = getattr(before, name).data + keep * getattr(other, name).data
        np.testing.assert_allclose(getattr(first, name).data, wanted)
    wanted = before.exposure.data + keep.any(axis=0) * other.exposure.data
    np.testing.assert_allclose(first.exposure.data, wanted)
    assert first.mask_safe is None
    # the middle of the responses is safe in both: the mean has the weights 1 and 3
    values = [d.psf.profile(d.geom.center_skydir) for d in (before, other, first)]
    np.testing.assert_allclose(values[2], (values[0] + 3 * values[1]) / 4)
    left = first.geom.pix_to_sky(-4.0, 5.5)
    np.testing.assert_allclose(first.psf.profile(left), before.psf.profile(left))


def test_masks_of_a_sum_are_joined() -> None:
    first, other = with_responses(), with_responses()
    first.mask_safe, other.mask_safe = half_mask(first), ~half_mask(other)
    other.mask_fit = half_mask(other)
    first.stack(other)
    assert first.mask_safe.data.all()
    np.testing.assert_array_equal(first.mask_fit.data, other.mask_fit.data)
    first.mask_safe = half_mask(first)
    first.stack(with_responses())
    assert first.mask_safe.data.all()


def test_a_part_is_added_where_it_lies() -> None:
    whole = with_responses()
    part = whole.cutout(whole.geom.center_skydir, "0.4 deg", name="part")
    part.mask_fit = Map(part.geom, np.zeros(part.geom.data_shape, bool))
    before, fitted = whole.copy(), whole.geom.shape_image
    whole.stack(part)
    added = whole.counts.data - before.counts.data
    assert added.sum() == part.counts.data.sum()
    assert (whole.exposure.data > before.exposure.data).sum() == 4 * np.prod(part.geom.shape_image)
    assert (~whole.mask_fit.data).sum() == 4 * np.prod(part.geom.shape_image)
    assert whole.geom.shape_image == fitted


def test_a_sum_that_fails_changes_nothing() -> None:
    dataset = with_responses()
    before = dataset.copy()
    with pytest.raises(ValueError, match="axes"):
        dataset.stack(with_responses().to_image())
    other = with_responses()
    other.psf = PSFMap.from_gauss(other.energy_axis.rename("energy_true"), 0.3)
    with pytest.raises(ValueError, match="exposure_map"):
        dataset.stack(other)
    for name in ("counts", "background", "exposure"):
        np.testing.assert_array_equal(getattr(dataset, name).data, getattr(before, name).data)


def test_the_model_of_a_background_is_in_the_sum() -> None:
    dataset = with_responses()
    dataset.models = FoVBackgroundModel(dataset.name, PowerLawNormSpectralModel(norm=2))
    other = with_responses()
    wanted = dataset.npred().data + other.npred().data
    dataset.stack(other)
    assert dataset.models is None
    np.testing.assert_allclose(dataset.npred().data, wanted)


def test_responses_for_the_whole_sky_are_averaged() -> None:
    dataset = make_dataset(nbin=2)
    true = dataset.energy_axis.rename("energy_true")
    for weight, sigma in ((1.0, 0.1), (2.0, 0.1)):
        psf = PSFMap.from_gauss(true, sigma)
        rad = psf.psf_map.geom.axes["rad"]
        exposure = Map(RegionGeom([rad.squash(), true]), weight, "m2 s")
        other = dataset.copy(name="other") if weight == 2 else dataset
        other.psf = PSFMap(psf.psf_map, exposure)
    dataset.stack(other)
    np.testing.assert_allclose(dataset.psf.exposure_map.data, 3.0)
    np.testing.assert_allclose(dataset.psf.profile(), other.psf.profile())
    same = make_dataset(nbin=2)
    same.psf = PSFMap.from_gauss(true, 0.1)
    same.stack(same.copy(name="b"))  # the same responses need no exposure
    assert same.psf.exposure_map is None


def test_an_on_off_dataset_is_added_with_its_background() -> None:
    dataset = make_dataset(nbin=2)
    other = MapDatasetOnOff.from_map_dataset(dataset, 1, 2, name="other")
    total = dataset.copy()
    total.stack(other)
    np.testing.assert_allclose(total.background.data, 2 * dataset.background.data)


def test_times_are_united_and_livetimes_added() -> None:
    first, other = make_dataset(nbin=2), make_dataset(nbin=2)
    for dataset, start in ((first, 0), (other, 3600)):
        dataset.gti = Table({"START": [start] * u.s, "STOP": [start + 1800] * u.s})
        dataset.exposure.meta["livetime"] = "0.5 h"
        dataset.meta_table = None
    other.meta_table = Table({"a": [1]})
    first.stack(other)
    info = first.info_dict()
    assert info["livetime"] == info["ontime"] == 1 * u.h
    assert info["counts_rate"].to_value("h-1") == pytest.approx(info["counts"])
    assert first.meta_table.colnames == ["a"]


# ---------------------------------------------------------------- masks, draws, residuals


def test_what_is_not_safe_is_gone() -> None:
    dataset = with_responses()
    dataset.mask_safe = half_mask(dataset)
    dataset.background.data[2, 3, 11] = np.nan
    keep = dataset.mask_safe.data
    clean = dataset.to_masked(name="clean")
    assert clean.name == "clean"
    np.testing.assert_array_equal(clean.counts.data, dataset.counts.data * keep)
    assert clean.background.data[2, 3, 11] == 0
    assert not clean.exposure.data[:, ~keep.any(axis=0)].any()
    seen = clean.psf.exposure_map.data[:, 0]
    assert (seen[:, 1] > 0).tolist() == [[False, True, True]] * 4
    np.testing.assert_array_equal(dataset.mask_safe_image.data, keep.any(axis=0))
    assert dataset.mask_fit_image is None
    again = with_responses().to_masked()
    np.testing.assert_array_equal(again.psf.psf_map.data, with_responses().psf.psf_map.data)


def test_migrations_are_masked_as_images() -> None:
    dataset = with_responses()
    true = dataset.energy_axis.rename("energy_true")
    migra = MapAxis.from_bounds(0.2, 5, 60, name="migra", interp="log")
    coarse = dataset.edisp.edisp_map.geom.to_image()
    density = np.where(np.abs(migra.center_in("") - 1) < 0.1, 1.0, 0.0)
    density /= (density * np.diff(migra.edges_in(""))).sum()
    data = density[None, :, None, None] * np.ones((4, 1, 3, 3))
    exposure = Map(coarse.to_cube([migra.squash(), true]), 1.0, "m2 s")
    dataset.edisp = EDispMap(Map(coarse.to_cube([migra, true]), data), exposure)
    dataset.mask_safe = half_mask(dataset)
    clean = dataset.to_masked()
    assert (clean.edisp.exposure_map.data[0, 0, 1] > 0).tolist() == [False, True, True]
    assert dataset.to_image().edisp is dataset.edisp


def test_a_draw_is_set_in_place() -> None:
    dataset = make_dataset(nbin=2)
    dataset.background.data[0, 0, 0] = np.nan
    expected = np.nan_to_num(dataset.npred().data)
    dataset.fake(random_state=3)
    wanted = np.random.RandomState(3).poisson(expected)
    np.testing.assert_array_equal(dataset.counts.data, wanted)
    for state in ("random-seed", np.random.RandomState(1), np.random.default_rng(1)):
        dataset.fake(state)
        assert dataset.counts.data.sum() == pytest.approx(expected.sum(), rel=0.3)
    with pytest.raises(TypeError, match="random_state"):
        dataset.fake("seed")


@pytest.mark.parametrize("method", ["diff", "diff/model", "diff/sqrt(model)"])
def test_residuals_are_what_they_say(method: str) -> None:
    dataset = make_dataset(nbin=2)
    dataset.mask_fit = half_mask(dataset)
    counts, npred = dataset.counts.data, dataset.npred().data
    unit = {"diff": 1, "diff/model": npred, "diff/sqrt(model)": np.sqrt(npred)}[method]
    wanted = np.where(dataset.mask_fit.data, (counts - npred) / unit, np.nan)
    np.testing.assert_allclose(dataset.residuals(method).data, wanted)
    assert np.isfinite(dataset.residuals(method, width=1).data[1, :, -1]).all()
    with pytest.raises(ValueError, match="method"):
        dataset.residuals("ratio")


def test_a_dataset_says_its_shapes_and_excess() -> None:
    dataset = with_responses()
    assert dataset.data_shape == dataset.counts.data.shape
    assert list(dataset.geoms) == ["geom", "geom_exposure", "geom_psf", "geom_edisp"]
    wanted = dataset.counts.data - dataset.background.data
    np.testing.assert_array_equal(dataset.excess.data, wanted)
    info = dataset.info_dict()
    n, mu = info["counts"], info["background"]
    assert info["sqrt_ts"] ** 2 == pytest.approx(2 * (n * np.log(n / mu) - n + mu))


def test_a_dataset_at_a_glance() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    dataset = with_responses()
    dataset.mask_safe = half_mask(dataset)
    titles = [ax.get_title() for ax in dataset.peek().axes]
    for title in ("counts", "exposure", "predicted counts", "fitted energy bins"):
        assert title in titles
    assert make_dataset(nbin=2).peek(figsize=(8, 4)).axes
    ax = dataset.plot_residuals_spatial(method="diff/sqrt(model)", clim=(-2, 2), add_cbar=False)
    image = np.ma.getmaskarray(ax.images[0].get_array())
    np.testing.assert_array_equal(~image, half_mask(dataset).data.any(axis=0))
    assert ax.images[0].get_clim() == (-2, 2)
    dataset.plot_residuals_spatial(vmin=-1, vmax=1, smooth_kernel="box", smooth_radius=2)
    plt.close("all")


# ---------------------------------------------------------------- lists


def test_a_list_of_datasets_knows_names() -> None:
    first, other = make_dataset(nbin=2), make_dataset(nbin=2)
    other = other.copy(name="other")
    datasets = Datasets([first, other])
    assert datasets.names == [first.name, "other"]
    assert datasets["other"] is datasets[1] is other
    assert datasets[:1].names == [first.name]
    assert datasets.stack_reduce("sum").name == "sum"
    total = datasets.stack_reduce().counts.data
    np.testing.assert_array_equal(total, first.counts.data + other.counts.data)
    assert len(datasets.info_table()) == 2
    assert list(Datasets(first)) == [first]
    with pytest.raises(ValueError, match="did you mean 'other'"):
        datasets["othr"]
    with pytest.raises(TypeError, match="datasets"):
        Datasets([first, 3])
    with pytest.raises(ValueError, match="no dataset"):
        Datasets().stack_reduce()


# ---------------------------------------------------------------- gammapy itself


def compare(ours: MapDataset, theirs: Any) -> None:
    """Compare the maps of two datasets."""
    for name in MAPS:
        m, wanted = getattr(ours, name), getattr(theirs, name)
        assert (m is None) == (wanted is None), name
        if m is not None:
            expected = wanted.quantity.to_value(m.unit) if str(m.unit) else wanted.data
            np.testing.assert_allclose(m.data, expected, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("file", FILES)
def test_sums_of_datasets_and_energies_are_gammapys(gammapy_data: Path, file: str) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    theirs = datasets.MapDataset.read(gammapy_data / file, name="a")
    ours = MapDataset.read(gammapy_data / file, name="a")
    compare(ours.to_image(), theirs.to_image())
    middle = ours.geom.center_skydir
    sums = []
    for dataset in (ours, theirs):
        total = dataset.to_masked(name="total")
        total.stack(dataset.cutout(middle, "1.5 deg", name="part"))
        sums.append(total)
    compare(*sums)
    if isinstance(ours.psf.psf_map.geom, WcsGeom):
        got, wanted = (d.psf.psf_map.data for d in sums)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6 * wanted.max())


@pytest.mark.parametrize("file", FILES[1:3])
def test_draws_and_residuals_are_gammapys(gammapy_data: Path, file: str) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    theirs = datasets.MapDataset.read(gammapy_data / file, name="a")
    ours = MapDataset.read(gammapy_data / file, name="a")
    for options in ({}, {"width": "0.1 deg"}):
        for method in ("diff", "diff/sqrt(model)"):
            got = ours.residuals(method, **options).data
            wanted = theirs.residuals(method, **options).data
            known = np.isfinite(wanted)
            np.testing.assert_allclose(got[known], wanted[known], rtol=1e-5, atol=1e-5)
    known, info = theirs.info_dict(), ours.info_dict()
    assert set(known) <= set(info)
    for key in ("counts", "background", "excess", "sqrt_ts", "n_bins", "n_fit_bins"):
        assert float(info[key]) == pytest.approx(float(known[key]), rel=1e-4)
    for dataset in (ours, theirs):
        dataset.fake(42)
    np.testing.assert_array_equal(ours.counts.data, theirs.counts.data)


def test_an_image_of_an_energy_dispersion_is_gammapys(gammapy_data: Path) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    theirs = datasets.MapDataset.read(gammapy_data / FILES[2]).to_image()
    ours = MapDataset.read(gammapy_data / FILES[2]).to_image()
    np.testing.assert_allclose(ours.edisp.edisp_map.data, theirs.edisp.edisp_map.data, rtol=1e-5)
