"""Methods of maps and geometries that scripts for gammapy use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from scipy import ndimage

from gammagrad import MapDataset
from gammagrad.maps import EDispKernelMap, Map, MapAxis, PSFMap, RegionGeom, WcsGeom

CRAB = SkyCoord(83.63, 22.01, unit="deg")
energy = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4)
geom = WcsGeom.create(npix=(20, 16), binsz=0.1, skydir=CRAB, proj="TAN", axes=[energy])
FERMI = "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz"


def noise(seed: int = 0) -> Map:
    """Return a cube of whole random numbers."""
    data = np.random.default_rng(seed).poisson(2.0, size=geom.data_shape)
    return Map(geom, data.astype(float), "m2")


def positions(n: int = 50) -> tuple[SkyCoord, u.Quantity]:
    """Return random positions and energies, most of them within the map."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-1, 21, n), rng.uniform(-1, 17, n)
    return geom.pix_to_sky(x, y).galactic, 10 ** rng.uniform(-0.2, 2.2, n) * u.TeV


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("interp", ["lin", "log", "sqrt"])
def test_an_axis_counts_from_centre_to_centre(interp: str) -> None:
    axis = MapAxis.from_bounds(1, 9, 4, interp=interp, unit="TeV", name="energy")
    np.testing.assert_allclose(axis.coord_to_pix(axis.center), range(4), atol=1e-12)
    np.testing.assert_allclose(axis.coord_to_pix(axis.edges), np.arange(5) - 0.5, atol=1e-12)
    nodes = MapAxis([1, 4, 9], interp=interp, unit="TeV", name="energy", node_type="center")
    np.testing.assert_allclose(nodes.coord_to_pix([1, 4, 9]), range(3), atol=1e-12)
    assert MapAxis([3], unit="TeV", node_type="center").coord_to_pix("7 TeV") == 0


def test_an_axis_has_sides_and_copies() -> None:
    np.testing.assert_array_equal(energy.edges_min, energy.edges[:-1])
    np.testing.assert_array_equal(energy.edges_max, energy.edges[1:])
    assert energy.copy() == energy
    assert energy.copy(name="energy_true").name == "energy_true"


# ---------------------------------------------------------------- coordinates


def test_coordinates_are_two_arrays_and_know_their_units() -> None:
    coords = geom.get_coord()
    lon, lat = coords
    assert len(coords) == 2
    np.testing.assert_array_equal(coords.lon.to_value("deg"), lon)
    np.testing.assert_array_equal(coords["lat"].to_value("deg"), lat)
    assert coords["skycoord"].shape == geom.shape_image
    np.testing.assert_array_equal(coords["energy"].ravel(), energy.center)
    assert np.broadcast_shapes(lon.shape, coords["energy"].shape) == geom.data_shape
    turned = geom.get_coord("galactic").skycoord
    assert np.all(turned.separation(coords.skycoord).deg < 1e-9)


@pytest.mark.parametrize("kind", ["dict", "lonlat", "tuple", "position"])
def test_coordinates_may_be_given_in_every_way(kind: str) -> None:
    sky, values = positions()
    icrs = sky.icrs
    coords: dict[str, Any] = {
        "dict": {"skycoord": sky, "energy": values},
        "lonlat": {"lon": icrs.ra, "lat": icrs.dec, "energy": values},
        "tuple": (icrs.ra.deg, icrs.dec.deg, values),
        "position": (sky, values.to("GeV")),
    }
    x, y, pixel = geom.coord_to_pix(coords[kind])
    np.testing.assert_allclose((x, y), geom.sky_to_pix(sky), atol=1e-9)
    np.testing.assert_allclose(pixel, energy.coord_to_pix(values), atol=1e-12)
    column, row, index = geom.coord_to_idx(coords[kind])
    inside = (column >= 0) & (row >= 0) & (index >= 0)
    np.testing.assert_array_equal(inside, geom.contains(coords[kind]))
    assert 0.3 < inside.mean() < 1
    m = noise()
    found = m.get_by_coord(coords[kind])
    np.testing.assert_array_equal(np.isnan(found), ~inside)
    np.testing.assert_array_equal(found[inside], m.data[index, row, column][inside])


def test_the_coordinates_of_a_geometry_give_its_map_back() -> None:
    m = noise()
    coords = geom.get_coord()
    np.testing.assert_array_equal(m.get_by_coord(coords), m.data)
    np.testing.assert_allclose(m.interp_by_coord(coords), m.data, atol=1e-9)
    assert m.interp_to_geom(geom).is_allclose(m)
    assert geom.contains(coords).all()
    assert geom.to_image().contains(geom.to_image().get_coord()).all()


