"""The fast engine: a map's norm fits from the bins that have counts, and whole-map sums.

Only bins with counts enter the derivatives of the Cash statistic. Their lists are built on the
host, tile by tile, and solved in chunks of a few fixed sizes, so that new data of the same map
shape compile nothing new. The sensitivity needs every bin and no list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad.core.asimov import (
    corners,
    memory_for,
    sensitivity_chunk,
    tiles_at_a_time,
    windows,
)
from gammagrad.core.chunk import TileInputs, fit_chunk
from gammagrad.core.flat import flat_bins
from gammagrad.core.lists import Chunk, ListedBins, chunks, common_window
from gammagrad.core.norm import NormFit, fit_status
from gammagrad.core.options import FitOptions, make_options
from gammagrad.core.solve import N_SWEEPS, Status
from gammagrad.core.whole_map import WholeMap, whole_map
from gammagrad.core.windows import (
    TILE,
    BinImages,
    TilePlan,
    from_tiles,
    rows_around,
    to_tiles,
)
from gammagrad.core.workspace import Workspace

__all__ = ["default_memory", "fit_occupied"]

_ENTRIES_CPU, _ENTRIES_ELSEWHERE = 2**16, 2**22
"""Rows times tiles of a chunk: what a processor's cache holds, what keeps accelerators busy."""

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
        solver = _ChunkSolver(some, where, steer, memory, advance)
        return solver.fit(tuple(selection), scan_values, first, threshold, n_sweeps)

    if height >= ny:
        return fit(datasets, fitted, guess)
    return _fit_by_strips(datasets, fitted, guess, fit, height)


def _strip_height(datasets: Sequence[BinImages], memory: int | None) -> int:
    """Return how many rows of a map to work on at a time, a multiple of the tiles' size."""
    nx = datasets[0].counts.shape[-1]
    per_row = nx * (_BYTES_PIXEL + sum(_BYTES_BIN * d.exposure[..., 0, 0].size for d in datasets))
    halo = max(d.kernel.shape[-2] for d in datasets)
    rows = (default_memory() if memory is None else memory) // per_row - halo
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
    counts, background, exposure = (jnp.asarray(rows_around(a, rows, halo)) for a in arrays)
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


