"""Worker processes on this machine: started at the first need, kept for the next, ended at exit.

A worker is a new Python that reads jobs from a pipe. It never imports the caller's main module, as
a spawned process of `multiprocessing` does: so it works from notebooks, from scripts without a
``__main__`` guard and from standard input, and what a script does is done once. When the caller is
gone, in whatever way, the pipe is closed, and the worker ends.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, BinaryIO, cast

from gammagrad.parallel.cores import core_groups, core_shares, worker_environment
from gammagrad.parallel.worker import DONE, PROGRESS, WorkerError, fewer_jobs, reraise, send

# before anything of the package is imported: what else writes to the standard output must not get
# between the answers, and JAX counts the processors when it starts
_START = """# a worker of gammagrad
import os, pickle, sys
sink = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
settings = pickle.load(sys.stdin.buffer)
sys.path[:] = settings["path"]
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, settings["processors"])
from gammagrad.parallel.worker import serve
serve(sys.stdin.buffer, sink)
"""

# seconds between two looks at what the workers have done
_LOOK = 0.1

_LINES_OF_LOG = 5

Function = Callable[[Any, Callable[[float], None]], Any]


class _Worker:
    """One process, and the pipes to it."""

    def __init__(self, processors: Sequence[int]) -> None:
        if not sys.executable:
            raise WorkerError(
                "This Python does not know its own program (sys.executable is empty), so it cannot "
                "start worker processes; set n_jobs=None for one process."
            )
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the worker lives)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=os.environ | worker_environment(len(processors)),
            # Ctrl-C is for the caller, who ends its workers
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self.to = cast(BinaryIO, self.process.stdin)
        self.answers = cast(BinaryIO, self.process.stdout)
        self.processors = tuple(processors)

    def begin(self) -> None:
        """Tell the new process how it is set up."""
        send({"path": sys.path, "processors": self.processors}, self.to)

    def work(
        self, function: Function, jobs: Sequence[Any], n_jobs: int, report: Callable[[float], None]
    ) -> list[Any]:
        """Have some jobs done one after the other; return their results."""
        results = []
        for number, job in enumerate(jobs):
            try:
                send((function, job), self.to)
                word, what = pickle.load(self.answers)
                while word == PROGRESS:
                    report((number + what) / len(jobs))
                    word, what = pickle.load(self.answers)
            except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
                raise WorkerError(self._epitaph(n_jobs)) from error
            if word != DONE:
                reraise(what, n_jobs)
            results.append(what)
            report((number + 1) / len(jobs))
        return results

    def _epitaph(self, n_jobs: int) -> str:
        """Say how the process ended."""
        code = self.process.wait()
        how = f"with exit code {code}"
        if code < 0:
            how = f"by signal {-code} ({signal.strsignal(-code)})"
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        said = ["", "The last that it said:", *lines[-_LINES_OF_LOG:]] if lines else []
        first = (
            f"A worker process ended {how} before its work was done, mostly for want of memory. "
            f"{fewer_jobs(n_jobs)}"
        )
        return "\n".join([first, *said])

    def stop(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        self.answers.close()
        with suppress(OSError):  # what was still to be sent has no reader
            self.to.close()
        self.log.close()


class _Pool:
    """Workers that wait for jobs."""

    def __init__(self, n_jobs: int) -> None:
        self.key = _Pool.key_of(n_jobs)
        self.workers: list[_Worker] = []
        try:
            for share in core_shares(core_groups(), n_jobs):
                self.workers.append(_Worker(share))
            for worker in self.workers:
                worker.begin()
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def key_of(n_jobs: int) -> tuple[Any, ...]:
        """Return all that makes a pool of use: the process it belongs to, and its set-up."""
        return (os.getpid(), n_jobs, core_groups(), worker_environment(0))

    @property
    def usable(self) -> bool:
        """Whether every worker is there."""
        return all(worker.process.poll() is None for worker in self.workers)

    def stop(self) -> None:
        """End the workers, unless they belong to a process that this one is a fork of."""
        if self.key[0] == os.getpid():
            for worker in self.workers:
                worker.stop()
        self.workers = []

    def run(
        self, function: Function, jobs: Sequence[Any], progress: Callable[[float], None]
    ) -> list[Any]:
        """Deal the jobs out, wait for them, and return their results in order."""
        many = min(len(self.workers), len(jobs))
        fractions = [0.0] * many

        def work(number: int) -> list[Any]:
            def report(fraction: float) -> None:
                fractions[number] = fraction

            # always the same jobs to the same worker: it has compiled for their shapes
            return self.workers[number].work(
                function, jobs[number::many], len(self.workers), report
            )

        with ThreadPoolExecutor(many) as threads:
            futures = [threads.submit(work, number) for number in range(many)]
            try:
                pending = set(futures)
                while pending:
                    done, pending = wait(pending, timeout=_LOOK, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    progress(sum(fractions) / many)
            except BaseException:
                # the threads end with their workers
                self.stop()
                raise
        results: list[Any] = [None] * len(jobs)
        for number, future in enumerate(futures):
            results[number::many] = future.result()
        return results


class _Kept:
    """The pool that is kept, and who may use it."""

    pool: _Pool | None = None
    lock = threading.RLock()


def run_in_pool(
    function: Function, jobs: Sequence[Any], n_jobs: int, progress: Callable[[float], None]
) -> list[Any]:
    """Do jobs in worker processes, as `gammagrad.parallel.run_jobs` has it."""
    with _Kept.lock:
        pool = _Kept.pool
        if pool is None or pool.key != _Pool.key_of(n_jobs) or not pool.usable:
            shutdown_pool()
            pool = _Kept.pool = _Pool(n_jobs)
        try:
            return pool.run(function, jobs, progress)
        except BaseException:
            shutdown_pool()
            raise


def shutdown_pool() -> None:
    """End the worker processes that wait for more work; the next run starts others."""
    with _Kept.lock:
        pool, _Kept.pool = _Kept.pool, None
        if pool is not None:
            pool.stop()


atexit.register(shutdown_pool)
