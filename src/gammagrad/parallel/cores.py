"""What a worker may use of a machine: its share of the cores, and what JAX there is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import jax

_TOPOLOGY = Path("/sys/devices/system/cpu")

# settings of JAX's persistent compilation cache, which workers share with their caller
_CACHE_SETTINGS = (
    *("jax_enable_compilation_cache", "jax_compilation_cache_dir"),
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


def core_groups() -> list[tuple[int, ...]]:
    """Return the physical cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return [(number,) for number in range(os.cpu_count() or 1)]
    cores: dict[str, list[int]] = {}
    for number in sorted(os.sched_getaffinity(0)):
        file = _TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list"
        try:
            core = file.read_text()
        except OSError:
            core = str(number)
        cores.setdefault(core, []).append(number)
    return [tuple(numbers) for numbers in cores.values()]


def core_shares(cores: Sequence[tuple[int, ...]], many: int) -> list[tuple[int, ...]]:
    """Deal cores out to processes: neighbours together, as evenly as can be."""
    shares = []
    for index in range(many):
        begin = index * len(cores) // many
        end = max((index + 1) * len(cores) // many, begin + 1)
        shares.append(tuple(number for core in cores[begin:end] for number in core))
    return shares


def worker_environment(processors: int) -> dict[str, str]:
    """Return the environment variables that JAX in a worker is to find."""
    found = {name: getattr(jax.config, name, None) for name in _CACHE_SETTINGS}
    cache = {name.upper(): str(value) for name, value in found.items() if value is not None}
    if "JAX_COMPILATION_CACHE_DIR" not in cache:
        cache = {}
    return {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": str(processors), **cache}
