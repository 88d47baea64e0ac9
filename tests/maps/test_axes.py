"""Axes: edges and centres in each scale, slices, groups."""

import pickle

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.maps import MapAxes, MapAxis

increasing = st.lists(
    st.floats(0.01, 1e4), min_size=2, max_size=12, unique_by=lambda x: round(np.log(x), 3)
).map(sorted)


def test_log_centres_are_geometric_means():
    axis = MapAxis.from_energy_edges(["1 GeV", "10 GeV", "1 TeV"])
    np.testing.assert_allclose(axis.center.to_value("GeV"), [np.sqrt(10), 100])
    np.testing.assert_allclose(axis.bin_width.to_value("GeV"), [9, 990])
    assert (axis.name, axis.unit, axis.interp, axis.nbin) == ("energy", u.GeV, "log", 2)


def test_lin_centres_are_means_and_numbers_take_the_unit():
    axis = MapAxis([0, 1, 3], name="rad", unit="deg")
    np.testing.assert_allclose(axis.center_in("arcmin"), [30, 120])
    np.testing.assert_allclose(axis.edges_in("deg"), [0, 1, 3])


def test_plain_energies_are_tev():
    assert MapAxis.from_energy_bounds(1, 10, 3).unit == u.TeV
    assert MapAxis.from_energy_edges([1, 10]).unit == u.TeV


@given(increasing, st.sampled_from(["lin", "log", "sqrt"]))
def test_centres_lie_inside_their_bins(edges, interp):
    axis = MapAxis(edges, name="x", interp=interp)
    assert np.all(axis.center.value > axis.edges.value[:-1])
    assert np.all(axis.center.value < axis.edges.value[1:])


def test_edges_of_centres_are_half_way_in_the_scale():
    axis = MapAxis.from_nodes([1, 4, 16], name="energy_true", unit="TeV", interp="log")
    np.testing.assert_allclose(axis.edges.value, [0.5, 2, 8, 32])
    np.testing.assert_allclose(axis.center.value, [1, 4, 16])
    lin = MapAxis.from_nodes([0, 1, 3], name="rad", unit="deg")
    np.testing.assert_allclose(lin.edges.value, [-0.5, 0.5, 2, 4])


def test_a_single_centre_has_no_width():
    axis = MapAxis.from_nodes([2.0], name="energy_true", unit="TeV", interp="log")
    assert axis.nbin == 1
    assert axis.bin_width.value == [0.0]


def test_bounds_are_exact():
    axis = MapAxis.from_energy_bounds("0.1 TeV", "100 TeV", nbin=7)
    assert axis.edges.value[0] == 0.1
    assert axis.edges.value[-1] == 100
    np.testing.assert_allclose(np.diff(np.log(axis.edges.value)), np.log(1000) / 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 1, 2],), "must increase"),
        (([2, 1],), "must increase"),
        (([1],), "at least 2 nodes"),
        (([1, np.nan],), "must be finite"),
        (([[1, 2]],), "one dimension"),
        ((["1 TeV", "2 cm"],), "cannot convert"),
    ],
)
def test_bad_nodes_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=f"axis 'x'.*{message}"):
        MapAxis(*arguments, name="x")


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="a log axis needs positive nodes"):
        MapAxis([0, 1], name="x", interp="log")
    with pytest.raises(ValueError, match="expected one of lin, log"):
        MapAxis([0, 1], name="x", interp="cubic")
    with pytest.raises(ValueError, match="node_type"):
        MapAxis([0, 1], name="x", node_type="middle")
    with pytest.raises(ValueError, match="nbin is 0"):
        MapAxis.from_bounds(0, 1, 0, name="x")
    with pytest.raises(ValueError, match="lower bound"):
        MapAxis.from_energy_bounds(0, 1, 2)


def test_an_axis_cannot_be_changed_and_pickles():
    edges = np.array([1.0, 2.0, 3.0])
    axis = MapAxis(edges, name="energy", unit="TeV")
    axis.edges.value[0] = 99
    edges[0] = 98
    assert axis.edges.value[0] == 1
    with pytest.raises(AttributeError):
        axis.name = "other"
    assert pickle.loads(pickle.dumps(axis)) == axis


@given(increasing, st.data())
def test_every_value_is_in_the_bin_it_is_said_to_be(edges, data):
    axis = MapAxis(edges, name="x")
    value = data.draw(st.floats(0, 2e4))
    index = int(axis.coord_to_idx(value))
    if index == -1:
        assert value < edges[0] or value > edges[-1]
    else:
        assert edges[index] <= value <= edges[index + 1]


def test_coord_to_idx_at_the_ends():
    axis = MapAxis.from_energy_edges(["1 TeV", "2 TeV", "4 TeV"])
    energy = u.Quantity([1, 2, 4, 4.1, 0.9, np.nan], "TeV").to("GeV")
    np.testing.assert_array_equal(axis.coord_to_idx(energy), [0, 1, 1, -1, -1, -1])


