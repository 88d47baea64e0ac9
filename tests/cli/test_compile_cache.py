"""Compiled code that commands keep: where, when not, and that a second command finds it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from gammagrad.cli import command, compile_cache
from gammagrad.cli.compile_cache import NO_CACHE, cache_folder, keep_compiled_code

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
    "jax_persistent_cache_enable_xla_caches",
)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder that stands for the user's cache, as if nobody had set JAX's."""
    monkeypatch.delenv(NO_CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in SETTINGS:
        monkeypatch.delenv(name.upper(), raising=False)
    before = {name: jax.config.values[name] for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)


def test_processors_and_versions_have_folders_of_their_own(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    here = cache_folder()
    assert here.parent == home / "gammagrad"
    assert cache_folder() == here
    monkeypatch.setattr(compile_cache, "_processor", lambda: ["flags: fewer"])
    other = cache_folder()
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    assert len({here, other, cache_folder()}) == 3
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home.parent))
    assert cache_folder().parent == home.parent / ".cache" / "gammagrad"


def test_code_that_others_can_write_is_not_used(home: Path) -> None:
    folder = cache_folder()
    assert keep_compiled_code() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    jax.config.update("jax_compilation_cache_dir", None)
    folder.chmod(0o755)  # as an earlier version made it
    assert keep_compiled_code() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o702):
        jax.config.update("jax_compilation_cache_dir", None)
        folder.chmod(mode)
        assert keep_compiled_code() is None
        assert not jax.config.values["jax_compilation_cache_dir"]


def test_code_of_somebody_else_is_not_used(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert keep_compiled_code() is None


def test_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv(NO_CACHE, "1")
    assert keep_compiled_code() is None
    assert not home.exists()


def test_a_folder_that_cannot_be_written_is_no_error(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.write_text("a file where a folder would be")
    with caplog.at_level(logging.INFO, logger="gammagrad"):
        assert keep_compiled_code() is None
    assert jax.config.values["jax_compilation_cache_dir"] is None
    assert "compiled code is not kept" in caplog.text


def test_a_folder_that_jax_has_is_left_alone(home: Path, tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    assert keep_compiled_code() is None
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "theirs")
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["info", "FILE"], True), (["info", "FILE", "--no-cache"], False)],
)
def test_only_the_command_of_a_process_keeps_code(
    arguments: list[str], expected: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(command, "keep_compiled_code", lambda: kept.append(True))
    words = [str(folder / "counts.fits") if word == "FILE" else word for word in arguments]
    assert command.main(words) == 0
    assert kept == []
    monkeypatch.setattr(sys, "argv", ["gammagrad", *words])
    assert command.main() == 0
    assert bool(kept) == expected


def test_a_second_command_compiles_nothing_new(folder: Path, home: Path, tmp_path: Path) -> None:
    data = str(folder / "dataset.fits.gz")
    options = ["--kernel-width", "0.4 deg", "--no-pictures", "-q", "--overwrite"]
    kept = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "gammagrad.cli", "ts-map", data, "-o", tmp_path / "o", *options],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        )
        # nor does the code loaded come with complaints about the processor
        assert done.stderr == ""
        kept.append({path.name for path in home.rglob("*-cache")})
    assert kept[0]
    assert kept[1] == kept[0]
