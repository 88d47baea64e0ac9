"""Lists of datasets in YAML: the names and files of each, in gammapy's layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gammagrad.errors import InputError, short
from gammagrad.io.paths import Filename, expand_path, path_in_file
from gammagrad.io.reading import reads_file
from gammagrad.io.yaml_file import read_yaml

YAML_SUFFIXES = (".yaml", ".yml", ".json")
"""Endings of files that list datasets, or have models."""

_KINDS = ("MapDataset", "MapDatasetOnOff")


class ListedDataset(NamedTuple):
    """One dataset of a list."""

    name: str
    path: Path


def is_yaml(filename: Filename) -> bool:
    """Return whether the name of a file ends like that of a YAML file."""
    return Path(filename).suffix.lower() in YAML_SUFFIXES


@reads_file
def read_dataset_list(filename: Filename, outside: bool = False) -> list[ListedDataset]:
    """Read the names and files of datasets; paths are relative to the list."""
    content = read_yaml(filename)
    entries = content.get("datasets") if isinstance(content, Mapping) else None
    if not isinstance(entries, list) or not entries:
        models = isinstance(content, Mapping) and "components" in content
        raise InputError(
            "no list of datasets; expected `datasets`, and below it name, type and filename of "
            f"each{'. These are models: Models.read reads them' if models else ''}."
        )
    folder = expand_path(filename).parent
    listed = [_entry(entry, folder, outside) for entry in entries]
    name, number = Counter(one.name for one in listed).most_common(1)[0]
    if number > 1:
        raise InputError(f"{number} datasets are named {short(name)}; expected unique names.")
    return listed


def _entry(entry: Any, folder: Path, outside: bool) -> ListedDataset:
    match entry:
        case {"name": str(name), "type": str(kind), "filename": str(file)}:
            if kind not in _KINDS:
                raise InputError(
                    f"dataset {short(name)} is a {short(kind)}; expected {' or '.join(_KINDS)}."
                )
            return ListedDataset(name, path_in_file(file, folder, outside))
    raise InputError(
        f"{short(entry)} is no dataset; expected texts called name, type and filename."
    )


def one_dataset(filename: Filename, name: str | None) -> tuple[Filename, str | None]:
    """Return the file and name of the only dataset of a list; others as they are."""
    if not is_yaml(filename):
        return filename, name
    listed = read_dataset_list(filename)
    if len(listed) > 1:
        names = ", ".join(one.name for one in listed)
        raise InputError(
            f"{filename}: {len(listed)} datasets ({names}); expected one. "
            "gammagrad.dataset.read_datasets(filename) returns them as a list."
        )
    return listed[0].path, listed[0].name if name is None else name


def dataset_filename(name: str) -> str:
    """Return the name of the file of a dataset in a list."""
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".") + ".fits"
