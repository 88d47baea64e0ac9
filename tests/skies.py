"""Small skies with sources, and kernels that find them: what the background loop is tried on."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.core.background import disk_structure, kernel_background
from oracles import SlowLoop, slow_kernel_background
from precision import DOUBLE

DTYPE = np.float64 if DOUBLE else np.float32
TOL = 1e-9 if DOUBLE else 2e-3

run = jax.jit(kernel_background, static_argnames=("mask_update", "significance", "n_record"))


def annulus(inner: float, outer: float) -> NDArray[np.float64]:
    """Return a ring of ones."""
    reach = int(outer)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    r = np.hypot(x, y)
    return ((r >= inner) & (r <= outer)).astype(float)


def sky(
    seed: int = 0,
    shape: tuple[int, int] = (40, 48),
    level: float = 4.0,
    sources: tuple[tuple[float, float, float], ...] = ((13, 16, 150), (26, 34, 60)),
    acceptance: NDArray[np.float64] | float = 1.0,
) -> NDArray[Any]:
    """Draw counts of a background and of sources at (row, col, counts)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mean = np.full(shape, level) * acceptance
    for row, col, total in sources:
        mean = mean + total * np.exp(-((y - row) ** 2 + (x - col) ** 2) / 8) / (8 * np.pi)
    return rng.poisson(mean).astype(DTYPE)


def camera(shape: tuple[int, int] = (40, 48), empty: int = 0) -> NDArray[np.float64]:
    """Return an acceptance that falls towards the edges, zero in some columns."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    r2 = (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2
    acceptance = np.exp(-r2 / (0.3 * max(shape)) ** 2 / 2)
    acceptance[:, :empty] = 0
    return acceptance


DISC = disk_structure(2).astype(float)
RING = annulus(5, 8)


def compare(loop: SlowLoop, result: Any, tol: float = TOL) -> None:
    """Hold the end of a run, and its record if it has one, to the slow twin's."""
    last = loop.iterations[-1]
    assert int(result.niter) == len(loop.iterations) - 1
    assert bool(result.converged) == loop.converged
    assert int(result.period) == loop.period
    np.testing.assert_array_equal(result.kept, last.kept)
    names = ("background", "exclusion", "significance")
    for name in names:
        close(getattr(result, name), getattr(last, name), tol)
    if result.history is not None:
        for idx, then in enumerate(loop.iterations):
            for name in names:
                close(getattr(result.history, name)[idx], getattr(then, name), tol)
        after = np.asarray(result.history.background)[len(loop.iterations) :]
        np.testing.assert_array_equal(after, np.broadcast_to(result.background, after.shape))


def close(found: Any, expected: Any, tol: float = TOL) -> None:
    """Compare a mask exactly and numbers closely; a root of a difference loses half its digits."""
    if np.asarray(found).dtype == bool:
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=tol, atol=max(tol, 1e-6))


def both(*arguments: Any, n_record: int | None = None, **options: Any) -> Any:
    """Run the loop and its slow twin on the same input, compare them, and return the result."""
    loop = slow_kernel_background(*arguments, **options)
    result = run(*arguments, n_record=n_record, **options)
    compare(loop, result)
    return result
