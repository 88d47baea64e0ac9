"""Datasets in FITS: there and back, real files, gammapy, and files that are something else."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from datasets import make_dataset
from gammagrad.dataset import MapDataset
from gammagrad.io import read_map_dataset
from gammagrad.io.map_dataset import table_to_hdu
from gammagrad.maps import EDispKernelMap, EDispMap, Map, MapAxis, PSFMap, RegionGeom, WcsGeom

MAPS = ("counts", "exposure", "background", "mask_safe", "mask_fit")
REAL = (
    "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz",
    "reduced/hess-crab.fits.gz",
    "reduced/hess-crab-1deg-maskfit.fits.gz",
    "reduced/cta-1dc-vela.fits.gz",
    "hawc/DL4/nHit-8.fits.gz",
    "hawc/DL4/nHit-9.fits.gz",
)


def maps_of(dataset: MapDataset) -> dict[str, Map | None]:
    """Return all maps of a dataset, those of its responses as well."""
    maps: dict[str, Map | None] = {name: getattr(dataset, name) for name in MAPS}
    for name, response in (("psf", dataset.psf), ("edisp", dataset.edisp)):
        maps[name] = None if response is None else getattr(response, f"{name}_map")
        maps[f"{name}_exposure"] = None if response is None else response.exposure_map
    return maps


def assert_equal(one: MapDataset, other: MapDataset) -> None:
    assert one.name == other.name
    assert type(one.edisp) is type(other.edisp)
    theirs = maps_of(other)
    for name, m in maps_of(one).items():
        n = theirs[name]
        assert (m is None) == (n is None), name
        if m is None or n is None:
            continue
        assert m.data.dtype == n.data.dtype, name
        assert np.array_equal(m.data, n.data, equal_nan=m.data.dtype.kind == "f"), name
        assert m.unit == n.unit, name
        assert m.meta == n.meta, name
        assert type(m.geom) is type(n.geom), name
        assert m.geom == n.geom, name
        for axis, wanted in zip(m.geom.axes, n.geom.axes, strict=True):
            assert (axis.node_type, axis.unit) == (wanted.node_type, wanted.unit), name
            assert np.allclose(axis.edges.value, wanted.edges.value, rtol=1e-12), name


def whole_dataset() -> MapDataset:
    dataset = make_dataset(npix=(7, 5), mask=True, name="whole")
    axis = dataset.energy_axis
    true = axis.rename("energy_true")
    coarse = WcsGeom.create((3, 2), 0.5, skydir=(83.63, 22.01), proj="TAN")
    rad = MapAxis.from_nodes(np.linspace(0, 0.5, 6), name="rad", unit="deg")
    rng = np.random.default_rng(0)
    dataset.psf = PSFMap(
        Map(coarse.to_cube([rad, true]), rng.random((3, 6, 2, 3)), "deg-2"),
        Map(coarse.to_cube([rad.squash(), true]), 1.0, "m2 s"),
    )
    dataset.edisp = EDispKernelMap(
        Map(coarse.to_cube([axis, true]), rng.random((3, 3, 2, 3)) / 3),
        Map(coarse.to_cube([axis.squash(), true]), 1.0, "m2 s"),
    )
    dataset.mask_fit = Map(dataset.geom, rng.random(dataset.geom.data_shape) < 0.5)
    dataset.require("exposure").meta["livetime"] = "100.0 s"
    dataset.require("background").data[0, 0, 0] = np.nan
    dataset.require("counts").data[:] = np.round(dataset.require("counts").data)
    dataset.gti = Table({"START": [0.0, 50.0] * u.s, "STOP": [20.0, 90.0] * u.s})
    dataset.gti.meta.update(MJDREFI=51544, MJDREFF=0.5, TIMESYS="TT")
    dataset.meta_table = Table({"TELESCOP": ["X"], "OBS_ID": [[1, 2]]})
    return dataset


@pytest.mark.parametrize("name", ["dataset.fits", "dataset.fits.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    dataset = whole_dataset()
    dataset.write(tmp_path / name)
    again = MapDataset.read(tmp_path / name)
    assert_equal(again, dataset)
    assert again.gti is not None
    assert again.gti.meta["MJDREFF"] == 0.5
    assert u.Quantity(again.gti["STOP"]).to_value("s").tolist() == [20, 90]
    assert again.meta_table is not None
    assert again.meta_table["OBS_ID"].tolist() == [[1, 2]]
    assert MapDataset.read(tmp_path / name, name="other").name == "other"
    packed = (tmp_path / name).read_bytes()[:2] == gzip.compress(b"")[:2]
    assert packed == name.endswith(".gz")


def test_responses_without_position_and_by_migration(tmp_path: Path) -> None:
    dataset = make_dataset(npix=(7, 5))
    true = dataset.energy_axis.rename("energy_true")
    migra = MapAxis.from_bounds(0.2, 5, nbin=10, name="migra", unit="")
    density = np.arange(30).reshape(3, 10, 1, 1) / 200
    dataset.edisp = EDispMap(Map(RegionGeom([migra, true]), density))
    dataset.write(tmp_path / "dataset.fits")
    again = MapDataset.read(tmp_path / "dataset.fits")
    assert_equal(again, dataset)
    assert isinstance(again.edisp, EDispMap)


def test_a_psf_in_reconstructed_energy(tmp_path: Path) -> None:
    dataset = make_dataset(npix=(7, 5))
    dataset.psf = PSFMap.from_gauss(dataset.energy_axis, "0.1 deg")
    dataset.write(tmp_path / "dataset.fits")
    again = MapDataset.read(tmp_path / "dataset.fits")
    assert again.psf is not None
    assert again.psf.energy_name == "energy"
    assert_equal(again, dataset)


def test_a_dataset_may_hold_little(tmp_path: Path) -> None:
    little = MapDataset(counts=make_dataset(npix=(7, 5)).counts, name="little")
    little.write(tmp_path / "little.fits")
    assert_equal(MapDataset.read(tmp_path / "little.fits"), little)


def test_a_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "dataset.fits"
    make_dataset(npix=(7, 5), seed=1).write(path)
    before = path.read_bytes()
    other = make_dataset(npix=(7, 5), seed=2)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        other.write(path)
    assert path.read_bytes() == before
    other.write(path, overwrite=True, checksum=True)
    assert_equal(MapDataset.read(path), other)
    with fits.open(path, checksum=True) as hdus:
        assert all("CHECKSUM" in hdu.header for hdu in hdus)
    assert [file.name for file in tmp_path.iterdir()] == ["dataset.fits"]


def test_the_layout_is_the_one_of_the_files_there_are(tmp_path: Path) -> None:
    whole_dataset().write(tmp_path / "dataset.fits")
    with fits.open(tmp_path / "dataset.fits") as hdus:
        names = [hdu.name for hdu in hdus]
        maps = ("COUNTS", "EXPOSURE", "BACKGROUND", "EDISP", "EDISP_EXPOSURE")
        maps += ("PSF", "PSF_EXPOSURE", "MASK_SAFE", "MASK_FIT")
        both = [part for name in maps for part in (name, f"{name}_BANDS")]
        assert names == ["PRIMARY", *both, "GTI", "META_TABLE"]
        assert hdus[0].header["NAME"] == "whole"
        assert hdus["PSF"].header["AXCOLS1"] == "RAD"
        assert hdus["PSF"].header["AXCOLS2"] == "ENERGY_TRUE_MIN,ENERGY_TRUE_MAX"
        assert hdus["PSF"].header["WCSSHAPE"] == "(3,2,6,3)"
        assert hdus["EXPOSURE"].header["BUNIT"] == "cm2 s"
        assert hdus["MASK_FIT"].data.dtype.kind == "i"


def test_an_exposure_in_an_axis_called_energy_is_in_true_energy(tmp_path: Path) -> None:
    # as some writers have it, and as gammapy reads it
    dataset = make_dataset(npix=(7, 5), name="x")
    dataset.write(tmp_path / "dataset.fits")
    with fits.open(tmp_path / "dataset.fits") as hdus:
        bands = hdus["EXPOSURE_BANDS"]
        for hdu in (hdus["EXPOSURE"], bands):
            hdu.header["AXCOLS1"] = "E_MIN,E_MAX"
        for old, new in (("ENERGY_TRUE_MIN", "E_MIN"), ("ENERGY_TRUE_MAX", "E_MAX")):
            bands.columns[old].name = new
        hdus.writeto(tmp_path / "other.fits")
    assert_equal(MapDataset.read(tmp_path / "other.fits"), dataset)


def test_the_name_of_a_file_serves_where_it_has_none(tmp_path: Path) -> None:
    dataset = make_dataset(npix=(7, 5))
    dataset.write(tmp_path / "field.fits.gz")
    with fits.open(tmp_path / "field.fits.gz") as hdus:
        del hdus[0].header["NAME"]
        hdus.writeto(tmp_path / "night-7.fits.gz")
    assert MapDataset.read(tmp_path / "night-7.fits.gz").name == "night-7"


def test_tables_with_what_fits_cannot_hold() -> None:
    table = Table({"a": [1]}, meta={"comments": ["x"], "a long key word": 1, "LIST": [1], "OK": 2})
    hdu = table_to_hdu(table, "GTI")
    assert hdu.header["OK"] == 2
    assert hdu.name == "GTI"
    assert "LIST" not in hdu.header
    assert table.meta["LIST"] == [1]


def damaged(path: Path, kind: str) -> Path:
    """Return a file that is no dataset in one way or another."""
    bad = path.with_name(f"{kind}.fits")
    if kind == "text":
        bad.write_text("counts: 3\n")
    elif kind == "cut":
        bad.write_bytes(path.read_bytes()[:9000])
    elif kind == "image":
        fits.PrimaryHDU(np.ones((3, 3))).writeto(bad)
    else:
        with fits.open(path) as hdus:
            if kind == "bands":
                del hdus["COUNTS_BANDS"], hdus[0].header["NEXTEND"]
            elif kind == "unit":
                hdus["EXPOSURE"].header["BUNIT"] = "s"
            elif kind == "pixels":
                hdus["BACKGROUND"].header["CRVAL1"] += 0.05
            hdus.writeto(bad)
    return bad


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "cannot be read as FITS"),
        ("cut", "cannot be read as FITS|cut off"),
        ("image", r"no map dataset; expected HDUs named COUNTS, .* found PRIMARY.*from_files"),
        ("bands", "COUNTS_BANDS"),
        ("unit", r"exposure: unit 's' cannot be converted to 'cm2 s'"),
        ("pixels", "background does not have the pixels of counts"),
    ],
)
def test_a_file_that_is_no_dataset_says_why(tmp_path: Path, kind: str, message: str) -> None:
    make_dataset(npix=(20, 20)).write(tmp_path / "good.fits")
    bad = damaged(tmp_path / "good.fits", kind)
    with pytest.raises(ValueError, match=message) as caught:
        MapDataset.read(bad)
    assert bad.name in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.fits"):
        MapDataset.read("nowhere.fits")


@pytest.mark.data
@pytest.mark.parametrize("path", REAL)
def test_real_datasets_come_back_as_they_were(
    tmp_path: Path, gammapy_data: Path, path: str
) -> None:
    dataset = MapDataset.read(gammapy_data / path)
    dataset.check()
    dataset.write(tmp_path / "dataset.fits")
    assert_equal(MapDataset.read(tmp_path / "dataset.fits"), dataset)


@pytest.mark.data
def test_every_dataset_there_is_can_be_read(gammapy_data: Path) -> None:
    files = sorted((gammapy_data / "cases").glob("*.fits.gz"))
    assert files
    for file in files:
        parts: dict[str, Any] = read_map_dataset(file)
        dataset = MapDataset(**parts)
        assert dataset.require("counts").data.shape == dataset.geom.data_shape
        for name in ("mask_safe", "mask_fit"):
            if name in parts:
                assert parts[name].data.dtype == bool


@pytest.mark.data
@pytest.mark.parametrize("path", REAL)
def test_gammapy_reads_what_is_written(tmp_path: Path, gammapy_data: Path, path: str) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    wanted = datasets.MapDataset.read(gammapy_data / path)
    MapDataset.read(gammapy_data / path).write(tmp_path / "dataset.fits")
    found = datasets.MapDataset.read(tmp_path / "dataset.fits")
    pairs = {name: (getattr(wanted, name), getattr(found, name)) for name in MAPS}
    pairs["psf"] = (wanted.psf.psf_map, found.psf.psf_map)
    pairs["edisp"] = (wanted.edisp.edisp_map, found.edisp.edisp_map)
    for name, (one, other) in pairs.items():
        assert (one is None) == (other is None), name
        if one is not None:
            assert np.array_equal(one.data, other.data, equal_nan=one.data.dtype != bool), name
            assert one.geom.axes == other.geom.axes, name
            assert one.unit == other.unit, name
            assert other.geom.to_image() == one.geom.to_image(), name
    assert (wanted.gti is None) == (found.gti is None)
    assert found.stat_sum() == pytest.approx(wanted.stat_sum(), rel=1e-12)
