"""Tables for notebooks: what `_repr_html_` of the library's objects returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_LEFT = ' style="text-align: left"'


def as_html(title: str, *parts: str) -> str:
    """Return a titled block of parts that are HTML already."""
    return f"<div><strong>{escape(title)}</strong>{''.join(parts)}</div>"


def named_values(values: Mapping[str, Any]) -> str:
    """Return names and their values as a table without a head."""
    return _table([(name, _text(value)) for name, value in values.items()])


def rows_below(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as a table below a head."""
    cells = "".join(f"<th{_LEFT}>{escape(name)}</th>" for name in head)
    texts = ([_text(cell) for cell in row] for row in rows)
    return _table(texts, f"<thead><tr>{cells}</tr></thead>")


def _table(rows: Iterable[Sequence[str]], head: str = "") -> str:
    lines = (
        "<tr>" + "".join(f"<td{_LEFT}>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table>{head}<tbody>{''.join(lines)}</tbody></table>"


def _text(value: Any) -> str:
    """Return a value for people: lists without brackets, numbers to five digits."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)
