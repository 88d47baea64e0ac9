"""Maps: data, units, arithmetic."""

import operator
import pickle

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.maps import Map, MapAxis, RegionGeom, WcsGeom

energy = MapAxis.from_energy_bounds("1 TeV", "16 TeV", 4)
cube_geom = WcsGeom.create(npix=(8, 6), binsz=0.5, skydir=(83.63, 22.01), axes=[energy])


def random_map(geom=cube_geom, unit="", seed=0):
    return Map(geom, np.random.default_rng(seed).normal(size=geom.data_shape), unit)


def test_data_are_zeros_of_the_right_shape_unless_given():
    m = Map.create(npix=(3, 2), axes=[energy], unit="cm2 s")
    assert m.data.shape == (4, 2, 3)
    assert m.data.dtype == np.float64
    assert not m.data.any()
    assert m.unit == u.Unit("cm2 s")
    assert Map.from_geom(cube_geom, dtype=bool).is_mask
    assert Map.from_geom(cube_geom, data=1).data.sum() == 4 * 6 * 8


def test_data_can_be_written_to_in_every_way():
    m = Map.from_geom(cube_geom)
    m.data += 42
    m.data[0, 0, 0] = 1
    assert m.data.sum() == 42 * 191 + 1
    m.data = np.ones(cube_geom.data_shape, dtype=">f4")
    assert m.data.dtype.isnative
    m.quantity = 3 * u.m**2 * np.ones(cube_geom.data_shape)
    assert (m.unit, m.data[1, 2, 3]) == (u.m**2, 3)


def test_inputs_stay_as_they_are():
    data, meta = np.zeros(cube_geom.data_shape), {"a": 1}
    m = Map(cube_geom, data, meta=meta)
    m.data += 1
    m.meta["a"] = 2
    copy = m.copy()
    copy.data += 1
    copy.meta["a"] = 3
    assert (data.max(), meta["a"], m.data.max(), m.meta["a"]) == (0, 1, 1, 2)


@pytest.mark.parametrize(
    "part",
    [
        lambda m: m.cutout(m.geom.center_skydir, 10),
        lambda m: m.crop(0),
        lambda m: m.slice_by_idx({"energy": slice(0, 4)}),
        lambda m: m.image(0),
        lambda m: m.to_unit(""),
        lambda m: m.downsample(1),
        lambda m: m.upsample(1),
    ],
)
def test_no_result_shares_its_data(part):
    m = random_map()
    before = m.data.copy()
    result = part(m)
    result.data[...] = 99
    np.testing.assert_array_equal(m.data, before)


def test_shapes_must_fit():
    assert Map(cube_geom.to_image(), np.ones((1, 6, 8))).data.shape == (6, 8)
    with pytest.raises(ValueError, match=r"shape \(6, 8\) does not fit .* \(4, 6, 8\)"):
        Map(cube_geom, np.ones((6, 8)))
    m = Map(cube_geom)
    with pytest.raises(ValueError, match="does not fit"):
        m.data = np.ones((8, 6, 4))
    with pytest.raises(TypeError, match="numbers or booleans"):
        Map(cube_geom, "text")
    with pytest.raises(TypeError, match="expected a WcsGeom or RegionGeom"):
        Map((4, 6, 8))


def test_units_of_quantities():
    data = u.Quantity(np.ones(cube_geom.data_shape), "m2 s")
    assert Map(cube_geom, data).unit == u.Unit("m2 s")
    assert Map(cube_geom, data, unit="cm2 s").data[0, 0, 0] == pytest.approx(1e4)
    with pytest.raises(ValueError, match="cannot convert m2 s to TeV"):
        Map(cube_geom, data, unit="TeV")
    exposure = Map(cube_geom, data)
    assert exposure.to_unit("cm2 s").data[0, 0, 0] == pytest.approx(1e4)
    assert exposure.quantity.unit == u.Unit("m2 s")
    with pytest.raises(ValueError, match="map: cannot convert m2 s to TeV"):
        exposure.to_unit("TeV")
    with pytest.raises(ValueError, match="is not a unit"):
        Map(cube_geom, unit="apples")


