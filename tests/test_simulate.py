"""A simulated field is what its table says, and expected counts are found again by a fit."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammagrad import MapDataset, TSMapEstimator
from gammagrad.models import (
    FoVBackgroundModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.simulate import SimulatedField, asimov, poisson, simulate_field

NPIX, NBIN = 40, 2


@pytest.fixture(scope="module")
def field() -> SimulatedField:
    return simulate_field(seed=3, npix=NPIX, nbin=NBIN)


def test_the_seed_decides_the_counts_and_nothing_else(field: SimulatedField) -> None:
    again = simulate_field(seed=3, npix=NPIX, nbin=NBIN)
    other = simulate_field(seed=4, npix=NPIX, nbin=NBIN)
    np.testing.assert_array_equal(again.dataset.counts.data, field.dataset.counts.data)
    assert np.any(other.dataset.counts.data != field.dataset.counts.data)
    np.testing.assert_array_equal(other.dataset.background.data, field.dataset.background.data)
    assert all(other.sources["flux"] == field.sources["flux"])


def test_the_counts_are_whole_and_as_many_as_expected(field: SimulatedField) -> None:
    counts = field.dataset.counts.data
    expected = field.dataset.background.data.sum() + field.sources["npred"].sum()
    assert np.all(counts == np.round(counts))
    assert abs(counts.sum() - expected) < 5 * np.sqrt(expected)


def test_the_field_looks_like_a_real_one(field: SimulatedField) -> None:
    dataset, sources = field.dataset, field.sources
    middle = NPIX // 2
    exposure = dataset.exposure.data
    assert dataset.geom.data_shape == (NBIN, NPIX, NPIX)
    assert dataset.geom.frame == "galactic"
    assert np.all(exposure[:, middle, middle] > exposure[:, middle, 0])
    assert np.all(exposure[:, middle, 0] > exposure[:, 0, 0])
    assert np.all(np.diff(dataset.psf.containment_radius(0.68).value) < 0)
    # the Galactic plane crosses the middle row
    ratio = dataset.background.data / exposure
    assert np.all(ratio[:, middle, middle] > 1.2 * ratio[:, 0, middle])
    assert set(sources["kind"]) == {"point", "gauss"}
    assert dataset.models is None
    assert field.models.names == list(sources["name"])


def test_the_table_holds_what_the_sources_give(field: SimulatedField) -> None:
    dataset = field.dataset
    edges = dataset.energy_axis.edges_in("TeV")
    for row, model in zip(field.sources, field.models, strict=True):
        spectrum = model.spectral_model
        amplitude, index = float(spectrum.amplitude), float(spectrum.index)
        flux = amplitude * -np.diff(edges ** (1 - index)) / (index - 1)
        assert row["flux"].to_value("cm-2 s-1") == pytest.approx(flux.sum(), rel=1e-9)
        position = SkyCoord(row["ra"], row["dec"])
        exposure = np.ravel(dataset.exposure.interp(position))
        if row["kind"] == "point":
            assert row["npred"] == pytest.approx((flux * exposure).sum(), rel=0.02)


def test_the_expected_significance_is_that_of_the_asimov_counts(field: SimulatedField) -> None:
    dataset, model = field.dataset, field.models["A"]
    expected = asimov(dataset, model)
    without = asimov(dataset, [])
    expected.models = model
    with_source = expected.stat_sum()
    expected.models = None
    sqrt_ts = np.sqrt(expected.stat_sum() - with_source)
    assert field.sources["sqrt_ts"][0] == pytest.approx(sqrt_ts, rel=1e-6)
    np.testing.assert_allclose(without.counts.data, dataset.background.data)


def test_brightness_scales_the_sources_only(field: SimulatedField) -> None:
    faint = simulate_field(seed=3, npix=NPIX, nbin=NBIN, brightness=0.1)
    np.testing.assert_allclose(faint.sources["npred"], 0.1 * field.sources["npred"], rtol=1e-6)
    np.testing.assert_array_equal(faint.dataset.background.data, field.dataset.background.data)


def test_livetime_scales_the_exposure() -> None:
    short, long = (
        simulate_field(npix=NPIX, nbin=NBIN, livetime=t).dataset.exposure for t in (3600, "2 h")
    )
    np.testing.assert_allclose(long.data, 2 * short.data)
    with pytest.raises(ValueError, match="livetime"):
        simulate_field(npix=NPIX, nbin=NBIN, livetime="2 deg")


def test_a_fit_of_asimov_counts_gives_the_source_back(field: SimulatedField) -> None:
    dataset = field.dataset
    row, col = 22, 17
    position = dataset.geom.to_image().pix_to_sky(float(col), float(row)).icrs
    model = SkyModel(
        PowerLawSpectralModel(2.0, 3e-13), PointSpatialModel(position.ra, position.dec), name="new"
    )
    maps = TSMapEstimator(model, sum_over_energy_groups=False).run(asimov(dataset, model))
    assert maps["norm"].data[0, row, col] == pytest.approx(1, abs=1e-3)
    assert np.nanargmax(maps["ts"].data) == row * NPIX + col


def test_poisson_counts_scatter_about_the_expected_ones(field: SimulatedField) -> None:
    dataset = field.dataset
    expected = asimov(dataset, field.models["A"]).counts.data
    seeds = range(10)
    draws = np.stack([poisson(dataset, seed, field.models["A"]).counts.data for seed in seeds])
    pull = (draws.mean(axis=0) - expected) / np.sqrt(expected / len(seeds))
    assert abs(pull.mean()) < 0.1
    assert pull.std() == pytest.approx(1, abs=0.1)


def test_the_dataset_passed_in_stays_as_it_is(field: SimulatedField) -> None:
    dataset = field.dataset.copy()
    dataset.models = field.models["B"]
    before = dataset.counts.data.copy()
    result = poisson(dataset, seed=1, models=field.models["A"])
    np.testing.assert_array_equal(dataset.counts.data, before)
    assert result.models.names == dataset.models.names == ["B"]


def test_the_models_of_the_dataset_are_the_default(field: SimulatedField) -> None:
    dataset: MapDataset = field.dataset.copy()
    dataset.models = FoVBackgroundModel(dataset.name, PowerLawNormSpectralModel(norm=2.0))
    np.testing.assert_allclose(asimov(dataset).counts.data, 2 * dataset.background.data)


def test_a_bin_without_known_background_gets_no_counts(field: SimulatedField) -> None:
    dataset = field.dataset.copy()
    dataset.background.data[0, 1, 2] = np.nan
    assert asimov(dataset, field.models["A"]).counts.data[0, 1, 2] == 0
    assert np.isfinite(poisson(dataset, 0).counts.data).all()
