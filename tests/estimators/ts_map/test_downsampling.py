"""Fits on merged pixels: where the blocks lie, what they hold, and the way back."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter, map_coordinates

from datasets import make_dataset
from gammagrad import Map, MapDataset, TSMapEstimator
from gammagrad.estimators.ts_map.downsampling import CoarseGrid, coarse_grid
from gammagrad.estimators.ts_map.inputs import SourceKernel, fit_inputs
from gammagrad.evaluate import estimate_kernel
from gammagrad.models import default_kernel_model, models_from_dict
from precision import DOUBLE

SIZE = st.integers(1, 40)
REACH = st.integers(0, 15)
FACTOR = st.sampled_from([1, 2, 3, 4, 6, 8, 10, 16])


@pytest.mark.parametrize("value", [2, 4, 6, np.int64(8)])
def test_an_even_factor_is_kept(value: int) -> None:
    found = TSMapEstimator(downsampling_factor=value).downsampling_factor
    assert found == value
    assert isinstance(found, int)


@pytest.mark.parametrize("value", [3, 0, -2, 2.0, "2", True])
def test_other_factors_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"downsampling_factor is .*expected an even number"):
        TSMapEstimator(downsampling_factor=value)


@given(shape=st.tuples(SIZE, SIZE), reach=st.tuples(REACH, REACH), factor=FACTOR)
def test_blocks_cover_a_map_of_any_size(
    shape: tuple[int, int], reach: tuple[int, int], factor: int
) -> None:
    grid = coarse_grid(shape, reach, factor)
    for size, half, (before, after) in zip(shape, reach, grid.padding, strict=True):
        assert min(before, after) >= half
        assert after - before in (0, 1)
        assert (size + before + after) % factor == 0
        # gammapy's rule, where it has an answer
        wanted = size + 2 * half
        wanted += 8 - wanted % 8
        if (wanted - size) % 2 == 0 and wanted % factor == 0:
            assert (before, after) == ((wanted - size) // 2,) * 2


def test_a_factor_must_be_a_number_of_pixels() -> None:
    with pytest.raises(ValueError, match="factor is 0; expected a whole number of at least 1"):
        coarse_grid((4, 4), (1, 1), 0)


@given(shape=st.tuples(SIZE, SIZE), reach=st.tuples(REACH, REACH), factor=FACTOR)
def test_sums_keep_all_counts_and_any_keeps_all_masks(
    shape: tuple[int, int], reach: tuple[int, int], factor: int
) -> None:
    grid = coarse_grid(shape, reach, factor)
    rng = np.random.default_rng(shape[0])
    counts = rng.poisson(0.5, (2, *shape))
    coarse = grid.sum(counts)
    assert coarse.sum() == counts.sum()
    weights = rng.uniform(0, 1, shape) * (rng.random(shape) < 0.3)
    (top, _), (left, _) = grid.padding
    total: dict[tuple[int, int], list[float]] = {}
    for y, x in np.argwhere(weights > 0):
        total.setdefault(((y + top) // factor, (x + left) // factor), []).append(weights[y, x])
    merged, mask = grid.mean_weights(weights), grid.any(weights > 0)
    assert mask.sum() == len(total)
    assert np.count_nonzero(merged) == len(total)
    for index, values in total.items():
        assert merged[index] == pytest.approx(np.mean(values))
        assert mask[index]


def interpolated(coarse: np.ndarray, grid: CoarseGrid) -> np.ndarray:
    """Interpolate with scipy, and crop."""
    ny, nx = (n * grid.factor for n in coarse.shape)
    row, col = ((np.arange(n) - (grid.factor - 1) / 2) / grid.factor for n in (ny, nx))
    zoomed = map_coordinates(coarse, np.meshgrid(row, col, indexing="ij"), order=1, mode="nearest")
    (top, bottom), (left, right) = grid.padding
    return zoomed[top : ny - bottom, left : nx - right]


def blocks_of(shape: tuple[int, int], grid: CoarseGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and column of the block that each pixel is in."""
    (top, _), (left, _) = grid.padding
    row, col = np.indices(shape)
    return (row + top) // grid.factor, (col + left) // grid.factor


@given(shape=st.tuples(SIZE, SIZE), reach=st.tuples(REACH, REACH), factor=FACTOR)
def test_results_come_back_on_the_pixels_of_the_map(
    shape: tuple[int, int], reach: tuple[int, int], factor: int
) -> None:
    grid = coarse_grid(shape, reach, factor)
    rng = np.random.default_rng(shape[1])
    coarse_shape = grid.sum(np.zeros(shape)).shape
    norm = rng.normal(size=coarse_shape)
    scan = rng.normal(size=(3, 2, *coarse_shape))
    niter = rng.integers(0, 100, coarse_shape).astype(np.int32)
    success = rng.random(coarse_shape) < 0.5
    given = {"norm": norm, "stat_scan": scan, "niter": niter, "success": success}
    fine = grid.upsampled(given)
    np.testing.assert_allclose(fine["norm"], interpolated(norm, grid), atol=1e-12)
    np.testing.assert_allclose(fine["stat_scan"][2, 1], interpolated(scan[2, 1], grid), atol=1e-12)
    blocks = blocks_of(shape, grid)
    np.testing.assert_array_equal(fine["niter"], niter[blocks])
    np.testing.assert_array_equal(fine["success"], success[blocks])
    for name, array in fine.items():
        assert array.dtype == given[name].dtype
        assert array.shape[-2:] == shape


