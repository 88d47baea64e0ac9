"""The sensitivity of a chunk of tiles, from every bin of their windows that has a model."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    AsimovSums,
    FitOptions,
    Window,
    climb,
    free_asimov,
    one_bin_root,
    required,
)
from gammagrad.core.ts_map.bin_sums import LEAD, WIDE_VECTORS, BinSums
from gammagrad.core.ts_map.blended import TileBlend
from gammagrad.core.ts_map.flat import FlatBins
from gammagrad.core.ts_map.listed import Lists, Workspace, gather
from gammagrad.core.ts_map.windowed import MIDDLE, TileWindows, Windowed

# relative step that is the lead's last: as the error is cubed, one in full precision then does
_LEAD_STEP, _LEAD_SWEEPS = 0.25, 5
# the last of all: the error is cubed
_LAST_STEP, _MOST_SWEEPS = 1e-4, 12


@compiled(compiler_options=WIDE_VECTORS)
def sensitivity_chunk(
    flat: FlatBins,
    tiles: TileWindows,
    model_sum: Array,
    options: FitOptions,
    blend: TileBlend | None = None,
    window: Window | None = None,
) -> dict[str, Array]:
    """Find the sensitivity of one chunk of tiles."""
    bins = tiles.bins(flat, occupied=False, blend=blend)
    (curvature,) = bins.total(lambda b, g: (b * g * g,), 1)
    known = curvature > 0
    safe = jnp.where(known, curvature, 1)
    level = _level(window)
    target = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2 / level, safe.shape)
    # in units of each tile's counts, which single precision can hold whatever the exposure
    unit = jnp.max(model_sum, axis=0)
    own, lost = model_sum / unit[None], None if window is None else window.expected
    start = one_bin_root(own, _curvature(safe, model_sum, lost) / unit[None] ** 2, target)
    norm = _lead(bins.in_units(unit, LEAD), (own, lost), start, known, target) / unit[None]
    norm = climb(_asimov(bins, model_sum, lost), norm, target, _MOST_SWEEPS, _LAST_STEP)
    needed = required(norm * level, model_sum, curvature / level, options)
    return {"norm_sensitivity": jnp.where(known, needed, 0)}


def _level(window: Window | None) -> Array | float:
    """Return the norm of the background that the sensitivity is for."""
    # without counts it is as if there were one
    return 1.0 if window is None else jnp.maximum(window.total, 1) / window.expected


def _curvature(plain: Array, model_sum: Array, lost: Array | None) -> Array:
    """Return the curvature that is left where the background's norm is fitted."""
    if lost is None:
        return plain
    left = plain - model_sum**2 / lost
    return jnp.where(left > 0, left, plain)


def _asimov(bins: BinSums, model_sum: Array, lost: Array | None) -> Callable[[Array], AsimovSums]:
    """Return half the Asimov statistic; see `free_asimov` for what is lost to the background."""
    if lost is None:
        return bins.asimov
    return lambda norm: free_asimov(bins.asimov(norm), norm, model_sum, lost)


@compiled(donate_argnames="space", compiler_options=WIDE_VECTORS)
def listed_sensitivity(
    flat: FlatBins,
    lists: Lists,
    model_sum: Array,
    options: FitOptions,
    blend: TileBlend | None,
    space: Workspace,
    window: Window | None = None,
) -> tuple[Workspace, dict[str, Array]]:
    """Find the sensitivity of one chunk of tiles from lists of all bins that have a weight."""
    space, _ = gather(flat._replace(counts=flat.background), lists, model_sum, space, blend)
    bins, lead = space.lists(lists.n_rows)
    (curvature,) = bins.total(lambda b, g: (b * g * g,), 1)
    known = curvature > 0
    safe = jnp.where(known, curvature, 1)
    level, lost = _level(window), None if window is None else window.expected
    target = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2 / level, safe.shape)
    start = one_bin_root(model_sum, _curvature(safe, model_sum, lost), target)
    begin = (start * model_sum).astype(LEAD)
    short = None if lost is None else lost.astype(LEAD)
    led_sums = _asimov(lead, jnp.ones_like(begin), short)
    root = climb(led_sums, begin, target.astype(LEAD), _LEAD_SWEEPS, _LEAD_STEP)
    led = root.astype(start.dtype) / model_sum
    start = jnp.where(known & jnp.isfinite(led) & (led > 0), led, start)
    norm = climb(_asimov(bins, model_sum, lost), start, target, _MOST_SWEEPS, _LAST_STEP)
    needed = required(norm * level, model_sum, curvature / level, options)
    return space, {"norm_sensitivity": jnp.where(known, needed, 0)}


def _lead(
    bins: Windowed,
    sums: tuple[Array, Array | None],
    start: Array,
    known: Array,
    target: Array,
) -> Array:
    """Return the roots as far as single precision finds them, each tile's first from one pixel."""

    def climbed(bins: Windowed, start: Array, known: Array, pixels: slice) -> Array:
        own, lost = (None if a is None else a[pixels].astype(LEAD) for a in sums)
        assert own is not None
        level = target[pixels].astype(LEAD)
        first = start.astype(LEAD)
        root = climb(_asimov(bins, own, lost), first, level, _LEAD_SWEEPS, _LEAD_STEP)
        return jnp.where(known & jnp.isfinite(root) & (root > 0), root.astype(start.dtype), start)

    first = start[MIDDLE]
    scale = climbed(bins.of_pixels(MIDDLE), first, known[MIDDLE], MIDDLE) / first
    return climbed(bins, start * jnp.clip(scale, 0.2, 5), known, slice(None))
