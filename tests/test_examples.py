"""The examples of the README and of the documentation's pages run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from gammagrad import MapDataset
from gammagrad.cli import main
from gammagrad.simulate import simulate_field

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/getting_started.md", "docs/how_to_choose.md", "docs/background.md")
WITHOUT_COMMANDS = ("docs/gradients.md",)
LONG = "docs/how_to_choose.md"


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of code of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small simulated field under the names that the examples read."""
    folder = tmp_path_factory.mktemp("examples")
    dataset: MapDataset = simulate_field(seed=1, npix=40).dataset
    dataset.write(folder / "fermi-3fhl-gc.fits.gz")
    for name in ("counts", "background", "exposure"):
        getattr(dataset, name).write(folder / f"{name}.fits")
    return folder


@pytest.fixture
def folder(field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder with links to those files."""
    for file in field.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        # every block of it is compiled for other settings
        pytest.param(page, marks=pytest.mark.slow) if page == LONG else page
        for page in PAGES + WITHOUT_COMMANDS
    ],
)
@pytest.mark.usefixtures("folder")
def test_the_python_of_a_page_runs(page: str) -> None:
    names: dict[str, object] = {}
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(compile(block, page, "exec"), names)
    plt.close("all")


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, folder: Path) -> None:
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.startswith("gammagrad ")]
    assert commands
    for command in commands:
        assert main(shlex.split(command)[1:]) in (0, None), command
        plt.close("all")
    assert list((folder / "out").glob("*.fits"))
