"""The progress bar: what it says, and that it says nothing where nobody watches."""

from __future__ import annotations

import pytest

from gammagrad.progress import progress_bar


def test_parts_of_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(2, "ts-map", True, fraction=True) as bar:
        first = capsys.readouterr().err
        for _ in range(4):
            bar.update(0.5)
            bar.refresh()
    shown = capsys.readouterr().err
    assert "0%" in first
    assert "compiling" in first
    assert "50%" in shown
    # neither steps nor a rate of steps
    assert "it/s" not in first + shown
    assert "s/it" not in first + shown


def test_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (None, False):
        with progress_bar(1, "ts-map", show, fraction=True) as bar:
            bar.update(1.0)
    assert capsys.readouterr().err == ""
