"""A fit shared out among processes: strips of the map's rows, each with the data around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad.core.norm import NormFit, Status
from gammagrad.core.ts_map import TILE, BinImages, default_memory, fit_occupied, rows_around
from gammagrad.parallel import Jobs, run_jobs

# cost of a pixel for the sums over whole windows, in occupied bins of its window
_COST_OF_PIXEL = 50

# heights of strips are whole numbers of steps, so many to a strip: few heights, few compilations
_STEPS = 16


class Strip(NamedTuple):
    """Rows of a map to fit, and what a process needs for that."""

    halo: int  # rows around them, above and below
    # for each dataset counts, background, exposure and kernel; rows outside the map are zero
    datasets: tuple[tuple[np.ndarray, ...], ...]
    fitted: np.ndarray  # pixels to fit, none of them in the halo
    guess: np.ndarray | None  # norms to try first, or None
    settings: dict[str, Any]  # the other arguments of `gammagrad.core.ts_map.sparse.fit_occupied`


def fit_shared(
    datasets: Sequence[BinImages],
    fitted: np.ndarray,
    *,
    jobs: Jobs,
    guess: np.ndarray | None = None,
    progress: Callable[[float, int], None] | None = None,
    **settings: Any,
) -> NormFit:
    """Fit the pixels of a map in one process or several."""
    # Every number is the same to rounding, however many processes there are: pixels see the same
    # bins, and the same tiles of pixels are solved together.
    if jobs.n_jobs == 1:
        return fit_occupied(datasets, fitted, guess=guess, progress=progress, **settings)
    halo = TILE * max(-(-(d.kernel.shape[-2] // 2) // TILE) for d in datasets)
    memory = settings.get("memory")
    settings["memory"] = (
        default_memory(on_processor=True) if memory is None else memory
    ) // jobs.n_jobs
    plain = [
        tuple(np.asarray(a) for a in (d.counts, d.background, d.exposure, d.kernel))
        for d in datasets
    ]
    parts = cut_rows(_cost_of_rows(plain, fitted), jobs.n_jobs)
    strips = [
        Strip(
            halo=halo,
            datasets=tuple((*(rows_around(a, rows, halo) for a in d[:3]), d[3]) for d in plain),
            fitted=np.pad(rows_around(fitted, rows, 0), ((halo, halo), (0, 0))),
            guess=None if guess is None else rows_around(guess, rows, halo),
            settings=settings,
        )
        for rows in parts
    ]

    def advance(fraction: float) -> None:
        if progress is not None:
            progress(fraction, 1)

    return _joined(run_jobs(fit_strip, strips, jobs, advance), parts, fitted.shape)


def fit_strip(strip: Strip, report: Callable[[float], None]) -> dict[str, np.ndarray]:
    """Fit a strip, in the process that it was sent to."""
    with jax.enable_x64(True):
        fit = fit_occupied(
            [BinImages(*(jnp.asarray(array) for array in arrays)) for arrays in strip.datasets],
            strip.fitted,
            guess=strip.guess,
            progress=lambda done, batches: report(done / batches),
            **strip.settings,
        )
    inner = slice(strip.halo, strip.fitted.shape[0] - strip.halo)
    found = vars(fit).items()
    return {name: np.asarray(a)[..., inner, :] for name, a in found if a is not None}


def cut_rows(cost: np.ndarray, many: int) -> list[slice]:
    """Cut the rows of a map into strips of about equal cost."""
    step = TILE * max(cost.size // (TILE * _STEPS * many), 1)
    edges = np.arange(-(-cost.size // step) + 1) * step
    reached = np.concatenate([[0.0], np.cumsum(cost)])[np.minimum(edges, cost.size)]
    shares = np.linspace(0, reached[-1], many + 1)[1:-1]
    cuts = [int(np.argmin(np.abs(reached - share))) for share in shares]
    # rows before the first that costs something, and after the last, are in no strip
    first = int(np.searchsorted(reached, 0, side="right")) - 1
    last = int(np.searchsorted(reached, reached[-1]))
    cuts = sorted({first, *(min(max(cut, first), last) for cut in cuts), last})
    return [slice(int(edges[begin]), int(edges[end])) for begin, end in pairwise(cuts)]


def _cost_of_rows(datasets: Sequence[Sequence[np.ndarray]], fitted: np.ndarray) -> np.ndarray:
    """Estimate what each row costs: its fitted pixels, and the occupied bins that they see."""
    ny, nx = fitted.shape
    bins = np.full(ny, float(_COST_OF_PIXEL))
    for counts, _, _, kernel in datasets:
        reach, width = kernel.shape[-2] // 2, kernel.shape[-1]
        total = np.concatenate([[0], np.cumsum((counts > 0).sum(axis=(0, 2)))])
        rows = np.arange(ny)
        inside = total[np.minimum(rows + reach + 1, ny)] - total[np.maximum(rows - reach, 0)]
        bins += inside * min(width / nx, 1.0)
    return fitted.sum(axis=1) * bins


def _joined(
    found: Sequence[dict[str, np.ndarray]], parts: Sequence[slice], shape: tuple[int, ...]
) -> NormFit:
    """Put the strips together; no row outside them has a pixel to fit."""
    maps = {
        name: np.zeros((*array.shape[:-2], *shape), array.dtype) for name, array in found[0].items()
    }
    maps["status"][:] = Status.NOT_FITTED
    for arrays, rows in zip(found, parts, strict=True):
        for name, array in arrays.items():
            inside = min(rows.stop, shape[0]) - rows.start
            maps[name][..., rows.start : rows.start + inside, :] = array[..., :inside, :]
    return NormFit(**maps)
