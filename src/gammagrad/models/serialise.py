"""Models to and from dictionaries in the layout of gammapy's YAML files.

The caller reads and writes the YAML text and the maps of templates.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gammagrad._pytree import to_internal
from gammagrad.errors import InputError, short
from gammagrad.models.background_models import FoVBackgroundModel, TemplateNPredModel
from gammagrad.models.collection import Models
from gammagrad.models.component import Component
from gammagrad.models.sky import APPLY_IRF, SkyModel
from gammagrad.models.spatial import ConstantSpatialModel
from gammagrad.models.spatial_base import SpatialModel
from gammagrad.models.spectral import SpectralModel
from gammagrad.models.spectral_table import PiecewiseNormSpectralModel, TemplateSpectralModel
from gammagrad.models.template import TemplateSpatialModel

LoadMap = Callable[[str], Any]


def _by_tag(*classes: Any) -> dict[str, Any]:
    """Return classes and their subclasses, at any depth, by their tags."""
    found: dict[str, Any] = {}
    for cls in classes:
        found |= dict.fromkeys(cls.tag, cls) | _by_tag(*cls.__subclasses__())
    return found


_SPECTRAL, _SPATIAL = _by_tag(SpectralModel), _by_tag(SpatialModel)
_COMPONENTS = _by_tag(SkyModel, FoVBackgroundModel, TemplateNPredModel)


def models_from_dict(data: Any, load_map: LoadMap | None = None) -> Models:
    """Make models from the content of a gammapy YAML file.

    Parameters
    ----------
    data
        The content of the file: a mapping with a list ``components``, that list, or one component.
    load_map
        Called with a file name, returns the map of a template. Needed only if there is one.

    Returns
    -------
    Models
        The models, with the frozen state and the bounds of their parameters. Parameter errors and
        links are dropped: linked parameters keep their values, but a fit changes each
        independently.

    Raises
    ------
    ValueError
        If a part is missing, of an unknown type, or cannot be represented.

    Warns
    -----
    UserWarning
        If parameters are linked.

    Examples
    --------
    >>> source = {"type": "SkyModel", "name": "a", "spectral": {"type": "pl", "parameters": []}}
    >>> models_from_dict({"components": [source]})
    Models(a)
    """
    if isinstance(data, Mapping):
        data = data.get("components", [data] if "type" in data else None)
    if not isinstance(data, list | tuple):
        raise InputError(
            "expected a mapping with a list `components`, as in a gammapy model file; "
            f"got {type(data).__name__}."
        )
    models = Models([model_from_dict(component, load_map) for component in data])
    linked: list[str] = []
    for model, component in zip(models, data, strict=True):
        for label in model._parts():
            items = (component.get(label) or {}).get("parameters") or []
            models = _with_settings(models, model, items)
            linked += [f"{model.name}.{item['name']}" for item in items if item.get("link")]
    if linked:
        warnings.warn(
            f"the links of {', '.join(linked)} are not kept: a fit changes each on its own. Freeze "
            "all but one, or remove `link`.",
            stacklevel=2,
        )
    return models


def _with_settings(models: Models, model: Component, items: Any) -> Models:
    """Freeze and bound the parameters of one sub-model according to its parameter list."""
    for item in items:
        key, unit = item["name"], item.get("unit")
        if key not in model.parameters:
            continue
        name = f"{model.name}.{key}"
        if not isinstance(item.get("frozen"), bool | None):
            raise InputError(f"{name}: frozen is {item['frozen']!r}; expected true or false.")
        if item.get("frozen") is not None:
            models = models.freeze(name) if item["frozen"] else models.thaw(name)
        limits = models.places()[name].limits
        low, high = (
            None if item.get(end) is None else _number(item[end], limits.unit, unit, name)
            for end in ("min", "max")
        )
        models = models.bound(name, low, high)
    return models


def models_to_dict(models: Any) -> dict[str, Any]:
    """Return models in the layout of gammapy's YAML files.

    Parameters
    ----------
    models
        A model, several, or a `Models` collection.

    Returns
    -------
    dict
        Plain lists, texts and numbers under the key ``components``. Frozen states and bounds are
        given where they differ from gammapy's defaults.
    """
    models = Models(models)
    frozen, bounds = dict(models.settings.frozen), dict(models.settings.bounds)
    components = []
    for model in models:
        component = model_to_dict(model)
        for label in model._parts():
            for item in component[label].get("parameters", []):
                name = f"{model.name}.{item['name']}"
                ends = zip(("min", "max"), bounds.get(name, ()), strict=False)
                item |= {end: value for end, value in ends if math.isfinite(value)}
                item |= {"frozen": frozen[name]} if name in frozen else {}
        components.append(component)
    return {"components": components}


def model_from_dict(data: Mapping[str, Any], load_map: LoadMap | None = None) -> Any:
    """Make one sky, background or template model.

    Parameters
    ----------
    data
        One component of a model file.
    load_map
        As in `models_from_dict`.

    Returns
    -------
    SkyModel, FoVBackgroundModel or TemplateNPredModel
        The model. The frozen state and bounds of parameters belong to `Models`, so that only
        `models_from_dict` keeps them.

    Raises
    ------
    ValueError
        If a part is missing, of an unknown type, or cannot be represented.
    """
    cls = _lookup(data, _COMPONENTS, "model")
    label = f"model {data.get('name', '(no name)')!r}"
    if data.get("temporal") is not None:
        raise InputError(f"{label} varies in time, which is not supported; remove `temporal`.")
    spectral = _spectral(data["spectral"]) if data.get("spectral") else None
    names = data.get("datasets_names")
    if cls is SkyModel:
        if spectral is None:
            raise InputError(f"{label} has no `spectral` part.")
        spatial = _spatial(data["spatial"], load_map) if data.get("spatial") else None
        return SkyModel(spectral, spatial, data.get("name"), names, data.get("apply_irf"))
    if data.get("spatial"):
        raise InputError(f"{label}: a {cls.__name__} with a spatial part is not supported.")
    if cls is FoVBackgroundModel:
        names = [names] if isinstance(names, str) else names
        if not names or len(names) != 1:
            raise InputError(f"{label}: datasets_names is {names}; expected one dataset.")
        return FoVBackgroundModel(names[0], spectral, data.get("name"))
    filename, template = _load(data, load_map, label)
    return TemplateNPredModel(template, spectral, data.get("name"), names, filename)


def model_to_dict(model: Component) -> dict[str, Any]:
    """Return one model as a component of a gammapy model file.

    Parameters
    ----------
    model
        A sky, background or template model, with values that are known (not traced). Frozen states
        and bounds belong to `Models`, see `models_to_dict`.

    Returns
    -------
    dict
        Plain lists, texts and numbers.
    """
    data: dict[str, Any] = {"name": model.name, "type": type(model).__name__}
    if isinstance(model, SkyModel) and model.apply_irf != APPLY_IRF:
        data["apply_irf"] = model.apply_irf
    if isinstance(model, TemplateNPredModel) and model.filename is not None:
        data["filename"] = model.filename
    if model.datasets_names is not None:
        data["datasets_names"] = list(model.datasets_names)
    for label, part in model._parts().items():
        data[label] = _part_to_dict(part)
    return data


def _lookup(data: Any, known: Mapping[str, Any], what: str) -> Any:
    if not isinstance(data, Mapping) or "type" not in data:
        raise InputError(f"a {what} must be a mapping with a `type`; got {short(data)}.")
    if data["type"] not in known:
        names = ", ".join(dict.fromkeys(cls.tag[0] for cls in known.values()))
        raise InputError(f"{what} type {data['type']!r} is not supported; there are {names}.")
    return known[data["type"]]


def _number(value: Any, unit: str, given: Any, label: str) -> Any:
    """Return a value, given with a unit's name, in an internal unit."""
    if isinstance(value, str):
        # YAML reads 1e-12 (no dot) as a text
        try:
            value = float(value)
        except ValueError as error:
            raise InputError(f"{label} is {short(value)}; expected a number.") from error
    # a number without a unit is in the internal one already
    if given in (None, "", unit):
        return value
    return value * to_internal(f"1.0 {given}", unit, label)


