"""The fast engine: a map's norm fits from the bins that have counts, and whole-map sums.

Only bins with counts enter the derivatives of the Cash statistic. Their lists are built on the
host, tile by tile, and solved in chunks of a few fixed sizes, so that new data of the same map
shape compile nothing new. The sensitivity needs every bin and no list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from gammagrad.core.map_solver import MapSolver
from gammagrad.core.norm import NormFit
from gammagrad.core.options import FitOptions, make_options
from gammagrad.core.solve import N_SWEEPS
from gammagrad.core.windows import TILE, BinImages, rows_around

__all__ = ["default_memory", "fit_occupied"]

_MEMORY_CPU = 2**28
"""Working memory to aim at on a processor, in bytes."""

_BYTES_BIN, _BYTES_PIXEL = 64, 320
"""What the work takes for each bin and for each pixel."""


def fit_occupied(
    datasets: Sequence[BinImages],
    fitted: np.ndarray,
    *,
    options: FitOptions | None = None,
    selection: Sequence[str] = (),
    scan_values: np.ndarray | None = None,
    guess: np.ndarray | None = None,
    threshold: float | None = None,
    n_sweeps: int = N_SWEEPS,
    memory: int | None = None,
    window: tuple[int, int] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> NormFit:
    """Fit the pixels of a map from their occupied bins: same results as `fit_images`, faster.

    Not traced itself: the lists depend on where the counts lie.

    Parameters
    ----------
    datasets
        Bins of each dataset of a joint fit, on one pixel grid.
    fitted
        Pixels to fit, bool, shape (rows, cols). The others get status "not fitted".
    options
        Numbers that steer the fit; None for their defaults.
    selection
        Optional outputs, names from `gammagrad.core.options.OPTIONAL`.
    scan_values
        Norms at which the statistic is scanned, for "stat_scan".
    guess
        Norms to try first, shape (rows, cols). They are moved up to where the best fit can be.
    threshold
        Where the test statistic at the guess is not above this, the guess is kept.
    n_sweeps
        Most Newton sweeps, in single precision and then again in that of the data.
    memory
        Working memory to aim at, in bytes; None for what suits the device.
    window
        Odd sizes (rows, cols) of the largest of several kernels that are fitted in turn: their
        tables of kernels are made for it, so that they run the same compiled code. No number
        changes, and a bin beyond the kernel itself is not visited.
    progress
        Called with the number of passes over the map done, a fraction of one included, and of all.

    Returns
    -------
    NormFit
        Numpy maps of shape (rows, cols); a scan has its norms as a leading axis.
    """
    steer = make_options(datasets[0].background.dtype, **vars(options or FitOptions()))
    ny = fitted.shape[0]
    height = _strip_height(datasets, memory)
    passes = -(-ny // height) * (1 + ("sensitivity" in selection))
    done = 0.0

    def advance(part: float) -> None:
        nonlocal done
        done += part
        if progress is not None:
            progress(min(done, passes), passes)

    def fit(some: Sequence[BinImages], where: np.ndarray, first: np.ndarray | None) -> NormFit:
        solver = MapSolver(some, where, steer, memory or default_memory(), advance, window)
        return solver.fit(tuple(selection), scan_values, first, threshold, n_sweeps)

    if height >= ny:
        return fit(datasets, fitted, guess)
    return _fit_by_strips(datasets, fitted, guess, fit, height)


def _strip_height(datasets: Sequence[BinImages], memory: int | None) -> int:
    """Return how many rows of a map to work on at a time, a multiple of the tiles' size."""
    nx = datasets[0].counts.shape[-1]
    per_row = nx * (_BYTES_PIXEL + sum(_BYTES_BIN * d.exposure[..., 0, 0].size for d in datasets))
    halo = max(d.kernel.shape[-2] for d in datasets)
    rows = (memory or default_memory()) // per_row - halo
    return TILE * max(int(rows) // TILE, -(-halo // TILE))


def default_memory(on_processor: bool = False) -> int:
    """Return the working memory to aim at if none is given: a part of the device's.

    Parameters
    ----------
    on_processor
        Whether to look at the processor, whatever JAX's device is.

    Returns
    -------
    int
        Bytes.
    """
    device = jax.devices()[0]
    if on_processor or device.platform == "cpu":
        return _MEMORY_CPU
    known = device.memory_stats() or {}
    return int(known.get("bytes_limit", 8 * _MEMORY_CPU)) // 4


def _rows_of(images: BinImages, arrays: Sequence[np.ndarray], rows: slice, halo: int) -> BinImages:
    """Return some rows of a dataset with those around them."""
    counts, background, exposure = (rows_around(a, rows, halo) for a in arrays)
    return BinImages(counts=counts, background=background, exposure=exposure, kernel=images.kernel)


def _fit_by_strips(
    datasets: Sequence[BinImages],
    fitted: np.ndarray,
    guess: np.ndarray | None,
    fit: Callable[[Sequence[BinImages], np.ndarray, np.ndarray | None], NormFit],
    height: int,
) -> NormFit:
    """Fit some rows of a map after the other, each strip with the rows around it."""
    halo = TILE * max(-(-(d.kernel.shape[-2] // 2) // TILE) for d in datasets)
    plain = [[np.asarray(a) for a in (d.counts, d.background, d.exposure)] for d in datasets]
    maps: dict[str, np.ndarray] = {}
    for top in range(0, fitted.shape[0], height):
        rows = slice(top, top + height)
        some = [_rows_of(d, arrays, rows, halo) for arrays, d in zip(plain, datasets, strict=True)]
        where = np.pad(rows_around(fitted, rows, 0), ((halo, halo), (0, 0)))
        first = None if guess is None else rows_around(guess, rows, halo)
        found = {name: a for name, a in vars(fit(some, where, first)).items() if a is not None}
        for name, array in found.items():
            if name not in maps:
                maps[name] = np.zeros((*array.shape[:-2], *fitted.shape), array.dtype)
            kept = min(height, fitted.shape[0] - top)
            maps[name][..., rows, :] = array[..., halo : halo + kept, :]
    return NormFit(**maps)
