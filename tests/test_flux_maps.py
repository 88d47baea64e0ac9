"""FluxMaps: fluxes against gammapy and closed forms, and what a mapping owes its users."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import astropy.units as u
import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from gammagrad.core.norm import STATUS
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import Map, MapAxis
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.output_quantities import FLUXES, STORED, MissingQuantityError

NINE = ["ts", "norm", "niter", "norm_err", "npred", "npred_excess", "stat", "stat_null", "success"]
CASES = [
    "fermicut_perbin_ul",
    "fermifull_docstring",
    "hesscrab_perbin_ul_errnp",
    "hesscrab_sens",
    "hawc_joint_sumF",
    "pois_disk0.15_nomask",
]


def make_maps(names: tuple[str, ...] = (), edges: Any = (1, 10, 100), **kwargs: Any) -> FluxMaps:
    """Return maps of a power law with the basic quantities and those named."""
    axis = MapAxis.from_energy_edges(np.array(edges) * u.TeV)
    rng = np.random.default_rng(3)
    norm = Map.create(npix=(6, 5), binsz=0.1, axes=[axis])
    norm.data = rng.normal(size=norm.data.shape)
    data = {"norm": norm}
    for name in ("norm_err", "niter", "npred", "npred_excess", "stat", "stat_null", *names):
        data[name] = Map.from_geom(norm.geom, data=rng.random(norm.data.shape))
    data["ts"] = Map.from_geom(norm.geom, data=norm.data * abs(norm.data))
    data["success"] = Map.from_geom(norm.geom, data=np.ones(norm.data.shape, dtype=bool))
    model = PowerLawSpectralModel(index=2.5, amplitude="3e-12 cm-2 s-1 TeV-1", reference="2 TeV")
    return FluxMaps(data, SkyModel(model, PointSpatialModel(), name="test"), **kwargs)


# what a mapping owes


def test_order_and_keys() -> None:
    maps = make_maps(("norm_ul",))
    assert maps.available_quantities == [*NINE, "norm_ul"]
    assert list(maps)[: len(maps.available_quantities)] == maps.available_quantities
    assert len(maps) == len(list(maps.keys())) == len(set(maps))
    assert {"sqrt_ts", "is_ul", "npred_background", "flux", "e2dnde_err", "dnde_ul"} <= set(maps)
    assert "flux_errp" not in maps
    assert "nonsense" not in maps
    assert 3 not in maps
    for name, m in maps.items():
        assert m.geom == maps.geom
        assert getattr(maps, name).data == pytest.approx(m.data)
        assert name in dir(maps)
    assert "flux_errp" not in dir(maps)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("norm_ul", r'norm_ul was not computed: run the estimator with selection_optional=\["ul"'),
        ("flux_errn", r'selection_optional=\["errn-errp"\], or "all"'),
        ("dnde_sensitivity", r'selection_optional=\["sensitivity"\]'),
        ("stat_scan", r'selection_optional=\["stat_scan"\]'),
        ("dnde_scan_values", r'selection_optional=\["stat_scan"\]'),
        ("status", "status cannot be given without status"),
        ("fluxx", "There is no quantity 'fluxx'; did you mean 'flux'"),
    ],
)
def test_missing_map_says_what_to_do(name: str, message: str) -> None:
    maps = make_maps()
    with pytest.raises(KeyError, match=message):
        maps[name]
    with pytest.raises(AttributeError, match=message):
        getattr(maps, name)
    assert not hasattr(maps, name)
    assert maps.get(name) is None


def test_without_model_there_are_no_fluxes() -> None:
    maps = FluxMaps(dict(make_maps()._data))
    assert "flux" not in maps
    assert "sqrt_ts" in maps
    for name in ("flux", "dnde_ref"):
        with pytest.raises(MissingQuantityError, match="reference model"):
            getattr(maps, name)


def test_copies_and_pickles() -> None:
    maps = make_maps()
    for other in (maps.copy(), copy.deepcopy(maps), pickle.loads(pickle.dumps(maps))):
        assert list(other) == list(maps)
        other["norm"].data[:] = 0
        other.meta["n_sigma"] = 7
    assert np.all(maps.norm.data != 0)
    assert maps.n_sigma == 1
    assert (maps == maps.copy()) is False


def test_parts() -> None:
    maps = make_maps()
    part = maps.slice_by_idx({"energy": slice(1, 2)})
    assert part.flux.data == pytest.approx(maps.flux.data[1:])
    small = maps.cutout(maps.geom.center_skydir, "0.3 deg")
    assert small.flux.data.shape == (2, 3, 3)
    assert set(small.flux.data.ravel()) <= set(maps.flux.data.ravel())


def test_a_number_takes_one_bin_and_keeps_the_axis() -> None:
    maps = make_maps()
    for index, group in ((0, 0), (1, 1), (-1, 1)):
        part = maps.slice_by_idx({"energy": index})
        assert part.geom.data_shape == (1, 5, 6)
        assert np.array_equal(part.flux.data[0], maps.flux.data[group])
    with pytest.raises(ValueError, match="axis 'energy' has 2 bins, there is none of number 2"):
        maps.slice_by_idx({"energy": 2})
    with pytest.raises(ValueError, match="no axis 'norm'; there are: energy"):
        maps.slice_by_idx({"norm": 2})


def test_status_is_there_but_not_listed() -> None:
    maps = FluxMaps({**make_maps()._data, "counts": make_maps().npred})
    status = Map.from_geom(maps.geom, dtype="int8")
    status.data[0, :2], status.data[1] = 2, 1
    maps = FluxMaps({"status": status, **maps._data})
    assert maps.available_quantities == [*NINE, "counts"]
    assert "status" in maps
    assert "status" in list(maps)
    assert len(list(maps)) == len(set(maps)) == len(maps)
    first = ["sqrt_ts"]
    assert f"quantities             : {[*first, *NINE, 'counts']}\n" in str(maps)
    table = maps.status_table()
    assert list(table["code"]) == [0, 2, 1]
    assert list(table["pixels"]) == [18, 12, 30]
    assert list(table["energy_group"]) == [0, 0, 1]
    assert list(table["energy_max"].to_value("TeV")) == [10, 10, 100]
    for row in table:
        assert row["meaning"] == STATUS[row["code"]]
        assert row["meaning"] in str(table)  # whole, not cut to the width of a terminal
    with pytest.raises(MissingQuantityError, match="status cannot be given"):
        make_maps().status_table()


# a likelihood scan


def with_scan(maps: FluxMaps, values: Any) -> FluxMaps:
    """Return maps with a parabola as the likelihood scan."""
    axis = MapAxis.from_nodes(values, name="norm")
    geom = maps.geom.to_image().to_cube([axis, maps.energy_axis])
    x = axis.center.value[None, :, None, None]
    data = (x - maps.norm.data[:, None]) ** 2 - maps.norm.data[:, None] ** 2
    return FluxMaps({**maps._data, "stat_scan": Map(geom, data)}, maps.reference_model, maps.meta)


def test_a_scan_has_its_axis_and_its_fluxes() -> None:
    values = np.array([-100.0, -1e-4, 0.0, 1e-4, 0.5, 100.0])
    maps = with_scan(make_maps(("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity")), values)
    optional = [
        "dnde_scan_values",
        "stat_scan",
        "norm_errp",
        "norm_errn",
        "norm_ul",
        "norm_sensitivity",
    ]
    assert maps.available_quantities == [*NINE, *optional]
    assert maps.stat_scan.data.shape == (2, 6, 5, 6)
    expected = values[None, :] * maps.dnde_ref.value[:, :, 0]
    scanned = maps.dnde_scan_values
    assert scanned.geom == maps.stat_scan.geom
    assert scanned.unit == maps.dnde.unit
    for row, col in ((0, 0), (4, 5)):
        assert scanned.data[:, :, row, col] == pytest.approx(expected, rel=1e-12)
    assert "dnde_scan_values" not in FluxMaps(maps._data)
    with pytest.raises(MissingQuantityError, match="reference model"):
        FluxMaps(maps._data)["dnde_scan_values"]


def test_parts_of_a_scan() -> None:
    maps = with_scan(make_maps(), np.arange(7.0))
    assert maps.geom.axes.names == ["energy"]
    assert FluxMaps({"stat_scan": maps.stat_scan}).geom == maps.geom
    part = maps.slice_by_idx({"energy": slice(1, 2), "norm": slice(2, 5)})
    assert np.array_equal(part.stat_scan.data, maps.stat_scan.data[1:, 2:5])
    assert np.array_equal(part.norm.data, maps.norm.data[1:])
    one = maps.slice_by_idx({"norm": 3})
    assert np.array_equal(one.stat_scan.data, maps.stat_scan.data[:, 3:4])
    small = maps.cutout(maps.geom.center_skydir, "0.3 deg")
    assert small.stat_scan.data.shape == (2, 7, 3, 3)
    other = maps.copy()
    other["stat_scan"].data[:] = 0
    assert maps.stat_scan.data.any()


def test_the_energy_is_the_first_dimension_of_all_data() -> None:
    maps = make_maps()
    axis = MapAxis.from_nodes([0.0, 1.0], name="norm")
    wrong = Map.from_geom(maps.geom.to_cube([axis]))
    with pytest.raises(ValueError, match="stat_scan: expected 'energy' as the last axis"):
        FluxMaps({**maps._data, "stat_scan": wrong})


def test_bad_input() -> None:
    maps = make_maps()
    with pytest.raises(ValueError, match="at least one map"):
        FluxMaps({})
    with pytest.raises(TypeError, match="norm: expected a Map, got ndarray"):
        FluxMaps({"norm": maps.norm.data})
    with pytest.raises(ValueError, match="axis 'energy'"):
        FluxMaps({"norm": maps.norm.image(0)})
    other = Map.create(npix=(6, 5), binsz=0.2, axes=[maps.energy_axis])
    with pytest.raises(ValueError, match="ts: its geometry differs from that of norm"):
        FluxMaps({"norm": maps.norm, "ts": other})


# signs and limits


def test_signs_and_limits() -> None:
    maps = make_maps(("norm_ul",))
    assert np.array_equal(np.sign(maps.sqrt_ts.data), np.sign(maps.norm.data))
    assert maps.sqrt_ts.data**2 == pytest.approx(abs(maps.ts.data))
    assert maps.sqrt_ts_threshold_ul == 2
    maps.sqrt_ts_threshold_ul = 0.5
    assert maps.is_ul.data.dtype == bool
    assert np.array_equal(maps.is_ul.data, maps.sqrt_ts.data < 0.5)
    assert maps.npred_background.data + maps.npred_excess.data == pytest.approx(maps.npred.data)


def test_what_is_a_limit_depends_on_what_there_is() -> None:
    """The rules of gammapy's `FluxMaps.is_ul`."""
    maps = make_maps(("norm_ul",))
    maps.norm.data[0, 0, 0] = np.nan
    maps.norm_ul.data[1, 1, 1] = np.nan
    data = dict(maps._data)
    assert np.array_equal(maps.is_ul.data, maps.sqrt_ts.data < 2)
    del data["ts"]
    assert np.array_equal(FluxMaps(data).is_ul.data, np.isfinite(maps.norm_ul.data))
    del data["norm_ul"]
    assert np.array_equal(FluxMaps(data).is_ul.data, np.isnan(maps.norm.data))


