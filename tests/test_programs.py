"""Compiled programs: made once for each kind of arguments, dropped when there are too many."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad import _programs, fit_norm, ts_map
from gammagrad._programs import (
    Compiled,
    by_element,
    can_fill,
    compiled,
    fill,
    image_room,
    n_programs,
    room,
    row_room,
    to_device,
)
from gammagrad.core.norm.fit import _fit_norm
from gammagrad.core.ts_map.ts_map import _ts_map


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow four programs, none of them there yet."""
    monkeypatch.setattr(_programs, "MOST_PROGRAMS", 4)
    monkeypatch.setattr(_programs, "_programs", type(_programs._programs)())


def doubled() -> Compiled:
    """Return a new compiled function."""

    @compiled(static=("times",))
    def function(x: jax.Array, y: jax.Array | None = None, *, times: int = 2) -> jax.Array:
        """Multiply."""
        return times * x if y is None else times * x + y

    return function


def test_a_kind_of_arguments_is_traced_once(few: None) -> None:
    function = doubled()
    for value in (1.0, 2.0, 3.0):
        assert float(function(np.float32(value))) == 2 * value
    assert function.traces == 1
    function(np.float32(1), times=3)
    function(np.ones(3, np.float32))
    function(np.ones(3, np.float32), y=np.ones(3, np.float32))
    assert function.traces == 4 == n_programs()
    assert function.__doc__ == "Multiply."


def test_the_program_used_longest_ago_is_dropped(few: None) -> None:
    function = doubled()
    for n in range(1, 5):
        function(np.ones(n))
    function(np.ones(1))
    function(np.ones(5))  # drops that of two
    assert n_programs() == 4
    for n in (1, 3, 4, 5):
        function(np.ones(n))
    assert function.traces == 5
    function(np.ones(2))
    assert function.traces == 6


def test_functions_share_the_bound_and_nothing_else_is_dropped(few: None) -> None:
    users = jax.jit(lambda x: x + 1)
    users(np.ones(3))
    first, second = doubled(), doubled()
    for n in range(1, 9):
        first(np.ones(n))
        second(np.ones(n))
    assert n_programs() == 4
    assert users._cache_size() == 1
    np.testing.assert_array_equal(second(np.ones(2)), 2 * np.ones(2))


def test_a_process_short_of_mappings_keeps_half(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_programs, "MOST_PROGRAMS", 100)
    monkeypatch.setattr(_programs, "_FEWEST", 2)
    function = doubled()
    for n in range(1, 9):
        function(np.ones(n))
    assert n_programs() == 8
    monkeypatch.setattr(_programs, "_mappings", lambda: 0.6)
    function(np.ones(9))
    assert n_programs() == 4
    for n in range(10, 20):
        function(np.ones(n))
    assert n_programs() == 2


def test_what_the_system_says_of_mappings() -> None:
    if not _programs._MAPPINGS.exists():
        assert _programs._mappings() == 0.0
    else:
        assert 0 < _programs._mappings() < 1


@pytest.mark.skipif(not _programs._MAPPINGS.exists(), reason="this system does not tell")
def test_a_dropped_program_gives_its_mappings_back(few: None) -> None:
    @compiled
    def function(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda c, _: (jnp.sin(c) @ c, None), x, None, length=3)[0]

    used = []
    for n in range(1, 49):
        function(np.ones((n, n)))
        used.append(len(_programs._MAPPINGS.read_bytes().splitlines()))
    # each takes eight or more
    assert used[-1] - used[15] < 32 * 2


def test_transformations_see_a_plain_function(few: None) -> None:
    function = doubled()
    x = jnp.ones(3)
    np.testing.assert_array_equal(jax.grad(lambda x: function(x).sum())(x), 2 * np.ones(3))
    np.testing.assert_array_equal(jax.vmap(function)(x), 2 * np.ones(3))
    np.testing.assert_array_equal(jax.jit(lambda x: function(x, times=3))(x), 3 * np.ones(3))
    assert n_programs() == 0


def test_it_is_a_method_in_a_class(few: None) -> None:
    class Number:
        """A class with a compiled method, of a tree of arrays."""

        @compiled
        def plus(self: tuple, x: jax.Array) -> jax.Array:
            return self[0] + x

    assert float(Number.plus.__get__((np.float32(1),), tuple)(np.float32(2))) == 3


@given(size=st.integers(1, 10**7), least=st.sampled_from([1, 32, 128]))
def test_rooms_hold_their_sizes_and_are_few(size: int, least: int) -> None:
    found = room(size, least)
    assert found >= max(size, least)
    # a power of two, or at most a quarter too many
    assert found <= max(least, 2 * size if size <= 256 else 1.25 * size)
    assert room(found, least) == found
    assert row_room(size) >= size


