"""Frozen parameters of models, and bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import jax
import numpy as np

from gammagrad._pytree import to_internal
from gammagrad.errors import InputError, InputTypeError
from gammagrad.models.base import Limits


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings other than the defaults, by full parameter names; hashable."""

    frozen: tuple[tuple[str, bool], ...] = ()  # pairs of name and whether the parameter is frozen
    bounds: tuple[tuple[str, tuple[float, float]], ...] = ()  # pairs of name and the two bounds

    @classmethod
    def make(
        cls,
        places: Mapping[str, Place],
        frozen: Mapping[str, bool],
        bounds: Mapping[str, tuple[float, float]],
    ) -> Settings:
        """Return settings in a canonical form, so that equal settings compare equal."""
        no_bounds = (-math.inf, math.inf)
        return cls(
            tuple(
                (name, bool(value))
                for name, value in sorted(frozen.items())
                if name in places and bool(value) != places[name].limits.frozen
            ),
            tuple(
                (name, (float(low), float(high)))
                for name, (low, high) in sorted(bounds.items())
                if name in places and (low, high) != no_bounds
            ),
        )


class Place(NamedTuple):
    """Place of a parameter in a collection of models."""

    leaf: int  # its position among the leaves of the tree
    # its position in the array that the leaf is; None for a leaf that is one number
    element: int | None
    limits: Limits  # unit, allowed range and role


def parameter_places(members: Iterable[Any]) -> dict[str, Place]:
    """Find the parameters of models among the leaves of their tree."""
    members = tuple(members)
    found: dict[str, Place] = {}
    for i, (path, leaf) in enumerate(jax.tree_util.tree_flatten_with_path(members)[0]):
        position, *names = path
        model = members[position.idx]
        part: Any = model
        for step in names[:-1]:
            part = getattr(part, step.name)
        limits = part._limits().get(names[-1].name) if hasattr(part, "_limits") else None
        if limits is None:
            continue
        if limits.element:
            for index in range(np.shape(leaf)[0]):
                found[f"{model.name}.{limits.element}_{index}"] = Place(i, index, limits)
        elif np.ndim(leaf) == 0:
            found[f"{model.name}.{names[-1].name}"] = Place(i, None, limits)
    return found


def matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the names that match patterns."""
    names = list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise InputTypeError(
                f"{pattern!r} is not a parameter name; pass names or patterns one by one, as in "
                "freeze('a.index', 'b.*')."
            )
        own = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not own:
            raise InputError(no_such_parameter(pattern, names))
        chosen.update(own)
    return [name for name in names if name in chosen]


def no_such_parameter(name: str, names: Iterable[str]) -> str:
    """Return the message for a name that no parameter has."""
    return f"no parameter is named {name!r}; there are {', '.join(names) or 'none'}."


def merge_bounds(name: str, limits: Limits, low: Any, high: Any) -> tuple[float, float]:
    """Return bounds in internal units, after checking them."""
    ends = []
    for value, none in ((low, -math.inf), (high, math.inf)):
        value = none if value is None else to_internal(value, limits.unit, f"a bound of {name}")
        ends.append(none if math.isnan(value) else float(value))
    lowest, highest = limits.interval
    if not max(ends[0], lowest) < min(ends[1], highest):
        raise InputError(
            f": the bounds {ends[0]:g} and {ends[1]:g} allow no value within what the model "
            f"allows ({limits.describe()}). Freeze a parameter to keep its value.",
            name,
        )
    return ends[0], ends[1]
