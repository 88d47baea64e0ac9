"""The demo finds what it put in, and says so."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from gammagrad import FluxMaps, MapDataset
from gammagrad.cli import main
from gammagrad.cli.demo import OWN_FILE
from gammagrad.demo import (
    GALACTIC_CENTRE,
    Demo,
    compare,
    fermi_demo,
    fermi_file,
    off_source,
    simulated_demo,
    write_demo,
)

NPIX = 60


@pytest.fixture(scope="module")
def demo() -> Demo:
    return simulated_demo(seed=0, npix=NPIX)


def test_bright_sources_are_found_with_their_flux(demo: Demo) -> None:
    table = demo.comparison
    assert table is not None
    # in a field this small the wings of A may hide a faint neighbour
    bright = (table["expected"] > 8) & np.isfinite(table["flux"])
    assert np.sum(bright) >= 4
    assert np.all(np.abs(table["pull"][bright]) < 4)
    assert np.all(table["offset"][bright] < 0.1 * u.deg)
    np.testing.assert_allclose(table["sqrt_ts"][bright], table["expected"][bright], rtol=0.35)


def test_the_extended_source_needs_its_own_shape(demo: Demo) -> None:
    table = demo.comparison
    nebula = table[table["kind"] == "gauss"][0]
    # a point kernel sees only a part of it
    position = SkyCoord(nebula["glon"], nebula["glat"], frame="galactic")
    as_point = float(np.ravel(demo.run.maps["flux"].get(position))[0])
    assert as_point < 0.9 * nebula["flux"].to_value("cm-2 s-1")
    assert abs(nebula["pull"]) < 4


def test_compiling_and_fitting_are_told_apart(demo: Demo) -> None:
    assert demo.run.pixels == NPIX**2
    assert demo.run.seconds > 0
    assert demo.run.compile_seconds >= 0
    assert f"{NPIX**2} pixels in" in str(demo.run)


def test_away_from_the_sources_nothing_stands_out(demo: Demo) -> None:
    keep = off_source(demo)
    assert keep is not None
    significance = demo.run.maps["sqrt_ts"].data[0]
    for source in demo.field.sources:
        assert not keep.get(SkyCoord(source["ra"], source["dec"])).any()
    assert np.abs(significance[keep.data]).max() < 5.5


def _sky(*positions: tuple[float, float], **columns: object) -> QTable:
    table = QTable()
    table["ra"] = [lon for lon, _ in positions] * u.deg
    table["dec"] = [lat for _, lat in positions] * u.deg
    for name, value in columns.items():
        table[name] = value
    return table


def test_found_sources_are_matched_with_the_true_ones() -> None:
    true = _sky((10, 0), (20, 0), (30, 0), name=["a", "b", "c"], kind=["point", "point", "gauss"])
    true["glon"], true["glat"] = true["ra"], true["dec"]
    true["sigma"] = [0, 0, 0.5] * u.deg
    true["flux"] = [4e-12, 1e-12, 2e-12] * u.Unit("cm-2 s-1")
    true["sqrt_ts"] = [10.0, 5.0, 6.0]
    flux = u.Unit("m-2 s-1")
    points = _sky((10.1, 0), (30.4, 0), (50, 0), sqrt_ts=[9.0, 6.0, 5.5])
    points["flux"], points["flux_err"] = [3e-8, 1e-8, 1e-8] * flux, [0.5e-8, 1e-9, 1e-9] * flux
    extended = _sky((30.2, 0), sqrt_ts=[8.0])
    extended["flux"], extended["flux_err"] = [2e-8] * flux, [1e-9] * flux
    table, spurious = compare(true, points, extended)
    np.testing.assert_allclose(table["offset"].to_value("deg"), [0.1, np.nan, 0.2], rtol=1e-9)
    np.testing.assert_allclose(table["pull"], [-2, np.nan, 0], atol=1e-9)
    np.testing.assert_allclose(table["sqrt_ts"], [9, np.nan, 8])
    # the peak at 30.4 belongs to the extended source, that at 50 to nothing
    assert spurious == 1
    table, spurious = compare(true, points[:0], extended[:0])
    assert np.all(np.isnan(table["flux"]))
    assert spurious == 0


def test_files_are_written_and_replaced(demo: Demo, tmp_path: Path) -> None:
    for _ in range(2):
        files = write_demo(demo, tmp_path / "out")
    assert {file.name for file in files} == {
        *("ts-map.fits", "sources.ecsv", "sources.reg", "dataset.fits.gz", "overview.png")
    }
    maps = FluxMaps.read(tmp_path / "out" / "ts-map.fits")
    np.testing.assert_allclose(maps["ts"].data, demo.run.maps["ts"].data, rtol=1e-6)
    dataset = MapDataset.read(tmp_path / "out" / "dataset.fits.gz")
    np.testing.assert_array_equal(dataset.counts.data, demo.dataset.counts.data)
    assert (tmp_path / "out" / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_found_against_true(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--npix", str(NPIX), "-o", str(tmp_path / "out")]) == 0
    out, errors = capsys.readouterr()
    lines = out.splitlines()
    assert errors == ""
    assert lines[-1] == OWN_FILE
    assert "Map for point sources: 3600 pixels in" in out
    assert "compiling before it" in out
    rows = [line.split() for line in lines if line.startswith(("A ", "nebula "))]
    assert [row[1] for row in rows] == ["point", "gauss"]
    true, found, error, pull = (float(cell) for cell in rows[0][4:8])
    assert pull == pytest.approx((found - true) / error, abs=0.05)
    assert abs(pull) < 4


def test_without_the_data_it_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GAMMAPY_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"GAMMAPY_DATA is not set.*gammapy download"):
        fermi_file()
    monkeypatch.setenv("GAMMAPY_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"does not exist.*gammapy download"):
        fermi_file()
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--fermi"]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.count("\n") == 1
    assert "gammapy download datasets" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
def test_the_fermi_demo_finds_the_galactic_centre(gammapy_data: Path) -> None:
    said: list[str] = []
    demo = fermi_demo(say=said.append)
    brightest = SkyCoord(demo.peaks["ra"][0], demo.peaks["dec"][0])
    assert brightest.separation(GALACTIC_CENTRE).deg < 0.1
    assert demo.run.pixels == 57600
    assert demo.run.maps.meta["input"] == "fermi-3fhl-gc.fits.gz"
    assert off_source(demo) is None
    assert any("57600 pixels" in text for text in said)
