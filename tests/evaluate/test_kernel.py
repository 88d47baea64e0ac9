from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from gammagrad.dataset import MapDataset
from gammagrad.evaluate import estimate_kernel, reco_exposure
from gammagrad.maps import Map, MapAxis, PSFMap, WcsGeom
from gammagrad.models import (
    ConstantSpatialModel,
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
    models_from_dict,
)

Floats = NDArray[np.float64]
TRUE = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=4, name="energy_true")
RECO = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=2, name="energy")
SPECTRUM = PowerLawSpectralModel(index=2.0, amplitude=1e-11)


def sky(npix: int | tuple[int, int] = (30, 20), binsz: float = 0.1) -> WcsGeom:
    return WcsGeom.create(npix, binsz, skydir=(83.6, 22.0), proj="TAN", axes=[RECO])


def flat(geom: WcsGeom) -> Map:
    return Map(geom.to_image().to_cube([TRUE]), 1e12, unit="cm2 s")


def kernel_of(spatial: Any, geom: WcsGeom, psf: PSFMap | None = None, **kwargs: Any) -> Any:
    return estimate_kernel(SkyModel(SPECTRUM, spatial), flat(geom), psf, None, geom, **kwargs)


def gaussian_pixels(n: int, sigma: float) -> Floats:
    edges = np.arange(n + 1) - n / 2
    profile = np.diff(0.5 * (1 + erf(edges / (np.sqrt(2) * sigma))))
    return profile[:, None] * profile[None, :]


def test_a_point_without_psf_is_one_pixel() -> None:
    kernel, containment, _ = kernel_of(PointSpatialModel(), sky())
    expected = np.zeros((2, 3, 3))
    expected[:, 1, 1] = 1.0
    np.testing.assert_allclose(kernel.data, expected, atol=1e-9)
    np.testing.assert_allclose(containment, 1.0)
    single = kernel_of(PointSpatialModel(), sky(), kernel_width="0.1 deg").kernel
    np.testing.assert_array_equal(single.data, np.ones((2, 1, 1)))


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
def test_a_gaussian_without_psf_is_integrated_over_the_pixels(sigma: float) -> None:
    kernel = kernel_of(GaussianSpatialModel(sigma=sigma), sky()).kernel.data[0]
    expected = gaussian_pixels(kernel.shape[-1], 10 * sigma)
    np.testing.assert_allclose(kernel, expected / expected.sum(), atol=1e-5 * expected.max())


def fine_integral(spatial: Any, grid: WcsGeom, samples: int = 120) -> Floats:
    """Integrate a model in the middle of a grid over its pixels; sum 1."""
    n = grid.npix[0]
    position = (np.arange(n * samples) + 0.5) / samples - 0.5
    centre = grid.center_skydir.icrs
    moved = spatial.with_position(float(centre.ra.deg), float(centre.dec.deg))
    sky = grid.pix_to_sky(position[None, :], position[:, None]).icrs
    with jax.enable_x64(True):
        values = np.asarray(moved.evaluate(sky.ra.deg, sky.dec.deg))
    exact = values.reshape(n, samples, n, samples).mean(axis=(1, 3))
    return exact / exact.sum()


@pytest.mark.parametrize("e", [0.0, 0.8])
def test_a_disk_without_psf_is_integrated_over_the_pixels(e: float) -> None:
    disk = DiskSpatialModel(r_0=0.33, e=e, phi=25.0)
    kernel, containment, _ = kernel_of(disk, sky())
    exact = fine_integral(disk, kernel.geom.to_image())
    assert np.abs(kernel.data[0] - exact).max() < 2e-4 * exact.max()
    np.testing.assert_allclose(containment, 1.0, atol=2e-3)


def test_psf_and_source_add_in_quadrature() -> None:
    psf = PSFMap.from_gauss(TRUE, 0.08)
    kernel = kernel_of(GaussianSpatialModel(sigma=0.06), sky(), psf).kernel.data[0]
    expected = gaussian_pixels(kernel.shape[-1], 1.0)
    np.testing.assert_allclose(kernel, expected, atol=2e-3 * expected.max())


