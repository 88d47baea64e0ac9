"""Traced work on one chunk of tiles where a norm of the background is fitted too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    FitOptions,
    Line,
    LineProfile,
    LineSums,
    ProfileSums,
    Window,
    closer,
    line_intervals,
    line_results,
    line_scan,
    norm_of,
    solve_line,
)
from gammagrad.core.stats import GainSums
from gammagrad.core.ts_map.bin_sums import LEAD, WIDE_VECTORS
from gammagrad.core.ts_map.chunk import TileInputs, prepare
from gammagrad.core.ts_map.flat import FlatBins
from gammagrad.core.ts_map.line_view import STEEPEST, LineView, line_of_tiles
from gammagrad.core.ts_map.listed import Lists, Workspace
from gammagrad.core.ts_map.windowed import TileWindows

# the lead's last step, in errors: the next, in full precision, is then as small as its rounding
_LEAD_STEP, _LEAD_CLOSE = 1e-3, 0.03
# when to stop: the last step in errors, the part of it that is left, and its change of ``T2``
_LAST_STEP, _LAST_ERROR, _LAST_CHANGE = 1e-3, 1e-10, 2e-5
_MOST_SWEEPS = 60


class FreeInputs(NamedTuple):
    """What a chunk needs to know of the background's norm, shape (pixels, tiles) of each array."""

    bound: Any  # place of the physical bound, see `core.norm.line`
    window: Window


class _Best(NamedTuple):
    """Where fits ended, and the sums there."""

    place: Array
    niter: Array
    last_step: Array
    gain: Array
    sums: LineSums


class _State(NamedTuple):
    sweeps: Array
    best: _Best
    lower: Array
    upper: Array
    going: Array


def _with_unseen(line: Line, sums: GainSums, place: Array) -> GainSums:
    """Add the counts without a model to the gain and its derivatives."""
    rest = 1 - place
    r = -1 / rest
    gain = sums.gain + line.unseen * jnp.log1p(-place)
    t1, t2 = line.with_unseen(sums.s1, sums.s2, place)
    return GainSums(gain, t1, t2, sums.s3 + line.unseen * r**3)


def _finish(sums: Callable[[Array], GainSums], line: Line, start: Array) -> _Best:
    """Polish led-in places; the sums are those of the last sweep, carried over its step."""
    least, top = line.inside(), line.top
    tiny = jnp.finfo(start.dtype).tiny

    def sweep(state: _State) -> _State:
        index, before, lower, upper, _ = state
        place = before.place
        gain, t1, t2, t3 = _with_unseen(line, sums(place), place)
        lower, upper = closer(line, LineSums(t1, t2), place, lower, upper)
        low, high = jnp.maximum(lower, least), jnp.minimum(upper, top)
        safe = jnp.maximum(t2, tiny)
        # an end is tried unless it is known to be too far; what lies beyond it is at the end
        moved, middle = place + t1 / safe, 0.5 * (low + high)
        moved = jnp.where(moved > high, jnp.where(upper >= top, top, middle), moved)
        moved = jnp.where(moved < low, jnp.where(lower <= least, least, middle), moved)
        moved = jnp.clip(moved, least, top)
        d = moved - place
        size = jnp.abs(d) * jnp.sqrt(t2)
        ratio = jnp.abs(t3) / safe
        left, change = ratio * jnp.abs(d) * size, 2 * ratio * jnp.abs(d)
        going = (size > _LAST_STEP) | (left > _LAST_ERROR) | (change > _LAST_CHANGE)
        gain = gain + d * (t1 - d * (t2 / 2 - d * t3 / 3))
        niter = before.niter + going.astype(jnp.int32)
        carried = LineSums(t1 - d * (t2 - d * t3), jnp.maximum(t2 - 2 * d * t3, 0))
        best = _Best(moved, niter, size, gain, carried)
        return _State(index + 1, best, lower, upper, going.any())

    def unfinished(state: _State) -> Array:
        return state.going & (state.sweeps < _MOST_SWEEPS)

    zero = jnp.zeros_like(start)
    begin = _Best(start, zero.astype(jnp.int32), zero, zero, LineSums(zero, zero))
    # counts without a model leave a part of all to the background
    seen = (line.total - line.unseen) / jnp.where(line.total > 0, line.total, 1)
    upper = jnp.where(line.unseen > 0, seen, jnp.inf)
    first = _State(jnp.zeros((), jnp.int32), begin, least, upper, jnp.ones((), bool))
    return lax.while_loop(unfinished, sweep, first).best