@given(
    coarse=arrays(float, (5, 4), elements=st.sampled_from([1.0, -3.0, 2.5, np.nan, np.inf])),
    factor=st.sampled_from([2, 3, 4]),
)
def test_a_block_without_a_number_does_not_spread(coarse: np.ndarray, factor: int) -> None:
    grid = CoarseGrid(factor, ((1, 0), (0, 1)))
    shape = (5 * factor - 1, 4 * factor - 1)
    fine = grid.upsampled({"norm": coarse})["norm"]
    blocks = blocks_of(shape, grid)
    own = coarse[blocks]
    finite = np.isfinite(own)
    np.testing.assert_array_equal(fine[~finite], own[~finite])
    assert np.all(np.isfinite(fine[finite]))
    # a weighted mean of the finite blocks around, of which its own has a share
    assert np.all((fine[finite] > -3.0 - 1e-9) & (fine[finite] < 2.5 + 1e-9))
    clean = interpolated(np.where(np.isfinite(coarse), coarse, 0.0), grid)
    whole = interpolated(np.isfinite(coarse).astype(float), grid) > 1 - 1e-12
    np.testing.assert_allclose(fine[whole & finite], clean[whole & finite], atol=1e-12)


def test_the_signed_statistic_passes_through_zero() -> None:
    # magnitudes that are interpolated avoid it, where the norm changes its sign
    rng = np.random.default_rng(0)
    sqrt_ts = gaussian_filter(rng.normal(size=(128, 128)), 2)
    sqrt_ts /= sqrt_ts.std()
    grid = CoarseGrid(2, ((0, 0), (0, 0)))
    ts = sqrt_ts * np.abs(sqrt_ts)
    fine = grid.upsampled({"norm": sqrt_ts, "signed": ts, "magnitude": np.abs(ts)})
    near = {name: np.mean(np.sqrt(np.abs(values)) < 0.1) for name, values in fine.items()}
    assert near["signed"] > 1.5 * near["magnitude"]
    unlike = np.sign(fine["signed"]) != np.sign(fine["norm"])
    assert unlike.mean() < 0.02
    assert np.abs(fine["signed"][unlike]).max() < 0.2


