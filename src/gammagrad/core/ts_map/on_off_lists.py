"""Lists of bins with ON and OFF counts, gathered for a chunk of tiles, and sums over them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.norm import Rise, Slopes
from gammagrad.core.stats import BACKGROUND_FLOOR, log1p_inside, on_off_fit, on_off_scores, w_terms
from gammagrad.core.ts_map.bin_sums import LEAD, ROWS, Blocks, largest_over, sums_over
from gammagrad.core.ts_map.bins import PIXELS
from gammagrad.core.ts_map.blended import TileBlend
from gammagrad.core.ts_map.flat import FlatBins
from gammagrad.core.ts_map.listed import Lists, contrast_of, rows_at_a_time

_SCORE_ROWS, _TOTAL_ROWS, _LOG_ROWS = 2, 4, 4
"""Rows summed in one step, for terms with roots and with logarithms: more are not vectorised."""


class OnOffFlat(NamedTuple):
    """All bins of all datasets in a row: what `FlatBins` has, with a background of 1, and more."""

    flat: FlatBins
    off: Array  # OFF counts; 0 with a known background, as all that follow but the signal
    share: Array  # ``c = alpha / (1 + alpha)``; 0 marks a known background
    signal: Array  # known signal, or a background that is known


class OnOffSpace(NamedTuple):
    """Memory that lists are gathered into, which one chunk hands on to the next."""

    bins: Array  # ON counts, OFF counts, share and known signal, shape (4, rows, tiles)
    model: Array  # shape (rows, pixels, tiles)
    bins_lead: Array  # the same in single precision, the model over its sum
    model_lead: Array

    @staticmethod
    def bytes_per_entry(dtype: Any) -> int:
        """Return the bytes that one row of one tile takes."""
        return (PIXELS + 4) * (np.dtype(dtype).itemsize + np.dtype(LEAD).itemsize)


@compiled(static=("rows", "tiles", "dtype"))
def empty_space(*, rows: int, tiles: int, dtype: Any) -> tuple[Array, Array, Array, Array]:
    """Return zeros of the shape of a workspace."""
    bins, model, bins_lead, model_lead = (
        jnp.zeros(shape, d)
        for d in (dtype, LEAD)
        for shape in ((4, rows, tiles), (rows, PIXELS, tiles))
    )
    return bins, model, bins_lead, model_lead


class Totals(NamedTuple):
    """Sums over the listed bins that a pixel's model reaches, shape (pixels, tiles)."""

    counts: Array
    counts_off: Array
    excess: Array  # sum of ``n - alpha k`` less the known signal
    ratio: Array  # sum of the model times ``n / mu`` at norm 0
    pull: Array  # sum of the model over the share, of bins with OFF regions
    known: Array  # largest known signal over model, of bins with OFF regions


