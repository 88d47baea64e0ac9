from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from gammagrad._pytree import replace
from gammagrad.core.fold import fold_model
from gammagrad.evaluate import evaluate_npred, norm_weights, prepare, reco_exposure
from gammagrad.maps import EDispKernelMap, Map, MapAxis, PSFMap, WcsGeom
from gammagrad.models import (
    ConstantSpatialModel,
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
)

Floats = NDArray[np.float64]
TRUE = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=4, name="energy_true")
RECO = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=2, name="energy")
CENTRE = (83.6, 22.0)
SPECTRUM = PowerLawSpectralModel(index=2.0, amplitude=1e-11)
EXPOSURE = 1e12


def sky(npix: int | tuple[int, int] = (31, 27), binsz: float = 0.1) -> WcsGeom:
    return WcsGeom.create(npix, binsz, skydir=CENTRE, proj="TAN", axes=[RECO])


def flat_exposure(geom: WcsGeom) -> Map:
    return Map(geom.to_image().to_cube([TRUE]), EXPOSURE * 1e-4, unit="m2 s")


def counts_per_bin() -> Floats:
    """Return the counts of SPECTRUM in the bins of RECO: index 2 integrates to 1/E."""
    edges = RECO.edges_in("TeV")
    return EXPOSURE * 1e-11 * (1 / edges[:-1] - 1 / edges[1:])


def at(geom: WcsGeom, x: float, y: float) -> dict[str, float]:
    position = geom.pix_to_sky(x, y)
    return {"lon_0": float(position.ra.deg), "lat_0": float(position.dec.deg)}


def gaussian_image(geom: WcsGeom, sigma: float, x: float, y: float) -> Floats:
    """Integrate a Gaussian (sigma in pixels) around (x, y) over flat pixels."""
    ny, nx = geom.shape_image
    profiles = []
    for n, c in ((ny, y), (nx, x)):
        edges = np.arange(n + 1) - 0.5 - c
        profiles.append(np.diff(0.5 * (1 + erf(edges / (np.sqrt(2) * sigma)))))
    return profiles[0][:, None] * profiles[1][None, :]


def cube(geom: WcsGeom) -> WcsGeom:
    return geom.to_image().to_cube([RECO])


def npred(spatial: Any, geom: WcsGeom, psf: PSFMap | None = None, **kwargs: Any) -> Floats:
    model = SkyModel(SPECTRUM, spatial, apply_irf=kwargs.pop("apply_irf", None))
    exposure = kwargs.pop("exposure", flat_exposure(geom))
    return evaluate_npred(model, exposure, psf, None, cube(geom), **kwargs).data


def test_a_point_without_psf_is_shared_by_four_pixels() -> None:
    geom = sky()
    expected = np.zeros(geom.data_shape)
    share = counts_per_bin()
    for y, x, w in ((12, 10, 0.28), (12, 11, 0.42), (13, 10, 0.12), (13, 11, 0.18)):
        expected[:, y, x] = w * share
    result = npred(PointSpatialModel(**at(geom, 10.6, 12.3)), geom)
    np.testing.assert_allclose(result, expected, atol=1e-5 * share[0])


@pytest.mark.parametrize(("x", "y"), [(15.0, 13.0), (12.37, 14.81), (0.4, 20.5), (30.9, -1.2)])
@pytest.mark.parametrize("sigma", [0.7, 1.2])
def test_a_point_through_a_gaussian_psf(x: float, y: float, sigma: float) -> None:
    geom = sky()
    psf = PSFMap.from_gauss(TRUE, 0.1 * sigma)
    result = npred(PointSpatialModel(**at(geom, x, y)), geom, psf)
    image = gaussian_image(geom, sigma, x, y)
    expected = counts_per_bin()[:, None, None] * image
    # 0.999 of the PSF is kept, normalised to 1
    peak = counts_per_bin()[0] * gaussian_image(geom, sigma, 15, 13).max()
    assert np.abs(result - expected).max() < 3e-3 * peak


