"""What the figures of the pages have in common.

Each other script of this folder draws one figure with matplotlib and leaves it open. The build of
the documentation saves it, and runs the script again if that has changed. A page shows it with::

    ```{eval-rst}
    .. plot:: figures/NAME.py
       :alt: what the picture shows, for those who cannot see it

       The caption.
    ```

The numbers come from `docs/studies` or `benchmarks/results`, or take seconds to compute.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1]
WIDTH = 7.0
"""Of a figure, in inches; a page shows it without making it smaller."""
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#777777",
)
"""Told apart by all eyes (Okabe and Ito)."""


def study(name: str) -> Any:
    """Read the numbers that a script of docs/studies wrote."""
    return json.loads((DOCS / "studies" / f"{name}.json").read_text(encoding="utf-8"))


def columns(table: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the columns of a table of a study by their names."""
    return {name: [row[i] for row in table["rows"]] for i, name in enumerate(table["columns"])}


def timings(name: str) -> Any:
    """Read the times that a script of benchmarks wrote."""
    path = DOCS.parent / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def axes(height: float = 3.6, n: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes side by side."""
    figure, made = plt.subplots(
        1, n, figsize=(WIDTH, height), layout="constrained", squeeze=False, **options
    )
    return figure, list(made[0])


def promise(axis: Axes, value: float, words: str, at: float = 0.02, *, below: bool = False) -> None:
    """Draw a line at what is promised, with words on it that begin at a part of the width."""
    axis.axhline(value, color=RED, lw=1.2, ls="--")
    shift, end = (-3, "top") if below else (2, "bottom")
    options = {"textcoords": "offset points", "color": RED, "fontsize": 8, "va": end}
    axis.annotate(words, (at, value), (0, shift), axis.get_yaxis_transform(), **options)