def test_wrong_coordinates_say_what_is_missing() -> None:
    m = noise()
    with pytest.raises(ValueError, match="no energy"):
        m.get_by_coord({"skycoord": CRAB})
    with pytest.raises(ValueError, match="no skycoord"):
        m.get_by_coord({"energy": "1 TeV"})
    with pytest.raises(TypeError, match="lon, lat, energy"):
        m.get_by_coord((83.6, 22.0))
    with pytest.raises(ValueError, match="column, row, energy"):
        m.get_by_idx((1, 2))
    with pytest.raises(ValueError, match="idx"):
        m.get_by_idx((1, 2, 9))
    with pytest.raises(ValueError, match="sky pixels"):
        Map(RegionGeom([energy])).get_by_coord((0, 0, 1))


def test_values_by_index_and_pixel() -> None:
    m = noise()
    idx = (np.array([1, 5]), np.array([3, 15]), np.array([0, 2]))
    np.testing.assert_array_equal(m.get_by_idx(idx), m.data[[0, 2], [3, 15], [1, 5]])
    np.testing.assert_array_equal(m.get_by_idx((slice(None), 3, 1)), m.data[1, 3])
    found = m.get_by_pix(([0.4, 19.6], [15.4, 2.0], [3.2, 1.0]), fill_value=-1)
    np.testing.assert_array_equal(found, [m.data[3, 15, 0], -1])


@pytest.mark.parametrize("scale", ["lin", "log", "sqrt"])
def test_interpolation_is_exact_where_the_scale_makes_lines(scale: str) -> None:
    forward = {"lin": lambda x: x, "log": np.exp, "sqrt": np.square}[scale]
    y, x = np.mgrid[:16, :20]
    lines = 1 + 0.1 * x + 0.2 * y + 0.3 * np.arange(4)[:, None, None]
    m = Map(geom, forward(lines))
    pix = (np.array([3.3, 25.0]), np.array([7.1, -2.0]), np.array([1.6, 4.2]))
    sky = geom.pix_to_sky(*pix[:2])
    value = 10 ** ((pix[2] + 0.5) / 2) * u.TeV
    coords = {"skycoord": sky, "energy": value}
    wanted = forward(1 + 0.1 * pix[0] + 0.2 * pix[1] + 0.3 * pix[2])
    np.testing.assert_allclose(m.interp_by_coord(coords, values_scale=scale), wanted, rtol=1e-6)
    filled = m.interp_by_coord(coords, fill_value=-1, values_scale=scale)
    np.testing.assert_allclose(filled, [wanted[0], -1], rtol=1e-6)
    with pytest.raises(ValueError, match="values_scale"):
        m.interp_by_coord(coords, values_scale="cubic")


def test_a_position_of_a_mask_is_its_nearest_pixel() -> None:
    mask = Map(geom.to_image(), np.zeros(geom.shape_image, bool))
    mask.data[[2, 9], [3, 17]] = True
    found = mask.mask_nearest_position(geom.pix_to_sky(15.0, 8.0))
    np.testing.assert_allclose(geom.sky_to_pix(found), (17, 9), atol=1e-9)
    with pytest.raises(ValueError, match="somewhere true"):
        noise().mask_nearest_position(CRAB)


# ---------------------------------------------------------------- smoothing


def test_smoothing_conserves_sums_and_leaves_the_map_alone() -> None:
    m = noise()
    before = m.data.copy()
    for kernel in ("gauss", "disk", "box"):
        smooth = m.smooth("0.25 deg", kernel, mode="wrap")
        np.testing.assert_allclose(smooth.data.sum(axis=(1, 2)), m.data.sum(axis=(1, 2)))
        assert smooth.unit == m.unit
        assert smooth.data.std() < m.data.std()
    np.testing.assert_array_equal(m.data, before)
    wanted = [ndimage.gaussian_filter(image, 2.0) for image in m.data]
    np.testing.assert_allclose(m.smooth(2).data, wanted)
    np.testing.assert_allclose(m.smooth(0.2 * u.deg).data, wanted)


@pytest.mark.parametrize("width", [0, -1, "1 TeV", np.nan, [1, 2]])
def test_a_width_that_is_none_is_refused(width: Any) -> None:
    with pytest.raises(ValueError, match="width"):
        noise().smooth(width)
    with pytest.raises(ValueError, match="kernel"):
        noise().smooth(1, "tophat")


