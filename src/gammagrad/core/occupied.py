"""The fast engine: a map's norm fits from the bins that have counts, and whole-map sums.

Only bins with counts enter the derivatives of the Cash statistic. Their lists are built on the
host, tile by tile, cut into blocks of fixed length, and solved in chunks of a few fixed sizes, so
that new data of the same map shape compile nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad.core.blocks import BlockList, chunks, list_blocks, tile_batches
from gammagrad.core.bound import kernel_reach, local_max, steepest_ratio
from gammagrad.core.convolve import box_sum, correlate
from gammagrad.core.norm import NormFit, fit_status
from gammagrad.core.solve import N_SWEEPS, lower_start, newton
from gammagrad.core.stats import ScoreSums, bin_ratio, cash, score_terms, ts_term
from gammagrad.core.windows import TILE, BinImages, TilePlan, from_tiles, kernel_table, to_tiles

__all__ = ["fit_occupied"]

PIXELS = TILE * TILE


class WholeMap(NamedTuple):
    """Sums over each pixel's window that all bins enter, shape (rows, cols) each."""

    model_sum: Array
    background_sum: Array
    stat_null: Array
    reached: Array


@jax.jit
def _whole_map(images: BinImages) -> WholeMap:
    """Sum model, background and null statistic over each pixel's window."""
    window = (images.kernel.shape[-2], images.kernel.shape[-1])
    flat = images.exposure.reshape(-1, *images.exposure.shape[-2:])
    kernels = images.kernel.reshape(-1, *window)
    model = jax.vmap(correlate)(flat, kernels).sum(axis=0)
    support = jnp.where(images.exposure > 0, 1.0, 0.0).max(axis=(0, 1))
    return WholeMap(
        model_sum=model,
        background_sum=box_sum(images.background.sum(axis=0), window),
        stat_null=box_sum(cash(images.counts, images.background).sum(axis=0), window),
        reached=local_max(support, window) > 0,
    )


class FlatBins(NamedTuple):
    """All bins of all datasets in a row, with a dummy at the end, and their kernel table.

    Attributes
    ----------
    counts, background
        Shape (bins,).
    exposure
        Shape (components, bins).
    table
        Kernel between a place in a window and the pixels of the tile, shape
        (components, places, pixels).
    """

    counts: Array
    background: Array
    exposure: Array
    table: Array


@jax.jit
def _flat_bins(datasets: Sequence[BinImages]) -> FlatBins:
    """Put the datasets' bins and kernel tables end to end."""
    components = max(d.exposure.shape[1] for d in datasets)

    def widen(array: Array) -> Array:
        missing = components - array.shape[0]
        return jnp.pad(array, ((0, missing),) + ((0, 0),) * (array.ndim - 1))

    def join(arrays: list[Array], axis: int) -> Array:
        dummy = jnp.zeros_like(jax.lax.slice_in_dim(arrays[0], 0, 1, axis=axis))
        return jnp.concatenate([*arrays, dummy], axis=axis)

    exposure = [d.exposure.swapaxes(0, 1).reshape(d.exposure.shape[1], -1) for d in datasets]
    tables = [jnp.moveaxis(kernel_table(d.kernel), 3, 0) for d in datasets]
    tables = [t.reshape(t.shape[0], -1, PIXELS) for t in tables]
    return FlatBins(
        counts=join([d.counts.reshape(-1) for d in datasets], 0),
        background=join([d.background.reshape(-1) for d in datasets], 0),
        exposure=join([widen(e) for e in exposure], 1),
        table=join([widen(t) for t in tables], 1),
    )


class ChunkFit(NamedTuple):
    """What a chunk's lists give, shape (tiles, pixels) each."""

    norm: Array
    s2: Array
    gain: Array
    niter: Array
    last_step: Array
    has_counts: Array


