"""Datasets with a measured background: what OFF counts say, and what merging conserves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from datasets import make_dataset
from gammagrad import MapDataset, MapDatasetOnOff, fit, read_dataset
from gammagrad.errors import InputError, InputTypeError, InputWarning
from gammagrad.maps import Map
from gammagrad.models import (
    FoVBackgroundModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

OFF = ("counts_off", "acceptance", "acceptance_off")


def source() -> SkyModel:
    return SkyModel(
        PowerLawSpectralModel(amplitude=1e-11), PointSpatialModel(83.63, 22.01), name="source"
    )


def on_off(seed: int = 0, alpha: float | None = None, **kwargs: Any) -> MapDatasetOnOff:
    """Return a simulated dataset with OFF counts, alpha between 0.1 and 0.5 unless given."""
    dataset = make_dataset(seed=seed, **kwargs)
    rng = np.random.default_rng(seed + 1)
    shape = dataset.geom.data_shape
    ratio = rng.uniform(0.1, 0.5, shape) if alpha is None else np.full(shape, alpha)
    background = dataset.require("background")
    off = rng.poisson(background.data / ratio).astype(float)
    accepted = Map(dataset.geom, background.data / ratio)
    return MapDatasetOnOff.from_map_dataset(
        dataset, background, accepted, Map(dataset.geom, off), name="on-off"
    )


def test_the_background_is_what_the_off_region_says() -> None:
    dataset = on_off()
    background, off = dataset.background, dataset.require("counts_off")
    assert background is not None
    ratio = dataset.require("acceptance").data / dataset.require("acceptance_off").data
    assert np.allclose(background.data, ratio * off.data, rtol=1e-14)
    assert np.allclose(dataset.excess.data, dataset.require("counts").data - background.data)
    # 1575 bins of 0.3 counts each, whose OFF regions measure some 3.3 times as many
    assert background.data.sum() == pytest.approx(0.3 * 1575, rel=0.15)


def test_acceptances_may_be_in_different_units_and_images() -> None:
    dataset = on_off(alpha=0.2)
    image = dataset.geom.to_image()
    dataset.acceptance = Map(image, 1.0, unit="h")
    dataset.acceptance_off = Map(image, 18000.0, unit="s")
    assert dataset.require("acceptance").data.shape == dataset.geom.data_shape
    assert np.allclose(dataset.alpha.data, 0.2)
    dataset.acceptance_off = Map(image, 1.0, unit="m")
    with pytest.raises(InputError, match=r"'on-off', acceptance_off: unit 'm'.*'h'"):
        _ = dataset.alpha


def test_bins_without_off_acceptance_are_unknown_not_empty() -> None:
    dataset = on_off()
    dataset.require("acceptance_off").data[0, 3, 4] = 0
    dataset.require("acceptance_off").data[1, 3, 4] = np.nan
    dataset.require("counts_off").data[2, 3, 4] = np.nan
    background = dataset.background
    assert background is not None
    assert np.isnan(background.data[:, 3, 4]).all()
    assert np.isnan(background.data).sum() == 3
    assert dataset.alpha.data[:2, 3, 4].tolist() == [0, 0]
    assert "not measured in 3 bins" in str(dataset)
    dataset.check()
    assert np.isfinite(dataset.stat_sum())
    # bins that nobody can use change nothing
    whole = on_off()
    stat = np.array(whole.stat_array())
    stat[:, 3, 4] = 0
    assert dataset.stat_sum() == pytest.approx(stat.sum(), rel=1e-12)


@given(
    st.integers(0, 30), st.integers(0, 30), st.floats(0.05, 5), st.floats(0, 40), st.integers(1, 3)
)
def test_a_statistic_is_the_likelihood_of_two_poisson_numbers(
    n: int, k: int, alpha: float, flux: float, weight: int
) -> None:
    dataset = on_off(alpha=alpha, npix=(5, 3), nbin=1)
    geom = dataset.geom
    dataset.counts, dataset.counts_off = Map(geom, float(n)), Map(geom, float(k))
    dataset.mask_fit = Map(geom, np.full(geom.data_shape, weight / 2))
    dataset.models = source().with_parameters(amplitude=flux * 1e-12)
    s = dataset.npred_signal().data[0, 1, 2]

    def cash(mu: float, counts: float) -> float:
        return 2 * (mu - counts - (counts * np.log(mu / counts) if counts else 0.0))

    def both(log_b: float) -> float:
        b = np.exp(log_b)
        return cash(s + alpha * b, n) + cash(b, k)

    least = minimize_scalar(both, bounds=(-40, 10), method="bounded", options={"xatol": 1e-10})
    found = dataset.stat_array()[0, 1, 2]
    assert found == pytest.approx(weight / 2 * least.fun, abs=1e-6)
    if least.x > -20:
        assert dataset.npred_off().data[0, 1, 2] == pytest.approx(np.exp(least.x), rel=1e-4)


def test_a_statistic_has_a_slope_in_the_models() -> None:
    dataset, model = on_off(npix=(7, 5)), source()
    dataset.models = model
    with jax.enable_x64(True):

        def stat(log_flux: Any) -> Any:
            return dataset.stat_sum(
                model.with_parameters(amplitude=1e-11 * jax.numpy.exp(log_flux))
            )

        value, slope = jax.value_and_grad(stat)(0.1)
        step = 1e-5
        difference = (stat(0.1 + step) - stat(0.1 - step)) / (2 * step)
    own = dataset.stat_sum(model.with_parameters(amplitude=1e-11 * np.exp(0.1)))
    assert float(value) == pytest.approx(own, rel=1e-9)
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


@given(st.integers(0, 100), st.booleans())
def test_merged_pixels_keep_counts_and_background(seed: int, masked: bool) -> None:
    dataset = on_off(seed, npix=(8, 6), mask=masked)
    dataset.require("acceptance_off").data[0, 2, 3] = 0
    merged = dataset.downsample(2)
    used = np.isfinite(dataset.background.data)  # type: ignore[union-attr]
    if masked:
        used &= dataset.require("mask_safe").data
    wanted = {
        "counts": dataset.require("counts").data,
        "counts_off": dataset.require("counts_off").data,
        "acceptance": dataset.require("acceptance").data,
        "background": dataset.background.data,  # type: ignore[union-attr]
    }
    for name, values in wanted.items():
        blocks = np.where(used, values, 0).reshape(3, 3, 2, 4, 2).sum(axis=(2, 4))
        found = np.nan_to_num(getattr(merged, name).data)
        assert np.allclose(found, blocks, rtol=1e-12), name
    # without OFF counts the acceptances say what the ratio is
    empty = (merged.require("counts_off").data == 0) & (merged.require("acceptance").data > 0)
    accepted = np.where(used, dataset.require("acceptance_off").data, 0)
    sums = accepted.reshape(3, 3, 2, 4, 2).sum(axis=(2, 4))
    assert np.allclose(merged.require("acceptance_off").data[empty], sums[empty])


def test_one_ratio_stays_when_pixels_are_merged() -> None:
    merged = on_off(alpha=0.2, npix=(8, 6)).downsample(2)
    assert np.allclose(merged.alpha.data, 0.2, rtol=1e-12)


def test_off_counts_of_a_wider_region_are_sums_with_one_background() -> None:
    dataset = on_off(npix=(9, 9), nbin=1, alpha=0.25)
    safe = np.ones(dataset.geom.data_shape, bool)
    safe[0, 4, 5] = False
    dataset.mask_safe = Map(dataset.geom, safe)
    wide = dataset.with_wider_off("1 pix", name="wide")
    off = np.where(safe, dataset.require("counts_off").data, 0)[0]
    cross = off[4, 4] + off[3, 4] + off[5, 4] + off[4, 3] + off[4, 5]
    assert wide.require("counts_off").data[0, 4, 4] == cross
    # four pixels of the cross are used
    assert wide.alpha.data[0, 4, 4] == pytest.approx(0.25 / 4)
    assert wide.alpha.data[0, 6, 2] == pytest.approx(0.25 / 5)
    assert wide.name == "wide"
    assert np.array_equal(wide.require("counts").data, dataset.require("counts").data)


def test_cuts_slices_borders_and_copies_have_all_maps() -> None:
    dataset = on_off(mask=True)
    part = dataset.cutout((83.63, 22.01), "1.1 deg")
    assert part.require("counts_off").data.shape == (3, 11, 11)
    assert np.array_equal(
        part.require("acceptance_off").data, dataset.require("acceptance_off").data[:, 5:16, 7:18]
    )
    low = dataset.slice_by_energy(energy_max=dataset.energy_axis.edges[1])
    assert low.require("acceptance").data.shape[0] == 1
    padded = dataset.pad(2)
    assert np.nansum(padded.background.data) == np.nansum(  # type: ignore[union-attr]
        dataset.background.data  # type: ignore[union-attr]
    )
    assert not np.isfinite(padded.background.data[:, 0]).any()  # type: ignore[union-attr]
    copy = dataset.copy("other")
    copy.require("counts_off").data[:] = 0
    assert dataset.require("counts_off").data.any()
    assert isinstance(copy, MapDatasetOnOff)
    assert copy.name == "other"


def test_a_known_background_takes_its_place() -> None:
    dataset = on_off(mask=True)
    dataset.models = source()
    known = dataset.to_map_dataset()
    assert isinstance(known, MapDataset)
    background = dataset.background
    assert background is not None
    assert np.array_equal(known.require("background").data, background.data)
    assert known.name == "on-off"
    assert known.models is not None
    again = MapDatasetOnOff.from_map_dataset(
        known, dataset.require("acceptance"), dataset.require("acceptance_off")
    )
    assert np.allclose(again.require("counts_off").data, dataset.require("counts_off").data)


def test_what_cannot_be_used_says_why() -> None:
    dataset = on_off()
    with pytest.raises(InputError, match=r"models: .* is a model of the background"):
        dataset.models = FoVBackgroundModel("on-off")
    with pytest.raises(InputTypeError, match="dataset: expected a MapDataset"):
        MapDatasetOnOff.from_map_dataset(dataset, 1, 2)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="acceptance: expected a Map or a number, got str"):
        MapDatasetOnOff.from_map_dataset(dataset.to_map_dataset(), "1", 2)  # type: ignore[arg-type]
    bare = dataset.to_map_dataset()
    bare.background = None
    with pytest.raises(InputError, match="counts_off: dataset 'on-off' has no background either"):
        MapDatasetOnOff.from_map_dataset(bare, 1, 2)
    with pytest.raises(InputTypeError, match=r"to_map_dataset\(\)"):
        fit(dataset, source())  # type: ignore[arg-type]
    dataset.require("counts_off").data[0, 0, 0] = -1
    with pytest.raises(InputError, match="counts_off: negative in 1 of 1575 bins"):
        dataset.check()
    dataset = on_off()
    dataset.acceptance_off = Map(dataset.geom, 0.0)
    with pytest.raises(InputError, match="no background is measured"):
        dataset.check()
    dataset.acceptance_off = None
    with pytest.raises(InputError, match="has no acceptance_off"):
        dataset.check()
    assert "an acceptance is missing" in str(dataset)


def test_a_summary_has_on_and_off_counts() -> None:
    dataset = on_off(alpha=0.25)
    dataset.models = source()
    info = dataset.info_dict()
    off = dataset.require("counts_off").data.sum()
    assert info["counts_off"] == off
    assert info["background"] == pytest.approx(0.25 * off)
    assert info["alpha"] == pytest.approx(0.25)
    assert info["stat_sum"] == pytest.approx(dataset.stat_sum())
    assert info["npred"] == pytest.approx(dataset.npred().data.sum())
    assert info["npred_signal"] == pytest.approx(dataset.npred_signal().data.sum())
    text = str(dataset)
    assert text.startswith("MapDatasetOnOff 'on-off'")
    assert f"counts_off  : {off:.10g} in all" in text
    assert "alpha       : 0.25" in text
    assert repr(dataset) == "<MapDatasetOnOff 'on-off', 3 x 21 x 25>"


def test_a_file_knows_what_it_is(tmp_path: Path) -> None:
    dataset = on_off(mask=True)
    for name in ("acceptance", "acceptance_off"):
        setattr(dataset, name, Map(dataset.geom, dataset.require(name).data, unit=u.Unit("s")))
    path = tmp_path / "on_off.fits.gz"
    dataset.write(path)
    again = read_dataset(path)
    assert isinstance(again, MapDatasetOnOff)
    assert again.name == "on-off"
    for name in again.map_names:
        one, other = getattr(again, name), getattr(dataset, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert np.array_equal(one.data, other.data), name
            assert one.unit == other.unit, name
    assert MapDatasetOnOff.read(path, name="new").name == "new"
    with pytest.raises(InputError, match=r"ON/OFF dataset .*MapDatasetOnOff.read"):
        MapDataset.read(path)
    ordinary = tmp_path / "ordinary.fits"
    dataset.to_map_dataset().write(ordinary)
    assert type(read_dataset(ordinary, name="known")) is MapDataset
    with pytest.raises(InputError, match=r"without COUNTS_OFF.*MapDataset.read"):
        MapDatasetOnOff.read(ordinary)


def test_a_background_beside_off_counts_is_not_read(tmp_path: Path) -> None:
    from astropy.io import fits

    dataset = on_off()
    one, other = tmp_path / "one.fits", tmp_path / "other.fits"
    dataset.write(one)
    dataset.to_map_dataset().write(other)
    with fits.open(other) as hdus, fits.open(one, mode="append") as both:
        both.append(hdus["BACKGROUND"].copy())
        both.append(hdus["BACKGROUND_BANDS"].copy())
    with pytest.warns(InputWarning, match="BACKGROUND of the file is not read"):
        assert isinstance(read_dataset(one), MapDatasetOnOff)


def test_plain_maps_and_files_make_a_dataset(tmp_path: Path) -> None:
    dataset = on_off(alpha=0.25, nbin=1)
    image = dataset.geom.to_image()
    maps = {
        name: Map(image, dataset.require(name).data[0])
        for name in ("counts", "counts_off", "acceptance", "acceptance_off")
    }
    exposure = Map(image, dataset.require("exposure").data[0], unit="cm2 s")
    how: dict[str, Any] = {"energy_edges": ["1 TeV", "10 TeV"], "psf_sigma": "0.15 deg"}
    made = MapDatasetOnOff.from_maps(**maps, exposure=exposure, **how)
    for name, m in {**maps, "exposure": exposure}.items():
        m.write(tmp_path / f"{name}.fits")
    files: dict[str, Any] = {name: tmp_path / f"{name}.fits" for name in (*maps, "exposure")}
    read = MapDatasetOnOff.from_files(**files, **how)
    for found in (made, read):
        assert np.allclose(found.alpha.data, 0.25)
        assert np.array_equal(found.require("counts_off").data[0], maps["counts_off"].data)
        found.check()
    files |= {"acceptance": 1, "acceptance_off": 4.0}
    assert np.all(MapDatasetOnOff.from_files(**files, **how).alpha.data == 0.25)
    Map.create(npix=3).write(tmp_path / "wrong.fits")
    with pytest.raises(InputError, match=r"wrong\.fits: counts_off"):
        MapDatasetOnOff.from_files(**{**files, "counts_off": tmp_path / "wrong.fits"}, **how)


def test_gammapy_reads_and_writes_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    dataset = on_off(mask=True)
    dataset.require("acceptance_off").data[0, 4, 4] = 0
    ours, theirs = tmp_path / "ours.fits", tmp_path / "theirs.fits"
    dataset.write(ours)
    other = datasets.MapDatasetOnOff.read(ours)
    for name in ("counts", "counts_off", "acceptance", "acceptance_off", "exposure", "mask_safe"):
        assert np.array_equal(getattr(other, name).data, dataset.require(name).data), name
    background = dataset.background
    assert background is not None
    # where there is no OFF acceptance gammapy's alpha is the largest number
    known = np.isfinite(background.data)
    assert (~known).sum() == 1
    assert np.allclose(other.alpha.data[known], dataset.alpha.data[known], rtol=1e-12)
    assert np.allclose(other.background.data[known], background.data[known], rtol=1e-12)
    with np.errstate(all="ignore"):
        theirs_npred, stat = other.npred_background().data, np.asarray(other.stat_array())
    npred, mine = dataset.npred_background().data, dataset.stat_array()
    assert np.allclose(theirs_npred[known], npred[known], rtol=1e-9)
    assert np.allclose(stat[known], mine[known], rtol=1e-8, atol=1e-8)
    with np.errstate(all="ignore"):
        other.write(theirs)
    again = read_dataset(theirs)
    assert isinstance(again, MapDatasetOnOff)
    for name in ("counts", "counts_off", "acceptance", "acceptance_off", "exposure"):
        assert np.array_equal(again.require(name).data, dataset.require(name).data), name


def test_gammapy_merges_pixels_to_the_same_counts_and_ratios(tmp_path: Path) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    dataset = on_off(npix=(8, 6), mask=True, background=3.0)
    dataset.write(tmp_path / "ours.fits")
    other = datasets.MapDatasetOnOff.read(tmp_path / "ours.fits")
    with np.errstate(invalid="ignore"):
        theirs = other.downsample(2)
    ours = dataset.downsample(2)
    assert np.allclose(ours.require("counts_off").data, theirs.counts_off.data)
    used = ours.require("counts_off").data > 0
    assert used.mean() > 0.5
    assert np.allclose(ours.alpha.data[used], theirs.alpha.data[used], rtol=1e-10)
    background = ours.background
    assert background is not None
    assert np.allclose(background.data[used], theirs.background.data[used], rtol=1e-10)
