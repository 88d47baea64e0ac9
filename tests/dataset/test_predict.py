"""What a dataset predicts, and its statistic, against closed forms, scipy and gammapy."""

from __future__ import annotations

import math
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import poisson

from datasets import flux_per_bin, make_dataset, make_geom, source_counts
from gammagrad.dataset import MapDataset
from gammagrad.maps import Map, MapAxis
from gammagrad.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
)


def power_law(geom_flux: float = 1e-11, index: float = 2.0) -> PowerLawSpectralModel:
    """Return a power law of a given integral from 1 to 10 TeV."""
    per_amplitude = math.log(10) if index == 1 else (1 - 10 ** (1 - index)) / (index - 1)
    return PowerLawSpectralModel(index=index, amplitude=geom_flux / per_amplitude)


def source(**kwargs: float) -> SkyModel:
    return SkyModel(power_law(**kwargs), PointSpatialModel(83.63, 22.01), name="source")


def test_the_statistic_is_the_poisson_likelihood() -> None:
    dataset = make_dataset(mask=True)
    counts, npred = dataset.require("counts").data, dataset.npred().data
    likelihood = poisson.logpmf(counts, npred) + gammaln(counts + 1)
    assert np.allclose(dataset.stat_array(), -2 * likelihood, rtol=1e-12, atol=1e-12)
    assert dataset.mask is not None
    used = dataset.mask.data
    assert dataset.stat_sum() == pytest.approx(-2 * likelihood[used].sum(), rel=1e-12)


def test_the_statistic_is_float64_in_a_float32_world() -> None:
    dataset = make_dataset(background=0.1 + 1e-9)
    wanted = dataset.stat_sum()
    with jax.enable_x64(False):
        assert dataset.stat_array().dtype == np.float64
        assert dataset.stat_sum() == wanted


def test_bins_of_unknown_background_have_no_weight() -> None:
    dataset = make_dataset(npix=4, nbin=1)
    stat = dataset.stat_array()
    dataset.require("background").data[0, 1, 2] = np.nan
    assert dataset.stat_sum() == pytest.approx(stat.sum() - stat[0, 1, 2], rel=1e-12)
    assert np.isnan(dataset.npred().data[0, 1, 2])
    dataset.models = source()
    assert np.isfinite(dataset.stat_sum())
    assert np.isfinite(dataset.info_dict()["npred"])


def test_a_bin_that_predicts_nothing_takes_the_floor() -> None:
    geom = make_geom(npix=2, nbin=1)
    counts = np.array([[[0.0, 3.0], [0.0, 0.0]]])
    dataset = MapDataset(counts=Map(geom, counts), background=Map(geom, 0.0))
    assert dataset.stat_sum() == pytest.approx(-6 * math.log(1e-25), rel=1e-12)


@given(norm=st.floats(0.1, 5.0), tilt=st.floats(-1.0, 1.0))
def test_the_background_model_scales_and_tilts(norm: float, tilt: float) -> None:
    dataset = make_dataset(npix=3, nbin=4)
    spectrum = PowerLawNormSpectralModel(norm=norm, tilt=tilt, reference="3 TeV")
    dataset.models = FoVBackgroundModel("simulated", spectrum)
    energy = dataset.energy_axis.center_in("TeV")
    background = dataset.npred_background()
    assert background is not None
    factor = norm * (energy / 3) ** -tilt
    expected = dataset.require("background").data * factor[:, None, None]
    assert np.allclose(background.data, expected, rtol=1e-12)
    assert np.array_equal(dataset.npred().data, background.data)
    assert not dataset.npred_signal().data.any()


def test_a_source_predicts_what_its_closed_form_says() -> None:
    # a PSF of 1.5 pixels: the model integrates it on the sky, the closed form on a plane
    dataset = make_dataset(npix=(25, 21), nbin=3, sigma=0.15)
    dataset.models = source(index=2.4)
    npred = dataset.npred_signal().data
    expected = source_counts(dataset.geom, index=2.4)
    assert np.allclose(npred.sum(axis=(1, 2)), expected.sum(axis=(1, 2)), rtol=2e-3)
    assert np.allclose(npred, expected, rtol=0, atol=2e-3 * expected.max())
    total = dataset.npred().data
    assert np.allclose(total, npred + 0.3, rtol=1e-12)


