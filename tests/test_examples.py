"""The examples of the README and of the documentation's pages run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from gammagrad import MapDataset
from gammagrad.simulate import simulate_field

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/getting_started.md")


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


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(
    page: str, field: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for file in field.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(compile(block, page, "exec"), names)
    plt.close("all")
