"""Lists of bins against a loop over tiles and windows."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammagrad.core.ts_map import TILE
from gammagrad.core.ts_map import listed as lists
from gammagrad.core.ts_map.bins import TilePlan
from gammagrad.core.ts_map.listed import CAPACITIES, ListedBins, Lists, chunks, common_window


def expected(
    members: list[np.ndarray], kernels: list[tuple[int, int]], tile: int
) -> set[tuple[int, int]]:
    """List (bin, place) of a tile by looking at every pixel of each dataset's window."""
    ky, kx = common_window(kernels)
    height, width = TILE + ky - 1, TILE + kx - 1
    columns = -(-members[0].shape[2] // TILE)
    top, left = (tile // columns) * TILE, (tile % columns) * TILE
    found, before, places = set(), 0, 0
    for member, (own_y, own_x) in zip(members, kernels, strict=True):
        images, ny, nx = member.shape
        for image, row, col in zip(*np.nonzero(member), strict=True):
            in_rows = top - own_y // 2 <= row < top + TILE + own_y // 2
            if in_rows and left - own_x // 2 <= col < left + TILE + own_x // 2:
                down, right = row - top + ky // 2, col - left + kx // 2
                place = places + (image * height + down) * width + right
                found.add((int(before + (image * ny + row) * nx + col), int(place)))
        before += member.size
        places += images * height * width
    return found


def tile_list(listed: ListedBins, tile: int) -> set[tuple[int, int]]:
    entries, starts, corners = listed.of_tiles(np.array([tile]))
    length, table = listed.lengths[[tile]].astype(np.int32), listed.table(alone=False)
    own = Lists(entries, table, starts, length, corners, length)
    bins, places = (np.asarray(a)[:, 0] for a in own.rows(jnp.int32(0), int(length[0]) + 3))
    assert np.all(places[length[0] :] == listed.dummy)
    return set(zip(bins[: length[0]].tolist(), places[: length[0]].tolist(), strict=True))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 13), st.integers(1, 11)),
    images=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    halves=st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_lists_hold_every_bin_that_a_tile_sees(
    seed: int, shape: tuple[int, int], images: tuple[int, int], halves: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    members = [rng.uniform(size=(number, *shape)) < 0.3 for number in images]
    kernels = [(2 * halves[i] + 1, 2 * halves[i + 1] + 1) for i in (0, 2)]
    listed = ListedBins(members, kernels)
    for tile in range(listed.n_tiles):
        seen = expected(members, kernels, tile)
        assert tile_list(listed, tile) == seen
        assert listed.lengths[tile] == len(seen)


def cut(
    member: np.ndarray, kernel: tuple[int, int], entries: int = 2**10
) -> tuple[ListedBins, list]:
    listed = ListedBins([member], [kernel])
    return listed, list(chunks(listed, np.ones(listed.n_tiles, bool), entries))


def test_chunks_hold_every_tile_once_and_have_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PORTION", 2**11)
    member = np.random.default_rng(1).uniform(size=(2, 41, 37)) < np.linspace(0.01, 0.9, 37)
    listed, parts = cut(member, (7, 5))
    tiles = np.concatenate([part.tiles[: part.number] for part in parts])
    assert sorted(tiles) == list(range(listed.n_tiles))
    assert {part.capacity for part in parts} <= set(CAPACITIES)
    assert len({(part.bins.entries.shape, part.tiles.shape) for part in parts}) == 1
    for part in parts:
        assert part.bins.n_rows >= part.bins.lengths.max()
        assert part.bins.n_rows <= part.capacity
        assert part.bins.starts.max() + part.bins.lengths.max() < part.bins.entries.size


def test_a_tile_with_more_bins_than_any_capacity_gets_one_of_its_own() -> None:
    member = np.ones((400, 16, 16), bool)
    _, parts = cut(member, (13, 13))
    assert max(part.capacity for part in parts) >= 400 * 13 * 13
    assert all(part.bins.lengths.max() <= part.capacity for part in parts)


def test_a_map_without_bins_has_no_chunk() -> None:
    assert cut(np.zeros((1, 9, 9), bool), (3, 3))[1] == []


def test_plans_agree_with_the_largest_kernel() -> None:
    listed = ListedBins([np.ones((1, 8, 8), bool)] * 2, [(3, 9), (5, 1)])
    assert listed.common == TilePlan.create((8, 8), (5, 9))
