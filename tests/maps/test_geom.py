"""Sky geometries: coordinates, areas, cuts, headers."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.maps import (
    MapAxis,
    RegionGeom,
    SolidAngleWarning,
    WcsGeom,
    kept,
    quadrilateral_areas,
    unit_vectors,
    warn_if_uneven,
)
from gammagrad.maps.geom.cutting import next_odd
from gammagrad.maps.geom.uneven import unevenness
from gammagrad.maps.irf import psf_kernel

PROJECTIONS = ["CAR", "TAN", "AIT", "ZEA", "SFL", "MER", "STG", "ARC", "SIN", "MOL"]
energy = MapAxis.from_energy_bounds("1 TeV", "10 TeV", 4)

sky_positions = st.tuples(st.floats(0, 359.9), st.floats(-80, 80))


def test_create_counts_pixels():
    geom = WcsGeom.create(width=(10, "5 deg"), binsz=0.1 * u.deg, axes=[energy])
    assert geom.npix == (100, 50)
    assert geom.data_shape == (4, 50, 100)
    assert geom.shape_image == (50, 100)
    assert WcsGeom.create(npix=7).npix == (7, 7)
    assert WcsGeom.create(binsz=2).npix == (180, 90)
    np.testing.assert_allclose(geom.width.to_value("deg"), [10, 5])


@pytest.mark.parametrize("proj", PROJECTIONS)
@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
def test_the_middle_is_where_it_was_asked_to_be(proj, frame):
    where = SkyCoord(83.63, 22.01, unit="deg")
    geom = WcsGeom.create(npix=(30, 21), binsz=0.1, skydir=where, proj=proj, frame=frame)
    assert geom.frame == frame
    assert geom.projection == proj
    assert geom.center_skydir.separation(where).deg < 1e-9
    assert geom.center_pix == (14.5, 10)
    np.testing.assert_allclose(geom.pixel_scales.to_value("deg"), 0.1)


@given(sky_positions, st.sampled_from(PROJECTIONS), st.floats(-5, 20), st.floats(-5, 20))
def test_pixel_to_sky_and_back(skydir, proj, x, y):
    geom = WcsGeom.create(npix=16, binsz=0.2, skydir=skydir, proj=proj, frame="galactic")
    np.testing.assert_allclose(geom.sky_to_pix(geom.pix_to_sky(x, y)), (x, y), atol=1e-6)


def test_coordinates_in_another_frame_agree_with_astropy():
    geom = WcsGeom.create(npix=(6, 5), binsz=0.5, skydir=(0, 0), frame="galactic")
    lon, lat = geom.get_coord("icrs")
    expected = SkyCoord(*geom.get_coord(), unit="deg", frame="galactic").icrs
    np.testing.assert_allclose(lon, expected.ra.deg)
    np.testing.assert_allclose(lat, expected.dec.deg)


def test_positions_may_be_pairs_in_the_frame_of_the_map():
    geom = WcsGeom.create(npix=(20, 10), binsz=0.1, skydir=(10, 5), frame="galactic")
    assert geom.contains((10, 5))
    assert geom.contains(("10.99 deg", 5 * u.deg))
    assert not geom.contains((11.01, 5))
    np.testing.assert_array_equal(geom.contains(([10, 50], [5, 5])), [True, False])
    assert geom.separation((10, 5)).min() < 0.1 * u.deg
    assert geom.separation(geom.center_skydir.icrs).shape == (10, 20)
    with pytest.raises(TypeError, match="expected a SkyCoord or"):
        geom.sky_to_pix(3)


@pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
def test_distances_are_those_of_astropy(proj):
    geom = WcsGeom.create(npix=(9, 7), binsz=20, skydir=(200, 40), proj=proj)
    expected = geom.get_skycoord().separation(geom.center_skydir).to_value("deg")
    np.testing.assert_allclose(geom.center_distance, expected, rtol=1e-12, atol=1e-12)
    elsewhere = SkyCoord(30, -50, unit="deg", frame="galactic")
    expected = geom.get_skycoord().separation(elsewhere).to_value("deg")
    np.testing.assert_allclose(geom.separation(elsewhere).value, expected, rtol=1e-12)
    x, y = np.array([1.5, 2]), np.array([3, 4.25])
    expected = geom.pix_to_sky(x, y).separation(geom.center_skydir).deg
    np.testing.assert_allclose(geom.distance_from_center(x, y), expected, rtol=1e-12)


def test_solid_angle_of_plate_carree_is_exact():
    geom = WcsGeom.create(npix=(40, 60), binsz=0.05, proj="CAR")
    edges = np.deg2rad((np.arange(61) - 30) * 0.05)
    expected = np.deg2rad(0.05) * np.diff(np.sin(edges))[:, None]
    np.testing.assert_allclose(
        geom.solid_angle().to_value("sr"), np.broadcast_to(expected, (60, 40)), rtol=1e-6
    )


@given(sky_positions, st.sampled_from(["ZEA", "CEA", "MOL", "AIT", "SFL"]))
def test_equal_area_projections_have_equal_areas(skydir, proj):
    geom = WcsGeom.create(npix=(30, 20), binsz=0.05, skydir=skydir, proj=proj)
    np.testing.assert_allclose(geom.solid_angle().value, np.deg2rad(0.05) ** 2, rtol=2e-6)


@pytest.mark.parametrize(("proj", "whole"), [("CAR", 1.0), ("AIT", 0.97), ("MOL", 0.97)])
def test_whole_sky(proj, whole):
    geom = WcsGeom.create(binsz=2, proj=proj, frame="galactic")
    area = geom.solid_angle().to_value("sr")
    covered = np.nansum(area) / (4 * np.pi)
    assert covered <= 1 + 1e-12
    assert covered >= whole - 1e-9
    lon, _ = geom.get_coord()
    assert np.all(np.isnan(area[np.isnan(lon)]))
    assert geom == WcsGeom.create(binsz=2, proj=proj, frame="galactic")


def test_tiny_pixels_keep_their_digits():
    geom = WcsGeom.create(npix=4, binsz=1e-6, skydir=(123.4, 56.7), proj="TAN")
    np.testing.assert_allclose(geom.solid_angle().value, np.deg2rad(1e-6) ** 2, rtol=1e-5)


def test_one_octant_of_the_sphere():
    lon, lat = np.array([[0.0, 90], [0, 90]]), np.array([[0.0, 0], [90, 90]])
    assert quadrilateral_areas(unit_vectors(lon, lat))[0, 0] == pytest.approx(np.pi / 2)


def test_uneven_pixels_are_warned_of():
    even = WcsGeom.create(npix=(400, 200), binsz=0.05)
    uneven = WcsGeom.create(npix=(40, 40), binsz=1)
    corner = np.cos(np.deg2rad(19.5))
    found = unevenness(uneven)
    # in longitude a source is wider by one over the cosine, and its variance by the square of it
    assert found.norm == pytest.approx(np.sqrt(2 / (1 + corner**-2)) - 1, rel=1e-3)
    assert found.area == pytest.approx(corner - 1, rel=1e-3)
    assert abs(found.norm_at[1]) == abs(found.area_at[1]) == 19.5
    warn_if_uneven(even)
    warn_if_uneven(RegionGeom([energy]))
    with pytest.warns(SolidAngleWarning, match=r"CAR projection, 40 x 40 deg.* up to 3% low"):
        warn_if_uneven(uneven)
    with pytest.warns(SolidAngleWarning, match="a disc is up to 6% smaller than asked"):
        warn_if_uneven(uneven, "area")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"npix": 0}, "at least one pixel"),
        ({"npix": 5, "binsz": -1}, "positive pixel sizes"),
        ({"npix": 5, "binsz": "1 m"}, "binsz: cannot convert"),
        ({"npix": 5, "frame": "moon"}, "frame is 'moon'"),
        ({"npix": 5, "proj": "XYZ"}, "proj is 'XYZ'"),
        ({"npix": 5, "skydir": (1, 2, 3)}, "skydir: expected one angle or two"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        WcsGeom.create(**arguments)


def test_other_coordinates_are_refused():
    wcs = WCS(naxis=2)
    with pytest.raises(ValueError, match="expected two celestial axes"):
        WcsGeom(wcs, (3, 3))
    with pytest.raises(ValueError, match="no celestial coordinates"):
        WcsGeom.from_header({"NAXIS": 2}, (3, 3))
    swapped = {"NAXIS": 2, "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}
    with pytest.raises(ValueError, match="must be longitude and latitude"):
        WcsGeom.from_header(swapped, (3, 3))
    ecliptic = {"NAXIS": 2, "CTYPE1": "XLON-TAN", "CTYPE2": "XLAT-TAN"}
    with pytest.raises(ValueError, match="unknown celestial frame"):
        WcsGeom.from_header(ecliptic, (3, 3))


@given(
    st.floats(0.05, 4),
    st.floats(0.05, 4),
    st.floats(-1, 26),
    st.floats(-1, 18),
)
def test_cutouts_are_those_of_astropy(width_lon, width_lat, x, y):
    geom = WcsGeom.create(npix=(25, 17), binsz=0.1, skydir=(266.4, -29), proj="TAN")
    position = geom.pix_to_sky(x, y)
    size = np.maximum([width_lat / 0.1, width_lon / 0.1], 1)
    data = np.arange(25 * 17).reshape(17, 25)
    try:
        expected = Cutout2D(data, position, tuple(size), wcs=geom.wcs, mode="trim")
    except ValueError:
        with pytest.raises(ValueError, match="outside the map"):
            geom.cutout(position, (width_lon, width_lat))
        return
    part, slices = geom.cutout_slices(position, (width_lon, width_lat))
    np.testing.assert_array_equal(data[slices], expected.data)
    np.testing.assert_allclose(part.wcs.wcs.crpix, expected.wcs.wcs.crpix)


def test_cutout_of_odd_size_is_centred_on_its_pixel():
    geom = WcsGeom.create(npix=50, binsz=0.1, skydir=(83.63, 22.01), axes=[energy])
    part, (rows, cols) = geom.cutout_slices(geom.pix_to_sky(20, 30), "0.8 deg", odd_npix=True)
    assert part.data_shape == (4, 9, 9)
    assert (rows, cols) == (slice(26, 35), slice(16, 25))
    assert geom.offset_of(part) == (16, 26)
    assert part.center_skydir.separation(geom.pix_to_sky(20, 30)).deg < 1e-9


def test_strict_cutouts_stay_inside():
    geom = WcsGeom.create(npix=20, binsz=0.1)
    assert geom.cutout((0, 0), 1, mode="strict").npix == (10, 10)
    with pytest.raises(ValueError, match="reaches beyond the map"):
        geom.cutout((0.8, 0), 1, mode="strict")
    with pytest.raises(ValueError, match="mode is 'partial'"):
        geom.cutout((0, 0), 1, mode="partial")
    with pytest.raises(ValueError, match="outside the map"):
        geom.cutout((180, 0), 1)


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["CAR", "TAN"]))
def test_pad_and_crop_undo_each_other(rows, cols, proj):
    geom = WcsGeom.create(npix=(12, 9), binsz=0.3, skydir=(10, 50), proj=proj, axes=[energy])
    padded = geom.pad((rows, cols))
    assert padded.shape_image == (9 + 2 * rows, 12 + 2 * cols)
    assert padded.offset_of(geom) == (cols, rows)
    assert padded.crop((rows, cols)) == geom


def test_pads_and_crops_must_make_sense():
    geom = WcsGeom.create(npix=(4, 4), binsz=1)
    for bad in (-1, 1.5, (1, 2, 3)):
        with pytest.raises(ValueError, match="expected a whole number"):
            geom.pad(bad)
    with pytest.raises(ValueError, match="nothing is left"):
        geom.crop(2)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_rebinning_keeps_the_sky(factor):
    geom = WcsGeom.create(npix=(12, 6), binsz=0.3, skydir=(200, 30), proj="TAN", axes=[energy])
    coarse = geom.downsample(factor)
    assert coarse.data_shape == (4, 6 // factor, 12 // factor)
    assert coarse.upsample(factor) == geom
    middle = (factor - 1) / 2
    assert coarse.pix_to_sky(0, 0).separation(geom.pix_to_sky(middle, middle)).deg < 1e-9
    total = geom.solid_angle().sum()
    np.testing.assert_allclose(coarse.solid_angle().sum(), total, rtol=1e-6)
    with pytest.raises(ValueError, match="cannot be merged by 4; pad or crop"):
        geom.downsample(4)
    with pytest.raises(ValueError, match="whole number"):
        geom.upsample(0)


def test_a_rotated_grid_can_be_cut_and_rebinned():
    wcs = WcsGeom.create(npix=20, binsz=0.1, skydir=(83, 22), proj="TAN").wcs.deepcopy()
    angle = np.deg2rad(30)
    wcs.wcs.cd = 0.1 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    geom = WcsGeom(wcs, (20, 20))
    np.testing.assert_allclose(geom.pixel_scales.value, 0.1)
    assert geom.downsample(2).upsample(2) == geom
    assert geom.offset_of(geom.cutout(geom.pix_to_sky(10.1, 9.9), 0.5)) == (8, 8)
    assert WcsGeom.from_header(geom.to_header(), geom.npix) == geom


def test_distortions_can_be_looked_at_but_not_cut():
    header = WcsGeom.create(npix=20, binsz=0.01, skydir=(83, 22), proj="TAN").to_header()
    header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"})
    header.update({"A_ORDER": 2, "A_2_0": 1e-3, "B_ORDER": 2, "B_0_2": 1e-3})
    geom = WcsGeom.from_header(header, (20, 20))
    x, y = geom.sky_to_pix(geom.pix_to_sky(3, 4))
    np.testing.assert_allclose((x, y), (3, 4), atol=1e-3)
    assert geom.projection == "TAN"
    with pytest.raises(ValueError, match="distortions"):
        geom.pad(1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, 1), (0.5, 1), (1, 1), (1.5, 3), (20, 21), (21, 21), (21 + 1e-9, 21), (21.001, 23)],
)
def test_next_odd(size, expected):
    assert next_odd(size) == expected


def test_kernel_geometry():
    geom = WcsGeom.create(npix=(40, 30), binsz=(0.1, 0.05), skydir=(83.63, 22.01), axes=[energy])
    kernel = geom.to_odd_npix(max_radius="0.5 deg")
    assert kernel.npix == (11, 11)
    assert kernel.axes == geom.axes
    np.testing.assert_allclose(kernel.pixel_scales.value, 0.1)
    np.testing.assert_allclose(kernel.wcs.wcs.crpix, 6)
    assert kernel.center_skydir.separation(geom.center_skydir).deg < 1e-12
    assert geom.to_odd_npix().npix == (41, 41)
    np.testing.assert_array_equal(geom.odd_npix([0, 0.04, 0.5, 0.56]), [1, 1, 11, 13])
    with pytest.raises(ValueError, match="positive angle"):
        geom.to_odd_npix(0)


def test_equality_is_about_pixels_not_about_headers():
    geom = WcsGeom.create(npix=(30, 20), binsz=0.1, skydir=(10, 20), proj="TAN")
    wcs = geom.wcs.deepcopy()
    wcs.wcs.crval = np.round(wcs.wcs.crval, 6)
    wcs.wcs.equinox, wcs.wcs.radesys = 2000.0, "FK5"
    # FK5 and ICRS are 0.02 arcsec apart: no different pixels
    assert WcsGeom(wcs, (30, 20)) == geom
    wcs.wcs.crval += 0.001
    other = WcsGeom(wcs, (30, 20))
    assert other != geom
    assert "the pixels lie elsewhere on the sky: fk5 TAN" in geom.difference(other)
    assert geom != geom.pad(1)
    assert geom != geom.to_cube([energy])
    assert "shape (4, 20, 30) instead of (20, 30)" in geom.difference(geom.to_cube([energy]))
    assert geom != RegionGeom()
    assert geom != "a geometry"
    assert hash(geom) == hash(WcsGeom.from_header(geom.to_header(), geom.npix))


def test_grids_that_are_not_aligned():
    geom = WcsGeom.create(npix=20, binsz=0.1, proj="TAN")
    assert geom.is_aligned(geom.pad(3))
    assert not geom.is_aligned(WcsGeom.create(npix=20, binsz=0.1, proj="TAN", skydir=(0.03, 0)))
    assert not geom.is_aligned(WcsGeom.create(npix=20, binsz=0.11, proj="TAN"))
    assert not geom.is_aligned(WcsGeom.create(npix=20, binsz=0.1, proj="TAN", skydir=(180, 0)))


@given(sky_positions, st.sampled_from(PROJECTIONS), st.sampled_from(["icrs", "galactic", "fk5"]))
def test_headers_keep_every_digit(skydir, proj, frame):
    geom = WcsGeom.create(
        npix=(9, 8), binsz=0.123456789012345, skydir=skydir, proj=proj, frame=frame
    )
    back = WcsGeom.from_header(geom.to_header(), geom.npix)
    assert back.frame == frame
    np.testing.assert_allclose(back.get_coord(), geom.get_coord(), rtol=0, atol=1e-12)


def test_reading_a_header_with_odd_dates_is_quiet():
    header = WcsGeom.create(npix=3).to_header()
    header["DATE-OBS"] = "31/12/99"
    header["NAXIS1"], header["NAXIS2"] = 3, 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert WcsGeom.from_header(header).npix == (3, 3)


def test_axes_can_be_exchanged():
    rad = MapAxis([0, 1, 2], name="rad", unit="deg")
    geom = WcsGeom.create(npix=(3, 2), axes=[rad, energy])
    assert geom.data_shape == (4, 2, 2, 3)
    assert not geom.is_image
    assert geom.squash("energy").data_shape == (1, 2, 2, 3)
    assert geom.drop("rad").data_shape == (4, 2, 3)
    assert geom.slice_axis("energy", slice(1, 3)).data_shape == (2, 2, 2, 3)
    assert geom.replace_axis(energy.rename("energy_true"), "energy").axes.names[1] == "energy_true"
    assert geom.to_image().to_cube([energy]) == geom.drop("rad")
    assert geom.drop("rad").to_cube([rad]).axes.names == ["energy", "rad"]
    assert geom.axes.names == ["rad", "energy"]


def test_region_geometry():
    geom = RegionGeom([energy])
    assert geom.data_shape == (4, 1, 1)
    assert geom.is_region
    assert geom.center_skydir is None
    assert geom.squash("energy").data_shape == (1, 1, 1)
    assert geom == RegionGeom([energy])
    assert geom != RegionGeom()
    assert "energy" in str(geom)


def test_geometries_print_and_pickle():
    geom = WcsGeom.create(npix=(40, 20), binsz=0.1, skydir=(83.63, 22.01), axes=[energy])
    assert "axes       : ['lon', 'lat', 'energy']" in str(geom)
    assert "center     : 83.6 deg, 22.0 deg" in str(geom)
    assert "icrs CAR, 40 x 20 pixels of 0.1 x 0.1 deg around (83.6300, 22.0100)" in repr(geom)
    assert pickle.loads(pickle.dumps(geom)) == geom


@pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
def test_geometries_are_those_of_gammapy(proj):
    maps = pytest.importorskip("gammapy.maps")
    options = {"npix": (30, 21), "binsz": 0.1, "skydir": (266.4, -29.0), "proj": proj}
    mine, theirs = WcsGeom.create(**options), maps.WcsGeom.create(**options)
    assert mine == WcsGeom(theirs.wcs, (30, 21))
    np.testing.assert_allclose(
        mine.solid_angle().to_value("sr"), theirs.solid_angle().to_value("sr"), rtol=1e-5
    )
    position = mine.pix_to_sky(7.3, 11.8)
    for odd in (False, True):
        ours = mine.cutout(position, "0.85 deg", odd_npix=odd)
        cut = theirs.cutout(position, "0.85 deg", odd_npix=odd)
        assert ours == WcsGeom(cut.wcs, cut.data_shape[::-1])


def test_squares_around_the_middle_are_kept_by_their_size() -> None:
    geom = WcsGeom.create((20, 10), 0.1, skydir=(10, 40), proj="TAN")
    square = geom.centred_square(5)
    assert square is geom.to_image().centred_square(5)
    assert square == geom.to_odd_npix("0.25 deg")
    assert square != geom.centred_square(7)
    for npix in range(1, 41, 2):
        geom.centred_square(npix)
    assert geom.centred_square(5) == square


def test_threads_may_share_what_a_geometry_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = np.zeros((1, 1))
    monkeypatch.setattr(WcsGeom, "distance_from_center", lambda *_: ring[None])
    geom, some = WcsGeom.create((20, 10), 0.1), range(3, 43, 2)
    squares = {npix: geom.centred_square(npix) for npix in some}
    monkeypatch.setattr(WcsGeom, "create", lambda npix, **_: squares[npix])

    def ask(thread: int) -> None:
        for index in range(2000):
            npix = some[index * thread % len(some)]
            assert geom.centred_square(npix) is squares[npix]
            psf_kernel._offsets(geom, (thread, index), ring, ring)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(1, 5)))


def test_a_window_may_reach_beyond_the_map() -> None:
    geom = WcsGeom.create((10, 8), 0.5, skydir=(83.6, 22.0), proj="TAN")
    window = geom.window(-2, 7, (5, 6))
    assert window.shape_image == (5, 6)
    # its pixel (0, 0) is the map's row -2 and column 7
    expected = geom.pix_to_sky(7.0, -2.0)
    assert window.pix_to_sky(0.0, 0.0).separation(expected).deg < 1e-9
    assert window == geom.pad(((2, 0), (0, 3))).window(0, 7, (5, 6))


@pytest.mark.parametrize("most", [1, 2, 5])
def test_of_kept_values_the_oldest_are_dropped(most: int) -> None:
    store: dict[int, int] = {}
    for key in range(7):
        assert kept(store, key, lambda key=key: key * key, most) == key * key
        assert len(store) == min(key + 1, most)
    assert list(store) == list(range(7 - most, 7))
    assert kept(store, 6, lambda: -1, most) == 36
