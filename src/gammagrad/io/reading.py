"""Errors while a file is read become one kind of exception, which names the file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import fspath
from typing import Any, ParamSpec, TypeVar, cast

from gammagrad.errors import (
    FileAccessError,
    FileContentError,
    FileMissingError,
    InputError,
    InputTypeError,
)
from gammagrad.io.paths import Filename

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def reading(filename: Filename) -> Iterator[None]:
    """Name the file in any error while it is read."""
    name = fspath(filename)
    try:
        yield
    except (FileContentError, FileAccessError, ImportError, NameError, Warning):
        raise
    except FileNotFoundError as error:
        raise FileMissingError(str(error)) from error
    except OSError as error:
        raise FileAccessError(f"{name}: cannot be read ({error.strerror or error}).") from error
    except (MemoryError, RecursionError) as error:
        raise FileContentError(f"{name}: it is too large, or nested too deeply.") from error
    except (InputError, InputTypeError) as error:
        message, argument, where = error.args
        where = where if str(error).startswith(name) else f"{name}: {where}"
        raise FileContentError(message, argument, where) from error
    except Exception as error:
        # the parsing libraries fail in many ways on a damaged file
        text = " ".join(str(error).split())
        why = f"{type(error).__name__}: {text[:200]}".rstrip(": ")
        raise FileContentError(
            f"{name}: cannot be read ({why}). It is damaged, or not of the kind expected; "
            "get it again."
        ) from error


def reads_file(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function whose first argument is a file in `reading`."""
    wrapped: Callable[..., R] = function

    @functools.wraps(function)
    def read(filename: Filename, *args: Any, **kwargs: Any) -> R:
        with reading(filename):
            return wrapped(filename, *args, **kwargs)

    return cast("Callable[P, R]", read)
