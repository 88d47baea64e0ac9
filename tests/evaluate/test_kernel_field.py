"""Kernels at every position: against one kernel made for one position, and counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gammagrad.dataset import MapDataset
from gammagrad.evaluate import (
    KernelField,
    Positions,
    Rows,
    estimate_kernel,
    kernel_basis,
    one_kernel_error,
    shifted_kernels,
    single_rows,
)
from gammagrad.evaluate.kernel import with_shape
from gammagrad.evaluate.stencil import stencil
from gammagrad.maps import Map, PSFMap, WcsGeom
from gammagrad.models import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from varying import RECO, TRUE, gaussian_pixels, psf_map, sigma_at, varying_dataset

Floats = NDArray[np.float64]

SPECTRUM = PowerLawSpectralModel(index=2.0, amplitude=1e-11)
POINT = SkyModel(SPECTRUM, PointSpatialModel())
CUBE = single_rows(np.arange(2))
SUM = Rows([np.arange(2)], [np.ones(2)])


def field_of(dataset: MapDataset, model: SkyModel = POINT, **how: Any) -> KernelField:
    image = dataset.geom.to_image()
    rows, columns = (c.ravel().astype(float) for c in np.indices(image.shape_image))
    positions = Positions(image.get_skycoord().ravel(), rows, columns)
    parts = model, dataset.exposure, dataset.psf, dataset.edisp, dataset.geom
    return KernelField(*parts, positions, **how)


def one(dataset: MapDataset, index: int, model: SkyModel = POINT, **how: Any) -> Any:
    row, column = divmod(index, dataset.geom.shape_image[1])
    position = dataset.geom.to_image().pix_to_sky(column, row)
    parts = model, dataset.exposure, dataset.psf, dataset.edisp, dataset.geom
    return estimate_kernel(*parts, position=position, **how)


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return varying_dataset()


@pytest.fixture(scope="module")
def field(dataset: MapDataset) -> KernelField:
    return field_of(dataset)


def some(dataset: MapDataset, number: int = 6) -> NDArray[np.int64]:
    size = int(np.prod(dataset.geom.shape_image))
    return np.sort(np.random.default_rng(3).choice(size, number, replace=False))


def close(mine: Floats, theirs: Floats, part: float) -> None:
    peaks = theirs.max(axis=(-2, -1), keepdims=True)
    assert np.all(np.abs(mine - theirs) <= part * peaks)


MODELS = {
    "point": POINT,
    "gaussian": SkyModel(SPECTRUM, GaussianSpatialModel(sigma=0.08)),
    "disk": SkyModel(SPECTRUM, DiskSpatialModel(r_0=0.15)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("renormalise", [True, False])
def test_each_kernel_is_the_kernel_made_there(
    name: str, renormalise: bool, dataset: MapDataset
) -> None:
    how = {"kernel_width": "0.7 deg", "renormalise": renormalise}
    field, at = field_of(dataset, MODELS[name], **how), some(dataset)
    for index, kernel in zip(at, field.kernels(at, CUBE), strict=True):
        there = one(dataset, int(index), MODELS[name], **how).kernel.data
        # what is left is how a table is cut where it holds 99.9 %
        close(kernel, with_shape(there, field.shape), 2e-3)


def test_kernels_are_gaussians_of_the_width_there() -> None:
    # the widths follow the offset, of which the pixels of a finer map are good samples
    dataset = varying_dataset(psf=psf_map(0.1, 33, 361))
    field = field_of(dataset)
    image, at = dataset.geom.to_image(), some(dataset)
    middle = image.center_skydir
    flux = np.asarray(SPECTRUM.integral(TRUE.edges_in("TeV")[:-1], TRUE.edges_in("TeV")[1:]))
    worst = []
    for index, kernels in zip(at, field.kernels(at, CUBE), strict=True):
        row, column = divmod(int(index), image.shape_image[1])
        position = image.pix_to_sky(column, row)
        offset = position.separation(middle).deg
        matrix = dataset.edisp.get_edisp_kernel(position, RECO)
        weights = (flux * dataset.exposure.data[:, row, column])[:, None] * matrix
        half = [n // 2 for n in field.shape]
        whole = np.zeros(
            (2, image.shape_image[0] + 2 * half[0], image.shape_image[1] + 2 * half[1])
        )
        grid = image.pad((half[0], half[1]))
        for energy in range(TRUE.nbin):
            gaussian = gaussian_pixels(grid, position, sigma_at(offset, energy))
            whole += weights[energy, :, None, None] * gaussian
        there = whole[:, row : row + 2 * half[0] + 1, column : column + 2 * half[1] + 1]
        there = there / there.sum(axis=(1, 2), keepdims=True)
        # a blend of Gaussians of the widths around is not quite one of the width between
        worst.append(np.abs(kernels - there).max() / there.max())
    # a table is cut where it holds 99.9 %
    assert max(worst) < 2e-3, worst


@pytest.mark.parametrize("name", MODELS)
def test_the_counts_at_each_position_are_those_predicted_there(
    name: str, dataset: MapDataset
) -> None:
    model = MODELS[name]
    field = field_of(dataset, model)
    # in the middle, so that all counts fall on the map
    for row, column in ((15, 20), (13, 24), (18, 17)):
        position = dataset.geom.to_image().pix_to_sky(column, row)
        moved = model.spatial_model.with_position(position.ra.deg, position.dec.deg)
        counts = dataset.npred_signal([SkyModel(SPECTRUM, moved)]).data.sum(axis=(1, 2))
        mine = field.amplitude[row * 41 + column]
        np.testing.assert_allclose(mine, counts, rtol=2e-3)


def test_projections_are_scalar_products(dataset: MapDataset, field: KernelField) -> None:
    at = some(dataset)
    vectors = np.random.default_rng(1).normal(size=(3, 2, *field.shape))
    found = field.projected(vectors, CUBE)[:, at]
    expected = np.einsum("kryx,nryx->kn", vectors, field.kernels(at, CUBE))
    # but for the spectrum of what the shape of pixels changes, which is that of the surroundings
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("rows", [CUBE, SUM, Rows([np.arange(2)], [np.ones(2)], equal=True)])
@pytest.mark.parametrize("sampled", [False, True])
def test_a_few_kernels_blend_to_those_of_all_positions(
    rows: Rows, sampled: bool, dataset: MapDataset, field: KernelField
) -> None:
    background = dataset.background.data.mean(axis=(1, 2))
    basis = kernel_basis(field, rows, background, 9, 5e-4, sampled=sampled)
    assert basis.error <= 5e-4
    assert len(basis.kernels) <= 8
    at = some(dataset, 30)
    blended = np.einsum("kn,kryx->nryx", basis.blend[:, at], basis.kernels)
    blended /= (1 + basis.loss)[:, None, None]
    true = field.kernels(at, rows)
    # what is below zero counts as nothing
    assert np.all(np.minimum(blended, 0).sum(axis=(2, 3)) > -2e-3)
    np.testing.assert_allclose(blended.sum(axis=(2, 3)), true.sum(axis=(2, 3)), rtol=1e-4)
    # of a faint source, what a matched filter finds
    weight = np.square(rows.summed(field.amplitude[at])) / rows.summed(background)
    weight = weight[:, :, None, None]
    faint = (weight * blended * true).sum(axis=(1, 2, 3)) / (weight * blended**2).sum(
        axis=(1, 2, 3)
    )
    np.testing.assert_allclose(faint, 1, atol=6e-4)


def test_a_source_off_the_middle_of_its_pixel(dataset: MapDataset, field: KernelField) -> None:
    background = dataset.background.data.mean(axis=(1, 2))
    basis = kernel_basis(field, CUBE, background, 9, 2e-4, sampled=True)
    shifts = [(0.0, 0.0), (0.25, -0.5)]
    kernels, _ = shifted_kernels(field, CUBE, basis, shifts, 1.5)
    still = with_shape(basis.kernels.reshape(-1, *field.shape), kernels.shape[-2:])
    np.testing.assert_allclose(kernels[0].reshape(still.shape), still, atol=1e-6 * still.max())
    blended = np.einsum("k,kryx->ryx", basis.blend[:, 600], kernels[1])
    y, x = (np.arange(n) - n // 2 for n in kernels.shape[-2:])
    total = blended.sum(axis=(1, 2))
    np.testing.assert_allclose((blended.sum(axis=2) * y).sum(axis=1) / total, 0.25, atol=2e-3)
    np.testing.assert_allclose((blended.sum(axis=1) * x).sum(axis=1) / total, -0.5, atol=2e-3)


def test_one_kernel_is_right_where_nothing_changes() -> None:
    dataset = varying_dataset((21, 15), psf=PSFMap.from_gauss(TRUE, 0.1), edisp=None)
    dataset.exposure = Map(
        dataset.exposure.geom, np.full(dataset.exposure.data.shape, 1e13), "cm2 s"
    )
    field = field_of(dataset)
    kernel = with_shape(one(dataset, 7 * 21 + 10).kernel.data, field.shape)
    seen = field.amplitude.T.reshape(2, *dataset.geom.shape_image)
    background = dataset.background.data.mean(axis=(1, 2))
    assert one_kernel_error(field, CUBE, kernel, seen, background, 5) < 1e-3
    basis = kernel_basis(field, CUBE, background, 5, 2e-4)
    assert len(basis.kernels) == 1


def test_one_kernel_is_wrong_where_the_response_changes(
    dataset: MapDataset, field: KernelField
) -> None:
    kernel = with_shape(one(dataset, 15 * 41 + 20).kernel.data, field.shape)
    seen = field.amplitude.T.reshape(2, *dataset.geom.shape_image)
    background = dataset.background.data.mean(axis=(1, 2))
    assert one_kernel_error(field, CUBE, kernel, seen, background, 5) > 0.1


def test_a_kernel_that_holds_a_part_does_so_everywhere(dataset: MapDataset) -> None:
    field = field_of(dataset, containment=0.9, renormalise=False)
    assert field.shape[0] < field_of(dataset).shape[0]
    assert np.all(field.held() >= 0.9 - 1e-6)
    assert np.all(field.kernels(some(dataset, 20), CUBE).sum(axis=(2, 3)) > 0.9 - 1e-3)


def test_energies_without_exposure_somewhere_have_the_kernel_of_elsewhere() -> None:
    dataset = varying_dataset(edisp=None)
    data = dataset.exposure.data.copy()
    data[2:, :, :20] = 0
    dataset.exposure = Map(dataset.exposure.geom, data, "cm2 s")
    field = field_of(dataset)
    blind = 15 * 41 + 5
    assert field.amplitude[blind, 0] > 0
    assert field.amplitude[blind, 1] == 0
    kernel = field.kernels(np.array([blind]), CUBE)[0, 1]
    assert kernel.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("irf", ["psf", "edisp", "exposure"])
def test_responses_that_do_not_act(irf: str, dataset: MapDataset) -> None:
    model = SkyModel(SPECTRUM, PointSpatialModel(), apply_irf={irf: False})
    field, at = field_of(dataset, model), some(dataset, 3)
    for index, kernel in zip(at, field.kernels(at, CUBE), strict=True):
        close(kernel, with_shape(one(dataset, int(index), model).kernel.data, field.shape), 2e-3)


def test_real_fields(gammapy_data: Path) -> None:
    for name, most in (("hess-crab", 1e-3), ("cta-1dc-vela", 1e-3)):
        dataset = MapDataset.read(gammapy_data / f"reduced/{name}.fits.gz")
        field = field_of(dataset)
        seen = np.flatnonzero(field.amplitude.all(axis=1))
        at = seen[np.random.default_rng(0).choice(seen.size, 5, replace=False)]
        rows = single_rows(np.arange(dataset.energy_axis.nbin))
        for index, kernel in zip(at, field.kernels(at, rows), strict=True):
            there = with_shape(one(dataset, int(index)).kernel.data, field.shape)
            close(kernel, there, most)


@given(
    st.lists(st.floats(-3, 12), min_size=1, max_size=8),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 1000),
)
def test_stencils_are_exact_for_planes(
    places: list[float], n_rows: int, n_columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.array(places), rng.permutation(places)
    lines = tuple(
        np.sort(rng.choice(11, n, replace=False)).astype(float) for n in (n_rows, n_columns)
    )
    found = stencil(rows, columns, (lines[0], lines[1]))
    np.testing.assert_allclose(found.weight.sum(axis=1), 1)
    assert np.all((found.weight >= 0) & (found.weight <= 1))
    inside = [np.clip(c, line[0], line[-1]) for c, line in zip((rows, columns), lines, strict=True)]
    values = found.nodes @ [2.0, -3.0]
    expected = 2 * inside[0] - 3 * inside[1]
    np.testing.assert_allclose(
        (values[found.which] * found.weight).sum(axis=1), expected, atol=1e-9
    )


def test_pixels_of_all_shapes_need_nodes() -> None:
    # on a CAR map pixels narrow towards the pole
    axis = [RECO]
    geom = WcsGeom.create((20, 60), 0.5, skydir=(0, 35), proj="CAR", frame="galactic", axes=axis)
    exposure = Map(geom.to_image().to_cube([TRUE]), 1e13, unit="cm2 s")
    image = geom.to_image()
    rows, columns = (c.ravel().astype(float) for c in np.indices(image.shape_image))
    positions = Positions(image.get_skycoord().ravel(), rows, columns)
    psf = PSFMap.from_gauss(TRUE, 0.8)
    field = KernelField(POINT, exposure, psf, None, geom, positions)
    at = np.array([5 * 20 + 10, 33 * 20 + 4, 57 * 20 + 17])
    for index, kernel in zip(at, field.kernels(at, CUBE), strict=True):
        position = image.pix_to_sky(columns[index], rows[index])
        there = estimate_kernel(POINT, exposure, psf, None, geom, position=position).kernel.data
        close(kernel, with_shape(there, field.shape), 1e-3)