@pytest.mark.parametrize(
    ("width", "npix"),
    [
        (None, 17),  # PSF 7, and 2 (0.4 + 0.1) / 0.1
        ("10 deg", 17),
        ("0.6 deg", 7),
        (0.5, 5),
        ("0.501 deg", 7),
    ],
)
def test_the_size_is_that_asked_for_or_of_the_model(width: Any, npix: int) -> None:
    psf = PSFMap.from_gauss(TRUE, 0.08)
    kernel = kernel_of(GaussianSpatialModel(sigma=0.08), sky(), psf, kernel_width=width).kernel
    assert kernel.data.shape == (2, npix, npix)
    np.testing.assert_allclose(kernel.data.sum(axis=(1, 2)), 1.0)
    np.testing.assert_allclose(kernel.data, kernel.data[:, ::-1, ::-1], atol=1e-9)


def test_without_a_width_the_map_is_the_limit() -> None:
    assert kernel_of(GaussianSpatialModel(sigma=2.0), sky()).kernel.data.shape == (2, 31, 31)
    assert kernel_of(ConstantSpatialModel(), sky()).kernel.data.shape == (2, 31, 31)


def test_the_containment_is_what_the_kernel_holds() -> None:
    result = kernel_of(GaussianSpatialModel(sigma=0.3), sky(), kernel_width="0.7 deg")
    expected = gaussian_pixels(7, 3.0).sum()
    np.testing.assert_allclose(result.containment, expected, rtol=1e-4)
    assert np.isnan(kernel_of(ConstantSpatialModel(), sky()).containment).all()


def test_a_template_is_moved_to_the_middle() -> None:
    axis_free = WcsGeom.create(200, 0.02, skydir=(300.0, -40.0), frame="galactic", proj="TAN")
    source = GaussianSpatialModel(lon_0=300.0, lat_0=-40.0, sigma=0.2, frame="galactic")
    with jax.enable_x64(True):
        values = np.asarray(source.evaluate(*axis_free.get_coord()))
    template = TemplateSpatialModel.from_map(Map(axis_free, values, "sr-1"))
    result = kernel_of(template, sky(), kernel_width="1.5 deg")
    expected = kernel_of(GaussianSpatialModel(sigma=0.2), sky(), kernel_width="1.5 deg")
    peak = expected.kernel.data.max()
    np.testing.assert_allclose(result.kernel.data, expected.kernel.data, atol=2e-3 * peak)
    np.testing.assert_allclose(result.containment, expected.containment, rtol=1e-3)


def test_energies_without_counts_have_an_empty_kernel() -> None:
    geom = sky()
    exposure = flat(geom)
    exposure.data[2:] = 0.0
    kernel, containment, _ = estimate_kernel(
        SkyModel(SPECTRUM, PointSpatialModel()), exposure, None, None, geom
    )
    np.testing.assert_array_equal(kernel.data.sum(axis=(1, 2)), [1.0, 0.0])
    np.testing.assert_array_equal(containment, [1.0, 0.0])


def test_the_exposure_is_that_of_the_nearest_position_with_any() -> None:
    geom = sky((30, 30))
    exposure = flat(geom)
    exposure.data[:, :, :20] = 0.0
    exposure.data[2:, :, 20] = 0.0  # only the first bin has exposure at the nearest pixels
    point = SkyModel(SPECTRUM, PointSpatialModel())
    # the second one is seen further out, and a source there has counts in it
    kernel, containment, _ = estimate_kernel(point, exposure, None, None, geom)
    np.testing.assert_array_equal(kernel.data.sum(axis=(1, 2)), [1.0, 1.0])
    np.testing.assert_array_equal(containment, [1.0, 1.0])
    plain = estimate_kernel(point, exposure, None, None, geom, sampling="gammapy").kernel
    np.testing.assert_array_equal(plain.data.sum(axis=(1, 2)), [1.0, 0.0])


def test_an_energy_that_is_seen_elsewhere_has_the_kernel_of_there() -> None:
    geom = sky((31, 31))
    exposure = flat(geom)
    true = exposure.geom.axes["energy_true"]
    psf = PSFMap.from_gauss(true, np.linspace(0.05, 0.15, true.nbin))
    point = SkyModel(SPECTRUM, PointSpatialModel())
    whole = estimate_kernel(point, exposure, psf, None, geom, "1 deg").kernel.data
    exposure.data[2:, 10:21, 10:21] = 0.0
    hole = estimate_kernel(point, exposure, psf, None, geom, "1 deg").kernel.data
    np.testing.assert_allclose(hole, whole, atol=1e-12)


