"""Whether an iteration has come back to a state that it was in before."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

__all__ = ["REMEMBERED", "Memory", "empty_memory", "recognised"]

REMEMBERED = 64
"""Number of states that the current one is compared with: the longest cycle that is found."""


class Memory(NamedTuple):
    """Checksums of the last states.

    Attributes
    ----------
    sums
        Two numbers for each state, shape (REMEMBERED, 2).
    met
        Number of iterations after which it was met, -1 if the place is free.
    """

    sums: Array
    met: Array


def empty_memory() -> Memory:
    """Return a memory of nothing.

    Returns
    -------
    Memory
        The memory.
    """
    return Memory(jnp.zeros((REMEMBERED, 2), jnp.uint32), jnp.full(REMEMBERED, -1, dtype=jnp.int32))


def _stirred(word: Array) -> Array:
    """Return 32 bits that look random for each number; different ones for different numbers."""
    # odd, so that nothing is lost: fractions of the square roots of 2 and 3
    for shift, factor in ((16, 0x6A09E667), (15, 0xBB67AE85)):
        word = (word ^ (word >> shift)) * jnp.uint32(factor)
    return word ^ (word >> 16)


def _checksums(image: Array) -> Array:
    """Return two numbers that tell an image of 32-bit words from others."""
    rows, cols = (lax.iota(jnp.uint32, n) for n in image.shape)
    found = []
    for seed in (jnp.uint32(0x9E3779B9), jnp.uint32(0x3C6EF372)):
        weights = _stirred(cols + seed)
        # stirred between the two sums: a change in one row cannot make up for one in another
        of_rows = jnp.sum(image * weights[None, :], axis=1, dtype=jnp.uint32)
        found.append(jnp.sum(_stirred(of_rows ^ _stirred(rows ^ seed)), dtype=jnp.uint32))
    return jnp.stack(found)


def _checksums_of_kept(kept: Array, background: Array) -> Array:
    # in single precision, so that the last roundings of a double do not count
    bits = lax.bitcast_convert_type(background.astype(jnp.float32), jnp.uint32)
    return _checksums(jnp.where(kept, bits, jnp.uint32(0)))


def recognised(
    memory: Memory, niter: Array, mask: Array, kept: Array, background: Array
) -> tuple[Memory, Array]:
    """Remember a state; tell how many iterations ago it was met before.

    Parameters
    ----------
    memory
        What is remembered.
    niter
        Number of iterations done, int32.
    mask
        Mask of the state, shape (ny, nx).
    kept
        Where the background belongs to the state, too, same shape.
    background
        The background, same shape.

    Returns
    -------
    memory
        With this state.
    again
        Number of iterations since it was last met, 0 if it is not remembered.
    """
    sums = _checksums(mask.astype(jnp.uint32)) + lax.cond(
        jnp.any(kept),
        _checksums_of_kept,
        lambda kept, background: jnp.zeros(2, jnp.uint32),
        kept,
        background,
    )
    same = jnp.all(memory.sums == sums[None, :], axis=1) & (memory.met >= 0)
    last = jnp.max(jnp.where(same, memory.met, -1))
    place = niter % REMEMBERED
    memory = Memory(memory.sums.at[place].set(sums), memory.met.at[place].set(niter))
    return memory, jnp.where(last >= 0, niter - last, 0)
