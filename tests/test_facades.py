"""Names are found where gammapy has them, and are the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gammagrad
from gammagrad import maps, models

PLACES = {
    "datasets": ("MapDataset", "MapDatasetOnOff"),
    "estimators": ("TSMapEstimator", "FluxMaps", "KernelBackgroundEstimator"),
    "makers": ("RingBackgroundMaker",),
    "irf": ("PSFMap", "EDispMap", "EDispKernelMap", "PSFKernel"),
    "maps": ("Map", "MapAxis", "WcsGeom", "RegionGeom"),
    "modeling.models": tuple(models.__all__),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_name_is_the_same_in_both_places(place: str) -> None:
    module = __import__(f"gammagrad.{place}", fromlist=["x"])
    for name in PLACES[place]:
        known = (package for package in (gammagrad, maps, models) if hasattr(package, name))
        assert getattr(module, name) is getattr(next(known), name)
    assert set(module.__all__) >= set(PLACES[place])


def test_models_are_found_in_the_package_as_well() -> None:
    from gammagrad.modeling import models as found

    assert set(found.__all__) == set(models.__all__)


def test_estimators_are_found_first_of_all() -> None:
    code = (
        "from gammagrad.estimators import FluxMaps, TSMapEstimator\n"
        "import gammagrad.estimators as e\n"
        "assert 'KernelBackgroundEstimator' in dir(e)\n"
        "import sys; assert 'gammagrad.estimators.kernel_background' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_no_estimator_has_is_an_error() -> None:
    import gammagrad.estimators as estimators

    with pytest.raises(AttributeError, match="Nothing"):
        estimators.Nothing  # noqa: B018