def test_errors_say_what_is_wrong() -> None:
    geom = sky()
    with pytest.raises(ValueError, match="No valid exposure"):
        estimate_kernel(SkyModel(SPECTRUM, PointSpatialModel()), flat(geom) * 0, None, None, geom)
    with pytest.raises(ValueError, match="no spatial model"):
        kernel_of(None, geom)
    with pytest.raises(ValueError, match="positive width"):
        kernel_of(PointSpatialModel(), geom, kernel_width=0)


class Case(NamedTuple):
    """A stored result of gammapy: what went in, and the arrays of its energy groups."""

    model: SkyModel
    width: str | None
    dataset: MapDataset
    pad: tuple[int, int]
    groups: list[tuple[slice, dict[str, Floats]]]


def load(reference: Path, data: Path, name: str, number: int = 0) -> Case:
    settings = json.loads((reference / "ts" / f"{name}.json").read_text(encoding="utf-8"))
    stored = np.load(reference / "ts" / f"{name}.npz")
    model = settings["kernel_model"]
    if model["spatial"]["type"] == "ConstantSpatialModel":
        model["spatial"]["parameters"] = [{"name": "value", "value": 0.0, "unit": "sr-1"}]
    dataset = MapDataset.read(data / settings["files"][number])
    edges = dataset.geom.axes["energy"].edges_in("TeV")
    groups = []
    for i, (low, high) in enumerate(
        zip(stored["energy_edges"][:-1], stored["energy_edges"][1:], strict=True)
    ):
        bins = slice(*(int(np.argmin(np.abs(np.log(edges / e)))) for e in (low, high)))
        key = f"in__g{i}_d{number}__"
        arrays = {k.removeprefix(key): stored[k] for k in stored.files if k.startswith(key)}
        groups.append((bins, arrays))
    return Case(
        models_from_dict({"components": [model]})[0],
        settings["settings"].get("kernel_width"),
        dataset,
        tuple(settings["pad"]),
        groups,
    )


def kernel_of_case(case: Case, sampling: str) -> Floats:
    d = case.dataset
    return estimate_kernel(
        case.model, d.exposure, d.psf, d.edisp, d.geom, case.width, sampling
    ).kernel.data


def deviation(kernel: Floats, stored: Floats) -> Floats:
    """Return the largest difference in units of the peak, per energy."""
    assert kernel.shape == stored.shape
    peak = stored.max(axis=(1, 2))
    return np.abs(kernel - stored).max(axis=(1, 2)) / np.where(peak > 0, peak, 1.0)


CASES = [
    *(("fermicut_" + name, 0) for name in ("all", "constant0", "energy_nosum")),
    *(("fermicut_" + name, 0) for name in ("energy_sum_masked", "perbin_ul", "psf_ul_errnp")),
    ("hesscrab_point_default", 0),
    ("hesscrab_point_all_nosum", 0),
    ("ctavela_gauss0.1", 0),
    *((f"ext_gauss{sigma}_kw{width}", 0) for sigma in ("0.11", "0.31") for width in ("10", "None")),
    ("pois_disk0.15_nomask", 0),
    ("hawc_joint_sumF", 0),
    ("hawc_joint_sumF", 1),
]


@pytest.mark.data
@pytest.mark.parametrize(("name", "number"), CASES)
def test_kernels_and_exposures_of_gammapy(
    name: str, number: int, reference_dir: Path, gammapy_data: Path
) -> None:
    case = load(reference_dir, gammapy_data, name, number)
    dataset = case.dataset
    kernel = kernel_of_case(case, "gammapy")
    counts = reco_exposure(
        case.model.spectral_model,
        dataset.exposure,
        dataset.edisp,
        dataset.geom.axes["energy"],
        dataset.geom,
        normalize=False,
    ).data
    for bins, stored in case.groups:
        off = deviation(kernel[bins], stored["kernel"])
        # gammapy folds in single precision
        assert np.all(off < 1e-6), off
        (rows, columns), mask = case.pad, stored["mask"]
        expected = stored["exposure"]
        result = np.pad(counts[bins], ((0, 0), (rows, rows), (columns, columns))) * mask
        if len(expected) < len(result):
            result = result.sum(axis=0, keepdims=True)
        np.testing.assert_allclose(result, expected, rtol=1e-12)


