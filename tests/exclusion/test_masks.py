"""Exclusion masks against plain separations, against regions' own answers, and through files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gammagrad.exclusion import exclusion_mask, write_regions
from gammagrad.exclusion.outlines import outlines
from gammagrad.maps import Map, MapAxis, RegionGeom, WcsGeom

CRAB = SkyCoord(83.63, 22.01, unit="deg")


def field(npix: Any = (90, 70), binsz: Any = 0.05, **kwargs: Any) -> WcsGeom:
    """Return a geometry around the Crab."""
    return WcsGeom.create(npix=npix, binsz=binsz, **{"skydir": CRAB, "proj": "TAN", **kwargs})


def excluded_by(geom: WcsGeom, **kwargs: Any) -> NDArray[np.bool_]:
    """Return what a mask excludes."""
    mask = exclusion_mask(geom, **kwargs)
    assert mask.data.dtype == bool
    return ~mask.data


def near(geom: WcsGeom, position: SkyCoord, radius: float) -> NDArray[np.bool_]:
    """Return the pixels near a position, by astropy's separation."""
    return geom.get_skycoord().separation(position).deg <= radius


GEOMETRIES = {
    "tan": field(),
    "galactic": field(frame="galactic", proj="CAR"),
    "oblong pixels": field(binsz=(0.08, 0.03)),
    "near the pole": WcsGeom.create(npix=(120, 60), binsz=1, skydir=(30, 80), proj="ZEA"),
    "whole sky": WcsGeom.create(npix=(180, 90), binsz=2),
    "whole sky, away from zero": WcsGeom.create(npix=(180, 90), binsz=2, skydir=(100, 0)),
    "oval sky": WcsGeom.create(npix=(180, 90), binsz=2, proj="AIT", frame="galactic"),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("radius", [0.33, 7.7, 41.3, 123.4])
def test_circles_are_those_of_true_separations(name: str, radius: float) -> None:
    geom = GEOMETRIES[name]
    for position in (geom.center_skydir, SkyCoord(179.3, 88, unit="deg"), SkyCoord("6h -2d")):
        found = excluded_by(geom, circles=[(position, radius)])
        np.testing.assert_array_equal(found, near(geom, position, radius))


def test_a_circle_goes_on_across_the_edge_of_the_sky() -> None:
    geom = GEOMETRIES["whole sky"]
    found = excluded_by(geom, circles=[(180.0, 0.0, "9 deg")])
    assert found[:, 0].any()
    assert found[:, -1].any()
    np.testing.assert_array_equal(found, found[:, ::-1])


def test_a_centre_at_the_radius_is_inside_whatever_its_rounding() -> None:
    geom = WcsGeom.create(npix=(41, 41), binsz=0.1, proj="TAN")
    found = excluded_by(geom, circles=[(geom.center_skydir, "0.3 deg")])
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(found, found[::-1])
    assert int(found[20].sum()) == 7


def test_circles_can_be_said_in_several_ways() -> None:
    geom = field(frame="galactic")
    galactic = CRAB.galactic
    expected = near(geom, CRAB, 0.3)
    for circles in (
        [(CRAB, 0.3)],
        (CRAB, "18 arcmin"),
        [(galactic.l.deg, galactic.b.deg, 0.3 * u.deg)],
        (f"{galactic.l.deg} deg", galactic.b, "0.3 deg"),
    ):
        np.testing.assert_array_equal(excluded_by(geom, circles=circles), expected)


def test_many_circles_are_the_union_of_each() -> None:
    geom = GEOMETRIES["whole sky"]
    rng = np.random.default_rng(0)
    positions = SkyCoord(rng.uniform(0, 360, 40), rng.uniform(-90, 90, 40), unit="deg")
    radii = rng.uniform(0, 12, 40)
    expected = np.any([near(geom, p, r) for p, r in zip(positions, radii, strict=True)], axis=0)
    np.testing.assert_array_equal(excluded_by(geom, circles=[(positions, radii)]), expected)


def test_what_lies_outside_excludes_nothing() -> None:
    geom = field()
    assert exclusion_mask(geom, circles=[(200.0, -60.0, 1.0)]).data.all()
    assert exclusion_mask(geom).data.all()
    assert exclusion_mask(geom, circles=[]).data.all()


def test_a_cube_has_the_same_mask_in_every_bin() -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    mask = exclusion_mask(field(axes=[axis]), circles=[(CRAB, 0.3)])
    assert mask.data.shape == (3, 70, 90)
    np.testing.assert_array_equal(~mask.data, np.stack([near(field(), CRAB, 0.3)] * 3))


@pytest.mark.parametrize(
    "columns",
    [
        {"ra": [83.63, 83.2], "dec": [22.01, 22.5]},
        {"RAJ2000": [83.63, 83.2] * u.deg, "DEJ2000": [22.01, 22.5] * u.deg},
        {"RA": np.deg2rad([83.63, 83.2]) * u.rad, "Dec": np.deg2rad([22.01, 22.5]) * u.rad},
        {"ra": np.array([83.63, 83.2]) / 15 * u.hourangle, "dec": [22.01, 22.5] * u.deg},
        {"raj2000": ["5:34:31.2", "05 32 48"], "dej2000": ["+22:00:36", "22d30m"]},
        {"GLON": [1, 2], "GLAT": [3, 4], "ra": [83.63, 83.2], "dec": [22.01, 22.5]},
        {"lon": [83.63, 83.2], "lat": [22.01, 22.5]},
    ],
)
def test_positions_are_found_by_usual_names(columns: dict[str, Any]) -> None:
    geom = field()
    expected = near(geom, CRAB, 0.3) | near(geom, SkyCoord(83.2, 22.5, unit="deg"), 0.3)
    for kind in (Table, QTable):
        found = excluded_by(geom, table=kind(columns), radius="0.3 deg")
        np.testing.assert_array_equal(found, expected)


def test_galactic_columns_are_galactic_on_any_map() -> None:
    table = Table({"GLON": [184.55, 184.0], "GLAT": [-5.78, -6.0]})
    geom = field()
    expected = near(geom, SkyCoord(184.55, -5.78, unit="deg", frame="galactic"), 0.3)
    expected |= near(geom, SkyCoord(184, -6, unit="deg", frame="galactic"), 0.3)
    np.testing.assert_array_equal(excluded_by(geom, table=table, radius=0.3), expected)


@pytest.mark.parametrize("suffix", [".ecsv", ".csv", ".fits", ".fits.gz"])
def test_tables_are_read_from_files_with_their_own_radii(tmp_path: Path, suffix: str) -> None:
    table = Table({"name": ["a", "b"], "ra": [83.63, 83.2], "dec": [22.01, 22.5]})
    table["radius"], table["extent"] = [0.2, 0.4], [0.4, 0.1]
    if suffix != ".csv":
        table["radius"] = [12.0, 24.0] * u.arcmin
    path = tmp_path / f"sources{suffix}"
    table.write(path, format={".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}.get(suffix, "fits"))
    geom, second = field(), SkyCoord(83.2, 22.5, unit="deg")
    expected = near(geom, CRAB, 0.2) | near(geom, second, 0.4)
    np.testing.assert_array_equal(excluded_by(geom, table=path), expected)
    expected = near(geom, CRAB, 0.4) | near(geom, second, 0.1)
    np.testing.assert_array_equal(excluded_by(geom, table=str(path), radius="extent"), expected)


def test_all_kinds_add_up() -> None:
    geom = field()
    table = Table({"ra": [83.2], "dec": [22.5]})
    found = excluded_by(geom, circles=[(CRAB, 0.2)], table=table, radius=0.3)
    expected = near(geom, CRAB, 0.2) | near(geom, SkyCoord(83.2, 22.5, unit="deg"), 0.3)
    np.testing.assert_array_equal(found, expected)


# --- region files -------------------------------------------------------------------------------


def test_shapes_of_regions_are_those_of_the_package_on_a_small_map() -> None:
    package = pytest.importorskip("regions")
    geom = field(npix=(121, 101), binsz=0.02)
    centre = SkyCoord(83.5, 22.1, unit="deg")
    size = {"width": 0.9 * u.deg, "height": 0.31 * u.deg, "angle": 33 * u.deg}
    rings = {"inner_width": 0.3 * u.deg, "outer_width": 0.9 * u.deg, "angle": 33 * u.deg}
    rings |= {"inner_height": 0.11 * u.deg, "outer_height": 0.4 * u.deg}
    shapes = [
        package.CircleSkyRegion(centre, 0.31 * u.deg),
        package.CircleAnnulusSkyRegion(centre, 0.2 * u.deg, 0.41 * u.deg),
        package.EllipseSkyRegion(centre, **size),
        package.RectangleSkyRegion(centre, **size),
        package.EllipseAnnulusSkyRegion(centre, **rings),
        package.RectangleAnnulusSkyRegion(centre, **rings),
        package.PolygonSkyRegion(SkyCoord([83.1, 84.2, 83.7], [21.5, 21.8, 22.7], unit="deg")),
        package.CircleSkyRegion(centre, 0.31 * u.deg) ^ package.EllipseSkyRegion(centre, **size),
    ]
    for shape in shapes:
        found = excluded_by(geom, regions=[shape])
        own = shape.contains(geom.get_skycoord(), geom.wcs)
        # the package takes all pixels to be as large and as turned as the one in the middle
        assert found.sum() > 300
        assert (found != own).sum() <= (0 if "Polygon" in type(shape).__name__ else 8), shape


def test_an_ellipse_is_one_on_the_sphere_at_high_latitudes() -> None:
    package = pytest.importorskip("regions")
    geom = WcsGeom.create(npix=(360, 180), binsz=1)
    centre = SkyCoord(180, 70, unit="deg")
    shape = package.EllipseSkyRegion(centre, 30 * u.deg, 10 * u.deg, angle=20 * u.deg)
    found = excluded_by(geom, regions=shape)
    # the same on a map around the ellipse, where the package's own plane is not far from the sphere
    local = WcsGeom.create(npix=(400, 400), binsz=0.1, skydir=centre, proj="ARC")
    own = Map(local, shape.contains(local.get_skycoord(), local.wcs))
    seen = local.contains(geom.get_skycoord())
    assert not found[~seen].any()
    differ = own.get(geom.get_skycoord()[seen]) != found[seen]
    assert found.sum() > 500
    assert differ.sum() < 0.03 * found.sum()
    assert found[:, 0].any()
    assert found[:, -1].any()


DS9 = """\
# Region file format: DS9 version 4.1
global color=green
icrs
circle(83.63,22.01,0.3)
-circle(83.63,22.01,0.1)
point(83.2,22.5) # point=circle text={one}
# text(83,22) text={a note}
galactic
box(184.2,-5.5,0.2,0.1,0)
image
circle(3,3,4)
"""


def test_a_region_file_may_take_out_areas_and_have_points(tmp_path: Path) -> None:
    pytest.importorskip("regions")
    path = tmp_path / "areas.reg"
    path.write_text(DS9)
    geom = field()
    found = excluded_by(geom, regions=path, radius="0.2 deg")
    box = excluded_by(geom, regions=[r for r in _parsed(DS9) if hasattr(r, "width")])
    assert 0 < box.sum() < 12
    row, col = np.mgrid[0:70, 0:90]
    expected = near(geom, CRAB, 0.3) | near(geom, SkyCoord(83.2, 22.5, unit="deg"), 0.2) | box
    expected = (expected | (np.hypot(row - 2, col - 2) < 4)) & ~near(geom, CRAB, 0.1)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(excluded_by(geom, regions=[str(path)], radius=0.2), expected)
    with pytest.raises(ValueError, match="points have no area"):
        exclusion_mask(geom, regions=path)


def _parsed(text: str) -> list[Any]:
    import regions

    return list(regions.Regions.parse(text, format="ds9"))


def test_a_polygon_across_the_edge_of_the_sky_is_one_piece() -> None:
    pytest.importorskip("regions")
    geom = GEOMETRIES["whole sky"]
    polygon = _parsed("icrs\npolygon(170,-10,175,-10,-175,-10,-168,-10,-168,12,180,12,170,12)")
    lon, lat = geom.get_coord()
    expected = (np.abs((lon % 360) - 181) < 11) & (np.abs(lat - 1) < 11)
    np.testing.assert_array_equal(excluded_by(geom, regions=polygon), expected)


# --- writing ------------------------------------------------------------------------------------


def round_trip(mask: Map, path: Path) -> Map:
    """Return a mask written as regions and read back."""
    write_regions(mask, path, overwrite=True)
    return exclusion_mask(mask.geom, regions=path)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_written_regions_give_the_same_mask_back(tmp_path: Path, name: str) -> None:
    pytest.importorskip("regions")
    geom = GEOMETRIES[name]
    rng = np.random.default_rng(3)
    on_sky = np.isfinite(geom.get_coord()[0])
    row, col = np.mgrid[0 : geom.shape_image[0], 0 : geom.shape_image[1]]
    ring = np.abs(np.hypot(row - 30, col - 40) - 14) < 4
    for excluded in (
        ring,  # one hole
        ring & (rng.random(ring.shape) < 0.9),  # many holes
        rng.random(ring.shape) < 0.02,  # single pixels
        (row < 3) | (col > geom.shape_image[1] - 4) | (np.abs(row - 35) < 4),  # along the edges
        on_sky,
    ):
        mask = Map(geom, ~(excluded & on_sky))
        back = round_trip(mask, tmp_path / "areas.reg")
        np.testing.assert_array_equal(back.data, mask.data)


@given(excluded=arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_outlines_cover_each_pixel_once_and_have_no_holes(excluded: NDArray[np.bool_]) -> None:
    covered = np.zeros(excluded.shape, int)
    y, x = np.mgrid[0 : excluded.shape[0], 0 : excluded.shape[1]]
    for corners in outlines(excluded):
        before = np.roll(corners, 1, axis=0)
        area = 0.5 * np.sum(before[:, 0] * corners[:, 1] - before[:, 1] * corners[:, 0])
        inside = np.zeros(excluded.shape, bool)
        for (x0, y0), (x1, y1) in zip(before, corners, strict=True):
            if x0 == x1:  # a side upwards or downwards: count crossings to the right
                inside ^= (y > min(y0, y1)) & (y < max(y0, y1)) & (x < x0)
            else:
                assert y0 == y1
        assert area == inside.sum() > 0  # counter-clockwise, around just these pixels
        covered += inside
    np.testing.assert_array_equal(covered, excluded)


@given(excluded=arrays(bool, (9, 11)))
def test_any_mask_comes_back_from_a_file(
    tmp_path_factory: pytest.TempPathFactory, excluded: NDArray[np.bool_]
) -> None:
    pytest.importorskip("regions")
    excluded[4, 5] = True
    mask = Map(field(npix=(11, 9)), ~excluded)
    path = tmp_path_factory.getbasetemp() / "any.reg"
    np.testing.assert_array_equal(round_trip(mask, path).data, mask.data)


def test_regions_of_one_map_hold_on_another(tmp_path: Path) -> None:
    pytest.importorskip("regions")
    fine = exclusion_mask(field(npix=(300, 300), binsz=0.01), circles=[(CRAB, 0.5)])
    write_regions(fine, tmp_path / "areas.reg")
    geom = field(npix=(60, 60), frame="galactic", proj="CAR")
    found = excluded_by(geom, regions=tmp_path / "areas.reg")
    inner, outer = near(geom, CRAB, 0.49), near(geom, CRAB, 0.51)
    assert found[inner].all()
    assert not found[~outer].any()


def test_a_mask_of_a_cube_is_written_if_its_bins_agree(tmp_path: Path) -> None:
    pytest.importorskip("regions")
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    mask = exclusion_mask(field(axes=[axis]), circles=[(CRAB, 0.3)])
    np.testing.assert_array_equal(round_trip(mask, tmp_path / "a.reg").data, mask.data)
    mask.data[0, 0, 0] = False
    with pytest.raises(ValueError, match="differs between energy bins"):
        write_regions(mask, tmp_path / "b.reg")
    assert not (tmp_path / "b.reg").exists()


def test_writing_leaves_files_and_masks_alone(tmp_path: Path) -> None:
    mask = exclusion_mask(field(), circles=[(CRAB, 0.3)])
    before = mask.data.copy()
    write_regions(mask, tmp_path / "a.reg")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_regions(mask, tmp_path / "a.reg")
    np.testing.assert_array_equal(mask.data, before)
    assert [file.name for file in tmp_path.iterdir()] == ["a.reg"]
    with pytest.raises(ValueError, match="boolean"):
        write_regions(Map(field()), tmp_path / "b.reg")


def test_masks_go_through_fits(tmp_path: Path) -> None:
    mask = exclusion_mask(field(), circles=[(CRAB, 0.3)])
    mask.write(tmp_path / "mask.fits")
    back = Map.read(tmp_path / "mask.fits")
    np.testing.assert_array_equal(back.data.astype(bool), mask.data)
    assert back.geom == mask.geom


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"circles": [(CRAB, -1)]}, "radii >= 0"),
        ({"circles": [(CRAB, "1 TeV")]}, "cannot convert"),
        ({"circles": [(CRAB, np.nan)]}, "radii >= 0"),
        ({"circles": [CRAB]}, r"expected \(position, radius\)"),
        ({"circles": [(1, 2, 3, 4)]}, r"expected \(position, radius\)"),
        ({"circles": [("Crab", 1.0)]}, "expected a SkyCoord"),
        ({"radius": "1 deg"}, "expected a table or regions"),
        ({"table": Table({"x": [1.0]}), "radius": 1}, "no columns with positions"),
        ({"table": Table({"ra": [1.0], "dec": [1.0]})}, "no column radius"),
        ({"table": Table({"ra": [1.0], "dec": [91.0]}), "radius": 1}, "latitudes beyond"),
        ({"table": Table({"ra": [np.nan], "dec": [9.0]}), "radius": 1}, "no value in 1 of 1"),
        ({"table": Table({"ra": ["x"], "dec": [9.0]}), "radius": 1}, "has no angles"),
        ({"table": Table({"ra": [1] * u.m, "dec": [9.0]}), "radius": 1}, "cannot convert"),
        ({"table": Table({"ra": [1.0], "dec": [1.0]}), "radius": "extent"}, "cannot read 'extent'"),
        ({"table": "sources.txt", "radius": 1}, "expected a table"),
    ],
)
def test_bad_areas_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exclusion_mask(field(), **options)


