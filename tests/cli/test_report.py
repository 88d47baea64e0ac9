"""What the commands print about the pixels of a map."""

from __future__ import annotations

import pytest

from gammagrad.cli.report import status_line
from gammagrad.core.norm import Status
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import Map, MapAxis


def line(*codes: int) -> str:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    status = Map.create(npix=(len(codes), 1), axes=[axis], dtype="int8")
    status.data[...] = codes
    return status_line(FluxMaps({"status": status}))


def test_what_is_fitted_comes_first() -> None:
    assert line(0, 0) == "all 2 fitted"
    assert line(0, 2, 2) == "all 3 fitted (2 at the physical bound)"
    lost = "1 outside the mask, or without exposure or background"
    assert line(0, 1, 6) == f"2 of 3 fitted (1 without counts); {lost}"
    assert line(6, 6) == f"0 of 2 fitted; {lost.replace('1', '2')}"
    assert line(0, 77) == "1 of 2 fitted; 1 of code 77"


@pytest.mark.parametrize("code", Status)
def test_every_code_has_words(code: Status) -> None:
    assert "of code" not in line(0, code)
