"""What happens in a worker process, and how its errors reach the caller."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable
from io import BufferedReader
from typing import Any, BinaryIO, NamedTuple

DONE, ERROR, PROGRESS = "done", "error", "progress"

# seconds between two reports of progress
_PAUSE = 0.1


class WorkerError(RuntimeError):
    """A worker process could not do its work."""


class Failure(NamedTuple):
    """An error on its way to the caller: pickled if that can be, and in words."""

    pickled: bytes | None
    words: str
    where: str


def attempt(
    function: Callable[[Any, Callable[[float], None]], Any],
    job: Any,
    report: Callable[[float], None],
) -> tuple[str, Any]:
    """Do a job; return its result, or what went wrong."""
    try:
        return DONE, function(job, report)
    except BaseException as error:  # whatever it is, the caller gets it
        return ERROR, _failure(error)


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


def reraise(failure: Any, n_jobs: int) -> None:
    """Raise what went wrong in a worker."""
    if "MemoryError" in failure.words or "RESOURCE_EXHAUSTED" in failure.words:
        raise WorkerError(
            f"A worker process ran out of memory ({failure.words}). {fewer_jobs(n_jobs)}"
        )
    if failure.pickled is None:
        error: BaseException = WorkerError(f"A worker process failed: {failure.words}")
    else:
        error = pickle.loads(failure.pickled)
    error.add_note(f"It came from a worker process (n_jobs={n_jobs}), where it was raised by\n")
    error.add_note(failure.where)
    raise error


def fewer_jobs(n_jobs: int) -> str:
    """Return what to do where memory runs out."""
    return f"Use fewer processes: n_jobs is {n_jobs} now, and 1 needs the least memory."


def send(message: Any, to: BinaryIO) -> None:
    """Write an object into a pipe."""
    pickle.dump(message, to, protocol=pickle.HIGHEST_PROTOCOL)
    to.flush()


def serve(source: BufferedReader, sink: BinaryIO) -> None:
    """Do the jobs that come through a pipe until it is closed."""
    last = 0.0

    def report(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _PAUSE:
            last = now
            send((PROGRESS, fraction), sink)

    def do_next(stream: BufferedReader, report: Callable[[float], None]) -> Any:
        function, job = pickle.load(stream)
        return function(job, report)

    # nothing to see is the end of the pipe: the caller is gone, or needs no more
    while source.peek(1):
        send(attempt(do_next, source, report), sink)
