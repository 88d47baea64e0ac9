"""Where a command writes to, and what it may replace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gammagrad.io import expand_path
from gammagrad.plot import draw_to_files


def add_output_options(parser: Any) -> Any:
    """Add the options that say where results go."""
    output = parser.add_argument_group("output")
    output.add_argument(
        *("-o", "--output"), metavar="OUT", required=True, help="folder to write, made if needed"
    )
    output.add_argument("--overwrite", action="store_true", help="replace files that are there")
    output.add_argument("--no-pictures", action="store_true", help="write no PNG files")
    return output


def can_draw(unwanted: bool) -> tuple[bool, list[str]]:
    """Return whether to draw, and a note where matplotlib is missing."""
    if unwanted:
        return False, []
    try:
        draw_to_files()
    except ImportError as error:
        return False, [f"No pictures: {error}"]
    return True, []


def check_replaced(folder: str | Path, names: Sequence[str], overwrite: bool) -> None:
    """Raise before any work if files are there that may not be replaced."""
    path = expand_path(folder)
    there = [name for name in names if (path / name).exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{path} has {', '.join(there)} already; use --overwrite to replace them, or "
            "another folder."
        )