def _values(data: Mapping[str, Any], cls: Any) -> dict[str, Any]:
    """Return parameter values in internal units from a list of parameters."""
    units = {name: limits.unit for name, limits in cls._limits().items()}
    values = {}
    for item in data.get("parameters") or []:
        if not isinstance(item, Mapping) or not {"name", "value"} <= set(item):
            raise InputError(
                f"{cls.__name__}: a parameter needs a `name` and a `value`; got {short(item)}."
            )
        name = item["name"]
        if name not in units:
            raise InputError(
                f"{cls.__name__} has no parameter {name!r}; it has {', '.join(units)}."
            )
        label = f"{cls.__name__}.{name}"
        values[name] = _number(item["value"], units[name], item.get("unit"), label)
    return values


def _table(data: Mapping[str, Any], key: str, unit: str, label: str) -> Any:
    """Return an array stored as a mapping of data and unit."""
    if key not in data:
        raise InputError(f"{label} has no `{key}`.")
    column = data[key]
    values = np.asarray(column["data"], dtype=float)
    return _number(values, unit, column.get("unit"), f"{label}.{key}")


def _spectral(data: Mapping[str, Any]) -> SpectralModel:
    cls = _lookup(data, _SPECTRAL, "spectral model")
    label = cls.__name__
    if cls is TemplateSpectralModel:
        units = cls._limits()
        return cls(**{key: _table(data, key, units[key].unit, label) for key in units})
    if cls is PiecewiseNormSpectralModel:
        items = data.get("parameters") or []
        numbered = [(re.fullmatch(r"norm_(\d+)", item["name"]), item["value"]) for item in items]
        order = {int(match[1]): float(value) for match, value in numbered if match}
        norms = [order[key] for key in sorted(order)]
        return cls(_table(data, "energy", "TeV", label), norms or None, data.get("interp", "log"))
    return cls(**_values(data, cls))