def test_sums_convert_units():
    a = Map(cube_geom, 1.0, "m2")
    b = Map(cube_geom, 1.0, "cm2")
    assert (a + b).data[0, 0, 0] == pytest.approx(1.0001)
    assert (b - a).data[0, 0, 0] == pytest.approx(1 - 1e4)
    assert (b - a).unit == u.cm**2
    assert (a + 1).data[0, 0, 0] == 2
    assert (1 - a).data[0, 0, 0] == 0
    assert (a + 1 * u.cm**2).data[0, 0, 0] == pytest.approx(1.0001)
    assert (-a).data[0, 0, 0] == -1
    with pytest.raises(ValueError, match="cannot combine a map in m2 with TeV"):
        a + 1 * u.TeV
    with pytest.raises(ValueError, match="cannot combine a map in m2 with no unit"):
        a + Map(cube_geom)


def test_products_multiply_units():
    exposure = Map(cube_geom, 2.0, "m2 s")
    flux = Map(cube_geom, 3.0, "cm-2 s-1")
    npred = exposure * flux
    assert npred.unit == u.dimensionless_unscaled
    assert npred.data[0, 0, 0] == pytest.approx(6e4)
    assert (2 * exposure).unit == exposure.unit
    assert (exposure / (1 * u.s)).unit == u.m**2
    assert (1 / exposure).unit == u.Unit("m-2 s-1")
    assert ((1 * u.s) / exposure).data[0, 0, 0] == 0.5
    assert (np.full((6, 8), 5.0) * exposure).data[3, 2, 1] == 10
    assert (u.Quantity(5, "TeV") * exposure).unit == u.Unit("TeV m2 s")


def test_division_by_zero_is_quiet():
    m = Map(cube_geom, 1.0) / Map(cube_geom, 0.0)
    assert np.all(np.isinf(m.data))


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_arithmetic_is_that_of_arrays(a, b):
    m, n = random_map(seed=1), random_map(seed=2)
    result = (a * m + b) / (n * n + 1) - m
    expected = (a * m.data + b) / (n.data * n.data + 1) - m.data
    np.testing.assert_allclose(result.data, expected)


def test_masks():
    m = random_map(unit="TeV")
    positive = m > 0
    assert positive.is_mask
    assert positive.unit == ""
    np.testing.assert_array_equal((~positive).data, (m <= 0).data)
    np.testing.assert_array_equal((positive & (m < 1 * u.TeV)).data, (m.data > 0) & (m.data < 1))
    np.testing.assert_array_equal((positive | (m >= 2)).data, positive.data)
    assert not (positive ^ positive).data.any()
    assert (True & positive).data.sum() == positive.data.sum()
    assert (m == m).data.all()
    assert not (m != m).data.any()
    assert (m > 1 * u.MeV).data.sum() == (m.data > 1e-6).sum()
    with pytest.raises(TypeError, match="need masks, got bool and float64"):
        positive & m
    with pytest.raises(TypeError, match="needs a mask"):
        operator.invert(m)
    with pytest.raises(ValueError, match="neither true nor false"):
        bool(positive)


def test_other_things_do_not_combine():
    m = random_map()
    with pytest.raises(TypeError):
        m + "text"
    with pytest.raises(TypeError):
        m * None
    assert (m == "text") is False
    assert m != None  # noqa: E711
    with pytest.raises(ValueError, match="different geometries: the data have shape"):
        m + random_map(cube_geom.to_image())


def test_numpy_takes_a_map_for_its_data():
    m = random_map()
    np.testing.assert_array_equal(np.asarray(m), m.data)
    assert np.array(m, dtype="f4").dtype == np.float32


def test_maps_print_and_pickle():
    m = random_map(unit="cm-2 s-1")
    assert "axes  : ['lon', 'lat', 'energy']" in str(m)
    assert "unit  : '1 / (s cm2)'" in str(m).replace("(cm2 s)", "(s cm2)")
    assert "float64" in repr(m)
    assert "axes  : ['energy']" in str(Map(RegionGeom([energy])))
    again = pickle.loads(pickle.dumps(m))
    assert again.geom == m.geom
    np.testing.assert_array_equal(again.data, m.data)


def test_another_format_is_refused(tmp_path):
    for call in (random_map().write, Map.read):
        with pytest.raises(ValueError, match="format is 'list'; expected 'fits'"):
            call(tmp_path / "x.list", format="list")
    assert not list(tmp_path.iterdir())


def test_a_map_of_the_array_itself() -> None:
    geom, data = WcsGeom.create((3, 2), 1.0), np.arange(6.0).reshape(2, 3)
    assert np.may_share_memory(Map(geom, data, copy=False).data, data)
    assert not np.may_share_memory(Map(geom, data).data, data)
