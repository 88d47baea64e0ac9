"""The lists of calls that work as in gammapy, and of those that are left out, are true."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gammagrad import datasets, irf, maps
from gammagrad.estimators import FluxMaps

PAGE = Path(__file__).parent.parent / "docs" / "coming_from_gammapy.md"
PLACES: tuple[tuple[str, Any], ...] = (
    ("maps", maps),
    ("datasets", datasets),
    ("irf", irf),
)


def calls(title: str) -> list[tuple[str, str]]:
    """Return classes and names from the first table after some words on the page."""
    text = PAGE.read_text(encoding="utf-8").split(title, 1)[1].split("| of |", 1)[1]
    found = []
    for line in text.splitlines()[2:]:
        if not line.startswith("|"):
            break
        of, names = line.strip("|").split("|")
        owner = re.findall(r"`(\w+)`", of)[0]
        found += [(owner, name) for name in re.findall(r"`(\w+)`", names)]
    return found


def owner_of(name: str) -> Any:
    """Return a class by its name."""
    known = [getattr(place, name) for _, place in PLACES if hasattr(place, name)]
    return known[0] if known else {"FluxMaps": FluxMaps}[name]


def has(cls: Any, name: str) -> bool:
    """Tell whether objects of a class have an attribute, those set in `__init__` included."""
    return hasattr(cls, name) or name in ("meta", "gti")


HERE, MISSING = calls("## Which calls work"), calls("\nLeft out:")


def test_there_are_calls_to_try() -> None:
    assert len(HERE) > 120
    assert len(MISSING) > 40
    assert not set(HERE) & set(MISSING)


@pytest.mark.parametrize(("owner", "name"), HERE)
def test_a_call_that_is_said_to_work_exists(owner: str, name: str) -> None:
    assert has(owner_of(owner), name)


@pytest.mark.parametrize(("owner", "name"), MISSING)
def test_a_call_that_is_said_to_be_left_out_is_not_there(owner: str, name: str) -> None:
    assert not has(owner_of(owner), name)


@pytest.mark.parametrize("listed", [HERE, MISSING], ids=["here", "missing"])
def test_the_calls_are_gammapys(listed: list[tuple[str, str]]) -> None:
    places = [pytest.importorskip(f"gammapy.{name}") for name, _ in PLACES]
    places.append(pytest.importorskip("gammapy.estimators"))
    unknown = []
    for owner, name in listed:
        theirs = "WcsNDMap" if owner == "Map" else owner
        cls = next(getattr(place, theirs) for place in places if hasattr(place, theirs))
        unknown += [] if has(cls, name) else [f"{owner}.{name}"]
    assert unknown == []


# a script as gammapy's tutorials have it: only the name of the package differs
SCRIPT = """
import astropy.units as u
from astropy.coordinates import SkyCoord
from PACKAGE.datasets import MapDataset
from PACKAGE.estimators import TSMapEstimator
from PACKAGE.estimators.utils import find_peaks
from PACKAGE.irf import EDispKernelMap, PSFMap
from PACKAGE.maps import Map
from PACKAGE.modeling.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

counts = Map.read(path + "counts-cube.fits.gz")
background = Map.read(path + "background-cube.fits.gz")
exposure = Map.read(path + "exposure-cube.fits.gz")
exposure = Map.from_geom(exposure.geom, data=exposure.data, unit="cm2 s")
mask_safe = counts.geom.energy_mask(energy_min=10 * u.GeV)
psf = PSFMap.read(path + "psf-cube.fits.gz", format="gtpsf")
edisp = EDispKernelMap.from_diagonal_response(
    energy_axis=counts.geom.axes["energy"], energy_axis_true=exposure.geom.axes["energy_true"]
)
dataset = MapDataset(
    counts=counts, background=background, exposure=exposure, psf=psf, edisp=edisp,
    mask_safe=mask_safe, name="fermi-3fhl-gc",
)
position = SkyCoord(0, 0, unit="deg", frame="galactic")
dataset = dataset.cutout(position, 2 * u.deg, name="gc")
spectrum = PowerLawSpectralModel(amplitude="1e-22 cm-2 s-1 keV-1", index=2)
model = SkyModel(spatial_model=PointSpatialModel(), spectral_model=spectrum)
estimator = TSMapEstimator(model, kernel_width="0.5 deg", energy_edges=[10, 500] * u.GeV)
maps = estimator.run(dataset)
image = maps["sqrt_ts"].get_image_by_idx((0,))
sources = find_peaks(image, threshold=5, min_distance="0.25 deg")
ax = maps["sqrt_ts"].plot(add_cbar=True)
ax.scatter(sources["ra"], sources["dec"], transform=ax.get_transform("icrs"))
smooth = dataset.counts.sum_over_axes().smooth(0.05 * u.deg)
smooth.plot(stretch="sqrt", add_cbar=True)
exclusion = ~dataset.counts.geom.to_image().region_mask("galactic;circle(0, 0, 0.5)")
dataset.plot_residuals_spatial(method="diff/sqrt(model)", vmin=-1, vmax=1)
table = maps.get_flux_points(position).to_table(sed_type="dnde")
total = dataset.to_image().counts.data.sum(), smooth.data.sum(), exclusion.data.sum()
"""


def run_script(package: str, folder: Path) -> dict[str, Any]:
    """Run the script with one of the packages, and return its names."""
    plt = pytest.importorskip("matplotlib.pyplot")
    names: dict[str, Any] = {"path": f"{folder}/fermi-3fhl-gc/fermi-3fhl-gc-"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(SCRIPT.replace("PACKAGE", package), names)
    plt.close("all")
    return names


def test_a_script_for_gammapy_changes_its_imports(gammapy_data: Path) -> None:
    pytest.importorskip("gammapy")
    ours, theirs = (run_script(name, gammapy_data) for name in ("gammagrad", "gammapy"))
    np.testing.assert_allclose(ours["total"], theirs["total"])
    for name in ("x", "y"):
        assert ours["sources"][name][0] == theirs["sources"][name][0]
    # kernels are more accurate here
    assert float(ours["sources"]["value"][0]) == pytest.approx(
        float(theirs["sources"]["value"][0]), rel=0.05
    )
    assert ours["table"]["dnde"].to_value("cm-2 s-1 TeV-1")[0] == pytest.approx(
        theirs["table"]["dnde"].quantity.to_value("cm-2 s-1 TeV-1")[0], rel=0.05
    )
