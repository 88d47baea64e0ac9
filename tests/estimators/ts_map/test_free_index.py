"""Maps of norm and index: against a plain search at single pixels, and what comes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

import oracles
from datasets import make_dataset
from gammagrad import FluxMaps, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.core.ts_map.index_chunk import fit_index_chunk
from gammagrad.errors import InputError, InputWarning
from gammagrad.estimators.config import read_config, write_config
from gammagrad.estimators.ts_map.free_index import HIGHEST, LOWEST
from gammagrad.maps import Map
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

Floats = NDArray[np.float64]

NPIX = (25, 21)
BOTH = {
    "free": ("norm", "index"),
    "kernel_width": "0.7 deg",
    "sum_over_energy_groups": False,
    "kernel_positions": "centre",
}
INDEX = 3.2


def soft(**how: object) -> MapDataset:
    """Return a source that is softer than the model."""
    return make_dataset(NPIX, 4, **{"index": INDEX, "flux": 6e-12, "mask": True, **how})


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return soft()


@pytest.fixture(scope="module")
def maps(dataset: MapDataset) -> FluxMaps:
    return TSMapEstimator(**BOTH).run(dataset)


def window(dataset: MapDataset, row: int, col: int):
    """Return counts and background that a pixel's kernel sees, and its exact models."""
    seen = dataset.mask_safe.data

    def model(index: float) -> Floats:
        spectrum = PowerLawSpectralModel(index=index, amplitude=1e-12, reference=1.0)
        one = TSMapEstimator(SkyModel(spectrum, PointSpatialModel()), **{**BOTH, "free": ("norm",)})
        inputs = one.estimate_fit_input_maps(dataset)
        kernel, exposure = inputs["kernel"].data, inputs["exposure"].data
        ky, kx = kernel.shape[-2:]
        rows, cols = np.mgrid[-(ky // 2) : ky // 2 + 1, -(kx // 2) : kx // 2 + 1]
        found = np.zeros_like(exposure)
        y, x = rows + row, cols + col
        inside = (y >= 0) & (y < NPIX[1]) & (x >= 0) & (x < NPIX[0])
        found[:, y[inside], x[inside]] = kernel[:, inside]
        return found * exposure

    return dataset.counts.data * seen, dataset.background.data * seen, model


def test_the_index_of_a_source_is_found(maps: FluxMaps, dataset: MapDataset) -> None:
    best = np.unravel_index(int(np.nanargmax(maps["ts"].data)), maps["ts"].data.shape)
    assert abs(maps["index"].data[best] - INDEX) < 3 * maps["index_err"].data[best]
    assert maps["index_err"].data[best] < 0.4
    assert maps["ts_index"].data[best] > 9
    exact = TSMapEstimator(**BOTH).run(soft(seed=None))
    row, col = NPIX[1] // 2, NPIX[0] // 2
    # what the pixels of the kernel leave out is the same for the model
    assert exact["index"].data[0, row, col] == pytest.approx(INDEX, abs=2e-3)
    assert exact["status"].data[0, row, col] == Status.FITTED


def test_pixels_are_those_of_a_plain_search(maps: FluxMaps, dataset: MapDataset) -> None:
    rng = np.random.default_rng(1)
    places = [(10, 12), (11, 13), *zip(rng.integers(0, 21, 6), rng.integers(3, 25, 6), strict=True)]
    compared = 0
    for row, col in places:
        counts, background, model = window(dataset, row, col)
        nodes = np.linspace(LOWEST, HIGHEST, 41)
        exact = np.stack([model(i) for i in nodes])
        reached = (exact > 0).all(axis=0)
        spline = CubicSpline(nodes, np.log(exact[:, reached]), axis=0)
        counts, background = counts[reached], background[reached]
        slow = oracles.slow_pair(
            counts, background, lambda i, s=spline: np.exp(s(i)), (LOWEST, HIGHEST), starts=4
        )
        at = (0, row, col)
        index, error = maps["index"].data[at], maps["index_err"].data[at]
        status = maps["status"].data[at]
        if np.isnan(index):
            assert status in (1, 2, 3, Status.INDEX_UNDETERMINED)
            assert 2 * slow.gain < abs(maps["ts"].data[at]) + 3e-3
            continue
        assert abs(maps["ts"].data[at] - 2 * slow.gain) < 1e-3
        if status == Status.INDEX_AT_LIMIT:
            assert index in (LOWEST, HIGHEST)
            assert slow.index == pytest.approx(index, abs=0.02)
            continue
        compared += 1
        assert abs(index - slow.index) < 1e-3 * error
        assert abs(maps["norm"].data[at] - slow.norm) < 1e-3 * maps["norm_err"].data[at]
        errors = np.sqrt(np.diag(slow.inverse))
        assert maps["norm_err"].data[at] == pytest.approx(slow.norm * errors[0], rel=2e-3)
        assert error == pytest.approx(errors[1], rel=2e-3)
        correlation = slow.inverse[0, 1] / errors.prod()
        assert maps["norm_index_corr"].data[at] == pytest.approx(correlation, abs=2e-3)
    assert compared > 2


def test_nothing_is_lost_against_the_fixed_index(maps: FluxMaps, dataset: MapDataset) -> None:
    fixed = TSMapEstimator(**{**BOTH, "free": ("norm",)}).run(dataset)
    gained, base = maps["ts_index"].data, np.abs(fixed["ts"].data)
    np.testing.assert_allclose(np.abs(maps["ts"].data) - gained, base, rtol=1e-9, atol=1e-9)
    assert (gained[np.isfinite(gained)] >= 0).all()
    without = np.isnan(maps["index"].data)
    np.testing.assert_array_equal(maps["norm"].data[without], fixed["norm"].data[without])
    # NaN only where a status says why
    assert set(maps["status"].data[without].tolist()) <= {1, 2, 3, 4, 6, 9, 13}


def test_a_kernel_for_every_position_agrees(maps: FluxMaps, dataset: MapDataset) -> None:
    everywhere = TSMapEstimator(**{**BOTH, "kernel_positions": "map"}).run(dataset)
    fine = (maps["status"].data == 0) & (everywhere["status"].data == 0) & (maps["ts"].data > 4)
    assert fine.sum() > 20
    off = np.abs(everywhere["index"].data - maps["index"].data) / maps["index_err"].data
    assert off[fine].max() < 0.1


def test_the_model_may_have_another_index(dataset: MapDataset, maps: FluxMaps) -> None:
    model = SkyModel(PowerLawSpectralModel(index=3.0, reference=2.0), PointSpatialModel())
    other = TSMapEstimator(model, **BOTH).run(dataset)
    fine = (maps["status"].data == 0) & (other["status"].data == 0) & (maps["ts"].data > 9)
    assert fine.sum() > 5
    off = np.abs(other["index"].data - maps["index"].data) / maps["index_err"].data
    assert off[fine].max() < 1e-5
    for name in ("flux", "dnde", "flux_err", "dnde_err", "eflux"):
        ratio = other[name].data[fine] / maps[name].data[fine]
        np.testing.assert_allclose(ratio, 1, rtol=1e-4, err_msg=name)


def test_fluxes_have_the_fitted_index(maps: FluxMaps) -> None:
    at = np.unravel_index(int(np.nanargmax(maps["ts"].data)), maps["ts"].data.shape)
    norm, index = maps["norm"].data[at], maps["index"].data[at]
    low, high = maps.energy_axis.edges_in("TeV")
    centre = float(np.sqrt(low * high))
    amplitude = 1e-12 * norm
    assert maps["dnde"].data[at] == pytest.approx(amplitude * centre**-index, rel=1e-9)
    flux = amplitude * (low ** (1 - index) - high ** (1 - index)) / (index - 1)
    assert maps["flux"].data[at] == pytest.approx(flux, rel=1e-9)
    # propagation of errors, by differences
    slope = -np.log(centre)
    first, second = maps["norm_err"].data[at] / norm, maps["index_err"].data[at] * slope
    both = first**2 + second**2 + 2 * maps["norm_index_corr"].data[at] * first * second
    assert maps["dnde_err"].data[at] == pytest.approx(maps["dnde"].data[at] * both**0.5, rel=1e-6)
    with pytest.raises(InputError, match="written as norms only"):
        maps.write("never.fits", sed_type="dnde")


def test_two_datasets_share_an_index(dataset: MapDataset) -> None:
    pair = [dataset, soft(seed=8, name="second")]
    joint = TSMapEstimator(**BOTH).run(pair)
    alone = [TSMapEstimator(**BOTH).run(d) for d in pair]
    at = (0, NPIX[1] // 2, NPIX[0] // 2)
    weights = [m["index_err"].data[at] ** -2 for m in alone]
    mean = sum(w * m["index"].data[at] for w, m in zip(weights, alone, strict=True)) / sum(weights)
    assert joint["index"].data[at] == pytest.approx(mean, abs=0.5 * sum(weights) ** -0.5)
    assert joint["index_err"].data[at] == pytest.approx(sum(weights) ** -0.5, rel=0.1)


def test_groups_strips_and_positions(dataset: MapDataset, maps: FluxMaps) -> None:
    before = fit_index_chunk.traces
    again = TSMapEstimator(**BOTH).run(dataset)
    assert fit_index_chunk.traces == before
    strips = TSMapEstimator(**BOTH, memory="1 MB").run(dataset)
    for name in ("index", "norm", "ts", "index_err"):
        np.testing.assert_array_equal(again[name].data, maps[name].data)
        # how a model changes with the index is kept in single precision, and errors are those
        # before the last step, which matters where they are larger than the range of the index
        close = 3e-4 if name == "index_err" else 1e-5
        np.testing.assert_allclose(strips[name].data, maps[name].data, rtol=close, atol=close)
    edges = dataset.energy_axis.edges
    groups = TSMapEstimator(**BOTH, energy_edges=edges[[0, 2, 4]]).run(dataset)
    assert groups["index"].data.shape == (2, *NPIX[::-1])
    wanted = np.zeros(NPIX[::-1], bool)
    wanted[10, 12] = True
    one = TSMapEstimator(**BOTH).run(dataset, positions=wanted)
    assert one["index"].data[0, 10, 12] == pytest.approx(maps["index"].data[0, 10, 12], rel=1e-6)
    assert np.isfinite(one["index"].data).sum() == 1


def test_it_is_written_and_read(maps: FluxMaps, tmp_path: Path) -> None:
    maps.write(tmp_path / "maps.fits")
    back = FluxMaps.read(tmp_path / "maps.fits")
    for name in ("index", "index_err", "norm_index_corr", "ts_index", "flux_err", "dnde"):
        np.testing.assert_allclose(back[name].data, maps[name].data, rtol=1e-12, err_msg=name)
    estimator = TSMapEstimator(**BOTH)
    write_config(estimator, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml").free == ("norm", "index")
    figure = maps.plot("index")
    assert figure is not None


def test_what_cannot_be_done_is_an_error(dataset: MapDataset) -> None:
    def fails(match: str, **how: object) -> None:
        with pytest.raises(InputError, match=match):
            TSMapEstimator(**{**BOTH, **how}).run(dataset)

    fails("sum_over_energy_groups=False", sum_over_energy_groups=True)
    fails("one energy bin", energy_edges="all")
    fails("'ul' cannot be computed", selection_optional="ul")
    fails("excludes downsampling_factor", downsampling_factor=2)
    fails("excludes threshold", threshold=4)
    fails("takes one model", model=[SkyModel(PowerLawSpectralModel(), PointSpatialModel())] * 2)
    fails("of the model is 7", model=SkyModel(PowerLawSpectralModel(index=7), PointSpatialModel()))
    with pytest.raises(InputError, match="several sizes"):
        TSMapEstimator(free=("norm", "size"))
    with pytest.raises(InputError, match=r"expected \('norm',\)"):
        TSMapEstimator(free=("index",))
    with pytest.raises(KeyError, match=r"free=\("):
        TSMapEstimator(**{**BOTH, "free": ("norm",)}).run(dataset)["index"]


def test_empty_maps_have_no_index() -> None:
    dataset = soft(flux=0.0, seed=None)
    dataset.counts = Map(dataset.geom, np.zeros(dataset.geom.data_shape))
    with pytest.warns(InputWarning, match="0 counts"):
        maps = TSMapEstimator(**BOTH).run(dataset)
    fitted = maps["status"].data != Status.NOT_FITTED
    assert np.isnan(maps["index"].data).all()
    assert (maps["status"].data[fitted] == Status.NO_COUNTS).all()
    assert (maps["ts_index"].data[fitted] == 0).all()
