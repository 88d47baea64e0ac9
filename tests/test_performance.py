"""The page Performance shows what was measured, and gammapy's times are scaled as it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def test_the_page_shows_what_was_measured() -> None:
    command = [sys.executable, str(ROOT / "docs" / "make_performance.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def record(every: int) -> dict[str, Any]:
    """Return a case of 1600 pixels that take 0.01 s each, 1 s to set up and 2 s to share out."""

    def run(spacing: int) -> dict[str, Any]:
        fitted = 1600 // spacing**2
        fitting = 2 + 0.01 * fitted
        return {"seconds": 1 + fitting, "fitting": fitting, "fitted": fitted}

    warm = run(every) | ({"few": run(4 * every)} if every > 1 else {})
    theirs = {"every": every, "warm": [warm]}
    return {"contenders": {"gammagrad": {"first": {"fitted": 1600}}, "gammapy": theirs}}


@pytest.mark.parametrize("every", [1, 2, 5])
def test_what_all_pixels_share_is_not_scaled(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import summary

    assert summary.whole_seconds(record(every), "gammapy") == pytest.approx(1 + 2 + 16)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(140, 2, "140"), (1834.2, 3, "1830"), (999.6, 3, "1000"), (0.0123, 2, "0.012")],
)
def test_large_numbers_are_written_out(
    value: float, digits: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import summary

    assert summary.rounded(value, digits) == text
    table = {"columns": ["a", "b"], "rows": [[f"{value:.{digits}g}", "~3e-11, 2e+12"]]}
    assert summary.lines(table)[-1] == f"| {text} | ~3e-11, 2e+12 |"
