"""Work in other processes: who does it, what comes back, and what is left behind."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import parallel_jobs
from gammagrad import TSMapEstimator, parallel
from gammagrad.parallel import Jobs, WorkerError, cores, processes, run_jobs
from gammagrad.parallel.ray_jobs import cores_of_process

TWO = Jobs(2)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Let the machine have three cores, whatever it has."""
    real = cores.core_groups()
    three = (real * 3)[:3]
    for module in (parallel, processes):
        monkeypatch.setattr(module, "core_groups", lambda: three)
    return three


@pytest.fixture(scope="module", autouse=True)
def no_worker_left() -> Iterator[None]:
    yield
    parallel.shutdown()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet fetched does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def quiet(fraction: float) -> None:
    assert 0 <= fraction <= 1


# ---------------------------------------------------------------- numbers and names


def test_none_takes_the_defaults_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parallel.resolve_jobs() == Jobs(1, "multiprocessing")
    monkeypatch.setattr(parallel, "N_JOBS_DEFAULT", 2)
    monkeypatch.setattr(parallel, "BACKEND_DEFAULT", "ray")
    assert parallel.resolve_jobs() == Jobs(2, "ray")
    assert parallel.resolve_jobs(3, "multiprocessing") == Jobs(3, "multiprocessing")
    estimator = TSMapEstimator(parallel_backend="multiprocessing")
    assert estimator._fit_settings.jobs == Jobs(2, "multiprocessing")
    assert (estimator.n_jobs, estimator.parallel_backend) == (2, "multiprocessing")
    assert estimator.settings["n_jobs"] is None
    monkeypatch.setattr(parallel, "N_JOBS_DEFAULT", 0)
    with pytest.raises(ValueError, match="N_JOBS_DEFAULT is 0; expected a whole number"):
        parallel.resolve_jobs()
    assert parallel.resolve_jobs(1) == Jobs(1, "ray")


def test_a_with_statement_changes_the_defaults_and_puts_them_back() -> None:
    manager = parallel.multiprocessing_manager

    @manager(backend="ray", pool_kwargs={"processes": np.int64(4)})
    def look_and_fail() -> None:
        assert parallel.resolve_jobs() == Jobs(4, "ray")
        with manager("multiprocessing"):
            assert parallel.resolve_jobs() == Jobs(3, "multiprocessing")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look_and_fail()
    assert parallel.resolve_jobs() == Jobs(1, "multiprocessing")
    for given, problem in (
        ({"pool_kwargs": {"processes": 0}}, "processes is 0; expected"),
        ({"pool_kwargs": {"maxtasksperchild": 1}}, "pool_kwargs has 'maxtasksperchild'; expected"),
        ({"backend": "dask"}, "backend is 'dask'; expected"),
    ):
        with pytest.raises(ValueError, match=problem), manager(**given):
            pass


