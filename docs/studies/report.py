"""What the studies write: tables as JSON, printed on the way."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def shown(value: Any, spec: str) -> str:
    """Return a cell as text: a number as its column's format says, all else as it is."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and spec:
        return format(value, spec)
    return str(value)


def lines(table: Mapping[str, Any]) -> list[str]:
    """Return a table, a mapping with columns, rows and formats, as lines of Markdown."""
    formats = table.get("formats", {})
    columns = table["columns"]
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    body = (
        " | ".join(
            shown(cell, formats.get(name, "")) for name, cell in zip(columns, row, strict=True)
        )
        for row in table["rows"]
    )
    return [*head, *(f"| {row} |" for row in body)]


def write(name: str, tables: Mapping[str, Mapping[str, Any]], packages: Sequence[str]) -> None:
    """Print tables and write them to `docs/studies/<name>.json` with what made them."""
    for title, table in tables.items():
        print("", title, "", *lines(table), sep="\n")
    versions = {"python": platform.python_version()} | {p: version(p) for p in packages}
    text = json.dumps({"versions": versions, "tables": tables}, indent=1)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