def test_a_psf_of_reconstructed_energy() -> None:
    geom = sky()
    sigmas = np.array([0.15, 0.08])
    psf = PSFMap.from_gauss(RECO, sigmas)
    slope = EXPOSURE * 1e-4 * (1 + 0.02 * np.arange(31.0))
    exposure = Map(geom.to_image().to_cube([TRUE]), np.ones((4, 27, 1)) * slope, unit="m2 s")
    result = npred(PointSpatialModel(**at(geom, 14.6, 13.2)), geom, psf, exposure=exposure)
    for plane, sigma, total in zip(result, sigmas, counts_per_bin(), strict=True):
        expected = total * (1 + 0.02 * 14.6) * gaussian_image(geom, 10 * sigma, 14.6, 13.2)
        np.testing.assert_allclose(plane, expected, atol=3e-3 * expected.max())


@pytest.mark.parametrize("size", [0.03, 0.08, 0.25])
def test_gaussian_on_gaussian(size: float) -> None:
    geom = sky((41, 41))
    psf = PSFMap.from_gauss(TRUE, 0.09)
    source = GaussianSpatialModel(sigma=size, **at(geom, 20.3, 19.6))
    expected = gaussian_image(geom, 10 * np.hypot(size, 0.09), 20.3, 19.6)
    result = npred(source, geom, psf)[0] / counts_per_bin()[0]
    np.testing.assert_allclose(result, expected, atol=2e-3 * expected.max())
    # a few samples, averaged over pixels before the PSF, make the source broader
    few = npred(source, geom, psf, sampling="gammapy")[0] / counts_per_bin()[0]
    if size < 0.2:
        assert np.abs(few - expected).max() > 0.02 * expected.max()


def test_a_disk_through_a_psf_has_its_flux_and_its_width() -> None:
    geom = sky((61, 61), 0.05)
    psf = PSFMap.from_gauss(TRUE, 0.04)
    disk = DiskSpatialModel(r_0=0.3, edge_width=0.0, **at(geom, 30.2, 29.9))
    image = npred(disk, geom, psf)[0] / counts_per_bin()[0]
    np.testing.assert_allclose(image.sum(), 1.0, atol=1e-3)
    columns = np.arange(61.0)
    centroid = image.sum(axis=0) @ columns / image.sum()
    variance = image.sum(axis=0) @ (columns - centroid) ** 2 / image.sum()
    np.testing.assert_allclose(centroid, 30.2, atol=2e-3)
    # of the disk, the PSF (cut at 0.999) and the pixel
    np.testing.assert_allclose(variance, (0.3**2 / 4 + 0.04**2) * 400 + 1 / 12, rtol=2e-3)


def test_sources_at_the_edge_are_those_of_a_larger_map() -> None:
    small, large = sky((21, 21)), sky((61, 61))
    psf = PSFMap.from_gauss(TRUE, 0.15)
    for spatial in (
        PointSpatialModel(**at(small, 0.3, 10.0)),
        GaussianSpatialModel(sigma=0.2, **at(small, -2.0, 21.0)),
        GaussianSpatialModel(sigma=3.0, **at(small, 4.0, 3.0)),
        ConstantSpatialModel(value=10.0),
    ):
        inner = npred(spatial, large, psf)[:, 20:41, 20:41]
        result = npred(spatial, small, psf)
        np.testing.assert_allclose(result, inner, rtol=1e-6, atol=1e-6 * inner.max())


def test_far_outside_nothing_is_predicted() -> None:
    geom = sky()
    psf = PSFMap.from_gauss(TRUE, 0.1)
    for x in (-60.0, 1e4):
        assert not npred(PointSpatialModel(lon_0=CENTRE[0] + 0.1 * x, lat_0=20.0), geom, psf).any()