def test_predictions_add_up_and_follow_the_norm() -> None:
    dataset = make_dataset(npix=9, nbin=2)
    one = SkyModel(power_law(1e-11), PointSpatialModel(83.6, 22.0), name="one")
    two = SkyModel(power_law(3e-11), PointSpatialModel(83.7, 22.1), name="two")
    both = dataset.npred_signal([one, two]).data
    single = dataset.npred_signal(one).data + dataset.npred_signal(two).data
    assert np.allclose(both, single, rtol=1e-12)
    double = dataset.npred_signal(one.copy(spectral_model=power_law(2e-11))).data
    assert np.allclose(double, 2 * dataset.npred_signal(one).data, rtol=1e-12)
    assert dataset.models is None


def test_npred_is_never_negative() -> None:
    dataset = make_dataset(npix=9, nbin=2)
    amplitude = PowerLawSpectralModel(amplitude=-1e-9)
    dataset.models = SkyModel(amplitude, PointSpatialModel(83.63, 22.01), name="sink")
    assert dataset.npred_signal().data.min() < -1
    assert dataset.npred().data.min() == 0


def test_a_source_needs_an_exposure() -> None:
    dataset = make_dataset(npix=3, nbin=1)
    dataset.exposure = None
    dataset.models = source()
    with pytest.raises(ValueError, match="'simulated' has no exposure, which this needs"):
        dataset.npred()


def template(dataset: MapDataset) -> TemplateNPredModel:
    shape = dataset.geom.data_shape
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    spectrum = PowerLawNormSpectralModel(norm=2.0, tilt=0.5)
    return TemplateNPredModel(Map(dataset.geom, values), spectrum, name="template")


def test_a_template_is_scaled_and_cut_with_the_dataset() -> None:
    dataset = make_dataset(npix=(7, 6), nbin=4)
    dataset.models = template(dataset)
    whole = dataset.npred_signal().data
    factor = 2 * dataset.energy_axis.center_in("TeV") ** -0.5
    values = np.arange(4 * 6 * 7).reshape(4, 6, 7)
    assert np.allclose(whole, values * factor[:, None, None], rtol=1e-12)
    part = dataset.slice_by_idx({"energy": slice(1, 3)}).cutout(
        dataset.geom.pix_to_sky(4.0, 2.0), "0.3 deg"
    )
    assert np.allclose(part.npred_signal().data, whole[1:3, 1:4, 3:6], rtol=1e-12)
    padded = dataset.pad((1, 2)).npred_signal().data
    assert np.allclose(padded[:, 1:-1, 2:-2], whole, rtol=1e-12)
    assert padded.sum() == pytest.approx(whole.sum(), rel=1e-12)


def test_a_template_on_other_bins_is_refused() -> None:
    dataset = make_dataset(npix=(7, 6), nbin=4)
    with pytest.raises(
        ValueError, match=r"'template': its pixels differ from the pixels of the dataset"
    ):
        make_dataset(npix=(7, 6), nbin=4, binsz=0.12).npred_signal(template(dataset))
    with pytest.raises(ValueError, match=r"'template': energy bins .* do not include the bins"):
        make_dataset(npix=(7, 6), nbin=3).npred_signal(template(dataset))


def test_a_template_without_pixels_must_have_the_shape() -> None:
    dataset = make_dataset(npix=(7, 6), nbin=4)
    plain = TemplateNPredModel(np.ones((4, 6, 7)), name="plain")
    assert np.array_equal(dataset.npred_signal(plain).data, np.ones((4, 6, 7)))
    with pytest.raises(ValueError, match=r"'plain': counts of shape \(4, 6, 7\) .* as a Map"):
        dataset.pad(1).npred_signal(plain)


