"""Maps cut out to the pixels of another map, and why that is not possible."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from astropy import units as u

from gammagrad.maps import Map, MapAxis, RegionGeom, WcsGeom, cut_to, misalignment

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)


def geometry(npix: Any = (9, 7), **options: Any) -> WcsGeom:
    options = {"binsz": 0.1, "skydir": (83.63, 22.01), "proj": "TAN"} | options
    return WcsGeom.create(npix, **options)


def numbered(geom: WcsGeom, unit: str = "") -> Map:
    """Return a map whose pixels all have different values."""
    return Map(geom, np.arange(np.prod(geom.data_shape)).reshape(geom.data_shape), unit)


@pytest.mark.parametrize("proj", ["TAN", "CAR"])
@pytest.mark.parametrize("before", [(0, 0), (2, 5), (3, 0)])
def test_the_part_has_the_values_of_its_pixels(
    proj: str, before: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    geom = geometry(proj=proj)
    rows, cols = before
    large = numbered(geom.pad(((rows, 1), (cols, 4))).to_cube([AXIS]), "m2 s")
    large.meta["from"] = "here"
    kept = large.copy()
    with caplog.at_level(logging.INFO, "gammagrad"):
        part = cut_to(large, geom, "exposure")
    assert f"exposure: cut out 9 x 7 of {13 + cols} x {8 + rows} pixels" in caplog.text
    assert np.array_equal(part.data, large.data[:, rows : rows + 7, cols : cols + 9])
    assert part.geom == geom.to_cube([AXIS])
    assert part.unit == u.Unit("m2 s")
    assert part.meta == {"from": "here"}
    part.data[...] = -1
    part.meta.clear()
    assert np.array_equal(large.data, kept.data)
    assert large.geom == kept.geom
    assert large.meta == kept.meta


def test_a_map_of_equal_pixels_is_returned_itself(caplog: pytest.LogCaptureFixture) -> None:
    m = Map(geometry().to_cube([AXIS]))
    with caplog.at_level(logging.INFO, "gammagrad"):
        assert cut_to(m, geometry(), "exposure") is m
    assert not caplog.text


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
def test_a_map_around_the_sky_is_cut_across_its_first_column(frame: str) -> None:
    sky = numbered(WcsGeom.create(binsz=1, skydir=(0, 0), proj="CAR", frame=frame))
    for lon in (180, 175, 184, 0, 90):
        part = WcsGeom.create(npix=(20, 11), binsz=1, skydir=(0, 0), proj="CAR", frame=frame)
        wcs = part.wcs.deepcopy()
        wcs.wcs.crval = lon, 0
        wcs.wcs.crpix[1] += 3.5
        part = WcsGeom(wcs, part.npix)
        found = cut_to(sky, part, "exposure")
        assert np.array_equal(found.data, sky.get(part.get_skycoord()))


def test_half_of_the_sky_has_no_next_column() -> None:
    half = numbered(WcsGeom.create(npix=(180, 180), binsz=1, skydir=(0, 0), proj="CAR"))
    wcs = WcsGeom.create(npix=(20, 10), binsz=1, skydir=(90, 0), proj="CAR").wcs
    with pytest.raises(ValueError, match="it is aligned with them but lacks 100 of 200 pixels"):
        cut_to(half, WcsGeom(wcs, (20, 10)), "exposure")


@pytest.mark.parametrize(
    ("npix", "lacks"), [((7, 9), 14), ((7, 5), 28), ((11, 5), 18), ((1, 1), 62)]
)
def test_a_map_that_covers_a_part_says_how_many_pixels_it_lacks(
    npix: tuple[int, int], lacks: int
) -> None:
    message = rf"background does not have the pixels of counts: .* lacks {lacks} of 63 pixels"
    with pytest.raises(ValueError, match=message) as caught:
        cut_to(Map(geometry(npix)), geometry(), "background")
    assert "Cut counts out to the part that both have, or pad background" in str(caught.value)


def test_a_map_elsewhere_on_the_same_grid_lacks_all_pixels() -> None:
    with pytest.raises(ValueError, match="lacks 63 of 63 pixels"):
        cut_to(Map(geometry().window(50, -80, (20, 20))), geometry(), "background")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"npix": (20, 21)}, r"it is shifted by -?0\.5 x 0 pixels"),
        ({"binsz": 0.05}, r"its pixels are 0\.05 x 0\.05 deg instead of 0\.1 x 0\.1 deg"),
        ({"binsz": (0.1, 0.3)}, r"its pixels are 0\.1 x 0\.3 deg instead of 0\.1 x 0\.1 deg"),
        ({"frame": "galactic", "skydir": (184.56, -5.78)}, r"in galactic coordinates .* of icrs"),
        ({"skydir": (84.63, 22.01)}, r"another reference point or rotation.* up to 0\.\d+ pixels"),
        ({"skydir": (263.63, -22.01)}, "it lies elsewhere on the sky"),
    ],
)
def test_a_map_that_is_not_aligned_says_how_it_differs(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        cut_to(Map(geometry(**{"npix": (21, 21), **options})), geometry(), "exposure")
    assert str(caught.value).startswith("exposure does not have the pixels of counts: ")
    assert "Reproject exposure to the pixels of counts, or bin counts" in str(caught.value)


def test_another_projection_is_another_grid_once_a_map_is_wide() -> None:
    options: dict[str, Any] = {"binsz": 1.0, "npix": (9, 7)}
    wide = Map(geometry(binsz=1.0, npix=(21, 21), proj="CAR"))
    with pytest.raises(ValueError, match="its projection is CAR instead of TAN"):
        cut_to(wide, geometry(**options), "exposure")
    narrow = numbered(geometry((21, 21), proj="CAR"))
    assert np.array_equal(cut_to(narrow, geometry(), "x").data, narrow.data[7:-7, 6:-6])


@pytest.mark.parametrize("proj", ["TAN", "CAR"])
@pytest.mark.parametrize("shift", [(0.37, 0.0), (0.0, -0.21), (0.37, 0.21), (3.002, 1.0)])
def test_the_part_of_a_pixel_is_that_of_the_shift(proj: str, shift: tuple[float, float]) -> None:
    geom = geometry(proj=proj)
    x, y = shift
    moved = geom.moved((3 + 2 - y, 4 + 1 - x), (31, 33))
    x, y = (round(s - round(s), 3) + 0.0 for s in shift)
    expected = f"it is shifted by {x:.3g} x {y:.3g} pixels (columns x rows) besides whole pixels"
    assert misalignment(geom, moved) == expected
    with pytest.raises(ValueError, match="it is shifted by"):
        cut_to(Map(moved), geom, "exposure")


def test_one_pixel_has_a_size() -> None:
    one, large = geometry(1), geometry(3, binsz=0.3)
    assert one.difference(geometry(1, binsz=0.3))
    with pytest.raises(ValueError, match=r"its pixels are 0\.3 x 0\.3 deg instead of 0\.1"):
        cut_to(Map(large), one, "exposure")
    assert cut_to(numbered(geometry(3)), one, "exposure").data.tolist() == [[4]]


def test_a_region_has_no_pixels() -> None:
    with pytest.raises(ValueError, match="exposure: it has a region and no sky pixels"):
        cut_to(Map(RegionGeom([AXIS])), geometry(), "exposure")
