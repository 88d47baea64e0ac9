"""Datasets of Fermi-LAT's tools: simulated files in their layout, and real ones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import fermi_files
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator, fit
from gammagrad.cli import main
from gammagrad.io import find_fermi_files
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fermi_files.write_analysis(tmp_path_factory.mktemp("fermi") / "analysis")


def files_of(folder: Path, **others: Any) -> dict[str, Any]:
    names = {"ccube": "ccube", "bexpmap": "bexpmap_roi", "model": "mcube_fit1", "psf": "gtpsf"}
    return {part: folder / f"{name}.fits" for part, name in names.items()} | others


def test_the_parts_are_those_of_the_files(folder: Path) -> None:
    dataset = MapDataset.from_fermi(**files_of(folder), name="fermi")
    assert dataset.name == "fermi"
    wanted = fits.getdata(folder / "ccube.fits")
    assert np.array_equal(dataset.require("counts").data, wanted)
    edges = dataset.energy_axis.edges.to_value("MeV")
    assert edges == pytest.approx(fermi_files.EDGES, rel=1e-6)
    assert np.all(dataset.require("background").data == fermi_files.BACKGROUND)
    exposure = dataset.require("exposure").quantity.to_value("cm2 s")
    assert exposure == pytest.approx(np.full(wanted.shape, fermi_files.EXPOSURE), rel=1e-6)
    assert dataset.gti is not None
    assert list(dataset.gti["START"]) == [239557417.0, 239563000.0]
    assert dataset.gti.meta["MJDREFI"] == 51910
    radius = dataset.psf.containment_radius(0.68).to_value("deg")
    assert radius == pytest.approx(fermi_files.SIGMA * np.sqrt(-2 * np.log(0.32)), rel=0.01)


def test_an_exposure_of_all_the_sky_is_interpolated(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gammagrad")
    files = files_of(folder, bexpmap=folder / "bexpmap.fits")
    exposure = MapDataset.from_fermi(**files).require("exposure")
    assert "interpolated at the pixels of the counts" in caplog.text
    assert exposure.data.shape == (4, 40, 40)
    assert exposure.data == pytest.approx(fermi_files.EXPOSURE, rel=1e-6)


def test_exposures_between_pixels_and_energies(folder: Path, tmp_path: Path) -> None:
    """A plane in longitude and a power law in energy are interpolated exactly."""
    hdus = fermi_files.exposure_cube(all_sky=True)
    lon = 179.5 - np.arange(360)
    slope = (fermi_files.EDGES / 1e3) ** 0.3
    hdus[0].data = (1e11 * slope[:, None, None] * (1 + lon / 1000)).repeat(180, axis=1)
    hdus.writeto(tmp_path / "exposure.fits")
    files = files_of(folder, bexpmap=tmp_path / "exposure.fits")
    exposure = MapDataset.from_fermi(**files).require("exposure")
    own = exposure.geom.get_coord()[0]
    centres = np.sqrt(fermi_files.EDGES[1:] * fermi_files.EDGES[:-1]) / 1e3
    wanted = 1e11 * centres[:, None, None] ** 0.3 * (1 + (np.mod(own + 180, 360) - 180) / 1000)
    assert exposure.data == pytest.approx(wanted, rel=1e-6)


def test_the_source_is_found_and_its_flux_right(folder: Path) -> None:
    dataset = MapDataset.from_fermi(**files_of(folder))
    dataset.counts = Map(dataset.geom, fermi_files.BACKGROUND + fermi_files.expected_source())
    source = SkyModel(
        PowerLawSpectralModel(2, "1e-8 cm-2 s-1 TeV-1", "1 TeV"),
        PointSpatialModel("0.02 deg", "-0.03 deg", frame="galactic"),
        name="source",
    )
    result = fit(dataset, source)
    found = result.models["source"]
    assert abs(float(found.spatial_model.lat_0)) < 1e-3
    flux = found.spectral_model.integral(1e-3, 0.1)
    assert float(flux) == pytest.approx(fermi_files.FLUX, rel=2e-3)
    maps = TSMapEstimator(kernel_width="1.5 deg", sum_over_energy_groups=False).run(dataset)
    row, col = np.unravel_index(np.argmax(maps.ts.data[0]), maps.ts.data[0].shape)
    assert {row, col} <= {19, 20}


def test_a_mask_and_a_model_without_energies(folder: Path, tmp_path: Path) -> None:
    hdus = fermi_files.model_cube()
    hdus[:1].writeto(tmp_path / "mcube.fits")
    hdus[0].data = np.ones((fermi_files.NPIX, fermi_files.NPIX), dtype=np.float32)
    hdus[0].data[:5] = 0
    hdus[:1].writeto(tmp_path / "mask.fits")
    files = files_of(folder, model=tmp_path / "mcube.fits", mask=tmp_path / "mask.fits")
    dataset = MapDataset.from_fermi(**files)
    assert np.all(dataset.require("background").data == fermi_files.BACKGROUND)
    assert np.array_equal(dataset.mask_image.data, hdus[0].data > 0)


def healpix() -> fits.HDUList:
    """Return counts as gtbin writes them with algorithm=HEALPIX."""
    columns = [fits.Column(f"CHANNEL{i}", "D", array=np.zeros(48)) for i in (1, 2)]
    table = fits.BinTableHDU.from_columns(columns, name="SKYMAP")
    table.header.update({"PIXTYPE": "HEALPIX", "ORDERING": "RING", "NSIDE": 2, "COORDSYS": "GAL"})
    return fits.HDUList([fits.PrimaryHDU(), table, fermi_files._ebounds(), fermi_files._gti()])


def source_maps() -> fits.HDUList:
    """Return what gtsrcmaps writes: counts, and a map for each source at the energies' edges."""
    data = np.ones((5, fermi_files.NPIX, fermi_files.NPIX), dtype=np.float32)
    return fits.HDUList([*fermi_files.counts_cube(0), fits.ImageHDU(data, name="galdiff")])


