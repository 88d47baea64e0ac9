"""The page Performance shows what was measured, and gammapy's times are scaled as it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
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


def test_phases_inside_others_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import phases

    now = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr(phases.time, "perf_counter", lambda: next(now))
    clock = phases.Clock()
    clock.call("outer", lambda: clock.call("inner", lambda: None))
    assert clock.seconds == {"outer": 5.0, "inner": 2.0}


def test_the_engine_has_the_phases_that_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import phases

    monkeypatch.setattr(phases, "setattr", lambda *_: None, raising=False)
    phases.watch(phases.Clock())
    assert not capsys.readouterr().out


def test_an_option_takes_what_it_adds_to_the_run_of_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import options

    times = {name: [0.3, 0.5, 0.9] for name in options.SELECTIONS} | {"": [0.1, 0.2, 0.4]}
    first = dict.fromkeys(options.SELECTIONS, 1.0)
    rows = options.rows_of_times("sky", first, times)
    assert rows[0] == ["sky", "none", "1.00", "200", "", ""]
    assert rows[1] == ["sky", "errn-errp", "1.00", "500", "300", "1.5"]


@pytest.mark.parametrize(
    ("norm", "ts", "off"),
    [
        ([2.0, -1.0], [4.0, 9.0], (0.0, 0.0)),
        ([2.1, -1.0], [4.0, 10.0], (0.2, 0.1)),
        ([2.0, -1.5], [5.0, 9.0], (0.5, 0.2)),
        ([np.nan, -1.0], [4.0, np.nan], (np.inf, np.inf)),
    ],
)
def test_results_of_a_device_are_off_in_errors(
    norm: list[float], ts: list[float], off: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import device

    # the second pixel, without counts, has a norm at the bound, and the third is not fitted
    true = {"norm": [2.0, -1.0, np.nan], "norm_err": [0.5, np.inf, np.nan], "ts": [4.0, 9.0, 0.0]}
    inputs = device.Inputs([], [], np.array([1, 1, 0]), None, SimpleNamespace(**true))
    found = device.differences(SimpleNamespace(norm=[*norm, 0.0], ts=[*ts, np.nan]), inputs)
    assert found == pytest.approx(off)
