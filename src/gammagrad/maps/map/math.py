"""Arithmetic with maps."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from astropy import units as u

from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps.map.data import MapData

Operator = Callable[[Any, Any], Any]


class MapMath(MapData):
    """Maps that can be added, multiplied, compared and combined; the base of `Map`."""

    # The other operand is a map of the same geometry, a quantity, or plain numbers: these are in
    # the unit of the map where the units must agree (+, -, <, ==), and pure numbers in products.
    # Comparisons give masks, bin by bin; so a map has no truth value of its own.

    def _operand(self, other: Any, plain: u.UnitBase) -> tuple[Any, u.UnitBase] | None:
        if isinstance(other, MapData):
            if difference := self.geom.difference(other.geom):
                raise InputError(f"the maps have different geometries: {difference}.")
            return other.data, other.unit
        if isinstance(other, u.Quantity):
            return other.value, other.unit
        if isinstance(other, bool | int | float | np.number | np.bool_ | np.ndarray):
            return other, plain
        return None

    def _in_my_unit(self, other: Any) -> Any:
        operand = self._operand(other, self.unit)
        if operand is None:
            return None
        values, unit = operand
        if unit == self.unit:
            return values
        try:
            return values * unit.to(self.unit)
        except u.UnitConversionError as error:
            mine, theirs = (str(x) or "no unit" for x in (self.unit, unit))
            raise InputError(f"cannot combine a map in {mine} with {theirs}.") from error

    def _sum(self, other: Any, function: Operator) -> Self:
        values = self._in_my_unit(other)
        return NotImplemented if values is None else self._like(function(self.data, values))

    def _compare(self, other: Any, function: Operator) -> Self:
        values = self._in_my_unit(other)
        if values is None:
            return NotImplemented
        return self._like(function(self.data, values), unit=u.dimensionless_unscaled)

    def _product(self, other: Any, function: Operator, swap: bool = False) -> Self:
        operand = self._operand(other, u.dimensionless_unscaled)
        if operand is None:
            return NotImplemented
        mine, theirs = (self.data, self.unit), operand
        (a, a_unit), (b, b_unit) = (theirs, mine) if swap else (mine, theirs)
        with np.errstate(divide="ignore", invalid="ignore"):
            data, unit = function(a, b), function(a_unit, b_unit)
        if unit.is_equivalent(u.dimensionless_unscaled):
            data, unit = data * unit.to(u.dimensionless_unscaled), u.dimensionless_unscaled
        return self._like(data, unit=unit)

    def _logical(self, other: Any, function: Operator) -> Self:
        operand = self._operand(other, u.dimensionless_unscaled)
        if operand is None:
            return NotImplemented
        values = np.asarray(operand[0])
        if not (self.is_mask and values.dtype == np.bool_):
            raise InputTypeError(
                f"&, | and ^ need masks, got {self.data.dtype} and {values.dtype}; "
                "make one by a comparison such as `map > 0`."
            )
        return self._like(function(self.data, values))

    def __add__(self, other: Any) -> Self:
        return self._sum(other, operator.add)

    def __sub__(self, other: Any) -> Self:
        return self._sum(other, operator.sub)

    def __rsub__(self, other: Any) -> Self:
        return self._sum(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Self:
        return self._product(other, operator.mul)

    def __truediv__(self, other: Any) -> Self:
        return self._product(other, operator.truediv)

    def __rtruediv__(self, other: Any) -> Self:
        return self._product(other, operator.truediv, swap=True)

    def __and__(self, other: Any) -> Self:
        return self._logical(other, operator.and_)

    def __or__(self, other: Any) -> Self:
        return self._logical(other, operator.or_)

    def __xor__(self, other: Any) -> Self:
        return self._logical(other, operator.xor)

    __radd__ = __add__
    __rmul__ = __mul__
    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __invert__(self) -> Self:
        if not self.is_mask:
            raise InputTypeError(f"~ needs a mask, got {self.data.dtype}.")
        return self._like(~self.data)

    def __neg__(self) -> Self:
        return self._like(-self.data)

    def __lt__(self, other: Any) -> Self:
        return self._compare(other, operator.lt)

    def __le__(self, other: Any) -> Self:
        return self._compare(other, operator.le)

    def __gt__(self, other: Any) -> Self:
        return self._compare(other, operator.gt)

    def __ge__(self, other: Any) -> Self:
        return self._compare(other, operator.ge)

    def __eq__(self, other: object) -> Any:
        return self._compare(other, operator.eq)

    def __ne__(self, other: object) -> Any:
        return self._compare(other, operator.ne)

    def __bool__(self) -> bool:
        raise InputError(
            "a map is neither true nor false; use `map.data.any()`, `map.data.all()`, "
            "or `map is not None`."
        )
