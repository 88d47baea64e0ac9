"""Settings of estimators: one table each, which attributes, files, options and pages follow."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getattr_static
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, dataclass_transform, overload

import astropy.units as u
import numpy as np

from gammagrad._html import as_html, named_values
from gammagrad.errors import InputError, InputTypeError, choices, short, suggesting
from gammagrad.models import Models, SkyModel

T = TypeVar("T")
Cls = TypeVar("Cls", bound=type)

REQUIRED: Any = object()
"""Default of a setting that has none."""


@dataclass(frozen=True)
class Option:
    """The option of the command line that a setting has."""

    flag: str
    group: str
    metavar: str | None = None
    example: str = ""  # what an error about a text that cannot be read shows
    read: Callable[[str], Any] = str  # makes the value of a text
    needs: str = ""  # the optional output without which the setting has no effect
    # name of the parsed argument, if that of the setting is another option's
    dest: str = ""


class Setting(Generic[T]):
    """A row of the table, and the attribute itself: checked when it is set."""

    def __init__(
        self,
        default: Any,
        check: Callable[[Any, str], T],
        sentence: str,
        *,
        option: Option | None = None,
        unit: str = "",
        values: Sequence[str] = (),
        may_be_none: bool = False,
        excludes: str = "",
        fill: Callable[[Any], T] | None = None,
        plain: Callable[[Any], Any] | None = None,
        in_files: bool = True,
    ) -> None:
        self.default, self.check, self.sentence = default, check, sentence
        self.option, self.unit, self.values = option, unit, values
        self.may_be_none, self.excludes, self.in_files = may_be_none, excludes, in_files
        # the value in use where the one set is a default of the session
        self.fill = fill
        self.plain = plain or plain_value

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, obj: None, owner: type) -> Any: ...
    @overload
    def __get__(self, obj: object, owner: type) -> T: ...
    def __get__(self, obj: object | None, owner: type) -> Any:
        if obj is None:
            if self.default is REQUIRED:
                raise AttributeError(self.name)
            return self.default
        value = vars(obj)[self.name]
        return value if self.fill is None else self.fill(value)

    def __set__(self, obj: object, value: Any) -> None:
        value = self.checked(value)
        if value is not None and self.excludes and vars(obj).get(self.excludes) is not None:
            raise InputError(
                f" and {self.excludes} exclude each other; set {self.excludes} to None first, or "
                "leave one of them out.",
                self.name,
            )
        vars(obj)[self.name] = value

    def checked(self, value: Any) -> Any:
        """Return a value as it is kept."""
        return None if value is None and self.may_be_none else self.check(value, self.name)


class Alias:
    """Another name of a setting, which may be used in its place."""

    def __init__(self, of: str) -> None:
        self.of = of

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, obj: object | None, owner: type) -> Any:
        return None if obj is None else getattr(obj, self.of)

    def __set__(self, obj: object, value: Any) -> None:
        # the first time is when the estimator is made, and the setting may have been given as well
        first = vars(obj).setdefault(self.name, self) is self
        vars(obj)[self.name] = None
        if first and value is None:
            return
        if first and vars(obj)[self.of] is not None:
            raise InputTypeError(
                f"{self.of} and {self.name} are two names of one thing; pass one of them."
            )
        setattr(obj, self.of, value)


def plain_value(value: Any) -> Any:
    """Return a setting as text, numbers and lists of them: what a file can hold."""
    if isinstance(value, u.Quantity):
        return [str(edge) for edge in value] if value.ndim else str(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, list) else value


@dataclass_transform(field_specifiers=(field,))
def estimator(cls: Cls) -> Cls:
    """Make an estimator of a class whose body is a table of settings."""
    table = {name: row for name, row in vars(cls).items() if isinstance(row, Setting)}
    made: Any = dataclass(repr=False, eq=False)(cls)
    made.table = MappingProxyType(table)
    # what a person reads in the signature is the type of the value
    types = made.__init__.__annotations__
    types |= {name: re.sub(r"^Setting\[(.*)\]$", r"\1", str(types[name])) for name in table}
    return cast(Cls, suggesting(made))


class Estimator:
    """What estimators share: settings that are printed, copied and listed."""

    tag: ClassVar[str] = ""
    table: ClassVar[Mapping[str, Setting[Any]]] = {}
    # attributes beside the settings
    results: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        known = name in self.table or name in self.results
        if not known and not isinstance(getattr_static(type(self), name, None), Alias):
            raise AttributeError(f"{self.tag} has no setting {name!r}{choices(name, self.table)}")
        object.__setattr__(self, name, value)

    @property
    def config_parameters(self) -> dict[str, Any]:
        """Every setting by name, as the attribute of that name has it."""
        return {name: getattr(self, name) for name, row in self.table.items() if row.in_files}

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name, as plain text and numbers: None where a default was left alone."""
        rows = self.table.items()
        return {name: row.plain(vars(self)[name]) for name, row in rows if row.in_files}

    def __str__(self) -> str:
        rows = [f"  {name:<24}: {value}" for name, value in self._printed().items()]
        return "\n".join([self.tag, "-" * len(self.tag), "", *rows])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self.tag, named_values(self._printed()))

    def _printed(self) -> dict[str, Any]:
        """Return the settings for people to read."""
        return self.settings

    def copy(self) -> Self:
        """Return an estimator with the same settings, independent of this one, and no results.

        Returns
        -------
        TSMapEstimator or KernelBackgroundEstimator
            The copy.
        """
        given = {name: vars(self)[name] for name in self.table}
        models = Models, SkyModel
        return type(self)(
            **{n: v if isinstance(v, models) else copy.deepcopy(v) for n, v in given.items()}
        )


# ---------------------------------------------------------------- checks that both have


def flag(value: Any, name: str) -> bool:
    """Return a setting that is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f" is {short(value)}; expected True or False.", name)
    return bool(value)


def one_of(known: Sequence[str]) -> Callable[[Any, str], str]:
    """Return the check of a setting that is one of some names."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in known:
            raise InputError(f" is {short(value)}{choices(value, known)}", name)
        return value

    return check


def number(expected: str, allowed: Callable[[float], bool]) -> Callable[[Any, str], Any]:
    """Return the check of a setting that is a finite number; a whole one stays whole."""

    def check(value: Any, name: str) -> Any:
        try:
            found = np.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = np.nan
        if not (np.isfinite(found) and allowed(found)):
            raise InputError(f" is {short(value)}; expected {expected}.", name)
        return value if isinstance(value, int) else found

    return check


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def number_or_text(text: str) -> float | str:
    """Return the number that a text of an option is, or else the text."""
    try:
        return float(text)
    except ValueError:
        return text
