"""Traced work on one chunk of tiles with ON and OFF counts: bins gathered, then fitted."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    Bracket,
    FitOptions,
    Rise,
    find_norm,
    find_rise,
    one_bin_root,
    parabola_step,
    required,
    smallest,
)
from gammagrad.core.stats import BACKGROUND_FLOOR
from gammagrad.core.ts_map.bin_sums import LEAD, WIDE_VECTORS
from gammagrad.core.ts_map.listed import Lists
from gammagrad.core.ts_map.on_off_lists import (
    OnOffFlat,
    OnOffSpace,
    OnOffSums,
    Totals,
    gather_on_off,
)

_MOST_LEADS = 40
# the last step in errors before the one that is taken without another look
_LAST_STEP = 1e-5


class OnOffTiles(NamedTuple):
    """What a chunk needs to know of its tiles' pixels, shape (pixels, tiles) of each array."""

    bound: Any  # physical bound of bins with a known background; minus infinity without any
    model_sum: Any  # sum of the model counts at norm 1, > 0
    jump: Any  # jump of half the slope at norm 0
    rest: Any  # model counts of bins with an OFF region that are not listed
    blend: Any = None  # `TileBlend` of kernels that differ from position to position


class Kinds(NamedTuple):
    """What the bins of a strip are, and which of them are listed."""

    known_signal: bool  # whether any bin with an OFF region has a known signal
    known_background: bool  # whether any bin has a known background
    # whether bins with OFF counts alone are not listed: best norms below 0 are then not found
    upwards: bool


class _Found(NamedTuple):
    """Best norms, and the slopes there."""

    norm: Array
    niter: Array
    last_step: Array
    right: Array
    left: Array
    bend: Array
    kept: Array  # whether a kink keeps the norm


def _bracket(totals: Totals, tiles: OnOffTiles) -> Bracket:
    """Return where best norms must lie, see `core.norm.on_off`."""
    total = tiles.model_sum
    pull = totals.pull + tiles.jump - total
    known = totals.known * jnp.where(totals.known > 0, 1 + 1e-3, 1)
    lowest = -totals.counts_off / jnp.where(pull > 0, pull, 1) - known
    lower = jnp.maximum(jnp.where(pull > 0, lowest, -jnp.inf), tiles.bound)
    upper = jnp.maximum(totals.counts / total, lower)
    return Bracket(lower, upper, totals.excess / total)


def _solve(
    sums: OnOffSums,
    lead: OnOffSums,
    totals: Totals,
    tiles: OnOffTiles,
    rtol: Array,
    kinds: Kinds,
) -> _Found:
    """Solve for the best norms: first in single precision, then in that of the data."""
    total = tiles.model_sum
    lower, upper, start = _bracket(totals, tiles)
    right = total - totals.ratio
    left = right - tiles.jump
    zero = jnp.zeros_like(total)
    kept = (tiles.jump > 0) & (right >= 0) & (left <= 0)
    at_bound = jnp.zeros(total.shape, bool)
    if kinds.known_background:
        bounded = jnp.isfinite(tiles.bound)
        at_bound = bounded & (sums.slopes(jnp.where(bounded, tiles.bound, 0)).slope >= 0)
        kept &= ~at_bound
    lower = jnp.where(right < 0, jnp.maximum(lower, 0), lower)
    upper = jnp.where(left > 0, jnp.minimum(upper, 0), upper)
    upper = jnp.maximum(upper, lower)
    done = kept | at_bound
    if kinds.upwards:
        done |= left > 0
    small = Bracket(*((a * total).astype(LEAD) for a in (lower, upper, start)))
    led = find_norm(lead.slopes, small, done, rtol.astype(LEAD), smallest(small.start), _MOST_LEADS)
    begin = jnp.where(jnp.isfinite(led.norm), led.norm.astype(total.dtype) / total, start)
    tolerance = jnp.maximum(_LAST_STEP, smallest(total))
    found = find_norm(sums.slopes, Bracket(lower, upper, begin), done, rtol, tolerance)
    norm = jnp.where(at_bound, tiles.bound, jnp.where(kept, zero, found.norm))
    at, bend = sums.slopes(norm)
    right, left = (jnp.where(kept, a, 0) for a in (total - totals.ratio, left))
    if kinds.known_signal:
        jump, below = sums.kink(norm)
        # a search ends on either side of a kink: the slope there is one of the two
        at = at + below
        held = (jump > 0) & (at >= 0) & (at - jump <= 0) & ~at_bound
        kept = kept | held
        right, left = jnp.where(held, at, right), jnp.where(held, at - jump, left)
    return _Found(norm, led.niter + found.niter, found.last_step, right, left, bend, kept)


