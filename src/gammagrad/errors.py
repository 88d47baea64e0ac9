"""The exceptions and warnings of gammagrad, with a common base.

Each is also a built-in exception, so that ``except ValueError`` and ``except FileNotFoundError``
also catch them.
"""

from __future__ import annotations

import difflib
import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from typing import Any, TypeVar

__all__ = [
    "FileAccessError",
    "FileContentError",
    "FileIsThereError",
    "FileMissingError",
    "GammagradError",
    "InputError",
    "InputTypeError",
    "InputWarning",
]


T = TypeVar("T")


class GammagradError(Exception):
    """Base of the exceptions about an input."""


class _ArgumentError(GammagradError):
    """An error that may be about an argument, whose name then begins the message."""

    def __init__(self, message: str = "", argument: str = "", where: str = "") -> None:
        super().__init__(message, argument, where)

    @property
    def argument(self) -> str:
        """Name of the argument at fault, "" if there is none."""
        return str(self.args[1])

    def called(self, name: str) -> str:
        """Return the message with another name of the argument.

        Parameters
        ----------
        name
            The name.

        Returns
        -------
        str
            The message.
        """
        message, _, where = self.args
        return f"{where}{name}{message}"

    def __str__(self) -> str:
        return self.called(self.argument)


class InputError(_ArgumentError, ValueError):
    """An invalid value.

    Parameters
    ----------
    message : str
        What is wrong. It follows the name of the argument, if there is one.
    argument : str
        Name of the argument at fault.
    where : str
        What stands before the name, such as a file.
    """


class InputTypeError(_ArgumentError, TypeError):
    """A value of a wrong type.

    Parameters
    ----------
    message : str
        What is wrong. It follows the name of the argument, if there is one.
    argument : str
        Name of the argument at fault.
    where : str
        What stands before the name, such as a file.
    """


class FileContentError(InputError):
    """A file that is damaged or has unexpected content.

    Parameters
    ----------
    message : str
        What is wrong. It follows the name of the argument, if there is one.
    argument : str
        Name of the argument at fault.
    where : str
        What stands before the name, such as a file.
    """


class FileAccessError(GammagradError, OSError):
    """A file that cannot be read or written."""


class FileMissingError(FileAccessError, FileNotFoundError):
    """A file, folder or environment variable that does not exist."""


class FileIsThereError(FileAccessError, FileExistsError):
    """A file that exists and must not be replaced."""


class InputWarning(UserWarning):
    """A valid but suspicious input."""


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxarray = 8
_REPR.maxlevel = 3


def short(value: Any) -> str:
    """Return a value for a message: its `repr`, shortened."""
    if isinstance(value, int) and value.bit_length() > 256:
        # Python refuses to spell out the longest ones
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = " ".join(_REPR.repr(value).split())
    except Exception:  # of an object whose own repr fails
        return f"a {type(value).__name__}"
    return text if len(text) <= 300 else f"{text[:297]}..."


def choices(name: Any, known: Iterable[str]) -> str:
    """Return the end of an error about a name: a suggestion, and the known names."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    start = f"; did you mean {close[0]!r}? There are" if close else "; there are"
    return f"{start} {', '.join(names)}."


def check_names(function: Callable[..., Any], given: Mapping[str, Any], called: str) -> None:
    """Raise if a call names an argument that a function does not have."""
    known = _parameters(function)
    if known is None:
        return
    for name in given:
        if name not in known:
            raise InputTypeError(f"{called} has no argument {name!r}{choices(name, known)}")


@cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return the names of a function's arguments; None if it takes any."""
    found = list(inspect.signature(function).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in found):
        return None
    return tuple(p.name for p in found if p.name != "self")


def suggesting(cls: type[T]) -> type[T]:
    """Make a class suggest the name of an argument that is misspelt."""
    plain: Any = vars(cls)["__init__"]

    @wraps(plain)
    def init(self: T, *args: Any, **kwargs: Any) -> None:
        check_names(plain, kwargs, type(self).__name__)
        plain(self, *args, **kwargs)

    type.__setattr__(cls, "__init__", init)
    return cls
