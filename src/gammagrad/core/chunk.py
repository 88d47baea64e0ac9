"""Traced work on one chunk of tiles: the bins of its lists gathered, then fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.intervals import ends_at_bound, interval_steps
from gammagrad.core.options import FitOptions
from gammagrad.core.profile import ProfileSums, lowest_step, profile_terms, rise
from gammagrad.core.solve import lower_start, newton
from gammagrad.core.stats import ScoreSums, bin_ratio, score_terms, ts_term
from gammagrad.core.windows import TILE, BinImages, kernel_table

__all__ = ["PIXELS", "FlatBins", "TileInputs", "fit_chunk", "flat_bins", "try_chunk"]

PIXELS = TILE * TILE


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
def flat_bins(datasets: Sequence[BinImages]) -> FlatBins:
    """Put the datasets' bins and kernel tables end to end.

    Parameters
    ----------
    datasets
        Bins of each dataset of a joint fit, on one pixel grid.

    Returns
    -------
    FlatBins
        The bins.
    """
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


class TileInputs(NamedTuple):
    """What a chunk needs to know of its tiles' pixels, shape (tiles, pixels) each.

    Attributes
    ----------
    bound
        Physical bound of the norm.
    model_sum
        Sum of the model counts at norm 1, > 0.
    guess
        Norm to try; read by `try_chunk`, and by `fit_chunk` where `kept` is true.
    kept
        Whether the guess is kept.
    """

    bound: Any
    model_sum: Any
    guess: Any
    kept: Any


class _Lists(NamedTuple):
    """Gathered bins, shape (BLOCK, blocks, pixels), and the tile of each block."""

    counts: Array
    ratio: Array
    segment: Array
    n_tiles: int

    def total(self, per_block: Array) -> Array:
        """Sum the blocks of each tile."""
        return jax.ops.segment_sum(per_block, self.segment, self.n_tiles, indices_are_sorted=True)

    def largest(self, per_block: Array) -> Array:
        """Return the largest of the blocks of each tile."""
        return jax.ops.segment_max(per_block, self.segment, self.n_tiles, indices_are_sorted=True)

    def scores(self, norm: Array) -> ScoreSums:
        """Sum the scores of each pixel's bins at a norm."""
        of_block = norm[self.segment]

        def add(total: ScoreSums, nth: tuple[Array, Array]) -> tuple[ScoreSums, None]:
            s1, s2 = score_terms(of_block, *nth)
            return ScoreSums(total.s1 + s1, total.s2 + s2), None

        zero = jnp.zeros_like(of_block)
        bins = (self.counts, self.ratio)
        total, _ = jax.lax.scan(add, ScoreSums(zero, zero), bins, unroll=4)
        return ScoreSums(self.total(total.s1), self.total(total.s2))

    def gain(self, norm: Array) -> Array:
        """Sum the gains of each pixel's bins over norm 0."""
        of_block = norm[self.segment]

        def add(total: Array, nth: tuple[Array, Array]) -> tuple[Array, None]:
            return total + ts_term(of_block, *nth), None

        bins = (self.counts, self.ratio)
        return self.total(jax.lax.scan(add, jnp.zeros_like(of_block), bins)[0])

    def sums_from(self, base: Array) -> Callable[[Array], ProfileSums]:
        """Return the profile's sums as a function of the step from a base norm."""
        of_base = base[self.segment]

        def sums(step: Array) -> ProfileSums:
            of_step = step[self.segment]

            def add(total: ProfileSums, nth: tuple[Array, Array]) -> tuple[ProfileSums, None]:
                counts, ratio = nth
                terms = profile_terms(of_step, counts, of_base + ratio)
                return ProfileSums(*(t + u for t, u in zip(total, terms, strict=True))), None

            zero = jnp.zeros_like(of_base)
            bins = (self.counts, self.ratio)
            total, _ = jax.lax.scan(add, ProfileSums(zero, zero, zero), bins)
            return ProfileSums(*(self.total(t) for t in total))

        return sums

    def lowest_from(self, base: Array, target: Array, model_sum: Array) -> Array:
        """Return each pixel's proven step to the lower end of an interval."""
        of_base, of_target = base[self.segment], target[self.segment]
        of_sum = model_sum[self.segment]

        def larger(best: Array, nth: tuple[Array, Array]) -> tuple[Array, None]:
            counts, ratio = nth
            step = lowest_step(counts, of_base + ratio, of_sum, of_target)
            return jnp.maximum(best, step), None

        least = jnp.full_like(of_base, -jnp.inf)
        return self.largest(jax.lax.scan(larger, least, (self.counts, self.ratio))[0])


