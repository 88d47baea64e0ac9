"""Traced work on one chunk of tiles: the bins of its lists gathered, then fitted.

All sums over bins run through `Gathered.total`. Solvers lead in with sums in single precision, in
units in which it cannot overflow, and end with a sweep or two in the precision of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    FitOptions,
    Root,
    interval_steps,
    newton,
)
from gammagrad.core.stats import GainSums
from gammagrad.core.ts_map.bin_sums import (
    LEAD,
    WIDE_VECTORS,
    BinProfile,
    BinSums,
    Edge,
    Lead,
    scan,
)
from gammagrad.core.ts_map.flat import FlatBins
from gammagrad.core.ts_map.listed import Lists, Workspace, gather
from gammagrad.core.ts_map.windowed import MIDDLE, TileWindows, Windowed

# the lead's last step, in errors: the next, in full precision, is then as small as its rounding
_LEAD_STEP = 1e-3
# when to stop: the last step in errors, the part of it that is left, and its change of ``S2``
_LAST_STEP, _LAST_ERROR, _LAST_CHANGE = 1e-3, 1e-10, 2e-5


class TileInputs(NamedTuple):
    """What a chunk needs to know of its tiles' pixels, shape (pixels, tiles) of each array."""

    bound: Any  # physical bound of the norm
    model_sum: Any  # sum of the model counts at norm 1, > 0
    guess: Any = None  # norm to try first, with a threshold
    blend: Any = None  # `TileBlend` of kernels that differ from position to position


_Polished = tuple[Array, Array, Array, Array, Array, Array]
"""Sweeps made, norm, last step, gain and ``S2``, and whether to go on."""


def _finish(
    sums: Callable[[Array], GainSums],
    start: Array,
    lower: Array,
    model_sum: Array,
    n_sweeps: int,
) -> tuple[Array, Array, Array, Array]:
    """Polish led-in norms; return them, the last step in errors, gain and ``S2`` at the norm."""
    # The sums are those of the last sweep, carried over its step by their derivatives.
    tiny = jnp.finfo(start.dtype).tiny

    def sweep(state: _Polished) -> _Polished:
        index, x, *_ = state
        gain, s1, s2, s3 = sums(x)
        safe = jnp.maximum(s2, tiny)
        moved = jnp.where(s2 > 0, jnp.maximum(lower, x + s1 / safe * (s1 / model_sum - 1)), lower)
        d = moved - x
        size = jnp.abs(d) * jnp.sqrt(s2)
        # the next step would be this large; Newton's error from the third derivative
        left = jnp.abs(s3 / safe - s2 / jnp.maximum(s1, tiny)) * jnp.abs(d) * size
        change = jnp.abs(d) * s3 / safe
        going = ((size > _LAST_STEP) | (left > _LAST_ERROR) | (change > _LAST_CHANGE)).any()
        # a step too long for its own derivatives is not taken if it is the last
        refused = (index + 1 == n_sweeps) & (size > 1e-2)
        d, size = jnp.where(refused, 0, d), jnp.where(refused, jnp.inf, size)
        gain = gain + d * (s1 - d * (s2 / 2 - d * s3 / 3))
        return index + 1, x + d, size, gain, jnp.maximum(s2 - 2 * d * s3, 0), going

    def unfinished(state: _Polished) -> Array:
        return state[-1] & (state[0] < n_sweeps)

    zero = jnp.zeros_like(start)
    first = (jnp.zeros((), jnp.int32), start, zero, zero, zero, jnp.ones((), bool))
    _, norm, size, gain, s2, _ = lax.while_loop(unfinished, sweep, first)
    return jnp.maximum(norm, lower), size, gain, s2


class Prepared(NamedTuple):
    """A chunk's bins, ready to be summed."""

    # full, lead: the bins in the precision of the data, and in single precision for norms times
    # `unit`
    full: BinSums
    lead: BinSums
    unit: Array  # about the model counts at norm 1, broadcast against (pixels, tiles)
    edge: Edge  # what the occupied bins say about the best fit


def prepare(
    flat: FlatBins, bins: Lists | TileWindows, tiles: TileInputs, space: Workspace | None
) -> tuple[Workspace | None, Prepared]:
    """Gather lists into the workspace, or collect what windows see."""
    total = tiles.model_sum
    if isinstance(bins, TileWindows):
        seen = bins.bins(flat, occupied=True, blend=tiles.blend)
        unit = jnp.max(total, axis=0)
        lead = seen.in_units(unit, LEAD)
        return None, Prepared(seen, lead, unit[None], seen.edge(total))
    assert space is not None
    space, edge = gather(flat, bins, total, space, tiles.blend)
    listed, listed_lead = space.lists(bins.n_rows)
    return space, Prepared(listed, listed_lead, total, edge)