@pytest.mark.parametrize("npix", [(41, 37), (40, 40)])
def test_counts_background_and_model_are_of_the_same_pixels(npix: tuple[int, int]) -> None:
    """With a mask that cuts through blocks, and a background that is unknown in places."""
    dataset = make_dataset(npix=npix, nbin=2, background=0.4, flux=0)
    row, col = np.indices(dataset.geom.shape_image)
    mask = np.stack([row + col > npix[0] // 2, row + 2 * col > npix[0] // 2])
    dataset.mask_safe = Map(dataset.geom, mask)
    dataset.require("background").data[:, 20:23, 17:24] = np.nan
    mask[:, 20:23, 17:24] = False
    model = default_kernel_model()
    grid = coarse_grid(dataset.geom.shape_image, (7, 7), 4)
    coarse = grid.dataset(dataset)
    assert coarse.geom == grid.geom(dataset.geom)
    kernel = SourceKernel(
        estimate_kernel(model, coarse.require("exposure"), coarse.psf, coarse.edisp, coarse.geom)
    )
    inputs = grid.inputs(fit_inputs(dataset, model, kernel))
    many = grid.sum(mask.astype(int))
    edges = dataset.energy_axis.edges_in("TeV")
    per_pixel = 3e13 * 1e-12 * -np.diff(1 / edges)[:, None, None]
    # a model is put on a whole block, of which some pixels are seen
    np.testing.assert_allclose(inputs.exposure, per_pixel * many / 16, rtol=1e-6)
    np.testing.assert_allclose(inputs.background, 0.4 * many, rtol=1e-12)
    np.testing.assert_array_equal(inputs.counts, grid.sum(dataset.require("counts").data * mask))
    np.testing.assert_array_equal(inputs.weights, many > 0)
    np.testing.assert_allclose(inputs.coverage, many / 16)
    # gammapy's blocks have all of the exposure, whatever part of them is masked
    rough = fit_inputs(coarse, model, kernel)
    np.testing.assert_array_equal(rough.counts, inputs.counts)
    partly = (many > 0) & (many < 16)
    assert np.all(rough.exposure >= inputs.exposure * (1 - 1e-6))
    assert rough.exposure[partly].sum() > 1.3 * inputs.exposure[partly].sum()


CASES = (
    "pois_gauss0.11_ds2_ul",
    "pois_gauss0.1_ds4",
    "hesscrab200_gauss0.1_ds2_ul_errnp",
    "hesscrab200_gauss0.2_ds4_ul",
    "fermifull_docstring",
    "fake_withmodel_ds2",
)


def stored(data: Path, reference: Path, case: str) -> tuple[MapDataset, TSMapEstimator, dict, dict]:
    """Return a case's dataset, an estimator with its settings, what is known of it, its arrays."""
    about = json.loads((reference / "ts" / f"{case}.json").read_text(encoding="utf-8"))
    arrays_of_case = dict(np.load(reference / "ts" / f"{case}.npz"))
    dataset = MapDataset.read(data / about["files"][0])
    if about["models_yaml"][0]:
        dataset.models = models_from_dict(yaml.safe_load(about["models_yaml"][0]))
    (model,) = models_from_dict({"components": [about["kernel_model"]]})
    estimator = TSMapEstimator(
        model,
        about["settings"]["kernel_width"],
        kernel_weighting="equal",
        kernel_sampling="gammapy",
        kernel_positions="centre",
    )
    return dataset, estimator, about, arrays_of_case


def merged(
    dataset: MapDataset, estimator: TSMapEstimator, about: dict, energies: u.Quantity
) -> tuple[MapDataset, CoarseGrid]:
    """Return a case's dataset on the blocks that gammapy fits, and these."""
    reach = tuple(n // 2 for n in estimator.estimate_kernel(dataset).data.shape[-2:])
    factor = about["settings"]["downsampling_factor"]
    grid = coarse_grid(dataset.geom.shape_image, reach, factor)
    coarse = grid.dataset(dataset)
    # what gammapy samples on its blocks, of which a point source fills few
    coarse.background, coarse.models = coarse.npred(sampling="gammapy"), None
    return coarse.slice_by_energy(energies[0], energies[-1]), grid


@pytest.mark.data
@pytest.mark.skipif(not DOUBLE, reason="the references are in double precision")
@pytest.mark.parametrize("case", CASES)
def test_what_enters_the_fit_is_on_gammapys_blocks(
    case: str, gammapy_data: Path, reference_dir: Path
) -> None:
    dataset, estimator, about, wanted = stored(gammapy_data, reference_dir, case)
    coarse, grid = merged(dataset, estimator, about, wanted["energy_edges"] * u.TeV)
    assert [pads[0] for pads in grid.padding] == about["pad"]
    inputs = estimator.estimate_fit_input_maps(coarse)
    for name in ("counts", "background", "exposure", "mask"):
        expected = wanted[f"in__g0_d0__{name}"]
        np.testing.assert_allclose(inputs[name].data, expected, rtol=1e-6, atol=1e-12, err_msg=name)
    expected = wanted["in__g0_d0__kernel"]
    assert np.abs(inputs["kernel"].data - expected).max() < 1e-4 * expected.max()


@pytest.mark.data
@pytest.mark.skipif(not DOUBLE, reason="the references are in double precision")
@pytest.mark.parametrize("case", ["pois_gauss0.1_ds4", "fake_withmodel_ds2"])
def test_the_fit_on_gammapys_blocks_is_gammapys(
    case: str, gammapy_data: Path, reference_dir: Path
) -> None:
    dataset, estimator, about, wanted = stored(gammapy_data, reference_dir, case)
    coarse, grid = merged(dataset, estimator, about, wanted["energy_edges"] * u.TeV)
    maps = estimator.run(coarse)

    def assert_close(values: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
        there = np.isfinite(expected["norm"])
        error, ts = expected["norm_err"][there], expected["ts"][there]
        off = np.abs(values["norm"] - expected["norm"])[there] / error
        assert off.max() < 1e-3
        assert np.abs(values["norm_err"][there] / error - 1).max() < 1e-4
        assert np.max(np.abs(values["ts"][there] - ts) / (1 + ts)) < 1e-3

    names = ("norm", "norm_err", "ts")
    results = {name: maps[name].data[0] for name in names}
    # gammapy interpolates magnitudes
    results["ts"] = np.abs(results["ts"])
    blocks = {name: wanted[f"fitgrid_precise__g0__{name}"][0] for name in names}
    fitted = np.isfinite(blocks["norm"])
    np.testing.assert_array_equal(np.isfinite(results["norm"]), fitted)
    assert_close(results, blocks)
    pixels = grid.upsampled(results)
    assert_close(pixels, {name: wanted[f"precise__{name}"][0] for name in names})
    # gammapy's interpolation loses half a block at the border of what is fitted
    own = fitted[blocks_of(dataset.geom.shape_image, grid)]
    np.testing.assert_array_equal(np.isfinite(pixels["norm"]), own)