@partial(jax.jit, static_argnames="n_sweeps")
def _solve_chunk(
    flat: FlatBins,
    bins: Array,
    rows: Array,
    segment: Array,
    bound: Array,
    model_sum: Array,
    rtol: Array,
    *,
    n_sweeps: int,
) -> ChunkFit:
    """Fit the norms of one chunk of tiles from blocks of occupied bins.

    `segment` says which of the chunk's tiles a block belongs to, ascending.
    """
    n_tiles = bound.shape[0]
    smallest = jnp.full((bins.shape[1], PIXELS), -jnp.inf)
    nothing = jnp.zeros_like(smallest)
    block_sum = model_sum[segment]

    def tile_sum(per_block: Array) -> Array:
        return jax.ops.segment_sum(per_block, segment, n_tiles, indices_are_sorted=True)

    def gather(proven: Array, nth: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        which, place = nth
        model = nothing
        for exposure, table in zip(flat.exposure, flat.table, strict=True):
            model = model + exposure[which][:, None] * table[place]
        ratio = bin_ratio(flat.background[which][:, None], model)
        seen = jnp.where(model > 0, flat.counts[which][:, None], 0)
        return jnp.maximum(proven, lower_start(seen, ratio, block_sum)), (seen, ratio)

    at_least, listed = jax.lax.scan(gather, smallest, (bins, rows))
    proven = jax.ops.segment_max(at_least, segment, n_tiles, indices_are_sorted=True)

    def sums(norm: Array) -> ScoreSums:
        of_block = norm[segment]

        def add(total: ScoreSums, nth: tuple[Array, Array]) -> tuple[ScoreSums, None]:
            s1, s2 = score_terms(of_block, *nth)
            return ScoreSums(total.s1 + s1, total.s2 + s2), None

        total, _ = jax.lax.scan(add, ScoreSums(nothing, nothing), listed, unroll=4)
        return ScoreSums(tile_sum(total.s1), tile_sum(total.s2))

    lower = jnp.maximum(bound, proven)
    start = jnp.maximum(lower, jnp.zeros_like(lower))
    root = newton(sums, start, lower, model_sum, n_sweeps=n_sweeps, rtol=rtol)
    best = root.norm[segment]

    def add_gain(total: Array, nth: tuple[Array, Array]) -> tuple[Array, None]:
        return total + ts_term(best, *nth), None

    gain, _ = jax.lax.scan(add_gain, nothing, listed)
    s1, s2 = sums(root.norm)
    return ChunkFit(root.norm, s2, tile_sum(gain), root.niter, root.last_step, s1 > 0)


def fit_occupied(
    datasets: Sequence[BinImages],
    fitted: np.ndarray,
    *,
    n_sigma: float = 1.0,
    rtol: float = 0.01,
    n_sweeps: int = N_SWEEPS,
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
    n_sigma, rtol, n_sweeps
        As for `gammagrad.core.norm.fit_norm`.
    progress
        Called with the number of batches done, a fraction of one included, and of all batches.

    Returns
    -------
    NormFit
        Numpy maps of shape (rows, cols).
    """
    plans = [TilePlan.create(d.counts.shape, d.kernel.shape) for d in datasets]
    plan = plans[0]
    sums = [_whole_map(d) for d in datasets]
    model_sum = np.asarray(sum(s.model_sum for s in sums))
    reached = np.asarray(jnp.stack([s.reached for s in sums]).any(axis=0))
    has_model = np.asarray(fitted & reached & (model_sum > 0))
    bound = _physical_bound(datasets, has_model)
    counts_on_zero = _reach(datasets, lambda d: (d.counts > 0) & (d.background <= 0))

    tile_bound = to_tiles(bound, plan)
    tile_sum = to_tiles(np.where(has_model, model_sum, 1.0), plan)
    tile_sum[tile_sum == 0] = 1.0
    active = np.asarray(to_tiles(has_model, plan).any(axis=1))
    counts = [np.asarray(d.counts) for d in datasets]
    flat = _flat_bins(datasets)

    norm = tile_bound.copy()
    outputs = {"norm": norm} | {
        name: np.zeros_like(norm) for name in ("s2", "gain", "niter", "last_step")
    }
    outputs["has_counts"] = np.zeros(norm.shape, bool)
    batches = tile_batches(counts, plans, active)
    for batch, tiles_listed in enumerate(batches):
        blocks = list_blocks(counts, plans, tiles_listed)
        parts = chunks(blocks)
        for done, (part, size) in enumerate(parts):
            tiles, fit = _run_chunk(flat, blocks, part, size, tile_bound, tile_sum, rtol, n_sweeps)
            for name, array in outputs.items():
                array[tiles] = getattr(fit, name)[: tiles.size]
            if progress is not None:
                progress(batch + (done + 1) / len(parts), len(batches))
    maps = {name: np.asarray(from_tiles(array, plan)) for name, array in outputs.items()}
    background_sum = np.asarray(sum(s.background_sum for s in sums))
    stat_null = np.asarray(sum(s.stat_null for s in sums))
    maps["counts_on_zero"] = counts_on_zero
    return _assemble(maps, bound, model_sum, has_model, background_sum, stat_null, n_sigma, rtol)


def _run_chunk(
    flat: FlatBins,
    blocks: BlockList,
    part: slice,
    size: int,
    bound: np.ndarray,
    model_sum: np.ndarray,
    rtol: float,
    n_sweeps: int,
) -> tuple[np.ndarray, ChunkFit]:
    """Pad one chunk to its fixed size, solve it, return its tiles and their fit."""
    tiles, segment = np.unique(blocks.tiles[part], return_inverse=True)
    pad = size - segment.size

    def filled(array: np.ndarray, dummy: int) -> np.ndarray:
        return np.pad(array[:, part], ((0, 0), (0, pad)), constant_values=dummy)

    def per_tile(array: np.ndarray) -> np.ndarray:
        return np.pad(array[tiles], ((0, size - tiles.size), (0, 0)), constant_values=1.0)

    fit = _solve_chunk(
        flat,
        filled(blocks.bins, flat.counts.shape[0] - 1),
        filled(blocks.rows, flat.table.shape[1] - 1),
        np.pad(segment, (0, pad), constant_values=size - 1).astype(np.int32),
        per_tile(bound),
        per_tile(model_sum),
        np.float64(rtol),
        n_sweeps=n_sweeps,
    )
    return tiles, jax.tree.map(np.asarray, fit)


def _physical_bound(datasets: Sequence[BinImages], fitted: np.ndarray) -> np.ndarray:
    """Least norm at which no bin of a pixel's window predicts a negative number."""
    ratio = jnp.zeros(fitted.shape, datasets[0].background.dtype)
    for images in datasets:
        ratio = steepest_ratio(images, fitted, ratio)
    bare = _reach(datasets, lambda d: (d.exposure > 0).any(axis=1) & (d.background <= 0))
    steepest = np.asarray(ratio)
    bound = np.divide(-1.0, steepest, out=np.zeros_like(steepest), where=steepest > 0)
    return np.where(bare, 0.0, bound)


def _reach(datasets: Sequence[BinImages], special: Callable[[BinImages], Array]) -> np.ndarray:
    """Mark the pixels whose model reaches a bin of a kind that most data do not have."""
    reached = np.zeros(datasets[0].counts.shape[1:], bool)
    for images in datasets:
        bins = special(images)
        if bool(bins.any()):
            reached |= np.asarray(kernel_reach(bins, images.kernel))
    return reached


def _assemble(
    maps: dict[str, np.ndarray],
    bound: np.ndarray,
    model_sum: np.ndarray,
    has_model: np.ndarray,
    background_sum: np.ndarray,
    stat_null: np.ndarray,
    n_sigma: float,
    rtol: float,
) -> NormFit:
    """Turn the lists' sums into the quantities of a fit."""
    norm = np.where(has_model, maps["norm"], 0.0)
    model_sum = np.where(has_model, model_sum, 0.0)
    ts = np.maximum(2 * (maps["gain"] - norm * model_sum), 0.0) * has_model
    s2 = np.where(has_model, maps["s2"], 0.0)
    error = np.full_like(norm, np.inf)
    np.divide(n_sigma, np.sqrt(s2), out=error, where=s2 > 0)
    excess = norm * model_sum
    status = fit_status(
        norm=jnp.asarray(norm),
        bound=jnp.asarray(bound),
        has_model=jnp.asarray(has_model),
        has_counts=jnp.asarray(maps["has_counts"]),
        counts_on_zero=jnp.asarray(maps["counts_on_zero"]),
        last_step=jnp.asarray(maps["last_step"]),
        rtol=rtol,
    )
    return NormFit(
        norm=norm,
        norm_err=error,
        ts=np.where(norm < 0, -ts, ts),
        stat=stat_null - ts,
        stat_null=stat_null,
        npred=background_sum + excess,
        npred_excess=excess,
        niter=np.where(maps["has_counts"], maps["niter"], 0).astype(np.int32),
        status=np.asarray(status).astype(np.int8),
    )
