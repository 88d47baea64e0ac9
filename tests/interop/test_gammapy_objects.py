"""gammapy's objects become ours and theirs again, and nothing is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gammapy.datasets")

import astropy.units as u
import gammapy.maps as gp
from gammapy.data import GTI
from gammapy.datasets import Datasets, MapDatasetOnOff
from gammapy.estimators.utils import find_peaks
from gammapy.modeling.models import (
    ConstantTemporalModel,
    FoVBackgroundModel,
    Models,
    TemplateNPredModel,
)

import gammagrad
from gammagrad import FluxMaps, KernelBackgroundEstimator, Map, MapDataset, TSMapEstimator, interop
from gammagrad.interop.maps import axis_from_gammapy, geom_from_gammapy
from gammagrad.models import Models as Ours
from gammapy_fields import field, point, template


def same_map(one: Any, other: Any) -> None:
    assert one.geom == other.geom
    assert one.unit == other.unit
    np.testing.assert_array_equal(one.data, other.data)


AXES = {
    "image": [],
    "edges": [gp.MapAxis.from_energy_bounds("1 GeV", "10 TeV", nbin=4)],
    "centres": [
        gp.MapAxis.from_nodes([1, 3, 10], unit="TeV", name="energy_true", interp="log"),
        gp.MapAxis.from_edges([0, 1, 2], unit="deg", name="rad"),
    ],
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_maps_come_back_as_they_were(axes: str, dtype: str) -> None:
    geom = gp.WcsGeom.create(
        npix=(7, 5),
        binsz=(0.2, 0.1),
        skydir=(10, 60),
        frame="galactic",
        proj="TAN",
        axes=AXES[axes],
    )
    values = np.random.default_rng(0).uniform(0, 9, geom.data_shape).astype(dtype)
    m = gp.Map.from_geom(geom, data=values, unit="cm2 s" if dtype != "bool" else "")
    ours = Map.from_gammapy(m)
    assert ours.data.dtype == m.data.dtype
    same_map(ours.to_gammapy(), m)
    ours.data[...] = 0
    np.testing.assert_array_equal(m.data, values)


def test_what_has_no_counterpart_is_named() -> None:
    labels = SimpleNamespace(name="dataset")
    with pytest.raises(TypeError, match="the axis 'dataset' is a SimpleNamespace; expected one of"):
        axis_from_gammapy(labels)
    sky = SimpleNamespace(axes=[], is_region=False)
    with pytest.raises(TypeError, match="expected a WcsGeom: gammagrad has no HEALPix maps"):
        geom_from_gammapy(sky)


def test_datasets_come_back_as_they_were() -> None:
    dataset = field()
    dataset.models = [
        point(lon_0="83.5 deg", lat_0="22 deg"),
        FoVBackgroundModel(dataset_name="field"),
    ]
    dataset.mask_safe = gp.Map.from_geom(dataset.counts.geom, data=dataset.counts.data >= 0)
    ours = MapDataset.from_gammapy(dataset)
    again = ours.to_gammapy()
    for name in ("counts", "background", "exposure", "mask_safe"):
        same_map(getattr(again, name), getattr(dataset, name))
    same_map(again.psf.psf_map, dataset.psf.psf_map)
    same_map(again.edisp.edisp_map, dataset.edisp.edisp_map)
    assert again.name == dataset.name
    np.testing.assert_allclose(again.npred().data, dataset.npred().data, rtol=1e-12)
    np.testing.assert_allclose(
        ours.npred(sampling="gammapy").data, dataset.npred().data, rtol=1e-5, atol=1e-9
    )


def test_datasets_with_off_counts_come_back_as_they_were() -> None:
    dataset = field()
    off = MapDatasetOnOff.from_map_dataset(
        dataset, acceptance=1, acceptance_off=10, counts_off=dataset.background * 10.0
    )
    again = gammagrad.MapDatasetOnOff.from_gammapy(off).to_gammapy()
    for name in ("counts", "counts_off", "acceptance", "acceptance_off"):
        np.testing.assert_array_equal(getattr(again, name).data, getattr(off, name).data)
    np.testing.assert_allclose(again.stat_sum(), off.stat_sum(), rtol=1e-12)
    with pytest.raises(TypeError, match="expected a MapDataset, got MapDatasetOnOff of gammapy"):
        MapDataset.from_gammapy(off)


def test_models_come_back_as_they_were() -> None:
    background = field().background
    models = Models(
        [
            point(lon_0="83.5 deg", lat_0="22 deg"),
            template(),
            FoVBackgroundModel(dataset_name="field"),
            TemplateNPredModel(background, name="cube", datasets_names=["field"]),
        ]
    )
    models["point"].spectral_model.index.frozen = True
    models["point"].spectral_model.index.min = 1
    ours = Ours.from_gammapy(models)
    assert ours.names == models.names
    again = ours.to_gammapy()
    assert again.names == models.names
    for one, other in zip(again, models, strict=True):
        assert type(one) is type(other)
        assert one.datasets_names == other.datasets_names
        np.testing.assert_allclose(one.parameters.value, other.parameters.value, rtol=1e-12)
    assert again["point"].spectral_model.index.frozen
    same_map(again["cube"].map, models["cube"].map)
    dataset = field()
    dataset.models = models
    same = field()
    same.models = again
    np.testing.assert_allclose(same.npred().data, dataset.npred().data, rtol=1e-6)


def test_a_model_that_changes_with_time_becomes_background() -> None:
    dataset = field()
    source = point("1e-11 cm-2 s-1 TeV-1", lon_0="83.6 deg", lat_0="22 deg")
    source.temporal_model = ConstantTemporalModel()
    dataset.gti = GTI.create(0 * u.h, 1 * u.h, reference_time="2020-01-01")
    dataset.models = [source]
    ours = MapDataset.from_gammapy(dataset)
    assert not ours.models
    np.testing.assert_allclose(ours.npred().data, dataset.npred().data, rtol=1e-6)
    with pytest.raises(ValueError, match="changes with time"):
        Ours.from_gammapy(source)


def test_flux_maps_come_back_as_they_were() -> None:
    estimator = TSMapEstimator(
        point(), kernel_width="0.55 deg", selection_optional=["errn-errp", "ul", "sensitivity"]
    )
    maps = estimator.run(field())
    theirs = maps.to_gammapy()
    again = FluxMaps.from_gammapy(theirs)
    for name in ("ts", "norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "flux", "npred"):
        np.testing.assert_array_equal(again[name].data, maps[name].data)
    np.testing.assert_allclose(theirs["flux"].data, maps["flux"].data, rtol=1e-6)
    np.testing.assert_allclose(theirs["sqrt_ts"].data, maps["sqrt_ts"].data, rtol=1e-6)
    found, ours = find_peaks(theirs["sqrt_ts"], 4), maps.find_peaks(4)
    assert found["value"].max() == pytest.approx(ours["sqrt_ts"].max(), rel=1e-6)


@pytest.mark.parametrize("sed_type", ["likelihood", "dnde", "flux", "eflux", "e2dnde"])
def test_flux_maps_pass_through_files_of_either(sed_type: str, tmp_path: Any) -> None:
    from gammapy.estimators import FluxMaps as Theirs

    estimator = TSMapEstimator(point(), kernel_width="0.55 deg", selection_optional=["ul"])
    maps = estimator.run(field())
    maps.write(tmp_path / "ours.fits", sed_type=sed_type)
    read = Theirs.read(tmp_path / "ours.fits")
    np.testing.assert_allclose(read["flux_ul"].data, maps["flux_ul"].data, rtol=1e-5)
    maps.to_gammapy().write(tmp_path / "theirs.fits", sed_type=sed_type, overwrite=True)
    again = FluxMaps.read(tmp_path / "theirs.fits")
    np.testing.assert_allclose(again["flux"].data, maps["flux"].data, rtol=1e-5)


def test_native_estimators_take_gammapys_objects() -> None:
    dataset = field()
    estimator = TSMapEstimator(point(), kernel_width="0.55 deg")
    expected = estimator.run(MapDataset.from_gammapy(dataset))
    for given in (dataset, [dataset], Datasets([dataset])):
        np.testing.assert_array_equal(estimator.run(given)["ts"].data, expected["ts"].data)
    kernels = ("0.12 deg", ("0.2 deg", "0.4 deg"))
    counts = dataset.counts.sum_over_axes(keepdims=False)
    native = KernelBackgroundEstimator(*kernels).run({"counts": counts})
    assert isinstance(native["background"], Map)
    theirs = interop.KernelBackgroundEstimator(*kernels).run({"counts": counts})
    assert isinstance(theirs["background"], gp.WcsNDMap)
    np.testing.assert_array_equal(theirs["background"].data, native["background"].data)
    lima = gammagrad.lima_maps(dataset, correlation_radius="0.1 deg")
    assert lima["sqrt_ts"].data.shape == dataset.counts.data.shape


def test_other_packages_are_named() -> None:
    class Dataset:
        pass

    Dataset.__module__ = "elsewhere.data"
    with pytest.raises(TypeError, match="got Dataset of elsewhere"):
        TSMapEstimator().run(Dataset())
