"""Arithmetic of data with units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError

Operator = Callable[[Any, Any], Any]
# Data and unit of a map, then values and unit of the other operand (None for plain numbers), which
# an operator combines to data and a unit.
Rule = Callable[[NDArray[Any], u.UnitBase, Any, u.UnitBase | None, Operator], tuple[Any, Any]]


def added(
    data: NDArray[Any], unit: u.UnitBase, values: Any, other: u.UnitBase | None, function: Operator
) -> tuple[Any, Any]:
    """Combine values in the same unit; plain numbers are in the unit of the map."""
    if other is not None and other != unit:
        try:
            values = values * other.to(unit)
        except u.UnitConversionError as error:
            mine, theirs = (str(x) or "no unit" for x in (unit, other))
            raise InputError(f"cannot combine a map in {mine} with {theirs}.") from error
    return function(data, values), unit


def compared(
    data: NDArray[Any], unit: u.UnitBase, values: Any, other: u.UnitBase | None, function: Operator
) -> tuple[Any, Any]:
    """Compare values in the same unit, bin by bin."""
    return added(data, unit, values, other, function)[0], u.dimensionless_unscaled


def multiplied(
    data: NDArray[Any], unit: u.UnitBase, values: Any, other: u.UnitBase | None, function: Operator
) -> tuple[Any, Any]:
    """Multiply or divide values and units."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result = function(data, values)
    unit = function(unit, u.dimensionless_unscaled if other is None else other)
    if unit.is_equivalent(u.dimensionless_unscaled):
        result, unit = result * unit.to(u.dimensionless_unscaled), u.dimensionless_unscaled
    return result, unit


def joined(
    data: NDArray[Any], unit: u.UnitBase, values: Any, other: u.UnitBase | None, function: Operator
) -> tuple[Any, Any]:
    """Combine masks."""
    values = np.asarray(values)
    if not (data.dtype == np.bool_ and values.dtype == np.bool_):
        raise InputTypeError(
            f"&, | and ^ need masks, got {data.dtype} and {values.dtype}; "
            "make one by a comparison such as `map > 0`."
        )
    return function(data, values), unit
