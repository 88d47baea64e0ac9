"""The loop over the exclusion mask: threshold, grow, smooth what is left, until it stands still."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gammagrad._pytree import pytree
from gammagrad.core.morphology import Footprint, flood
from gammagrad.core.ring_background import Scene

__all__ = ["MASK_UPDATES", "History", "LoopEnd", "MaskRule", "run_loop"]

MASK_UPDATES = ("replace", "grow")
"""Names of what an iteration does with the mask of before."""

_REMEMBERED = 64
"""Number of states that the current one is compared with: the longest cycle that is found."""


@pytree
class History:
    """The start and what each iteration came to, behind each other along the first axis.

    Parameters
    ----------
    background, exclusion, significance
        As in the result, shape (n_record + 1, ny, nx). Entries after the last iteration repeat it.
    """

    background: Array
    exclusion: Array
    significance: Array


class MaskRule(NamedTuple):
    """How a mask follows from a significance.

    Attributes
    ----------
    threshold
        Significance from which on a pixel is excluded.
    threshold_low
        That for pixels connected to one above `threshold`; None excludes no others.
    footprint
        By what the excluded region grows; None grows nothing.
    grows
        Whether what is excluded stays so.
    """

    threshold: Array
    threshold_low: Array | None
    footprint: Footprint | None
    grows: bool

    def keep(self, significance: Array, before: Array) -> Array:
        """Return the mask, true where a pixel is kept.

        Parameters
        ----------
        significance
            Significance per pixel; where it is not a number the pixel is kept.
        before
            The mask of before.

        Returns
        -------
        Array
            The mask.
        """
        excluded = significance >= self.threshold
        if self.threshold_low is not None:
            excluded = flood(excluded, significance >= self.threshold_low)
        if self.footprint is not None:
            excluded = self.footprint.dilate(excluded)
        return ~excluded & before if self.grows else ~excluded


class LoopEnd(NamedTuple):
    """Where the loop has come to.

    Attributes
    ----------
    background, mask, significance
        Its results; the significance is the one that made the mask.
    kept
        Where the background is one of before.
    before, mask_before
        Background and mask of the iteration before.
    niter
        Number of iterations done.
    converged
        Whether the mask stands still.
    period
        Length of the cycle found, or 0.
    history
        The record, or None.
    """

    background: Array
    mask: Array
    significance: Array
    kept: Array
    before: Array
    mask_before: Array
    niter: Array
    converged: Array
    period: Array
    history: History | None


class _Memory(NamedTuple):
    """Checksums of the last states, and the number of iterations after which they were met."""

    sums: Array
    met: Array


def _checksum(end: LoopEnd) -> Array:
    """Return two numbers that tell one state from another: its mask and the background kept."""
    ny, nx = end.mask.shape
    # any bijection that stirs well makes weights from the numbers of the pixels
    word = lax.iota(jnp.uint32, ny * nx).reshape(ny, nx) * jnp.uint32(0x9E3779B1)
    word = (word ^ (word >> 15)) * jnp.uint32(0x85EBCA77)
    word = word ^ (word >> 13)
    bits = lax.bitcast_convert_type(end.background, jnp.uint32).reshape(ny, nx, -1)
    value = jnp.zeros_like(word)
    for part in range(bits.shape[-1]):
        value = (value ^ bits[..., part]) * jnp.uint32(0xC2B2AE3D)
    value = jnp.where(end.kept, value ^ (value >> 16), jnp.uint32(0))
    value = value + end.mask.astype(jnp.uint32)
    other = (word >> 7) * jnp.uint32(0x27D4EB2F)
    both = [(value * (weight | jnp.uint32(1))).sum(dtype=jnp.uint32) for weight in (word, other)]
    return jnp.stack(both)


def _recognised(memory: _Memory, end: LoopEnd) -> tuple[_Memory, Array]:
    """Remember a state; return after how many iterations it was met again, 0 if it is new."""
    sums = _checksum(end)
    same = jnp.all(memory.sums == sums[None, :], axis=1) & (memory.met >= 0)
    last = jnp.max(jnp.where(same, memory.met, -1))
    slot = end.niter % _REMEMBERED
    memory = _Memory(memory.sums.at[slot].set(sums), memory.met.at[slot].set(end.niter))
    return memory, jnp.where(last >= 0, end.niter - last, 0)


def run_loop(
    scene: Scene,
    rule: MaskRule,
    first: Array,
    mask: Array,
    niter_min: Array,
    niter_max: Array,
    n_record: int | None,
) -> LoopEnd:
    """Iterate until the mask stands still.

    Parameters
    ----------
    scene
        Counts, kernels and how to smooth with them.
    rule
        How a mask follows from a significance.
    first, mask
        Background and mask to start from.
    niter_min
        Number of iterations before the mask may stand still, int32.
    niter_max
        Largest number of iterations, int32.
    n_record
        Number of iterations to record; None for none. Static.

    Returns
    -------
    LoopEnd
        Where the loop ended.
    """
    zero = jnp.zeros((), jnp.int32)
    # only a loop that does not run needs these
    significance, kept = lax.cond(
        niter_max > 0,
        lambda: (jnp.zeros_like(first), jnp.zeros_like(mask)),
        lambda: (scene.significance_over(first), scene.ring_mean(mask, first).kept),
    )
    start = LoopEnd(first, mask, significance, kept, first, mask, zero, zero > 0, zero, None)
    if n_record is not None:
        filled = [jnp.broadcast_to(a, (n_record + 1, *mask.shape)) for a in (first, mask, first)]
        seen = scene.significance_over(first)
        start = start._replace(history=History(filled[0], filled[1], filled[2].at[0].set(seen)))
    memory = _Memory(
        jnp.zeros((_REMEMBERED, 2), jnp.uint32), jnp.full(_REMEMBERED, -1, dtype=jnp.int32)
    )

    def unfinished(carry: tuple[LoopEnd, _Memory]) -> Array:
        return ~carry[0].converged & (carry[0].niter < niter_max)

    def iteration(carry: tuple[LoopEnd, _Memory]) -> tuple[LoopEnd, _Memory]:
        last, memory = carry
        end = _iteration(scene, rule, last, niter_min)
        if rule.grows:
            return _recorded(end, n_record), memory
        memory, again = _recognised(memory, end)
        # met after one iteration: it stands still
        period = jnp.where((last.period == 0) & (again > 1), again, last.period)
        end = _recorded(end._replace(period=period), n_record)
        if n_record is None:
            # whole rounds of a cycle change nothing
            rounds = (niter_max - end.niter) // jnp.maximum(period, 1)
            end = end._replace(niter=end.niter + jnp.where(period > 0, rounds * period, 0))
        return end, memory

    end, _ = lax.while_loop(unfinished, iteration, (start, memory))
    if end.history is None or n_record is None:
        return end
    entries = jnp.minimum(jnp.arange(n_record + 1, dtype=jnp.int32), end.niter)
    record = end.history
    return end._replace(
        history=History(
            record.background[entries], record.exclusion[entries], record.significance[entries]
        )
    )


def _iteration(scene: Scene, rule: MaskRule, last: LoopEnd, niter_min: Array) -> LoopEnd:
    significance = scene.significance_over(last.background)
    mask = rule.keep(significance, last.mask)
    mean = scene.ring_mean(mask, last.background)
    unchanged = jnp.all(mask == last.mask)
    return last._replace(
        background=mean.background,
        mask=mask,
        significance=significance,
        kept=mean.kept,
        before=last.background,
        mask_before=last.mask,
        niter=last.niter + 1,
        converged=unchanged & (last.niter >= niter_min),
    )


def _recorded(end: LoopEnd, n_record: int | None) -> LoopEnd:
    """Write the state into the record, as far as that goes."""
    if end.history is None or n_record is None:
        return end
    record = end.history
    # what lies beyond the end of an array is not written
    history = History(
        record.background.at[end.niter].set(end.background, mode="drop"),
        record.exclusion.at[end.niter].set(end.mask, mode="drop"),
        record.significance.at[end.niter].set(end.significance, mode="drop"),
    )
    return end._replace(history=history)
