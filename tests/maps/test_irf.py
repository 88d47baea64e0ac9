from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from scipy.stats import norm

from gammagrad.maps import (
    EDispKernelMap,
    EDispMap,
    Map,
    MapAxis,
    PSFMap,
    RegionGeom,
    WcsGeom,
    diagonal_edisp,
)
from gammagrad.maps.irf import IRFMap

TRUE = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4, name="energy_true")
RECO = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2, name="energy")


def image(binsz: float = 0.05, npix: int = 40, proj: str = "TAN") -> WcsGeom:
    return WcsGeom.create(npix, binsz, skydir=(83.6, 22.0), proj=proj)


def gaussian_pixels(n: int, sigma: float) -> np.ndarray:
    """Integrate a Gaussian (sigma in pixels) over n x n pixels around its centre; sum 1."""
    edges = np.arange(n + 1) - n / 2
    profile = np.diff(0.5 * (1 + erf(edges / (np.sqrt(2) * sigma))))
    kernel = profile[:, None] * profile[None, :]
    return kernel / kernel.sum()


def psf_on_sky(values: np.ndarray, unit: str = "sr-1", name: str = "energy_true") -> PSFMap:
    """Return a PSF on 1 deg pixels; values have the shape (n_energy, n_rad, ny, nx)."""
    rad = MapAxis.from_bounds(0, 0.5, values.shape[1], name="rad", unit="deg")
    energy = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=len(values), name=name)
    geom = WcsGeom.create(values.shape[:1:-1], 1.0, skydir=(83.6, 22.0), proj="TAN")
    return PSFMap(Map(geom.to_cube([rad, energy]), values, unit))


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.11])
def test_gaussian_kernels_are_exact_pixel_integrals(sigma: float) -> None:
    psf = PSFMap.from_gauss(TRUE, u.Quantity(sigma, "deg"))
    kernel = psf.get_psf_kernel(image())
    n = kernel.data.shape[-1]
    assert kernel.data.shape == (4, n, n)
    # the table of the profile is linear between its offsets
    expected = gaussian_pixels(n, sigma / 0.05)
    np.testing.assert_allclose(kernel.data[0], expected, atol=3e-4 * expected.max())
    np.testing.assert_allclose(kernel.data.sum(axis=(1, 2)), 1.0)
    assert not kernel.after_edisp


