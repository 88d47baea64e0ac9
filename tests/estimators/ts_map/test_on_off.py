"""Maps of datasets with OFF counts: a background that is measured in every bin."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest

from datasets import make_dataset
from gammagrad import FluxMaps, Map, MapDatasetOnOff, RingBackgroundMaker
from gammagrad import TSMapEstimator as Estimator
from gammagrad.core.norm import Status
from gammagrad.core.stats import lima_significance
from gammagrad.errors import InputError, InputWarning
from gammagrad.estimators.ts_map.off_counts import scatter
from gammagrad.models import (
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from oracles import slow_on_off, windows_at
from precision import double_only

NPIX = (13, 11)
WIDTH = "0.5 deg"
MODEL = SkyModel(PowerLawSpectralModel(amplitude=1e-11), PointSpatialModel(), name="source")


def on_off(
    alpha: float | None = 0.2, *, asimov: bool = False, seed: int = 0, **kwargs: Any
) -> MapDatasetOnOff:
    """Return a simulated dataset with OFF counts, or with the counts expected of both."""
    dataset = make_dataset(kwargs.pop("npix", NPIX), seed=None if asimov else seed, **kwargs)
    rng = np.random.default_rng(seed + 1)
    shape = dataset.geom.data_shape
    ratio = rng.uniform(0.1, 0.5, shape) if alpha is None else np.full(shape, alpha)
    expected = dataset.require("background").data / ratio
    off = expected if asimov else rng.poisson(expected).astype(float)
    return MapDatasetOnOff.from_map_dataset(
        dataset, Map(dataset.geom, ratio), 1, Map(dataset.geom, off), name="on-off"
    )


def estimator(**kwargs: Any) -> Estimator:
    return Estimator(MODEL, kernel_width=WIDTH, show_progress=False, **kwargs)


def run(datasets: Any, **kwargs: Any) -> FluxMaps:
    """Run the estimator, with few OFF counts or not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dataset .*few OFF", InputWarning)
        found = estimator(**kwargs).run(datasets)
    assert isinstance(found, FluxMaps)
    return found


def values(maps: FluxMaps, name: str) -> np.ndarray:
    return np.asarray(maps[name].data)


def bins_at(dataset: Any, row: int, col: int, summed: bool) -> list[np.ndarray]:
    """Return ON and OFF counts, alpha, known signal and model around a pixel, flat."""
    inputs = estimator(sum_over_energy_groups=False).estimate_fit_input_maps(dataset)
    n, e, used = (np.asarray(inputs[name].data, float) for name in ("counts", "exposure", "mask"))
    if isinstance(dataset, MapDatasetOnOff):
        alpha = dataset.alpha.data
        k, s = (used * m.data for m in (dataset.require("counts_off"), dataset.npred_signal()))
    else:
        # a known background, for the slow fit
        alpha, k, s = np.zeros(n.shape), np.zeros(n.shape), np.asarray(inputs["background"].data)
    kernel = np.asarray(inputs["kernel"].data, float)
    (n, k, alpha, s, e, used), kernel = windows_at([n, k, alpha, s, e, used], kernel, row, col)
    m = kernel * e
    if summed and isinstance(dataset, MapDatasetOnOff):
        off = k.sum(axis=0)
        mean = (used * alpha).sum(axis=0) / np.maximum(used.sum(axis=0), 1)
        ratio = (alpha * k).sum(axis=0) / np.where(off > 0, off, 1)
        alpha = np.where(off > 0, ratio, mean)[None]
    elif summed:
        alpha = alpha[:1]
    n, k, s, m = (a.sum(axis=0, keepdims=True) if summed else a for a in (n, k, s, m))
    if isinstance(dataset, MapDatasetOnOff):
        alpha = np.where(alpha > 0, alpha, 1.0)
    inside = m > 0
    return [a[inside] for a in (n, k, alpha, s, m)]


