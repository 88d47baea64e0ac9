"""What every model shares: parameters with units and limits, copies, printing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self, cast

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad._html import as_html, rows_below
from gammagrad._pytree import replace, to_internal
from gammagrad.errors import InputError, InputTypeError, short

DNDE = "cm-2 s-1 TeV-1"
SURFACE_DNDE = "cm-2 s-1 TeV-1 sr-1"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Unit, allowed range and role in a fit of one model parameter; see `parameter`."""

    unit: str = ""
    frozen: bool = False
    element: str = ""
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the allowed range, infinite where there is none."""
        return max(self.at_least, self.above), min(self.at_most, self.below)

    def allows(self, value: Any) -> bool:
        """Return whether all of a concrete value is finite and inside the range."""
        value = np.asarray(value)
        inside = (value >= self.at_least) & (value > self.above)
        return bool(np.all(inside & (value <= self.at_most) & (value < self.below)))

    def describe(self) -> str:
        """Return the allowed range in words."""
        parts = ["finite"]
        for words in ("at_least", "above", "at_most", "below"):
            limit = getattr(self, words)
            if math.isfinite(limit):
                parts.append(f"{words.replace('_', ' ')} {limit:g}")
        return ", ".join(parts)


def parameter(unit: str = "", default: Any = dataclasses.MISSING, **limits: Any) -> Any:
    """Return a dataclass field for a model parameter; see `Limits`."""
    return dataclasses.field(default=default, metadata={"limits": Limits(unit, **limits)})


class Model:
    """Base of the spectral and spatial models: a frozen pytree with named, unit-checked parameters.

    Subclasses declare their parameters with `parameter`.
    """

    tag: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def _limits(cls) -> dict[str, Limits]:
        fields = dataclasses.fields(cast(Any, cls))
        return {f.name: f.metadata["limits"] for f in fields if "limits" in f.metadata}

    def __post_init__(self) -> None:
        """Convert and check the parameters."""
        assign(self, **{name: self._convert(name, v) for name, v in self.parameters.items()})
        self._check()

    @classmethod
    def _convert(cls, name: str, value: Any) -> Any:
        """Return one parameter in internal units, checked if its value is known."""
        limits = cls._limits()[name]
        label = f"{cls.__name__}.{name}"
        number = as_number(to_internal(value, limits.unit, label), label)
        # a traced value is unknown and not checked
        if isinstance(number, float | np.ndarray) and not limits.allows(number):
            raise InputError(
                f"{label} is {number} {limits.unit}".rstrip()
                + f"; it must be {limits.describe()}. Pass another value."
            )
        return number

    def _check(self) -> None:
        """Check several parameters together; models that need it override this."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter values by name, in the units of `parameter_units`."""
        return {name: getattr(self, name) for name in self._limits()}

    @property
    def parameter_units(self) -> dict[str, str]:
        """Internal unit of each parameter, by name."""
        return {name: limits.unit for name, limits in self._limits().items()}

    def elements(self) -> dict[str, tuple[str, int]]:
        """Return the places of parameters stored in arrays.

        Returns
        -------
        dict
            By the name of each, such as ``"norm_2"``: the array's name and the index in it.
        """
        return {
            f"{limits.element}_{i}": (name, i)
            for name, limits in self._limits().items()
            if limits.element
            for i in range(np.shape(getattr(self, name))[0])
        }

    def numbers(self) -> dict[str, Any]:
        """Return the parameters that a fit could change, one number each.

        Returns
        -------
        dict
            Values by name. Arrays are split into numbers; tables are left out.
        """
        elements = self.elements()
        arrays = {name for name, _ in elements.values()}
        own = {name: value for name, value in self.parameters.items() if np.ndim(value) == 0}
        parts = {key: getattr(self, name)[i] for key, (name, i) in elements.items()}
        return {name: value for name, value in own.items() if name not in arrays} | parts

    def with_parameters(self, **values: Any) -> Self:
        """Copy the model with some parameters changed.

        Parameters
        ----------
        **values
            New values by parameter name: numbers in internal units, strings or quantities. Single
            elements of an array are named as in ``norm_2=1.5``.

        Returns
        -------
        model
            The changed copy; this model does not change.

        Raises
        ------
        TypeError
            If a name is not a parameter of the model.
        ValueError
            If a unit cannot be converted or a value lies outside its allowed range.
        """
        elements = self.elements()
        known = [*self._limits(), *elements]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputTypeError(
                f"{type(self).__name__} has no parameter {', '.join(unknown)}; "
                f"choose from {', '.join(known)}."
            )
        changed = {k: self._convert(k, v) for k, v in values.items() if k not in elements}
        for key, (name, i) in elements.items():
            if key in values:
                array = changed.get(name, getattr(self, name))
                changed[name] = _with_number(array, i, self._convert(name, values[key]))
        new = replace(self, **changed)
        new._check()
        return new

    def copy(self, **values: Any) -> Self:
        """Copy the model; the same as `with_parameters`.

        Parameters
        ----------
        **values
            New values by parameter name: numbers in internal units, strings or quantities.

        Returns
        -------
        model
            The copy.
        """
        return self.with_parameters(**values)

    def parameter_rows(self) -> list[tuple[str, str, str]]:
        """Return name, value and unit of each parameter as text."""
        units = self.parameter_units
        return [(n, format_value(v), units[n]) for n, v in self.parameters.items()]

    def __repr__(self) -> str:
        parts = []
        for name, value, unit in self.parameter_rows():
            parts.append(f"{name}='{value} {unit}'" if unit else f"{name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __str__(self) -> str:
        rows = [PARAMETER_HEAD, *self.parameter_rows()]
        return f"{type(self).__name__}\n\n{format_table(rows)}"

    def _repr_html_(self) -> str:
        return as_html(type(self).__name__, rows_below(PARAMETER_HEAD, self.parameter_rows()))


PARAMETER_HEAD = ("name", "value", "unit")


def assign(model: Any, **fields: Any) -> None:
    """Set fields of a frozen object; only for use while it is made."""
    for name, value in fields.items():
        object.__setattr__(model, name, value)


def as_number(value: Any, label: str) -> Any:
    """Return a number as float, a sequence as float array, a JAX array as it is."""
    if isinstance(value, jax.Array):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputTypeError(
            f"{label} must be a number or an array of numbers: {error}."
        ) from error
    if array.dtype.kind not in "biuf":
        raise InputTypeError(
            f"{label} must be a number, a string or a quantity; got {short(value)}."
        )
    if array.ndim == 0:
        # Python floats are weakly typed: the model takes on the precision of its inputs
        return float(array)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _with_number(array: Any, index: int, value: Any) -> Any:
    """Return a copy of an array with one number replaced."""
    if isinstance(array, jax.Array) or isinstance(value, jax.Array):
        array = jnp.asarray(array)
        return array.at[index].set(jnp.asarray(value).astype(array.dtype))
    array = np.array(array)
    array[index] = value
    return array


def promote(*values: Any) -> tuple[jax.Array, ...]:
    """Return values as floating arrays; Python numbers stay weakly typed."""
    arrays = [jnp.asarray(value) for value in values]
    return tuple(
        a if jnp.issubdtype(a.dtype, jnp.inexact) else a.astype(jnp.result_type(float))
        for a in arrays
    )


def format_value(value: Any) -> str:
    """Return a parameter value as short text; tracers and long arrays are summarised."""
    if isinstance(value, float):
        return f"{value:.8g}"
    try:
        array = np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return f"traced {value.dtype}{list(value.shape)}"
    if array.ndim == 0:
        return f"{float(array):.8g}"
    if array.size <= 3:
        return np.array2string(array, precision=6)
    return f"[{array.min():.6g} .. {array.max():.6g}] {array.shape}"


def format_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows of text, the first one the header, as an aligned table."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join("  " + line.rstrip() for line in lines)