def test_the_kernel_holds_the_containment_circle() -> None:
    sigmas = np.array([0.3, 0.2, 0.1, 0.05])
    psf = PSFMap.from_gauss(TRUE, u.Quantity(sigmas, "deg"))
    radii = psf.containment_radius(0.999).to_value("deg")
    np.testing.assert_allclose(radii, sigmas * np.sqrt(-2 * np.log(0.001)), rtol=1e-2)
    kernel = psf.get_psf_kernel(image())
    widths = [int((plane.sum(axis=0) > 0).sum()) for plane in kernel.data]
    expected = [2 * int(np.ceil(2 * r / 0.05) // 2) + 1 for r in radii]
    assert widths == expected
    assert kernel.shape == (max(expected), max(expected))
    assert psf.get_psf_kernel(image(), max_radius="0.2 deg").shape == (9, 9)


@given(fraction=st.floats(0.05, 0.99), sigma=st.floats(0.03, 0.5))
@settings(max_examples=15)
def test_containment_of_a_gaussian(fraction: float, sigma: float) -> None:
    psf = PSFMap.from_gauss(TRUE, sigma)
    radius = psf.containment_radius(fraction)[0]
    assert radius.to_value("deg") == pytest.approx(
        sigma * np.sqrt(-2 * np.log(1 - fraction)), rel=0.01, abs=1e-3 * sigma
    )
    np.testing.assert_allclose(psf.containment(radius), fraction, atol=5e-3)


def test_oversampled_kernels_add_up_to_the_kernel() -> None:
    psf = PSFMap.from_gauss(TRUE, u.Quantity([0.2, 0.1, 0.06, 0.03], "deg"))
    kernel = psf.get_psf_kernel(image()).data
    fine = psf.get_psf_kernel(image(), oversampling=3)
    n = kernel.shape[-1]
    assert fine.data.shape == (4, 3 * n, 3 * n)
    assert fine.shape == (n, n)
    blocks = fine.data.reshape(4, n, 3, n, 3).sum(axis=(2, 4))
    peak = kernel.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(blocks / peak, kernel / peak, atol=1e-4)


def cusp(n_rad: int = 50) -> PSFMap:
    rad = (np.arange(n_rad) + 0.5) * 0.01
    values = np.exp(-rad / 0.03)[None, :, None, None]
    return psf_on_sky(values * np.ones((1, 1, 1, 1)))


def test_a_cusp_is_integrated_accurately_and_with_few_samples_is_not() -> None:
    psf, geom = cusp(), image(0.02)
    kernel = psf.get_psf_kernel(geom, max_radius=0.1)
    n, m = kernel.shape[0], 200
    offset = ((np.arange(n * m) + 0.5) / m - n / 2) * 0.02
    r = np.hypot(offset[:, None], offset[None, :])
    rad = (np.arange(50) + 0.5) * 0.01
    profile = np.exp(-rad / 0.03)
    values = np.interp(r, rad, profile)
    first = r < rad[0]
    values[first] = profile[0] + (profile[1] - profile[0]) / 0.01 * (r[first] - rad[0])
    exact = values.reshape(n, m, n, m).mean(axis=(1, 3))
    exact /= exact.sum()
    np.testing.assert_allclose(kernel.data[0], exact, atol=1e-4 * exact.max())
    few = psf.get_psf_kernel(geom, max_radius=0.1, sampling="gammapy").data[0]
    assert np.abs(few - exact).max() > 0.01 * exact.max()


def test_few_samples_are_the_mean_of_a_regular_grid() -> None:
    psf = PSFMap.from_gauss(TRUE, 0.05)
    few = psf.get_psf_kernel(image(), sampling="gammapy")
    # 12 samples across 2 x 1.51 sigma: 4 along a pixel of one sigma
    n = few.shape[0]
    offset = (np.arange(4 * n) + 0.5) / 4 - n / 2
    values = np.exp(-0.5 * (offset[:, None] ** 2 + offset[None, :] ** 2))
    expected = values.reshape(n, 4, n, 4).mean(axis=(1, 3))
    expected /= expected.sum()
    np.testing.assert_allclose(few.data[0], expected, atol=3e-4 * expected.max())


def test_like_gammapy_energies_beyond_the_table_have_no_kernel() -> None:
    rad = np.linspace(0, 0.4, 60)
    psf = PSFMap.from_table(rad, [1.0, 10.0], np.exp(-0.5 * (rad / 0.08) ** 2))
    cube = image().to_cube([TRUE])
    np.testing.assert_allclose(psf.get_psf_kernel(cube).data.sum(axis=(1, 2)), 1.0)
    few = psf.get_psf_kernel(cube, sampling="gammapy")
    np.testing.assert_allclose(few.data.sum(axis=(1, 2)), [1.0, 1.0, 0.0, 0.0])


def test_units_do_not_matter() -> None:
    rad = np.linspace(0, 0.4, 60)
    values = np.exp(-0.5 * (rad / 0.08) ** 2)
    a = PSFMap.from_table(rad, [1.0, 10.0], u.Quantity(values, "deg-2"))
    per_sr = (1 * u.Unit("deg-2")).to_value("sr-1")
    b = PSFMap.from_table(
        u.Quantity(rad * 60, "arcmin"), u.Quantity([1e3, 1e4], "GeV"), values * per_sr
    )
    np.testing.assert_allclose(a.profile(), values[None, :] * per_sr * np.ones((2, 1)))
    np.testing.assert_allclose(a.profile(), b.profile())


def test_energies_are_interpolated_in_log_energy() -> None:
    rad = np.array([0.0, 0.1, 0.2])
    psf = PSFMap.from_table(rad, [1.0, 100.0], [[1.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    wanted = MapAxis(
        [0.1, 1.0, 10.0, 1e4], name="energy_true", unit="TeV", interp="log", node_type="center"
    )
    np.testing.assert_allclose(psf.profile(energy_axis=wanted)[:, 0], [1.0, 1.0, 2.0, 3.0])
    kernel = psf.get_psf_kernel(image().to_cube([wanted]), max_radius=0.2)
    assert kernel.data.shape[0] == 4
    assert kernel.energy_axis == wanted


def test_a_psf_of_reconstructed_energy_says_so() -> None:
    psf = PSFMap.from_gauss(RECO, 0.1)
    assert psf.energy_name == "energy"
    assert psf.get_psf_kernel(image()).after_edisp


def test_the_profile_is_bilinear_in_position() -> None:
    values = np.ones((1, 50, 3, 3)) * np.arange(1.0, 10.0).reshape(3, 3)
    psf = psf_on_sky(values)
    geom = psf.psf_map.geom
    for x, y, expected in ((1, 1, 5.0), (1.5, 1, 5.5), (0.25, 1.5, 5.75), (2.4, 2.4, 9.0)):
        profile = psf.profile(geom.pix_to_sky(x, y))
        np.testing.assert_allclose(profile[0, 7], expected, rtol=1e-6)


def test_a_position_without_response_takes_the_nearest_that_has() -> None:
    values = np.ones((1, 50, 3, 3))
    values[:, :, :, 0] = 0.0
    values[0, 3, 0, 0] = np.nan
    values[:, :, 1, 1] = 2.0
    psf = psf_on_sky(values)
    geom = psf.psf_map.geom
    found = psf.valid_position(geom.pix_to_sky(-0.3, 1.0))
    assert found is not None
    assert found.separation(geom.pix_to_sky(1, 1)).deg < 1e-9
    np.testing.assert_allclose(psf.profile(SkyCoord("0d", "0d"))[0, 5], 1.0)
    # half way to a pixel without response the mean is lower, and the kernel's sum still 1
    position = geom.pix_to_sky(0.6, 1.0)
    np.testing.assert_allclose(psf.profile(position)[0, 5], 1.2, rtol=1e-6)
    np.testing.assert_allclose(psf.get_psf_kernel(image(), position).data.sum(), 1.0)


def test_no_response_anywhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="zero everywhere"):
        psf_on_sky(np.zeros((1, 50, 3, 3))).profile()


def test_an_energy_without_response_has_an_empty_kernel() -> None:
    values = np.ones((2, 50, 2, 2)) * np.exp(-np.arange(50) / 10)[None, :, None, None]
    values[1] = 0.0
    kernel = psf_on_sky(values).get_psf_kernel(image())
    np.testing.assert_allclose(kernel.data.sum(axis=(1, 2)), [1.0, 0.0])
    assert np.isfinite(kernel.half_width)
    assert np.isnan(psf_on_sky(values).half_widths()[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PSFMap(Map(RegionGeom([TRUE]))), "expected a map with the axes"),
        (lambda: PSFMap.from_gauss(TRUE, -0.1), "positive width"),
        (lambda: PSFMap.from_gauss(TRUE, [0.1, 0.2]), "one positive width or 4"),
        (lambda: PSFMap.from_table([0, 1], [1.0], [[1, 2, 3]]), "n_energy, n_rad"),
        (lambda: PSFMap.from_table([0, 1], [1.0], [[1, -2]]), "not negative"),
        (lambda: cusp().get_psf_kernel(image(), oversampling=2), "odd"),
        (lambda: cusp().get_psf_kernel(image(), sampling="coarse"), "'fine' or 'gammapy'"),
        (lambda: cusp().containment_radius(1.5), "between 0 and 1"),
    ],
)
def test_what_does_not_make_sense_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_printing() -> None:
    psf = PSFMap.from_gauss(TRUE, 0.1)
    assert "rad" in str(psf)
    assert repr(psf).startswith("PSFMap(axes=['rad', 'energy_true']")
    assert isinstance(psf, IRFMap)


def test_exact_energies_overlap() -> None:
    matrix = diagonal_edisp(TRUE, RECO)
    np.testing.assert_allclose(matrix, [[1, 0], [1, 0], [0, 1], [0, 1]])
    shifted = MapAxis.from_energy_edges([2.0, 5.0])
    edges = TRUE.edges_in("TeV")
    np.testing.assert_allclose(
        diagonal_edisp(TRUE, shifted)[:, 0],
        [(edges[1] - 2) / (edges[1] - 1), (5 - edges[1]) / (edges[2] - edges[1]), 0, 0],
    )


def edisp_on_sky() -> EDispKernelMap:
    geom = WcsGeom.create(4, 1.0, skydir=(83.6, 22.0), proj="TAN").to_cube([RECO, TRUE])
    data = np.arange(4 * 2 * 16, dtype=float).reshape(4, 2, 4, 4)
    return EDispKernelMap(Map(geom, data))


def test_the_matrix_is_that_of_the_pixel() -> None:
    edisp = edisp_on_sky()
    geom, data = edisp.edisp_map.geom, edisp.edisp_map.data
    for x, y in ((0.0, 3.0), (2.3, 1.6), (-0.4, 0.4)):
        expected = data[:, :, int(np.round(y)), int(np.round(x))]
        np.testing.assert_array_equal(edisp.get_edisp_kernel(geom.pix_to_sky(x, y)), expected)
    far = edisp.get_edisp_kernel(SkyCoord("80d", "22d"))
    assert any(np.array_equal(far, data[:, :, row, 3]) for row in range(4))


def test_reconstructed_bins_are_merged_or_picked() -> None:
    fine = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4)
    matrix = np.arange(16.0).reshape(4, 4)
    edisp = EDispKernelMap.from_matrix(matrix, TRUE, fine)
    np.testing.assert_array_equal(edisp.get_edisp_kernel(), matrix)
    np.testing.assert_allclose(
        edisp.get_edisp_kernel(energy_axis=RECO), matrix[:, ::2] + matrix[:, 1::2]
    )
    np.testing.assert_allclose(
        edisp.get_edisp_kernel(energy_axis=fine.slice(slice(1, 3))), matrix[:, 1:3]
    )
    with pytest.raises(ValueError, match="do not include the edges"):
        edisp.get_edisp_kernel(energy_axis=MapAxis.from_energy_bounds("1 TeV", "50 TeV", nbin=3))


def test_from_matrix_checks_the_shape() -> None:
    with pytest.raises(ValueError, match="n_true, n_reco"):
        EDispKernelMap.from_matrix(np.ones((2, 4)), TRUE, RECO)
    np.testing.assert_allclose(
        EDispKernelMap.from_diagonal(TRUE, RECO).get_edisp_kernel(), diagonal_edisp(TRUE, RECO)
    )


def test_migration_is_integrated_over_the_bins() -> None:
    migra = MapAxis.from_bounds(0.2, 5, 2400, name="migra")
    density = norm.pdf(migra.center_in(""), 1.1, 0.2)
    data = np.broadcast_to(density, (4, 2400))[:, :, None, None].copy()
    edisp = EDispMap(Map(RegionGeom([migra, TRUE]), data))
    edges, middle = RECO.edges_in("TeV"), TRUE.center_in("TeV")
    expected = np.diff(norm.cdf(edges[None, :] / middle[:, None], 1.1, 0.2), axis=1)
    np.testing.assert_allclose(edisp.get_edisp_kernel(energy_axis=RECO), expected, atol=1e-5)
    assert edisp.get_edisp_kernel().shape == (4, 4)


def test_a_kernel_follows_what_is_changed_in_place_and_can_be_changed() -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    geom = WcsGeom.create((41, 41), 0.05, skydir=(10, 20), proj="TAN")
    psf = PSFMap.from_gauss(axis, sigma="0.1 deg")
    first = psf.get_psf_kernel(geom)
    expected = first.data.copy()
    first.data[:] = 0
    np.testing.assert_array_equal(psf.get_psf_kernel(geom).data, expected)
    # the second energy gets the table of a narrower one
    rad = psf.psf_map.geom.axes["rad"].center_in("deg")
    psf.psf_map.data[1, :, 0, 0] = np.exp(-0.5 * (rad / 0.05) ** 2)
    changed = psf.get_psf_kernel(geom).data
    there = WcsGeom.create((41, 41), 0.05, skydir=(10, 20), proj="TAN")
    np.testing.assert_array_equal(changed, psf.get_psf_kernel(there).data)
    assert changed[1].max() > 2 * expected[1].max()
