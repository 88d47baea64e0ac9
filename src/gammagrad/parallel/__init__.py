"""Work shared out among processes, on one machine or on a cluster.

Estimators whose ``n_jobs`` or ``parallel_backend`` is not set, or set to None, have the defaults of
this module, which can be changed for a whole session:

>>> from gammagrad import parallel
>>> parallel.N_JOBS_DEFAULT, parallel.BACKEND_DEFAULT
(1, 'multiprocessing')
>>> with parallel.multiprocessing_manager(backend="ray", pool_kwargs={"processes": 4}):
...     parallel.N_JOBS_DEFAULT, parallel.BACKEND_DEFAULT
(4, 'ray')
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from gammagrad.errors import InputError, short
from gammagrad.parallel.cores import core_groups
from gammagrad.parallel.processes import run_in_processes, shutdown_processes
from gammagrad.parallel.ray_jobs import run_on_ray
from gammagrad.parallel.worker import WorkerError

__all__ = [
    "BACKENDS",
    "BACKEND_DEFAULT",
    "N_JOBS_DEFAULT",
    "Jobs",
    "WorkerError",
    "check_backend",
    "check_n_jobs",
    "multiprocessing_manager",
    "requested_jobs",
    "resolve_jobs",
    "run_jobs",
    "shutdown",
]

log = logging.getLogger(__name__)

BACKENDS = ("multiprocessing", "ray")
"""What can run the processes: this machine, or a cluster of ray."""

N_JOBS_DEFAULT = 1
"""Number of processes where ``n_jobs`` is None: 1 is this process, which uses every core."""

BACKEND_DEFAULT = "multiprocessing"
"""What runs them where ``parallel_backend`` is None."""


class Jobs(NamedTuple):
    """How work is shared out."""

    n_jobs: int = 1  # number of processes; 1 is the caller's own
    backend: str = "multiprocessing"  # what runs them, one of `BACKENDS`


def check_n_jobs(value: Any, name: str = "n_jobs") -> int:
    """Return a number of processes."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise InputError(
            f" is {short(value)}; expected a whole number of at least 1 (1 is one process, "
            "which uses every core).",
            name,
        )
    return int(value)


def check_backend(value: Any, name: str = "parallel_backend") -> str:
    """Return the name of what runs the processes."""
    if value not in BACKENDS:
        raise InputError(
            f' is {short(value)}; expected "multiprocessing" (processes on this machine) or '
            '"ray" (a cluster).',
            name,
        )
    return str(value)


def requested_jobs(n_jobs: int | None = None, backend: str | None = None) -> Jobs:
    """Fill in the defaults."""
    many = check_n_jobs(N_JOBS_DEFAULT, "N_JOBS_DEFAULT") if n_jobs is None else n_jobs
    chosen = check_backend(BACKEND_DEFAULT, "BACKEND_DEFAULT") if backend is None else backend
    return Jobs(many, chosen)


def resolve_jobs(n_jobs: int | None = None, backend: str | None = None) -> Jobs:
    """Fill in the defaults; use no more processes of a machine than it has physical cores."""
    jobs = requested_jobs(n_jobs, backend)
    if jobs.backend != "multiprocessing" or jobs.n_jobs == 1:
        return jobs
    cores = len(core_groups())
    if jobs.n_jobs > cores:
        log.info("n_jobs is %d; %d used, one for each physical core", jobs.n_jobs, cores)
    return jobs._replace(n_jobs=min(jobs.n_jobs, cores))


def run_jobs(
    how: Jobs,
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    progress: Callable[[float], None],
) -> list[Any]:
    """Call a function on each of some jobs, in other processes."""
    run = run_on_ray if how.backend == "ray" else run_in_processes
    return run(function, jobs, how.n_jobs, progress)


def shutdown() -> None:
    """End the processes that wait for more work, and give their memory back.

    The next run starts others. At the end of Python this is done without asking.
    """
    shutdown_processes()


@contextmanager
def multiprocessing_manager(
    backend: str | None = None, pool_kwargs: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Change the defaults inside a ``with`` statement.

    Parameters
    ----------
    backend
        `BACKEND_DEFAULT` inside; None leaves it.
    pool_kwargs
        ``{"processes": n}``: `N_JOBS_DEFAULT` inside; None leaves it.

    Raises
    ------
    ValueError
        If a value cannot be used.
    """
    global N_JOBS_DEFAULT, BACKEND_DEFAULT
    before = N_JOBS_DEFAULT, BACKEND_DEFAULT
    given = dict(pool_kwargs or {})
    n_jobs = check_n_jobs(given.pop("processes", N_JOBS_DEFAULT), "processes")
    if given:
        raise InputError(
            f"pool_kwargs has {', '.join(map(repr, given))}; expected only 'processes', the number "
            "of processes."
        )
    chosen = BACKEND_DEFAULT if backend is None else check_backend(backend, "backend")
    N_JOBS_DEFAULT, BACKEND_DEFAULT = n_jobs, chosen
    try:
        yield
    finally:
        N_JOBS_DEFAULT, BACKEND_DEFAULT = before