def test_a_missing_radius_in_a_column_is_refused() -> None:
    table = Table({"ra": [1.0, 2.0], "dec": [1.0, 2.0]})
    table["radius"] = MaskedColumn([0.1, 0.2], mask=[False, True])
    with pytest.raises(ValueError, match="column radius has no value in 1 of 2 rows"):
        exclusion_mask(field(), table=table)


def test_files_that_are_not_there_or_no_regions_are_refused(tmp_path: Path) -> None:
    geom = field()
    with pytest.raises(FileNotFoundError, match="no file"):
        exclusion_mask(geom, table=tmp_path / "none.fits", radius=1)
    (tmp_path / "bad.csv").write_text("")
    with pytest.raises(ValueError, match=r"bad\.csv"):
        exclusion_mask(geom, table=tmp_path / "bad.csv", radius=1)
    Map(geom).write(tmp_path / "map.fits")
    with pytest.raises(ValueError, match="no table in it"):
        exclusion_mask(geom, table=tmp_path / "map.fits", radius=1)
    pytest.importorskip("regions")
    with pytest.raises(FileNotFoundError, match="no file"):
        exclusion_mask(geom, regions=tmp_path / "none.reg")
    (tmp_path / "empty.reg").write_text("# nothing\n")
    with pytest.raises(ValueError, match="no region in it"):
        exclusion_mask(geom, regions=tmp_path / "empty.reg")
    (tmp_path / "bad.reg").write_text("icrs\ncircle(83,22)\n")
    with pytest.raises(ValueError, match=r"bad\.reg"):
        exclusion_mask(geom, regions=tmp_path / "bad.reg")
    with pytest.raises(TypeError, match="expected the name of a region file"):
        exclusion_mask(geom, regions=[CRAB])


def test_without_the_package_the_way_to_get_it_is_named(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "regions", None)
    with pytest.raises(ImportError, match=r"pip install gammagrad\[regions\]"):
        exclusion_mask(field(), regions=tmp_path / "a.reg")


def test_a_geometry_without_a_sky_has_no_mask() -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    with pytest.raises(TypeError, match="expected the geometry of a map"):
        exclusion_mask(RegionGeom([axis]))


def test_right_ascensions_in_degrees_are_not_taken_for_hours() -> None:
    geom = WcsGeom.create(npix=60, binsz=0.1, skydir=(83.6, 22.0))
    table = Table({"ra": ["83.6"], "dec": ["22.0"], "radius": [0.5]})
    with pytest.raises(ValueError, match="column ra has texts beyond 24 hours"):
        exclusion_mask(geom, table=table)
    expected = exclusion_mask(geom, circles=[(83.6, 22.0, 0.5)])
    for text in ("83.6d", "5h34m24s", "05 34 24"):
        table["ra"] = [text]
        assert np.array_equal(exclusion_mask(geom, table=table).data, expected.data)
