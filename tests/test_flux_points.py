"""The spectrum at a position of flux maps, as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from gammagrad import FluxMaps, Map
from gammagrad.estimators.utils import find_peaks
from gammagrad.maps import MapAxis, WcsGeom
from gammagrad.models import PowerLawSpectralModel

POSITION = SkyCoord(83.53, 22.11, unit="deg")


def flux_maps(reference: bool = True) -> FluxMaps:
    """Return random maps of two energy groups."""
    axis = MapAxis.from_energy_edges(["10 GeV", "100 GeV", "2 TeV"])
    geom = WcsGeom.create(npix=(8, 6), binsz=0.1, skydir=(83.63, 22.01), proj="TAN", axes=[axis])
    rng = np.random.default_rng(0)
    names = ("ts", "norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "stat", "npred")
    data = {name: Map(geom, rng.uniform(1, 9, geom.data_shape)) for name in names}
    data["success"] = Map(geom, np.ones(geom.data_shape, bool))
    model = PowerLawSpectralModel(index=2.2, amplitude=1e-12) if reference else None
    return FluxMaps(data, model, {"n_sigma_ul": 2})


def test_a_row_has_the_values_of_the_pixel() -> None:
    maps = flux_maps()
    table = maps.get_flux_points(POSITION)
    assert isinstance(table, QTable)
    x, y = (round(float(c)) for c in maps.geom.sky_to_pix(POSITION))
    assert len(table) == 2
    for group, row in enumerate(table):
        assert row["norm"] == maps.norm.data[group, y, x]
        np.testing.assert_allclose(row["dnde_err"], maps.dnde_err.quantity[group, y, x])
        np.testing.assert_allclose(row["dnde"], row["norm"] * row["ref_dnde"])
    assert table["e_min"].unit == u.GeV
    np.testing.assert_allclose(table["e_ref"], maps.energy_ref)
    middle = maps.get_flux_point()
    np.testing.assert_array_equal(middle["ts"], maps.get_flux_points(maps.geom.center_skydir)["ts"])
    lonlat = maps.get_flux_points((83.53, 22.11))
    np.testing.assert_array_equal(lonlat["norm"], table["norm"])


def test_a_table_has_the_columns_of_one_kind() -> None:
    table = flux_maps().get_flux_points(POSITION)
    wanted = ["e_ref", "e_min", "e_max", "flux", "flux_err", "flux_errn", "flux_errp", "flux_ul"]
    found = table.to_table("flux", formatted=True).colnames
    assert found[:8] == wanted
    assert {"ts", "sqrt_ts", "npred", "stat", "success", "is_ul"} <= set(found)
    assert "ref_dnde" in table.to_table("likelihood").colnames
    assert table.to_table().colnames == table.colnames
    with pytest.raises(ValueError, match="did you mean 'dnde'"):
        table.to_table("dnd")


def test_without_a_reference_there_are_norms() -> None:
    found = flux_maps(reference=False).get_flux_points(POSITION).colnames
    assert "norm_err" in found
    assert not {"ref_dnde", "dnde"} & set(found)


def test_a_position_outside_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside"):
        flux_maps().get_flux_points((80.0, 22.0))


def test_peaks_of_an_image_have_gammapys_columns() -> None:
    image = Map.create(npix=(20, 10), binsz=0.1, skydir=(83.63, 22.01), unit="m")
    image.data[3, 12], image.data[7, 2] = 5, 9
    table = find_peaks(image, 4, "0.2 deg")
    assert table.colnames == ["value", "x", "y", "ra", "dec"]
    assert table["x"].tolist() == [2, 12]
    assert table["y"].tolist() == [7, 3]
    np.testing.assert_array_equal(table["value"], [9, 5] * u.m)
    sky = image.geom.pix_to_sky([2.0, 12.0], [7.0, 3.0])
    np.testing.assert_allclose(table["ra"], sky.ra)
    assert len(find_peaks(image, 20)) == 0
    with pytest.raises(TypeError, match="Map"):
        find_peaks(image.data, 4)
    with pytest.raises(ValueError, match="one image"):
        find_peaks(flux_maps()["ts"], 4)


def test_a_spectrum_is_gammapys(tmp_path: Path) -> None:
    estimators = pytest.importorskip("gammapy.estimators")
    maps = flux_maps()
    maps.write(tmp_path / "maps.fits")
    theirs = estimators.FluxMaps.read(tmp_path / "maps.fits").get_flux_points(POSITION)
    ours = maps.get_flux_points(POSITION)
    for kind in ("likelihood", "dnde", "flux", "eflux", "e2dnde"):
        wanted, found = theirs.to_table(sed_type=kind), ours.to_table(kind)
        assert set(wanted.colnames) <= set(found.colnames)
        for name in wanted.colnames:
            value = u.Quantity(found[name]).to_value(wanted[name].unit or "")
            np.testing.assert_allclose(value, wanted[name].data, rtol=1e-6, err_msg=name)