@pytest.mark.parametrize(
    ("part", "make", "message"),
    [
        ("ccube", healpix, "HEALPix product.*gtbin with algorithm=CCUBE"),
        ("ccube", fermi_files.exposure_cube, "no table EBOUNDS.*gtbin makes it"),
        ("ccube", fermi_files.psf_table, "no image in the first HDU"),
        ("bexpmap", healpix, "HEALPix product"),
        ("bexpmap", fermi_files.model_cube, "no table ENERGIES.*gtexpcube2"),
        ("model", source_maps, r"maps of sources \(GALDIFF\), as gtsrcmaps.*gtmodel"),
        ("model", fermi_files.exposure_cube, "no table EBOUNDS"),
        ("psf", fermi_files.model_cube, "no point spread function; expected"),
    ],
)
def test_files_in_each_others_place(
    folder: Path, tmp_path: Path, part: str, make: Any, message: str
) -> None:
    make().writeto(tmp_path / "other.fits")
    with pytest.raises(ValueError, match=rf"(?s)other\.fits: .*{message}"):
        MapDataset.from_fermi(**files_of(folder, **{part: tmp_path / "other.fits"}))


def test_a_healpix_map_is_named_wherever_it_is_read(tmp_path: Path) -> None:
    healpix().writeto(tmp_path / "map.fits")
    with pytest.raises(ValueError, match="'SKYMAP' is a HEALPix map; expected an image"):
        Map.read(tmp_path / "map.fits")


def test_an_exposure_elsewhere(folder: Path, tmp_path: Path) -> None:
    hdus = fermi_files.exposure_cube(all_sky=True)
    hdus[0].data = hdus[0].data[:, :90]  # the southern half
    hdus[0].header["NAXIS2"] = 90
    hdus.writeto(tmp_path / "half.fits")
    with pytest.raises(ValueError, match=r"half\.fits: exposure: it has no value at \d+ of 1600"):
        MapDataset.from_fermi(**files_of(folder, bexpmap=tmp_path / "half.fits"))


# folders of fermipy