@compiled(
    static=("selection", "kinds"),
    donate_argnames="space",
    compiler_options=WIDE_VECTORS,
)
def fit_on_off_chunk(
    flat: OnOffFlat,
    lists: Lists,
    tiles: OnOffTiles,
    options: FitOptions,
    scan_values: Array | None,
    space: OnOffSpace,
    *,
    selection: tuple[str, ...],
    kinds: Kinds,
) -> tuple[OnOffSpace, dict[str, Array]]:
    """Fit the norms of one chunk of tiles."""
    total = tiles.model_sum
    space = gather_on_off(flat, lists, total, space, tiles.blend)
    sums = OnOffSums(space.bins, space.model, lists.n_rows, total, tiles.jump)
    totals = sums.totals(kinds.known_signal)
    ones, jump = jnp.ones_like(total, LEAD), (tiles.jump / total).astype(LEAD)
    lead = OnOffSums(space.bins_lead, space.model_lead, lists.n_rows, ones, jump)
    rtol = jnp.asarray(options.rtol, total.dtype)
    best = _solve(sums, lead, totals, tiles, rtol, kinds)
    norm = best.norm
    gain, change = sums.gain(norm)
    found = {
        "norm": norm,
        "gain": gain,
        "change": change + jnp.maximum(norm, 0) * tiles.rest,
        "below": total - totals.ratio - tiles.jump > 0,
        "niter": best.niter + 1,
        "last_step": best.last_step,
        "at_kink": best.kept,
        "has_counts": totals.counts + totals.counts_off > 0,
        "error_at_bound": jnp.zeros(norm.shape, bool),
    }
    target = options.n_sigma**2
    up, down = (parabola_step(g, best.bend, target) for g in (best.right, -best.left))
    found["norm_err"] = 0.5 * (up + down)
    if kinds.known_background:
        found["error_at_bound"] = _ends(sums, tiles.bound, norm, gain, 0.5 * target)
    found |= _intervals(sums, best, gain, tiles.bound, options, selection, kinds)
    if "stat_scan" in selection and scan_values is not None:

        def scan(value: Array) -> Array:
            at = jnp.broadcast_to(value, norm.shape)
            return jnp.where(at < tiles.bound, jnp.inf, -2 * sums.gain(at)[0])

        found["stat_scan"] = lax.map(scan, scan_values)
    return space, found


def _ends(sums: OnOffSums, bound: Array, base: Array, gain: Array, half: Array | float) -> Array:
    """Tell where the statistic has not risen by a target when it reaches the bound."""
    bounded = jnp.isfinite(bound)
    at, _ = sums.gain(jnp.where(bounded, bound, base))
    return bounded & ((gain - at <= half) | (base <= bound))


class _Interval(NamedTuple):
    """An end of an interval: where it starts, which way it goes, and how far at a guess."""

    base: Array
    gain: Array
    sign: Array
    half: Array  # half of what the statistic rises by
    start: Array


def _intervals(
    sums: OnOffSums,
    best: _Found,
    gain: Array,
    bound: Array,
    options: FitOptions,
    selection: tuple[str, ...],
    kinds: Kinds,
) -> dict[str, Array]:
    """Return errors and limits."""
    wanted: dict[str, _Interval] = {}
    one = jnp.ones_like(best.norm)
    if "errn-errp" in selection:
        half = 0.5 * options.n_sigma**2 * one
        up, down = (parabola_step(g, best.bend, 2 * half) for g in (best.right, -best.left))
        wanted["norm_errp"] = _Interval(best.norm, gain, one, half, up)
        wanted["norm_errn"] = _Interval(best.norm, gain, -one, half, down)
    if "ul" in selection:
        half = 0.5 * options.n_sigma_ul**2 * one
        base = jnp.maximum(best.norm, options.norm_min)
        start = parabola_step(best.right, best.bend, 2 * half)
        wanted["norm_ul"] = _Interval(base, sums.gain(base)[0], one, half, start)
    if not wanted:
        return {}

    def find(one: _Interval) -> Array:
        base, gain, sign, half, start = one

        def rise(size: Array) -> Rise:
            norm = base + sign * size
            return Rise(gain - sums.gain(norm)[0], sign * sums.slopes(norm).slope)

        start = jnp.where(jnp.isfinite(start) & (start > 0), start, half / sums.model_sum)
        ends = jnp.zeros(base.shape, bool)
        if kinds.known_background:
            ends = (sign < 0) & _ends(sums, bound, base, gain, half)
            reach = jnp.where((sign < 0) & jnp.isfinite(bound), base - bound, jnp.inf)
            start = jnp.where(reach > 0, jnp.minimum(start, 0.9 * reach), start)
        size = find_rise(rise, start, half, ~ends)
        return jnp.where(ends, base - bound, size)

    # one after the other, so that they share a program
    stacked = _Interval(*map(jnp.stack, zip(*wanted.values(), strict=True)))
    found = dict(zip(wanted, lax.map(find, stacked), strict=True))
    if "norm_ul" in found:
        found["norm_ul"] = wanted["norm_ul"].base + found["norm_ul"]
    return found


@compiled(donate_argnames="space", compiler_options=WIDE_VECTORS)
def on_off_sensitivity(
    flat: OnOffFlat,
    lists: Lists,
    model_sum: Array,
    straight: Array,
    options: FitOptions,
    blend: Any,
    space: OnOffSpace,
) -> tuple[OnOffSpace, dict[str, Array]]:
    """Find the sensitivity of one chunk of tiles, from lists of all bins with a background."""
    # `straight` is the slope of the statistic of all others, whose OFF regions have no counts
    space = gather_on_off(flat, lists, model_sum, space, blend)
    sums = OnOffSums(space.bins, space.model, lists.n_rows, model_sum, straight)
    half = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2, model_sum.shape)
    curvature = sums.background_curvature() + straight * (straight / BACKGROUND_FLOOR)
    known = curvature > 0
    safe = jnp.where(known, curvature, 1)
    start = one_bin_root(model_sum, safe, half)
    norm = find_rise(sums.asimov, start, half, known)
    return space, {
        "norm_sensitivity": jnp.where(known, required(norm, model_sum, safe, options), 0)
    }
