"""Settings and models as YAML, or as JSON, which needs no further package."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gammagrad.errors import InputError, short
from gammagrad.io.atomic import Content, text_content, write_text
from gammagrad.io.flux_header import to_yaml
from gammagrad.io.paths import Filename, existing_file
from gammagrad.io.reading import reads_file
from gammagrad.io.yaml_events import check_events

_LARGEST = 50_000_000


@reads_file
def read_yaml(filename: Filename) -> Any:
    """Read a YAML or JSON file."""
    path = existing_file(filename)
    size = path.stat().st_size
    if size > _LARGEST:
        raise InputError(f"{size / 1e6:.4g} MB; expected at most {_LARGEST / 1e6:.4g} MB.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError("not a text file; expected YAML or JSON.") from error
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError:
        return _parse(text, path)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return names and values as a dict; a duplicate name is an error."""
    found = dict(pairs)
    if len(found) < len(pairs):
        many = Counter(name for name, _ in pairs)
        twice = next(name for name in many if many[name] > 1)
        raise InputError(f"{short(twice)} is there twice; expected unique names.")
    return found


def _parse(text: str, path: Path) -> Any:
    """Return the content of a YAML text."""
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f"{path}: reading YAML that is not JSON needs pyyaml: install it with "
            "`pip install gammagrad[yaml]`, or write the file as JSON."
        ) from error
    # the loader in C, where there is one, is ten times as fast
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        check_events(yaml.parse(text, loader), yaml)
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"{path}{line}: not YAML: {problem}.") from error


def yaml_content(data: Mapping[str, Any], filename: Filename) -> Content:
    """Return the content of a YAML file for gammapy too, with the checksum that it looks for.

    Without pyyaml, or if the name ends in ``.json``, it is JSON, and has none.
    """
    try:
        import yaml
    except ImportError:
        return text_content(to_yaml(data))
    if Path(filename).suffix.lower() == ".json":
        return text_content(to_yaml(data))
    # gammapy dumps what it has parsed in this format, and compares the sums
    style: dict[str, Any] = {"sort_keys": False, "indent": 4, "width": 80}
    text = yaml.safe_dump(dict(data), default_flow_style=False, **style)
    total = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return text_content(text + yaml.safe_dump({"checksum": total}))


def write_yaml(data: Mapping[str, Any], filename: Filename, overwrite: bool = False) -> None:
    """Write a YAML file, or JSON: without pyyaml, or if the name ends in ``.json``."""
    text = json.dumps(data, indent=1) + "\n"
    if Path(filename).suffix.lower() != ".json":
        try:
            import yaml
        except ImportError:
            pass  # JSON is YAML too
        else:
            text = yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True)
    write_text(text, filename, overwrite=overwrite)