def test_the_numbers_of_a_dataset() -> None:
    dataset = make_dataset(mask=True)
    dataset.models = source()
    info = dataset.info_dict()
    assert dataset.mask is not None
    safe = dataset.mask.data
    assert info["counts"] == dataset.require("counts").data[safe].sum()
    assert info["background"] == pytest.approx(0.3 * safe.sum())
    assert info["excess"] == pytest.approx(info["counts"] - info["background"])
    assert info["npred"] == pytest.approx(dataset.npred().data[safe].sum())
    assert info["npred_signal"] == pytest.approx(dataset.npred_signal().data[safe].sum())
    assert info["npred_background"] == pytest.approx(info["background"])
    assert (info["n_bins"], info["n_fit_bins"]) == (safe.size, safe.sum())
    assert info["stat_sum"] == dataset.stat_sum()
    assert info["exposure_max"].to_value("cm2 s") == 3e13
    whole = dataset.info_dict(in_safe_data_range=False)
    assert whole["counts"] == dataset.require("counts").data.sum()


def test_the_builder_of_test_datasets_draws_what_it_says() -> None:
    asimov = make_dataset(seed=None)
    flux = flux_per_bin(asimov.geom, 1e-11, 2.0).sum()
    expected = 3e13 * flux + 0.3 * asimov.require("counts").data.size
    assert asimov.require("counts").data.sum() == pytest.approx(expected, rel=1e-6)
    drawn = [make_dataset(seed=seed).require("counts").data.sum() for seed in range(20)]
    error = math.sqrt(expected / 20)
    assert abs(np.mean(drawn) - expected) < 4 * error
    axis = asimov.energy_axis
    assert axis == MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)


@pytest.mark.data
@pytest.mark.parametrize(
    "path",
    [
        "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz",
        "reduced/hess-crab.fits.gz",
        "reduced/cta-1dc-vela.fits.gz",
        "hawc/DL4/nHit-8.fits.gz",
    ],
)
def test_the_statistic_is_gammapys(gammapy_data: Path, path: str) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    theirs = datasets.MapDataset.read(gammapy_data / path)
    ours = MapDataset.read(gammapy_data / path)
    assert ours.stat_sum() == pytest.approx(float(theirs.stat_sum()), rel=1e-9)


@pytest.mark.data
@pytest.mark.parametrize("sampling", ["gammapy", "fine"])
def test_a_prediction_is_gammapys(gammapy_data: Path, sampling: str) -> None:
    # its PSF is sampled coarsely in the core: totals agree to 1e-3, single pixels to per cents
    datasets = pytest.importorskip("gammapy.datasets")
    models = pytest.importorskip("gammapy.modeling.models")
    path = gammapy_data / "reduced/hess-crab.fits.gz"
    theirs, ours = datasets.MapDataset.read(path), MapDataset.read(path)
    if sampling == "fine":
        # gammapy takes the exposure where the counts fall: the same only where it is flat
        for exposure in (theirs.exposure, ours.require("exposure")):
            exposure.data[:] = exposure.data[:, 112, 112][:, None, None]
    spectrum = {"index": 2.3, "amplitude": "4e-11 cm-2 s-1 TeV-1"}
    shape = {"lon_0": "83.4 deg", "lat_0": "22.3 deg", "sigma": "0.2 deg"}
    tilt = {"norm": 1.1, "tilt": 0.2}
    theirs.models = [
        models.SkyModel(
            models.PowerLawSpectralModel(**spectrum), models.GaussianSpatialModel(**shape)
        ),
        models.FoVBackgroundModel(
            dataset_name="hess-crab", spectral_model=models.PowerLawNormSpectralModel(**tilt)
        ),
    ]
    ours.models = [
        SkyModel(PowerLawSpectralModel(**spectrum), GaussianSpatialModel(**shape)),
        FoVBackgroundModel("hess-crab", PowerLawNormSpectralModel(**tilt)),
    ]
    background = ours.npred_background()
    assert background is not None
    assert np.allclose(background.data, theirs.npred_background().data, rtol=1e-9)
    signal, wanted = ours.npred_signal(sampling=sampling).data, theirs.npred_signal().data
    assert np.allclose(signal.sum(axis=(1, 2)), wanted.sum(axis=(1, 2)), rtol=2e-3)
    with jax.enable_x64(True):
        stat = float(ours.likelihood(sampling=sampling).stat_sum(ours.models))
    assert stat == pytest.approx(float(theirs.stat_sum()), rel=1e-4)
    if sampling == "fine":
        assert ours.stat_sum() == pytest.approx(stat, rel=1e-9)