def test_prints_as_gammapy_with_significance_flux_and_energies() -> None:
    maps = make_maps(meta={"n_sigma": 1, "n_sigma_ul": 3})
    expected = (
        "FluxMaps\n"
        "--------\n"
        "\n"
        "  geom                   : WcsGeom\n"
        "  axes                   : ['lon', 'lat', 'energy']\n"
        "  shape                  : (6, 5, 2)\n"
        "  quantities             : ['sqrt_ts', 'flux', 'flux_err', 'ts', 'norm', 'niter', "
        "'norm_err', 'npred', 'npred_excess', 'stat', 'stat_null', 'success']\n"
        "  ref. model             : pl\n"
        "  n_sigma                : 1\n"
        "  n_sigma_ul             : 3\n"
        "  sqrt_ts_threshold_ul   : 2\n"
        "  sed type init          : likelihood\n"
        "  energies               : 1 TeV - 10 TeV - 100 TeV\n"
    )
    assert str(maps) == expected
    held = make_maps(meta={"containment_per_group": [[0.991, None], [0.9546]]})
    assert (
        "  kernel holds           : 95.5 % of a source, or more; norm and flux are low by"
        in str(held)
    )
    held.meta["settings"] = {"renormalise": False}
    assert str(held).endswith("  kernel holds           : 95.5 % of a source, or more\n")
    assert held.containment == 0.9546
    assert maps.containment is None


