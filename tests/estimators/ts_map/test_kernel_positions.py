"""Kernels by position: sources of known norm wherever they are, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets import make_dataset
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.errors import InputError
from gammagrad.estimators.config import read_config, write_config
from gammagrad.models import (
    ConstantSpatialModel,
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from varying import varying_dataset

Floats = NDArray[np.float64]

NPIX, BINSZ = (31, 25), 0.08
# row and column of sources; the rows above and below the middle have other energy dispersions
PLACES = [(11, 15), (6, 22), (19, 5)]
BRIGHT, FAINT = 1e-10, 1e-14

SHAPES: dict[str, Any] = {
    "point": PointSpatialModel(),
    "gaussian": GaussianSpatialModel(sigma=0.08),
    "disk": DiskSpatialModel(r_0=0.12),
}


def source(amplitude: float, shape: str = "point", name: str | None = None) -> SkyModel:
    spectrum = PowerLawSpectralModel(index=2.0, amplitude=amplitude)
    return SkyModel(spectrum, SHAPES[shape], name=name)


def with_source(
    dataset: MapDataset, model: SkyModel, place: tuple[int, int], geom: Any = None
) -> MapDataset:
    """Return a dataset whose counts are those expected with a source, without noise."""
    image = (dataset.geom if geom is None else geom).to_image()
    position = image.pix_to_sky(place[1], place[0]).icrs
    moved = model.spatial_model.with_position(position.ra.deg, position.dec.deg)
    signal = dataset.npred_signal([SkyModel(model.spectral_model, moved)]).data
    found = dataset.copy()
    found.counts = Map(dataset.geom, np.nan_to_num(dataset.background.data) + signal)
    return found


def at(place: tuple[int, int], shape: tuple[int, int] = (NPIX[1], NPIX[0])) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[place] = True
    return mask


def norms(dataset: MapDataset, model: SkyModel, place: tuple[int, int], **how: Any) -> Floats:
    """Return the norm of each energy group at the source's pixel."""
    there = with_source(dataset, model, place)
    maps = TSMapEstimator(model, **how).run(there, positions=at(place, there.geom.shape_image))
    return np.asarray(maps["norm"].data[:, place[0], place[1]])


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return varying_dataset(NPIX, BINSZ)


SUMMED = [True, pytest.param(False, marks=pytest.mark.slow)]


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("amplitude", [BRIGHT, FAINT])
def test_the_norm_of_a_source_is_right_everywhere(
    summed: bool, amplitude: float, dataset: MapDataset
) -> None:
    model = source(amplitude)
    for place in PLACES:
        norm = norms(dataset, model, place, sum_over_energy_groups=summed)
        assert norm == pytest.approx(1, abs=2e-3), place
    one = norms(dataset, model, PLACES[1], sum_over_energy_groups=summed, kernel_positions="centre")
    assert abs(one - 1) > (0.1 if amplitude == FAINT else 0.01)


@pytest.mark.parametrize("shape", ["gaussian", "disk"])
def test_the_norm_of_an_extended_source(shape: str, dataset: MapDataset) -> None:
    for place in PLACES[:2]:
        assert norms(dataset, source(BRIGHT, shape), place) == pytest.approx(1, abs=5e-3)


def ramp(dataset: MapDataset, low: float, by_energy: bool) -> Map:
    """Return weights that change along the columns, at one energy the other way if asked."""
    weights = np.broadcast_to(np.linspace(low, 1.5, NPIX[0]), dataset.geom.data_shape).copy()
    if by_energy:
        weights[1] = weights[1, :, ::-1]
    return Map(dataset.geom, weights)


def masked(dataset: MapDataset, name: str) -> MapDataset:
    """Return the dataset with masks and unknown bins of some kind."""
    found, shape = dataset.copy(), dataset.geom.data_shape
    safe = np.ones(shape, bool)
    if name == "mask_safe by energy":
        safe[0, :, 20:] = False
        safe[1, :5] = False
        found.mask_safe = Map(dataset.geom, safe)
    elif name == "weights":
        found.mask_fit = ramp(dataset, 0.5, by_energy=False)
    elif name == "weights by energy":
        found.mask_fit = ramp(dataset, 0.5, by_energy=True)
    elif name == "levels by energy":
        levels = np.array([0.0, 0.5, 1.0])
        weights = np.random.default_rng(2).choice(levels, shape)
        for place in PLACES:
            weights[:, *place] = 1.0
        found.mask_fit = Map(dataset.geom, weights)
    elif name == "background NaN":
        found.background.data[0, 4:8, 20:22] = np.nan
        found.background.data[1, 10] = np.nan
    return found