def test_a_constant_fills_the_map_up_to_its_edges() -> None:
    geom = sky()
    psf = PSFMap.from_gauss(TRUE, 0.2)
    result = npred(ConstantSpatialModel(value=10.0), geom, psf)
    area = geom.solid_angle().value
    expected = 10.0 * counts_per_bin()[:, None, None] * area
    np.testing.assert_allclose(result, expected, rtol=2e-3)
    # gammapy takes the sky outside the map for dark
    dark = npred(ConstantSpatialModel(value=10.0), geom, psf, sampling="gammapy")
    assert dark[0, 0, 0] < 0.4 * expected[0, 0, 0]
    np.testing.assert_allclose(dark[0, 13, 15], expected[0, 13, 15], rtol=2e-3)


def test_without_a_spatial_model_every_pixel_has_the_flux() -> None:
    geom = sky()
    expected = counts_per_bin()[:, None, None] * np.ones(geom.data_shape)
    psf = PSFMap.from_gauss(TRUE, 0.1)
    np.testing.assert_allclose(npred(None, geom, psf), expected, rtol=1e-9)


def test_a_template_is_the_model_it_was_made_from() -> None:
    geom = sky((41, 41))
    psf = PSFMap.from_gauss(TRUE, 0.1)
    source = GaussianSpatialModel(sigma=0.3, **at(geom, 20, 20))
    fine = WcsGeom.create(300, 0.02, skydir=CENTRE, proj="TAN")
    with jax.enable_x64(True):
        values = np.asarray(source.evaluate(*fine.get_coord()))
    template = TemplateSpatialModel.from_map(Map(fine, values, "sr-1"))
    expected = npred(source, geom, psf)
    np.testing.assert_allclose(npred(template, geom, psf), expected, atol=2e-3 * expected.max())


def test_a_template_by_energy_takes_the_bin_centres() -> None:
    geom = sky()
    axis = MapAxis(
        [1.0, 4.0, 16.0], name="energy_true", unit="TeV", interp="log", node_type="center"
    )
    data = np.ones((3, 27, 31)) * np.array([1.0, 4.0, 16.0])[:, None, None]
    template = TemplateSpatialModel.from_map(
        Map(geom.to_image().to_cube([axis]), data, "sr-1"), normalize=False
    )
    result = npred(template, geom)
    edges = TRUE.edges_in("TeV")
    per_bin = 1e-11 * (1 / edges[:-1] - 1 / edges[1:]) * TRUE.center_in("TeV") * EXPOSURE
    expected = per_bin.reshape(2, 2).sum(axis=1) * geom.solid_angle().value[13, 15]
    np.testing.assert_allclose(result[:, 13, 15], expected, rtol=1e-6)


def test_responses_can_be_switched_off() -> None:
    geom = sky()
    psf = PSFMap.from_gauss(TRUE, 0.2)
    matrix = np.zeros((4, 2))
    matrix[:, 0] = 1.0
    edisp = EDispKernelMap.from_matrix(matrix, TRUE, RECO)
    spatial = PointSpatialModel(**at(geom, 15, 13))
    exposure = flat_exposure(geom)

    def run(**apply_irf: bool) -> Floats:
        model = SkyModel(SPECTRUM, spatial, apply_irf=apply_irf)
        return evaluate_npred(model, exposure, psf, edisp, cube(geom)).data

    total = counts_per_bin()
    np.testing.assert_allclose(run().sum(axis=(1, 2)), [total.sum(), 0.0], rtol=1e-6)
    np.testing.assert_allclose(run(edisp=False).sum(axis=(1, 2)), total, rtol=1e-6)
    assert run(psf=False)[0, 13, 15] == pytest.approx(total.sum())
    np.testing.assert_allclose(run(exposure=False).sum(), total.sum() / EXPOSURE, rtol=1e-6)


