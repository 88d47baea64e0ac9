"""Files of flux maps and of sources: round trips, gammapy's reader, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

from gammagrad.derive import scan_norms
from gammagrad.flux_maps import FluxMaps
from gammagrad.io import model_filename, read_flux_maps, read_peaks, write_peaks
from gammagrad.io.flux_header import CARDS
from gammagrad.maps import Map, MapAxis
from gammagrad.models import (
    GaussianSpatialModel,
    LogParabolaSpectralModel,
    SkyModel,
    TemplateSpatialModel,
)
from gammagrad.output_quantities import QUANTITIES, MissingQuantityError

META = {
    "n_sigma": 1,
    "n_sigma_ul": 2.5,
    "n_sigma_sensitivity": 4.5,
    "norm_min": 0,
    "containment_per_group": [[0.912345, None], [0.987654, 0.95]],
    "sqrt_ts_threshold_ul": 3.0,
    "input": ["it's a 'name' & more.fits", "b" * 90 + ".fits.gz"],
    "input_sha256": "0123456789abcdef" * 4,
    "settings": {
        "kernel_width": 0.6 * u.deg,
        "energy_edges": np.array([1.0, 10.0]),
        "selection_optional": ["ul", "errn-errp"],
        "threshold": None,
        "note": "'&" * 60,
    },
    "snapped_edges": [0.01, 0.5],
}


@pytest.fixture
def maps() -> FluxMaps:
    axis = MapAxis.from_energy_edges([0.01, 0.1, 0.5] * u.TeV)
    rng = np.random.default_rng(1)
    norm = Map.create(
        npix=(12, 8), binsz=0.1, skydir=(266.4, -29), frame="icrs", proj="TAN", axes=[axis]
    )
    norm.data = rng.normal(size=norm.data.shape)
    norm.data[0, 0, :3] = np.nan
    shape = norm.data.shape
    data = {
        "norm": norm,
        "ts": Map.from_geom(norm.geom, data=30 * norm.data * abs(norm.data)),
        "niter": Map.from_geom(norm.geom, data=rng.integers(0, 9, shape).astype(np.int32)),
        "status": Map.from_geom(norm.geom, data=rng.integers(0, 7, shape).astype(np.int8)),
        "success": Map.from_geom(norm.geom, data=rng.random(shape) > 0.2),
        "norm_ul": Map.from_geom(norm.geom, data=norm.data + 2),
    }
    for name in ("norm_err", "npred", "npred_excess", "stat", "stat_null"):
        data[name] = Map.from_geom(norm.geom, data=rng.random(shape))
    spectrum = LogParabolaSpectralModel(
        amplitude="2e-12 cm-2 s-1 TeV-1", reference="0.1 TeV", alpha=2.1, beta=0.05
    )
    shape_model = GaussianSpatialModel(lon_0="1 deg", lat_0="2 deg", sigma="0.1 deg", frame="icrs")
    gti = Table({"START": [0.0, 100.0] * u.s, "STOP": [50.0, 200.0] * u.s})
    gti.meta = {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT"}
    return FluxMaps(data, SkyModel(spectrum, shape_model, name="my source"), META, gti)


@pytest.mark.parametrize("name", ["maps.fits", "maps.fits.gz"])
def test_round_trip(maps: FluxMaps, tmp_path: Path, name: str) -> None:
    maps.write(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "maps_model.yaml"]
    (tmp_path / "maps_model.yaml").unlink()  # only gammapy needs it
    back = FluxMaps.read(tmp_path / name)
    assert list(back) == list(maps)
    for key, m in maps.items():
        assert np.array_equal(back[key].data, m.data, equal_nan=True), key
        assert back[key].data.dtype == m.data.dtype, key
        assert back[key].unit == m.unit, key
        assert back[key].geom == m.geom, key
    for key in CARDS.keys() & META.keys() - {"settings"}:
        assert back.meta[key] == META[key]
    assert back.n_sigma_sensitivity == 4.5
    assert back.norm_min == 0
    assert back.meta["input"] == META["input"]
    assert back.meta["snapped_edges"] == META["snapped_edges"]
    assert back.meta["settings"] == {
        "kernel_width": "0.6 deg",
        "energy_edges": [1.0, 10.0],
        "selection_optional": ["ul", "errn-errp"],
        "threshold": None,
        "note": "'&" * 60,
    }
    assert back.meta["creator"].startswith("gammagrad ")
    assert np.array_equal(back.gti["STOP"], [50, 200])
    assert back.gti.meta["MJDREFI"] == 51544
    assert str(back) == str(maps)
    model, spectrum = back.reference_model, back.reference_model.spectral_model
    assert model.name == "my source"
    assert spectrum.parameters == pytest.approx(maps.reference_model.spectral_model.parameters)
    assert model.spatial_model.parameters == maps.reference_model.spatial_model.parameters
    again = tmp_path / f"again-{name}"
    back.write(again)
    assert np.array_equal(FluxMaps.read(again).ts.data, maps.ts.data, equal_nan=True)


def test_layout(maps: FluxMaps, tmp_path: Path) -> None:
    maps.write(tmp_path / "maps.fits")
    with fits.open(tmp_path / "maps.fits") as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert header["SED_TYPE"] == "likelihood"
        assert header["MODEL"] == (tmp_path / "maps_model.yaml").as_posix()
        assert header["NSIGMA"] == 1
        assert header["INSHA256"] == META["input_sha256"]
        assert json.loads(header["SETTINGS"])["kernel_width"] == "0.6 deg"
        names = [hdu.name for hdu in hdus[1:]]
        stored = [*maps.available_quantities, "status", "sqrt_ts"]
        expected = [n for q in stored for n in (q.upper(), f"{q.upper()}_BANDS")]
        assert names == [*expected, "GTI"]
        for name in stored:
            assert hdus[name].header["BANDSHDU"] == f"{name.upper()}_BANDS"
            assert hdus[name].data.shape == (2, 8, 12)
            unit = hdus[name].header.get("BUNIT", "")
            assert u.Unit(unit) == u.Unit(QUANTITIES[name].unit)
        # gammapy's test statistic has no sign
        assert np.nanmin(hdus["TS"].data) >= 0
        assert np.array_equal(hdus["TS"].data, abs(maps.ts.data), equal_nan=True)
        assert np.array_equal(hdus["SQRT_TS"].data, maps.sqrt_ts.data, equal_nan=True)
        assert set(np.unique(hdus["SUCCESS"].data)) <= {0, 1}
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((tmp_path / "maps_model.yaml").read_text())
    spectrum = content["components"][0]["spectral"]
    assert spectrum["type"] == "LogParabolaSpectralModel"
    values = {p["name"]: p["value"] for p in spectrum["parameters"]}
    assert values == maps.reference_model.spectral_model.parameters
    assert values["amplitude"] == 2e-12
    assert len({card for card, _ in CARDS.values()}) == len(CARDS)


NORMS = np.concatenate([-np.geomspace(100, 1e-4, 5), [0.0], np.geomspace(1e-4, 100, 5)])


def with_scan(maps: FluxMaps) -> FluxMaps:
    scan_axis = MapAxis.from_nodes(NORMS, name="norm", interp="lin")
    geom = maps.geom.to_image().to_cube([scan_axis, maps.energy_axis])
    values = np.arange(np.prod(geom.data_shape), dtype=float).reshape(geom.data_shape)
    values[0, :, 0, :3] = np.nan
    data = {**maps._data, "stat_scan": Map.from_geom(geom, data=values)}
    return FluxMaps(data, maps.reference_model, maps.meta)


def test_a_scan_keeps_its_own_axis(maps: FluxMaps, tmp_path: Path) -> None:
    maps = with_scan(maps)
    maps.write(tmp_path / "scan.fits")
    back = FluxMaps.read(tmp_path / "scan.fits")
    axis = back.stat_scan.geom.axes["norm"]
    assert back.stat_scan.geom.axes.names == ["norm", "energy"]
    assert axis.node_type == "center"
    assert np.array_equal(axis.center.value, NORMS)  # every digit
    assert np.array_equal(back.stat_scan.data, maps.stat_scan.data, equal_nan=True)
    assert list(back) == list(maps)
    assert "dnde_scan_values" not in back._data  # it follows from the axis
    assert back.dnde_scan_values.data == pytest.approx(maps.dnde_scan_values.data, rel=1e-12)
    with fits.open(tmp_path / "scan.fits") as hdus:  # gammapy looks for them
        assert hdus["DNDE_SCAN_VALUES"].data.shape == (2, 11, 8, 12)


def test_a_scan_of_gammapy_has_norms_for_each_pixel(maps: FluxMaps, tmp_path: Path) -> None:
    """gammapy numbers the values, and scans other fluxes at every pixel."""
    rng = np.random.default_rng(5)
    axis = MapAxis.from_nodes(np.arange(9.0), name="dnde_bin")
    geom = maps.geom.to_image().to_cube([axis, maps.energy_axis])
    norms = np.sort(rng.normal(size=geom.data_shape), axis=1)
    dnde = norms * maps.dnde_ref.to_value("keV-1 s-1 cm-2")[:, None]
    data = {
        **maps._data,
        "stat_scan": Map(geom, norms**2),
        "dnde_scan_values": Map(geom, dnde, unit="keV-1 s-1 cm-2"),
    }
    FluxMaps(data, maps.reference_model).write(tmp_path / "scan.fits")
    back = FluxMaps.read(tmp_path / "scan.fits")
    assert back.stat_scan.geom.axes.names == ["dnde_bin", "energy"]
    assert scan_norms(back, back.reference_model.spectral_model) == pytest.approx(norms, rel=1e-12)


@pytest.mark.parametrize("kind", ["dnde", "flux", "eflux", "e2dnde"])
def test_fluxes_can_be_written_instead(maps: FluxMaps, tmp_path: Path, kind: str) -> None:
    maps.write(tmp_path / "maps.fits", sed_type=kind, filename_model=tmp_path / "named.yaml")
    assert {p.name for p in tmp_path.iterdir()} == {"maps.fits", "named.yaml"}
    with fits.open(tmp_path / "maps.fits") as hdus:
        assert hdus[0].header["SED_TYPE"] == kind
        assert hdus[0].header["MODEL"].endswith("named.yaml")
        names = {hdu.name for hdu in hdus}
        assert {kind.upper(), f"{kind.upper()}_ERR", f"{kind.upper()}_UL", "TS"} <= names
        assert not any(name.startswith("NORM") for name in names)
        stored = hdus[f"{kind}_ul"]
        factor = u.Unit(stored.header["BUNIT"]).to(maps[f"{kind}_ul"].unit)
        assert stored.data * factor == pytest.approx(maps[f"{kind}_ul"].data, nan_ok=True)
    back = FluxMaps.read(tmp_path / "maps.fits")
    assert list(back) == list(maps)
    for name in ("norm", "norm_err", "norm_ul", "ts"):
        assert back[name].data == pytest.approx(maps[name].data, rel=1e-12, nan_ok=True)
    with pytest.raises(ValueError, match="sed_type is 'norm'; choose likelihood, dnde"):
        maps.write(tmp_path / "other.fits", sed_type="norm")
    with pytest.raises(MissingQuantityError, match="reference model"):
        FluxMaps(maps._data).write(tmp_path / "other.fits", sed_type=kind)


def test_names_of_files_may_have_variables(
    maps: FluxMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMMAGRAD_TEST", str(tmp_path))
    maps.write("$GAMMAGRAD_TEST/maps.fits")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["maps.fits", "maps_model.yaml"]
    assert list(FluxMaps.read("${GAMMAGRAD_TEST}/maps.fits")) == list(maps)
    write_peaks(maps.find_peaks(2), "$GAMMAGRAD_TEST/peaks.ecsv")
    assert len(read_peaks("$GAMMAGRAD_TEST/peaks.ecsv"))
    monkeypatch.delenv("GAMMAGRAD_TEST")
    with pytest.raises(FileNotFoundError, match="variable GAMMAGRAD_TEST is not set"):
        FluxMaps.read("$GAMMAGRAD_TEST/maps.fits")


def test_nothing_is_lost_when_a_file_is_there(maps: FluxMaps, tmp_path: Path) -> None:
    path = tmp_path / "maps.fits"
    maps.write(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        maps.write(path)
    path.unlink()
    with pytest.raises(FileExistsError, match=r"maps_model\.yaml"):
        maps.write(path)
    assert not path.exists()
    maps.write(path, overwrite=True)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="no folder"):
        maps.write(tmp_path / "nowhere" / "maps.fits")


def test_model_filename() -> None:
    for name in ("run.1.fits", "run.1.fits.gz", "run.1"):
        assert model_filename(name).name == "run.1_model.yaml"
    assert model_filename("x.fits").is_absolute()


def test_not_flux_maps(maps: FluxMaps, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FluxMaps.read(tmp_path / "none.fits")
    (tmp_path / "text.fits").write_text("nothing")
    with pytest.raises(ValueError, match="FITS"):
        FluxMaps.read(tmp_path / "text.fits")
    maps.norm.write(tmp_path / "map.fits")
    with pytest.raises(ValueError, match="no flux maps; expected SED_TYPE"):
        FluxMaps.read(tmp_path / "map.fits")


@pytest.mark.parametrize("kind", ["dnde", "flux", "eflux", "e2dnde"])
def test_fluxes_become_norms(maps: FluxMaps, tmp_path: Path, kind: str) -> None:
    """A file of fluxes, as gammapy writes it, in units of its own."""
    maps.write(tmp_path / "maps.fits")
    with fits.open(tmp_path / "maps.fits") as hdus:
        for suffix in ("", "_ERR", "_UL"):
            m = maps[f"{kind}{suffix.lower()}"].to_unit(u.Unit(maps[kind].unit) * u.m**2 / u.km**2)
            hdu = hdus[f"NORM{suffix}"]
            hdu.data = m.data
            hdu.header["BUNIT"] = m.unit.to_string("fits")
            hdu.name = f"{kind}{suffix}"
        hdus[0].header["SED_TYPE"] = kind
        hdus.writeto(tmp_path / "fluxes.fits")
    back = FluxMaps.read(tmp_path / "fluxes.fits")
    for name in ("norm", "norm_err", "norm_ul", "ts"):
        assert back[name].data == pytest.approx(maps[name].data, rel=1e-12, nan_ok=True)


def test_model_in_a_file_beside_it(maps: FluxMaps, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    maps.write(tmp_path / "maps.fits")
    with fits.open(tmp_path / "maps.fits", mode="update") as hdus:
        del hdus[0].header["REFMODEL"]
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (tmp_path / "maps.fits", tmp_path / "maps_model.yaml"):
        path.rename(moved / path.name)
    back = FluxMaps.read(moved / "maps.fits")
    assert back.reference_model.name == "my source"
    (moved / "maps_model.yaml").unlink()
    assert FluxMaps.read(moved / "maps.fits").reference_model is None
    assert read_flux_maps(moved / "maps.fits").model is None
    with fits.open(moved / "maps.fits", mode="update") as hdus:
        hdus[0].header["SED_TYPE"] = "dnde"
    with pytest.raises(ValueError, match="needs its reference model"):
        FluxMaps.read(moved / "maps.fits")


def test_template_as_reference(maps: FluxMaps, tmp_path: Path) -> None:
    """Fluxes need the spectrum only: a shape that is in no file does not stop the writing."""
    template = Map.create(npix=(5, 5), binsz=0.1, unit="sr-1", data=np.ones((5, 5)))
    shape = TemplateSpatialModel.from_map(template)
    model = SkyModel(maps.reference_model.spectral_model, shape)
    FluxMaps(maps._data, model).write(tmp_path / "maps.fits")
    back = FluxMaps.read(tmp_path / "maps.fits")
    assert back.flux.data == pytest.approx(maps.flux.data, nan_ok=True)
    template.write(tmp_path / "template.fits")
    named = TemplateSpatialModel.from_map(template, filename=str(tmp_path / "template.fits"))
    FluxMaps(maps._data, SkyModel(model.spectral_model, named)).write(tmp_path / "named.fits")
    assert FluxMaps.read(tmp_path / "named.fits").reference_model.spatial_model is not None
    (tmp_path / "template.fits").unlink()
    assert FluxMaps.read(tmp_path / "named.fits").reference_model.spatial_model is None


def test_gammapy_reads_it(maps: FluxMaps, tmp_path: Path) -> None:
    estimators = pytest.importorskip("gammapy.estimators")
    maps.write(tmp_path / "maps.fits")
    theirs = estimators.FluxMaps.read(tmp_path / "maps.fits")
    success = maps.success.data
    for name in ("ts", "sqrt_ts", "flux", "flux_err", "dnde_ul", "npred", "niter", "status"):
        ours = maps[name]
        expected = abs(ours.data) if name == "ts" else ours.data
        values = getattr(theirs, name, theirs._data.get(name)).quantity.to_value(ours.unit)
        assert values[success] == pytest.approx(expected[success], rel=1e-6, nan_ok=True), name
    theirs.write(tmp_path / "theirs.fits")
    back = FluxMaps.read(tmp_path / "theirs.fits")
    for name in ("ts", "sqrt_ts", "flux", "eflux_err", "norm_ul", "stat", "success"):
        a, b = back[name].data[success], maps[name].data[success]
        assert a == pytest.approx(b, rel=1e-6, nan_ok=True), name


@pytest.mark.parametrize("kind", ["likelihood", "flux"])
def test_gammapy_reads_limits_and_profiles(maps: FluxMaps, tmp_path: Path, kind: str) -> None:
    estimators = pytest.importorskip("gammapy.estimators")
    utils = pytest.importorskip("gammapy.estimators.utils")
    gammapy_maps = pytest.importorskip("gammapy.maps")
    maps = with_scan(maps).slice_by_idx({"energy": 0})
    rng = np.random.default_rng(4)
    more = ("norm_errp", "norm_errn", "norm_sensitivity")
    data = {name: Map(maps.geom, rng.random(maps.geom.data_shape)) for name in more}
    data["success"] = Map(maps.geom, np.ones(maps.geom.data_shape, dtype=bool))
    # no two scans differ but by their best fit
    x = NORMS[None, :, None, None]
    data["stat_scan"] = Map(maps.stat_scan.geom, x**2 - 2 * x * maps.norm.data[:, None])
    maps = FluxMaps({**maps._data, **data}, maps.reference_model)
    maps.write(tmp_path / "maps.fits", sed_type=kind)
    theirs = estimators.FluxMaps.read(tmp_path / "maps.fits")
    for name in ("flux_ul", "eflux_errn", "dnde_errp", "flux_sensitivity", "dnde_scan_values"):
        values = getattr(theirs, name).quantity.to_value(maps[name].unit)
        assert values == pytest.approx(maps[name].data, rel=1e-6, nan_ok=True), name
    assert np.array_equal(theirs.stat_scan.data, maps.stat_scan.data, equal_nan=True)
    grid = np.linspace(-50, 50, 11)
    axis = gammapy_maps.MapAxis(grid * theirs.dnde_ref.squeeze(), name="dnde", node_type="center")
    profile = utils.interpolate_profile_map(theirs, axis).data[0, :, 4, 5]
    expected = np.interp(grid, NORMS, maps.stat_scan.data[0, :, 4, 5])
    assert profile == pytest.approx(expected, rel=1e-6)


# tables of sources


@pytest.fixture
def peaks(maps: FluxMaps) -> QTable:
    table = maps.find_peaks(threshold=2, min_distance=2)
    assert len(table) > 3
    return table


@pytest.mark.parametrize("name", ["peaks.ecsv", "peaks.fits", "peaks.fits.gz"])
def test_peaks_come_back(peaks: QTable, tmp_path: Path, name: str) -> None:
    write_peaks(peaks, tmp_path / name)
    back = read_peaks(tmp_path / name)
    assert back.colnames == peaks.colnames
    for column in peaks.colnames:
        assert np.array_equal(np.asarray(back[column]), np.asarray(peaks[column])), column
        assert getattr(back[column], "unit", None) == getattr(peaks[column], "unit", None)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_peaks(peaks, tmp_path / name)
    write_peaks(peaks[:1], tmp_path / name, overwrite=True)
    assert len(read_peaks(tmp_path / name)) == 1
    write_peaks(peaks[:0], tmp_path / name, overwrite=True)
    assert read_peaks(tmp_path / name).colnames == peaks.colnames
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_regions(peaks: QTable, tmp_path: Path) -> None:
    write_peaks(peaks, tmp_path / "peaks.reg")
    regions = pytest.importorskip("regions")
    found = regions.Regions.read(tmp_path / "peaks.reg", format="ds9")
    assert [r.meta["text"] for r in found] == list(peaks["name"])
    expected = SkyCoord(peaks["ra"], peaks["dec"])
    there = SkyCoord([r.center.icrs for r in found])
    assert np.all(there.separation(expected) < 0.01 * u.arcsec)


@pytest.mark.parametrize("name", ["peaks.txt", "peaks"])
def test_unknown_ending(peaks: QTable, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in one of \.ecsv"):
        write_peaks(peaks, tmp_path / name)


def test_regions_hold_no_table(peaks: Any, tmp_path: Path) -> None:
    write_peaks(peaks, tmp_path / "peaks.reg")
    with pytest.raises(ValueError, match="ECSV or FITS"):
        read_peaks(tmp_path / "peaks.reg")