class _ChunkSolver:
    """What runs over the tiles of a map chunk by chunk."""

    def __init__(
        self,
        datasets: Sequence[BinImages],
        fitted: np.ndarray,
        options: FitOptions,
        memory: int | None,
        advance: Callable[[float], None],
    ) -> None:
        self.datasets, self.options, self.advance = datasets, options, advance
        self.kernels = [d.kernel.shape for d in datasets]
        self.dtype = datasets[0].background.dtype
        self.whole = whole_map(datasets, fitted)
        window = common_window(self.kernels)
        self.plan = TilePlan.create(datasets[0].counts.shape, window)
        self.flat = flat_bins(datasets, window)
        self.active: np.ndarray = np.any(to_tiles(self.whole.has_model, self.plan), axis=1)
        total = to_tiles(np.where(self.whole.has_model, self.whole.model_sum, 0), self.plan)
        self.model_sum = np.where(total > 0, total, 1).astype(self.dtype)
        self.entries = _ENTRIES_CPU if jax.default_backend() == "cpu" else _ENTRIES_ELSEWHERE
        self.memory = default_memory() if memory is None else memory
        share = self.memory // (4 * Workspace.bytes_per_entry(self.dtype))
        self.entries = min(self.entries, 2 ** max(int(np.log2(max(share, 1))), 8))

    def fit(
        self,
        selection: tuple[str, ...],
        scan_values: np.ndarray | None,
        guess: np.ndarray | None,
        threshold: float | None,
        n_sweeps: int,
    ) -> NormFit:
        """Fit the pixels that have a model."""
        bound = self.whole.bound
        tiles = TileInputs(
            to_tiles(bound, self.plan),
            self.model_sum,
            to_tiles(np.zeros_like(bound) if guess is None else guess, self.plan),
        )
        values = None if scan_values is None else jnp.asarray(scan_values, self.dtype)
        level = jnp.asarray(0.0 if threshold is None else threshold, self.dtype)

        def work(chunk: Chunk, space: Workspace) -> tuple[Workspace, dict[str, Array]]:
            return fit_chunk(
                self.flat,
                chunk.lists,
                TileInputs(*(np.ascontiguousarray(a[chunk.tiles].T) for a in tiles)),
                self.options,
                values,
                level,
                space,
                selection=selection,
                threshold_is_set=threshold is not None,
                n_sweeps=n_sweeps,
            )

        found = _without_counts(tiles, self.options, selection, scan_values, threshold)
        self._run(work, found)
        maps = {name: np.asarray(from_tiles(array, self.plan)) for name, array in found.items()}
        if "sensitivity" in selection:
            maps["norm_sensitivity"] = self._sensitivity()
        return _assemble(maps, self.whole, self.options)

    def _sensitivity(self) -> np.ndarray:
        """Find the sensitivity."""
        (height, width), shape = self.plan.window, self.plan.shape
        images = [d.counts.shape[0] for d in self.datasets]
        places = windows(np.asarray(self.flat.table), images, (height, width), shape)
        wanted = np.flatnonzero(self.active)
        if not (wanted.size and len(places.places)):
            self.advance(1.0)
            return np.zeros(shape, self.dtype)
        many = tiles_at_a_time(places, self.dtype, self.memory // 2)
        space = memory_for(places, many, self.dtype)
        found = np.zeros(self.model_sum.shape, self.dtype)
        for begin in range(0, wanted.size, many):
            tiles = wanted[begin : begin + many]
            filled = np.append(tiles, np.repeat(tiles[-1:], many - tiles.size))
            space, norm = sensitivity_chunk(
                self.flat,
                places,
                corners(filled, self.plan.grid[1], self.plan.halo),
                np.ascontiguousarray(self.model_sum[filled].T),
                self.options,
                space,
                shape=shape,
            )
            found[tiles] = np.asarray(norm).T[: tiles.size]
            self.advance(tiles.size / wanted.size)
        return np.asarray(from_tiles(found, self.plan))

    def _run(
        self,
        work: Callable[[Chunk, Workspace], tuple[Workspace, dict[str, Array]]],
        found: dict[str, np.ndarray],
    ) -> None:
        """List bins, work on every chunk and store what is found; the next is built meanwhile."""
        space: Workspace | None = None
        waiting: tuple[Chunk, dict[str, Array]] | None = None
        n_tiles = int(self.active.sum())
        done = 0

        def store(chunk: Chunk, arrays: dict[str, Array]) -> None:
            nonlocal done
            own = chunk.tiles[: chunk.number]
            for name, array in arrays.items():
                values = np.asarray(array)[..., : chunk.number]
                found[name][..., own, :] = np.swapaxes(values, -1, -2)
            done += chunk.number
            self.advance(chunk.number / n_tiles)

        listed = ListedBins([np.asarray(d.counts) > 0 for d in self.datasets], self.kernels)
        for chunk in chunks(listed, self.active, self.entries):
            shape = chunk.capacity, chunk.tiles.size
            if space is None or space.full[0].shape != shape:
                space = Workspace.create(*shape, self.dtype)
            space, arrays = work(chunk, space)
            if waiting is not None:
                store(*waiting)
            waiting = chunk, arrays
        if waiting is not None:
            store(*waiting)
        self.advance(1 - done / max(n_tiles, 1))


def _without_counts(
    tiles: TileInputs,
    options: FitOptions,
    selection: Sequence[str],
    scan_values: np.ndarray | None,
    threshold: float | None,
) -> dict[str, np.ndarray]:
    """Return what holds where no occupied bin is seen: the statistic is a straight line."""
    bound, total = tiles.bound, tiles.model_sum
    norm, kept = bound.copy(), np.zeros(bound.shape, bool)
    if threshold is not None:
        guess = np.maximum(tiles.guess, bound)
        kept = -2 * guess * total <= threshold
        norm = np.where(kept, guess, bound)
    found: dict[str, np.ndarray] = {"norm": norm, "kept": kept}
    found |= {name: np.zeros_like(bound) for name in ("s2", "gain", "last_step")}
    found["niter"] = np.zeros(bound.shape, np.int32)
    found |= {name: np.zeros(bound.shape, bool) for name in ("has_counts", "error_at_bound")}
    if "errn-errp" in selection:
        found["norm_errp"] = float(options.n_sigma) ** 2 / (2 * total)
        found["norm_errn"] = norm - bound
    if "ul" in selection:
        base = np.maximum(norm, float(options.norm_min))
        found["norm_ul"] = base + float(options.n_sigma_ul) ** 2 / (2 * total)
    if "stat_scan" in selection and scan_values is not None:
        values = np.asarray(scan_values, bound.dtype)[:, None, None]
        found["stat_scan"] = np.where(values < bound, np.inf, 2 * values * total)
    return found


def _assemble(maps: dict[str, np.ndarray], whole: WholeMap, options: FitOptions) -> NormFit:
    """Turn the lists' sums into the quantities of a fit."""
    has_model = whole.has_model
    kept = maps["kept"] & has_model
    norm = np.where(has_model, maps["norm"], 0.0)
    model_sum = np.where(has_model, whole.model_sum, 0.0)
    gained = 2 * (maps["gain"] - norm * model_sum) * has_model
    # the test statistic of a best fit is not negative, that of a guess may be
    gained = np.where(kept, gained, np.maximum(gained, 0.0))
    s2 = np.where(has_model, maps["s2"], 0.0)
    error = np.full_like(norm, np.inf)
    np.divide(float(options.n_sigma), np.sqrt(s2), out=error, where=s2 > 0)
    excess = norm * model_sum
    flags = {name: maps[name] for name in ("has_counts", "error_at_bound", "last_step")}
    flags |= {name: getattr(whole, name) for name in ("has_model", "counts_on_zero", "bound")}
    traced = {name: jnp.asarray(array) for name, array in flags.items()}
    status = np.asarray(fit_status(norm=jnp.asarray(norm), rtol=options.rtol, **traced))
    optional = ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity", "stat_scan")
    return NormFit(
        norm=norm,
        norm_err=error,
        ts=np.where(norm < 0, -gained, gained),
        stat=whole.stat_null - gained,
        stat_null=whole.stat_null,
        npred=whole.background_sum + excess,
        npred_excess=excess,
        niter=np.where(maps["has_counts"] & ~kept, maps["niter"], 0).astype(np.int32),
        status=np.where(kept, Status.GUESS_KEPT, status).astype(np.int8),
        **{name: np.where(has_model, maps[name], 0.0) for name in optional if name in maps},
    )