MASKS = ["mask_safe by energy", "weights", "levels by energy", "background NaN"]


@pytest.mark.parametrize("summed", SUMMED)
@pytest.mark.parametrize("name", MASKS)
def test_masks_and_weights_do_not_bias(name: str, summed: bool, dataset: MapDataset) -> None:
    data, model = masked(dataset, name), source(BRIGHT)
    for place in PLACES[:2]:
        norm = norms(data, model, place, sum_over_energy_groups=summed)
        assert norm == pytest.approx(1, abs=2e-3), place


def test_weights_that_differ_everywhere(dataset: MapDataset, caplog: Any) -> None:
    data, model = masked(dataset, "weights by energy"), source(BRIGHT)
    norm = norms(data, model, PLACES[1], sum_over_energy_groups=False)
    assert norm == pytest.approx(1, abs=2e-3)
    data.mask_fit.data[...] = np.random.default_rng(0).uniform(0.5, 1, data.geom.data_shape)
    # too many sums of kernels: an image summed over energy has one kernel, and says so
    one = norms(data, model, PLACES[1])
    assert "different sets of weights over energy" in caplog.text
    assert one == norms(data, model, PLACES[1], kernel_positions="centre")
    with pytest.raises(InputError, match=r"different sets of weights over energy.*sum_over_energy"):
        norms(data, model, PLACES[1], kernel_positions="map")
    # where one kernel is right there is nothing to say
    caplog.clear()
    flat = make_dataset((13, 11), flux=1e-12)
    flat.mask_fit = Map(flat.geom, np.random.default_rng(0).uniform(0.5, 1, flat.geom.data_shape))
    maps = TSMapEstimator(kernel_width="0.5 deg").run(flat)
    assert maps.meta["kernels_per_group"] == [[1]]
    assert "sets of weights" not in caplog.text


@pytest.mark.parametrize("summed", SUMMED)
def test_every_energy_group(summed: bool, dataset: MapDataset) -> None:
    norm = norms(
        dataset, source(FAINT), PLACES[1], energy_edges="all", sum_over_energy_groups=summed
    )
    np.testing.assert_allclose(norm, 1, atol=2e-3)
    assert norm.shape == (2,)


HOW: dict[str, dict[str, Any]] = {
    "width": {"kernel_width": "0.7 deg", "renormalise": False},
    "containment": {"kernel_containment": 0.9, "renormalise": False},
    "map": {"kernel_positions": "map"},
    "16 positions": {"kernel_positions": 16},
    "floor": {"background_floor": 1e-6},
}


@pytest.mark.parametrize("name", HOW)
def test_settings_that_keep_the_norm(name: str, dataset: MapDataset) -> None:
    for amplitude in (BRIGHT, FAINT):
        norm = norms(dataset, source(amplitude), PLACES[1], **HOW[name])
        assert norm == pytest.approx(1, abs=2e-3)


def test_a_kernel_that_is_cut_off_and_renormalised_loses_the_rest(dataset: MapDataset) -> None:
    model, place = source(BRIGHT), PLACES[1]
    there = with_source(dataset, model, place)
    how = {"kernel_width": "0.6 deg", "sum_over_energy_groups": False}
    maps = TSMapEstimator(model, **how).run(there, positions=at(place))
    kernel = TSMapEstimator(model, renormalise=False, **how).estimate_kernel(
        there, there.geom.to_image().pix_to_sky(place[1], place[0])
    )
    held = kernel.data.sum(axis=(1, 2))
    norm = maps["norm"].data[0, place[0], place[1]]
    assert held.min() - 5e-3 < norm < held.max() + 5e-3
    assert min(maps.meta["containment"]) < held.min() + 1e-3


