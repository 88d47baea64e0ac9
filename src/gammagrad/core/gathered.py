"""Lists of bins, gathered into memory that one chunk of tiles hands on to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._programs import compiled
from gammagrad.core.bin_sums import CEILING, LEAD, ROWS, BinSums, Blocks, Edge
from gammagrad.core.flat import FlatBins
from gammagrad.core.windows import PIXELS

__all__ = ["Gathered", "Lists", "Workspace", "gather"]


class _Stored(NamedTuple):
    counts: Array
    contrast: Array
    n_rows: Array


class Gathered(_Stored, BinSums):
    """Lists of bins: row `i` has the `i`-th bin of every tile.

    Attributes
    ----------
    counts
        Counts of each bin times weight, shape (rows, tiles).
    contrast
        Model over background at norm 1, shape (rows, pixels, tiles). What lies beyond the last row
        in use has no meaning.
    n_rows
        Rows in use, a multiple of `ROWS`.
    """

    __slots__ = ()

    def blocks(self, rows: int = ROWS) -> Blocks:
        """Return the bins in blocks, see `BinSums`."""

        def take(index: Array) -> tuple[Array, Array]:
            counts = lax.dynamic_slice_in_dim(self.counts, index * rows, rows)
            return counts[:, None], lax.dynamic_slice_in_dim(self.contrast, index * rows, rows)

        zero = jnp.zeros(self.contrast.shape[1:], self.contrast.dtype)
        return Blocks(take, self.n_rows // rows, zero)

    def weights_in_use(self) -> Array:
        """Return the weights of the bins, see `BinSums`."""
        row = jnp.arange(len(self.counts), dtype=jnp.int32)
        return jnp.where((row < self.n_rows)[:, None], self.counts, 0)


class Workspace(NamedTuple):
    """The memory that lists are gathered into, which one chunk hands on to the next.

    Attributes
    ----------
    full
        Weights and contrasts in the precision of the data.
    lead
        The same in single precision, contrasts over the model sum.
    """

    full: tuple[Array, Array]
    lead: tuple[Array, Array]

    @classmethod
    def create(cls, rows: int, tiles: int, dtype: Any) -> Workspace:
        """Return memory for so many rows of so many tiles."""
        return cls(*_empty(rows=rows, tiles=tiles, dtype=np.dtype(dtype)))

    def lists(self, n_rows: Array) -> tuple[Gathered, Gathered]:
        """Return the lists gathered here, in the precision of the data and in single precision."""
        (counts, contrast), (counts_lead, contrast_lead) = self
        return (
            Gathered(counts, contrast, n_rows),
            Gathered(counts_lead, contrast_lead, n_rows),
        )

    @staticmethod
    def bytes_per_entry(dtype: Any) -> int:
        """Return the bytes that one row of one tile takes."""
        return (PIXELS + 1) * (np.dtype(dtype).itemsize + np.dtype(LEAD).itemsize)


@compiled(static=("rows", "tiles", "dtype"))
def _empty(*, rows: int, tiles: int, dtype: Any) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return zeros of the shape of a workspace, in the precision of the data and of the lead."""
    full, lead = (
        (jnp.zeros((rows, tiles), d), jnp.zeros((rows, PIXELS, tiles), d)) for d in (dtype, LEAD)
    )
    return full, lead


class Lists(NamedTuple):
    """The listed bins of some tiles.

    Attributes
    ----------
    bins
        Bins among all bins, tile by tile, with a dummy at the end, shape (entries,).
    places
        Row of the kernel table that holds each bin's place in its tile's window, same shape.
    starts, lengths
        Where a tile's bins are, shape (tiles,).
    n_rows
        Bins of the longest list, rounded up to a multiple of `gammagrad.core.gathered.ROWS`.
    """

    bins: Any
    places: Any
    starts: Any
    lengths: Any
    n_rows: Any

    def rows(self, first: Array, number: int) -> tuple[Array, Array]:
        """Return some bins and places of each tile, a dummy beyond its last, (rows, tiles)."""
        row = first + jnp.arange(number, dtype=jnp.int32)[:, None]
        dummy = self.bins.shape[0] - 1
        entry = jnp.where(row < self.lengths[None], self.starts[None] + row, dummy)
        return self.bins[entry], self.places[entry]


def gather(
    flat: FlatBins,
    lists: Lists,
    model_sum: Array,
    space: Workspace,
) -> tuple[Workspace, Edge]:
    """Gather listed bins into the workspace.

    Parameters
    ----------
    flat
        All bins in a row.
    lists
        The lists.
    model_sum
        Sum of the model counts at norm 1, > 0, shape (pixels, tiles).
    space
        The workspace.

    Returns
    -------
    Workspace
        The workspace, filled.
    Edge
        What the bins say about the best fit.
    """
    zero, steps = np.int32(0), lists.n_rows // ROWS

    def copy(index: Array, store: tuple[Array, Array]) -> tuple[Array, Array]:
        which, place = lists.rows(index * ROWS, ROWS)
        # once for each bin, not again for each of its pixels
        share, place = lax.optimization_barrier((flat.share[:, which], place))
        if len(share) == 1:
            contrast = share[0][:, None] * flat.table[place][:, :, 0].swapaxes(1, 2)
        else:
            table = flat.table[place]
            contrast = jnp.einsum("crt,rtcp->rpt", share, table, precision="highest")
        return _put(store, index * ROWS, flat.counts[which], contrast)

    full = lax.fori_loop(zero, steps, copy, space.full)
    per_model = 1 / model_sum

    def scale(index: Array, state: tuple[tuple[Array, Array], Edge]) -> Any:
        store, edge = state
        n, g = (lax.dynamic_slice_in_dim(array, index * ROWS, ROWS) for array in full)
        # see `lower_start`; a bin without a model gives minus infinity
        found = lax.reduce(
            (g, n[:, None] * per_model[None] - 1 / g),
            (np.zeros((), g.dtype), np.asarray(-np.inf, g.dtype)),
            lambda some, more: tuple(map(jnp.maximum, some, more)),
            (0,),
        )
        scaled = jnp.minimum(g * per_model[None], CEILING)
        return _put(store, index * ROWS, n, scaled), Edge(*map(jnp.maximum, edge, found))

    nothing = Edge(jnp.zeros_like(model_sum), jnp.full_like(model_sum, -jnp.inf))
    lead, edge = lax.fori_loop(zero, steps, scale, (space.lead, nothing))
    return Workspace(full, lead), edge.inside()


def _put(
    store: tuple[Array, Array], row: Array, weight: Array, contrast: Array
) -> tuple[Array, Array]:
    """Write some rows of weights and contrasts."""
    zero = np.int32(0)
    first, second = store
    return (
        lax.dynamic_update_slice(first, weight.astype(first.dtype), (row, zero)),
        lax.dynamic_update_slice(second, contrast.astype(second.dtype), (row, zero, zero)),
    )