def _spatial(data: Mapping[str, Any], load_map: LoadMap | None) -> SpatialModel:
    cls = _lookup(data, _SPATIAL, "spatial model")
    if cls is TemplateSpatialModel:
        filename, template = _load(data, load_map, cls.__name__)
        return cls.from_map(template, data.get("normalize", True), filename)
    return cls(**_values(data, cls), frame=data.get("frame", "icrs"))


def _load(data: Mapping[str, Any], load_map: LoadMap | None, label: str) -> tuple[str | None, Any]:
    """Return file name and map of a template."""
    filename = data.get("filename")
    if filename is None:
        raise InputError(f"{label} has no `filename` of the template's map.")
    if load_map is None:
        raise InputError(f"{label} is in the file {filename}; pass load_map to read it.")
    return str(filename), load_map(str(filename))


def _part_to_dict(part: Any) -> dict[str, Any]:
    """Return a spectral or spatial model as plain lists, texts and numbers."""
    data: dict[str, Any] = {"type": part.tag[0]}
    if isinstance(part, TemplateSpatialModel):
        return data | {
            "frame": part.frame,
            "filename": part.filename,
            "normalize": part.normalize,
            "unit": part.unit,
        }
    if isinstance(part, SpatialModel) and not isinstance(part, ConstantSpatialModel):
        data["frame"] = part.frame
    units = part.parameter_units
    numbers = {key: np.asarray(value, dtype=float) for key, value in part.parameters.items()}
    if isinstance(part, PiecewiseNormSpectralModel):
        data |= {"energy": _column(numbers["energy"], "TeV"), "interp": part.interp}
        numbers = {f"norm_{i}": norm for i, norm in enumerate(numbers["norms"])}
        units = dict.fromkeys(numbers, "")
    elif isinstance(part, TemplateSpectralModel):
        data |= {key: _column(values, units[key]) for key, values in numbers.items()}
        numbers = {}
    data["parameters"] = [
        {"name": key, "value": float(value)} | ({"unit": units[key]} if units[key] else {})
        for key, value in numbers.items()
    ]
    return data


def _column(values: Any, unit: str) -> dict[str, Any]:
    return {"data": values.tolist(), "unit": unit}
