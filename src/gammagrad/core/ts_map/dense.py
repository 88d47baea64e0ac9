"""The dense engine: traced code that visits all bins, and that gradients pass through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad.core.norm import (
    N_SWEEPS,
    FitOptions,
    NormFit,
    Window,
    fit_bins,
    fit_on_off_bins,
    fit_with_background,
)
from gammagrad.core.ts_map.bins import (
    TILE,
    BinImages,
    TilePlan,
    from_tiles,
    kernel_table,
)
from gammagrad.core.ts_map.source_bins import (
    SourceBins,
    pad_sources,
    source_bins,
    source_model,
    source_table,
)
from gammagrad.core.ts_map.wide import Backgrounds


def _tile_bins(
    images: BinImages | SourceBins, table: Array, plan: TilePlan, tile: Array
) -> tuple[Array, ...]:
    """Gather one tile's bins: counts and background (bins,), model (bins, pixels)."""
    row, col = (tile // plan.grid[1]) * TILE, (tile % plan.grid[1]) * TILE
    zero = jnp.zeros_like(row)

    def window(array: Array) -> Array:
        start = (zero,) * (array.ndim - 2) + (row, col)
        return jax.lax.dynamic_slice(array, start, array.shape[:-2] + plan.window)

    if isinstance(images, SourceBins):
        strength = None if images.strength is None else window(images.strength)
        model = source_model(images, table, window(images.weight), strength, (row, col))
    else:
        exposure = window(images.exposure)
        if exposure.shape[1] == 1:
            # the same as the sum, whose derivative would be made anew for each of its products
            model = exposure[:, 0, :, :, None] * table[..., 0, :]
        else:
            model = jnp.einsum("bcyx,byxcp->byxp", exposure, table, precision="highest")
    counts, background = window(images.counts), window(images.background)
    return counts.reshape(-1), background.reshape(-1), model.reshape(-1, TILE * TILE)


def _tile_off(images: BinImages | SourceBins, plan: TilePlan, tile: Array) -> tuple[Array, Array]:
    """Gather one tile's OFF counts and acceptance ratios, which are 0 with a known background."""
    if images.counts_off is None or images.alpha is None:
        none = jnp.zeros((len(images.counts), *plan.window), images.counts.dtype).reshape(-1)
        return none, none
    row, col = (tile // plan.grid[1]) * TILE, (tile % plan.grid[1]) * TILE
    start = (jnp.zeros_like(row), row, col)
    size = (len(images.counts), *plan.window)
    off, alpha = (
        jax.lax.dynamic_slice(a, start, size).reshape(-1) for a in (images.counts_off, images.alpha)
    )
    return off, alpha


def _pad_for_tiles(array: Array, plan: TilePlan) -> Array:
    """Pad the last two axes by the halo, and up to whole tiles."""
    pads = [
        (halo, grid * TILE - size + halo)
        for halo, grid, size in zip(plan.halo, plan.grid, plan.shape, strict=True)
    ]
    return jnp.pad(array, [(0, 0)] * (array.ndim - 2) + pads)


def _padded(images: BinImages | SourceBins, plan: TilePlan) -> BinImages | SourceBins:
    """Pad a dataset's maps for tiles."""

    def wide(array: Array) -> Array:
        return _pad_for_tiles(array, plan)

    if isinstance(images, SourceBins):
        bins = images._replace(
            counts=wide(images.counts),
            background=wide(images.background),
            weight=wide(images.weight),
            strength=None if images.strength is None else wide(images.strength),
            counts_off=None if images.counts_off is None else wide(images.counts_off),
            alpha=None if images.alpha is None else wide(images.alpha),
        )
        return pad_sources(bins, plan)
    return BinImages(
        counts=wide(images.counts),
        background=wide(images.background),
        exposure=wide(images.exposure),
        kernel=images.kernel,
        counts_off=None if images.counts_off is None else wide(images.counts_off),
        alpha=None if images.alpha is None else wide(images.alpha),
    )


def _footprint(plan: TilePlan, dtype: jnp.dtype) -> Array:
    """Which bins of a window lie in each pixel's own kernel rectangle, as 0 and 1."""
    ky, kx = 2 * plan.halo[0] + 1, 2 * plan.halo[1] + 1
    return kernel_table(jnp.ones((1, 1, ky, kx), dtype))[0, :, :, 0]


def map_tiles(
    function: Callable[..., Any],
    datasets: Sequence[BinImages | SourceBins],
    tiles: Array,
    memory: int,
    number: Array | None = None,
    of_pixels: Any = (),
) -> Any:
    """Apply a function to the bins of every pixel of some tiles, and to what maps have there."""
    shape = datasets[0].counts.shape
    own_maps = jax.tree.map(lambda a: _by_tile(a, TilePlan.create(shape, (1, 1))), of_pixels)
    plans = [TilePlan.create(shape, d.kernel.shape) for d in datasets]
    tables = [
        source_table(d) if isinstance(d, SourceBins) else kernel_table(d.kernel) for d in datasets
    ]
    padded = [_padded(d, p) for d, p in zip(datasets, plans, strict=True)]
    # a bin counts for a pixel where that pixel's own kernel rectangle reaches it
    footprints = [
        jnp.tile(_footprint(p, d.counts.dtype).reshape(-1, TILE * TILE), (d.counts.shape[0], 1))
        for d, p in zip(datasets, plans, strict=True)
    ]
    inside = jnp.concatenate(footprints)
    on_off = any(d.counts_off is not None for d in datasets)

    @jax.checkpoint
    def one_tile(tile: Array) -> Any:
        parts = [_tile_bins(d, t, p, tile) for d, t, p in zip(padded, tables, plans, strict=True)]
        counts, background, model = (jnp.concatenate(part) for part in zip(*parts, strict=True))
        own = jax.tree.map(lambda a: a[tile], own_maps)
        bins = counts[:, None] * inside, background[:, None] * inside, model
        if not on_off:
            return jax.vmap(function, in_axes=(1, 1, 1, 0))(*bins, own)
        pairs = (_tile_off(d, p, tile) for d, p in zip(padded, plans, strict=True))
        off, alpha = (jnp.concatenate(part) for part in zip(*pairs, strict=True))
        return jax.vmap(function, in_axes=1)(
            *bins, off[:, None] * inside, alpha[:, None] * jnp.ones_like(inside)
        )

    most = tiles.shape[0]
    sizes = (
        f.size * (d.components if isinstance(d, SourceBins) else 1)
        for f, d in zip(footprints, datasets, strict=True)
    )
    batch = max(1, min(most, memory // (sum(sizes) * 8 * 8)))
    # whole batches: a remainder would compile a second time
    filled = jnp.pad(tiles, (0, -most % batch), mode="edge")
    if number is None:
        result = jax.lax.map(one_tile, filled, batch_size=batch)
    else:
        result = _first_of(one_tile, filled, batch, number)
    return jax.tree.map(lambda a: a[:most], result)


def _by_tile(image: Array, plan: TilePlan) -> Array:
    """Reorder maps to shape (tiles, pixels of a tile, ...)."""
    (ny, nx), (gy, gx), lead = plan.shape, plan.grid, image.shape[:-2]
    more = [(0, 0)] * len(lead) + [(0, gy * TILE - ny), (0, gx * TILE - nx)]
    tiles = jnp.pad(image, more).reshape(*lead, gy, TILE, gx, TILE).swapaxes(-3, -2)
    return jnp.moveaxis(tiles.reshape(*lead, gy * gx, TILE * TILE), (-2, -1), (0, 1))


def _first_of(function: Callable[[Array], Any], tiles: Array, batch: int, number: Array) -> Any:
    """Apply a function to the first of some tiles, batch by batch; the others get zeros."""
    several = jax.vmap(function)
    kinds = jax.eval_shape(several, tiles)
    empty = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), kinds)

    def work(index: Array, found: Any) -> Any:
        begin = index * batch
        some = several(jax.lax.dynamic_slice_in_dim(tiles, begin, batch))
        return jax.tree.map(
            lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, begin, 0), found, some
        )

    batches = (number + batch - 1) // batch
    return jax.lax.fori_loop(jnp.zeros_like(batches), batches, work, empty)


def fit_images(
    datasets: Sequence[BinImages | SourceBins],
    options: FitOptions,
    *,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
    n_sweeps: int = N_SWEEPS,
    memory: int = 2**27,
    shape: tuple[Array, Array] | None = None,
    free: Backgrounds | None = None,
) -> NormFit:
    """Fit every pixel of a map, all bins visited: the engine that gradients pass through."""
    how: dict[str, Any] = {"options": options, "selection": selection, "scan_values": scan_values}

    def fit_cash(counts: Array, background: Array, model: Array, window: Window | None) -> NormFit:
        if window is None or free is None:
            return fit_bins(counts, background, model, n_sweeps=n_sweeps, **how)
        which = jnp.asarray(member)
        return fit_with_background(counts, background, model, window, which, how=free.how, **how)

    # the group of each bin of a pixel, as tiles list them
    shapes = [d.kernel.shape[-2:] for d in datasets]
    sizes = [
        (TILE + ky - 1) * (TILE + kx - 1)
        for (ky, kx), d in zip(shapes, datasets, strict=True)
        for _ in range(d.counts.shape[0])
    ]
    member = None if free is None else np.repeat(free.member, sizes)
    fit: Callable[..., NormFit] = fit_cash
    if any(d.counts_off is not None for d in datasets):

        def fit(n: Array, b: Array, m: Array, k: Array, alpha: Array) -> NormFit:
            lacking = jnp.zeros((), n.dtype)
            found = fit_on_off_bins(n, b, m, k, alpha, lacking, options, selection, scan_values)
            return NormFit(**found)

    datasets = [source_bins(d) if isinstance(d, BinImages) and d.blended else d for d in datasets]
    plan = TilePlan.create(datasets[0].counts.shape, datasets[0].kernel.shape)
    tiles = jnp.arange(plan.n_tiles, dtype=jnp.int32)
    place, number = tiles, None
    if shape is not None:
        used = (tiles // plan.grid[1] * TILE < shape[0]) & (tiles % plan.grid[1] * TILE < shape[1])
        number = used.sum(dtype=jnp.int32)
        # those in use come first
        tiles = jnp.argsort(~used, stable=True).astype(jnp.int32)
        place = jnp.zeros_like(tiles).at[tiles].set(place)
    result = map_tiles(fit, datasets, tiles, memory, number, free and free.windows)

    def to_map(array: Array) -> Any:
        if number is not None:
            array = array[place]
        # a scan has its norms behind the pixels of a tile
        return from_tiles(jnp.moveaxis(array, (0, 1), (-2, -1)), plan)

    return jax.tree.map(to_map, result)
