"""The sensitivity of a chunk of tiles, from every bin of their windows that has a model."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    FitOptions,
    climb,
    one_bin_root,
    required,
)
from gammagrad.core.ts_map.bin_sums import LEAD, WIDE_VECTORS
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
) -> dict[str, Array]:
    """Find the sensitivity of one chunk of tiles."""
    bins = tiles.bins(flat, occupied=False, blend=blend)
    (curvature,) = bins.total(lambda b, g: (b * g * g,), 1)
    known = curvature > 0
    safe = jnp.where(known, curvature, 1)
    target = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2, safe.shape)
    # in units of each tile's counts, which single precision can hold whatever the exposure
    unit = jnp.max(model_sum, axis=0)
    start = one_bin_root(model_sum / unit[None], safe / unit[None] ** 2, target)
    norm = _lead(bins.in_units(unit, LEAD), start, known, target) / unit[None]
    norm = climb(bins.asimov, norm, target, _MOST_SWEEPS, _LAST_STEP)
    return {"norm_sensitivity": jnp.where(known, required(norm, model_sum, curvature, options), 0)}


@compiled(donate_argnames="space", compiler_options=WIDE_VECTORS)
def listed_sensitivity(
    flat: FlatBins,
    lists: Lists,
    model_sum: Array,
    options: FitOptions,
    blend: TileBlend,
    space: Workspace,
) -> tuple[Workspace, dict[str, Array]]:
    """Find the sensitivity of one chunk of tiles from lists of all bins that have a weight."""
    space, _ = gather(flat._replace(counts=flat.background), lists, model_sum, space, blend)
    bins, lead = space.lists(lists.n_rows)
    (curvature,) = bins.total(lambda b, g: (b * g * g,), 1)
    known = curvature > 0
    safe = jnp.where(known, curvature, 1)
    target = jnp.broadcast_to(options.n_sigma_sensitivity**2 / 2, safe.shape)
    start = one_bin_root(model_sum, safe, target)
    begin = (start * model_sum).astype(LEAD)
    root = climb(lead.asimov, begin, target.astype(LEAD), _LEAD_SWEEPS, _LEAD_STEP)
    led = root.astype(start.dtype) / model_sum
    start = jnp.where(known & jnp.isfinite(led) & (led > 0), led, start)
    norm = climb(bins.asimov, start, target, _MOST_SWEEPS, _LAST_STEP)
    needed = required(norm, model_sum, curvature, options)
    return space, {"norm_sensitivity": jnp.where(known, needed, 0)}


def _lead(bins: Windowed, start: Array, known: Array, target: Array) -> Array:
    """Return the roots as far as single precision finds them, each tile's first from one pixel."""

    def climbed(bins: Windowed, start: Array, known: Array) -> Array:
        level = jnp.broadcast_to(target[:1], start.shape).astype(LEAD)
        root = climb(bins.asimov, start.astype(LEAD), level, _LEAD_SWEEPS, _LEAD_STEP)
        return jnp.where(known & jnp.isfinite(root) & (root > 0), root.astype(start.dtype), start)

    first = start[MIDDLE]
    scale = climbed(bins.of_pixels(MIDDLE), first, known[MIDDLE]) / first
    return climbed(bins, start * jnp.clip(scale, 0.2, 5), known)
