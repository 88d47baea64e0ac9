"""A simulated dataset on disk, the result of a first run, and a way to run commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gammagrad.cli import main
from gammagrad.cli.compile_cache import NO_CACHE
from gammagrad.simulate import simulate_field

KERNEL = ("--kernel-width", "0.4 deg")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="session", autouse=True)
def _no_files_in_the_home_folder() -> Iterator[None]:
    """Keep no compiled code of commands that run as processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(NO_CACHE, "1")
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a dataset, and its parts as plain maps."""
    path = tmp_path_factory.mktemp("cli")
    dataset = simulate_field(seed=1, npix=40, nbin=2).dataset
    dataset.write(path / "dataset.fits.gz")
    for name in ("counts", "background", "exposure"):
        getattr(dataset, name).write(path / f"{name}.fits")
    return path


@pytest.fixture(scope="session")
def result(folder: Path) -> Path:
    """Return the folder that a first run wrote."""
    out = folder / "maps"
    assert main(["ts-map", str(folder / "dataset.fits.gz"), "-o", str(out), "-q", *KERNEL]) == 0
    return out


@pytest.fixture
def run(capsys: Captured) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command: exit code, output, errors."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return call
