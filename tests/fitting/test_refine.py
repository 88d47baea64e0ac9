"""Candidates refined to sources: expected counts give the truth back, random ones close to it."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import jax
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from datasets import make_dataset, make_geom
from gammagrad import Map, MapDataset
from gammagrad.fitting import refine_peaks
from gammagrad.fitting.candidate import _flux_and_slope
from gammagrad.fitting.problem import curvature, evaluate
from gammagrad.fitting.refined_table import error_ellipse, turned_covariance
from gammagrad.models import (
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpectralModel,
)
from gammagrad.peaks import find_peaks

MODEL = SkyModel(PowerLawSpectralModel(2.0, 1e-12), PointSpatialModel())
PSF, EXPOSURE = 0.15, 3e13
# row and column on the first map, norm, index: two neighbours, one alone, and one on the edge
SOURCES = (
    (9.3, 10.4, 4.0, 2.2),
    (14.2, 11.9, 6.0, 2.0),
    (20.4, 26.3, 5.0, 2.4),
    (0.3, 3.2, 8.0, 2.1),
)
GEOM = make_geom((33, 27), nbin=2)


def sources() -> list[SkyModel]:
    """Return the true sources."""
    found = []
    for i, (row, col, norm, index) in enumerate(SOURCES):
        position = GEOM.pix_to_sky(col, row)
        place = PointSpatialModel(float(position.ra.deg), float(position.dec.deg))
        found.append(SkyModel(PowerLawSpectralModel(index, norm * 1e-12), place, name=f"s{i}"))
    return found


def datasets(seed: int | None, number: int = 1) -> list[MapDataset]:
    """Return datasets with pixels of different size; seed None gives expected counts."""
    found = []
    both = (("one", (33, 27), 0.1, 0.5), ("two", (30, 26), 0.12, 0.3))
    for name, npix, binsz, level in both[:number]:
        data = make_dataset(
            npix, 2, binsz=binsz, flux=0.0, background=level, sigma=PSF, name=name, seed=None
        )
        data.models = sources()
        expected = data.npred().data
        data.models = None
        if seed is not None:
            expected = np.random.default_rng([seed, len(found)]).poisson(expected).astype(float)
        data.counts = Map(data.geom, expected)
        found.append(data)
    return found


def peaks() -> QTable:
    """Return the candidates: the pixels of the sources, and one where no flux was found."""
    significance, norm = (Map.from_geom(GEOM.to_image()) for _ in range(2))
    norm.data += 3.0
    for row, col, height, _ in SOURCES:
        significance.data[round(row), round(col)] = 2 * height
    significance.data[20, 10], norm.data[20, 10] = 6, np.nan
    return find_peaks({"sqrt_ts": significance, "norm": norm}, min_distance=2)


def matched(table: QTable) -> tuple[list[SkyModel], QTable]:
    """Return the true sources in the order of the rows for them."""
    order = np.argsort([-norm for *_, norm, _ in SOURCES])
    return [sources()[i] for i in order], table[np.arange(5) < 4]


def truth(models: list[SkyModel]) -> dict[str, Any]:
    return {
        "ra": np.array([m.spatial_model.lon_0 for m in models]),
        "dec": np.array([m.spatial_model.lat_0 for m in models]),
        "index": np.array([m.spectral_model.index for m in models]),
        "flux": np.array([m.spectral_model.integral(1.0, 10.0) for m in models]),
    }


def pulls(table: QTable, models: list[SkyModel]) -> dict[str, Any]:
    """Return the deviations from the truth in units of the errors."""
    true, found = truth(models), {}
    for name, value in true.items():
        difference = u.Quantity(table[name]).value - value
        if name == "ra":
            difference = difference * np.cos(np.radians(true["dec"]))
        found[name] = difference / u.Quantity(table[f"{name}_err"]).value
    return found


@pytest.fixture(scope="module")
def refined() -> QTable:
    """Return the candidates refined with random counts; what it compiles serves all tests."""
    jax.clear_caches()
    table = refine_peaks(peaks()[:1], datasets(5), MODEL)
    sizes = [f.traces for f in (evaluate, curvature, _flux_and_slope)]
    assert bool(table["refined"][0])
    table = refine_peaks(peaks(), datasets(5), MODEL, progress=False)
    # neither the other sources nor other numbers compile anything
    assert [f.traces for f in (evaluate, curvature, _flux_and_slope)] == sizes
    return table


def test_refined_sources_agree_with_the_truth(refined: QTable) -> None:
    models, table = matched(refined)
    assert np.all(table["refined"])
    for name, values in pulls(table, models).items():
        assert np.all(np.abs(values) < 3), name
    # below a pixel, and not better than the photons of a source without background allow
    counts = EXPOSURE * table["flux"].to_value("cm-2 s-1")
    best = PSF / np.sqrt(counts)
    for name in ("ra_err", "dec_err"):
        error = table[name].to_value("deg")
        assert np.all(error > 0.9 * best)
        assert np.all(error < 4 * best)
        assert np.all(error < 0.1)
    assert np.all(table["shift"] > 0)
    assert np.all(table["shift"].to_value("deg") < 0.15)
    np.testing.assert_allclose(table["sqrt_ts"] ** 2, table["ts"])
    assert np.all(table["sqrt_ts"] > 5)


def test_ellipses_hold_what_the_errors_do(refined: QTable) -> None:
    _, table = matched(refined)
    total = table["ra_err"] ** 2 + table["dec_err"] ** 2
    for percent, quantile in ((68, 2.279), (95, 5.991)):
        major, minor = (table[f"ellipse_{axis}_{percent}"] for axis in ("major", "minor"))
        assert np.all(major >= minor)
        np.testing.assert_allclose((major**2 + minor**2) / quantile, total, rtol=1e-3)
    np.testing.assert_allclose(table["glon_err"] ** 2 + table["glat_err"] ** 2, total, rtol=1e-6)


def test_a_candidate_without_flux_keeps_its_pixel(refined: QTable) -> None:
    row, pixel = refined[4], peaks()[4]
    assert not row["refined"]
    assert "no flux" in row["message"]
    assert row["ra"] == pixel["ra"]
    assert row["name"] == pixel["name"]
    assert np.isnan(row["ra_err"])


def test_expected_counts_give_the_truth_back(refined: QTable) -> None:
    size = evaluate.traces
    table = refine_peaks(peaks(), datasets(None), MODEL, passes=12)
    assert evaluate.traces == size
    models, table = matched(table)
    for name, values in pulls(table, models).items():
        assert np.all(np.abs(values) < 0.02), name


def test_some_energies_only(refined: QTable) -> None:
    some = peaks()[:1]
    edges = GEOM.axes["energy"].edges
    some["energy_min"], some["energy_max"] = edges[1:2], edges[2:]
    table = refine_peaks(some, datasets(None), MODEL, free=("position", "index"))
    # one energy does not determine an index
    assert not table["refined"][0]
    assert "index" in table["message"][0]


def test_a_table_from_a_file_will_do(refined: QTable) -> None:
    size = evaluate.traces
    # a plain table, of which the names are longer than those of positions
    plain = Table(peaks()[[0, 4]])
    plain["name"] = np.array(["4ABC J0534.5+2200 left", "4ABC J0534.5+2200 right"])
    before = plain.copy()
    table = refine_peaks(plain, datasets(5), MODEL)
    assert evaluate.traces == size
    assert list(table["refined"]) == [True, False]
    assert table["ra_err"].unit == "deg"
    assert table["name"][0] == refined["name"][0]
    assert table["name"][1] == "4ABC J0534.5+2200 right"
    assert table["ra"][0].value == pytest.approx(refined["ra"][0].value, abs=1e-2)
    assert list(plain["ra"]) == list(before["ra"])


def test_candidates_without_data_are_left(refined: QTable) -> None:
    table = peaks()[[0, 0, 0]]
    table["dec"][0] += 40 * u.deg  # off the map
    table["ra"][1] += 180 * u.deg  # behind its projection
    table["energy_min"], table["energy_max"] = [1, 1, 30] * u.TeV, [10, 10, 90] * u.TeV
    found = refine_peaks(table, datasets(None), MODEL, free=("position",))
    assert not found["refined"].any()
    assert all("no data around it" in message for message in found["message"])


def test_far_from_its_pixel_is_not_refined(refined: QTable) -> None:
    size = evaluate.traces
    wrong = peaks()[:1]
    wrong["dec"] += 0.35 * u.deg
    table = refine_peaks(wrong, datasets(None), MODEL)
    assert evaluate.traces == size
    assert not table["refined"][0]
    assert "moved" in table["message"][0]
    assert table["dec"][0] == wrong["dec"][0]


@pytest.mark.slow
def test_datasets_are_fitted_together(refined: QTable) -> None:
    table = refine_peaks(peaks(), datasets(None, 2), MODEL, passes=12)
    models, table = matched(table)
    for name, values in pulls(table, models).items():
        assert np.all(np.abs(values) < 0.02), name
    _, alone = matched(refined)
    inside = np.arange(4) > 0  # the first one, at the edge, is outside the smaller map
    assert np.all(table["dec_err"][inside] < alone["dec_err"][inside])


def test_a_covariance_turns_with_the_frame() -> None:
    position = SkyCoord(83.6, 22.0, unit="deg")
    for angle in (0.0, 35.0, 120.0):
        there = position.directional_offset_by(angle * u.deg, 1e-3 * u.deg)
        step = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
        turned = turned_covariance(step[:, None] * step[None, :], position, "galactic")
        expected = position.galactic.position_angle(there.galactic).deg % 180
        ellipse = error_ellipse(turned)
        assert ellipse.angle == pytest.approx(expected, abs=0.01)
        assert ellipse.major == pytest.approx(1)
        assert ellipse.minor == pytest.approx(0, abs=1e-6)


def test_mistakes_are_named() -> None:
    maps = {"sqrt_ts": Map.from_geom(GEOM.to_image())}
    with pytest.raises(ValueError, match="pass the datasets"):
        find_peaks(maps, refine=True)
    with pytest.raises(ValueError, match="only used with refine=True"):
        find_peaks(maps, datasets=datasets(None))
    for wrong, message in (
        ({"free": ("place",)}, "choose from 'position'"),
        ({"passes": 0}, "expected a whole number, 1 or more"),
        ({"passes": 1.5}, "expected a whole number, 1 or more"),
        ({"tolerance": np.nan}, "tolerance is nan; expected a positive number"),
        ({"max_iterations": -2}, "max_iterations is -2"),
        ({"max_shift": np.nan}, "max_shift is nan; expected a positive angle"),
        ({"max_shift": "-0.1 deg"}, "max_shift is '-0.1 deg'; expected a positive angle"),
        ({"model": [MODEL, MODEL]}, "2 models for 1 peaks"),
        ({"model": None}, "the model they belong to"),
        ({"model": SkyModel(PowerLawSpectralModel())}, "no position to refine"),
        (
            {"model": SkyModel(TemplateSpectralModel([1, 2], [1, 1]), PointSpatialModel())},
            "no amplitude",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            refine_peaks(peaks()[:1], datasets(None), **{"model": MODEL, **wrong})
    with pytest.raises(TypeError, match="model is a PowerLawSpectralModel; expected a SkyModel"):
        refine_peaks(peaks()[:1], datasets(None), PowerLawSpectralModel())
    nowhere = peaks()[:1]
    nowhere["ra"] = np.nan * u.deg
    with pytest.raises(ValueError, match="no number as ra in row 0"):
        refine_peaks(nowhere, datasets(None), MODEL)
    with pytest.raises(ValueError, match="has no norm or flux"):
        refine_peaks(peaks()["ra", "dec"], datasets(None), MODEL)


def test_no_peaks_stay_none() -> None:
    maps = {"sqrt_ts": Map.from_geom(GEOM.to_image()), "norm": Map.from_geom(GEOM.to_image())}
    table = find_peaks(maps, refine=True, datasets=datasets(None)[:1], model=MODEL)
    assert len(table) == 0
    assert {"ra_err", "refined", "message"} <= set(table.colnames)
