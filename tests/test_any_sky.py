"""Pixels that are not square, and maps whose pixels differ: everything from true separations.

The counts come from `any_sky`, which shares no code with the library.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from any_sky import MIDDLE, NPIX, SKIES, areas, gaussian, integrated, positions, separations
from gammagrad import (
    KernelBackgroundEstimator,
    Map,
    MapDataset,
    TSMapEstimator,
    fit,
    lima_maps,
)
from gammagrad.estimators.kernel_background.inputs import dilation_disc
from gammagrad.estimators.ts_map.positions import positions_mask
from gammagrad.evaluate import estimate_kernel
from gammagrad.maps import (
    MapAxis,
    PSFMap,
    SolidAngleWarning,
    WcsGeom,
    disc_kernel,
    middle,
    pixel_shape,
)
from gammagrad.models import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
)
from gammagrad.peaks import find_peaks
from oracles import slow_fit

Floats = NDArray[np.float64]

SIGMA, SOURCE, BACKGROUND = 0.12, 1000.0, 5.0
ENERGY = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
TRUE = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1, name="energy_true")
SPECTRUM = PowerLawSpectralModel(index=2, amplitude=SOURCE / 0.9 * 1e-12)
QUICK = ("oblong, turned", "CAR at 75")
names = pytest.mark.parametrize("name", SKIES)
quick = pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SKIES if n not in QUICK)]
)
few = pytest.mark.parametrize("name", ["oblong, turned", "CAR at 75", "sheared"])


def place_of(name: str, row: float = MIDDLE, col: float = MIDDLE) -> tuple[float, float]:
    lon, lat = SKIES[name]().all_pix2world(col, row, 0)
    return float(lon), float(lat)


def dataset_of(name: str, signal: Floats | None = None, sigma: float = SIGMA) -> MapDataset:
    """Return a dataset of one energy bin on a sky, whose source has 1000 counts."""
    geom = WcsGeom(SKIES[name](), (NPIX, NPIX))
    cube, flat = geom.to_cube([ENERGY]), np.full((1, NPIX, NPIX), BACKGROUND)
    return MapDataset(
        Map(cube, flat if signal is None else flat + signal),
        exposure=Map(geom.to_cube([TRUE]), np.full((1, NPIX, NPIX), 1e12), unit="cm2 s"),
        background=Map(cube, flat),
        psf=PSFMap.from_gauss(TRUE, sigma),
        name="sky",
    )


def signal_of(name: str, sigma: float = SIGMA) -> Floats:
    return SOURCE * integrated(SKIES[name](), place_of(name), gaussian(sigma))


@names
def test_the_norm_of_a_source_is_one(name: str) -> None:
    signal = signal_of(name)
    dataset = dataset_of(name, signal)
    model = SkyModel(SPECTRUM, PointSpatialModel())
    kernel = estimate_kernel(model, dataset.exposure, dataset.psf, None, dataset.geom)
    rows, cols = (n // 2 for n in kernel.kernel.data.shape[1:])
    assert max(rows, cols) < NPIX
    padded = np.pad(kernel.kernel.data[0], NPIX)
    y, x = (NPIX + n - MIDDLE for n in (rows, cols))
    template = padded[y : y + NPIX, x : x + NPIX]
    fitted = slow_fit(signal + BACKGROUND, np.full_like(signal, BACKGROUND), SOURCE * template)
    assert fitted.norm == pytest.approx(1.0, abs=2e-3)
    assert np.abs(template - signal / SOURCE).max() < 2e-3 * template.max()


@few
def test_the_estimator_finds_it(name: str) -> None:
    dataset = dataset_of(name, signal_of(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SolidAngleWarning)
        maps = TSMapEstimator(SkyModel(SPECTRUM, PointSpatialModel())).run(dataset)
    norm = maps["norm"].data[0]
    assert norm[MIDDLE, MIDDLE] == pytest.approx(1.0, abs=2e-3)
    assert np.unravel_index(np.nanargmax(maps["ts"].data[0]), norm.shape) == (MIDDLE, MIDDLE)


def test_the_warning_says_how_wrong_the_norm_is_elsewhere() -> None:
    name, row = "CAR at 75", 5
    place, wcs = place_of(name, row), SKIES[name]()
    dataset = dataset_of(
        name, SOURCE / 100 * integrated(wcs, place, gaussian(2 * SIGMA)), 2 * SIGMA
    )
    with pytest.warns(SolidAngleWarning) as caught:
        maps = TSMapEstimator(
            SkyModel(SPECTRUM, PointSpatialModel()), kernel_positions="centre"
        ).run(dataset)
    # the expected counts of a faint source, whose norm is that of a matched filter
    low = 1 - 100 * maps["norm"].data[0, row, MIDDLE]
    text = str(caught[0].message)
    said = float(text.split("up to ")[1].split("%")[0]) / 100
    assert 0.02 < abs(low) <= said
    assert said < 3 * abs(low)


@names
def test_discs_and_rings_are_those_of_true_centres(name: str) -> None:
    wcs = SKIES[name]()
    geom = WcsGeom(wcs, (NPIX, NPIX))
    y, x = np.mgrid[:NPIX, :NPIX]
    apart = separations(wcs, x, y, place_of(name))
    half = 0.5 * float(np.linalg.norm(pixel_shape(geom, middle(geom)).sides))
    for kernel, inner, outer in (
        (disc_kernel(geom, "0.3 deg"), 0.0, 0.3),
        (disc_kernel(geom, "0.5 deg", "0.3 deg"), 0.3, 0.5),
        (dilation_disc(geom, 0.3), 0.0, 0.3),
    ):
        rows, cols = (n // 2 for n in kernel.shape)
        whole = np.zeros((NPIX, NPIX), bool)
        whole[MIDDLE - rows : MIDDLE + rows + 1, MIDDLE - cols : MIDDLE + cols + 1] = kernel > 0
        right = (apart <= outer) & (apart >= inner)
        # at the rim, where a pixel is neither in nor out, a twentieth of a pixel may decide
        rim = np.minimum(np.abs(apart - outer), np.abs(apart - inner)) < 0.1 * half
        np.testing.assert_array_equal(whole[~rim], right[~rim])


def test_a_ring_may_have_one_radius_in_pixels_and_one_on_the_sky() -> None:
    geom = WcsGeom(SKIES["TAN"](), (NPIX, NPIX))
    ring = disc_kernel(geom, "10 pix", "6 pix")
    np.testing.assert_array_equal(disc_kernel(geom, "10 pix", "0.3 deg"), ring)
    np.testing.assert_array_equal(disc_kernel(geom, "0.5 deg", "6 pix"), ring)


@names
def test_boxes_are_as_wide_as_they_should_be(name: str) -> None:
    wcs = SKIES[name]()
    geom = WcsGeom(wcs, (NPIX, NPIX))
    place = SkyCoord(*place_of(name), unit="deg")
    mask = positions_mask((place, "0.97 deg"), geom)
    assert mask is not None
    y, x = np.mgrid[:NPIX, :NPIX].astype(float)
    lon, lat = (np.rad2deg(c) for c in positions(wcs, x, y))
    offset = SkyCoord(lon, lat, unit="deg").transform_to(place.skyoffset_frame())
    right = (np.abs(offset.lon.wrap_at("180d").deg) <= 0.485) & (np.abs(offset.lat.deg) <= 0.485)
    sides = pixel_shape(geom, middle(geom)).sides
    # half a pixel all around
    rim = 0.97 / sides[0] + 0.97 / sides[1]
    assert abs(int(mask.sum()) - int(right.sum())) <= rim


@names
def test_peaks_are_as_far_apart_as_they_must(name: str) -> None:
    wcs = SKIES[name]()
    geom = WcsGeom(wcs, (NPIX, NPIX))
    image = np.random.default_rng(5).normal(size=(NPIX, NPIX))
    found = find_peaks({"sqrt_ts": Map(geom, image)}, 2.0, "0.4 deg")
    assert len(found) > 3
    y, x = np.mgrid[:NPIX, :NPIX]
    peaks = set()
    for row, col in zip(*np.nonzero(image > 2.0), strict=True):
        near = separations(wcs, x, y, place_of(name, row, col)) <= 0.4
        near[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2] = True
        if image[row, col] >= image[near].max():
            peaks.add((int(row), int(col)))
    assert {(int(r), int(c)) for r, c in zip(found["row"], found["col"], strict=True)} == peaks


def disc_profile(radius: float) -> object:
    norm = 1 / (2 * np.pi * (1 - np.cos(np.deg2rad(radius))))
    return lambda distance: norm * (distance <= radius)


@quick
def test_predicted_counts_are_plain_sums(name: str) -> None:
    wcs, dataset = SKIES[name](), dataset_of(name)
    lon, lat = place = place_of(name, MIDDLE + 0.3, MIDDLE - 0.2)
    # a Gaussian folded with a Gaussian is one
    cases = {
        "point": (PointSpatialModel(lon, lat), gaussian(SIGMA)),
        "gauss": (GaussianSpatialModel(lon, lat, sigma=0.2), gaussian(np.hypot(SIGMA, 0.2))),
    }
    for spatial, profile in cases.values():
        expected = SOURCE * integrated(wcs, place, profile)
        counts = dataset.npred_signal([SkyModel(SPECTRUM, spatial)]).data[0]
        # one PSF for the whole source: near a pole the pixels differ across it
        bar = 8e-3 if name == "CAR at 85" else 4e-3
        np.testing.assert_allclose(counts, expected, rtol=0, atol=bar * expected.max())
        assert counts.sum() == pytest.approx(expected.sum(), rel=3e-3)
    bare = dataset.copy()
    bare.psf = None
    disc = DiskSpatialModel(lon, lat, r_0=0.4, edge_width=0)
    counts = bare.npred_signal([SkyModel(SPECTRUM, disc)]).data[0]
    expected = SOURCE * integrated(wcs, place, disc_profile(0.4), nodes=24)
    assert counts.sum() == pytest.approx(expected.sum(), rel=3e-3)
    # pixels at the edge depend on where the samples are
    assert np.abs(counts - expected).sum() < 0.02 * expected.sum()


@quick
def test_a_template_is_seen_as_it_is(name: str) -> None:
    wcs, dataset = SKIES[name](), dataset_of(name)
    place = place_of(name)
    y, x = np.mgrid[:NPIX, :NPIX].astype(float)
    brightness = gaussian(0.25)(separations(wcs, x, y, place))
    template = TemplateSpatialModel.from_map(
        Map(dataset.geom.to_image(), brightness, unit="sr-1"), normalize=False
    )
    counts = dataset.npred_signal([SkyModel(SPECTRUM, template)]).data[0]
    expected = SOURCE * integrated(wcs, place, gaussian(np.hypot(SIGMA, 0.25)))
    inner = slice(12, -12)
    # straight lines between the pixels of a template make it wider by a sixth of their squares
    bar = 0.005 + float(np.max(pixel_shape(dataset.geom, middle(dataset.geom)).sides)) ** 2
    np.testing.assert_allclose(
        counts[inner, inner], expected[inner, inner], rtol=0, atol=bar * expected.max()
    )
    assert areas(wcs, x, y).shape == counts.shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oblong, turned", "CAR at 60"])
def test_a_fit_finds_the_size(name: str) -> None:
    lon, lat = place_of(name)
    for true in (0.0, 0.2):
        dataset = dataset_of(name, signal_of(name, float(np.hypot(SIGMA, true))))
        dataset.background.data *= 0.1
        dataset.counts.data -= 0.9 * BACKGROUND
        start = GaussianSpatialModel(lon, lat, sigma=0.15)
        result = fit(dataset, SkyModel(SPECTRUM, start, name="it"))
        found = result.models["it"]
        size, flux = found.spatial_model.sigma, found.spectral_model.integral(1.0, 10.0)
        if true:
            assert float(size) == pytest.approx(true, rel=0.01)
        else:
            assert float(size) < 0.03
        assert float(flux) == pytest.approx(float(SPECTRUM.integral(1.0, 10.0)), rel=0.01)


@pytest.mark.parametrize("proj", ["AIT", "MOL"])
def test_nothing_is_beyond_the_rim_of_an_all_sky_map(proj: str) -> None:
    geom = WcsGeom.create(binsz=4, proj=proj, frame="galactic")
    away = np.isnan(geom.get_coord()[0])
    assert away.sum() > 100
    flat = Map(geom, np.where(away, 1e4, 5.0))
    ring = disc_kernel(geom, "20 deg", "12 deg")
    estimator = KernelBackgroundEstimator(
        disc_kernel(geom, "5 deg"), ring, mask_dilation_radius="5 deg"
    )
    images = estimator.run({"counts": flat})
    np.testing.assert_allclose(images["background"].data[~away], 5.0)
    assert not images["background"].data[away].any()
    assert np.isnan(images["significance"].data[away]).all()
    maps = lima_maps(flat, Map(geom, np.full(geom.shape_image, 5.0)), "5 deg")
    np.testing.assert_allclose(maps["excess"].data[~away], 0.0, atol=1e-12)
    assert np.isnan(maps["sqrt_ts"].data[away]).all()


def test_an_all_sky_map_is_searched_to_its_rim() -> None:
    geom = WcsGeom.create(binsz=4, proj="AIT", frame="galactic")
    away = np.isnan(geom.get_coord()[0])
    counts = np.where(away, 1e4, BACKGROUND)
    rim = int(np.flatnonzero(~away[22])[0])
    counts[22, rim] += 100
    counts[10, 45] += 150
    cube = geom.to_cube([ENERGY])
    dataset = MapDataset(
        Map(cube, counts[None]),
        exposure=Map(geom.to_cube([TRUE]), np.full((1, *geom.shape_image), 1e12), unit="cm2 s"),
        background=Map(cube, np.full((1, *geom.shape_image), BACKGROUND)),
        psf=PSFMap.from_gauss(TRUE, 3.0),
    )
    assert dataset.mask is not None
    assert not dataset.mask.data[0][away].any()
    maps = TSMapEstimator(SkyModel(SPECTRUM, PointSpatialModel())).run(dataset)
    np.testing.assert_array_equal(np.isnan(maps["sqrt_ts"].data[0]), away)
    found = maps.find_peaks(threshold=5, min_distance="10 deg")
    assert {(int(r), int(c)) for r, c in zip(found["row"], found["col"], strict=True)} == {
        (22, rim),
        (10, 45),
    }


def spectra_dataset(npix: int = 41) -> MapDataset:
    """Return a dataset of four energies, without sources."""
    energy = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4)
    true = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4, name="energy_true")
    geom = WcsGeom.create(npix=npix, binsz=0.05, skydir=(83, 22), proj="TAN")
    flat = np.full((4, npix, npix), BACKGROUND)
    return MapDataset(
        Map(geom.to_cube([energy]), flat),
        exposure=Map(geom.to_cube([true]), np.full(flat.shape, 4e14), unit="cm2 s"),
        background=Map(geom.to_cube([energy]), flat),
        psf=PSFMap.from_gauss(true, SIGMA),
        name="spectra",
    )


@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_energies_without_a_psf_are_left_out(
    missing: float, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = spectra_dataset()
    lon, lat = (float(c) for c in dataset.geom.pix_to_lonlat(20, 20))
    spectrum = PowerLawSpectralModel(index=2, amplitude=1e-12)
    source = SkyModel(spectrum, PointSpatialModel(lon, lat))
    # what is seen is seen at all energies
    dataset.counts.data += dataset.npred_signal([source]).data
    dataset.psf.psf_map.data[:2] = missing
    maps = TSMapEstimator(source, sum_over_energy_groups=True).run(dataset)
    assert maps["norm"].data[0, 20, 20] == pytest.approx(1.0, abs=1e-4)
    (record,) = caplog.records
    assert "exposure but no PSF at 1 TeV to 10 TeV of true energy" in record.message
    whole = dataset.copy()
    whole.psf = spectra_dataset().psf
    kept = whole.slice_by_energy("10 TeV", "100 TeV")
    alone = TSMapEstimator(source, sum_over_energy_groups=True).run(kept)
    np.testing.assert_allclose(
        maps["sqrt_ts"].data[0, 20, 20], alone["sqrt_ts"].data[0, 20, 20], rtol=1e-6
    )


@pytest.mark.parametrize("frame", ["icrs", "fk5", "galactic"])
def test_a_template_that_carries_flux_has_norm_one_where_it_is_the_truth(frame: str) -> None:
    dataset = spectra_dataset()
    middle_of_map = SkyCoord(83, 22, unit="deg")
    energy = MapAxis.from_energy_bounds("0.8 TeV", "120 TeV", nbin=6, name="energy_true")
    geom = WcsGeom.create(npix=31, binsz=0.05, skydir=middle_of_map, proj="TAN", frame=frame)
    apart = geom.separation(SkyCoord(83.05, 22.1, unit="deg")).to_value("deg")
    nodes = energy.center_in("TeV")[:, None, None]
    data = 1e-8 * nodes**-2.7 * np.exp(-0.5 * (apart / (0.2 * nodes**0.1)) ** 2)
    brightness = Map(geom.to_cube([energy]), data, unit="cm-2 s-1 TeV-1 sr-1")
    template = TemplateSpatialModel.from_map(brightness, normalize=False)
    model = SkyModel(PowerLawNormSpectralModel(), template)
    signal = dataset.npred_signal([model]).data
    # the template's own numbers, at the middle of the first bin, over the whole sky
    low = energy_in_first_bin(data, energy, geom)
    assert signal[0].sum() == pytest.approx(low * 4e14, rel=0.03)
    dataset.counts.data += signal
    maps = TSMapEstimator(model).run(dataset)
    assert maps["norm"].data[0, 20, 20] == pytest.approx(1.0, abs=1e-3)
    total = np.sum(data * geom.solid_angle().value, axis=(1, 2))
    flux = np.trapezoid(
        np.exp(np.interp(np.linspace(0, np.log(100), 4000), np.log(nodes.ravel()), np.log(total))),
        np.exp(np.linspace(0, np.log(100), 4000)),
    )
    assert maps["flux"].data[0, 20, 20] == pytest.approx(flux, rel=0.01)


def energy_in_first_bin(data: Floats, energy: MapAxis, geom: WcsGeom) -> float:
    """Return the flux in the first bin, its width times the value at its middle."""
    total = np.sum(data * geom.solid_angle().value, axis=(1, 2))
    edges = 10 ** np.array([0.0, 0.5])
    middle_of_bin = np.log(np.sqrt(edges[0] * edges[1]))
    value = np.exp(np.interp(middle_of_bin, np.log(energy.center_in("TeV")), np.log(total)))
    return float(value * (edges[1] - edges[0]))
