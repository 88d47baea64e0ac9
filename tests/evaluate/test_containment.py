"""How much of a source a kernel holds, and that its flux is right all the same."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import erf

from gammagrad.dataset import MapDataset
from gammagrad.evaluate import (
    estimate_kernel,
    evaluate_npred,
    group_containment,
    predict,
    reco_exposure,
)
from gammagrad.maps import Map, MapAxis, PSFMap, WcsGeom
from gammagrad.models import (
    ConstantSpatialModel,
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    ShellSpatialModel,
    SkyModel,
    TemplateSpatialModel,
)

Floats = NDArray[np.float64]
TRUE = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=4, name="energy_true")
RECO = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=2, name="energy")
SPECTRUM = PowerLawSpectralModel(index=2.0, amplitude=1e-11)
WIDE = PSFMap.from_gauss(TRUE, [0.2, 0.15, 0.1, 0.05])


def sky(npix: int | tuple[int, int] = (41, 30), binsz: float = 0.1) -> WcsGeom:
    return WcsGeom.create(npix, binsz, skydir=(83.6, 22.0), proj="TAN", axes=[RECO])


def flat(geom: WcsGeom) -> Map:
    return Map(geom.to_image().to_cube([TRUE]), 1e12, unit="cm2 s")


def kernel_of(spatial: Any, geom: WcsGeom, psf: PSFMap | None = None, *args: Any, **kw: Any) -> Any:
    return estimate_kernel(SkyModel(SPECTRUM, spatial), flat(geom), psf, None, geom, *args, **kw)


def template(normalize: bool = True) -> TemplateSpatialModel:
    geom = WcsGeom.create(15, 0.05, skydir=(10.0, 20.0), proj="TAN")
    y, x = np.mgrid[-7:8, -7:8]
    return TemplateSpatialModel.from_map(
        Map(geom, np.exp(-0.05 * (x**2 + 2 * y**2)), "sr-1"), normalize=normalize
    )


# -- the number itself --------------------------------------------------------------------------


@pytest.mark.parametrize("psf", [None, 0.002, 0.03, 0.2])
@pytest.mark.parametrize("sigma", [None, 0.005, 0.05, 0.1, 0.3])
def test_the_containment_of_gaussians_is_the_error_function(
    sigma: float | None, psf: float | None
) -> None:
    source = PointSpatialModel() if sigma is None else GaussianSpatialModel(sigma=sigma)
    psf_map = None if psf is None else PSFMap.from_gauss(TRUE, psf)
    result = kernel_of(source, sky(), psf_map, renormalise=False)
    whole = result.kernel.data[0]
    size = whole.shape[-1]
    width = np.hypot(sigma or 0, psf or 0)
    for half in range(size // 2 + 1):
        cut = size // 2 - half
        inside = whole[cut : size - cut, cut : size - cut].sum()
        side = (half + 0.5) * 0.1 / np.sqrt(2)
        expected = 1.0 if width == 0 else erf(side / width) ** 2
        assert abs(inside - expected) < 1e-3
    np.testing.assert_allclose(result.containment, whole.sum(), rtol=1e-9)


@pytest.mark.parametrize("width", ["0.1 deg", "0.5 deg", "1.1 deg"])
def test_each_energy_has_its_own(width: str) -> None:
    psf = PSFMap.from_gauss(RECO, [0.2, 0.05])
    result = kernel_of(PointSpatialModel(), sky(), psf, width)
    half = 0.05 * result.kernel.data.shape[-1]
    expected = erf(half / np.sqrt(2) / np.array([0.2, 0.05])) ** 2
    np.testing.assert_allclose(result.containment, expected, atol=1e-3)


def test_the_containment_of_a_group_has_expected_counts_as_weights() -> None:
    assert group_containment([0.5, 1.0], [3.0, 1.0]) == pytest.approx(0.625)
    assert group_containment([0.5, np.nan], [3.0, 0.0]) == pytest.approx(0.5)
    assert np.isnan(group_containment([0.5, np.nan], [3.0, 1.0]))
    assert np.isnan(group_containment([0.5, 1.0], [0.0, 0.0]))
    with pytest.raises(ValueError, match="one number per energy bin"):
        group_containment([0.5, 1.0], [1.0])
    with pytest.raises(ValueError, match="finite and not negative"):
        group_containment([0.5, 1.0], [1.0, -1.0])


# -- a kernel as large as it must be ------------------------------------------------------------


@pytest.mark.parametrize("containment", [0.68, 0.99])
@pytest.mark.parametrize(
    "spatial",
    [
        PointSpatialModel(),
        GaussianSpatialModel(sigma=0.12),
        DiskSpatialModel(r_0=0.4),
        ShellSpatialModel(radius=0.3, width=0.1),
        template(),
    ],
    ids=lambda spatial: type(spatial).__name__,
)
def test_the_kernel_is_the_smallest_that_holds_the_part(spatial: Any, containment: float) -> None:
    result = kernel_of(spatial, sky(), WIDE, containment=containment)
    size = result.kernel.data.shape[-1]
    assert size % 2 == 1
    assert result.containment.min() >= containment * (1 - 1e-9)
    np.testing.assert_allclose(result.kernel.data.sum(axis=(1, 2)), 1.0)
    as_wide = kernel_of(spatial, sky(), WIDE, kernel_width=0.1 * size)
    np.testing.assert_allclose(as_wide.kernel.data, result.kernel.data, atol=1e-9)
    np.testing.assert_allclose(as_wide.containment, result.containment, rtol=1e-9)
    if size > 1:
        smaller = kernel_of(spatial, sky(), WIDE, kernel_width=0.1 * (size - 2))
        assert smaller.containment.min() < containment


def test_energies_without_counts_do_not_ask_for_more() -> None:
    geom = sky()
    exposure = flat(geom)
    exposure.data[:2] = 0.0  # those of the wide PSF
    result = estimate_kernel(
        SkyModel(SPECTRUM, PointSpatialModel()), exposure, WIDE, None, geom, containment=0.95
    )
    assert result.containment[0] == 0
    assert result.containment[1] >= 0.95
    everything = kernel_of(PointSpatialModel(), geom, WIDE, containment=0.95)
    assert result.kernel.data.shape[-1] < everything.kernel.data.shape[-1]


def test_a_model_wider_than_the_map_takes_the_map_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        result = kernel_of(GaussianSpatialModel(sigma=3.0), sky(), containment=0.9)
    assert result.kernel.data.shape == (2, 41, 41)
    assert result.containment.max() < 0.3
    (record,) = caplog.records
    assert "41 x 41 pixels or 4.1 x 4.1 deg" in record.message
    assert "less than the containment of 0.9" in record.message


def test_errors_say_what_to_do() -> None:
    geom = sky()
    with pytest.raises(ValueError, match="only one of them: set the other to None"):
        kernel_of(PointSpatialModel(), geom, kernel_width="1 deg", containment=0.9)
    for value in (0.0, 1.0, -0.5, np.nan, 95):
        with pytest.raises(ValueError, match="between 0 and 1"):
            kernel_of(PointSpatialModel(), geom, containment=value)
    for spatial, why in (
        (ConstantSpatialModel(), "has no edge"),
        (template(normalize=False), "normalize=True"),
    ):
        with pytest.raises(ValueError, match=why):
            kernel_of(spatial, geom, containment=0.9)
        with pytest.raises(ValueError, match="set kernel_width instead"):
            kernel_of(spatial, geom, containment=0.9)
        with pytest.raises(ValueError, match="leave renormalise=True"):
            kernel_of(spatial, geom, renormalise=False)
        result = kernel_of(spatial, geom)
        assert np.isnan(result.containment).all()
        np.testing.assert_allclose(result.kernel.data.sum(axis=(1, 2)), 1.0)


# -- a cut kernel that keeps the flux right -----------------------------------------------------


@pytest.mark.parametrize("width", [0.01, "0.5 deg", None])
@pytest.mark.parametrize(
    "spatial",
    [
        PointSpatialModel(),
        GaussianSpatialModel(sigma=0.3),
        GaussianSpatialModel(sigma=3.0),
        DiskSpatialModel(r_0=0.5),
        template(),
    ],
    ids=lambda spatial: type(spatial).__name__,
)
def test_without_renormalising_a_cut_kernel_is_part_of_the_whole(spatial: Any, width: Any) -> None:
    whole = kernel_of(spatial, sky(), WIDE, 100.0, renormalise=False).kernel.data
    kernel, containment, _ = kernel_of(spatial, sky(), WIDE, width, renormalise=False)
    normalised = kernel_of(spatial, sky(), WIDE, width)
    np.testing.assert_allclose(kernel.data.sum(axis=(1, 2)), containment)
    np.testing.assert_allclose(normalised.containment, containment)
    np.testing.assert_allclose(
        normalised.kernel.data * containment[:, None, None], kernel.data, atol=1e-15
    )
    cut = (whole.shape[-1] - kernel.data.shape[-1]) // 2
    inner = whole[:, cut : whole.shape[1] - cut, cut : whole.shape[2] - cut]
    np.testing.assert_allclose(kernel.data, inner, atol=1e-9 * whole.max())


def test_of_a_gaussian_only_its_middle_is_left() -> None:
    # the source beyond the kernel comes in through the PSF
    kernel = kernel_of(GaussianSpatialModel(sigma=3.0), sky(), WIDE, "0.7 deg").kernel.data
    np.testing.assert_allclose(kernel, 1 / 49, rtol=0.01)


def closure(model: SkyModel, dataset: MapDataset, width: Any) -> tuple[Floats, Floats]:
    """Return a source's counts around the map's middle, predicted and by kernel and exposure."""
    axis = dataset.geom.axes["energy"]
    arguments = (dataset.exposure, dataset.psf, dataset.edisp)
    counts = evaluate_npred(model, *arguments, dataset.geom).data
    exposure = reco_exposure(
        model.spectral_model, dataset.exposure, dataset.edisp, axis, normalize=False
    ).data
    kernel = estimate_kernel(model, *arguments, dataset.geom, width, renormalise=False).kernel.data
    x, y = (
        int(np.round(c))
        for c in dataset.geom.sky_to_pix(
            WcsGeom.create(1, 0.1, skydir=position(model)).center_skydir
        )
    )
    half = kernel.shape[-1] // 2
    ny, nx = dataset.geom.shape_image
    top, bottom = max(y - half, 0), min(y + half + 1, ny)
    left, right = max(x - half, 0), min(x + half + 1, nx)
    part = kernel[:, top - y + half : bottom - y + half, left - x + half : right - x + half]
    return counts[:, top:bottom, left:right], part * exposure[:, top:bottom, left:right]


def position(model: SkyModel) -> tuple[float, float]:
    return float(model.spatial_model.lon_0), float(model.spatial_model.lat_0)


@pytest.mark.data
@pytest.mark.parametrize("width", ["0.3 deg", None])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param("reduced/hess-crab.fits.gz", marks=pytest.mark.slow),
        "reduced/cta-1dc-vela.fits.gz",
        "cases/fermicut-0958d5.fits.gz",
        pytest.param("hawc/DL4/nHit-9.fits.gz", marks=pytest.mark.slow),
    ],
)
def test_a_source_is_recovered_whatever_the_width(
    file: str, width: Any, gammapy_data: Path
) -> None:
    dataset = MapDataset.read(gammapy_data / file)
    geom = dataset.geom.to_image()
    # the pixel there, or the first of those around it, whatever the rounding
    middle = [int(c + 0.49) for c in geom.sky_to_pix(geom.center_skydir)]
    # a kernel is multiplied by the exposure where the counts fall, not by that of the source
    exposure = dataset.require("exposure").data
    exposure[:] = exposure[:, middle[1], middle[0]][:, None, None]
    place = geom.pix_to_sky(*middle).icrs
    where = {"lon_0": float(place.ra.deg), "lat_0": float(place.dec.deg)}
    for spatial in (PointSpatialModel(**where), GaussianSpatialModel(sigma=0.1, **where)):
        model = SkyModel(PowerLawSpectralModel(index=2.3, amplitude=1e-12), spatial)
        counts, by_kernel = closure(model, dataset, width)
        peak = counts.max(axis=(1, 2), keepdims=True)
        some = peak[:, 0, 0] > 0
        assert np.all((np.abs(by_kernel - counts) / np.where(peak > 0, peak, 1.0))[some] < 1e-3)
        norm = counts[some].sum(axis=(1, 2)) / by_kernel[some].sum(axis=(1, 2))
        np.testing.assert_allclose(norm, 1.0, rtol=5e-4)
        assert counts.sum() / by_kernel.sum() == pytest.approx(1.0, rel=2e-4)


# -- any model, any map -------------------------------------------------------------------------

SPATIAL = st.sampled_from(
    [
        lambda size: PointSpatialModel(),
        lambda size: GaussianSpatialModel(sigma=size),
        lambda size: GaussianSpatialModel(sigma=size, e=0.8, phi=30.0),
        lambda size: DiskSpatialModel(r_0=size),
        lambda size: DiskSpatialModel(r_0=size, edge_width=1.0),
        lambda size: ShellSpatialModel(radius=0.9 * size, width=0.1 * size),
        lambda size: template(),
        lambda size: ConstantSpatialModel(),
    ]
)


@given(
    make=SPATIAL,
    size=st.floats(0.02, 5.0),
    npix=st.sampled_from([(1, 1), (2, 3), (8, 5), (21, 20)]),
    psf=st.sampled_from([None, WIDE, PSFMap.from_gauss(RECO, [0.1, 0.01])]),
    width=st.none() | st.floats(0.01, 0.1) | st.floats(0.1, 20.0) | st.just(float("inf")),
    sampling=st.sampled_from(["fine", "fine", "gammapy"]),
)
@settings(max_examples=30)
def test_there_is_a_kernel_for_any_source_on_any_map(
    make: Any, size: float, npix: tuple[int, int], psf: Any, width: float | None, sampling: str
) -> None:
    spatial, geom = make(size), sky(npix)
    result = kernel_of(spatial, geom, psf, width, sampling)
    kernel = result.kernel.data
    n = kernel.shape[-1]
    assert kernel.shape == (2, n, n)
    assert n % 2 == 1
    assert n <= 2 * max(npix) + 1
    assert n <= max(1, 0.1 + 2 + 10 * (np.inf if width is None else width))
    assert np.all(kernel >= 0)
    np.testing.assert_allclose(kernel.sum(axis=(1, 2)), 1.0, rtol=1e-12)
    if not isinstance(spatial, TemplateSpatialModel):
        np.testing.assert_allclose(kernel, kernel[:, ::-1, ::-1], atol=1e-6 * kernel.max())
    if isinstance(spatial, ConstantSpatialModel):
        return
    assert np.all(result.containment > 0)
    assert np.all(result.containment <= 1 + 1e-9)
    cut = kernel_of(spatial, geom, psf, width, sampling, renormalise=False).kernel.data
    np.testing.assert_allclose(cut.sum(axis=(1, 2)), result.containment, rtol=1e-12)


@given(make=SPATIAL, size=st.floats(0.02, 5.0), wide=st.booleans(), data=st.data())
@settings(max_examples=10)
def test_a_wider_kernel_holds_more(make: Any, size: float, wide: bool, data: Any) -> None:
    spatial = make(size)
    assume(not isinstance(spatial, ConstantSpatialModel))
    psf = WIDE if wide else None
    widths = sorted(data.draw(st.lists(st.floats(0.01, 4.0), min_size=2, max_size=3)))
    held = [kernel_of(spatial, sky((13, 20)), psf, width).containment for width in widths]
    for less, more in itertools.pairwise(held):
        assert np.all(less <= more * (1 + 1e-9))


# -- bounded cost -------------------------------------------------------------------------------


def test_a_kernel_reaches_no_further_than_across_the_map() -> None:
    geom = sky(30)
    result = kernel_of(GaussianSpatialModel(sigma=5.0), geom, WIDE, "50 deg", renormalise=False)
    assert result.kernel.data.shape == (2, 61, 61)
    expected = erf(3.05 / np.sqrt(2) / 5.0) ** 2
    np.testing.assert_allclose(result.containment, expected, rtol=5e-3)


@pytest.mark.parametrize("axis", [TRUE, RECO])
@pytest.mark.parametrize("spatial", [PointSpatialModel(), DiskSpatialModel(r_0=0.3)])
def test_energies_may_be_folded_one_after_the_other(
    spatial: Any, axis: MapAxis, monkeypatch: pytest.MonkeyPatch
) -> None:
    psf = PSFMap.from_gauss(axis, np.geomspace(0.3, 0.1, axis.nbin))
    at_once = kernel_of(spatial, sky(), psf).kernel.data
    for pixels in (1, 3 * at_once[0].size):
        monkeypatch.setattr(predict, "_MAX_FINE_PIXELS", pixels)
        parts = kernel_of(spatial, sky(), psf).kernel.data
        np.testing.assert_allclose(parts, at_once, atol=1e-12)
