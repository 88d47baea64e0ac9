"""Every link from one page or file of the repository to another leads somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pages import ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
# made by the build of the documentation
_MADE = ("tutorials/",)


def markdown() -> list[str]:
    """Return the Markdown files that belong to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = listed.stdout.split() or [p.relative_to(ROOT).as_posix() for p in ROOT.glob("*.md")]
    return sorted(found)


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and the documentation make them."""
    text = _FENCED.sub("", path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        found.add(slug)
    return found | labels(text)


def labels(text: str) -> set[str]:
    """Return the names that a page gives to places."""
    return set(re.findall(r"^\((.+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", markdown())
def test_links_lead_somewhere(page: str) -> None:
    text = _FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    everywhere = {
        label for path in (ROOT / "docs").glob("*.md") for label in labels(path.read_text())
    }
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target) or target.startswith(_MADE):
            continue
        if target in everywhere:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), target


def test_a_wrong_anchor_is_noticed() -> None:
    found = anchors(ROOT / "docs" / "background.md")
    assert "what-gammapys-did" in found
    assert "what-gammapy-did" not in found
