"""A fit shared out among processes: the same numbers as one process gives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import make_dataset
from fields import random_field
from gammagrad import FluxMaps, TSMapEstimator, parallel
from gammagrad.core.norm import NormFit
from gammagrad.core.ts_map import TILE, cube_bins, fit_occupied, summed_bins
from gammagrad.core.ts_map.strips import cut_rows
from gammagrad.parallel import Jobs, cores, processes, run_jobs

# neither divides by the tiles of pixels, by the number of processes, or by the kernels' sizes
SHAPE = (3, 37, 53)


@pytest.fixture(scope="module", autouse=True)
def three_cores() -> Iterator[None]:
    """Let the machine have three cores, whatever it has; leave no worker."""
    three = (cores.core_groups() * 3)[:3]
    with pytest.MonkeyPatch.context() as patch:
        for module in (parallel, processes):
            patch.setattr(module, "core_groups", lambda: three)
        yield
        parallel.shutdown()


def assert_same(one: Any, other: Any) -> None:
    """Hold two arrays to what the documentation says of rounding."""
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    if one.dtype.kind != "f":
        np.testing.assert_array_equal(other, one)
        return
    largest = np.max(np.abs(one), initial=0.0, where=np.isfinite(one))
    np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12 * largest)


def images(kind: str) -> list[Any]:
    """Return the bins of a sum, or of a cube and a sum whose kernels differ in size."""
    with jax.enable_x64(True):
        first = random_field(1, SHAPE, (9, 7))
        if kind == "summed":
            return [summed_bins(*first)]
        return [cube_bins(*first), summed_bins(*random_field(2, SHAPE, (3, 13)))]


@pytest.mark.parametrize("kind", [pytest.param("summed", marks=pytest.mark.slow), "joint"])
def test_three_processes_give_what_one_gives(kind: str) -> None:
    datasets, rng = images(kind), np.random.default_rng(3)
    fitted = rng.random(SHAPE[1:]) < 0.7
    fitted[:9] = False
    settings: dict[str, Any] = {}
    if kind == "joint":
        settings = {"guess": rng.normal(0, 0.1, SHAPE[1:]), "threshold": 1.0}
    moved: list[float] = []

    def shared(n_jobs: int) -> NormFit:
        run = None if n_jobs == 1 else partial(run_jobs, Jobs(n_jobs))
        with jax.enable_x64(True):
            return fit_occupied(
                datasets, fitted, progress=moved.append, processes=n_jobs, run=run, **settings
            )

    alone, together = shared(1), shared(3)
    assert moved[-1] == 1
    assert vars(alone).keys() == vars(together).keys()
    for name, array in vars(alone).items():
        if array is None:
            assert getattr(together, name) is None
        elif name == "status":
            assert_same(array, getattr(together, name))
        else:
            assert_same(array[fitted], getattr(together, name)[fitted])
    assert len(np.unique(alone.status)) > 2


@pytest.mark.slow
def test_maps_of_an_estimator_do_not_depend_on_how_many_work() -> None:
    dataset = make_dataset((31, 29), mask=True)
    weights = np.random.default_rng(0).uniform(0.5, 1, dataset.geom.data_shape)
    dataset.mask_fit = dataset.counts * 0 + weights
    settings = {
        "kernel_width": "0.9 deg",
        "sum_over_energy_groups": False,
        "selection_optional": "all",
        "norm": [-0.1, 0.0, 2.0],
    }

    def run(n_jobs: int | None) -> FluxMaps:
        estimator = TSMapEstimator(**settings, n_jobs=n_jobs)
        assert estimator.settings["n_jobs"] == n_jobs
        return estimator.run(dataset, positions=(dataset.geom.center_skydir, "2.1 deg"))

    alone, together = run(None), run(2)
    assert alone.available_quantities == together.available_quantities
    for name in (*alone.available_quantities, "status"):
        assert_same(alone[name].data, together[name].data)
    assert together.meta["settings"]["n_jobs"] == 2


@given(
    cost=st.lists(st.sampled_from([0.0, 1.0, 7.0, 300.0]), min_size=1, max_size=300),
    many=st.integers(1, 9),
)
def test_strips_hold_every_row_that_costs_something_once(cost: list[float], many: int) -> None:
    rows = np.array(cost)
    rows[len(cost) // 2] += 1
    strips = cut_rows(rows, many)
    assert 1 <= len(strips) <= many
    assert all(strip.start < strip.stop and strip.start % TILE == 0 for strip in strips)
    assert all(one.stop <= other.start for one, other in pairwise(strips))
    inside = np.zeros(rows.size + 4096, bool)
    for strip in strips:
        assert rows[strip].sum() > 0
        inside[strip] = True
    assert inside[: rows.size][rows > 0].all()


@given(rows=st.integers(1, 6000), tiles=st.integers(1, 40), many=st.integers(1, 9))
def test_low_strips_begin_within_the_map(rows: int, tiles: int, many: int) -> None:
    strips = cut_rows(np.ones(rows), many, tiles * TILE)
    assert all(strip.start < rows for strip in strips)
    assert all(strip.stop - strip.start <= tiles * TILE for strip in strips)
    assert strips[0].start == 0
    assert strips[-1].stop >= rows
    assert all(one.stop == other.start for one, other in pairwise(strips))


def test_strips_cost_about_the_same() -> None:
    rng = np.random.default_rng(5)
    cost = rng.uniform(0, 1, 1000) * np.exp(-((np.arange(1000) - 700) ** 2) / 2e4)
    shares = [cost[strip].sum() / cost.sum() for strip in cut_rows(cost, 4)]
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    # rows that cost nothing are in none
    assert cut_rows(np.r_[np.zeros(400), np.ones(200), np.zeros(400)], 2)[0].start > 380