@double_only
@pytest.mark.parametrize("summed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_few_pixels_against_a_slow_fit(summed: bool) -> None:
    dataset = on_off(None, mask=True, flux=5e-12)
    dataset.models = SkyModel(
        PowerLawSpectralModel(amplitude=3e-12), PointSpatialModel(83.5, 22.1), name="neighbour"
    )
    maps = run(dataset, sum_over_energy_groups=summed, selection_optional="all", norm=[0.5])
    for row, col in ((5, 6), (0, 3), (7, 9), (10, 12)):
        slow = slow_on_off(*bins_at(dataset, row, col, summed))
        here = {name: float(values(maps, name)[0, row, col]) for name in slow._fields}
        error = values(maps, "norm_err")[0, row, col]
        for name in ("norm", "norm_ul"):
            assert abs(here[name] - getattr(slow, name)) < 1e-3 * error, name
        for name in ("norm_errp", "norm_errn", "norm_sensitivity"):
            assert here[name] == pytest.approx(getattr(slow, name), rel=1e-3), name
        for name in ("ts", "stat", "stat_null"):
            assert here[name] == pytest.approx(getattr(slow, name), abs=1e-4), name


@double_only
def test_a_joint_fit_is_one_profile_over_all_bins() -> None:
    first, other = on_off(None, flux=5e-12), make_dataset(NPIX, seed=7, mask=True, name="known")
    maps = run([first, other])
    for row, col in ((5, 6), (2, 9)):
        parts = zip(*(bins_at(d, row, col, True) for d in (first, other)), strict=True)
        slow = slow_on_off(*(np.concatenate(arrays) for arrays in parts))
        error = values(maps, "norm_err")[0, row, col]
        assert abs(values(maps, "norm")[0, row, col] - slow.norm) < 1e-3 * error
        assert values(maps, "ts")[0, row, col] == pytest.approx(slow.ts, abs=1e-4)
    assert maps.meta["statistics"] == ["wstat", "cash"]
    (group,) = maps.meta["counts_off_per_bin"]
    mean = first.require("counts_off").data.sum(axis=0).mean()
    assert group == [pytest.approx(mean, rel=1e-2), None]


@pytest.mark.parametrize("summed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_with_many_off_counts_the_background_is_known(summed: bool) -> None:
    dataset = on_off(1e-8, flux=5e-12)
    # not whole, as expected counts are, whose lack of scatter says nothing
    expected = np.full(dataset.geom.data_shape, 0.3e8 + 0.25)
    dataset.counts_off = Map(dataset.geom, expected)
    maps = run(dataset, sum_over_energy_groups=summed, selection_optional=["ul", "errn-errp"])
    known = run(
        dataset.to_map_dataset(),
        sum_over_energy_groups=summed,
        selection_optional=["ul", "errn-errp"],
    )
    error = values(known, "norm_err")
    free = values(known, "status") == Status.FITTED
    assert free.mean() > 0.5
    for name in ("norm", "norm_ul", "norm_err", "norm_errp"):
        apart = np.abs(values(maps, name) - values(known, name)) / error
        assert apart[free].max() < 1e-3, name
    assert np.abs(values(maps, "ts") - values(known, "ts"))[free].max() < 1e-3


@double_only
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"sum_over_energy_groups": False},
        {"energy_edges": "all"},
        {"downsampling_factor": 2},
        {"kernel_positions": "map"},
    ],
)
def test_expected_counts_give_back_the_source(how: dict[str, Any]) -> None:
    dataset = on_off(0.2, asimov=True, npix=(21, 19), flux=4e-12, offset=(0.0, 0.0))
    maps = run(dataset, renormalise=False, **how)
    middle = values(maps, "flux")[:, 9, 10].sum()
    # blocks of pixels are interpolated
    close = 0.15 if "downsampling_factor" in how else 2e-3
    assert middle == pytest.approx(4e-12, rel=close)


@double_only
def test_merged_pixels_have_the_sums_of_their_counts() -> None:
    dataset = on_off(0.2, npix=(22, 18), flux=5e-12, mask=True)
    maps = run(dataset, downsampling_factor=2)
    same = run(
        MapDatasetOnOff.from_map_dataset(
            make_dataset((22, 18), seed=0, mask=True, flux=5e-12),
            1,
            5,
            dataset.require("counts_off"),
        ),
        downsampling_factor=2,
    )
    np.testing.assert_allclose(values(maps, "ts"), values(same, "ts"), rtol=1e-9, atol=1e-9)
    # a single pixel of the kernel: ON and OFF counts of a block, after Li and Ma
    dataset.psf = None
    dataset.mask_safe = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        alone = Estimator(
            MODEL, kernel_width="0.1 deg", downsampling_factor=2, show_progress=False
        ).estimate_flux_map(dataset.downsample(2))
    merged = dataset.downsample(2)
    n, k = (m.data.sum(axis=0) for m in (merged.require("counts"), merged.require("counts_off")))
    expected = lima_significance(n, k, np.full(n.shape, 0.2))
    some = (n > 0) & (k > 0)
    found = np.sign(alone["norm"].data[0]) * np.sqrt(np.abs(alone["ts"].data[0]))
    assert some.mean() > 0.5
    np.testing.assert_allclose(found[some], np.asarray(expected)[some], atol=1e-6)


