"""The Newton iteration: it climbs to the root from any start, and its lower start is one."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.core.norm import STATUS, Status, newton
from gammagrad.core.norm.solve import lower_start
from gammagrad.core.stats import ScoreSums, score_terms
from oracles import slow_fit
from precision import DOUBLE

pixels = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def draw_pixel(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Draw a pixel's bins, from nearly empty to bright, with a kernel that falls off steeply."""
    size = 40
    model = np.exp(-rng.uniform(0, 20, size)) * 10 ** rng.uniform(-2, 2)
    background = 10 ** rng.uniform(-4, 2, size)
    counts = rng.poisson(background + model * rng.choice([0, 0.1, 3, 100]))
    if not counts.any():
        counts[rng.integers(size)] = 1
    return counts.astype(float), background, model


@partial(jax.jit, static_argnames="n_sweeps")
def _solve(n: jax.Array, ratio: jax.Array, total: jax.Array, start: jax.Array, n_sweeps: int):
    bound = -ratio.min()
    lower = jnp.maximum(bound, lower_start(n, ratio, total).max())

    def sums(x: jax.Array) -> ScoreSums:
        occupied = jnp.where(n > 0, ratio, jnp.inf)
        return ScoreSums(*(t.sum() for t in score_terms(x, n, occupied)))

    return newton(sums, start, lower, total, n_sweeps=n_sweeps), lower, bound


def solve(
    counts: np.ndarray, background: np.ndarray, model: np.ndarray, start: float, n_sweeps: int
):
    """Solve one pixel; return the root, the proven lower start and the physical bound."""
    arrays = (counts, background / model, model.sum(), float(start))
    root, lower, bound = _solve(*(jnp.asarray(a) for a in arrays), n_sweeps=n_sweeps)
    return root, float(lower), float(bound)


@given(rng=pixels)
def test_lower_start_is_below_the_best_fit(rng: np.random.Generator) -> None:
    counts, background, model = draw_pixel(rng)
    best = slow_fit(counts, background, model)
    tight = 1e-9 if DOUBLE else 1e-4
    proven = lower_start(
        jnp.asarray(counts), jnp.asarray(background / model), jnp.asarray(model.sum())
    )
    assert float(proven.max()) <= max(best.norm, -np.inf) + tight * (
        abs(best.norm) + min(best.norm_err, 1e300)
    )


@given(rng=pixels, where=st.floats(0, 1))
def test_newton_arrives_from_anywhere(rng: np.random.Generator, where: float) -> None:
    counts, background, model = draw_pixel(rng)
    best = slow_fit(counts, background, model)
    far = 3 * abs(best.norm) + counts.sum() / model.sum()
    _, lower, _ = solve(counts, background, model, 0.0, n_sweeps=1)
    start = lower + where * (far - lower)
    root, _, _ = solve(counts, background, model, start, n_sweeps=40)
    scale = abs(best.norm) + best.norm_err
    assert abs(float(root.norm) - best.norm) <= (1e-7 if DOUBLE else 1e-3) * scale


@given(rng=pixels)
def test_newton_climbs_after_its_first_step(rng: np.random.Generator) -> None:
    counts, background, model = draw_pixel(rng)
    norms = [float(solve(counts, background, model, 1.0, n_sweeps=k)[0].norm) for k in (1, 2, 3, 4)]
    tiny = 1e-9 if DOUBLE else 1e-3
    for earlier, later in itertools.pairwise(norms):
        assert later >= earlier - tiny * (abs(earlier) + 1)


def test_one_occupied_bin_is_exact_at_once() -> None:
    counts = np.array([0.0, 5.0, 0.0])
    background, model = np.array([1.0, 0.5, 2.0]), np.array([0.1, 0.7, 0.2])
    root, lower, _ = solve(counts, background, model, 100.0, n_sweeps=2)
    expected = 5.0 / model.sum() - 0.5 / 0.7
    np.testing.assert_allclose([float(root.norm), lower], expected, rtol=1e-5)


def test_a_lone_count_in_the_far_tail_does_not_underflow() -> None:
    model = np.array([1.0, 1e-11])
    counts, background = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    root, _, bound = solve(counts, background, model, 0.0, n_sweeps=8)
    assert float(root.norm) == bound


def test_niter_counts_sweeps_and_the_last_step_tells_convergence() -> None:
    counts, background, model = draw_pixel(np.random.default_rng(3))
    root, _, _ = solve(counts, background, model, 0.0, n_sweeps=8)
    assert 1 <= int(root.niter) <= 8
    assert float(root.last_step) < 0.01
    few, _, _ = solve(np.array([1e4]), np.array([1.0]), np.array([1e-3]), 0.0, n_sweeps=1)
    assert int(few.niter) == 1


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_sentence(status: Status) -> None:
    assert len(STATUS[status]) > 20