def test_convolution_with_a_point_shifts_the_image() -> None:
    m = noise()
    kernel = np.zeros((3, 5))
    kernel[1, 3] = 2.0
    np.testing.assert_allclose(m.convolve(kernel).data[..., 1:], 2 * m.data[..., :-1], atol=1e-12)
    full = m.convolve(kernel, mode="full")
    assert full.geom.shape_image == (18, 24)
    np.testing.assert_allclose(full.cutout(CRAB, "1 deg").data.sum(), 2 * _shifted_sum(m))
    for bad in (np.ones(3), np.ones((3, 5, 5))):
        with pytest.raises(ValueError, match="kernel has the shape"):
            m.convolve(bad)
    with pytest.raises(ValueError, match="odd"):
        m.convolve(np.ones((2, 2)), mode="full")
    with pytest.raises(ValueError, match="mode"):
        m.convolve(kernel, mode="valid")


def _shifted_sum(m: Map) -> float:
    shifted = m.copy()
    shifted.data[..., 1:] = m.data[..., :-1]
    return float(shifted.cutout(CRAB, "1 deg").data.sum())


def test_an_image_takes_the_energies_of_a_kernel() -> None:
    true = energy.rename("energy_true")
    kernel = PSFMap.from_gauss(true, 0.1).get_psf_kernel(geom.to_image().to_cube([true]))
    image = Map(geom.to_image())
    image.data[8, 10] = 1.0
    blurred = image.convolve(kernel)
    assert blurred.geom.axes.names == ["energy_true"]
    np.testing.assert_allclose(blurred.data.sum(axis=(1, 2)), 1.0, rtol=1e-6)


def test_masks_grow_and_shrink() -> None:
    mask = Map(geom.to_image(), np.zeros(geom.shape_image, bool))
    mask.data[8, 10] = True
    assert mask.binary_dilate(3).data.sum() == 29
    assert mask.binary_dilate("0.3 deg", "box").data.sum() == 9
    grown = mask.binary_dilate(3, "disk").binary_erode(3, "disk")
    np.testing.assert_array_equal(grown.data, mask.data)
    with pytest.raises(TypeError, match="mask"):
        noise().binary_erode(1)
    with pytest.raises(ValueError, match="kernel"):
        mask.binary_erode(1, "gauss")


# ---------------------------------------------------------------- regions


def test_circles_need_no_other_package_and_say_who_is_inside(monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "regions", None)
    apart = geom.separation(CRAB).to_value("deg")
    wanted = np.broadcast_to(apart <= 0.5, geom.data_shape)
    circles: list[Any] = ["icrs;circle(83.63, 22.01, 0.5)", 'icrs;circle(83.63,22.01,1800")']
    circles += [(CRAB, "0.5 deg"), (83.63, 22.01, 0.5), [(83.63, 22.01, 0.5), (CRAB, 0.1)]]
    for circle in circles:
        np.testing.assert_array_equal(geom.region_mask(circle).data, wanted)
    np.testing.assert_array_equal(geom.region_mask((CRAB, 0.5), inside=False).data, ~wanted)
    with pytest.raises(ImportError, match="regions"):
        geom.region_mask("icrs;box(83.63, 22.01, 0.5, 0.5, 0)")


def test_regions_are_united(tmp_path: Path) -> None:
    regions = pytest.importorskip("regions")
    circle = regions.CircleSkyRegion(CRAB, 0.5 * u.deg)
    point = regions.PointSkyRegion(geom.pix_to_sky(2.25, 3.5))
    mask = geom.to_image().region_mask([circle, point])
    assert mask.data[3:5, 2:4].all()
    only = geom.to_image().region_mask(point)
    assert only.data.sum() == 4
    one = geom.to_image().region_mask("icrs;box(83.63, 22.01, 0.4, 0.2, 0)")
    assert 0 < one.data.sum() < 20
    file = tmp_path / "a.reg"
    file.write_text("icrs\ncircle(83.63, 22.01, 0.5)\n")
    from_file = geom.to_image().region_mask(str(file))
    np.testing.assert_array_equal(from_file.data, geom.to_image().region_mask(circle).data)
    with pytest.raises(ValueError, match="cannot read"):
        geom.region_mask("icrs;blob(1, 2)")
    with pytest.raises(TypeError, match="expected the name of a region file"):
        geom.region_mask([3.0])