def _gather(
    flat: FlatBins, bins: Array, rows: Array, segment: Array, model_sum: Array
) -> tuple[_Lists, Array]:
    """Gather the listed bins; return them and each pixel's proven lower start."""
    n_tiles = model_sum.shape[0]
    smallest = jnp.full((bins.shape[1], PIXELS), -jnp.inf)
    block_sum = model_sum[segment]

    def gather(proven: Array, nth: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        which, place = nth
        model = jnp.zeros_like(smallest)
        for exposure, table in zip(flat.exposure, flat.table, strict=True):
            model = model + exposure[which][:, None] * table[place]
        ratio = bin_ratio(flat.background[which][:, None], model)
        seen = jnp.where(model > 0, flat.counts[which][:, None], 0)
        return jnp.maximum(proven, lower_start(seen, ratio, block_sum)), (seen, ratio)

    at_least, (counts, ratio) = jax.lax.scan(gather, smallest, (bins, rows))
    lists = _Lists(counts, ratio, segment, n_tiles)
    return lists, lists.largest(at_least)


@jax.jit
def try_chunk(
    flat: FlatBins, bins: Array, rows: Array, segment: Array, tiles: TileInputs
) -> dict[str, Array]:
    """Evaluate a chunk at a guess of the norm, moved to where the best fit can be.

    Parameters
    ----------
    flat
        All bins.
    bins, rows
        Blocks of listed bins, and of their rows in the kernel table, shape (BLOCK, blocks).
    segment
        Which of the chunk's tiles a block belongs to, ascending.
    tiles
        The tiles.

    Returns
    -------
    dict of str to Array
        ``guess``, ``gain`` and ``s2`` there, shape (tiles, pixels).
    """
    lists, proven = _gather(flat, bins, rows, segment, tiles.model_sum)
    guess = jnp.maximum(tiles.guess, jnp.maximum(tiles.bound, proven))
    return {"guess": guess, "gain": lists.gain(guess), "s2": lists.scores(guess).s2}


@partial(jax.jit, static_argnames=("selection", "keeps", "n_sweeps"))
def fit_chunk(
    flat: FlatBins,
    bins: Array,
    rows: Array,
    segment: Array,
    tiles: TileInputs,
    options: FitOptions,
    scan_values: Array | None,
    *,
    selection: tuple[str, ...],
    keeps: bool,
    n_sweeps: int,
) -> dict[str, Array]:
    """Fit the norms of one chunk of tiles from blocks of occupied bins.

    Parameters
    ----------
    flat
        All bins.
    bins, rows
        Blocks of listed bins, and of their rows in the kernel table, shape (BLOCK, blocks).
    segment
        Which of the chunk's tiles a block belongs to, ascending.
    tiles
        The tiles.
    options
        Numbers that steer the fit.
    scan_values
        Norms of the scan, if it is selected.
    selection
        Optional outputs.
    keeps
        Whether some pixels keep their guess.
    n_sweeps
        Newton sweeps.

    Returns
    -------
    dict of str to Array
        ``norm``, ``s2``, ``gain``, ``niter``, ``last_step``, ``has_counts``, ``error_at_bound``
        and the optional outputs, shape (tiles, pixels); a scan has its norms in front.
    """
    lists, proven = _gather(flat, bins, rows, segment, tiles.model_sum)
    lower = jnp.maximum(tiles.bound, proven)
    start = jnp.maximum(lower, jnp.zeros_like(lower))
    root = newton(lists.scores, start, lower, tiles.model_sum, n_sweeps=n_sweeps, rtol=options.rtol)
    best = root.norm
    norm = jnp.where(tiles.kept, tiles.guess, best) if keeps else best
    s1, s2 = lists.scores(norm)
    found = {
        "norm": norm,
        "s2": s2,
        "gain": lists.gain(norm),
        "niter": root.niter,
        "last_step": root.last_step,
        "has_counts": s1 > 0,
        "error_at_bound": ends_at_bound(
            lists.sums_from(best), tiles.bound - best, tiles.model_sum, options.n_sigma**2
        ),
    }
    steps = interval_steps(
        lists.sums_from,
        lambda base, target: lists.lowest_from(base, target, tiles.model_sum),
        norm,
        best if keeps else None,
        tiles.bound,
        tiles.model_sum,
        options,
        selection,
    )
    if steps.up is not None and steps.down is not None:
        found["norm_errp"] = steps.up[0] + steps.up[1] - norm
        found["norm_errn"] = jnp.maximum(norm - (steps.down[0] + steps.down[1]), 0)
    if steps.limit is not None:
        found["norm_ul"] = steps.limit[0] + steps.limit[1]
    if "stat_scan" in selection and scan_values is not None:

        def scanned(value: Array) -> Array:
            at = jnp.broadcast_to(value, norm.shape)
            values = rise(at, lists.gain(at), tiles.model_sum)
            return jnp.where(at < tiles.bound, jnp.inf, values)

        found["stat_scan"] = jax.lax.map(scanned, scan_values)
    return found
