"""The folder of compiled code that processes share: whole entries only, private, and bounded."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

import pytest

from kept_code import VARIABLE, KeptCode, kept_folder, main, prune

ENTRY = zlib.compress(b"a piece of code" * 100)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the shared folder, empty."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    folder = kept_folder()
    assert folder is not None
    return folder


def test_what_one_process_compiled_another_finds(kept: Path) -> None:
    first, second = KeptCode(kept), KeptCode(kept)
    (first.own / "jit_f-cache").write_bytes(ENTRY)
    (second.own / "jit_g-cache").write_bytes(ENTRY)
    first.exchange()
    second.exchange()
    assert (second.own / "jit_f-cache").read_bytes() == ENTRY
    first.close()
    second.close()
    assert {path.name for path in kept.iterdir()} == {"jit_f-cache", "jit_g-cache"}
    third = KeptCode(kept)
    assert {path.name for path in third.own.iterdir()} == {"jit_f-cache", "jit_g-cache"}


@pytest.mark.parametrize("size", [0, 1, len(ENTRY) - 1])
def test_half_an_entry_is_not_handed_on(kept: Path, size: int) -> None:
    code = KeptCode(kept)
    (code.own / "jit_f-cache").write_bytes(ENTRY[:size])
    code.close()
    assert list(kept.iterdir()) == []


def test_a_folder_that_others_may_use_is_not_used(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept.stat().st_mode & 0o777 == 0o700
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    for mode in (0o750, 0o702):
        kept.parent.chmod(mode)
        assert kept_folder() is None
        assert "is not yours alone" in capsys.readouterr().err


def test_without_the_variable_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", None):
        with monkeypatch.context() as patch:
            patch.delenv(VARIABLE, raising=False)
            if value is not None:
                patch.setenv(VARIABLE, value)
            assert kept_folder() is None


def test_what_was_not_read_for_longest_goes_first(kept: Path) -> None:
    for age, name in enumerate("abcd"):
        (kept / f"{name}-cache").write_bytes(ENTRY)
        os.utime(kept / f"{name}-cache", (1e9 - age, 2e9))
    abandoned, running = KeptCode(kept), KeptCode(kept)
    os.utime(abandoned.own, (1e9, 1e9))
    prune(kept, largest=2 * len(ENTRY))
    assert {path.name for path in kept.iterdir()} == {"a-cache", "b-cache", running.own.name}


def test_a_command_runs_with_the_code_and_hands_on_its_own(kept: Path) -> None:
    program = """
import os, pathlib, sys
pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"], "jit_f-cache").write_bytes(bytes([1]))
sys.exit(7)
"""
    assert main([sys.executable, "-c", program]) == 7
    assert [path.name for path in kept.iterdir()] == ["jit_f-cache"]
