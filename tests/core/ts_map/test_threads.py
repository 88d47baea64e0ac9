"""Work in threads: its order, its memory, its settings, its errors."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad.core.ts_map import threads
from gammagrad.core.ts_map.threads import in_threads, n_threads


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_threads", lambda: 3)


def test_results_come_in_the_order_of_the_items() -> None:
    def work(item: int, space: None) -> tuple[None, dict[str, jax.Array]]:
        return space, {"square": jnp.asarray(float(item)) ** 2}

    found = [(item, float(r["square"])) for item, r in in_threads(work, range(40))]
    assert found == [(i, float(i * i)) for i in range(40)]
    assert list(in_threads(work, ())) == []


def test_memory_is_handed_on_and_never_shared() -> None:
    used: list[int] = []

    def work(item: int, space: list[int] | None) -> tuple[list[int], dict[str, jax.Array]]:
        space = [] if space is None else space
        space.append(item)
        used.append(id(space))
        return space, {}

    assert len(list(in_threads(work, range(30)))) == 30
    assert len(set(used)) <= 3


@pytest.mark.parametrize("double", [False, True])
def test_threads_have_the_precision_and_device_of_their_caller(double: bool) -> None:
    device = jax.devices()[-1]

    def work(item: int, space: None) -> tuple[None, dict[str, jax.Array]]:
        made = jnp.zeros(3)
        assert made.devices() == {device}
        return space, {"made": made}

    with jax.enable_x64(double), jax.default_device(device):
        found = list(in_threads(work, range(4)))
    assert {r["made"].dtype for _, r in found} == {np.dtype(np.float64 if double else np.float32)}


def test_an_error_reaches_the_caller_and_ends_the_work() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    def work(item: int, space: None) -> tuple[None, dict[str, jax.Array]]:
        if item == 5:
            raise ValueError("the sixth is bad")
        return space, {}

    with pytest.raises(ValueError, match="the sixth is bad"):
        list(in_threads(work, items()))
    assert len(taken) < 30


def test_there_are_as_many_threads_as_processors() -> None:
    assert 1 <= n_threads() <= 16