# fluxes


def test_fluxes_of_a_power_law_are_its_closed_forms() -> None:
    maps = make_maps(("norm_err", "norm_errp", "norm_errn", "norm_ul", "norm_sensitivity"))
    low, high = np.array([1.0, 10.0]), np.array([10.0, 100.0])
    a, e0, g = 3e-12, 2.0, 2.5
    center = np.sqrt(low * high)
    expected = {
        "dnde": a * (center / e0) ** -g,
        "e2dnde": a * (center / e0) ** -g * center**2,
        "flux": a * e0**g * (low ** (1 - g) - high ** (1 - g)) / (g - 1),
        "eflux": a * e0**g * (low ** (2 - g) - high ** (2 - g)) / (g - 2),
    }
    for flux, values in expected.items():
        reference = getattr(maps, f"{flux}_ref")
        assert reference.shape == (2, 1, 1)
        assert reference.unit == u.Unit(FLUXES[flux][0])
        assert reference.value[:, 0, 0] == pytest.approx(values, rel=1e-12)
        for suffix in ("", "_err", "_errp", "_errn", "_ul", "_sensitivity"):
            m = maps[flux + suffix]
            assert m.unit == reference.unit
            assert m.quantity.value == pytest.approx(
                (maps[f"norm{suffix}"].data * reference).value, rel=1e-12
            )