def test_slice_squash_and_rebin():
    axis = MapAxis.from_energy_bounds(1, 16, 4)
    np.testing.assert_allclose(axis.slice(slice(1, 3)).edges.value, [2, 4, 8])
    np.testing.assert_allclose(axis.slice(slice(-1, None)).edges.value, [8, 16])
    np.testing.assert_allclose(axis.squash().edges.value, [1, 16])
    np.testing.assert_allclose(axis.downsample(2).edges.value, [1, 4, 16])
    assert axis.upsample(3).downsample(3) == axis
    np.testing.assert_allclose(np.diff(np.log(axis.upsample(3).edges.value)), np.log(2) / 3)
    with pytest.raises(ValueError, match="cannot be merged by 3"):
        axis.downsample(3)
    with pytest.raises(ValueError, match="empty or has a step"):
        axis.slice(slice(2, 2))
    with pytest.raises(ValueError, match="empty or has a step"):
        axis.slice(slice(0, 4, 2))


def test_slice_of_centres_keeps_the_centres():
    axis = MapAxis.from_nodes([1, 2, 4, 8], name="energy_true", unit="TeV", interp="log")
    part = axis.slice(slice(1, 3))
    np.testing.assert_allclose(part.center.value, [2, 4])
    assert part.node_type == "center"


def test_groups_snap_in_the_scale_of_the_axis():
    axis = MapAxis.from_energy_edges([10, 84.5, 500, 2000])
    assert axis.group([10, 100, 1000]) == [(0, 1), (1, 2)]  # 1000 is nearer 500 in the logarithm
    assert axis.group(["1 TeV", "1e9 TeV"]) == [(0, 3)]
    assert axis.group([10, 80, 90, 500]) == [(0, 1), (1, 2)]
    assert axis.group(axis.edges) == [(0, 1), (1, 2), (2, 3)]


@given(increasing, increasing)
def test_groups_are_disjoint_ranges_in_order(edges, wanted):
    axis = MapAxis(edges, name="x", interp="log")
    try:
        groups = axis.group(wanted)
    except ValueError:
        return
    flat = [i for group in groups for i in group]
    assert flat == sorted(flat)
    assert all(0 <= lo < hi <= axis.nbin for lo, hi in groups)


def test_groups_without_bins_are_an_error():
    axis = MapAxis.from_energy_bounds(1, 10, 2)
    with pytest.raises(ValueError, match=r"no bin between the edges.*goes from 1 to 10"):
        axis.group([20, 30])
    with pytest.raises(ValueError, match="must increase"):
        axis.group([5, 2])


def test_equality_looks_through_units_and_rounding():
    axis = MapAxis.from_energy_edges([1, 2, 4])
    same = MapAxis.from_energy_edges((axis.edges.to("keV").value.astype("f4")) * u.keV)
    assert axis == same
    assert hash(axis) == hash(same)
    assert axis != MapAxis.from_energy_edges([1, 2, 4.001])
    assert axis != axis.rename("energy_true")
    assert axis != MapAxis([1, 2, 4], name="energy", unit="TeV")
    assert axis != MapAxis([1, 2, 4], name="energy", unit="deg", interp="log")
    assert axis != 3


def test_repr_says_what_there_is():
    assert repr(MapAxis.from_energy_bounds(1, 10, 4)) == (
        "MapAxis('energy', 4 bins, 1 to 10 TeV, log, edges)"
    )


def test_axes_are_a_sequence_with_names():
    rad = MapAxis([0, 1, 2], name="rad", unit="deg")
    energy = MapAxis.from_energy_bounds(1, 10, 5, name="energy_true")
    axes = MapAxes([rad, energy])
    assert axes.names == ["rad", "energy_true"]
    assert axes.shape == (5, 2)
    assert (axes["rad"], axes[1], len(axes)) == (rad, energy, 2)
    assert (axes.index("energy_true"), axes.index_data("energy_true")) == (1, 0)
    assert axes[:1].names == ["rad"]
    assert axes.drop("rad") == MapAxes([energy])
    assert axes.replace(rad.squash()).shape == (5, 1)
    assert (axes.drop("rad") + MapAxes([rad])).names == ["energy_true", "rad"]
    with pytest.raises(ValueError, match=r"no axis 'energy'; there are: rad, energy_true"):
        axes["energy"]
    with pytest.raises(ValueError, match="names must differ"):
        MapAxes([rad, rad])
    with pytest.raises(TypeError, match="expected MapAxis"):
        MapAxes([1])


def test_numbers_handed_out_are_copies() -> None:
    axis = MapAxis.from_energy_edges(["1 GeV", "10 GeV"])
    axis.edges_in("TeV")[:] = 0
    axis.center_in("TeV")[:] = 0
    np.testing.assert_allclose(axis.edges_in("TeV"), [1e-3, 1e-2])
    np.testing.assert_allclose(axis.center_in("TeV"), [10**-2.5])