def test_equal_weighting_is_right_where_energies_have_one_kernel(dataset: MapDataset) -> None:
    # the setting weights kernels equally: right where those of all energies are equal
    data = dataset.copy()
    data.psf.psf_map.data[...] = data.psf.psf_map.data[:1]
    for place in PLACES:
        norm = norms(data, source(BRIGHT), place, kernel_weighting="equal")
        assert norm == pytest.approx(1, abs=2e-3), place


def test_merged_pixels(dataset: MapDataset) -> None:
    for summed in (True, False):
        model = source(FAINT)
        estimator = TSMapEstimator(model, downsampling_factor=2, sum_over_energy_groups=summed)
        there = with_source(dataset, model, PLACES[1])
        maps = estimator.run(there)
        fine = TSMapEstimator(model, sum_over_energy_groups=summed).run(there)
        ratio = maps["norm_err"].data / fine["norm_err"].data
        inside = (slice(None), slice(3, -3), slice(3, -3))
        # blocks are as wide as twice the width of the PSF: their information is less, not more
        assert 1 < np.median(ratio[inside]) < 1.15
        assert np.isfinite(maps["norm"].data).all()
        assert maps["success"].data.all()


def test_a_guess_is_kept_below_the_threshold(dataset: MapDataset) -> None:
    model = source(BRIGHT)
    there = with_source(dataset, model, PLACES[1])
    maps = TSMapEstimator(model, threshold=9.0).run(there)
    full = TSMapEstimator(model).run(there)
    # the guess is that of the kernel of each position: nothing much more significant is kept
    assert full["ts"].data[maps["status"].data == Status.GUESS_KEPT].max() < 15
    strong = full["ts"].data > 100
    assert strong.any()
    assert not strong.all()
    np.testing.assert_allclose(maps["norm"].data[strong], full["norm"].data[strong], rtol=1e-9)
    assert np.isfinite(maps["norm"].data).all()


def equal(one: FluxMaps, other: FluxMaps, rtol: float = 0.0, where: Any = None) -> None:
    """Require the same maps, at some pixels if asked, to a part of a value or of the largest."""
    assert one.available_quantities == other.available_quantities
    for name in one.available_quantities:
        mine, theirs = (
            m[name].data if where is None else m[name].data[..., where] for m in (one, other)
        )
        size = np.abs(theirs[np.isfinite(theirs)].astype(float)).max(initial=0.0)
        np.testing.assert_allclose(
            mine, theirs, rtol=rtol, atol=1e-3 * rtol * float(size), err_msg=name
        )


def test_each_hypothesis_is_the_run_with_it_alone(dataset: MapDataset) -> None:
    models = [source(BRIGHT, "point", "point"), source(BRIGHT, "gaussian", "wide")]
    both = TSMapEstimator(models).run(dataset)
    for model in models:
        equal(both[model.name], TSMapEstimator(model).run(dataset), 1e-9)


@pytest.mark.parametrize("how", [{"n_jobs": 2}, {"memory": "1 MB"}], ids=["processes", "strips"])
def test_shared_work_gives_the_same(how: dict[str, Any], dataset: MapDataset) -> None:
    equal(TSMapEstimator(**how).run(dataset), TSMapEstimator().run(dataset), 1e-9)


@pytest.mark.parametrize("summed", SUMMED)
def test_optional_maps_agree_with_the_profile(summed: bool, dataset: MapDataset) -> None:
    estimator = TSMapEstimator(
        source(1e-12), selection_optional="all", n_sigma_ul=2, sum_over_energy_groups=summed
    )
    mask = np.zeros(dataset.geom.shape_image, bool)
    mask[2::7, 3::6] = True
    maps = estimator.run(dataset, positions=mask)
    assert np.isfinite(maps["norm_sensitivity"].data[0, mask]).all()
    rows, columns = np.nonzero(mask)
    for row, col in list(zip(rows.tolist(), columns.tolist(), strict=True))[::4]:
        one = at((row, col))
        norm, ts = (maps[name].data[0, row, col] for name in ("norm", "ts"))
        points = {"norm": 0.0, "norm_ul": 4.0, "norm_errp": 1.0, "norm_errn": 1.0}
        place = {
            "norm": norm,
            "norm_ul": maps["norm_ul"].data[0, row, col],
            "norm_errp": norm + maps["norm_errp"].data[0, row, col],
            "norm_errn": norm - maps["norm_errn"].data[0, row, col],
        }
        wanted = sorted({value for value in place.values() if np.isfinite(value)})
        scan = TSMapEstimator(
            source(1e-12),
            selection_optional=["stat_scan"],
            norm=wanted,
            sum_over_energy_groups=summed,
        ).run(dataset, positions=one)
        values = dict(zip(wanted, scan["stat_scan"].data[0, :, row, col], strict=True))
        assert values[norm] == pytest.approx(-abs(ts), abs=1e-6)
        for name, rise in points.items():
            found = values.get(place[name], np.nan) - values[norm]
            if name == "norm_errn":
                # it ends where a bin's expected counts would be negative
                assert not found > rise + 1e-4
            elif np.isfinite(found):
                assert found == pytest.approx(rise, abs=1e-4), name


