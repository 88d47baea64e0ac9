"""Models, both ways, through the layout of model files, without files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import astropy.units as u
import numpy as np
from gammapy.modeling import models as gp

from gammagrad.errors import InputError
from gammagrad.interop.maps import map_from_gammapy, map_to_gammapy
from gammagrad.maps import Map
from gammagrad.models import (
    FoVBackgroundModel,
    Models,
    SkyModel,
    TemplateNPredModel,
    TemplateSpatialModel,
    models_from_dict,
    models_to_dict,
)

_IN_MEMORY = "in memory"


def _part(model: Any, label: str) -> dict[str, Any]:
    """Return a spectral or spatial model of gammapy as the content of a file."""
    if isinstance(model, gp.TemplateSpatialModel):
        return {
            "type": "TemplateSpatialModel",
            "parameters": [],
            "filename": _IN_MEMORY,
            "normalize": bool(model.normalize),
        }
    content: dict[str, Any] = model.to_dict(full_output=True)[label]
    return content


def _component(model: Any) -> dict[str, Any]:
    """Return a model of gammapy as the content of a file, maps left out."""
    content: dict[str, Any] = {"type": type(model).__name__, "name": model.name}
    for label in ("spectral", "spatial"):
        part = getattr(model, f"{label}_model", None)
        if part is not None:
            content[label] = _part(part, label)
    if getattr(model, "temporal_model", None) is not None:
        raise InputError(f"model {model.name!r} changes with time, which a model here cannot.")
    if model.datasets_names is not None:
        content["datasets_names"] = list(model.datasets_names)
    if getattr(model, "apply_irf", None):
        content["apply_irf"] = dict(model.apply_irf)
    if isinstance(model, gp.TemplateNPredModel):
        content["filename"] = _IN_MEMORY
    return content


def model_from_gammapy(model: Any) -> Any:
    """Return one model of gammapy as one of ours, or raise if there is none like it."""
    (found,) = models_from_gammapy(model)
    return found


def models_from_gammapy(models: Any) -> Models:
    """Return models of gammapy as ours.

    Parameters
    ----------
    models
        A model of gammapy, or several.

    Returns
    -------
    Models
        The models, with frozen states and bounds. Links between parameters are not kept.

    Raises
    ------
    ValueError
        If there is no model like one of them here: it changes with time, or is a class of its own.
    """
    several = list(models) if isinstance(models, Iterable) else [models]
    templates = []
    for model in several:
        if not isinstance(model, gp.SkyModel | gp.FoVBackgroundModel | gp.TemplateNPredModel):
            raise InputError(f"model {model.name!r} is a {type(model).__name__}.")
        spatial = getattr(model, "spatial_model", None)
        for holder in (spatial, model):
            if isinstance(holder, gp.TemplateSpatialModel | gp.TemplateNPredModel):
                templates.append(holder.map)
    # one after the other, in the order of the components
    in_memory = iter(templates)
    return models_from_dict(
        {"components": [_component(model) for model in several]},
        lambda _: map_from_gammapy(next(in_memory)),
    )


def models_to_gammapy(models: SkyModel | Models | Any) -> Any:
    """Return models as gammapy's.

    Parameters
    ----------
    models
        A model, or several.

    Returns
    -------
    gammapy.modeling.models.Models
        The models; templates have their maps in memory.

    Raises
    ------
    ValueError
        If a template has no map that gammapy could take.
    """
    made, collection = [], Models(models)
    for model in collection:
        spatial = getattr(model, "spatial_model", None)
        if isinstance(spatial, TemplateSpatialModel):
            made.append(_with_template(model, spatial))
        elif isinstance(model, TemplateNPredModel):
            made.append(_background(model))
        else:
            (one,) = gp.Models.from_dict(models_to_dict(model))
            made.append(one)
        _set_free(made[-1], collection)
    return gp.Models(made)


def _set_free(model: Any, collection: Models) -> None:
    """Freeze and bound the parameters of gammapy's model as they are in ours."""
    bounds, places, free = collection.bounds, collection.places(), collection.free
    for parameter in model.parameters:
        name = f"{model.name}.{parameter.name}"
        if name not in places:
            continue
        parameter.frozen = name not in free
        limits = u.Quantity(bounds[name], places[name].limits.unit or "")
        low, high = limits.to_value(parameter.unit)
        parameter.min, parameter.max = (x if np.isfinite(x) else np.nan for x in (low, high))


def _spectrum(model: Any) -> Any:
    """Return the spectral model of a model as one of gammapy's."""
    spectrum = model.spectral_model
    whole = FoVBackgroundModel("any", spectrum) if spectrum.is_norm else SkyModel(spectrum)
    (one,) = gp.Models.from_dict(models_to_dict(whole))
    return one.spectral_model


def _template(model: Any, values: Any, geom: Any, unit: str) -> Any:
    """Return the map of a template as gammapy's."""
    if geom is None:
        raise InputError(
            f"model {model.name!r}: its template was made from an array without a geometry; make "
            "it from a map."
        )
    return map_to_gammapy(Map(geom, np.asarray(values).reshape(geom.data_shape), unit=unit))


def _names(model: Any) -> list[str] | None:
    return None if model.datasets_names is None else list(model.datasets_names)


def _with_template(model: SkyModel, spatial: TemplateSpatialModel) -> Any:
    """Return a model with a template in memory."""
    template = _template(model, spatial.data, spatial.geom, spatial.unit)
    shape = gp.TemplateSpatialModel(map=template, normalize=spatial.normalize)
    return gp.SkyModel(
        spectral_model=_spectrum(model),
        spatial_model=shape,
        name=model.name,
        datasets_names=_names(model),
    )


def _background(model: TemplateNPredModel) -> Any:
    """Return a cube of predicted counts with a norm."""
    return gp.TemplateNPredModel(
        _template(model, model.data, model.geom, ""),
        spectral_model=_spectrum(model),
        name=model.name,
        datasets_names=_names(model),
    )
