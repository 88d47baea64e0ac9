"""The bins of many pixels as the line of a free background norm sees them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad.core.norm import NO_COUNTS, Line, LineSums
from gammagrad.core.ts_map.bin_sums import LEAD, ROWS, BinSums, Blocks, Parts, largest_over

STEEPEST = 1e15
"""Largest contrast in single precision: its square must not overflow."""


class _Seen(NamedTuple):
    bins: BinSums
    # background sum over model sum, in the units of the contrasts, shape (pixels, tiles)
    factor: Array


class LineView(_Seen, BinSums):
    """Bins with contrasts from the mean, see `core.norm.line`; those without a model are empty."""

    __slots__ = ()

    def blocks(self, rows: int = ROWS) -> Blocks | Parts:
        """Return the bins in blocks, see `BinSums`."""
        return _shifted(self.bins.blocks(rows), self.factor[None])

    def weights_in_use(self) -> Array:
        """Return the weights of the bins, see `BinSums`."""
        return self.bins.weights_in_use()

    def line_sums(self, place: Array) -> LineSums:
        """Return the sums over the counts with a model."""
        return LineSums(*self.scores(place))

    def counts(self) -> Array:
        """Return the counts with a model."""
        shape = self.factor.shape
        return self.total(lambda n, g: (jnp.broadcast_to(n, (len(n), *shape)),), 1)[0]

    def lowest(self) -> Array:
        """Return the lowest contrast of the counts with a model; infinite without any."""
        blocks = self.blocks()
        return -largest_over(blocks, lambda n, g: (jnp.where(n > 0, -g, -jnp.inf),), 1)[0]


def _shifted(blocks: Blocks | Parts, factor: Array) -> Blocks | Parts:
    """Return blocks with contrasts from the mean."""
    if isinstance(blocks, Parts):

        def part(index: Array) -> Blocks:
            own = _shifted(blocks.take(index), factor)
            assert isinstance(own, Blocks)
            return own

        return Parts(part, blocks.number, blocks.zero)

    most = STEEPEST if factor.dtype == LEAD else np.inf

    def take(index: Array) -> tuple[Array, Array]:
        counts, contrast = blocks.take(index)
        has = contrast > 0
        return jnp.where(has, counts, 0), jnp.where(
            has, jnp.minimum(contrast * factor - 1, most), 0
        )

    return Blocks(take, blocks.number, blocks.zero)


def line_of_tiles(view: LineView, steepest: Array, bound: Array, total: Array) -> Line:
    """Describe the lines of the pixels of some tiles."""
    unseen = total - view.counts()
    unseen = jnp.where(unseen > NO_COUNTS * total, unseen, 0)
    lowest = lax.cond(
        ((unseen == 0) & (steepest > 0)).any(),
        lambda: view.lowest(),
        lambda: jnp.full_like(total, -1),
    )
    occupied = steepest > 0
    lowest = jnp.where((unseen > 0) | ~occupied, -1, lowest)
    highest = jnp.where(occupied, steepest * view.factor - 1, -1)
    return Line(total, unseen, lowest, highest, bound)