def test_some_positions_are_those_of_the_whole_map(dataset: MapDataset) -> None:
    mask = np.random.default_rng(0).random(dataset.geom.shape_image) < 0.1
    whole, part = TSMapEstimator().run(dataset), TSMapEstimator().run(dataset, positions=mask)
    equal(part, whole, 1e-9, mask)
    assert part.meta["kernels_per_group"] == whole.meta["kernels_per_group"]


@pytest.mark.parametrize("summed", SUMMED)
def test_one_kernel_is_kept_where_it_is_right(summed: bool) -> None:
    uniform = make_dataset((17, 15), mask=True, flux=3e-12)
    for how in ({}, {"kernel_width": "0.5 deg"}, {"kernel_containment": 0.9}):
        settings = {"sum_over_energy_groups": summed, "selection_optional": "all", **how}
        maps = TSMapEstimator(**settings).run(uniform)
        one = TSMapEstimator(kernel_positions="centre", **settings).run(uniform)
        assert maps.meta["kernels_per_group"] == [[1]]
        assert maps.meta["kernel_error_per_group"][0][0] < 1e-3
        equal(maps, one)


def test_what_is_recorded(dataset: MapDataset) -> None:
    model = source(FAINT)
    maps = TSMapEstimator(model).run(dataset)
    ((kernels,),), ((error,),) = (maps.meta[f"{n}_per_group"] for n in ("kernels", "kernel_error"))
    assert 1 < kernels <= 13
    assert error < 1e-3
    assert maps.meta["one_kernel_error_per_group"][0][0] > 0.02
    measured = [abs(norms(dataset, model, place) - 1).max() for place in PLACES]
    assert max(measured) < error + 1e-3
    json.dumps(maps.meta["kernels_per_group"] + maps.meta["kernel_error_per_group"])
    one = TSMapEstimator(model, kernel_positions="centre").run(dataset)
    assert "kernels_per_group" not in one.meta


def test_inputs_are_not_changed_and_a_second_run_compiles_nothing(dataset: MapDataset) -> None:
    data = varying_dataset(NPIX, BINSZ)
    maps = {"exposure": data.exposure, "counts": data.counts, "background": data.background}
    arrays = {name: (m, m.data.copy()) for name, m in maps.items()}
    arrays["psf"] = data.psf.psf_map, data.psf.psf_map.data.copy()
    arrays["edisp"] = data.edisp.edisp_map, data.edisp.edisp_map.data.copy()
    first = TSMapEstimator().run(data)
    for name, (m, values) in arrays.items():
        np.testing.assert_array_equal(m.data, values, err_msg=name)
    with jax.log_compiles(), jax.no_tracing():
        second = TSMapEstimator().run(data)
    equal(first, second)


