"""Work on a cluster of ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from gammagrad.parallel.cores import worker_environment
from gammagrad.parallel.worker import DONE, attempt, reraise

__all__ = ["run_on_ray"]

log = logging.getLogger(__name__)


def cores_of_task(processors: Sequence[int], many: int) -> int:
    """Return how many processors a task can have so that all run at once.

    Parameters
    ----------
    processors
        Number of processors of each machine.
    many
        Number of tasks.

    Returns
    -------
    int
        The number, at least 1. A task runs on one machine.

    Examples
    --------
    >>> cores_of_task([8, 8, 4], 5)
    4
    """
    fitting = [
        share
        for share in range(1, max(processors, default=1) + 1)
        if sum(each // share for each in processors) >= many
    ]
    return max(fitting, default=1)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            'parallel_backend="ray" needs the package ray, which is not installed: run '
            '`pip install "gammagrad[ray]"`, or use "multiprocessing".'
        ) from error
    return ray


def run_on_ray(
    function: Callable[[Any, Callable[[float], None]], Any],
    jobs: Sequence[Any],
    n_jobs: int,
    progress: Callable[[float], None],
) -> list[Any]:
    """Do jobs on a cluster, as `gammagrad.parallel.run_jobs` has it.

    The cluster is the one that ray is connected to already. If there is none, ray connects to the
    one it finds, or starts one on this machine, which it ends when Python exits.

    Parameters
    ----------
    function, jobs, progress
        As for `gammagrad.parallel.run_jobs`.
    n_jobs
        Number of tasks that the work was cut for.

    Returns
    -------
    list
        The results.

    Raises
    ------
    ImportError
        If ray is not installed.
    RuntimeError
        If a task cannot be done.
    """
    ray = _import_ray()
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    share = cores_of_task([int(many) for many in machines], n_jobs)
    log.info("ray: %d tasks, %d processors each", len(jobs), share)
    task = ray.remote(attempt).options(
        num_cpus=share,
        # tried again a job that is too large would kill its machine's tasks again
        max_retries=0,
        runtime_env={"env_vars": worker_environment(share)},
    )
    pending = [task.remote(function, job, _no_report) for job in jobs]
    position = {reference: number for number, reference in enumerate(pending)}
    results: list[Any] = [None] * len(jobs)
    try:
        while pending:
            (done,), pending = ray.wait(pending)
            results[position[done]] = _result(ray, done, n_jobs)
            progress(1 - len(pending) / len(jobs))
    except BaseException:
        for reference in pending:
            ray.cancel(reference, force=True)
        raise
    return results


def _no_report(fraction: float) -> None:
    """Take no notice: a task has no way to tell how far it is."""


def _result(ray: Any, reference: Any, n_jobs: int) -> Any:
    """Fetch what a task returned."""
    try:
        word, what = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"A task of ray was not done: {error} If memory ran out, use a larger n_jobs than "
            f"{n_jobs} on more machines, or a smaller one on this machine."
        ) from error
    if word != DONE:
        reraise(what, n_jobs)
    return what
