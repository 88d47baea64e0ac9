"""Checks of the settings of `TSMapEstimator`, each of which returns the value to keep."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import astropy.units as u
import numpy as np

from gammagrad._upper import ours
from gammagrad.core.norm import parse_selection
from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.estimators.settings import is_whole
from gammagrad.estimators.ts_map.hypotheses import as_hypotheses, check_hypothesis
from gammagrad.estimators.ts_map.scan_norms import scan_values
from gammagrad.maps import Map
from gammagrad.models import Models, SkyModel, default_kernel_model


def max_niter(value: Any, name: str) -> int:
    """Return a number of sweeps."""
    if not is_whole(value) or value < 1:
        raise InputError(f" is {short(value)}; expected a whole number of at least 1.", name)
    return int(value)


def downsampling(value: Any, name: str) -> int:
    """Return the factor: 1, or an even number."""
    if not is_whole(value) or value < 1:
        raise InputError(f" is {short(value)}; expected an even number such as 2, or None.", name)
    if value > 1 and value % 2:
        raise InputError(
            f" is {value}, which is odd; expected an even number, such as {value - 1} or "
            f"{value + 1}, or None to fit every pixel.",
            name,
        )
    return int(value)


def kernel_width(value: Any, name: str) -> u.Quantity:
    """Return the width of the kernel as one angle in deg; a bare number is one."""
    wrong = f" is {short(value)}; expected one positive angle such as '1 deg'."
    try:
        if isinstance(value, list | tuple | dict | bool):
            raise InputTypeError("no angle")
        given = u.Quantity(value)
        width = given * u.deg if given.unit == "" else given.to("deg")
    except (TypeError, ValueError, OverflowError, u.UnitConversionError) as error:
        raise InputError(wrong, name) from error
    if width.ndim or not 0 < width.value < np.inf:
        raise InputError(wrong, name)
    return width


def background_uncertainty(value: Any, name: str) -> float | list[float] | Map:
    """Return a relative uncertainty: a number, a list of them, or a map."""
    if isinstance(value, Map):
        return value
    several = isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1
    try:
        given = list(value) if several else [value]
        numbers = [float("nan") if isinstance(v, bool) else float(v) for v in given]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(0 < n < np.inf for n in numbers):
        raise InputError(
            f" is {short(value)}; expected a relative uncertainty above 0, such as 0.05, one for "
            "each energy group, or a map.",
            name,
        )
    return numbers if several else numbers[0]


def read_uncertainty(text: str) -> float | list[float]:
    """Return the uncertainty that a text stands for."""
    parts = [float(part) for part in text.split(",")]
    return parts if len(parts) > 1 else parts[0]


def plain_uncertainty(value: float | list[float] | Map) -> Any:
    """Return an uncertainty as a file has it; a map by its mean."""
    if isinstance(value, Map):
        return float(np.mean(value.data))
    return value


def memory(value: Any, name: str) -> int:
    """Return an amount of memory in bytes."""
    try:
        amount = np.nan if isinstance(value, bool) else u.Quantity(value)
        if getattr(amount, "unit", None) == u.dimensionless_unscaled:
            amount = amount * u.byte
        size = float(amount.to_value(u.byte)) if isinstance(amount, u.Quantity) else np.nan
    except (TypeError, ValueError, OverflowError, u.UnitConversionError):
        size = np.nan
    if not 10**6 <= size < np.inf:
        raise InputError(
            f" is {short(value)}; expected an amount of memory such as '500 MB' (at least "
            "1 MB), or None.",
            name,
        )
    return int(size)


KERNEL_POSITIONS = ("auto", "centre", "map")

_MOST_POSITIONS = 33**2


def kernel_positions(value: Any, name: str) -> str | int:
    """Return how kernels follow the position, or at how many positions they are compared."""
    if isinstance(value, str) and value in KERNEL_POSITIONS:
        return value
    if not is_whole(value) or not 4 <= value <= _MOST_POSITIONS:
        raise InputError(
            f" is {short(value)}; expected 'auto', 'centre', 'map', or a number of positions from "
            f"4 to {_MOST_POSITIONS}.",
            name,
        )
    return int(value)


def read_kernel_positions(text: str) -> str | int:
    """Return the setting that a text stands for."""
    return int(text) if text.strip().isdigit() else text.strip()


def energy_edges(value: Any, name: str) -> u.Quantity | str | None:
    """Return energy edges as a quantity, or "all"."""
    if isinstance(value, str) and value == "all":
        return value
    try:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, u.Quantity | np.ndarray):
            parts = u.Quantity([u.Quantity(part) for part in parts])
        edges = u.Quantity(parts)
        edges.to("TeV")
    except (TypeError, ValueError, OverflowError, u.UnitConversionError) as error:
        raise InputError(
            f" are {short(value)}; expected energies with their units, such as "
            "'10 GeV, 500 GeV', or 'all' for one group per bin.",
            name,
        ) from error
    if edges.ndim != 1 or edges.size < 2 or not np.all(np.diff(edges.value) > 0):
        raise InputError(f" are {edges}; expected two or more, increasing.", name)
    return edges


@cache
def default_model() -> SkyModel:
    """Return the source to test if none is given."""
    return default_kernel_model()


def model_names(value: SkyModel | Models | None) -> str | list[str]:
    """Return a model as a file has it: by its name, several by theirs."""
    return value.names if isinstance(value, Models) else (value or default_model()).name


def model(value: Any, name: str) -> SkyModel | Models:
    """Return a model to test, or several."""
    value = [_one(one) for one in value] if isinstance(value, list | tuple) else _one(value)
    if isinstance(value, list | tuple | Models):
        return as_hypotheses(value, name)
    return check_hypothesis(value, name)


def _one(value: Any) -> Any:
    """Return a model of gammapy as one of ours, others as they are."""
    found = ours(value)
    several = isinstance(found, Models) and not isinstance(value, Models)
    return found[0] if several and len(found) == 1 else found


def scan(value: Any, name: str) -> Any:
    """Return what says where to scan, a copy unless it is an object of its own kind."""
    scan_values(value)
    return copy.deepcopy(value) if isinstance(value, Mapping | list | tuple) else value


def selection(value: Any, name: str) -> list[str]:
    """Return the optional outputs that are asked for."""
    return list(parse_selection(value))


def read_selection(text: str) -> list[str] | str:
    """Return the optional outputs that a text between commas names."""
    return "all" if text.strip() == "all" else [part.strip() for part in text.split(",")]