def test_an_energy_mask_has_whole_bins() -> None:
    def used(*bounds: Any, **options: Any) -> list[bool]:
        mask = geom.energy_mask(*bounds, **options).data
        assert mask.shape == geom.data_shape
        assert np.ptp(mask.astype(int), axis=(1, 2)).max() == 0
        found: list[bool] = mask[:, 0, 0].tolist()
        return found

    edges = energy.edges
    assert used() == [True] * 4
    assert used(edges[1], edges[3]) == [False, True, True, False]
    assert used(1.01 * edges[1]) == [False, False, True, True]
    assert used(1.01 * edges[1], round_to_edge=True) == [False, True, True, True]
    assert used(None, "40 TeV") == [True, True, True, False]
    with pytest.raises(ValueError, match="no axis"):
        geom.to_image().energy_mask("1 TeV")


def test_a_diagonal_dispersion_takes_energies_in_gammapys_order() -> None:
    fine = energy.upsample(2).rename("energy_true")
    ours = EDispKernelMap.from_diagonal_response(energy, fine)
    wanted = EDispKernelMap.from_diagonal(fine, energy)
    np.testing.assert_array_equal(ours.edisp_map.data, wanted.edisp_map.data)
    same = EDispKernelMap.from_diagonal_response(energy)
    np.testing.assert_allclose(same.get_edisp_kernel(), np.eye(4), atol=1e-12)


def test_volumes_and_other_pixels() -> None:
    volume = geom.bin_volume()
    wanted = geom.solid_angle()[None] * energy.bin_width[:, None, None]
    np.testing.assert_allclose(volume.to_value("sr TeV"), wanted.to_value("sr TeV"))
    coarse = geom.to_binsz(0.2)
    assert coarse.shape_image == (8, 10)
    assert coarse.center_skydir.separation(geom.center_skydir).deg < 1e-9


def test_axes_are_renamed_and_maps_compared() -> None:
    m = noise()
    assert m.rename_axes("energy", "energy_true").geom.axes.names == ["energy_true"]
    assert m.rename_axes(["energy"], ["energy_true"]).data is not m.data
    assert m.is_allclose(m.to_unit("cm2"))
    assert not m.is_allclose(m * 2.0)
    assert not m.is_allclose(m.crop(1))
    with pytest.raises(ValueError, match="new_names"):
        m.rename_axes(["energy"], [])


# ---------------------------------------------------------------- pictures


def test_pictures_take_gammapys_arguments() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    m = noise()
    axes = m.plot_grid(ncols=3, add_cbar=False, clim=(0, 5))
    assert axes.shape == (2, 3)
    assert axes[1, 1] is None
    assert axes[0, 0].images[0].get_clim() == (0, 5)
    assert len(axes[0, 0].figure.axes) == 4
    figures = [len(m.image(0).plot(add_cbar=wanted).figure.axes) for wanted in (True, False)]
    assert figures == [2, 1]
    with pytest.raises(ValueError, match="one more axis"):
        m.image(0).plot_grid()
    true = energy.rename("energy_true")
    assert len(PSFMap.from_gauss(true, 0.1).peek().axes) == 2
    assert len(EDispKernelMap.from_diagonal(true, energy).peek().axes) == 3
    plt.close("all")


def test_a_radius_at_an_energy_is_that_of_the_table() -> None:
    true = energy.rename("energy_true")
    psf = PSFMap.from_gauss(true, np.array([0.4, 0.3, 0.2, 0.1]))
    radii = psf.containment_radius(0.393)
    np.testing.assert_allclose(psf.containment_radius(0.393, true.center[::-1]), radii[::-1])
    np.testing.assert_allclose(
        psf.containment_radius(fraction=0.393, energy_true=[["1 PeV"], ["1 GeV"]], position=CRAB),
        radii[[[-1], [0]]],
    )
    np.testing.assert_array_equal(psf.containment_radius(0.393, CRAB), radii)
    assert psf.containment_radius(0.393, energy="2 TeV").shape == ()


# ---------------------------------------------------------------- gammapy itself


def both_maps(gammapy_data: Path) -> tuple[Any, Map]:
    """Return counts of one field as maps of both packages."""
    maps = pytest.importorskip("gammapy.datasets")
    middle = SkyCoord(0, 0, unit="deg", frame="galactic")
    theirs = maps.MapDataset.read(gammapy_data / FERMI).cutout(middle, "4 deg")
    ours = MapDataset.read(gammapy_data / FERMI).cutout(middle, "4 deg")
    return theirs, ours