def test_a_squeezed_projection_does_not_cut_the_source() -> None:
    geom = WcsGeom.create((121, 61), 0.1, skydir=(0.0, 0.0), axes=[RECO])
    shifted = geom.wcs.deepcopy()
    shifted.wcs.crpix = [61.0, 31.0 - 600.0]
    far = WcsGeom(shifted, (121, 61), geom.axes)  # around latitude 60, pixels half as wide
    assert abs(float(far.center_skydir.dec.deg)) > 55
    result = npred(GaussianSpatialModel(sigma=0.4, **at(far, 60, 30)), far)
    np.testing.assert_allclose(result.sum(axis=(1, 2)), counts_per_bin(), rtol=2e-3)


SLOPE = 0.03
"""Rise of the exposure from one column to the next, in units of that in the first."""


def steep_exposure(geom: WcsGeom) -> Map:
    ny, nx = geom.shape_image
    values = np.ones((4, ny, 1)) * EXPOSURE * (1 + SLOPE * np.arange(nx))
    return Map(geom.to_image().to_cube([TRUE]), values, unit="cm2 s")


@pytest.mark.parametrize("x", [30.0, 30.4])
def test_a_point_source_has_the_exposure_of_its_place(x: float) -> None:
    geom, y = sky((61, 61)), 30.0
    sigmas = np.array([0.4, 0.3, 0.25, 0.2])
    matrix = np.random.default_rng(2).random((4, 2))
    edisp = EDispKernelMap.from_matrix(matrix, TRUE, RECO)
    model = SkyModel(SPECTRUM, PointSpatialModel(**at(geom, x, y)))
    psf = PSFMap.from_gauss(TRUE, sigmas)
    arguments = (model, steep_exposure(geom), psf, edisp, cube(geom))
    result = evaluate_npred(*arguments).data
    edges = TRUE.edges_in("TeV")
    at_source = EXPOSURE * (1 + SLOPE * x) * 1e-11 * (1 / edges[:-1] - 1 / edges[1:])
    # the part of the PSF that is kept, 0.999, has sum 1
    np.testing.assert_allclose(result.sum(axis=(1, 2)), at_source @ matrix, rtol=1e-6)
    images = np.stack([gaussian_image(geom, 10 * sigma, x, y) for sigma in sigmas])
    expected = np.einsum("t,tr,tyx->ryx", at_source, matrix, images)
    assert np.abs(result - expected).max() < 3e-3 * expected.max()
    if x == 30.0:
        mirrored = result[:, :, ::-1]
        np.testing.assert_allclose(result, mirrored, atol=1e-6 * result.max())
    # gammapy's image leans to where the exposure is higher
    bent = evaluate_npred(*arguments, sampling="gammapy").data
    lean = bent[:, :, 31:].sum() / bent[:, :, :30].sum()
    assert lean > 1.05 * result[:, :, 31:].sum() / result[:, :, :30].sum()