def _solve(full: LineView, lead: LineView, line: Line) -> _Best:
    """Solve for the best places, led in by single precision."""
    short = Line(*(jnp.asarray(a).astype(LEAD) for a in line))
    short = short._replace(
        # a little further in, as the rounding of single precision has it
        unseen=jnp.where(line.unseen > 0, jnp.maximum(short.unseen, 1e-30), 0),
        highest=jnp.minimum(short.highest, STEEPEST),
    )
    none = line.total <= 0
    gone = ((line.total - line.unseen) / jnp.where(none, 1, line.total)).astype(LEAD)
    upper = jnp.where(line.unseen > 0, gone * (1 + 4 * jnp.finfo(LEAD).eps), short.top)
    found = solve_line(
        lead.line_sums,
        short,
        (short.inside(), jnp.minimum(upper, short.top)),
        tolerance=_LEAD_STEP,
        start=jnp.zeros_like(short.total),
        close=_LEAD_CLOSE,
    )
    start = jnp.clip(found.place.astype(line.total.dtype), line.inside(), line.top)
    # ends in single precision are those in double precision
    start = jnp.where(found.place <= short.inside(), line.inside(), start)
    best = _finish(full.gains, line, start)
    return best._replace(niter=found.niter + best.niter)


@compiled(
    static=("selection", "threshold_is_set"),
    donate_argnames="space",
    compiler_options=WIDE_VECTORS,
)
def fit_free_chunk(
    flat: FlatBins,
    bins: Lists | TileWindows,
    tiles: TileInputs,
    free: FreeInputs,
    options: FitOptions,
    scan_values: Array | None,
    threshold: Array,
    space: Workspace | None,
    *,
    selection: tuple[str, ...],
    threshold_is_set: bool,
) -> tuple[Workspace | None, dict[str, Array]]:
    """Fit the norms of one chunk of tiles and of the background at each of its pixels."""
    total = tiles.model_sum
    space, ready = prepare(flat, bins, tiles, space)
    factor = free.window.expected / total
    full = LineView(ready.full, factor)
    lead_factor = jnp.minimum(free.window.expected * (ready.unit / total), STEEPEST)
    lead = LineView(ready.lead, lead_factor.astype(LEAD))
    line = line_of_tiles(full, ready.edge.steepest, free.bound, free.window.total)
    best = _solve(full, lead, line)
    profile = LineProfile(full.sums_from(best.place), line, best.place, best.sums)
    asked = options, selection, scan_values, threshold if threshold_is_set else None
    found = _results(profile, best, tiles, free.window, *asked)
    return space, found | {"has_counts": ready.edge.steepest > 0}


@compiled(static=("selection", "threshold_is_set"))
def without_counts(
    tiles: TileInputs,
    free: FreeInputs,
    options: FitOptions,
    scan_values: Array | None,
    threshold: Array,
    *,
    selection: tuple[str, ...],
    threshold_is_set: bool,
) -> dict[str, Array]:
    """Return what `fit_free_chunk` does for pixels that see no counts with a model."""
    total = free.window.total
    below = jnp.full_like(total, -1)
    line = Line(total, total, below, below, free.bound)
    place, zero = line.inside(), jnp.zeros_like(total)
    gain = total * jnp.log1p(-place)
    sums = line.with_unseen(zero, zero, place)
    best = _Best(place, zero.astype(jnp.int32), zero, gain, sums)
    profile = LineProfile(lambda step: ProfileSums(zero, zero, zero), line, place, sums)
    asked = options, selection, scan_values, threshold if threshold_is_set else None
    found = _results(profile, best, tiles, free.window, *asked)
    return found | {"has_counts": jnp.zeros(total.shape, bool)}


def _results(
    profile: LineProfile,
    best: _Best,
    tiles: TileInputs,
    window: Window,
    options: FitOptions,
    selection: tuple[str, ...],
    scan_values: Array | None,
    threshold: Array | None,
) -> dict[str, Array]:
    """Return everything that comes out of a chunk."""
    model_sum, line = tiles.model_sum, profile.line
    found = line_results(profile, best.gain, window, model_sum, options)
    gained, guess = found["gained"], None
    kept = jnp.zeros(gained.shape, bool)
    if threshold is not None:
        safe = jnp.where(window.total > 0, window.total, 1)
        at = tiles.guess * model_sum / safe
        place, risen = profile.at_norm(at)
        kept = (gained - risen <= threshold) & jnp.isfinite(risen)
        # the background's norm that goes with the guess
        away = at / jnp.where(place == 0, 1, place)
        taken = norm_of(place, window, model_sum)[1] * jnp.where(place == 0, 1, away)
        changed = {"norm": tiles.guess, "gained": gained - risen, "background_norm": taken}
        found |= {name: jnp.where(kept, new, found[name]) for name, new in changed.items()}
        guess = found["norm"], jnp.where(kept, risen, 0)
    found |= line_intervals(profile, gained, window, model_sum, options, selection, guess=guess)
    if "stat_scan" in selection and scan_values is not None:
        found["stat_scan"] = line_scan(profile, gained, window, model_sum, scan_values)
    return found | {
        "niter": best.niter,
        "last_step": best.last_step,
        "kept": kept,
        "at_bound": profile.best <= line.inside(),
        "vanishes": profile.best >= line.top,
    }
