"""The exceptions and warnings of gammagrad: one family, to be caught by one name.

Each is also the exception of Python that says the same, so that ``except ValueError`` and
``except FileNotFoundError`` catch them too.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

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


class GammagradError(Exception):
    """Base of the exceptions that say what is wrong with an input."""


class _ArgumentError(GammagradError):
    """An error about an argument, whose name begins the message."""

    def __init__(self, message: str = "", argument: str = "") -> None:
        super().__init__(message, argument)

    @property
    def argument(self) -> str:
        """Name of the argument at fault, "" if the message is about something else."""
        return str(self.args[1])

    def called(self, name: str) -> str:
        """Return the message with another name of the argument."""
        return f"{name}{self.args[0]}"

    def __str__(self) -> str:
        return self.called(self.argument)


class InputError(_ArgumentError, ValueError):
    """A value that cannot be used."""


class InputTypeError(_ArgumentError, TypeError):
    """A value of a type that cannot be used."""


class FileContentError(InputError):
    """A file whose content is damaged, or is not what was expected."""


class FileAccessError(GammagradError, OSError):
    """A file that cannot be read or written."""


class FileMissingError(FileAccessError, FileNotFoundError):
    """A file, folder or environment variable that is not there."""


class FileIsThereError(FileAccessError, FileExistsError):
    """A file that is there, and is not to be replaced."""


class InputWarning(UserWarning):
    """An input that can be used, and is probably not what was meant."""


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxarray = 8
_REPR.maxlevel = 3


def short(value: Any) -> str:
    """Return a value as a message shows it: its `repr`, cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 256:
        # Python refuses to spell out the longest ones
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = " ".join(_REPR.repr(value).split())
    except Exception:  # of an object whose own repr fails
        return f"a {type(value).__name__}"
    return text if len(text) <= 300 else f"{text[:297]}..."


def choices(name: Any, known: Iterable[str]) -> str:
    """Return the end of an error about a name: what was probably meant, and what there is."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    start = f"; did you mean {close[0]!r}? There are" if close else "; there are"
    return f"{start} {', '.join(names)}."
