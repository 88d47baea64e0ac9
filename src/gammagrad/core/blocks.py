"""Lists of a map's occupied bins, tile by tile, built on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gammagrad.core.windows import TILE, TilePlan

__all__ = ["BLOCK", "CHUNKS", "ENTRIES", "BlockList", "chunks", "list_blocks", "tile_batches"]

BLOCK = 32
"""Bins in a block: tiles with few occupied bins waste less, the more the smaller it is."""

CHUNKS = (128, 1024, 4096)
"""Blocks in a chunk: few fixed sizes, so that new data compile nothing new."""

ENTRIES = 2**22
"""Entries that are listed at a time: some hundred bytes each while they are sorted."""


class BlockList(NamedTuple):
    """Occupied bins of all tiles, in blocks of `BLOCK`; a dummy bin fills the last block up.

    Attributes
    ----------
    bins
        Index of the bin among all bins of all datasets, shape (BLOCK, blocks).
    rows
        Row of the kernel table that holds the bin's place in its tile's window, same shape.
    tiles
        Tile of each block, ascending, shape (blocks,).
    """

    bins: np.ndarray
    rows: np.ndarray
    tiles: np.ndarray


def _occupied_entries(
    counts: np.ndarray, plan: TilePlan, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List (tile, bin, window position) for every occupied bin and every tile that sees it."""
    (hy, hx), (wy, wx), (gy, gx) = plan.halo, plan.window, plan.grid
    tile_rows = np.flatnonzero(active) // gx
    first = max(int(tile_rows.min()) * TILE - hy, 0)
    last = (int(tile_rows.max()) + 1) * TILE + hy
    occupied = np.nonzero(counts[:, first:last] > 0)
    image, row, col = (index.astype(np.int32) for index in occupied)
    row += first
    flat = np.ravel_multi_index((image, row, col), counts.shape).astype(np.int32)
    found = []
    for up in range(-(-wy // TILE)):
        tile_row = (row + hy) // TILE - up
        in_row = row - (tile_row * TILE - hy)
        rows_ok = (tile_row >= 0) & (tile_row < gy) & (in_row < wy)
        for left in range(-(-wx // TILE)):
            tile_col = (col + hx) // TILE - left
            in_col = col - (tile_col * TILE - hx)
            ok = rows_ok & (tile_col >= 0) & (tile_col < gx) & (in_col < wx)
            tile = (tile_row * gx + tile_col)[ok]
            place = ((image * wy + in_row) * wx + in_col)[ok]
            keep = active[tile]
            found.append((tile[keep], flat[ok][keep], place[keep]))
    tiles, bins, places = (np.concatenate(part) for part in zip(*found, strict=True))
    return tiles, bins, places


def tile_batches(
    counts: Sequence[np.ndarray], plans: Sequence[TilePlan], active: np.ndarray
) -> list[np.ndarray]:
    """Split the tiles into batches whose lists fit into memory.

    Parameters
    ----------
    counts
        Counts of each dataset, shape (images, rows, cols).
    plans
        The tiles of each dataset.
    active
        Which tiles have a pixel to fit, bool, shape (tiles,).

    Returns
    -------
    list of ndarray
        For each batch the tiles in it, bool, shape (tiles,).
    """
    entries = np.zeros(active.size, np.int64)
    for images, plan in zip(counts, plans, strict=True):
        (hy, hx), (wy, wx), (gy, gx) = plan.halo, plan.window, plan.grid
        ny, nx = images.shape[-2:]
        pads = ((hy + 1, gy * TILE - ny + hy), (hx + 1, gx * TILE - nx + hx))
        sums = np.pad((images > 0).sum(axis=0), pads).cumsum(axis=0).cumsum(axis=1)
        row, col = np.arange(gy)[:, None] * TILE, np.arange(gx)[None, :] * TILE
        window = sums[row + wy, col + wx] - sums[row, col + wx]
        entries += (window - sums[row + wy, col] + sums[row, col]).reshape(-1)
    entries[~active] = 0
    batch = np.cumsum(entries) // ENTRIES
    return [active & (batch == index) for index in np.unique(batch[active])]


def _blocks(
    tiles: np.ndarray, bins: np.ndarray, rows: np.ndarray, dummy: tuple[int, int]
) -> BlockList:
    """Sort entries by tile and cut each tile's share into blocks."""
    order = np.argsort(tiles, kind="stable")
    tiles, bins, rows = tiles[order], bins[order], rows[order]
    present, first, count = np.unique(tiles, return_index=True, return_counts=True)
    n_blocks = -(-count // BLOCK)
    start = np.cumsum(n_blocks) - n_blocks
    within = np.arange(tiles.size) - np.repeat(first, count)
    slot = np.repeat(start * BLOCK, count) + within
    total = int(n_blocks.sum())
    out_bins = np.full(total * BLOCK, dummy[0], np.int32)
    out_rows = np.full(total * BLOCK, dummy[1], np.int32)
    out_bins[slot], out_rows[slot] = bins, rows
    return BlockList(
        out_bins.reshape(-1, BLOCK).T, out_rows.reshape(-1, BLOCK).T, np.repeat(present, n_blocks)
    )


def chunks(blocks: BlockList) -> list[tuple[slice, int]]:
    """Cut the blocks into chunks that end with a tile, and choose each chunk's fixed size.

    Parameters
    ----------
    blocks
        The lists.

    Returns
    -------
    list of (slice, int)
        The blocks of each chunk, and the number to pad them to.
    """
    size = next((s for s in CHUNKS if blocks.tiles.size <= s), CHUNKS[-1])
    ends = np.flatnonzero(np.diff(blocks.tiles, append=-1)) + 1
    parts, begin = [], 0
    while begin < blocks.tiles.size:
        fitting = ends[(ends > begin) & (ends <= begin + size)]
        # a tile with more blocks than a chunk holds gets a chunk of its own, of a larger size
        end = int(fitting[-1]) if fitting.size else int(ends[ends > begin][0])
        need = size
        while need < end - begin:
            need *= 2
        parts.append((slice(begin, end), need))
        begin = end
    return parts


def list_blocks(
    counts: Sequence[np.ndarray], plans: Sequence[TilePlan], active: np.ndarray
) -> BlockList:
    """List the occupied bins of all datasets, tile by tile.

    Parameters
    ----------
    counts
        Counts of each dataset, shape (images, rows, cols).
    plans
        The tiles of each dataset: same grid, windows of their own.
    active
        Which tiles have a pixel to fit, bool, shape (tiles,).

    Returns
    -------
    BlockList
        The lists.
    """
    parts, bin_offset, row_offset = [], 0, 0
    for images, plan in zip(counts, plans, strict=True):
        tiles, bins, places = _occupied_entries(images, plan, active)
        parts.append((tiles, bins + bin_offset, places + row_offset))
        bin_offset += images.size
        row_offset += images.shape[0] * plan.window[0] * plan.window[1]
    tiles, bins, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _blocks(tiles, bins, rows, dummy=(bin_offset, row_offset))
