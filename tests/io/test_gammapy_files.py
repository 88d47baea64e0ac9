"""Files both ways between gammagrad and gammapy: flux maps of every kind, and datasets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from numpy.typing import ArrayLike

from datasets import make_dataset
from gammagrad.dataset import MapDataset, MapDatasetOnOff
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import EDispKernelMap, Map, MapAxis, PSFMap, WcsGeom
from gammagrad.models import (
    ExpCutoffPowerLawSpectralModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

KINDS = ("likelihood", "dnde", "flux", "eflux", "e2dnde")
QUANTITIES = (
    *(f"{kind}{end}" for kind in ("norm", *KINDS[1:]) for end in ("", "_err", "_ul")),
    *("norm_errp", "norm_errn", "ts", "sqrt_ts", "npred", "npred_excess", "stat", "stat_null"),
    *("niter", "success"),
)


TOLERANCE = 1e-12  # rounding: all these are double precision in the file


def worst(found: ArrayLike, wanted: ArrayLike) -> float:
    """Return the largest deviation, relative to what is wanted."""
    a, b = (np.asarray(values, dtype=float) for values in (found, wanted))
    assert np.array_equal(np.isnan(a), np.isnan(b))
    return float(np.nanmax(abs(a - b) / np.where(b == 0, 1, abs(b))))


@pytest.fixture
def maps() -> FluxMaps:
    """Return flux maps of two energy groups."""
    axis = MapAxis.from_energy_edges([0.01, 0.1, 0.5] * u.TeV)
    rng = np.random.default_rng(2)
    geom = WcsGeom.create((6, 4), 0.1, skydir=(266.4, -29), frame="icrs", proj="TAN", axes=[axis])
    norm = rng.normal(size=geom.data_shape)
    more = ("norm_err", "norm_errp", "norm_errn", "npred", "npred_excess", "stat", "stat_null")
    data = {"norm": Map(geom, norm), "ts": Map(geom, 30 * norm * abs(norm))}
    data |= {name: Map(geom, rng.random(geom.data_shape)) for name in more}
    data["norm_ul"] = Map(geom, norm + 2)
    data["niter"] = Map(geom, rng.integers(0, 9, geom.data_shape).astype(np.int32))
    data["success"] = Map(geom, np.ones(geom.data_shape, dtype=bool))
    spectrum = PowerLawSpectralModel(2.3, "2e-12 cm-2 s-1 TeV-1", "0.1 TeV")
    gti = Table({"START": [0.0, 100.0] * u.s, "STOP": [50.0, 200.0] * u.s})
    gti.meta = {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT", "TIMEUNIT": "s"}
    meta = {"n_sigma": 1, "n_sigma_ul": 2}
    return FluxMaps(data, SkyModel(spectrum, PointSpatialModel(), name="test"), meta, gti)


def deviations(ours: FluxMaps, theirs: Any) -> dict[str, float]:
    """Return how much flux maps of both differ, by quantity."""
    found = {}
    for name in QUANTITIES:
        m = ours[name]
        other = getattr(theirs, name, None)
        other = theirs._data[name] if other is None else other
        wanted = other.quantity.to_value(m.unit) if m.data.dtype != bool else other.data
        found[name] = worst(abs(m.data) if name == "ts" else m.data, wanted)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_flux_maps_with_gammapy(
    maps: FluxMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Ours as theirs, written by them, and read again; each time from another folder."""
    estimators = pytest.importorskip("gammapy.estimators")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    maps.write(tmp_path / "ours.fits", sed_type=kind)
    theirs = estimators.FluxMaps.read(tmp_path / "ours.fits")
    assert max(deviations(maps, theirs).values()) < TOLERANCE
    theirs.write(tmp_path / "theirs.fits", sed_type=kind)
    back = FluxMaps.read(tmp_path / "theirs.fits")
    assert max(deviations(back, theirs).values()) < TOLERANCE
    assert np.array_equal(np.sign(back.ts.data), np.sign(maps.ts.data))
    assert back.gti is not None
    assert worst(back.gti["STOP"], [50.0, 200.0]) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_flux_maps_of_a_curved_spectrum_with_gammapy(
    maps: FluxMaps, tmp_path: Path, kind: str
) -> None:
    """gammapy integrates it with few nodes, so that fluxes agree to some 1e-5."""
    estimators = pytest.importorskip("gammapy.estimators")
    spectrum = ExpCutoffPowerLawSpectralModel(
        index=1.8, amplitude="2e-12 cm-2 s-1 TeV-1", reference="0.1 TeV", lambda_="2 TeV-1"
    )
    curved = FluxMaps(maps._data, SkyModel(spectrum, PointSpatialModel(), name="test"), maps.meta)
    curved.write(tmp_path / "ours.fits", sed_type=kind)
    theirs = estimators.FluxMaps.read(tmp_path / "ours.fits")
    found = deviations(curved, theirs)
    assert max(found.values()) < 3e-5
    own = "norm" if kind == "likelihood" else kind
    assert max(found[f"{own}{end}"] for end in ("", "_err", "_ul")) < TOLERANCE