def test_how_many_rooms_there_are() -> None:
    assert len({room(n) for n in range(1, 257)}) == 4
    assert len({room(n) for n in range(257, 2049)}) == 12
    assert len({image_room(r, c) for r in range(1, 257) for c in (1, 40, 256)}) == 4


def test_an_array_is_filled_at_its_end() -> None:
    array = np.arange(6.0).reshape(1, 2, 3)
    filled = fill(array, (3, 4), np.nan)
    np.testing.assert_array_equal(filled[:, :2, :3], array)
    assert np.isnan(filled).sum() == 6
    assert fill(array, (2, 3)) is array


def test_functions_of_single_numbers_take_any_shape() -> None:
    function = compiled(lambda a, b: a * b)
    for shape in ((3,), (4, 5), (2, 3, 4), (1, 100)):
        a = np.random.default_rng(0).normal(size=shape)
        np.testing.assert_allclose(by_element(function, a, b=a), a**2, rtol=1e-6)
    assert function.traces == 1


def test_where_arrays_may_be_filled_up() -> None:
    assert can_fill(np.ones(3), [1.0], None, jnp.ones(3))
    seen = []
    jax.jit(lambda x: seen.append(can_fill(np.ones(3), x)))(1.0)
    jax.grad(lambda x: seen.append(can_fill(x)) or x)(1.0)
    assert seen == [False, False]
    mesh = jax.make_mesh((len(jax.devices()),), ("device",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("device"))
    assert not can_fill(jax.device_put(np.ones(8), place))


def test_arrays_of_jax_own_their_memory() -> None:
    whole = np.ones((4, 4))
    part = to_device({"a": whole[:2, :2]})["a"]
    whole[:] = 2
    np.testing.assert_array_equal(part, np.ones((2, 2)))


def arrays(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return counts, background, exposure."""
    rng = np.random.default_rng(len(shape))
    background = rng.uniform(0.2, 1.0, shape)
    return [rng.poisson(background).astype(float), background, rng.uniform(5, 20, shape)]


@pytest.mark.parametrize("shape", [(1, 9, 33), (1, 33, 40), (1, 40, 34)])
def test_a_filled_map_has_the_numbers_of_the_map_itself(
    shape: tuple[int, ...], rtol: float
) -> None:
    kernel = np.array([[[0.1, 0.2, 0.1], [0.2, 1.0, 0.2], [0.1, 0.2, 0.1]]])
    found = ts_map(*arrays(shape), kernel, selection_optional="ul")
    wanted = jax.jit(lambda *a: ts_map(*a, selection_optional="ul"))(*arrays(shape), kernel)
    assert found.norm.shape == shape[1:]
    assert isinstance(found.norm, jax.Array)
    for name in ("norm", "ts", "norm_ul", "stat", "npred", "status"):
        one, other = np.asarray(getattr(found, name)), np.asarray(getattr(wanted, name))
        np.testing.assert_allclose(one, other, rtol=10 * rtol, atol=10 * rtol, err_msg=name)


def test_maps_and_pixels_of_one_room_share_a_program() -> None:
    kernel = np.ones((1, 3, 3)) / 9
    ts_map(*arrays((1, 33, 50)), kernel)
    before = _ts_map.traces
    for shape in ((1, 64, 64), (1, 40, 60), (1, 5, 64)):
        ts_map(*arrays(shape), kernel)
    assert _ts_map.traces == before
    fit_norm(*arrays((20,)))
    before = _fit_norm.traces
    for shape in ((1,), (30,), (4, 8), (2, 3, 5)):
        fit_norm(*arrays(shape))
    assert _fit_norm.traces == before


@pytest.fixture
def forget_options() -> Iterator[None]:
    """Have the options looked up again, here and afterwards."""
    _programs._quick_options.cache_clear()
    yield
    _programs._quick_options.cache_clear()


def test_what_compiles_quickly_may_depend_on_what_is_static(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(_programs, "_quick_options", lambda: asked.append({}) or {})

    @compiled(static=("times",), quick=lambda times: times < 3)
    def function(x: jax.Array, *, times: int) -> jax.Array:
        return times * x

    for times, number in ((2, 1), (3, 1)):
        np.testing.assert_array_equal(function(np.arange(3.0), times=times), times * np.arange(3.0))
        assert len(asked) == number


def test_an_option_that_xla_does_not_know_is_left_out(
    forget_options: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _programs._QUICK if jax.default_backend() == "cpu" else {}
    assert _programs._quick_options() == expected
    monkeypatch.setattr(_programs, "_QUICK", {"xla_cpu_no_such_option": False})
    _programs._quick_options.cache_clear()
    assert _programs._quick_options() == {}
    assert compiled(lambda x: x + 1, quick=True)(np.float32(1)) == 2
