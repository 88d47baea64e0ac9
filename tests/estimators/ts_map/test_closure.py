"""A source is put in as expected counts, without noise: what comes out is known in closed form."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

from datasets import flux_per_bin, make_dataset, source_counts
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

Floats = NDArray[np.float64]

FLUX = 1e-11
INDEX = 2.0
SHAPE = (21, 21)
ROW, COL = SHAPE[0] // 2, SHAPE[1] // 2


def point(index: float = INDEX) -> SkyModel:
    """Return a source whose integral flux from 1 to 10 TeV is `FLUX`."""
    per_amplitude = (1 - 10 ** (1 - index)) / (index - 1)
    spectrum = PowerLawSpectralModel(index=index, amplitude=FLUX / per_amplitude)
    return SkyModel(spectrum, PointSpatialModel())


def run(dataset: MapDataset, model: SkyModel | None = None, **settings) -> FluxMaps:
    settings = {"kernel_width": "0.7 deg", "renormalise": False} | settings
    return TSMapEstimator(point() if model is None else model, **settings).run(dataset)


def norms(maps: FluxMaps) -> Floats:
    return maps["norm"].data[:, ROW, COL]


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return make_dataset(SHAPE, flux=FLUX, index=INDEX, seed=None)


@pytest.mark.parametrize(
    ("width", "summed"),
    [
        ("0.3 deg", True),
        (None, False),
        pytest.param("0.3 deg", False, marks=pytest.mark.slow),
        pytest.param("0.7 deg", True, marks=pytest.mark.slow),
        pytest.param("0.7 deg", False, marks=pytest.mark.slow),
        pytest.param(None, True, marks=pytest.mark.slow),
    ],
)
def test_the_norm_is_one_whatever_the_kernel_width(
    width: str | None, summed: bool, dataset: MapDataset
) -> None:
    maps = run(dataset, kernel_width=width, sum_over_energy_groups=summed)
    assert norms(maps) == pytest.approx(1, abs=1e-3)
    # the peak of the map is at the source
    assert np.unravel_index(np.argmax(maps["ts"].data[0]), SHAPE) == (ROW, COL)
    np.testing.assert_allclose(maps["flux"].data[:, ROW, COL], FLUX, rtol=1e-3)


def test_a_renormalised_kernel_loses_what_it_does_not_hold(dataset: MapDataset) -> None:
    maps = run(dataset, kernel_width="0.3 deg", renormalise=True)
    contained = float(np.ravel(maps.meta["containment"])[0])
    assert contained < 0.5
    assert norms(maps) == pytest.approx(contained, rel=1e-3)


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("edges", ["all", [1, 4.6415888336, 10] * u.TeV])
def test_the_norm_is_one_in_every_energy_group(
    edges: str | u.Quantity, summed: bool, dataset: MapDataset
) -> None:
    maps = run(dataset, energy_edges=edges, sum_over_energy_groups=summed)
    assert norms(maps) == pytest.approx(1, abs=1e-3)
    per_bin = flux_per_bin(dataset.geom, FLUX, INDEX)
    expected = per_bin if isinstance(edges, str) else [per_bin[:2].sum(), per_bin[2]]
    np.testing.assert_allclose(maps["flux"].data[:, ROW, COL], expected, rtol=1e-3)


def images(index: float) -> Floats:
    """Return the counts of a source at the middle, within the kernel."""
    geom = make_dataset(SHAPE, seed=None).geom
    return source_counts(geom, FLUX, index)[:, ROW - 3 : ROW + 4, COL - 3 : COL + 4]


def norm_of_another_index(background: float, index: float, assumed: float) -> float:
    """Solve ``sum (b + t) m / (b + x m) = sum m`` for the expected counts t of a true index."""
    true, model = images(index), images(assumed)

    def missing(norm: float) -> float:
        mean = background + norm * model
        return float((model * ((background + true) / mean - 1)).sum())

    return brentq(missing, 0.0, 10.0, xtol=1e-12)


@pytest.mark.parametrize("assumed", [1.5, 2.7])
@pytest.mark.parametrize("background", [1e-4, 0.3, 1e3])
def test_a_wrong_index_biases_the_cube_as_expected(background: float, assumed: float) -> None:
    data = make_dataset(SHAPE, flux=FLUX, index=INDEX, background=background, seed=None)
    norm = norms(run(data, point(assumed), sum_over_energy_groups=False))
    expected = norm_of_another_index(background, INDEX, assumed)
    assert norm == pytest.approx(expected, rel=1e-3)
    true, model = images(INDEX), images(assumed)
    if background < 1e-3:
        # hardly any background: all counts are the source's, and their number is right
        assert norm == pytest.approx(true.sum() / model.sum(), rel=1e-3)
        assert norm == pytest.approx(1, abs=1e-3)
    if background > 100:
        # hardly any source: a mean with the weights of least squares
        assert norm == pytest.approx((true * model).sum() / (model**2).sum(), rel=5e-3)
        assert abs(norm[0] - 1) > 0.03


@pytest.mark.parametrize("assumed", [1.5, 2.7])
def test_a_wrong_index_does_not_bias_the_sum_of_equal_images(
    assumed: float, dataset: MapDataset
) -> None:
    # one shape for all energies: the ratio of all counts, whatever the background
    maps = run(dataset, point(assumed), sum_over_energy_groups=True)
    assert norms(maps) == pytest.approx(images(INDEX).sum() / images(assumed).sum(), rel=1e-3)
    np.testing.assert_allclose(maps["flux"].data[0, ROW, COL], FLUX, rtol=1e-3)


def test_a_wrong_index_does_not_bias_single_bins(dataset: MapDataset) -> None:
    maps = run(dataset, point(2.7), energy_edges="all", sum_over_energy_groups=False)
    expected = flux_per_bin(dataset.geom, FLUX, INDEX)
    np.testing.assert_allclose(maps["flux"].data[:, ROW, COL], expected, rtol=1e-3)


@pytest.mark.data
@pytest.mark.parametrize("width", [pytest.param("0.2 deg", marks=pytest.mark.slow), "0.5 deg"])
def test_real_responses_and_a_kernel_that_cuts_the_source(width: str, gammapy_data: Path) -> None:
    data = MapDataset.read(gammapy_data / "reduced" / "hess-crab.fits.gz")
    data = data.cutout(data.geom.center_skydir, "1.6 deg")
    row, col = (n // 2 for n in data.geom.shape_image)
    position = data.geom.pix_to_sky(col, row).icrs
    spectrum = PowerLawSpectralModel(index=2.2, amplitude=1e-11)
    source = SkyModel(spectrum, PointSpatialModel(position.ra, position.dec), name="source")
    background = data.npred_background().data
    data.counts = Map(data.geom, background + data.npred_signal([source]).data)
    whole = run(data, source, kernel_width=width, sum_over_energy_groups=False)
    assert whole["norm"].data[0, row, col] == pytest.approx(1, abs=1e-3)
    how = {"kernel_width": width, "sum_over_energy_groups": False, "kernel_positions": "centre"}
    whole = run(data, source, **how)
    # one kernel takes the exposure where the counts fall: less than at its peak, the source
    assert 1.001 < whole["norm"].data[0, row, col] < 1.004
    exposure = data.require("exposure").data
    exposure[:] = exposure[:, row, col][:, None, None]
    data.counts = Map(data.geom, background + data.npred_signal([source]).data)
    whole = run(data, source, kernel_width=width, sum_over_energy_groups=False)
    assert whole["norm"].data[0, row, col] == pytest.approx(1, abs=1e-3)
    edges = [1, 5, 30] * u.TeV
    groups = run(data, source, kernel_width=width, energy_edges=edges)
    np.testing.assert_allclose(groups["norm"].data[:, row, col], 1, atol=1e-3)
