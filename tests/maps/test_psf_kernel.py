"""Radial profiles integrated over pixels, against sums of single values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammagrad.maps import WcsGeom
from gammagrad.maps.irf import psf_kernel
from gammagrad.maps.irf.psf_kernel import RadialProfiles, integrate_pixels


def value(profiles: RadialProfiles, row: int, offset: float) -> float:
    """Return a profile at one offset, as its description says."""
    nodes, table = profiles.nodes, profiles.table[row]
    if offset > profiles.edge:
        return 0.0
    i = int(np.clip(np.searchsorted(nodes, offset) - 1, 0, len(nodes) - 2))
    slope = (table[i + 1] - table[i]) / (nodes[i + 1] - nodes[i])
    return max(table[i] + slope * (offset - nodes[i]), 0.0)


@given(
    table=st.lists(st.lists(st.floats(-1, 5), min_size=4, max_size=4), min_size=1, max_size=3),
    offset=st.floats(0, 1),
)
@settings(max_examples=200)
def test_between_the_pieces_all_profiles_are_straight(
    table: list[list[float]], offset: float
) -> None:
    profiles = RadialProfiles(np.array([0.1, 0.2, 0.5, 0.8]), 1.0, np.array(table), 0.1)
    nodes, values = profiles.pieces(1.0)
    assert nodes[0] == 0
    assert nodes[-1] == 1
    for row, line in enumerate(values):
        expected = value(profiles, row, offset)
        assert np.interp(offset, nodes, line) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("proj", ["TAN", "CAR", "AIT"])
@pytest.mark.parametrize("samples", [None, [2, 3]])
def test_a_quarter_of_the_pixels_stands_for_all(
    proj: str, samples: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = WcsGeom.create(
        (21, 21), 0.05, skydir=(266.4, -29.0), proj=proj, frame="galactic"
    ).to_odd_npix()
    rad = np.linspace(0.01, 0.6, 40)
    table = np.array([np.exp(-rad / 0.1), 1 - rad / 0.4])
    profiles = RadialProfiles(rad, 0.61, table, 0.07)
    found = integrate_pixels(grid, profiles, 1, samples)
    monkeypatch.setattr(
        psf_kernel, "_symmetry", lambda grid: psf_kernel._Symmetry((False, False), False)
    )
    whole = integrate_pixels(grid, profiles, 1, samples)
    assert found.shape == (2, 21, 21)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-11)


def test_averages_of_samples_are_those_of_single_values() -> None:
    grid = WcsGeom.create((5, 5), 0.1, skydir=(10, 70), proj="TAN")
    profiles = RadialProfiles(np.array([0.0, 0.1, 0.2]), 0.25, np.array([[3.0, 1.0, 0.1]]), 0.05)
    data = integrate_pixels(grid, profiles, 1, [2])
    around = grid.upsample(2)
    offset = around.separation(grid.center_skydir).to_value("deg")
    single = np.array([[value(profiles, 0, o) for o in row] for row in offset])
    expected = single.reshape(5, 2, 5, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(data[0], expected, rtol=1e-9, atol=1e-12)


def test_pixels_off_the_sky_are_empty() -> None:
    grid = WcsGeom.create((41, 41), 9.0, proj="AIT")
    profiles = RadialProfiles(np.array([0.0, 200.0]), 200.0, np.array([[1.0, 1.0]]), 50.0)
    data = integrate_pixels(grid, profiles)
    assert data[0, 20, 20] == pytest.approx(1.0)
    assert data[0, 0, 0] == 0.0


@pytest.mark.parametrize("proj", ["TAN", "CAR"])
def test_what_a_grid_keeps_does_not_depend_on_the_profiles(proj: str) -> None:
    def grid() -> WcsGeom:
        return WcsGeom.create((15, 15), 0.05, skydir=(50, 30), proj=proj).to_odd_npix()

    kept, rad = grid(), np.linspace(0.0, 0.5, 30)
    for width in (0.1, 0.2):
        profiles = RadialProfiles(rad, 0.5, np.exp(-rad / width)[None, :], 0.07)
        for oversampling in (1, 3):
            found = integrate_pixels(kept, profiles, oversampling)
            np.testing.assert_array_equal(found, integrate_pixels(grid(), profiles, oversampling))