def test_flux_maps_that_move_with_gammapy(
    maps: FluxMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimators = pytest.importorskip("gammapy.estimators")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    maps.write(old / "whole.fits")
    maps.write(old / "relative.fits", relative_model=True)
    shutil.move(old, new)
    for name in ("whole.fits", "relative.fits"):
        moved = FluxMaps.read(new / name)
        assert worst(moved.flux.data, maps.flux.data) < TOLERANCE
    with pytest.raises(FileNotFoundError):
        estimators.FluxMaps.read(new / "whole.fits")
    monkeypatch.chdir(new)
    assert estimators.FluxMaps.read("relative.fits").reference_model.name == "test"
    # writing it again is the other way
    FluxMaps.read("whole.fits").write("whole.fits", overwrite=True)
    monkeypatch.chdir(tmp_path)
    assert estimators.FluxMaps.read(new / "whole.fits").reference_model.name == "test"


def dataset_with_everything() -> MapDataset:
    """Return a dataset with responses, masks and times."""
    dataset = make_dataset(npix=(7, 5), mask=True, name="whole")
    axis = dataset.energy_axis
    true = axis.rename("energy_true")
    coarse = WcsGeom.create((3, 2), 0.5, skydir=(83.63, 22.01), proj="TAN")
    rad = MapAxis.from_nodes(np.linspace(0, 0.5, 6), name="rad", unit="deg")
    rng = np.random.default_rng(0)
    n = axis.nbin
    dataset.psf = PSFMap(
        Map(coarse.to_cube([rad, true]), rng.random((n, 6, 2, 3)), "sr-1"),
        Map(coarse.to_cube([rad.squash(), true]), 1.0, "m2 s"),
    )
    dataset.edisp = EDispKernelMap(
        Map(coarse.to_cube([axis, true]), rng.random((n, n, 2, 3)) / n),
        Map(coarse.to_cube([axis.squash(), true]), 1.0, "m2 s"),
    )
    dataset.mask_fit = Map(dataset.geom, rng.random(dataset.geom.data_shape) < 0.5)
    dataset.require("counts").data[:] = np.round(dataset.require("counts").data)
    dataset.gti = Table({"START": [0.0, 50.0] * u.s, "STOP": [20.0, 90.0] * u.s})
    dataset.gti.meta = {"MJDREFI": 51544, "MJDREFF": 0.5, "TIMESYS": "TT", "TIMEUNIT": "s"}
    return dataset


MAPS = ("counts", "exposure", "background", "mask_safe", "mask_fit")
OFF = ("counts_off", "acceptance", "acceptance_off")


def map_deviations(ours: Any, theirs: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Return how much the maps of two datasets differ, by name."""
    pairs = {name: (getattr(ours, name), getattr(theirs, name)) for name in names}
    pairs |= {
        name: (getattr(getattr(ours, part), name), getattr(getattr(theirs, part), name))
        for part, name in (("psf", "psf_map"), ("edisp", "edisp_map"))
    }
    found = {}
    for name, (a, b) in pairs.items():
        found[name] = worst(a.data, b.quantity.to_value(a.unit))
        for axis in a.geom.axes:
            edges = b.geom.axes[axis.name].edges.to_value(axis.unit)
            assert np.allclose(axis.edges.value, edges, rtol=1e-12), name
    return found


@pytest.mark.parametrize("kind", ["MapDataset", "MapDatasetOnOff"])
def test_datasets_with_gammapy(tmp_path: Path, kind: str) -> None:
    gammapy = pytest.importorskip("gammapy.datasets")
    whole = dataset_with_everything()
    on_off = kind == "MapDatasetOnOff"
    ours: Any = MapDatasetOnOff.from_map_dataset(whole, 1.0, 10.0) if on_off else whole
    names = (*(n for n in MAPS if n != "background"), *OFF) if on_off else MAPS
    ours.write(tmp_path / "ours.fits")
    theirs = getattr(gammapy, kind).read(tmp_path / "ours.fits", name="whole")
    assert max(map_deviations(ours, theirs, names).values()) == 0
    theirs.write(tmp_path / "theirs.fits")
    back = type(ours).read(tmp_path / "theirs.fits", name="whole")
    assert max(map_deviations(back, theirs, names).values()) == 0
    if not on_off:
        assert back.stat_sum() == pytest.approx(theirs.stat_sum(), rel=1e-12)
        assert back.stat_sum() == pytest.approx(ours.stat_sum(), rel=1e-12)
