"""The metadata agree with each other, and every bound on a dependency has its reason."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import gammagrad

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TABLES = tomllib.loads(PYPROJECT)
PROJECT = TABLES["project"]
EXTRAS = PROJECT["optional-dependencies"]
GROUPS = TABLES["dependency-groups"]


def names_of(requirements: list[str]) -> set[str]:
    """Return the names of required packages, without versions and extras."""
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def lower_bounds() -> dict[str, str]:
    """Return the oldest version promised for each dependency that a user may need."""
    wanted = [*PROJECT["dependencies"], *EXTRAS["plot"], *EXTRAS["yaml"]]
    return dict(requirement.split(">=") for requirement in wanted)


def test_the_oldest_versions_tested_are_the_ones_promised() -> None:
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    # a line that gives a reason is for the old versions' sake, and no promise
    tested = dict(line.split("==") for line in lines if line and "#" not in line)
    assert tested.keys() == lower_bounds().keys()
    for name, version in lower_bounds().items():
        assert re.fullmatch(re.escape(version) + r"(\.0)*", tested[name]), name


def test_an_upper_bound_has_its_reason_on_the_line_above() -> None:
    lines = PYPROJECT.splitlines()
    pinned = [n for n, line in enumerate(lines) if re.search(r'"[\w\[\],-]+[^"#]*(<|==|!=)', line)]
    without = [lines[n] for n in pinned if not lines[n - 1].lstrip().startswith("#")]
    assert without == []


def test_all_means_all() -> None:
    (everything,) = EXTRAS["all"]
    named = set(everything.removeprefix("gammagrad[").removesuffix("]").split(","))
    # gammapy's extra brings regions, with the bound it needs
    assert named | {"all", "regions"} == set(EXTRAS)


def test_dev_has_every_group() -> None:
    assert [entry["include-group"] for entry in GROUPS["dev"]] == [*GROUPS][1:]


def test_a_hook_checks_types_with_what_they_need() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (mypy,) = [hook for repo in hooks["repos"] for hook in repo["hooks"] if hook["id"] == "mypy"]
    needed = [*PROJECT["dependencies"], *EXTRAS["plot"], *GROUPS["types"]]
    assert {*mypy["additional_dependencies"]} == names_of(needed) - {"gammagrad", "mypy"}


@pytest.mark.parametrize("file", ["CITATION.cff", "pyproject.toml"])
def test_the_version_is_the_same_everywhere(file: str) -> None:
    found = (
        yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["version"]
        if file.endswith("cff")
        else PROJECT["version"]
    )
    assert found == gammagrad.__version__


def test_the_changelog_has_a_place_for_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