def test_several_models_give_what_each_gives_alone() -> None:
    dataset = on_off(0.2, flux=5e-12)
    wide = SkyModel(
        PowerLawSpectralModel(index=2, amplitude=1e-11),
        GaussianSpatialModel(sigma=0.1),
        name="wide",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dataset .*few OFF", InputWarning)
        both = Estimator([MODEL, wide], kernel_width=WIDTH, show_progress=False).run(dataset)
        alone = Estimator(wide, kernel_width=WIDTH, show_progress=False).run(dataset)
    np.testing.assert_allclose(both["wide"]["ts"].data, alone["ts"].data, rtol=1e-9, atol=1e-9)


def test_few_off_counts_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    dataset = on_off(0.5, background=0.05)
    with (
        caplog.at_level(logging.WARNING),
        pytest.warns(InputWarning, match="few OFF counts per fitted bin") as found,
    ):
        estimator(energy_edges="all").run(dataset)
    (text,) = [str(w.message) for w in found if "few OFF" in str(w.message)]
    mean = dataset.require("counts_off").data[0].mean()
    assert f"{mean:.2g} from 1 TeV" in text
    for part in ("-2.1 errors at 0.1", "-0.25 at 1", "with_wider_off", "to_map_dataset"):
        assert part in text
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        estimator().run(on_off(0.05, background=1.0))


def test_bins_without_a_measurement_are_counted_and_left_out() -> None:
    dataset, whole = on_off(0.05, background=1.0), on_off(0.05, background=1.0)
    dataset.require("acceptance").data[0, 3, 4] = 0
    dataset.require("counts_off").data[1, 3, 4] = np.nan
    with pytest.warns(InputWarning, match="2 of 429 bins have no measured background"):
        maps = estimator().run(dataset)
    safe = np.ones(whole.geom.data_shape, bool)
    safe[:2, 3, 4] = False
    whole.mask_safe = Map(whole.geom, safe)
    np.testing.assert_allclose(values(maps, "ts"), values(run(whole), "ts"), rtol=1e-9, atol=1e-9)


def test_off_counts_that_pixels_share_are_warned_of() -> None:
    dataset = make_dataset((41, 41), background=2.0, seed=5, flux=0)
    ring = RingBackgroundMaker("0.6 deg", "0.3 deg")
    with pytest.warns(InputWarning, match="scatter 0.* times as much as separate events"):
        estimator().run(ring.run(dataset))
    separate = RingBackgroundMaker("0.6 deg", "0.9 deg", spacing=WIDTH).run(dataset)
    used = np.ones(dataset.geom.data_shape, bool)
    assert scatter(np.asarray(separate.require("counts_off").data), used) is None
    wide = on_off(0.2, npix=(41, 41)).with_wider_off("1 pix")
    assert scatter(np.asarray(wide.require("counts_off").data), used) == pytest.approx(0.6, abs=0.1)


def test_what_cannot_be_fitted_says_why() -> None:
    dataset = on_off(0.05, background=1.0)
    with pytest.raises(InputError, match="threshold"):
        estimator(threshold=1).run(dataset)
    dataset.models = SkyModel(
        PowerLawSpectralModel(amplitude=-1e-12), PointSpatialModel(83.63, 22.01), name="hole"
    )
    with pytest.raises(InputError, match="its models predict -"):
        estimator().run(dataset)
    dataset.models = None
    peaks = run(dataset).find_peaks(1)
    with pytest.raises(TypeError, match="to_map_dataset"):
        run(dataset).find_peaks(1, refine=True, datasets=dataset)
    assert len(peaks)


def test_a_floor_of_the_background_does_not_touch_what_is_measured() -> None:
    dataset = on_off(0.2, flux=5e-12)
    maps, floor = run(dataset), run(dataset, background_floor=5.0)
    assert np.array_equal(values(maps, "ts"), values(floor, "ts"))


def test_bins_without_any_counts_are_fitted() -> None:
    dataset = on_off(0.2)
    dataset.counts = Map(dataset.geom, 0.0)
    dataset.counts_off = Map(dataset.geom, 0.0)
    maps = run(dataset)
    assert np.all(values(maps, "norm") == 0)
    assert np.all(values(maps, "status") == 12)
    assert values(maps, "success").all()


@pytest.mark.slow
def test_significances_of_empty_fields_are_normal_if_off_counts_are_separate() -> None:
    kept = []
    for seed in range(4):
        dataset = make_dataset((81, 81), 1, background=1.0, seed=seed, flux=0)
        maker = RingBackgroundMaker("0.6 deg", "0.7 deg", spacing=WIDTH)
        maps = run(maker.run(dataset))
        kept.append(values(maps, "sqrt_ts")[0, 15:-15, 15:-15])
    assert np.std(kept) == pytest.approx(1, abs=0.07)
    assert abs(np.mean(kept)) < 0.15
