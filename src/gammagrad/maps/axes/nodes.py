"""The nodes of an axis: units, scales, checks, and edges from centres."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.errors import InputError

Floats = NDArray[np.float64]

# Bins are divided, and edges lie half way, in the value, its logarithm or its root.
SCALES: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "lin": (lambda x: x, lambda x: x),
    "log": (np.log, np.exp),
    "sqrt": (np.sqrt, np.square),
}


def unit_of(value: Any, label: str) -> u.UnitBase:
    """Return the unit of a value, dimensionless for plain numbers."""
    if isinstance(value, u.Quantity):
        return value.unit
    first = value[0] if isinstance(value, list | tuple) and len(value) else value
    if isinstance(first, str):
        try:
            return u.Quantity(first).unit
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{label}: cannot read {first!r} as a number and a unit.") from error
    return first.unit if isinstance(first, u.Quantity) else u.dimensionless_unscaled


def energy_unit(value: Any) -> u.UnitBase:
    """Return the unit of an energy, TeV for plain numbers."""
    unit = unit_of(value, "energy")
    return u.Unit("TeV") if unit == u.dimensionless_unscaled else unit


def check_nodes(values: Floats, label: str, interp: str, least: int) -> None:
    """Raise an error unless nodes can make an axis."""
    if values.ndim != 1 or len(values) < least:
        raise InputError(f"{label}: expected at least {least} nodes in one dimension.")
    if not np.all(np.isfinite(values)):
        raise InputError(f"{label}: the nodes must be finite, got {values}.")
    if np.any(np.diff(values) <= 0):
        raise InputError(f"{label}: the nodes must increase, got {values}.")
    lowest = values[0]
    if (interp == "log" and lowest <= 0) or (interp == "sqrt" and lowest < 0):
        raise InputError(f"{label}: a {interp} axis needs positive nodes, got {lowest}.")


def check_factor(factor: int, label: str) -> None:
    """Raise an error unless a factor is a whole number of at least 1."""
    if int(factor) != factor or factor < 1:
        raise InputError(f"{label}: the factor is {factor}; expected a whole number >= 1.")


def edges_from_centres(centres: Floats, interp: str) -> Floats:
    """Return edges half way between centres, and equally far beyond the first and last centre."""
    if len(centres) == 1:
        return np.repeat(centres, 2)
    forward, back = SCALES[interp]
    x = forward(centres)
    middle = 0.5 * (x[1:] + x[:-1])
    return back(np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]]))
