"""Peaks: against a maximum filter, and against positions and values put in by hand."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gammagrad.maps import Map, MapAxis, local_maxima
from gammagrad.peaks import find_peaks


def filtered_maxima(
    image: NDArray[np.float64], threshold: float, radius: tuple[float, float]
) -> set:
    """Return the maxima of an image without ties, by a filter over an ellipse."""
    ndimage = pytest.importorskip("scipy.ndimage")
    ny, nx = (max(1, int(r)) for r in radius)
    dy, dx = np.mgrid[-ny : ny + 1, -nx : nx + 1]
    ellipse = np.hypot(dy / radius[0], dx / radius[1]) <= 1
    ellipse |= (abs(dy) <= 1) & (abs(dx) <= 1)
    values = np.where(np.isfinite(image), image, -np.inf)
    top = ndimage.maximum_filter(values, footprint=ellipse, mode="constant", cval=-np.inf)
    rows, cols = np.nonzero((values == top) & (values > threshold))
    return set(zip(rows.tolist(), cols.tolist(), strict=True))


@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    radius=st.tuples(st.floats(0.5, 8), st.floats(0.5, 8)),
    threshold=st.floats(-2, 2),
)
def test_same_as_a_maximum_filter(
    seed: int, shape: tuple[int, int], radius: tuple[float, float], threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape)
    image[rng.random(shape) < 0.1] = np.nan
    rows, cols = local_maxima(image, threshold, radius)
    assert set(zip(rows.tolist(), cols.tolist(), strict=True)) == filtered_maxima(
        image, threshold, radius
    )
    heights = image[rows, cols]
    assert np.all(np.diff(heights) <= 0)


@given(seed=st.integers(0, 2**31), radius=st.floats(1, 6))
def test_plateaus_and_ties_are_counted_once(seed: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 4, size=(20, 25)).astype(float)
    rows, cols = local_maxima(image, 0.5, (radius, radius))
    distance = np.hypot(rows[:, None] - rows, cols[:, None] - cols)
    np.fill_diagonal(distance, np.inf)
    assert np.all(distance > radius)
    assert image.max() in image[rows, cols]


def test_plateau_shelf_and_border() -> None:
    image = np.zeros((20, 30))
    image[4:7, 4:9] = 5  # a flat summit: its middle is (5, 6)
    image[12:15, 5:9] = 6  # a shelf ...
    image[13, 9] = 9  # ... of this one
    image[19, 29] = 7  # in a corner
    rows, cols = local_maxima(image, 1, (1, 1))
    assert list(zip(rows, cols, strict=True)) == [(13, 9), (19, 29), (5, 6)]


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf])
def test_constant_image_has_no_peaks(value: float) -> None:
    rows, cols = local_maxima(np.full((5, 6), value), 1, (2, 2))
    assert len(rows) == len(cols) == 0


def test_large_plateau_is_quick() -> None:
    image = np.zeros((400, 400))
    image[50:350, 50:350] = 3
    image[200, 200] = 2  # with a hole
    rows, _ = local_maxima(image, 1, (3, 3))
    assert len(rows) == 1


def make_maps(frame: str = "galactic") -> dict[str, Map]:
    axis = MapAxis.from_energy_edges([0.01, 0.1, 1] * u.TeV)
    ts = Map.create(npix=(60, 40), binsz=0.1, skydir=(0.3, -0.2), frame=frame, axes=[axis])
    ts.data[0, 10, 20] = 100
    ts.data[1, 30, 40] = 64
    ts.data[1, 30, 42] = 49
    ts.data[0, 5, 5] = -400
    ts.data[0, 20, :] = np.nan
    sqrt_ts = Map.from_geom(ts.geom, data=np.sign(ts.data) * np.sqrt(abs(ts.data)))
    flux = Map.from_geom(ts.geom, data=ts.data * 1e-12, unit="cm-2 s-1")
    norm = Map.from_geom(ts.geom, data=ts.data / 10)
    return {"ts": ts, "sqrt_ts": sqrt_ts, "flux": flux, "norm": norm}


@pytest.mark.parametrize("frame", ["galactic", "icrs"])
def test_table(frame: str) -> None:
    maps = make_maps(frame)
    table = find_peaks(maps, threshold=5, min_distance="0.25 deg")
    assert list(table["number"]) == [1, 2]
    assert list(table["sqrt_ts"]) == [10, 8]
    assert list(table["ts"]) == [100, 64]
    assert list(table["energy_group"]) == [0, 1]
    assert u.allclose(table["energy_max"], [0.1, 1] * u.TeV)
    assert u.allclose(table["flux"], [1e-10, 6.4e-11] * u.Unit("cm-2 s-1"))
    assert list(table["row"]) == [10, 30]
    assert list(table["col"]) == [20, 40]
    expected = maps["ts"].geom.pix_to_sky(np.array([20.0, 40.0]), np.array([10.0, 30.0]))
    icrs = SkyCoord(table["ra"], table["dec"], frame="icrs")
    galactic = SkyCoord(table["glon"], table["glat"], frame="galactic")
    assert np.all(icrs.separation(expected) < 1e-9 * u.deg)
    assert np.all(galactic.separation(expected) < 1e-9 * u.deg)
    assert len(find_peaks(maps, threshold=5, min_distance="0.15 deg")) == 3
    assert len(find_peaks(maps, threshold=5, min_distance=1)) == 3
    assert len(find_peaks(maps, threshold=5, min_distance=2 * u.pix)) == 2


def test_other_quantity_with_its_unit() -> None:
    table = find_peaks(make_maps(), threshold=7e-7 * u.Unit("m-2 s-1"), quantity="flux")
    assert list(table["ts"]) == [100]


def test_nothing_found_keeps_the_columns() -> None:
    empty = find_peaks(make_maps(), threshold=50)
    assert len(empty) == 0
    assert empty.colnames == find_peaks(make_maps()).colnames
    assert empty["flux"].unit == u.Unit("cm-2 s-1")


def test_name_is_the_truncated_position() -> None:
    maps = make_maps("icrs")
    position = SkyCoord(
        ["05h34m31.94s", "17h45m40.04s", "00h00m00s"], ["22d00m52s", "-29d00m28s", "-00d30m00s"]
    )
    from gammagrad.peaks import source_name

    assert [source_name(p) for p in position] == ["J0534.5+2200", "J1745.6-2900", "J0000.0-0030"]
    assert find_peaks(maps)["name"][0].startswith("J0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_distance": "3 TeV"}, "expected an angle or a number of pixels"),
        ({"min_distance": "wide"}, "cannot read 'wide'"),
        ({"min_distance": -1}, "not negative"),
        ({"min_distance": [1, 2]}, "one number"),
        ({"threshold": np.nan}, "got NaN"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_peaks(make_maps(), **options)


@pytest.mark.parametrize(("name", "meant"), [("treshold", "threshold"), ("max_shfit", "max_shift")])
def test_a_misspelt_argument_is_told_what_it_may_be(name: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"no argument '{name}'; did you mean '{meant}'"):
        find_peaks(make_maps(), **{name: 5})


@pytest.mark.parametrize("quantity", ["success", "status", "stat_scan"])
def test_what_has_no_peaks(quantity: str) -> None:
    maps = make_maps()
    geom = maps["ts"].geom
    scan = geom.to_image().to_cube([MapAxis.from_nodes([0.0, 1.0], name="norm"), *geom.axes])
    maps["success"] = Map(geom, np.ones(geom.data_shape, dtype=bool))
    maps["status"] = Map(geom, dtype="int8")
    maps["stat_scan"] = Map(scan)
    with pytest.raises(ValueError, match=f"quantity is '{quantity}', which has no peaks; choose"):
        find_peaks(maps, quantity=quantity)


def test_a_wide_table_prints_what_matters_and_what_is_left_out() -> None:
    found = find_peaks(make_maps())
    text = str(found)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "sqrt_ts" in text
    assert "..." not in text
    *_, last = text.splitlines()
    assert last.endswith("more columns: see colnames, or pprint_all()")
    few = found["name", "sqrt_ts"]
    assert "more columns" not in str(few)
    assert type(few) is type(found)


def test_a_table_is_written_as_votable(tmp_path: Path) -> None:
    maps = make_maps()
    status = Map(maps["ts"].geom, np.zeros(maps["ts"].data.shape, dtype=np.int8))
    found = find_peaks({**maps, "status": status})
    found.write(tmp_path / "peaks.vot", format="votable")
    again = QTable.read(tmp_path / "peaks.vot")
    np.testing.assert_allclose(again["sqrt_ts"], found["sqrt_ts"])
    np.testing.assert_array_equal(again["status"], 0)
