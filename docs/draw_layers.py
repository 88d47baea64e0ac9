"""Draw `layers.svg` from the table that the tests enforce: `python docs/draw_layers.py`."""

from __future__ import annotations

import importlib.util
from html import escape
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
TABLE = HERE.parent / "tests" / "layers.py"

WIDTH, MARGIN, GAP = 960, 24, 10
ROW, TITLE = 58, 26
HOST_WIDTH = 610
HOST_FILL, TRACED_FILL, HELPER_FILL, GROUND_FILL = "#dbe9f6", "#fde4c8", "#e8e8e8", "#dff0d8"


def text(x: float, y: float, words: str, size: int = 13, weight: str = "normal") -> str:
    """Return a line of text starting at a point."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, name: str, does: str, fill: str) -> str:
    """Return a part: its name, and what it is in a few words."""
    words = text(x + 10, y + 23, name, 14, "bold")
    for number, line in enumerate(wrap(does, (width - 14) / 5.9)):
        words += text(x + 10, y + 40 + 13 * number, line, 11)
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" '
        f'fill="{fill}" stroke="#555"/>{words}'
    )


def wrap(words: str, width: float) -> list[str]:
    """Break a sentence into lines of at most `width` characters."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if len(longer) <= width else [*lines, word]
    return lines


def row(parts: dict[str, str], x: float, y: float, width: float, fill: str) -> str:
    """Return the boxes of one level side by side."""
    each = (width - GAP * (len(parts) - 1)) / len(parts)
    return "".join(
        box(x + number * (each + GAP), y, each, ROW, name, does, fill)
        for number, (name, does) in enumerate(parts.items())
    )


def column(parts: dict[str, str], x: float, y: float, width: float, fill: str) -> str:
    """Return boxes below each other."""
    return "".join(
        box(x, y + number * (ROW + GAP), width, ROW, name, does, fill)
        for number, (name, does) in enumerate(parts.items())
    )


def svg(layers: ModuleType) -> str:
    """Return the picture of a table of layers."""
    top = MARGIN + TITLE
    step = ROW + GAP
    bottom = top + len(layers.HOST) * step
    left, right = MARGIN + 30, MARGIN + 30 + HOST_WIDTH + 40
    right_width = WIDTH - MARGIN - right
    traced_top = bottom - len(layers.TRACED) * step
    helper_top = top + 2 * step

    parts = [text(left, MARGIN + 12, "Host: maps, units, files, people", 14, "bold")]
    parts += [
        row(level, left, top + number * step, HOST_WIDTH, HOST_FILL)
        for number, level in enumerate(layers.HOST)
    ]
    parts.append(text(right, helper_top - 10, "Helpers of the estimators", 13, "bold"))
    parts.append(column(layers.HELPERS, right, helper_top, right_width, HELPER_FILL))
    parts.append(text(right, traced_top - 10, "Traced: arrays in, arrays out", 13, "bold"))
    parts.append(column(layers.TRACED, right, traced_top, right_width, TRACED_FILL))
    parts.append(row(layers.GROUND, left, bottom, WIDTH - MARGIN - left, GROUND_FILL))
    parts.append(arrow(MARGIN + 12, top, MARGIN + 12, bottom + ROW))
    middle = top + 3 * step + ROW / 2
    parts.append(arrow(left + HOST_WIDTH + 4, middle + step, right - 4, traced_top + ROW / 2))
    parts.append(arrow(left + HOST_WIDTH + 4, top + 2.5 * step, right - 4, top + 2.5 * step))
    height = bottom + ROW + 34
    parts.append(text(left, height - 12, "An arrow reads: may import. Never against an arrow.", 12))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif">\n'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#555"/></marker>'
        "</defs>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return an arrow between two points."""
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="#555" '
        'stroke-width="2" marker-end="url(#tip)"/>'
    )


def table() -> ModuleType:
    """Import the table of layers."""
    spec = importlib.util.spec_from_file_location("layers", TABLE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{TABLE} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    (HERE / "layers.svg").write_text(svg(table()), encoding="utf-8")
