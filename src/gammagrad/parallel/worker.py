"""What happens in a worker process, and how its errors reach the caller."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple


class WorkerError(RuntimeError):
    """A worker process could not do its work."""


class Failure(NamedTuple):
    """An error on its way to the caller: pickled if that can be, and in words."""

    pickled: bytes | None
    words: str
    where: str


def attempt(function: Callable[[Any], Any], job: Any) -> Any:
    """Do a job; return its result, or a `Failure`."""
    try:
        return function(job)
    except BaseException as error:  # whatever it is, the caller gets it
        return _failure(error)


def _failure(error: BaseException) -> Failure:
    """Describe an error so that another process can raise it."""
    words = "".join(traceback.format_exception_only(error)).strip()
    where = "".join(traceback.format_exception(error)).strip()
    try:
        pickled = pickle.dumps(error)
        # many errors can be written and not read again
        pickle.loads(pickled)
    except (pickle.PickleError, TypeError, AttributeError, ValueError):
        return Failure(None, words, where)
    return Failure(pickled, words, where)


def unwrapped(found: Any, n_jobs: int) -> Any:
    """Return the result of a job, or raise what went wrong in its worker."""
    if not isinstance(found, Failure):
        return found
    if "MemoryError" in found.words or "RESOURCE_EXHAUSTED" in found.words:
        raise WorkerError(
            f"A worker process ran out of memory ({found.words}). {fewer_jobs(n_jobs)}"
        )
    if found.pickled is None:
        error: BaseException = WorkerError(f"A worker process failed: {found.words}")
    else:
        error = pickle.loads(found.pickled)
    error.add_note(f"It came from a worker process (n_jobs={n_jobs}), where it was raised by\n")
    error.add_note(found.where)
    raise error


def fewer_jobs(n_jobs: int) -> str:
    """Return what to do where memory runs out."""
    return f"Use fewer processes: n_jobs is {n_jobs} now, and 1 needs the least memory."
