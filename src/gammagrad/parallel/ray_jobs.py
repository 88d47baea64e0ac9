"""Work on a cluster of ray."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from gammagrad.parallel.cores import worker_environment
from gammagrad.parallel.worker import WorkerError, attempt, fewer_jobs, unwrapped

log = logging.getLogger(__name__)


def cores_of_process(processors: Sequence[int], many: int) -> int:
    """Return how many processors a process can have so that all run at once."""
    fitting = [
        share
        for share in range(1, max(processors, default=1) + 1)
        if sum(each // share for each in processors) >= many
    ]
    return max(fitting, default=1)


def _connected() -> Any:
    """Return the package ray, connected to a cluster."""
    # The cluster is the one that ray is connected to already. If there is none, ray connects to the
    # one it finds, or starts one on this machine, which it ends when Python exits.
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            'parallel_backend="ray" needs the package ray, which is not installed: run '
            '`pip install "gammagrad[ray]"`, or use "multiprocessing".'
        ) from error
    if not ray.is_initialized():
        with warnings.catch_warnings():
            # JAX warns of forks; ray's is followed by another program at once
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def run_on_ray(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    n_jobs: int,
    progress: Callable[[float], None],
) -> list[Any]:
    """Do jobs on a cluster, as `gammagrad.parallel.run_jobs` has it."""
    ray = _connected()
    machines = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    many = max(min(n_jobs, sum(machines)), 1)
    if many < n_jobs:
        log.info("n_jobs is %d; %d used, one for each processor of the cluster", n_jobs, many)
    share = cores_of_process(machines, many)
    # ray keeps processes of one set-up for later tasks, with what they have compiled
    environment = {"env_vars": worker_environment(share)}
    task = ray.remote(attempt).options(num_cpus=share, runtime_env=environment, max_retries=0)
    references = [task.remote(function, job) for job in jobs]
    position = {reference: number for number, reference in enumerate(references)}
    results: list[Any] = [None] * len(jobs)
    pending = references
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


def _result(ray: Any, reference: Any, n_jobs: int) -> Any:
    """Fetch what a process returned."""
    try:
        found = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise WorkerError(
            "A process of ray ended before its work was done, mostly for want of memory: "
            f"{error} Use more machines. {fewer_jobs(n_jobs)}"
        ) from error
    except ray.exceptions.RayError as error:
        raise WorkerError(f"A process of ray failed: {error}") from error
    return unwrapped(found, n_jobs)