def fine_psf_kernel(case: Case, samples: int = 64) -> Floats:
    """Integrate the PSF over pixels by many samples and mix true energies: a point's kernel."""
    d = case.dataset
    psf, n = d.psf, case.groups[0][1]["kernel"].shape[-1]
    axis_true, axis = d.exposure.geom.axes["energy_true"], d.geom.axes["energy"]
    centre, pixel = d.geom.center_skydir, float(d.geom.pixel_scales[0].to_value("deg"))
    offset = ((np.arange(n * samples) + 0.5) / samples - n / 2) * pixel
    r = np.hypot(offset[:, None], offset[None, :])
    nodes = psf.psf_map.geom.axes["rad"].center_in("deg")
    energies = axis if psf.energy_name == "energy" else axis_true
    planes = []
    for row in psf.profile(centre, energies):
        values = np.interp(r, nodes, row)
        first = r < nodes[0]
        values[first] += (row[1] - row[0]) / (nodes[1] - nodes[0]) * (r - nodes[0])[first]
        planes.append(values.reshape(n, samples, n, samples).mean(axis=(1, 3)))
    kernel = np.array(planes)
    if psf.energy_name == "energy_true":
        # each PSF is normalised to 1 within 99.9 %, a table on its own is not
        area = (n * pixel) ** 2
        whole = psf.get_psf_kernel(d.geom.to_image().to_cube([axis_true]), centre).data
        cut = (whole.shape[-1] - n) // 2
        held = (whole[:, cut : cut + n, cut : cut + n] if cut >= 0 else whole).sum(axis=(1, 2))
        kernel *= (held / (kernel.mean(axis=(1, 2)) * area))[:, None, None]
        edges = axis_true.edges_in("TeV")
        flux = np.asarray(case.model.spectral_model.integral(edges[:-1], edges[1:]))
        middle = np.array(d.exposure.geom.shape_image) // 2
        weights = flux * d.exposure.data[:, middle[0], middle[1]]
        matrix = d.edisp.get_edisp_kernel(centre, axis)
        kernel = np.einsum("tyx,t,tr->ryx", kernel, weights, matrix)
    total = kernel.sum(axis=(1, 2), keepdims=True)
    return kernel / np.where(total > 0, total, 1.0)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "worst", "gammapy"),
    [
        ("hesscrab_point_default", 2e-3, 0.05),
        ("fermicut_all", 2e-3, 0.01),
        ("hawc_joint_sumF", 1e-3, 0.01),
    ],
)
def test_fine_kernels_are_nearer_to_a_fine_integration(
    name: str, worst: float, gammapy: float, reference_dir: Path, gammapy_data: Path
) -> None:
    case = load(reference_dir, gammapy_data, name)
    exact = fine_psf_kernel(case)
    ours = deviation(kernel_of_case(case, "fine"), exact)
    assert np.all(ours < worst), ours
    stored = np.concatenate([arrays["kernel"] for _, arrays in case.groups])
    off = deviation(stored, exact)
    assert off.max() > gammapy
    assert np.all(ours <= off)


@pytest.mark.data
def test_sources_are_not_smeared_by_the_pixels(reference_dir: Path, gammapy_data: Path) -> None:
    case = load(reference_dir, gammapy_data, "ext_gauss0.11_kw10")
    stored = case.groups[0][1]["kernel"][0]
    # the PSF of this dataset is a Gaussian of 0.1 deg, and so are its pixels
    exact = gaussian_pixels(stored.shape[-1], np.hypot(0.11, 0.1) / 0.1)
    ours = kernel_of_case(case, "fine")[0]
    assert np.abs(ours - exact).max() < 3e-3 * exact.max()
    assert np.abs(stored - exact).max() > 0.02 * exact.max()


@pytest.mark.data
def test_the_edge_of_a_disk_is_integrated(reference_dir: Path, gammapy_data: Path) -> None:
    case = load(reference_dir, gammapy_data, "pois_disk0.15_nomask")
    stored = case.groups[0][1]["kernel"]
    grid = case.dataset.geom.to_image().to_odd_npix("0.2 deg")
    exact = fine_integral(case.model.spatial_model, grid)[None]
    assert deviation(kernel_of_case(case, "fine"), exact)[0] < 2e-4
    assert deviation(stored, exact)[0] > 0.05