@pytest.mark.parametrize("axis", [TRUE, RECO], ids=["true", "reco"])
def test_every_part_of_a_source_has_the_exposure_of_its_place(axis: MapAxis) -> None:
    geom, sigma, psf_sigma, parts = sky((31, 31)), 1.5, 2.0, 4
    row, column = np.mgrid[:31, :31]
    # twice as much four columns further on, and a narrow ridge
    slope = 2 ** (column / 4 - 4) * (1 + np.exp(-0.5 * (row - 13) ** 2 / 2.5**2))
    values = EXPOSURE * slope * np.ones((4, 1, 1))
    exposure = Map(geom.to_image().to_cube([TRUE]), values, unit="cm2 s")
    source = GaussianSpatialModel(sigma=0.1 * sigma, **at(geom, 15.2, 14.9))
    result = npred(source, geom, PSFMap.from_gauss(axis, 0.1 * psf_sigma), exposure=exposure)

    def inside(edges: Floats, centre: float, width: float) -> Floats:
        return np.diff(0.5 * (1 + erf((edges - centre) / (np.sqrt(2) * width))))

    # every small part of the source, in the whole map, and every bin that it is seen in
    expected = np.zeros((31, 31))
    small, bins = np.arange(31 * parts + 1) / parts - 0.5, np.arange(32) - 0.5
    rows, columns = inside(small, 14.9, sigma), inside(small, 15.2, sigma)
    for (i, j), share in np.ndenumerate(rows[:, None] * columns[None, :]):
        if share < 1e-9:
            continue
        y, x = ((k + 0.5) / parts - 0.5 for k in (i, j))
        seen = share * values[0, i // parts, j // parts]
        expected += seen * inside(bins, y, psf_sigma)[:, None] * inside(bins, x, psf_sigma)
    expected = counts_per_bin()[:, None, None] * expected / EXPOSURE
    np.testing.assert_allclose(result, expected, atol=2e-3 * expected.max())
    off = npred(source, geom, PSFMap.from_gauss(TRUE, 0.2)) * values[:2] / EXPOSURE
    assert np.abs(off - expected).max() > 0.2 * expected.max()


def test_gammapy_takes_the_exposure_where_the_counts_fall() -> None:
    geom = sky()
    psf = PSFMap.from_gauss(TRUE, 0.2)
    rng = np.random.default_rng(1)
    values = EXPOSURE * rng.random((1, 27, 31)) * np.ones((4, 1, 1))
    exposure = Map(geom.to_image().to_cube([TRUE]), values, unit="cm2 s")
    spatial = PointSpatialModel(**at(geom, 15.3, 13.1))
    for source in (spatial, GaussianSpatialModel(sigma=0.2, **at(geom, 15.3, 13.1))):
        flat = npred(source, geom, psf, sampling="gammapy")
        result = npred(source, geom, psf, exposure=exposure, sampling="gammapy")
        np.testing.assert_allclose(result, flat * values[:2] / EXPOSURE, rtol=1e-9, atol=1e-12)
    exposure.data[:, 13, 15] = np.nan
    for sampling in ("fine", "gammapy"):
        result = npred(spatial, geom, psf, exposure=exposure, sampling=sampling)
        assert np.all(np.isfinite(result))


def test_another_position_does_not_compile() -> None:
    geom = sky()
    psf = PSFMap.from_gauss(TRUE, 0.15)
    exposure = flat_exposure(geom)
    windows = [
        prepare(
            SkyModel(SPECTRUM, PointSpatialModel(**at(geom, x, y))),
            exposure,
            psf,
            None,
            cube(geom),
        )
        for x, y in ((15.0, 13.0), (3.2, 20.7), (29.9, 1.1))
    ]
    shapes = {
        tuple((np.shape(leaf), np.asarray(leaf).dtype) for leaf in jax.tree.leaves(w.inputs))
        for w in windows
        if w is not None
    }
    structures = {jax.tree.structure(w.inputs) for w in windows if w is not None}
    assert len(shapes) == len(structures) == 1


def test_the_prediction_has_derivatives_in_all_parameters() -> None:
    geom = sky()
    psf = PSFMap.from_gauss(TRUE, 0.15)
    spatial = GaussianSpatialModel(sigma=0.2, e=0.3, phi=20.0, **at(geom, 15.3, 13.2))
    model = SkyModel(SPECTRUM, spatial)
    window = prepare(model, flat_exposure(geom), psf, None, cube(geom))
    assert window is not None
    weights = np.random.default_rng(0).random(window.inputs.exposure[:2].shape)

    def total(sigma: Any, lon: Any, index: Any) -> Any:
        moved = replace(spatial, sigma=sigma, lon_0=lon)
        counts = fold_model(replace(SPECTRUM, index=index), moved, window.inputs)
        return (weights * counts).sum()

    with jax.enable_x64(True):
        start = (0.2, float(spatial.lon_0), 2.0)
        slopes = jax.grad(total, argnums=(0, 1, 2))(*start)
        for i, (slope, step) in enumerate(zip(slopes, (1e-5, 1e-5, 1e-5), strict=True)):
            up, down = ([v + s * step * (j == i) for j, v in enumerate(start)] for s in (1, -1))
            expected = (total(*up) - total(*down)) / (2 * step)
            np.testing.assert_allclose(slope, expected, rtol=1e-4)


def test_exposure_in_reconstructed_energy() -> None:
    geom = sky((5, 4))
    values = EXPOSURE * np.array([1.0, 2.0, 3.0, 4.0])[:, None, None] * np.ones((1, 4, 5))
    exposure = Map(geom.to_image().to_cube([TRUE]), values, unit="cm2 s")
    matrix = np.random.default_rng(0).random((4, 2))
    edisp = EDispKernelMap.from_matrix(matrix, TRUE, RECO)
    edges = TRUE.edges_in("TeV")
    flux = 1e-11 * (1 / edges[:-1] - 1 / edges[1:])
    expected = (flux * values[:, 0, 0]) @ matrix
    counts = reco_exposure(SPECTRUM, exposure, edisp, RECO, geom, normalize=False)
    np.testing.assert_allclose(counts.data[:, 2, 3], expected, rtol=1e-9)
    assert counts.unit == ""
    normed = reco_exposure(SPECTRUM, exposure, edisp, RECO)
    np.testing.assert_allclose(
        normed.data[:, 2, 3], expected / (counts_per_bin() / EXPOSURE), rtol=1e-9
    )
    assert normed.unit == "cm2 s"
    assert normed.geom.axes["energy"] == RECO
    exact = reco_exposure(SPECTRUM, flat_exposure(geom), None, RECO)
    np.testing.assert_allclose(exact.data, EXPOSURE, rtol=1e-9)


def test_norms_are_taken_at_the_bin_centres() -> None:
    model = PowerLawNormSpectralModel(norm=2.0, tilt=1.0, reference="2 TeV")
    np.testing.assert_allclose(norm_weights(model, RECO), 2.0 * (np.array([2.0, 8.0]) / 2.0) ** -1)


def test_errors_say_what_is_wrong() -> None:
    geom = sky()
    model = SkyModel(SPECTRUM, PointSpatialModel(**at(geom, 1, 1)))
    exposure = flat_exposure(geom)
    with pytest.raises(ValueError, match="needs an exposure"):
        evaluate_npred(model, None, None, None, cube(geom))
    with pytest.raises(ValueError, match="axis 'energy_true'"):
        evaluate_npred(model, Map(geom, unit="m2 s"), None, None, cube(geom))
    with pytest.raises(ValueError, match="differ from those of the counts"):
        evaluate_npred(model, flat_exposure(sky(5)), None, None, cube(geom))
    edisp = EDispKernelMap.from_matrix(np.ones((2, 2)), TRUE.downsample(2), RECO)
    with pytest.raises(ValueError, match="true energies"):
        evaluate_npred(model, exposure, None, edisp, cube(geom))
    with pytest.raises(ValueError, match="sampling is 'rough'"):
        evaluate_npred(model, exposure, None, None, cube(geom), sampling="rough")


def test_exposure_that_is_not_finite_counts_as_none_and_changes_are_seen() -> None:
    geom = sky((4, 3))
    exposure = flat_exposure(geom)
    whole = reco_exposure(SPECTRUM, exposure, None, RECO, normalize=False).data
    np.testing.assert_allclose(whole[:, 0, 0], counts_per_bin())
    exposure.data[1, 1, 2] = np.nan
    exposure.data[:, 0, 0] *= 3
    changed = reco_exposure(SPECTRUM, exposure, None, RECO, normalize=False).data
    np.testing.assert_allclose(changed[:, 0, 0], 3 * whole[:, 0, 0])
    np.testing.assert_allclose(changed[:, 1, 1], whole[:, 1, 1])
    edges = TRUE.edges_in("TeV")
    first = EXPOSURE * 1e-11 * (1 / edges[0] - 1 / edges[1])
    assert changed[0, 1, 2] == pytest.approx(first)
