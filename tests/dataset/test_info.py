"""What printing a dataset tells a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from datasets import make_dataset
from gammagrad.dataset import MapDataset, nice_energy
from gammagrad.maps import EDispKernelMap, Map
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel


@given(st.floats(1.0, 1e20))
def test_an_energy_keeps_its_value_in_a_unit_that_suits_it(value: float) -> None:
    text = nice_energy(u.Quantity(value, "eV"))
    assert u.Quantity(text).to_value("eV") == pytest.approx(value, rel=1e-3)
    number = float(text.split()[0])
    assert 1 <= number <= 1000 or value > 1e18


def rows(dataset: MapDataset) -> dict[str, str]:
    title, *lines = str(dataset).splitlines()
    assert title == f"MapDataset {dataset.name!r}"
    return {key.strip(): text for key, text in (line.split(" : ") for line in lines)}


def test_printing_tells_what_is_there() -> None:
    dataset = make_dataset(mask=True, name="field", seed=None, background=0.25, flux=0)
    axis = dataset.energy_axis
    dataset.edisp = EDispKernelMap.from_diagonal(axis.rename("energy_true"), axis)
    exposure = dataset.require("exposure")
    exposure.meta["livetime"] = "7200 s"
    exposure.data[0, 0, 0] = 0
    dataset.gti = Table({"START": [0.0, 5000.0] * u.s, "STOP": [3600.0, 8600.0] * u.s})
    dataset.models = SkyModel(PowerLawSpectralModel(), PointSpatialModel(), name="crab")
    text = rows(dataset)
    assert text["geometry"] == "25 x 21 pixels of 0.1 x 0.1 deg (2.5 x 2.1 deg)"
    assert text["projection"] == "TAN, icrs"
    assert text["centre"] == "RA 83.6300, Dec 22.0100 deg"
    assert text["energy"] == text["energy_true"] == "3 bins, 1 TeV to 10 TeV"
    assert text["counts"] == "393.75 in all, 100 % of bins occupied"
    assert text["background"] == "393.75 in all"
    assert text["exposure"] == "3e+13 cm2 s, zero in 0.0635 % of bins"
    assert text["psf"].startswith("in true energy, 3 bins, 1 TeV to 10 TeV, 68 % within 0.22")
    assert text["edisp"] == "EDispKernelMap, 3 energy_true x 3 energy bins"
    assert text["mask_safe"] == "90.54 % of bins used"
    assert text["mask_fit"] == "none"
    assert text["bins to fit"] == f"{3 * 21 * 23 - 23} of 1575"
    assert text["gti"] == "2 intervals, 2 h in all"
    assert text["livetime"] == "2 h"
    assert text["models"] == "crab (SkyModel)"
    assert str(dataset).replace("'", "&#x27;") in dataset._repr_html_()


def test_printing_works_with_any_part_missing() -> None:
    assert rows(MapDataset(name="empty")) == {
        "geometry": "none",
        "counts": "none",
        "background": "none",
        "exposure": "none",
        "psf": "none (sources are not blurred)",
        "edisp": "none (the measured energy is the true energy)",
        "mask_safe": "none",
        "mask_fit": "none",
        "models": "none",
    }
    assert repr(MapDataset(name="empty")) == "<MapDataset 'empty', empty>"
    dataset = make_dataset(npix=(5, 4))
    assert repr(dataset) == "<MapDataset 'simulated', 3 x 4 x 5>"
    dataset.counts = None
    dataset.require("background").data[0, 0, :3] = np.nan
    dataset.exposure = Map(dataset.require("exposure").geom, 0.0, "cm2 s")
    text = rows(dataset)
    assert text["background"] == "17.1 in all, 3 NaN"
    assert text["exposure"] == "zero everywhere"
    only_exposure = MapDataset(exposure=dataset.exposure)
    assert "energy" not in rows(only_exposure)
    assert repr(only_exposure).endswith(", 3 x 4 x 5>")


@pytest.mark.data
def test_printing_a_real_dataset(gammapy_data: Path) -> None:
    text = rows(MapDataset.read(gammapy_data / "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz"))
    assert text["energy"] == "11 bins, 10 GeV to 500 GeV"
    assert text["energy_true"] == "12 nodes, 10 GeV to 500 GeV"
    assert text["counts"] == "32684 in all, 3.34 % of bins occupied"
    assert text["centre"] == "l 0.0000, b 0.0000 deg"
    assert text["mask_safe"] == "72 % of bins used"
