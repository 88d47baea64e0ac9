"""The loop over the exclusion mask: threshold, grow, smooth what is left, until it converges."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap

from gammagrad._pytree import pytree, static_field
from gammagrad.core.background.ring import RingSums, Scene
from gammagrad.core.background.ring_update import blank_sums, can_update, inner_sums, updated_sums
from gammagrad.core.images import Footprint, flood

REMEMBERED = 64
"""Number of states that the current one is compared with: the longest cycle that is found."""


class Memory(NamedTuple):
    """Checksums of the last states."""

    sums: Array  # two numbers for each state, shape (REMEMBERED, 2)
    met: Array  # number of iterations after which it was met, -1 if the place is free


def empty_memory() -> Memory:
    """Return a memory of nothing."""
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
    """Remember a state; tell how many iterations ago it was met before."""
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


MASK_UPDATES = ("replace", "grow")
"""Names of what an iteration does with the previous mask."""


@pytree
class History:
    """The start and what each iteration came to, behind each other along the first axis."""

    # background, exclusion, significance: as in the result, shape (n_record + 1, ny, nx). Entries
    # after the last iteration repeat it.
    background: Any
    exclusion: Any
    significance: Any


@pytree
class MaskRule:
    """How a mask follows from a significance."""

    threshold: Array  # significance from which on a pixel is excluded
    # that for pixels connected to one above `threshold`; None excludes no others
    threshold_low: Array | None
    footprint: Footprint | None  # by what the excluded region grows; None grows nothing
    # true where there is an image, which may be filled up; None for everywhere
    inside: Array | None = None
    grows: bool = static_field(default=False)  # whether what is excluded stays so

    def keep(self, significance: Array, before: Array) -> Array:
        """Return the mask, true where a pixel is kept."""
        excluded = self._of_image(significance >= self.threshold)
        if self.threshold_low is not None:
            excluded = flood(excluded, self._of_image(significance >= self.threshold_low))
        if self.footprint is not None:
            excluded = self._of_image(self.footprint.dilate(excluded))
        return ~excluded & before if self.grows else ~excluded

    def _of_image(self, mask: Array) -> Array:
        return mask if self.inside is None else mask & self.inside


@pytree
class Problem:
    """All that the loop gets."""

    scene: Scene  # counts and kernels
    rule: MaskRule  # how a mask follows from a significance
    background: Array | None  # background to start from where it is finite, or None
    mask: Array | None  # mask to start from, or None for all true
    niter_min: Array  # number of iterations before the mask may converge, int32
    niter_max: Array  # largest number of iterations, int32
    n_record: int | None = static_field()  # number of iterations to record; None for none


class LoopEnd(NamedTuple):
    """Where the loop has come to."""

    # background, mask, significance: its results; the significance is the one that made the mask
    background: Array
    mask: Array
    significance: Array
    kept: Array  # where the previous background is kept
    # before, mask_before: background and mask of the iteration before
    before: Array
    mask_before: Array
    niter: Array  # number of iterations done
    converged: Array  # whether the mask has converged
    period: Array  # length of the cycle found, or 0
    history: History | None  # the record, or None


class _State(NamedTuple):
    """What the loop carries; the sums only where they are updated instead of made anew."""

    end: LoopEnd
    memory: Memory
    sums: RingSums | None


def solve(problem: Problem) -> LoopEnd:
    """Iterate until the mask converges."""
    # Nothing is differentiated. On CPUs the images of a batch are solved one after the other: each
    # then ends when it is done, stays in the processor's cache, and its sums under the ring are
    # updated where few pixels change. Elsewhere all of a batch run together until the last is done.

    @custom_vmap
    def solved(problem: Problem) -> LoopEnd:
        return lax.platform_dependent(
            problem, cpu=partial(run_loop, updates=True), default=partial(run_loop, updates=False)
        )

    @solved.def_vmap
    def batch(size: int, batched: Problem, problem: Problem) -> tuple[LoopEnd, LoopEnd]:
        leaves, tree = jax.tree.flatten(problem)
        which = jax.tree.leaves(batched)

        def one(function: Callable[[Problem], LoopEnd], own: list[Array]) -> LoopEnd:
            rest = iter(own)
            return function(
                jax.tree.unflatten(
                    tree, [next(rest) if b else a for a, b in zip(leaves, which, strict=True)]
                )
            )

        ends = lax.platform_dependent(
            [leaf for leaf, b in zip(leaves, which, strict=True) if b],
            cpu=lambda own: lax.map(partial(one, solved), own),
            default=jax.vmap(partial(one, partial(run_loop, updates=False))),
        )
        return ends, jax.tree.map(lambda _: True, ends)

    return solved(problem)


def run_loop(problem: Problem, updates: bool) -> LoopEnd:
    """Iterate until the mask converges, in one way."""
    n_record, niter_max = problem.n_record, problem.niter_max
    scene = problem.scene.ready()
    updates = updates and can_update(scene)

    def unfinished(state: _State) -> Array:
        return ~state.end.converged & (state.end.niter < niter_max)

    def iteration(state: _State) -> _State:
        end, sums = _iteration(scene, problem, state)
        memory = state.memory
        if problem.rule.grows:
            return _State(_recorded(end, n_record), memory, sums)
        memory, again = recognised(memory, end.niter, end.mask, end.kept, end.background)
        # met after one iteration: it has converged
        period = jnp.where((end.period == 0) & (again > 1), again, end.period)
        end = _recorded(end._replace(period=period), n_record)
        if n_record is None:
            # whole rounds of a cycle change nothing
            rounds = (niter_max - end.niter) // jnp.maximum(period, 1)
            end = end._replace(niter=end.niter + jnp.where(period > 0, rounds * period, 0))
        return _State(end, memory, sums)

    start = _start(scene, problem)
    no_sums = blank_sums(scene) if updates else None
    end = lax.while_loop(unfinished, iteration, _State(start, empty_memory(), no_sums)).end
    if end.history is None or n_record is None:
        return end
    entries = jnp.minimum(jnp.arange(n_record + 1, dtype=jnp.int32), end.niter)
    return end._replace(history=jax.tree.map(lambda a: a[entries], end.history))


def _start(scene: Scene, problem: Problem) -> LoopEnd:
    """Return the state before the first iteration."""
    first = scene.first_background(problem.mask, problem.background)
    mask = jnp.ones(first.shape, bool) if problem.mask is None else problem.mask
    # only a loop that does not run, and a record, need these
    significance, kept = lax.cond(
        (problem.niter_max > 0) & (problem.n_record is None),
        lambda: (jnp.zeros_like(first), jnp.zeros_like(mask)),
        lambda: (
            scene.significance_over(first),
            scene.ring_mean(scene.ring_sums(mask), first).kept,
        ),
    )
    history = None
    if problem.n_record is not None:
        shape = (problem.n_record + 1, *mask.shape)
        history = History(*(jnp.broadcast_to(a, shape) for a in (first, mask, significance)))
    zero = jnp.zeros((), jnp.int32)
    return LoopEnd(first, mask, significance, kept, first, mask, zero, zero > 0, zero, history)


def _iteration(scene: Scene, problem: Problem, state: _State) -> tuple[LoopEnd, RingSums | None]:
    """Do one iteration, but for what is remembered of it."""
    last, sums = state.end, state.sums
    significance = scene.significance_over(last.background)
    mask = problem.rule.keep(significance, last.mask)
    changed = mask != last.mask
    in_row = jnp.sum(changed, axis=1, dtype=jnp.int32)
    n_changed = jnp.sum(in_row, dtype=jnp.int32)
    if sums is None:
        mean = scene.ring_mean(scene.ring_sums(mask), last.background)
    else:
        sums = updated_sums(scene, sums, mask, changed, in_row, last.niter == 0)
        mean = scene.ring_mean(inner_sums(scene, sums), last.background)
    end = last._replace(
        background=mean.background,
        mask=mask,
        significance=significance,
        kept=mean.kept,
        before=last.background,
        mask_before=last.mask,
        niter=last.niter + 1,
        converged=(n_changed == 0) & (last.niter >= problem.niter_min),
    )
    return end, sums


def _recorded(end: LoopEnd, n_record: int | None) -> LoopEnd:
    """Write the state into the record, as far as that goes."""
    if end.history is None or n_record is None:
        return end
    now = History(end.background, end.mask, end.significance)
    # what lies beyond the end of an array is not written
    record = jax.tree.map(lambda a, b: a.at[end.niter].set(b, mode="drop"), end.history, now)
    return end._replace(history=record)
