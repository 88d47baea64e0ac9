"""Settings of an estimator in a file: written, edited by hand, read again."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from gammagrad.dataset import load_beside
from gammagrad.errors import InputError, choices, short
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.io import read_yaml, reads_file, write_yaml
from gammagrad.maps import Map
from gammagrad.models import Models, SkyModel, model_from_dict, model_to_dict, models_from_dict


def write_config(
    estimator: TSMapEstimator, filename: str | PathLike[str], overwrite: bool = False
) -> None:
    """Write the settings of an estimator, its model included."""
    if isinstance(estimator.background_uncertainty, Map):
        raise InputError(
            " is a map, which a file of settings cannot hold; expected a number, or one for each "
            "energy group.",
            "background_uncertainty",
        )
    several = isinstance(estimator.model, Models)
    models = [_content(model) for model in Models(estimator.model)]
    settings = {name: value for name, value in estimator.settings.items() if name != "model"}
    content = {"estimator": estimator.tag, **settings, "model": models if several else models[0]}
    write_yaml(content, filename, overwrite=overwrite)


def _content(model: SkyModel) -> dict[str, Any]:
    """Return a model as a component of a file."""
    content = model_to_dict(model)
    if content["spatial"].get("filename", "there") is None:
        raise InputError(
            f"model {model.name!r}: its template is in no file, so a file of settings cannot name "
            "it; write the map, and make the model with its file name."
        )
    return content


@reads_file
def read_config(
    filename: str | PathLike[str], *, outside: bool = False, **defaults: Any
) -> TSMapEstimator:
    """Make an estimator with the settings of a file."""
    content = read_yaml(filename)
    if not isinstance(content, Mapping):
        raise InputError(
            f"{filename}: expected names and values such as `kernel_width: 1 deg`, got "
            f"{type(content).__name__}."
        )
    settings: dict[str, Any] = {**defaults, **content}
    tag = settings.pop("estimator", TSMapEstimator.tag)
    if tag != TSMapEstimator.tag:
        raise InputError(f"{filename}: settings of {tag}; expected those of {TSMapEstimator.tag}.")
    known = [name for name, row in TSMapEstimator.table.items() if row.in_files]
    unknown = sorted(map(str, set(settings) - set(known)))
    if unknown:
        names = ", ".join(map(short, unknown[:9]))
        raise InputError(f"{filename}: no setting {names}{choices(unknown[0], known)}")
    model, load = settings.get("model"), load_beside(filename, outside)
    if isinstance(model, list):
        settings["model"] = [model_from_dict(component, load) for component in model]
    elif model is not None:
        settings["model"] = model_from_dict(model, load)
    return TSMapEstimator(**settings)


@reads_file
def read_model(filename: str | PathLike[str], *, outside: bool = False) -> SkyModel:
    """Read a source model, for `TSMapEstimator`."""
    content = read_yaml(filename)
    models = list(models_from_dict(content, load_beside(filename, outside)))
    if len(models) != 1 or not isinstance(models[0], SkyModel):
        found = ", ".join(f"{m.name} ({type(m).__name__})" for m in models) or "none"
        raise InputError(f"{filename}: expected one SkyModel to test, found {found}.")
    return models[0]