def test_reference_is_precise_in_single_precision() -> None:
    maps = make_maps()
    expected = maps.flux_ref.value
    with jax.enable_x64(False):
        assert maps.flux_ref.value == pytest.approx(expected, rel=1e-13)


def load_case(folder: Path, case: str) -> tuple[FluxMaps, dict[str, NDArray[Any]]]:
    """Return maps with a stored reference result's values, and those values."""
    info = json.loads((folder / "ts" / f"{case}.json").read_text())
    stored = np.load(folder / "ts" / f"{case}.npz")
    ny, nx = stored["precise__norm"].shape[1:]
    edges = stored["energy_edges"]
    axis = MapAxis.from_energy_edges((edges if edges.size > 1 else [1, 10]) * u.TeV)
    geom = info["geom"]
    template = Map.create(
        npix=(nx, ny),
        binsz=geom["pixel_scale_deg"][0],
        skydir=tuple(geom["center"]),
        frame=geom["frame"],
        proj=geom["proj"],
        axes=[axis],
    ).geom
    values = {n: stored[f"precise__{n}"] for n in info["quantities"] if n in STORED}
    data = {n: Map.from_geom(template, data=v) for n, v in values.items() if v.ndim == 3}
    data["ts"].data = np.where(data["norm"].data < 0, -data["ts"].data, data["ts"].data)
    spectrum = info["kernel_model"]["spectral"]
    pars = {p["name"]: u.Quantity(p["value"], p.get("unit", "")) for p in spectrum["parameters"]}
    model = PowerLawSpectralModel(
        index=float(pars["index"]), amplitude=pars["amplitude"], reference=pars["reference"]
    )
    reference = {}
    for flux in FLUXES:
        unit = u.Unit(info["units"][f"{flux}_ref"])
        reference[flux] = stored[f"ref__{flux}_ref"].ravel() * unit
    return FluxMaps(data, model), reference


@pytest.mark.data
@pytest.mark.parametrize("case", CASES)
def test_reference_fluxes_are_gammapys(reference_dir: Path, case: str) -> None:
    maps, reference = load_case(reference_dir, case)
    for flux, expected in reference.items():
        value = getattr(maps, f"{flux}_ref")[:, 0, 0]
        # gammapy keeps dnde's unit times keV where its energies are in keV
        assert u.allclose(value, expected, rtol=1e-6), flux
    scan = {"stat_scan", "dnde_scan_values"}
    names = json.loads((reference_dir / "ts" / f"{case}.json").read_text())["quantities"]
    assert maps.available_quantities == [n for n in names if n not in scan]