def test_values_and_smoothing_are_gammapys(gammapy_data: Path) -> None:
    pytest.importorskip("gammapy")
    theirs, ours = both_maps(gammapy_data)
    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(-2.5, 2.5, (2, 100)) * u.deg
    value = 10 ** rng.uniform(0.8, 2.9, 100) * u.GeV
    sky = SkyCoord(lon, lat, frame="galactic").icrs
    for coords in ((lon, lat, value), {"skycoord": sky, "energy": value}):
        np.testing.assert_array_equal(
            ours.counts.get_by_coord(coords), theirs.counts.get_by_coord(coords)
        )
        np.testing.assert_array_equal(
            ours.geom.contains(coords), theirs.counts.geom.contains(coords)
        )
    true = {"skycoord": sky, "energy_true": value}
    for options in ({}, {"fill_value": np.nan}, {"method": "nearest"}, {"values_scale": "log"}):
        np.testing.assert_allclose(
            ours.exposure.interp_by_coord(true, **options),
            theirs.exposure.interp_by_coord(true, **options),
            rtol=3e-5,
        )
    for width, kernel in (("0.13 deg", "gauss"), (2.5, "disk"), ("0.2 deg", "box")):
        np.testing.assert_allclose(
            ours.counts.smooth(width, kernel).data, theirs.counts.smooth(width, kernel).data
        )
    kernel = rng.random((11, 5, 7))
    for k in (kernel, kernel[0]):
        np.testing.assert_allclose(
            ours.counts.convolve(k).data, theirs.counts.convolve(k).data, rtol=1e-4, atol=1e-5
        )
    seen, mask = (d.counts.sum_over_axes(keepdims=False) > 15 for d in (theirs, ours))
    for width in ("0.11 deg", "0.2 deg"):
        np.testing.assert_array_equal(
            mask.binary_dilate(width).data, seen.binary_dilate(width, use_fft=False).data
        )
        np.testing.assert_array_equal(mask.binary_erode(width).data, seen.binary_erode(width).data)
    place = SkyCoord(1.1, 1.4, unit="deg", frame="galactic")
    found, wanted = (m.mask_nearest_position(place) for m in (mask, seen))
    assert found.separation(wanted).deg < 1e-9
    radii, known = (
        d.psf.containment_radius(0.68, [20, 50, 100, 300] * u.GeV).to_value("deg")
        for d in (ours, theirs)
    )
    np.testing.assert_allclose(radii, known, rtol=5e-3)


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
def test_region_masks_are_gammapys(proj: str) -> None:
    maps = pytest.importorskip("gammapy.maps")
    regions = pytest.importorskip("regions")
    options = {"skydir": CRAB, "binsz": 0.05, "width": (5, 4), "proj": proj}
    theirs, ours = maps.WcsGeom.create(**options), WcsGeom.create(**options)
    shapes = [
        regions.CircleSkyRegion(CRAB, 1 * u.deg),
        regions.RectangleSkyRegion(CRAB, 2 * u.deg, 1 * u.deg, 30 * u.deg),
        regions.EllipseSkyRegion(CRAB, 2 * u.deg, 1 * u.deg, 30 * u.deg),
        regions.PointSkyRegion(CRAB),
        "icrs;circle(83.1, 21.5, 0.7)",
    ]
    for shape in [*shapes, shapes[1:4]]:
        for inside in (True, False):
            np.testing.assert_array_equal(
                ours.region_mask(shape, inside).data, theirs.region_mask(shape, inside).data
            )
    axes = [maps.MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=4)]
    for bounds in (("2 TeV", "50 TeV"), ("3.5 TeV", None)):
        limits = [None if bound is None else u.Quantity(bound) for bound in bounds]
        for snap in (True, False):
            np.testing.assert_array_equal(
                ours.to_cube([energy]).energy_mask(*limits, snap).data,
                theirs.to_cube(axes).energy_mask(*limits, snap).data,
            )
    np.testing.assert_allclose(ours.separation(CRAB).deg, theirs.separation(CRAB).deg, atol=1e-12)
    pixels = ours.coord_to_pix((83.2, 22.4)), theirs.coord_to_pix((83.2 * u.deg, 22.4 * u.deg))
    np.testing.assert_allclose(np.ravel(pixels[0]), np.ravel(pixels[1]), atol=1e-9)
