"""Chunks of work in several threads, which JAX itself does not spread over a processor's cores."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_MOST = 16
"""Threads at most: each has memory of its own."""

_ELSEWHERE = 2
"""Threads for an accelerator: it computes for one while the other hands over its results."""

Item = TypeVar("Item")
Space = TypeVar("Space")
Found = dict[str, np.ndarray]


def n_threads() -> int:
    """Return how many threads share a device's work."""
    if jax.default_backend() != "cpu":
        return _ELSEWHERE
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MOST)
    return min(os.cpu_count() or 1, _MOST)


@cache
def _pool(many: int) -> ThreadPoolExecutor:
    """Return the threads, always the same: each new one would keep memory of its own."""
    return ThreadPoolExecutor(many, thread_name_prefix="gammagrad")


def in_threads(
    work: Callable[[Item, Space | None], tuple[Space, dict[str, jax.Array]]],
    items: Iterable[Item],
) -> Iterator[tuple[Item, Found]]:
    """Do some work for each of some items, in threads."""
    many = n_threads()
    own = threading.local()
    # settings that JAX keeps for each thread: new ones would start with its defaults
    double = jnp.result_type(float) == np.float64
    device = next(iter(jax.device_put(np.zeros(())).devices()))

    def job(item: Item) -> Found:
        with jax.enable_x64(double), jax.default_device(device):
            # memory stays with its thread: it is in that core's cache
            own.space, found = work(item, getattr(own, "space", None))
            return {name: np.asarray(array) for name, array in found.items()}

    waiting: deque[tuple[Item, Future[Found]]] = deque()
    threads = _pool(many)
    try:
        for item in items:
            waiting.append((item, threads.submit(job, item)))
            if len(waiting) > 2 * many:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
        wait([future for _, future in waiting])
