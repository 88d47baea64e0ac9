"""Compiled programs: few, by padding arrays to common sizes, and a limited number kept."""

from __future__ import annotations

import functools
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, overload

import jax
import numpy as np

MOST_PROGRAMS = 128
"""Programs kept, of all functions together. Each takes about a megabyte."""

_FEWEST = 16
"""Programs kept whatever the mappings."""

_MAPPINGS, _MOST_MAPPINGS = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
"""Where Linux gives the number and the limit of a process's memory mappings: a program takes
10 to 500, and a process that runs out of them ends silently."""

P = ParamSpec("P")
R = TypeVar("R")

_lock = threading.RLock()
_programs: OrderedDict[Hashable, Callable[..., Any]] = OrderedDict()


class Compiled(Generic[P, R]):
    """A function that JAX compiles once for each kind of arguments, and forgets again."""

    # `jax.jit` keeps every program that it ever made. This keeps the `MOST_PROGRAMS` last used, of
    # all its functions together, and never drops a program of other code. Under a transformation of
    # JAX it is `jax.jit`.

    def __init__(
        self,
        function: Callable[P, R],
        static: Sequence[str] = (),
        quick: bool | Callable[..., bool] = False,
        **options: Any,
    ) -> None:
        # quick: whether to compile it faster, see `_quick_options`; may depend on what is static
        functools.update_wrapper(self, function)
        self.traces = 0
        self._quick = quick
        self._function = function
        self._options: dict[str, Any] = {"static_argnames": tuple(static), **options}
        self._names = tuple(inspect.signature(function).parameters)
        self._static = frozenset(static)
        self._nested = jax.jit(function, **self._options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        named = dict(zip(self._names, args, strict=False)) | kwargs
        fixed = tuple((name, named.pop(name)) for name in self._static if name in named)
        leaves, tree = jax.tree.flatten(named)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._nested(*args, **kwargs)
        key = self, tree, tuple(map(_kind, leaves)), fixed
        with _lock:
            program = _programs.pop(key, None)
            if program is None:
                _make_room()
                program = self._new(dict(fixed))
            _programs[key] = program
        result: R = program(*args, **kwargs)
        return result

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        """Return the function bound to an object, as for a method."""
        return self if obj is None else functools.partial(self, obj)

    def _new(self, fixed: dict[str, Any]) -> Callable[..., Any]:
        """Return the function as a new one, whose program is dropped with it."""
        options = dict(self._options)
        if self._quick(**fixed) if callable(self._quick) else self._quick:
            options["compiler_options"] = options.get("compiler_options", {}) | _quick_options()

        @functools.wraps(self._function)
        def own(*args: Any, **kwargs: Any) -> Any:
            self.traces += 1
            return self._function(*args, **kwargs)

        return jax.jit(own, **options)


@overload
def compiled(
    function: Callable[P, R], *, static: Sequence[str] = ..., **options: Any
) -> Compiled[..., R]: ...
@overload
def compiled(
    *, static: Sequence[str] = ..., **options: Any
) -> Callable[[Callable[P, R]], Compiled[..., R]]: ...
def compiled(
    function: Callable[P, R] | None = None, *, static: Sequence[str] = (), **options: Any
) -> Any:
    """Make a function a `Compiled` one, as a decorator with or without arguments."""
    if function is None:
        return functools.partial(compiled, static=static, **options)
    return Compiled(function, static, **options)


_QUICK = {"xla_cpu_use_fusion_emitters": False}
"""XLA writes the code of CPUs in its older way, which takes two thirds of the time to compile."""


@functools.cache
def _quick_options() -> dict[str, Any]:
    """Return what has XLA compile faster: for code that gets no slower, as was measured."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=dict(_QUICK))
    except jax.errors.JaxRuntimeError:  # a version that has only one way
        return {}
    return _QUICK


def _make_room() -> None:
    """Drop the least recently used programs, if there are too many."""
    most = MOST_PROGRAMS
    if _mappings() > 0.5:
        most = max(len(_programs) // 2, _FEWEST)
    while len(_programs) >= most:
        _programs.popitem(last=False)


def _mappings() -> float:
    """Return the fraction of memory mappings that the process has used; 0 if unknown."""
    try:
        most = int(_MOST_MAPPINGS.read_text())
        with _MAPPINGS.open("rb") as lines:
            return sum(1 for _ in lines) / most
    except (OSError, ValueError):
        return 0.0


def by_element(function: Callable[..., Any], *arrays: Any, **named: Any) -> Any:
    """Apply a compiled function of single numbers to arrays, in a row of a common length."""
    shape = np.shape([*arrays, *named.values()][0])
    size = int(np.prod(shape))

    def row(array: Any) -> np.ndarray:
        return fill(np.asarray(array).reshape(-1), (row_room(size),))

    found = function(*map(row, arrays), **{name: row(array) for name, array in named.items()})
    return jax.tree.map(lambda a: np.asarray(a)[:size].reshape(shape), found)


def n_programs() -> int:
    """Return the number of programs kept."""
    return len(_programs)


def _kind(leaf: Any) -> Hashable:
    """Return the properties of an argument that a program is compiled for."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return type(leaf).__name__
    return np.shape(leaf), dtype, getattr(leaf, "weak_type", False)


def is_traced(*values: Any) -> bool:
    """Tell whether any argument is traced by a transformation of JAX."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def can_fill(*values: Any) -> bool:
    """Tell whether arrays may be padded on the host before a compiled function."""
    arrays = [leaf for leaf in jax.tree.leaves(values) if isinstance(leaf, jax.Array)]
    if jax.default_backend() != "cpu" or is_traced(arrays):
        return False
    return all(len(a.devices()) == 1 and next(iter(a.devices())).platform == "cpu" for a in arrays)


def to_device(arrays: Any) -> Any:
    """Return arrays of JAX, without a program compiled for their shapes."""
    # a copy of the part in use: a view would keep the whole alive
    return jax.device_put(jax.tree.map(lambda a: np.array(a, order="C"), arrays))


def room(size: int, least: int = 32, few: int = 256) -> int:
    """Return the size to which an axis is padded, so that few sizes are compiled."""
    power = max(least, 1 << (max(size, 1) - 1).bit_length())
    if power <= few:
        return power
    step = power // 8
    return -(-size // step) * step


def row_room(size: int) -> int:
    """Return the length to which a row of pixels is padded: one for all small maps."""
    return room(size, 2**14, 2**20)


def image_room(rows: int, cols: int, least: int = 32) -> tuple[int, int]:
    """Return the shape to which an image is padded: small ones to a square."""
    side = room(max(rows, cols), least)
    return (side, side) if side <= 256 else (room(rows, least), room(cols, least))


def fill(array: Any, shape: tuple[int, ...], value: Any = 0, xp: Any = np) -> np.ndarray:
    """Pad an array at the end of its last axes."""
    array = xp.asarray(array)
    lead = array.ndim - len(shape)
    more = [(0, 0)] * lead
    more += [(0, new - old) for old, new in zip(array.shape[lead:], shape, strict=True)]
    if not any(after for _, after in more):
        return array
    return xp.pad(array, more, constant_values=value)
