"""Work on a cluster of ray."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gammagrad.parallel.cores import worker_environment
from gammagrad.parallel.worker import DONE, WorkerError, attempt, fewer_jobs, reraise

log = logging.getLogger(__name__)

Function = Callable[[Any, Callable[[float], None]], Any]


def cores_of_process(processors: Sequence[int], many: int) -> int:
    """Return how many processors a process can have so that all run at once."""
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


class Attempter:
    """What lives in a process of the cluster; it stays, for it has compiled code."""

    def do(self, function: Function, job: Any) -> tuple[str, Any]:
        """Do a job, as `gammagrad.parallel.worker.attempt` has it."""
        return attempt(function, job, lambda fraction: None)


class _Crew(NamedTuple):
    """The processes, and what they are good for."""

    key: tuple[Any, ...]
    actors: list[Any]


class _Kept:
    """The processes that are kept."""

    crew: _Crew | None = None


def _connect(ray: Any) -> None:
    """Connect to a cluster, unless that is done."""
    if not ray.is_initialized():
        with warnings.catch_warnings():
            # JAX warns of forks; ray's is followed by another program at once
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(include_dashboard=False, log_to_driver=False)


def _crew(ray: Any, n_jobs: int) -> _Crew:
    """Return the processes of a cluster, those of before if they are of use."""
    machines = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    many = max(min(n_jobs, sum(machines)), 1)
    if many < n_jobs:
        log.info("n_jobs is %d; %d used, one for each processor of the cluster", n_jobs, many)
    share = cores_of_process(machines, many)
    environment, here = worker_environment(share), ray.get_runtime_context()
    key = (here.get_job_id(), here.get_node_id(), many, share, environment)
    if _Kept.crew is None or _Kept.crew.key != key:
        shutdown_ray()
        log.info("ray: %d processes with %d processors each", many, share)
        actor = ray.remote(Attempter).options(num_cpus=share, runtime_env={"env_vars": environment})
        _Kept.crew = _Crew(key, [actor.remote() for _ in range(many)])
    return _Kept.crew


def shutdown_ray() -> None:
    """End the processes that wait for more work."""
    crew, _Kept.crew = _Kept.crew, None
    if crew is None:
        return
    ray = _import_ray()
    if ray.is_initialized() and ray.get_runtime_context().get_node_id() == crew.key[1]:
        for actor in crew.actors:
            ray.kill(actor)


def run_on_ray(
    function: Function, jobs: Sequence[Any], n_jobs: int, progress: Callable[[float], None]
) -> list[Any]:
    """Do jobs on a cluster, as `gammagrad.parallel.run_jobs` has it."""
    # The cluster is the one that ray is connected to already. If there is none, ray connects to the
    # one it finds, or starts one on this machine, which it ends when Python exits.
    ray = _import_ray()
    _connect(ray)
    actors = _crew(ray, n_jobs).actors
    results: list[Any] = [None] * len(jobs)
    try:
        # always the same jobs to the same process: it has compiled for their shapes
        pending = [actors[n % len(actors)].do.remote(function, job) for n, job in enumerate(jobs)]
        position = {reference: number for number, reference in enumerate(pending)}
        while pending:
            (done,), pending = ray.wait(pending)
            results[position[done]] = _result(ray, done, n_jobs)
            progress(1 - len(pending) / len(jobs))
    except BaseException:
        shutdown_ray()
        raise
    return results


def _result(ray: Any, reference: Any, n_jobs: int) -> Any:
    """Fetch what a process returned."""
    try:
        word, what = ray.get(reference)
    except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
        raise WorkerError(
            "A process of ray ended before its work was done, mostly for want of memory: "
            f"{error} Use more machines. {fewer_jobs(n_jobs)}"
        ) from error
    except ray.exceptions.RayError as error:
        raise WorkerError(f"A process of ray failed: {error}") from error
    if word != DONE:
        reraise(what, n_jobs)
    return what