def test_files_of_a_folder(folder: Path, tmp_path: Path) -> None:
    (one,) = find_fermi_files(folder)
    assert one.name == "analysis"
    assert {part: file.name for part, file in one.files.items()} == {
        "ccube": "ccube.fits",
        "bexpmap": "bexpmap_roi.fits",
        "model": "mcube_fit1.fits",
        "psf": "gtpsf.fits",
    }
    names = ("ccube", "ccube_00", "ccube_01", "bexpmap_00", "bexpmap_roi_01", "bexpmap_01")
    for name in (*names, "mcube_fit1", "mcube_fit1_00", "psf_00", "mcube_01", "psf", "mask_01"):
        (tmp_path / f"{name}.fits").touch()
    first, second = find_fermi_files(tmp_path)
    assert [file.name for file in first.files.values()] == [
        *("ccube_00.fits", "bexpmap_00.fits", "mcube_fit1_00.fits", "psf_00.fits")
    ]
    assert [file.name for file in second.files.values()] == [
        *("ccube_01.fits", "bexpmap_roi_01.fits", "mcube_01.fits", "psf.fits", "mask_01.fits")
    ]
    # the sum of two components is the background of neither
    (tmp_path / "mcube_01.fits").rename(tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match=r"has no mcube_01\.fits; make it with gtmodel"):
        find_fermi_files(tmp_path)
    (tmp_path / "kept").rename(tmp_path / "mcube_01.fits")
    (tmp_path / "mcube_fit2_00.fits").touch()
    with pytest.raises(ValueError, match=r"mcube_fit1_00.fits and mcube_fit2_00.fits; expected"):
        find_fermi_files(tmp_path)
    (tmp_path / "bexpmap_00.fits").unlink()
    with pytest.raises(FileNotFoundError, match=r"bexpmap_00\.fits.*gtexpcube2"):
        find_fermi_files(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no ccube\.fits or ccube_00\.fits"):
        find_fermi_files(tmp_path.parent)
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_fermi_files(tmp_path / "nowhere")


def test_the_command_takes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two components are fitted together."""
    fermi_files.write_analysis(tmp_path / "crab", ("_00", "_01"))
    out = tmp_path / "maps"
    words = ["ts-map", "--fermi", tmp_path / "crab", "--kernel-width", "1.5 deg", "-o", out]
    assert main([*map(str, words), "--no-pictures"]) == 0
    assert "crab_00" in capsys.readouterr().out
    maps = FluxMaps.read(out / "ts-map.fits")
    assert len(maps.meta["input"]) == 8
    row, col = np.unravel_index(np.argmax(maps.ts.data[0]), maps.ts.data[0].shape)
    assert abs(row - 19.5) < 2
    assert abs(col - 19.5) < 2
    for more in (["--psf-sigma", "0.1"], ["file.fits"]):
        assert main([*map(str, words), *more, "--overwrite"]) == 2
        assert "--fermi" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")  # of gammapy
def test_real_cubes_as_gammapy_reads_them(gammapy_data: Path) -> None:
    maps = pytest.importorskip("gammapy.maps")
    folder = gammapy_data / "fermi-3fhl-gc"
    names = {"ccube": "counts", "bexpmap": "exposure", "psf": "psf"}
    files = {part: folder / f"fermi-3fhl-gc-{n}-cube.fits.gz" for part, n in names.items()}
    dataset = MapDataset.from_fermi(**files)
    counts = maps.Map.read(files["ccube"])
    assert np.array_equal(dataset.require("counts").data, counts.data)
    edges = counts.geom.axes["energy"].edges.to_value("TeV")
    assert dataset.energy_axis.edges.to_value("TeV") == pytest.approx(edges, rel=1e-12)
    axis = maps.MapAxis.from_energy_edges(dataset.energy_axis.edges, name="energy_true")
    geom = counts.geom.to_image().to_cube([axis])
    # (gammapy interpolates the values themselves, along the logarithm of the energy)
    wanted = maps.Map.read(files["bexpmap"]).interp_to_geom(geom).data
    exposure = dataset.require("exposure").quantity.to_value("cm2 s")
    assert exposure == pytest.approx(wanted, rel=1e-4)
    irf = pytest.importorskip("gammapy.irf")
    theirs = irf.PSFMap.read(files["psf"], format="gtpsf")
    energies = dataset.psf.energy_axis.center
    radii = theirs.containment_radius(0.68, energy_true=energies).to_value("deg").ravel()
    own = dataset.psf.containment_radius(0.68).to_value("deg")
    assert own.ravel() == pytest.approx(radii, rel=3e-3)
