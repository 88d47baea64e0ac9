"""Traced work on one chunk of tiles where each of several groups has a norm of the background."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gammagrad._programs import compiled
from gammagrad.core.norm import (
    FitOptions,
    RatioSums,
    SeveralProfile,
    Window,
    groups_of,
    ratio_terms,
    several_results,
    several_undetermined,
)
from gammagrad.core.ts_map.bin_sums import WIDE_VECTORS, BinSums
from gammagrad.core.ts_map.chunk import TileInputs, prepare
from gammagrad.core.ts_map.flat import FlatBins
from gammagrad.core.ts_map.listed import Gathered, Lists, Workspace
from gammagrad.core.ts_map.windowed import TileWindows, Windowed

_ROWS = 4


class GroupInputs(NamedTuple):
    """What a chunk needs to know of the groups, shape (groups, pixels, tiles) of each array."""

    windows: Window
    model_sum: Any
    bound: Any  # norm at which the first prediction vanishes
    of_bin: Any  # group of each bin, in the order of `FlatBins`


def _by_group(
    flat: FlatBins, bins: Lists | TileWindows, full: BinSums, groups: GroupInputs
) -> list[BinSums]:
    """Return the bins with the counts of one group after the other."""
    number = groups.model_sum.shape[0]
    if isinstance(bins, TileWindows):
        assert isinstance(full, Windowed)
        first = bins.places.images
        of_place = jnp.asarray(groups.of_bin)[first]
        return [
            full._replace(weights=jnp.where((of_place == g)[:, None], full.weights, 0))
            for g in range(number)
        ]
    assert isinstance(full, Gathered)
    which, _ = bins.rows(jnp.zeros((), jnp.int32), full.counts.shape[0])
    own = jnp.asarray(groups.of_bin)[which]
    return [full._replace(counts=jnp.where(own == g, full.counts, 0)) for g in range(number)]


@compiled(static=("selection", "gaussian"), donate_argnames="space", compiler_options=WIDE_VECTORS)
def fit_several_chunk(
    flat: FlatBins,
    bins: Lists | TileWindows,
    tiles: TileInputs,
    groups: GroupInputs,
    options: FitOptions,
    scan_values: Array | None,
    space: Workspace | None,
    *,
    selection: tuple[str, ...],
    gaussian: bool,
) -> tuple[Workspace | None, dict[str, Array]]:
    """Fit the norms of one chunk of tiles, and those of the background at each of its pixels."""
    space, ready = prepare(flat, bins, tiles, space)
    parts = _by_group(flat, bins, ready.full, groups)
    seen = jnp.stack([_counts(part, tiles.model_sum) for part in parts])

    def sums(ratio: Array) -> RatioSums:
        found = [
            part.total(lambda n, g, u=u: ratio_terms(u[None], jnp.where(g > 0, n, 0), g), 6, _ROWS)
            for part, u in zip(parts, ratio, strict=True)
        ]
        return RatioSums(*(jnp.stack(term) for term in zip(*found, strict=True)))

    found = _several(sums, seen, tiles, groups, options, scan_values, selection, gaussian)
    return space, found | {"has_counts": ready.edge.steepest > 0}


def _counts(part: BinSums, like: Array) -> Array:
    """Return the counts with a model of one group."""
    shape = like.shape
    (found,) = part.total(
        lambda n, g: (jnp.broadcast_to(jnp.where(g > 0, n, 0), (len(n), *shape)),), 1
    )
    return found


@compiled(static=("selection", "gaussian"))
def several_without_counts(
    tiles: TileInputs,
    groups: GroupInputs,
    options: FitOptions,
    scan_values: Array | None,
    *,
    selection: tuple[str, ...],
    gaussian: bool,
) -> dict[str, Array]:
    """Return what `fit_several_chunk` does for pixels that see no counts with a model."""
    zero = jnp.zeros_like(groups.model_sum)

    def sums(ratio: Array) -> RatioSums:
        return RatioSums(*(zero,) * 6)

    found = _several(sums, zero, tiles, groups, options, scan_values, selection, gaussian)
    return found | {"has_counts": jnp.zeros(tiles.model_sum.shape, bool)}


def _several(
    sums: Any,
    seen: Array,
    tiles: TileInputs,
    groups: GroupInputs,
    options: FitOptions,
    scan_values: Array | None,
    selection: tuple[str, ...],
    gaussian: bool,
) -> dict[str, Array]:
    """Return everything that comes out of a chunk."""
    known = groups_of(groups.windows, seen, groups.model_sum, groups.bound, gaussian)
    profile = SeveralProfile(sums, known)
    counts = groups.windows.counts.sum(axis=0)
    scale = jnp.maximum(counts, 1) ** 0.5 / tiles.model_sum
    norm, beta, niter, open_ = profile.minimum(scale)
    found = several_results(profile, groups.windows, (norm, beta), options, selection, scan_values)
    zero_bound = ((groups.model_sum > 0) & (groups.bound >= 0)).any(axis=0)
    return found | {
        "niter": niter,
        # without any counts the norms fall to 0, which has no end
        "last_step": jnp.where(open_ & (groups.windows.total.sum(axis=0) > 0), jnp.inf, 0.0),
        "kept": jnp.zeros(norm.shape, bool),
        "at_bound": jnp.where(zero_bound, norm <= 0, profile.held(norm, found["background_norm"])),
        "undetermined": several_undetermined(known) | (found.pop("flat") & (counts > 0)),
    }
