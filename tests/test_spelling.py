"""Misspelt names of arguments: what may have been meant, and what there is."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from gammagrad import KernelBackgroundEstimator, TSMapEstimator
from gammagrad.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        (TSMapEstimator, "kernel_widht", "kernel_width"),
        (KernelBackgroundEstimator, "mask_dilation_radus", "mask_dilation_radius"),
        (GaussianSpatialModel, "sgima", "sigma"),
        (PowerLawSpectralModel, "idnex", "index"),
        (SkyModel, "spectral_modle", "spectral_model"),
        (FoVBackgroundModel, "spectral_modle", "spectral_model"),
    ],
)
def test_a_suggestion_is_made(kind: Any, name: str, meant: str) -> None:
    message = f"{kind.__name__} has no argument '{name}'; did you mean '{meant}'"
    with pytest.raises(TypeError, match=message):
        kind(**{name: 1})


def test_completion_still_sees_the_names() -> None:
    for kind, name in ((TSMapEstimator, "kernel_width"), (GaussianSpatialModel, "sigma")):
        assert name in inspect.signature(kind).parameters


def test_what_is_made_in_other_ways_is_as_before() -> None:
    model = GaussianSpatialModel(sigma="1 deg")
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.sigma == model.sigma
    assert TSMapEstimator(n_sigma=2).copy().n_sigma == 2
