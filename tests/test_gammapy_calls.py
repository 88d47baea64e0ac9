"""The lists of calls that work as in gammapy, and of those that are left out, are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gammagrad import datasets, irf, maps
from gammagrad.estimators import FluxMaps

PAGE = Path(__file__).parent.parent / "docs" / "coming_from_gammapy.md"
PLACES: tuple[tuple[str, Any], ...] = (
    ("maps", maps),
    ("datasets", datasets),
    ("irf", irf),
)


def calls(title: str) -> list[tuple[str, str]]:
    """Return classes and names from the first table after some words on the page."""
    text = PAGE.read_text(encoding="utf-8").split(title, 1)[1].split("| of |", 1)[1]
    found = []
    for line in text.splitlines()[2:]:
        if not line.startswith("|"):
            break
        of, names = line.strip("|").split("|")
        owner = re.findall(r"`(\w+)`", of)[0]
        found += [(owner, name) for name in re.findall(r"`(\w+)`", names)]
    return found


def owner_of(name: str) -> Any:
    """Return a class by its name."""
    known = [getattr(place, name) for _, place in PLACES if hasattr(place, name)]
    return known[0] if known else {"FluxMaps": FluxMaps}[name]


def has(cls: Any, name: str) -> bool:
    """Tell whether objects of a class have an attribute, those set in `__init__` included."""
    return hasattr(cls, name) or name in ("meta", "gti")


HERE, MISSING = calls("## Which calls work"), calls("\nLeft out:")


def test_there_are_calls_to_try() -> None:
    assert len(HERE) > 120
    assert len(MISSING) > 40
    assert not set(HERE) & set(MISSING)


@pytest.mark.parametrize(("owner", "name"), HERE)
def test_a_call_that_is_said_to_work_exists(owner: str, name: str) -> None:
    assert has(owner_of(owner), name)


@pytest.mark.parametrize(("owner", "name"), MISSING)
def test_a_call_that_is_said_to_be_left_out_is_not_there(owner: str, name: str) -> None:
    assert not has(owner_of(owner), name)


@pytest.mark.parametrize("listed", [HERE, MISSING], ids=["here", "missing"])
def test_the_calls_are_gammapys(listed: list[tuple[str, str]]) -> None:
    places = [pytest.importorskip(f"gammapy.{name}") for name, _ in PLACES]
    places.append(pytest.importorskip("gammapy.estimators"))
    unknown = []
    for owner, name in listed:
        theirs = "WcsNDMap" if owner == "Map" else owner
        cls = next(getattr(place, theirs) for place in places if hasattr(place, theirs))
        unknown += [] if has(cls, name) else [f"{owner}.{name}"]
    assert unknown == []
