"""Every block of code in the README and in the documentation runs as it stands.

A page has a process for itself, as its reader has; see `pages.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compiler
import fermi_files
from gammagrad import Map, MapDataset
from gammagrad.dataset import write_datasets
from gammagrad.maps import MapAxis, PSFMap, WcsGeom
from gammagrad.simulate import simulate_field
from pages import BUILT, ELSEWHERE, ROOT, blocks, commands, pages, runs_elsewhere

RUN = ("python", "sh")
SHOWN = ("text", "yaml")

DIRECTIVES = (
    "command-help",
    "eval-rst",
    "glossary",
    "include",
    "wing-table",
    "status-table",
    "toctree",
)
PAGES = (
    "README.md",
    "docs/background.md",
    "docs/coming_from_fermipy.md",
    "docs/coming_from_gammapy.md",
    "docs/command_line.md",
    "docs/compositions.md",
    "docs/errors.md",
    "docs/gammapy_objects.md",
    "docs/getting_started.md",
    "docs/gradients.md",
    "docs/how_to_choose.md",
    "docs/index.md",
    "docs/index_map.md",
    "docs/performance.md",
    "docs/uncertain_background.md",
)
NEED_GAMMAPY = ("docs/gammapy_objects.md",)
MINUTES = 10


def field(seed: int, energies: str = "1 TeV, 30 TeV", **sky: Any) -> MapDataset:
    """Simulate a field with few, large pixels, and take it elsewhere on the sky and in energy."""
    dataset = simulate_field(seed=seed, npix=40, binsz=0.05).dataset
    low, high = energies.split(", ")
    axis = MapAxis.from_energy_bounds(low, high, nbin=5)
    geom = WcsGeom.create(40, 0.05, axes=[axis], **sky)
    axis_true = axis.rename("energy_true")
    return MapDataset(
        counts=Map(geom, dataset.require("counts").data),
        background=Map(geom, dataset.require("background").data),
        exposure=Map(
            geom.to_image().to_cube([axis_true]), dataset.require("exposure").data, unit="cm2 s"
        ),
        psf=PSFMap.from_gauss(axis_true, 0.08),
        name="simulated",
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write small simulated fields under the names that the pages read."""
    folder = tmp_path_factory.mktemp("data")
    centre = {"skydir": (0, 0), "frame": "galactic"}
    fermi = field(1, "10 GeV, 500 GeV", **centre)
    fermi.write(folder / "fermi-3fhl-gc.fits.gz")
    # images that say neither their energies nor the unit of the exposure
    image = fermi.geom.to_image()
    for name in ("counts", "background", "exposure"):
        data = fermi.require(name).data
        whole = data.mean(axis=0) if name == "exposure" else data.sum(axis=0)
        Map(image, whole).write(folder / f"{name}.fits")
    off = np.random.default_rng(3).poisson(10 * fermi.require("background").data.sum(axis=0))
    Map(image, off.astype(float)).write(folder / "counts_off.fits")
    field(2, **centre).write(folder / "dataset.fits.gz")
    crab = {"skydir": (83.63, 22.01), "frame": "icrs"}
    for seed, name in enumerate(("hess-crab", "nHit-8", "nHit-9")):
        field(seed, **crab).write(folder / f"{name}.fits.gz")
    (folder / "hawc").mkdir()
    names = ("nHit-8", "nHit-9")
    pair = [MapDataset.read(folder / f"{name}.fits.gz", name=name) for name in names]
    write_datasets(pair, folder / "hawc" / "datasets.yaml")
    fermi_files.write_analysis(folder / "analysis", names=("bexpmap", "mcube"))
    # as in the folder of public data sets
    (folder / "fermi-3fhl-gc").mkdir()
    (folder / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz").symlink_to(
        folder / "fermi-3fhl-gc.fits.gz"
    )
    (folder / "docs").symlink_to(ROOT / "docs")
    return folder


@pytest.fixture
def surroundings(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, str]:
    """Return the environment of a person, with compiled code kept for the other pages.

    Only the compiler is that of the tests.
    """
    ours = ("JAX_", "XLA_", "GAMMAGRAD_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    # all processes of pytest-xdist have their folders in one
    kept = str(tmp_path_factory.getbasetemp().parent / "compiled")
    return clean | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}",
        "MPLBACKEND": "Agg",
        "XLA_FLAGS": compiler.settings(),
        "GAMMAPY_DATA": str(data),
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", kept),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
    }


def test_the_build_runs_what_is_left_to_it() -> None:
    text = (ROOT / "docs" / "executed.py").read_text(encoding="utf-8")
    named = re.search(r"^PAGES = \((.*)\)$", text, re.MULTILINE)
    assert named
    assert sorted(f"docs/{name}.md" for name in re.findall(r'"(\w+)"', named[1])) == list(BUILT)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(
    page: str, data: Path, tmp_path: Path, surroundings: dict[str, str]
) -> None:
    if page in NEED_GAMMAPY:
        pytest.importorskip("gammapy")
    for file in data.iterdir():
        (tmp_path / file.name).symlink_to(file)
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "pages.py", page],
        cwd=tmp_path,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60 * MINUTES,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def test_no_page_with_blocks_is_forgotten() -> None:
    found = [page for page in pages() if any(b.language in RUN for b in blocks(page))]
    assert found == sorted(PAGES)


@pytest.mark.parametrize("page", pages())
def test_code_stands_in_blocks_that_run(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".rst"):
        # the reference has its examples in docstrings, which pytest runs
        assert (
            re.findall(
                r"^\.\. (?:code|sourcecode|literal|doctest|prompt).*|^(?!\.\.).*::$",
                text,
                re.MULTILINE,
            )
            == []
        )
        return
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(blocks(page))
    assert re.findall(r"^ *~~~", text, re.MULTILINE) == []
    for block in blocks(page):
        directive = re.fullmatch(r"\{([\w-]+)\}.*", block.language)
        if directive and directive[1] == "literalinclude":
            # tests/test_compositions.py runs all programs of this folder
            assert re.fullmatch(r"\{literalinclude\} examples/\w+\.py", block.language)
        else:
            assert block.language in RUN + SHOWN or (directive and directive[1] in DIRECTIVES)


def test_what_pages_leave_to_others_is_there() -> None:
    every = [c for page in PAGES for b in blocks(page) if b.language == "sh" for c in commands(b)]
    left = [command for command in every if runs_elsewhere(command)]
    for start in ELSEWHERE:
        assert [command for command in left if command.startswith(start)], f"no page has {start}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for command in left:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:.*##", makefile, re.MULTILINE), command
        elif command.startswith("pip "):
            extra = re.fullmatch(r"pip install '\.\[(\w+)\]'", command)
            assert extra, command
            assert extra[1] in project["optional-dependencies"]
        elif command != "gammapy download datasets":
            # without options, as the target has it
            assert command == "gammagrad demo"
            assert "/gammagrad demo $(ARGS)\n" in makefile
