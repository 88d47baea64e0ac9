"""Several models to test at once, and their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gammagrad.errors import InputError, InputTypeError
from gammagrad.models import Models, SkyModel

# where a source is and how bright do not tell hypotheses apart
_COMMON = ("lon_0", "lat_0", "amplitude", "reference", "norm")


def check_hypothesis(value: Any, name: str = "model") -> SkyModel:
    """Return a model that can be tested, or say why it cannot."""
    if not isinstance(value, SkyModel):
        raise InputTypeError(
            f" is a {type(value).__name__}; expected a SkyModel to test, or a list of them.", name
        )
    if value.spatial_model is None:
        raise InputError(" has no spatial model; pass one, PointSpatialModel() for instance.", name)
    return value


def as_hypotheses(models: Iterable[Any], name: str = "model") -> Models:
    """Return models to test, each with a name of its own."""
    found = [check_hypothesis(model, f"{name}[{i}]") for i, model in enumerate(models)]
    if not found:
        raise InputError(" is an empty list; expected a SkyModel to test, or several.", name)
    names: list[str] = []
    for model in found:
        stem = _label(model, found) if model.auto_named else model.name
        own, number = stem, 1
        while own in names:
            number += 1
            own = f"{stem}-{number}"
        names.append(own)
    return Models([model.copy(name=own) for model, own in zip(found, names, strict=True)])


def _label(model: SkyModel, models: Sequence[SkyModel]) -> str:
    """Return the shape of a model, its spectrum where that differs, and parameters that differ."""
    kinds = {other.spectral_model.tag for other in models}
    words = [model.spatial_model.tag[-1]]
    words += _differing(model.spatial_model, [other.spatial_model for other in models])
    words += [model.spectral_model.tag[-1]] if len(kinds) > 1 else []
    words += _differing(model.spectral_model, [other.spectral_model for other in models])
    return " ".join(words)


def _differing(part: Any, others: Sequence[Any]) -> list[str]:
    """Return the parameters of a part that are not the same in all parts of its kind, as text."""
    texts = []
    alike = [other.parameters for other in others if type(other) is type(part)]
    for name, value in part.parameters.items():
        known = name not in _COMMON and np.ndim(value) == 0
        if known and len({float(parameters[name]) for parameters in alike}) > 1:
            texts.append(f"{name}={float(value):g}")
    return texts
