"""Files of models, in the layout of gammapy's YAML files."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

from gammagrad.errors import FileContentError, GammagradError, InputError
from gammagrad.io import (
    Content,
    expand_path,
    path_in_file,
    read_yaml,
    reads_file,
    write_files,
    yaml_content,
)
from gammagrad.maps import Map
from gammagrad.models import Models, models_from_dict, models_to_dict


def load_beside(filename: str | PathLike[str], outside: bool) -> Any:
    """Return a function that reads the map of a template, by its name relative to a file."""
    folder = expand_path(filename).parent

    def load(name: str) -> Map:
        path = path_in_file(name, folder, outside)
        try:
            return Map.read(path)
        except GammagradError as error:
            # what a variable stands for is nobody's business
            raise FileContentError(str(error).replace(str(path), name)) from None

    return load


@reads_file
def read_models(filename: str | PathLike[str], outside: bool = False) -> Models:
    """Read models; names of templates are relative to the file."""
    content = read_yaml(filename)
    folder = expand_path(filename).parent.absolute()
    for part in _templates(content):
        if not Path(part["filename"]).is_absolute() and "$" not in part["filename"]:
            # as a whole path, so that the models can be written into another folder
            part["filename"] = str(path_in_file(part["filename"], folder, outside))
    return models_from_dict(content, load_beside(filename, outside))


def write_models(models: Models, filename: str | PathLike[str], overwrite: bool = False) -> None:
    """Write models."""
    write_files([(filename, models_content(models, filename))], overwrite)


def models_content(models: Models, filename: str | PathLike[str]) -> Content:
    """Return the content of a file of models."""
    content = models_to_dict(models)
    folder = Path(os.path.abspath(expand_path(filename))).parent
    for component in content["components"]:
        for part in (component, component.get("spatial") or {}):
            # (a template's dict has the name of its file, known or not)
            is_template = part.get("type") in ("TemplateSpatialModel", "TemplateNPredModel")
            if is_template and part.get("filename") is None:
                raise InputError(
                    f"model {component['name']!r}: its template is in no file, so that a file of "
                    "models cannot name it; write the map, and make the model with its file name."
                )
    for part in _templates(content):
        part["filename"] = _relative(part["filename"], folder)
    return yaml_content(content, filename)


def _relative(name: str, folder: Path) -> str:
    """Return the name of a template: relative below the folder of the models, else whole."""
    if "$" in name:
        return name
    path = Path(os.path.abspath(expand_path(name)))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _templates(content: Any) -> list[dict[str, Any]]:
    """Return the parts of a file's content that name the file of a template."""
    components = content.get("components") if isinstance(content, dict) else content
    components = components if isinstance(components, list) else [content]
    dicts = [one for one in components if isinstance(one, dict)]
    parts = [part for one in dicts for part in (one, one.get("spatial"))]
    return [p for p in parts if isinstance(p, dict) and isinstance(p.get("filename"), str)]
