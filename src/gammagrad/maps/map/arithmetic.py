"""Arithmetic of data with units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u

from gammagrad.errors import InputError, InputTypeError

Operator = Callable[[Any, Any], Any]
# Values and unit; the unit is None for plain numbers.
Operand = tuple[Any, Any]
Rule = Callable[[Operand, Operand, Operator], Operand]


def added(mine: Operand, other: Operand, function: Operator) -> Operand:
    """Combine values in the same unit; plain numbers are in the unit of the map."""
    (data, unit), (values, other_unit) = mine, other
    if other_unit is not None and other_unit != unit:
        try:
            values = values * other_unit.to(unit)
        except u.UnitConversionError as error:
            ours, theirs = (str(x) or "no unit" for x in (unit, other_unit))
            raise InputError(f"cannot combine a map in {ours} with {theirs}.") from error
    return function(data, values), unit


def compared(mine: Operand, other: Operand, function: Operator) -> Operand:
    """Compare values in the same unit, bin by bin."""
    return added(mine, other, function)[0], u.dimensionless_unscaled


def multiplied(mine: Operand, other: Operand, function: Operator) -> Operand:
    """Multiply or divide values and units; plain numbers have no unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        data = function(mine[0], other[0])
    unit = function(mine[1], u.dimensionless_unscaled if other[1] is None else other[1])
    if unit.is_equivalent(u.dimensionless_unscaled):
        data, unit = data * unit.to(u.dimensionless_unscaled), u.dimensionless_unscaled
    return data, unit


def joined(mine: Operand, other: Operand, function: Operator) -> Operand:
    """Combine masks."""
    (data, unit), values = mine, np.asarray(other[0])
    if not (data.dtype == np.bool_ and values.dtype == np.bool_):
        raise InputTypeError(
            f"&, | and ^ need masks, got {data.dtype} and {values.dtype}; "
            "make one by a comparison such as `map > 0`."
        )
    return function(data, values), unit
