"""Maps of a dataset that are larger than its counts: cut out, or refused with a reason."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u

from datasets import make_dataset, make_geom
from gammagrad.dataset import MapDataset
from gammagrad.io import write_map_dataset
from gammagrad.maps import Map, MapAxis, WcsGeom
from gammagrad.models import (
    GaussianSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
)

NAMES = ("exposure", "background", "mask_safe", "mask_fit")
UNITS = {"exposure": "m2 s"}
# rows and columns before and after
MARGINS = [((1, 2), (3, 0)), ((0, 5), (7, 4)), 3]


def large_map(geom: WcsGeom, name: str, margin: Any, seed: int = 0) -> Map:
    """Return random values on the pixels of a geometry and around them."""
    random = np.random.default_rng(seed)
    if name == "exposure":
        axis = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=4, name="energy_true")
        geom = geom.to_image().to_cube([axis])
    geom = geom.pad(margin)
    data = random.uniform(1, 2, geom.data_shape)
    return Map(geom, data > 1.5 if name.startswith("mask") else data, UNITS.get(name, ""))


def part_of(m: Map, margin: Any, geom: WcsGeom) -> Map:
    """Return a part of a map, cut out by hand."""
    (below, _), (left, _) = margin if isinstance(margin, tuple) else ((margin,) * 2,) * 2
    ny, nx = geom.shape_image
    data = m.data[..., below : below + ny, left : left + nx].copy()
    return Map(geom.to_image().to_cube(m.geom.axes), data, m.unit)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize(("proj", "frame"), [("TAN", "icrs"), ("CAR", "galactic")])
@pytest.mark.parametrize("name", NAMES)
def test_a_larger_map_is_cut_out(
    name: str, proj: str, frame: str, margin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    geom = make_geom((8, 5), 2, proj=proj, frame=frame, skydir=(0.3, 0.4))
    large = large_map(geom, name, margin)
    before = large.copy()
    with caplog.at_level(logging.INFO, "gammagrad"):
        dataset = MapDataset(counts=Map(geom), **{name: large})
    nx, ny = large.geom.npix
    assert f"{name}: cut out 8 x 5 of {nx} x {ny} pixels, to match counts" in caplog.text
    found, expected = dataset.require(name), part_of(large, margin, geom)
    assert np.array_equal(found.data, expected.data)
    assert found.data.dtype == large.data.dtype
    assert found.geom == expected.geom
    assert found.unit == u.Unit(UNITS.get(name, ""))
    found.data[...] = 0
    assert np.array_equal(large.data, before.data)
    assert large.geom == before.geom


def test_an_image_of_a_mask_is_cut_out_for_all_energies() -> None:
    geom = make_geom((8, 5), 2)
    large = large_map(geom.to_image(), "mask_fit", 2)
    mask = MapDataset(counts=Map(geom), mask_fit=large).require("mask_fit")
    assert np.array_equal(mask.data, [large.data[2:-2, 2:-2]] * 2)


def test_weights_outside_of_the_counts_do_not_matter() -> None:
    geom = make_geom((8, 5), 2)
    large = Map(geom.pad(1), 1.0)
    large.data[0, 0, 0], large.data[1, -1, 3] = np.nan, 0.3
    dataset = MapDataset(counts=Map(geom), mask_safe=large)
    assert dataset.require("mask_safe").is_mask
    assert dataset.weights is None


def test_a_prediction_is_that_of_maps_cut_out_by_hand() -> None:
    plain = make_dataset((25, 21), 2, seed=1)
    margin = ((4, 1), (2, 5))
    exposure, background = (
        large_map(plain.geom, name, margin, seed=3) for name in ("exposure", "background")
    )
    models = SkyModel(
        PowerLawSpectralModel(amplitude=1e-11),
        GaussianSpatialModel(lon_0=83.9, lat_0=22.3, sigma=0.2),
    )
    parts = {"counts": plain.counts, "psf": plain.psf, "models": models}
    given = MapDataset(exposure=exposure, background=background, **parts)
    by_hand = MapDataset(
        exposure=part_of(exposure, margin, plain.geom),
        background=part_of(background, margin, plain.geom),
        **parts,
    )
    assert np.array_equal(given.npred().data, by_hand.npred().data)
    assert given.stat_sum() == by_hand.stat_sum()


def test_the_order_of_setting_does_not_matter() -> None:
    geom = make_geom((8, 5), 2)
    maps = {name: large_map(geom, name, 2, seed) for seed, name in enumerate(NAMES)}
    first = MapDataset(counts=Map(geom), **maps)
    last = MapDataset(**maps)
    assert last.geom == geom.pad(2)
    last.counts = Map(geom)
    for name in NAMES:
        assert np.array_equal(last.require(name).data, first.require(name).data)
        assert last.require(name).geom == first.require(name).geom


def test_without_counts_the_background_says_the_pixels() -> None:
    geom = make_geom((8, 5), 2)
    exposure = large_map(geom, "exposure", 2)
    dataset = MapDataset(exposure=exposure, background=Map(geom, 1.0))
    assert np.array_equal(dataset.require("exposure").data, exposure.data[:, 2:-2, 2:-2])


def test_an_error_leaves_all_maps_as_they_were() -> None:
    geom = make_geom((8, 5), 2)
    dataset = MapDataset(
        background=large_map(geom, "background", 2), exposure=large_map(geom, "exposure", 2)
    )
    before = {name: dataset.require(name) for name in ("background", "exposure")}
    wrong = geom.pad(1).to_image().to_cube([MapAxis.from_energy_bounds("2 TeV", "3 TeV", nbin=2)])
    with pytest.raises(ValueError, match="counts and background have different energy bins"):
        dataset.counts = Map(wrong)
    with pytest.raises(ValueError, match=r"does not have the pixels of counts"):
        dataset.counts = Map(make_geom((5, 5), 2, binsz=0.2))
    assert dataset.counts is None
    assert all(dataset.require(name) is m for name, m in before.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"npix": (6, 9)}, "it is aligned with them but lacks 10 of 40 pixels"),
        ({"npix": (21, 15)}, r"it is shifted by 0\.5 x 0 pixels"),
        ({"binsz": 0.2}, r"its pixels are 0\.2 x 0\.2 deg instead of 0\.1 x 0\.1 deg"),
        ({"frame": "galactic"}, "it is in galactic coordinates instead of icrs"),
    ],
)
def test_a_map_that_does_not_lie_on_the_pixels_is_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    geom = make_geom((8, 5), 2)
    other = large_map(make_geom(**{"npix": (20, 15), "nbin": 2, **options}), name, 0)
    with pytest.raises(
        ValueError, match=rf"'x', {name} does not have the pixels of counts: {message}"
    ):
        MapDataset(counts=Map(geom), name="x", **{name: other})


def test_plain_maps_and_files_are_cut_out(tmp_path: Path) -> None:
    geom = make_geom((8, 5), 2)
    axis_true = geom.axes["energy"].rename("energy_true")
    exposure = Map(geom.pad(3).to_image().to_cube([axis_true]), 2.0, "m2 s")
    exposure.data[:] *= np.arange(14)
    background = large_map(geom, "background", 2)
    mask = large_map(geom.to_image(), "mask_safe", 1)
    maps = {"counts": Map(geom), "background": background, "exposure": exposure, "mask": mask}
    dataset = MapDataset.from_maps(**maps, psf_sigma=0.1)
    assert np.array_equal(dataset.require("background").data, background.data[:, 2:-2, 2:-2])
    assert np.array_equal(dataset.require("exposure").data, exposure.data[:, 3:-3, 3:-3])
    assert np.array_equal(dataset.require("mask_safe").data, [mask.data[1:-1, 1:-1]] * 2)

    files = {name: tmp_path / f"{name}.fits" for name in maps}
    for name, m in maps.items():
        m.write(files[name])
    read = MapDataset.from_files(**files, psf_sigma=0.1)
    assert_same(read, dataset)

    dataset.write(tmp_path / "dataset.fits")
    assert_same(MapDataset.read(tmp_path / "dataset.fits"), dataset)

    Map(make_geom((9, 9), 2, binsz=0.3)).write(files["background"], overwrite=True)
    with pytest.raises(ValueError, match=r"/background\.fits: background does not have the"):
        MapDataset.from_files(**files, psf_sigma=0.1)


def assert_same(one: MapDataset, other: MapDataset) -> None:
    for name in ("counts", "exposure", "background", "mask_safe"):
        mine, theirs = one.require(name), other.require(name)
        assert np.array_equal(mine.data, theirs.data)
        assert mine.geom == theirs.geom
        assert mine.unit == theirs.unit


def test_a_dataset_file_with_larger_maps_is_cut_out(tmp_path: Path) -> None:
    geom = make_geom((8, 5), 2)
    maps = {name: large_map(geom, name, 2, seed) for seed, name in enumerate(NAMES)}
    write_map_dataset({"counts": Map(geom), **maps}, tmp_path / "dataset.fits")
    dataset = MapDataset.read(tmp_path / "dataset.fits")
    for name, m in maps.items():
        assert np.array_equal(dataset.require(name).data, m.data[:, 2:-2, 2:-2])


def test_a_template_of_counts_may_be_larger_and_says_how_it_differs() -> None:
    geom = make_geom((8, 5), 2)
    large = large_map(geom, "background", MARGINS[1])
    dataset = MapDataset(counts=Map(geom), models=TemplateNPredModel(large))
    assert np.array_equal(dataset.npred().data, part_of(large, MARGINS[1], geom).data)
    half = large_map(make_geom((21, 15), 2), "background", 0)
    with pytest.raises(ValueError, match=r"pixels of the dataset: it is shifted by 0\.5 x 0 pix"):
        MapDataset(counts=Map(geom), models=TemplateNPredModel(half)).npred()
