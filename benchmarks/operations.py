"""Count what fits compute: passes over bins of a pixel, with and without logarithms.

with counted() as tally:
    estimator.run(dataset)

Counting is compiled into the programs, which are therefore compiled anew, and slower.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad.core.ts_map import bin_sums
from gammagrad.core.ts_map.bin_sums import BinSums

METHODS = ("scores", "gains", "gain", "asimov", "sums_from")
"""Methods of `BinSums` whose passes are told apart; each makes them by `BinSums.total`."""

SHARED = "gains_of_whole"
"""The method in which several bins share a logarithm."""


class Kind(NamedTuple):
    """What passes have in common."""

    method: str
    dtype: str
    number: int  # terms made together
    rows: int  # rows that share a step


class Tally:
    """How many passes over the bins of a chunk of tiles, and terms of one bin and pixel."""

    def __init__(self) -> None:
        self.passes: Counter[Kind] = Counter()
        self.terms: Counter[Kind] = Counter()
        self._lock = threading.Lock()

    def add(self, kind: Kind, pixels: int, rows: np.ndarray) -> None:
        """Note one pass."""
        with self._lock:
            self.passes[kind] += 1
            self.terms[kind] += int(rows) * pixels

    def of(self, *methods: str, dtype: str | None = None) -> int:
        """Return the terms of some methods, each pass over a bin and pixel counted once."""
        return sum(
            terms
            for kind, terms in self.terms.items()
            if kind.method in methods and dtype in (None, kind.dtype)
        )


def n_rows(blocks: Any, rows: int) -> Any:
    """Return how many rows of bins there are, those that fill up included."""
    number = jnp.asarray(blocks.number, jnp.int32)
    if isinstance(blocks, bin_sums.Parts):
        return number * n_rows(blocks.take(jnp.zeros((), jnp.int32)), rows)
    return number * rows


@contextlib.contextmanager
def counted() -> Iterator[Tally]:
    """Count what is computed inside the block."""
    tally, method = Tally(), threading.local()
    originals = {name: getattr(BinSums, name) for name in (*METHODS, SHARED, "total")}

    def note(bins: BinSums, name: str, number: int, rows: int) -> None:
        blocks = bins.blocks(rows)
        kind = Kind(name, str(blocks.zero.dtype), number, rows)
        add = partial(tally.add, kind, blocks.zero.size)
        jax.debug.callback(add, n_rows(blocks, rows))

    def total(bins: BinSums, terms: Any, number: int, rows: int = bin_sums.ROWS) -> Any:
        note(bins, getattr(method, "name", "other"), number, rows)
        return originals["total"](bins, terms, number, rows)

    def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            method.name = name
            try:
                found = function(*args)
            finally:
                method.name = "other"
            return named(name, found) if name == "sums_from" and callable(found) else found

        return call

    def shared(bins: BinSums, norms: Any, way: Any) -> Any:
        note(bins, SHARED, len(norms), way.rows)
        return originals[SHARED](bins, norms, way)

    jax.clear_caches()
    for name in METHODS:
        setattr(BinSums, name, named(name, originals[name]))
    for name, function in (("total", total), (SHARED, shared)):
        setattr(BinSums, name, function)
    try:
        yield tally
        jax.effects_barrier()
    finally:
        for name, original in originals.items():
            setattr(BinSums, name, original)
        jax.clear_caches()