def solve(
    bins: Prepared, tiles: TileInputs, rtol: Array | float, n_sweeps: int
) -> tuple[Root, Array, Array]:
    """Solve for the best norms; return them with the gain and ``S2`` there."""
    total, edge, unit = tiles.model_sum, bins.edge, bins.unit
    lower = jnp.maximum(tiles.bound, edge.proven)
    # in single precision the domain ends a little earlier
    ends = -(1 - 4 * jnp.finfo(LEAD).eps) / jnp.maximum(edge.steepest / unit, 1e-30).astype(LEAD)
    lowest = jnp.maximum((lower * unit).astype(LEAD), ends)
    expected = (total / unit).astype(LEAD)

    def led(lead: BinSums, first: Array, pixels: slice, tolerance: float) -> Root:
        return newton(
            lead.scores,
            jnp.maximum(first, lowest[pixels]),
            lowest[pixels],
            expected[pixels],
            n_sweeps=n_sweeps,
            rtol=jnp.asarray(rtol, LEAD),
            tolerance=tolerance,
        )

    first = jnp.zeros_like(lowest)
    if isinstance(bins.lead, Windowed):
        first = jnp.broadcast_to(
            led(bins.lead.of_pixels(MIDDLE), first[MIDDLE], MIDDLE, 0.1).norm, first.shape
        )
    root = led(bins.lead, first, slice(None), _LEAD_STEP)
    start = jnp.maximum(root.norm.astype(total.dtype) / unit, lower)
    norm, step, gain, s2 = _finish(bins.full.gains, start, lower, total, n_sweeps)
    return Root(norm, root.niter, step), gain, s2


@compiled(
    static=("selection", "threshold_is_set", "n_sweeps"),
    # intervals and scans would take a fifth longer
    quick=lambda selection, **_: not selection,
    donate_argnames="space",
    compiler_options=WIDE_VECTORS,
)
def fit_chunk(
    flat: FlatBins,
    bins: Lists | TileWindows,
    tiles: TileInputs,
    options: FitOptions,
    scan_values: Array | None,
    threshold: Array,
    space: Workspace | None,
    *,
    selection: tuple[str, ...],
    threshold_is_set: bool,
    n_sweeps: int,
) -> tuple[Workspace | None, dict[str, Array]]:
    """Fit the norms of one chunk of tiles."""
    total = tiles.model_sum
    space, ready = prepare(flat, bins, tiles, space)
    full, edge = ready.full, ready.edge
    profile = BinProfile(full, total, edge.steepest)
    root, gain, s2 = solve(ready, tiles, options.rtol, n_sweeps)
    best = norm = root.norm
    found: dict[str, Array] = {}
    lead = Lead(ready.lead, ready.unit)
    error_at_bound = profile.ends_at(best, gain, s2, tiles.bound, options.n_sigma**2, lead)
    if threshold_is_set:
        guess = jnp.maximum(tiles.guess, jnp.maximum(tiles.bound, edge.proven))
        tried = full.gains(guess)
        found["kept"] = kept = 2 * (tried.gain - guess * total) <= threshold
        norm, gain, s2 = (
            jnp.where(kept, a, b) for a, b in ((guess, norm), (tried.gain, gain), (tried.s2, s2))
        )
    found |= {
        "norm": norm,
        "s2": s2,
        "gain": gain,
        "niter": root.niter,
        "last_step": root.last_step,
        "has_counts": edge.steepest > 0,
        "error_at_bound": error_at_bound,
    }
    found |= _optional(
        profile,
        norm,
        best if threshold_is_set else None,
        tiles.bound,
        options,
        selection,
        scan_values,
    )
    return space, found


def _optional(
    profile: BinProfile,
    norm: Array,
    best: Array | None,
    bound: Array,
    options: FitOptions,
    selection: tuple[str, ...],
    scan_values: Array | None,
) -> dict[str, Array]:
    """Return the optional outputs; `best` is the best fit where `norm` may be a guess."""
    found: dict[str, Array] = {}
    steps = interval_steps(profile, norm, best, bound, options, selection)
    if steps.up is not None and steps.down is not None:
        found["norm_errp"] = steps.up[0] + steps.up[1] - norm
        found["norm_errn"] = jnp.maximum(norm - (steps.down[0] + steps.down[1]), 0)
    if steps.limit is not None:
        found["norm_ul"] = steps.limit[0] + steps.limit[1]
    if "stat_scan" in selection and scan_values is not None:
        found["stat_scan"] = scan(profile, bound, scan_values)
    return found