def gather_on_off(
    every: OnOffFlat, lists: Lists, model_sum: Array, space: OnOffSpace, blend: TileBlend | None
) -> OnOffSpace:
    """Gather listed bins into the workspace."""
    zero, rows = np.int32(0), rows_at_a_time(every.flat)
    per_model = 1 / model_sum

    def copy(index: Array, store: tuple[Array, Array]) -> tuple[Array, Array]:
        which, place = lists.rows(index * rows, rows)
        model = contrast_of(every.flat, blend, which, place)
        arrays = (every.flat.counts, every.off, every.share, every.signal)
        bins = jnp.stack([array[which] for array in arrays])
        return (
            lax.dynamic_update_slice(store[0], bins, (zero, index * rows, zero)),
            lax.dynamic_update_slice(store[1], model.swapaxes(1, 2), (index * rows, zero, zero)),
        )

    bins, model = lax.fori_loop(zero, -(-lists.n_rows // rows), copy, space[:2])

    def scale(index: Array, store: tuple[Array, Array]) -> tuple[Array, Array]:
        own = lax.dynamic_slice_in_dim(bins, index * ROWS, ROWS, axis=1)
        scaled = lax.dynamic_slice_in_dim(model, index * ROWS, ROWS) * per_model[None]
        return (
            lax.dynamic_update_slice(store[0], own.astype(LEAD), (zero, index * ROWS, zero)),
            lax.dynamic_update_slice(store[1], scaled.astype(LEAD), (index * ROWS, zero, zero)),
        )

    lead = lax.fori_loop(zero, lists.n_rows // ROWS, scale, space[2:])
    return OnOffSpace(bins, model, *lead)


class OnOffSums(NamedTuple):
    """Listed bins, and what all bins that are not listed add."""

    bins: Array
    model: Array
    n_rows: Array
    model_sum: Array  # of all bins, shape (pixels, tiles)
    jump: Array  # by how much the slope of bins without any counts jumps at norm 0

    def blocks(self, rows: int = ROWS) -> Blocks:
        """Return the bins in blocks of so many rows."""

        def take(index: Array) -> tuple[Array, ...]:
            bins = lax.dynamic_slice_in_dim(self.bins, index * rows, rows, axis=1)
            model = lax.dynamic_slice_in_dim(self.model, index * rows, rows)
            return (*(a[:, None] for a in bins), model)

        return Blocks(take, self.n_rows // rows, jnp.zeros_like(self.model_sum))

    def totals(self, known_signal: bool) -> Totals:
        """Return what the solver begins with."""

        def terms(n: Array, k: Array, share: Array, signal: Array, m: Array) -> tuple[Array, ...]:
            ratio, _ = on_off_scores(signal, n, k, share)
            per_share = jnp.where(share > 0, 1 / jnp.where(share > 0, share, 1), 0)
            excess = n - signal - share / (1 - share) * k
            row = lax.optimization_barrier((n, k, excess, ratio, per_share))
            n, k, excess, ratio, per_share = row
            seen = m > 0
            reached = (jnp.where(seen, a, 0) for a in (n, k, excess))
            return *reached, m * ratio, m * per_share

        def largest(n: Array, k: Array, share: Array, signal: Array, m: Array) -> tuple[Array, ...]:
            seen = (m > 0) & (share > 0)
            return (jnp.where(seen, signal / jnp.where(m > 0, m, 1), 0),)

        found = sums_over(self.blocks(_TOTAL_ROWS), terms, 5)
        known = jnp.zeros_like(self.model_sum)
        if known_signal:
            known = largest_over(self.blocks(_TOTAL_ROWS), largest, 1)[0]
        counts, off, excess, ratio, pull = found
        return Totals(counts, off, excess, ratio, pull, jnp.maximum(known, 0))

    def slopes(self, norm: Array) -> Slopes:
        """Return half the slope of the statistic to the right of a norm, and half its curvature."""

        def terms(n: Array, k: Array, share: Array, signal: Array, m: Array) -> tuple[Array, ...]:
            ratio, bend = on_off_scores(signal + norm[None] * m, n, k, share)
            return m * ratio, m * m * bend

        ratio, bend = sums_over(self.blocks(_SCORE_ROWS), terms, 2)
        lacking = jnp.where(norm < 0, self.jump, 0)
        return Slopes(self.model_sum - ratio - lacking, bend)

    def gain(self, norm: Array) -> tuple[Array, Array]:
        """Return the gain of the log-likelihood over norm 0, and the change of the ON prediction.

        Of the prediction that of bins without any counts is left out.
        """

        def terms(n: Array, k: Array, share: Array, signal: Array, m: Array) -> tuple[Array, ...]:
            return gain_terms_on_off(norm[None] * m, n, k, share, signal)

        gain, change = sums_over(self.blocks(_LOG_ROWS), terms, 2)
        return gain - norm * self.model_sum + jnp.minimum(norm, 0) * self.jump, change

    def kink(self, norm: Array) -> tuple[Array, Array]:
        """Return the jumps of the slope at a norm: in all, and of bins that are below theirs."""

        def terms(n: Array, k: Array, share: Array, signal: Array, m: Array) -> tuple[Array, ...]:
            at = signal + norm[None] * m
            near = jnp.abs(at) <= 16 * jnp.finfo(at.dtype).eps * signal
            here = near & (n <= 0) & (k <= 0) & (share > 0)
            jump = jnp.where(here, m / jnp.where(here, share, 1), 0)
            return jump, jnp.where(at < 0, jump, 0)

        jump, below = sums_over(self.blocks(_SCORE_ROWS), terms, 2)
        return jump + jnp.where(norm == 0, self.jump, 0), below

    def background_curvature(self) -> Array:
        """Sum the squares of the model over the measured background."""

        def terms(n: Array, k: Array, share: Array, signal: Array, m: Array) -> tuple[Array, ...]:
            background = signal + share / (1 - share) * k
            return (m * (m / jnp.maximum(background, BACKGROUND_FLOOR)),)

        return sums_over(self.blocks(), terms, 1)[0]

    def asimov(self, norm: Array) -> Rise:
        """Return half the statistic of a source that has the counts expected, and its slope."""

        def terms(n: Array, k: Array, share: Array, signal: Array, m: Array) -> tuple[Array, ...]:
            alpha = share / (1 - share)
            expected = (signal + alpha * k) + norm[None] * m
            bins = jnp.broadcast_arrays(signal, expected, k, alpha)
            # a bin without a prediction has no model either
            excess = jnp.where(m > 0, on_off_fit(*bins).excess, 0)
            return jnp.where(m > 0, 0.5 * w_terms(*bins), 0), -m * jnp.log1p(-excess)

        value, slope = sums_over(self.blocks(_LOG_ROWS), terms, 2)
        return Rise(value + norm * self.jump, slope + self.jump)


def gain_terms_on_off(
    step: Array, n: Array, k: Array, share: Array, signal: Array
) -> tuple[Array, Array]:
    """Return gains over a step from the known signal, with the step, and changes of prediction."""
    d0 = share * (n - k) - signal
    product = 4 * (share * n) * (share * k)
    root0 = jnp.sqrt(d0 * d0 + product)
    ends = share * (n + k)
    background = 0.5 * (root0 + ends - signal)
    # where little background is left the two terms cancel
    other = jnp.maximum(root0 - ends + signal, jnp.finfo(root0.dtype).tiny)
    background = jnp.where(signal > ends, 2 * share * k * signal / other, background)
    predicted = jnp.maximum(0.5 * (root0 + ends + signal), BACKGROUND_FLOOR)
    per_share = jnp.where(share > 0, 1 / jnp.where(share > 0, share, 1), 0)
    per_mu, per_b = 1 / predicted, 1 / jnp.maximum(background, BACKGROUND_FLOOR)
    row = (d0, root0, product, n, k, per_mu, per_b, per_share)
    d0, root0, product, n, k, per_mu, per_b, per_share = lax.optimization_barrier(row)
    d1 = d0 - step
    root1 = jnp.sqrt(d1 * d1 + product)
    total = root0 + root1
    turned = (d0 + d1) / jnp.maximum(total, jnp.finfo(total.dtype).tiny)
    change, d_b = 0.5 * step * (1 - turned), -0.5 * step * (1 + turned)
    least = -1 + jnp.finfo(step.dtype).eps
    gain_on = n * log1p_inside(jnp.maximum(change * per_mu, least))
    gain_off = k * log1p_inside(jnp.maximum(d_b * per_b, least))
    gain_on = jnp.where((per_share <= 0) & (n > 0) & (step <= d0), -jnp.inf, gain_on)
    return gain_on + gain_off - d_b * per_share, change
