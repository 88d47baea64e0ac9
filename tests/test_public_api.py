"""Every public name exists, says what it is, and stands in the reference of the documentation."""

from __future__ import annotations

import inspect
import re
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import gammagrad

REFERENCE = Path(__file__).parent.parent / "docs" / "api"
NAMES = {
    *("Map", "MapDataset", "MapDatasetOnOff", "read_dataset", "FluxMaps", "HypothesisMaps"),
    *("TSMapEstimator", "KernelBackgroundEstimator", "RingBackgroundMaker"),
    *("fit", "fit_norm", "fit_norm_and_index", "ts_map", "kernel_background"),
    *("models", "responses", "stats"),
    "errors",
    *("exclusion_mask", "write_regions", "lima_maps", "fit_background_norm"),
}
PARTS = (gammagrad, gammagrad.errors, gammagrad.models, gammagrad.responses, gammagrad.stats)
MODULES = tuple(part.__name__ for part in PARTS)


def public_objects() -> dict[str, Any]:
    """Return every public class and function by its full name."""
    found = {}
    for place, module in zip(MODULES, PARTS, strict=True):
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, types.ModuleType) and name != "__version__":
                found[f"{place}.{name}"] = value
    return found


OBJECTS = public_objects()


def documented_names() -> set[str]:
    """Return the full names that the reference has an entry for."""
    found = set()
    for page in REFERENCE.glob("*.rst"):
        module = ""
        for kind, name in re.findall(
            r"^\.\. (currentmodule|auto\w+|py:data):: (\S+)$",
            page.read_text(encoding="utf-8"),
            re.MULTILINE,
        ):
            if kind == "currentmodule":
                module = name
            else:
                found.add(name if name.startswith("gammagrad.") else f"{module}.{name}")
    return found


def public_methods(cls: type) -> dict[str, Any]:
    """Return what a class offers to its user, its own and what it inherits from the package."""
    found = {}
    for name, value in inspect.getmembers(cls):
        if name.startswith("_") or not (inspect.isroutine(value) or isinstance(value, property)):
            continue
        owner = next(base for base in cls.__mro__ if name in vars(base))
        if owner.__module__.startswith("gammagrad"):
            found[name] = value
    return found


def section(doc: str, title: str) -> str:
    """Return the text of one section of a docstring in numpydoc's style."""
    match = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", doc, re.MULTILINE | re.DOTALL)
    return match.group(1) if match else ""


def undocumented(function: Any, doc: str) -> set[str]:
    """Return the arguments of a function or class that its docstring does not name."""
    try:
        arguments = inspect.signature(function).parameters
    except ValueError:
        return set()
    text = section(doc, "Parameters") + section(doc, "Attributes")
    named = set()
    for line in re.findall(r"^(\*{0,2}\w[^\n:]*)", text, re.MULTILINE):
        named |= {name.strip().lstrip("*") for name in line.split(",")}
    return {name for name in arguments if name not in {"self", "cls"} and name not in named}


def test_the_package_offers_the_names_it_promises() -> None:
    assert set(gammagrad.__all__) - {"__version__"} == NAMES


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_a_public_name_stands_in_the_reference(name: str) -> None:
    assert name in documented_names(), f"add {name} to a page of docs/api"


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_a_public_name_says_what_it_is_and_what_it_takes(name: str) -> None:
    value = OBJECTS[name]
    doc = inspect.getdoc(value) if "__doc__" in dir(value) else None
    if not callable(value):
        return
    assert doc, f"{name} has no docstring"
    assert undocumented(value, doc) == set(), f"{name} does not describe all its arguments"
    if not isinstance(value, type):
        return
    for method_name, method in public_methods(value).items():
        doc = inspect.getdoc(method)
        assert doc, f"{name}.{method_name} has no docstring"
        if inspect.isroutine(method):
            assert undocumented(method, doc) == set(), f"{name}.{method_name}: arguments missing"


def test_the_reference_lists_nothing_that_is_gone() -> None:
    for name in documented_names():
        module, _, attribute = name.rpartition(".")
        if name in MODULES or (module == "gammagrad.interop" and not find_spec("gammapy")):
            continue
        owner: Any = __import__(module, fromlist=[attribute])
        assert hasattr(owner, attribute), name
