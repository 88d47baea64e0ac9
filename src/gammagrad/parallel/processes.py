"""Worker processes on this machine: started at the first need, kept for the next, ended at exit.

The library loky runs them. A worker never imports the caller's main module, so that this works from
notebooks, from scripts without a ``__main__`` guard and from standard input.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from gammagrad.parallel.cores import core_groups, core_shares, worker_environment
from gammagrad.parallel.worker import WorkerError, attempt, fewer_jobs, unwrapped

# seconds between two looks whether the caller is still there
_LOOK = 1.0


class _Pool(NamedTuple):
    """Workers that wait for jobs."""

    key: tuple[Any, ...]  # the process that they belong to, and how they are set up
    executor: Any


class _Kept:
    """The workers that are kept."""

    pool: _Pool | None = None


def _begin(shares: Any, caller: int) -> None:
    """Set up a worker: its share of the cores, and its end when the caller is gone."""
    # what libraries print must not get into the caller's output
    sys.stdout.flush()
    os.dup2(2, 1)
    share = shares.get()
    shares.put(share)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()


def _end_with(caller: int) -> None:
    while os.getppid() == caller:
        time.sleep(_LOOK)
    os._exit(1)


def _executor(n_jobs: int) -> Any:
    """Return the workers, the previous ones if they are of use."""
    import loky

    shares = core_shares(core_groups(), n_jobs)
    environment = worker_environment(max(map(len, shares)))
    key = os.getpid(), n_jobs, shares, environment
    if _Kept.pool is None or _Kept.pool.key != key:
        shutdown_processes()
        context = loky.backend.get_context("loky")
        queue = context.SimpleQueue()
        for share in shares:
            queue.put(share)
        executor = loky.ProcessPoolExecutor(
            n_jobs,
            context=context,
            initializer=_begin,
            initargs=(queue, os.getpid()),
            env=environment,
        )
        _Kept.pool = _Pool(key, executor)
    return _Kept.pool.executor


def shutdown_processes() -> None:
    """End the workers that wait for more work."""
    pool, _Kept.pool = _Kept.pool, None
    # a fork does not own the workers
    if pool is not None and pool.key[0] == os.getpid():
        pool.executor.shutdown(kill_workers=True)


def run_in_processes(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    n_jobs: int,
    progress: Callable[[float], None],
) -> list[Any]:
    """Do jobs in processes of this machine, as `gammagrad.parallel.run_jobs` has it."""
    try:
        executor = _executor(n_jobs)
        futures = [executor.submit(attempt, function, job) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            unwrapped(future.result(), n_jobs)
            progress(done / len(jobs))
        return [unwrapped(future.result(), n_jobs) for future in futures]
    except BrokenProcessPool as error:
        shutdown_processes()
        problem = WorkerError(
            "A worker process ended before its work was done, mostly for want of memory. "
            f"{fewer_jobs(n_jobs)}"
        )
        problem.add_note(str(error))
        raise problem from error
    except BaseException:
        shutdown_processes()
        raise