CHANGES: dict[str, Any] = {
    "exposure": lambda d: d.exposure.data.__imul__(np.linspace(1, 3, NPIX[0])),
    "psf": lambda d: d.psf.psf_map.data.__setitem__(
        slice(None),
        d.psf.psf_map.data[:, :, :, ::-1].copy()[:, :, ::-1].mean(axis=(2, 3))[:, :, None, None],
    ),
    "edisp": lambda d: d.edisp.edisp_map.data.__setitem__(
        slice(None), d.edisp.edisp_map.data[:, :, ::-1].copy()
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_response_is_not_that_of_the_run_before(name: str) -> None:
    data = varying_dataset(NPIX, BINSZ)
    before = TSMapEstimator().run(data, positions=at(PLACES[1]))["norm"].data[0][PLACES[1]]
    CHANGES[name](data)
    after = TSMapEstimator().run(data, positions=at(PLACES[1]))["norm"].data[0][PLACES[1]]
    fresh = varying_dataset(NPIX, BINSZ)
    CHANGES[name](fresh)
    expected = TSMapEstimator().run(fresh, positions=at(PLACES[1]))["norm"].data[0][PLACES[1]]
    assert after == expected
    assert after != before


def test_a_changed_model_is_not_that_of_the_run_before() -> None:
    data, place = varying_dataset(NPIX, BINSZ), PLACES[1]
    for index in (2.0, 3.0):
        for shape in ("point", "gaussian"):
            spectrum = PowerLawSpectralModel(index=index, amplitude=BRIGHT)
            assert norms(data, SkyModel(spectrum, SHAPES[shape]), place) == pytest.approx(
                1, abs=3e-3
            )
    blind = SkyModel(source(BRIGHT).spectral_model, SHAPES["point"], apply_irf={"psf": False})
    there = data.copy()
    row, col = place
    estimator = TSMapEstimator(blind, sum_over_energy_groups=False)
    found = estimator.run(there, positions=at(place))["norm"].data[0, row, col]
    seeing = TSMapEstimator(source(BRIGHT), sum_over_energy_groups=False)
    assert found != seeing.run(there, positions=at(place))["norm"].data[0, row, col]


@pytest.mark.parametrize("wrong", ["center", 3, 5000, 9.5, None, True, ["map"]])
def test_settings_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"kernel_positions is .*'auto', 'centre', 'map'"):
        TSMapEstimator(kernel_positions=wrong)


@pytest.mark.parametrize("value", ["auto", "centre", "map", 25])
def test_the_setting_goes_through_a_file(value: Any, tmp_path: Path) -> None:
    estimator = TSMapEstimator(kernel_positions=value)
    assert estimator.settings["kernel_positions"] == value
    write_config(estimator, tmp_path / "config.json")
    assert read_config(tmp_path / "config.json").kernel_positions == value


def test_the_kernel_at_a_position(dataset: MapDataset) -> None:
    image = dataset.geom.to_image()
    estimator = TSMapEstimator(kernel_width="0.9 deg")
    middle, corner = (image.pix_to_sky(*place) for place in ((15, 12), (1, 1)))
    kernels = [estimator.estimate_kernel(dataset, place).data for place in (middle, corner)]
    # wider further out
    assert kernels[1].max() < 0.8 * kernels[0].max()
    np.testing.assert_allclose([k.sum(axis=(1, 2)) for k in kernels], 1, atol=1e-6)
    default = estimator.estimate_kernel(dataset).data
    np.testing.assert_allclose(default, kernels[0], atol=1e-6 * default.max())


def test_models_without_an_edge_have_one_kernel(dataset: MapDataset) -> None:
    spectrum = PowerLawSpectralModel(index=2.0, amplitude=BRIGHT)
    model = SkyModel(spectrum, ConstantSpatialModel())
    how = {"kernel_width": "0.7 deg"}
    maps = TSMapEstimator(model, **how).run(dataset)
    assert "kernels_per_group" not in maps.meta
    equal(maps, TSMapEstimator(model, kernel_positions="centre", **how).run(dataset))


@pytest.mark.data
@pytest.mark.parametrize("name", ["hess-crab", "cta-1dc-vela"])
def test_real_fields(name: str, gammapy_data: Path) -> None:
    data = MapDataset.read(gammapy_data / f"reduced/{name}.fits.gz")
    data.models = None
    ny, nx = data.geom.shape_image
    image = data.geom.to_image()
    pointing = image.center_skydir
    for part in ((0.5, 0.5), (0.35, 0.7), (0.75, 0.3)):
        place = int(part[0] * ny), int(part[1] * nx)
        away = image.pix_to_sky(place[1], place[0]).separation(pointing).deg
        norm = norms(data, source(1e-12), place)
        assert norm == pytest.approx(1, abs=2e-3 if away < 2.5 else 5e-3), place