def test_no_more_processes_than_cores(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gammagrad"):
        assert parallel.resolve_jobs(3) == Jobs(3)
        assert caplog.text == ""
        assert parallel.resolve_jobs(64) == Jobs(3)
    assert "n_jobs is 64; 3 used, one for each physical core" in caplog.text
    # a cluster knows its own size
    assert parallel.resolve_jobs(64, "ray") == Jobs(64, "ray")


@pytest.mark.parametrize("many", [1, 2, 3, 4, 5, 8])
def test_cores_are_dealt_out_whole_and_evenly(many: int) -> None:
    physical = [(0, 5), (1, 6), (2, 7), (3, 8), (4, 9)]
    shares = cores.core_shares(physical, many)
    assert len(shares) == many
    sizes = [len(share) // 2 for share in shares]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert {n for share in shares for n in share} == set(range(10))
    if many <= len(physical):
        assert sum(sizes) == len(physical)


def test_the_cores_of_this_machine_are_those_that_this_process_may_use() -> None:
    found = [number for core in cores.core_groups() for number in core]
    assert sorted(found) == sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("machines", "many", "each"),
    [([8], 2, 4), ([8], 3, 2), ([8, 8], 3, 4), ([8, 8, 4], 5, 4), ([4, 1], 5, 1), ([2], 9, 1)],
)
def test_processes_of_a_cluster_fit_on_its_machines(
    machines: list[int], many: int, each: int
) -> None:
    assert cores_of_process(machines, many) == each


# ---------------------------------------------------------------- workers


def test_results_come_in_order_and_workers_stay(machine: list[tuple[int, ...]]) -> None:
    seen: list[float] = []
    assert run_jobs(TWO, parallel_jobs.double, [5, 1, 4, 2, 3], seen.append) == [10, 2, 8, 4, 6]
    assert seen[-1] == 1
    assert seen == sorted(seen)

    # one thread of JAX and one share of the cores each, and neither the caller's main module
    # nor an accelerator
    found = run_jobs(TWO, parallel_jobs.surroundings, [0.3] * 4, quiet)
    shares = cores.core_shares(machine, 2)
    pids = {job["pid"] for job in found}
    assert len({os.getpid(), *pids}) == 3
    seen_shares = {tuple(job["processors"]) for job in found}
    assert seen_shares == {tuple(sorted({*share})) for share in shares}
    assert {job["nproc"] for job in found} == {str(max(map(len, shares)))}
    caller = getattr(sys.modules["__main__"], "__file__", None)
    assert all(job["devices"] == {"cpu"} and job["main"] != caller for job in found)

    again = run_jobs(TWO, parallel_jobs.surroundings, [0.3] * 4, quiet)
    assert {job["pid"] for job in again} == pids
    # another number of processes is another pool
    (other,) = run_jobs(Jobs(1), parallel_jobs.surroundings, [0], quiet)
    assert other["pid"] not in pids
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [
        ("value", ValueError, r"^norm is wrong; expected a right one\."),
        ("end of file", EOFError, "no more data"),
        ("unreadable", WorkerError, r"failed: parallel_jobs\.UnreadableError: this and that"),
        ("memory", WorkerError, "ran out of memory .*9 TiB.* n_jobs is 1 now"),
        ("killed", WorkerError, r"ended before .*for want of memory.*n_jobs is 1(.|\n)*SIGKILL"),
        ("exit", WorkerError, r"ended before (.|\n)*EXIT\(3\)"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_told(job: str, error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        run_jobs(Jobs(1), parallel_jobs.fail, [job], quiet)
    assert re.search(words, "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])]))
    if error is ValueError:
        assert "in fail" in "".join(caught.value.__notes__)
    assert issubclass(WorkerError, RuntimeError)
    # and nothing is left of it
    assert processes._Kept.pool is None


def test_a_job_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(pickle.PicklingError, match="pickle"):
        run_jobs(Jobs(1), parallel_jobs.double, [threading.Lock()], quiet)


def test_one_failure_ends_the_others_and_the_next_run_starts_anew() -> None:
    with pytest.raises(ValueError, match="norm is wrong"):
        run_jobs(TWO, parallel_jobs.fail, ["wait a minute", "value"], quiet)
    assert run_jobs(TWO, parallel_jobs.double, [1, 2, 3], quiet) == [2, 4, 6]
    # a worker that dies in between is an error at most, never a wait, and the next run works
    pids = [job["pid"] for job in run_jobs(TWO, parallel_jobs.surroundings, [0.3] * 4, quiet)]
    os.kill(pids[0], signal.SIGKILL)
    time.sleep(0.5)
    with suppress(WorkerError):
        run_jobs(TWO, parallel_jobs.double, [1, 2], quiet)
    assert run_jobs(TWO, parallel_jobs.double, [1, 2], quiet) == [2, 4]
    # nor is an interruption a hindrance
    with pytest.raises(KeyboardInterrupt):
        run_jobs(TWO, parallel_jobs.fail, ["wait a minute", "quick"], _interrupt)
    assert not any(alive(pid) for pid in pids)


def _interrupt(fraction: float) -> None:
    raise KeyboardInterrupt


def test_a_script_needs_no_guard_and_leaves_no_process(machine: Any) -> None:
    script = f"""
        import os, sys
        sys.path[:] = {sys.path!r}
        print("once")
        import parallel_jobs
        from gammagrad import parallel
        found = parallel.run_jobs(
            parallel.Jobs(1), parallel_jobs.surroundings, [0], lambda fraction: None
        )
        if len(sys.argv) > 1:
            print(found[0]["pid"], flush=True)
            os.kill(os.getpid(), 9)
        print(found[0]["pid"])
    """
    done = subprocess.run(
        [sys.executable, "-"], input=textwrap.dedent(script), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "noise" not in done.stdout
    once, pid = done.stdout.split()
    assert once == "once"
    assert not alive(int(pid))

    # not even where it is killed
    done = subprocess.run(
        [sys.executable, "-", "x"],
        input=textwrap.dedent(script),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    once, pid = done.stdout.split()
    for _ in range(50):
        if not alive(int(pid)):
            break
        time.sleep(0.1)
    assert not alive(int(pid))


def test_ray_that_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "gammagrad\[ray\]"'):
        run_jobs(Jobs(2, "ray"), parallel_jobs.double, [1], quiet)
