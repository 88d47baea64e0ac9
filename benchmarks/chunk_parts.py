"""The parts of a chunk's fit, each compiled alone, for `phases.py`; this follows the engine's code.

Parts are called on the chunks of a whole run, one after the other in one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from gammagrad.core.ts_map import chunk as engine
from gammagrad.core.ts_map import fixed_norm
from gammagrad.core.ts_map.bin_sums import WIDE_VECTORS, BinProfile
from gammagrad.core.ts_map.listed import Lists, Workspace, empty_workspace

PARTS = (
    "gather",
    "lead sweeps, single precision",
    "finish, double precision",
    "error at the bound",
    "all of them in one program",
)
REPEATS = 3
"""Calls of which the fastest counts."""


class Call(NamedTuple):
    """What `fit_chunk` was called with, less the workspace."""

    flat: Any
    lists: Lists
    tiles: Any
    options: Any
    shape: tuple[int, int]
    dtype: Any
    rest: tuple[Any, ...]
    named: dict[str, Any]


@contextmanager
def kept_calls() -> Iterator[list[Call]]:
    """Keep what `fit_chunk` is called with inside the block, but for chunks of whole windows."""
    calls: list[Call] = []
    original = fixed_norm.fit_chunk

    def keep(*args: Any, **named: Any) -> Any:
        flat, bins, tiles, options, *rest, space = args
        if isinstance(bins, Lists):
            weights = space.full[0]
            calls.append(
                Call(flat, bins, tiles, options, weights.shape, weights.dtype, tuple(rest), named)
            )
        return original(*args, **named)

    fixed_norm.fit_chunk = keep
    try:
        yield calls
    finally:
        fixed_norm.fit_chunk = original


def ready(flat: Any, lists: Lists, tiles: Any, space: Workspace, edge: Any) -> Any:
    """Return gathered lists as the solvers take them."""
    full, lead = space.lists(lists.n_rows)
    return engine.Prepared(full, lead, tiles.model_sum, edge)


def gather(flat: Any, lists: Lists, tiles: Any, space: Workspace) -> Any:
    """Gather the bins of a chunk."""
    space, prepared = engine.prepare(flat, lists, tiles, space)
    return space, prepared.edge


def lead(flat: Any, lists: Lists, tiles: Any, space: Workspace, edge: Any, options: Any) -> Any:
    """Solve as far as single precision leads: the solver without its last part."""
    finish, n_sweeps = engine._finish, 50
    engine._finish = lambda sums, start, lower, *_: (start, lower, lower, lower)
    try:
        bins = ready(flat, lists, tiles, space, edge)
        root, lower, _ = engine.solve(bins, tiles, options.rtol, n_sweeps)
    finally:
        engine._finish = finish
    return root.norm, lower


def finish(lists: Lists, tiles: Any, space: Workspace, start: Any, lower: Any) -> Any:
    """Polish led-in norms."""
    full, _ = space.lists(lists.n_rows)
    return engine._finish(full.gains, start, lower, tiles.model_sum, 50)


def error_at_bound(
    lists: Lists, tiles: Any, space: Workspace, edge: Any, options: Any, fit: Any
) -> Any:
    """Tell whether lower errors end at the bound."""
    full, lead = space.lists(lists.n_rows)
    profile = BinProfile(full, tiles.model_sum, edge.steepest)
    # engines that look in single precision first
    kind = getattr(engine, "Lead", None)
    more = () if kind is None else (kind(lead, tiles.model_sum),)
    norm, _, gain, s2 = fit
    return profile.ends_at(norm, gain, s2, tiles.bound, options.n_sigma**2, *more)


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile as the engine does."""
    return jax.jit(function, compiler_options=WIDE_VECTORS, **options)


def fastest(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the seconds of the fastest of some calls, after one that compiles."""
    seconds = []
    result = jax.block_until_ready(work())
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = jax.block_until_ready(work())
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def times(calls: list[Call]) -> dict[str, float]:
    """Return the seconds of each part, summed over chunks."""
    total = dict.fromkeys(PARTS, 0.0)
    programs = (
        compiled(gather, donate_argnums=3),
        compiled(lead),
        compiled(finish),
        compiled(error_at_bound),
    )
    spaces: dict[Any, Any] = {}
    for call in calls:
        kind = call.shape, call.dtype
        if kind not in spaces:
            rows, tiles = call.shape
            spaces[kind] = Workspace(*empty_workspace(rows=rows, tiles=tiles, dtype=call.dtype))
        spaces[kind], found = times_of(call, programs, spaces[kind])
        for name, seconds in zip(PARTS, found, strict=True):
            total[name] += seconds
    return total


def times_of(call: Call, programs: tuple[Any, ...], space: Any) -> tuple[Any, list[float]]:
    """Return the workspace, and the seconds of each part for one chunk."""
    flat, lists, tiles, options = call[:4]
    memory = [space]  # given away to each call, which returns it

    def gathered() -> Any:
        memory[0], edge = programs[0](flat, lists, tiles, memory[0])
        return edge

    def whole() -> Any:
        memory[0], found = fixed_norm.fit_chunk(
            flat, lists, tiles, options, *call.rest, memory[0], **call.named
        )
        return found

    edge, first = fastest(gathered)
    led, second = fastest(lambda: programs[1](flat, lists, tiles, memory[0], edge, options))
    fit, third = fastest(lambda: programs[2](lists, tiles, memory[0], *led))
    _, fourth = fastest(lambda: programs[3](lists, tiles, memory[0], edge, options, fit))
    _, fifth = fastest(whole)
    return memory[0], [first, second, third, fourth, fifth]


def sizes(calls: list[Call]) -> dict[str, int]:
    """Return how many chunks there are, their bins and pixels, and the terms of a sweep of all."""
    listed = sum(int(np.sum(np.asarray(call.lists.lengths))) for call in calls)
    pixels = [int(call.lists.n_rows) * np.size(call.tiles.bound) for call in calls]
    return {"chunks": len(calls), "listed bins": listed, "terms of a sweep": sum(pixels)}
