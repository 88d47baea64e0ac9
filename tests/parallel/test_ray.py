"""Work on a cluster of ray, here one on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import parallel_jobs
from datasets import make_dataset
from gammagrad import TSMapEstimator, parallel
from gammagrad.parallel import Jobs, WorkerError, run_jobs

pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # ray's processes look for the jobs there
        patch.setenv("PYTHONPATH", str(Path(parallel_jobs.__file__).parent))
        yield
        parallel.shutdown()
        ray.shutdown()


def quiet(fraction: float) -> None:
    assert 0 <= fraction <= 1


def test_maps_are_those_of_one_process_and_processes_stay() -> None:
    dataset = make_dataset((23, 37), mask=True)
    settings = {"kernel_width": "0.9 deg", "sum_over_energy_groups": False}
    alone = TSMapEstimator(**settings).run(dataset)
    estimator = TSMapEstimator(**settings, n_jobs=2, parallel_backend="ray")
    for _ in range(2):
        shared = estimator.run(dataset)
        for name in alone.available_quantities:
            one, other = (np.asarray(maps[name].data, float) for maps in (alone, shared))
            largest = np.nanmax(np.abs(one), initial=0.0, where=np.isfinite(one))
            np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12 * largest)


def test_work_is_dealt_out_and_errors_come_back() -> None:
    # more processes than the cluster has processors are not waited for
    assert run_jobs(Jobs(99, "ray"), parallel_jobs.double, [3, 1, 2], quiet) == [6, 2, 4]
    with pytest.raises(ValueError, match="norm is wrong"):
        run_jobs(Jobs(1, "ray"), parallel_jobs.fail, ["value"], quiet)
    with pytest.raises(WorkerError, match="A process of ray ended"):
        run_jobs(Jobs(1, "ray"), parallel_jobs.fail, ["exit"], quiet)
    assert run_jobs(Jobs(1, "ray"), parallel_jobs.double, [1], quiet) == [2]
