"""Several datasets with their models in YAML and FITS files, in gammapy's layout."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

from gammagrad.dataset.base import BaseMapDataset
from gammagrad.dataset.datasets import Datasets
from gammagrad.dataset.model_files import models_content, read_models
from gammagrad.dataset.on_off import AnyMapDataset
from gammagrad.dataset.reading_datasets import read_dataset
from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.io import (
    Content,
    dataset_content,
    dataset_filename,
    expand_path,
    read_dataset_list,
    write_files,
    yaml_content,
)
from gammagrad.models import Component, Models, models_to_dict


def read_datasets(
    filename: str | PathLike[str],
    models: str | PathLike[str] | Component | Iterable[Component] | None = None,
    checksum: bool = True,
    *,
    outside: bool = False,
) -> Datasets:
    """Read datasets that a YAML file lists, as gammapy's ``Datasets.write`` writes it.

    Parameters
    ----------
    filename
        The list. The files that it names are looked for relative to it. Environment variables
        (``$NAME``) and ``~`` are expanded.
    models
        A YAML file of models, or models. Each dataset gets those that apply to it.
    checksum
        Whether to verify the checksums in the FITS files.
    outside
        Whether relative paths in the files may lead out of their folders.

    Returns
    -------
    Datasets
        The datasets, in the order of the list and with its names.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If the list cannot be read or names datasets of another kind, or as `read_dataset`.

    Examples
    --------
    >>> import os, tempfile
    >>> from gammagrad.dataset import read_datasets, write_datasets
    >>> from gammagrad.simulate import simulate_field
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     filename = os.path.join(folder, "datasets.yaml")
    ...     write_datasets([simulate_field(seed=1, npix=30).dataset], filename)
    ...     read_datasets(filename)
    [<MapDataset 'simulated field', 5 x 30 x 30>]
    """
    listed = read_dataset_list(filename, outside)
    datasets = [read_dataset(one.path, one.name, checksum) for one in listed]
    if isinstance(models, str | PathLike):
        models = read_models(models, outside)
    if models is not None:
        for dataset in datasets:
            dataset.models = Models(models)
    return Datasets(datasets)


def write_datasets(
    datasets: AnyMapDataset | Iterable[AnyMapDataset],
    filename: str | PathLike[str],
    models: str | PathLike[str] | None = None,
    overwrite: bool = False,
    checksum: bool = False,
) -> None:
    """Write datasets and a YAML file that lists them, for gammapy's ``Datasets.read`` too.

    All files are written, or none. gammapy reads datasets with OFF counts only with ``lazy=False``.

    Parameters
    ----------
    datasets
        Datasets with unique names.
    filename
        The list, such as ``"folder/datasets.yaml"``. The FITS files beside it have the names of
        the datasets.
    models
        A YAML file for the models of all datasets, relative to the working directory. A model that
        only some datasets have names these. None writes no models.
    overwrite
        Whether to replace existing files.
    checksum
        Whether to write checksums into the FITS files.

    Raises
    ------
    OSError
        If a file exists and `overwrite` is false.
    TypeError
        If something is not a dataset.
    ValueError
        If names are not unique, if models of one name differ, or if the map of a template is in no
        file.
    """
    listed = [datasets] if isinstance(datasets, BaseMapDataset) else list(datasets)
    for one in listed:
        if not isinstance(one, BaseMapDataset):
            raise InputTypeError(f": expected datasets, got {type(one).__name__}.", "datasets")
    if not listed:
        raise InputError(": expected at least one dataset.", "datasets")
    names = [one.name for one in listed]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f": several are named {short(twice)}; give each its own name.", "datasets")
    folder = expand_path(filename).parent
    files: list[tuple[Any, Content]] = []
    entries = []
    for one in listed:
        name = dataset_filename(one.name)
        files.append((folder / name, dataset_content(one.parts, name, checksum)))
        entries.append({"name": one.name, "type": one.tag, "filename": name})
    files.append((filename, yaml_content({"datasets": entries}, filename)))
    if models is not None:
        files.append((models, models_content(models_of(listed), models)))
    write_files(files, overwrite)


def models_of(datasets: Iterable[BaseMapDataset]) -> Models:
    """Return the models of several datasets, each of which may have models of its own."""
    datasets = list(datasets)
    found = Models()
    owners: dict[str, list[str]] = {}
    for dataset in datasets:
        own = Models(dataset.models)
        for i, model in enumerate(own):
            part = own[i : i + 1]
            owners.setdefault(model.name, []).append(dataset.name)
            if model.name not in found:
                found += part
                continue
            place = found.index(model.name)
            if not _same(part, found[place : place + 1]):
                raise InputError(
                    f"model {model.name!r} of dataset {dataset.name!r} differs from that of "
                    f"{owners[model.name][0]!r}; give each its own name."
                )
    for model in found:
        if model.datasets_names is None and len(owners[model.name]) < len(datasets):
            found = found.replace(model.copy(datasets_names=tuple(owners[model.name])))
    return found


def _same(one: Models, other: Models) -> bool:
    """Return whether two collections of one model would be written alike."""
    return one[0] is other[0] or models_to_dict(one) == models_to_dict(other)
