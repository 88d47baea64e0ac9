"""Several models in one run: the maps of a run for each, one compiled function, and the best."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import make_dataset
from gammagrad import FluxMaps, HypothesisMaps, TSMapEstimator
from gammagrad.core.ts_map.chunk import fit_chunk
from gammagrad.estimators.config import read_config, write_config
from gammagrad.models import (
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.output_quantities import MissingQuantityError

NPIX = (13, 11)
POINT = SkyModel(PowerLawSpectralModel(), PointSpatialModel())
WIDE = SkyModel(PowerLawSpectralModel(index=3), GaussianSpatialModel(sigma=0.12))
NARROW = SkyModel(PowerLawSpectralModel(), GaussianSpatialModel(sigma=0.04))
MODELS = [POINT, WIDE, NARROW]
NAMES = ["point index=2", "gauss sigma=0.12 index=3", "gauss sigma=0.04 index=2"]
FITTED = np.arange(NPIX[1] * NPIX[0]).reshape(NPIX[::-1]) > 20
EVERYTHING = {
    "kernel_containment": 0.8,
    "sum_over_energy_groups": False,
    "energy_edges": "all",
    "selection_optional": ["ul", "stat_scan"],
    "norm": [-1.0, 0.5, 1.0],
    "threshold": 1.0,
}


@pytest.fixture(scope="module")
def datasets() -> list:
    first = make_dataset(NPIX, mask=True, flux=3e-12, name="first")
    return [first, make_dataset(NPIX, seed=5, flux=3e-12, name="second")]


@pytest.fixture(scope="module")
def several(datasets: list) -> HypothesisMaps:
    """Return the maps of three models with kernels of different size."""
    before = fit_chunk.traces
    maps = TSMapEstimator(MODELS, **EVERYTHING).run(datasets, positions=FITTED)
    # one piece of code for all kernels
    assert fit_chunk.traces <= before + 1
    return maps


def assert_same(one: FluxMaps, other: FluxMaps, rtol: float) -> None:
    assert one.computed.keys() == other.computed.keys()
    for name, m in other.computed.items():
        found = one.computed[name].data
        np.testing.assert_allclose(found, m.data, rtol=rtol, atol=rtol, err_msg=name)


def test_each_has_the_maps_of_a_run_with_it_alone(several: HypothesisMaps, datasets: list) -> None:
    assert several.names == NAMES
    sizes = [several[name].meta["kernel_shape"] for name in NAMES]
    assert sizes[0][0] < sizes[1][0]
    for model, name in zip(MODELS[:2], NAMES, strict=False):
        one = TSMapEstimator(model, **EVERYTHING).run(datasets, positions=FITTED)
        assert_same(several[name], one, 0)
        same = {key: value for key, value in one.meta.items() if key != "settings"}
        assert {key: several[name].meta[key] for key in same} == same


def test_kernels_of_one_size_give_equal_numbers(datasets: list) -> None:
    options = {"kernel_width": "0.3 deg", "downsampling_factor": 2}
    maps = TSMapEstimator([POINT, WIDE], **options).run(datasets[0])
    for i, model in enumerate((POINT, WIDE)):
        assert_same(maps[i], TSMapEstimator(model, **options).run(datasets[0]), 0)


def test_the_best_is_the_largest_test_statistic(several: HypothesisMaps) -> None:
    best = several.best()
    ts, index = several.stack("ts"), best["hypothesis"].data
    assert ts.shape == (3, *several.geom.data_shape)
    fitted = index >= 0
    assert 0 < fitted.sum() < fitted.size
    assert set(np.unique(index)) == {-1, 0, 1, 2}
    np.testing.assert_array_equal(np.isnan(best["norm"].data), ~fitted)
    np.testing.assert_array_equal(best["ts"].data[fitted], ts.max(axis=0)[fitted])
    assert best.meta["hypotheses"] == NAMES
    assert best.meta["settings"]["model"] == NAMES
    for i in range(3):
        here = index == i
        for name in ("flux", "dnde_ul", "norm", "sqrt_ts", "npred_background"):
            np.testing.assert_array_equal(best[name].data[here], several[i][name].data[here])
        scans = [np.moveaxis(m["stat_scan"].data, 1, -1)[here] for m in (best, several[i])]
        np.testing.assert_array_equal(*scans)


def test_equal_spectra_keep_their_reference_model(several: HypothesisMaps) -> None:
    assert several.best().reference_model is None
    alike = HypothesisMaps({name: several[name] for name in (NAMES[0], NAMES[2])})
    best = alike.best()
    assert best.reference_model.spectral_model.index == 2
    assert "flux" not in best.computed
    np.testing.assert_array_equal(
        best["eflux"].data,
        np.take_along_axis(
            alike.stack("eflux"), np.maximum(best["hypothesis"].data, 0)[None], axis=0
        )[0],
    )


def test_the_best_model_stands_where_it_was_asked_for(several: HypothesisMaps) -> None:
    index = several.best()["hypothesis"].data[1]
    for i, model in enumerate(MODELS):
        row, col = (int(n) for n in np.argwhere(index == i)[0])
        position = several.geom.pix_to_sky(col, row)
        for where in ((row, col), position):
            found = several.best_model(where, energy=1)
            assert type(found.spatial_model) is type(model.spatial_model)
            assert found.spatial_model.lon_0 == pytest.approx(position.icrs.ra.deg)
    row, col = (int(n) for n in np.argwhere(index == -1)[0])
    with pytest.raises(ValueError, match="nothing was fitted"):
        several.best_model((row, col), energy=1)
    with pytest.raises(ValueError, match="outside of the maps"):
        several.best_model((40, 2))
    for wrong in ("J0534+22", (1, 2, 3), several.geom.get_skycoord()):
        with pytest.raises(ValueError, match=r"expected a SkyCoord or \(row, column\)"):
            several.best_model(wrong)
    for group in (-1, 3):
        with pytest.raises(ValueError, match=f"energy is {group}; there are 3 groups"):
            several.best_model((3, 2), energy=group)


def test_peaks_name_their_model(several: HypothesisMaps) -> None:
    peaks = several.find_peaks(2)
    assert len(peaks)
    best = several.best()["hypothesis"].data
    for peak in peaks:
        index = best[peak["energy_group"], peak["row"], peak["col"]]
        assert peak["hypothesis"] == index
        assert peak["model"] == NAMES[index]


def test_peaks_are_refined_with_their_model(several: HypothesisMaps, monkeypatch: Any) -> None:
    calls: list[Any] = []
    refined = "gammagrad.fitting.refine.refine_peaks"
    monkeypatch.setattr(refined, lambda *args, **more: calls.append(more))
    found = several.find_peaks(threshold=3)
    several.find_peaks(threshold=3, refine=True, datasets="data", free=("position",))
    (options,) = calls
    assert len(found) > 0
    assert options["free"] == ("position",)
    assert [model.name for model in options["model"]] == list(found["model"])
    several.find_peaks(threshold=1e9, refine=True, datasets="data")
    assert calls[1]["model"][0].spatial_model is not None
    several.find_peaks(threshold=3, refine=True, datasets="data", model="mine")
    assert calls[2]["model"] == "mine"
    with pytest.raises(ValueError, match="pass the datasets"):
        several.find_peaks(threshold=3, refine=True)


def test_files_keep_everything(several: HypothesisMaps, tmp_path: Path) -> None:
    path = tmp_path / "hypotheses.fits"
    several.write(path)
    read = HypothesisMaps.read(path)
    assert read.names == NAMES
    assert read.models.names == NAMES
    for name in NAMES:
        for quantity, m in several[name].computed.items():
            np.testing.assert_array_equal(read[name].computed[quantity].data, m.data)
        assert read[name].meta["kernel_shape"] == several[name].meta["kernel_shape"]
    np.testing.assert_allclose(read.stack("flux"), several.stack("flux"))
    with pytest.raises(FileExistsError):
        several.write(path)
    with pytest.raises(ValueError, match=r"HypothesisMaps\.read"):
        FluxMaps.read(path)
    best = several.best()
    best.write(tmp_path / "best.fits")
    again = FluxMaps.read(tmp_path / "best.fits")
    np.testing.assert_array_equal(again["hypothesis"].data, best["hypothesis"].data)
    np.testing.assert_array_equal(again["flux"].data, best["flux"].data)
    assert again.find_peaks(2)["model"].tolist() == several.find_peaks(2)["model"].tolist()
    with pytest.raises(ValueError, match=r"FluxMaps\.read"):
        HypothesisMaps.read(tmp_path / "best.fits")


def test_what_is_not_there_is_explained(several: HypothesisMaps) -> None:
    assert "gauss sigma=0.12" in str(several)
    assert re.search(r"^\s+quantities\s+: \[.sqrt_ts., .flux.,", str(several), re.MULTILINE)
    with pytest.raises(KeyError, match=r"maps\.best\(\)\['sqrt_ts'\]"):
        several["sqrt_ts"]
    with pytest.raises(KeyError, match="no model named 'disk'; there are point"):
        several["disk"]
    with pytest.raises(MissingQuantityError, match="HypothesisMaps"):
        several[0]["hypothesis"]
    with pytest.raises(ValueError, match="has no peaks"):
        several.find_peaks(quantity="hypothesis")
    with pytest.raises(ValueError, match="got none"):
        HypothesisMaps({})
    with pytest.raises(ValueError, match="geometry differs"):
        HypothesisMaps({"a": several[0], "b": several[1].slice_by_idx({"energy": 0})})
    cut = several.cutout(several.geom.center_skydir, "0.5 deg")
    assert cut.names == NAMES
    assert cut.geom.npix[0] < NPIX[0]


def test_picture_of_the_best_model(several: HypothesisMaps) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    ax = several.plot("hypothesis", energy=0)
    assert [t.get_text() for t in ax.figure.axes[-1].get_yticklabels()] == NAMES
    plt.close("all")


def test_models_get_names_of_their_own() -> None:
    named = SkyModel(PowerLawSpectralModel(), PointSpatialModel(), name="mine")
    estimator = TSMapEstimator([named, POINT, named, WIDE])
    assert isinstance(estimator.model, Models)
    assert estimator.model.names == ["mine", "point index=2", "mine-2", "gauss index=3"]
    assert estimator.settings["model"] == estimator.model.names
    assert TSMapEstimator(kernel_model=(POINT,)).model.names == ["point"]
    assert estimator.copy().model.names == estimator.model.names


def test_what_cannot_be_tested_is_named(datasets: list) -> None:
    with pytest.raises(ValueError, match="empty list"):
        TSMapEstimator([])
    with pytest.raises(TypeError, match=r"model\[1\] is a str"):
        TSMapEstimator([POINT, "point"])
    with pytest.raises(ValueError, match=r"model\[0\] has no spatial model"):
        TSMapEstimator([SkyModel(PowerLawSpectralModel())])
    estimator = TSMapEstimator([POINT, WIDE])
    for method in (estimator.estimate_kernel, estimator.estimate_flux_map):
        with pytest.raises(ValueError, match="which only run takes"):
            method(datasets[0])


def test_settings_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_config(TSMapEstimator([POINT, WIDE]), path)
    again = read_config(path)
    assert again.model.names == ["point index=2", "gauss index=3"]
    assert again.model[1].spatial_model.sigma == 0.12
