"""The sensitivity of a chunk of tiles, from every bin of their windows that has a model."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    AsimovSums,
    FitOptions,
    Lost,
    climb,
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
    lost: Lost | None = None,
) -> dict[str, Array]:
    """Find the sensitivity of one chunk of tiles."""
    bins = tiles.bins(flat, occupied=False, blend=blend)
    (curvature,) = bins.total(lambda b, g: (b * g * g,), 1)
    known = curvature > 0
    safe = jnp.where(known, curvature, 1)
    level = 1.0 if lost is None else lost.level
    target = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2 / level, safe.shape)
    # in units of each tile's counts, which single precision can hold whatever the exposure
    unit = jnp.max(model_sum, axis=0)
    curved = safe if lost is None else lost.curvature(safe)
    start = one_bin_root(model_sum / unit[None], curved / unit[None] ** 2, target)
    own = None if lost is None else lost.scaled(unit[None]).astype(LEAD)
    norm = _lead(bins.in_units(unit, LEAD), own, start, known, target) / unit[None]
    norm = climb(_asimov(bins, lost), norm, target, _MOST_SWEEPS, _LAST_STEP)
    needed = required(norm * level, model_sum, curvature / level, options)
    return {"norm_sensitivity": jnp.where(known, needed, 0)}


def _asimov(bins: BinSums, lost: Lost | None) -> Callable[[Array], AsimovSums]:
    """Return half the Asimov statistic, less what is lost to norms of the background."""
    return bins.asimov if lost is None else lambda x: lost.taken_from(bins.asimov(x), x)


@compiled(donate_argnames="space", compiler_options=WIDE_VECTORS)
def listed_sensitivity(
    flat: FlatBins,
    lists: Lists,
    model_sum: Array,
    options: FitOptions,
    blend: TileBlend | None,
    space: Workspace,
    lost: Lost | None = None,
) -> tuple[Workspace, dict[str, Array]]:
    """Find the sensitivity of one chunk of tiles from lists of all bins that have a weight."""
    space, _ = gather(flat._replace(counts=flat.background), lists, model_sum, space, blend)
    bins, lead = space.lists(lists.n_rows)
    (curvature,) = bins.total(lambda b, g: (b * g * g,), 1)
    known = curvature > 0
    safe = jnp.where(known, curvature, 1)
    level = 1.0 if lost is None else lost.level
    target = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2 / level, safe.shape)
    start = one_bin_root(model_sum, safe if lost is None else lost.curvature(safe), target)
    begin = (start * model_sum).astype(LEAD)
    own = None if lost is None else lost.scaled(model_sum).astype(LEAD)
    root = climb(_asimov(lead, own), begin, target.astype(LEAD), _LEAD_SWEEPS, _LEAD_STEP)
    led = root.astype(start.dtype) / model_sum
    start = jnp.where(known & jnp.isfinite(led) & (led > 0), led, start)
    norm = climb(_asimov(bins, lost), start, target, _MOST_SWEEPS, _LAST_STEP)
    needed = required(norm * level, model_sum, curvature / level, options)
    return space, {"norm_sensitivity": jnp.where(known, needed, 0)}


def _lead(
    bins: Windowed,
    lost: Lost | None,
    start: Array,
    known: Array,
    target: Array,
) -> Array:
    """Return the roots as far as single precision finds them, each tile's first from one pixel."""

    def climbed(bins: Windowed, start: Array, known: Array, pixels: slice) -> Array:
        own = lost and Lost(lost.level, *(a[:, pixels] for a in lost[1:]))
        level = target[pixels].astype(LEAD)
        first = start.astype(LEAD)
        root = climb(_asimov(bins, own), first, level, _LEAD_SWEEPS, _LEAD_STEP)
        return jnp.where(known & jnp.isfinite(root) & (root > 0), root.astype(start.dtype), start)

    first = start[MIDDLE]
    scale = climbed(bins.of_pixels(MIDDLE), first, known[MIDDLE], MIDDLE) / first
    return climbed(bins, start * jnp.clip(scale, 0.2, 5), known, slice(None))
