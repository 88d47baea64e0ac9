"""Frozen dataclasses as JAX pytrees: the only place that registers one."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast, dataclass_transform

import jax

from gammagrad._upper import upper
from gammagrad.errors import InputTypeError, suggesting

T = TypeVar("T")

_STATIC = "gammagrad_static"


def static_field(**kwargs: Any) -> Any:
    """Return a dataclass field that belongs to the tree's structure, not to its leaves."""
    return dataclasses.field(metadata={_STATIC: True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(static_field, dataclasses.field))
def pytree(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a pytree."""
    # Rebuilding (by `jax.tree.map`, `jax.jit`, ...) does not run ``__init__``, so that constructors
    # may check and convert what a person passes without ever seeing a tracer's place-holder.
    own_repr = cls.__repr__ is not object.__repr__
    make = dataclasses.dataclass(
        frozen=True, eq=False, repr=not own_repr, init="__init__" not in vars(cls)
    )
    cls = make(cls)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cast(Any, cls))
    names = tuple(f.name for f in fields if not f.metadata.get(_STATIC))
    static = tuple(f.name for f in fields if f.metadata.get(_STATIC))

    def flatten_with_keys(obj: T) -> tuple[Any, Any]:
        children = tuple((jax.tree_util.GetAttrKey(n), getattr(obj, n)) for n in names)
        return children, tuple(getattr(obj, n) for n in static)

    def flatten(obj: T) -> tuple[Any, Any]:
        return tuple(getattr(obj, n) for n in names), tuple(getattr(obj, n) for n in static)

    def unflatten(aux: Any, children: Any) -> T:
        obj = object.__new__(cls)
        for name, value in zip(names, children, strict=True):
            object.__setattr__(obj, name, value)
        for name, value in zip(static, aux, strict=True):
            object.__setattr__(obj, name, value)
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return suggesting(cls)


def replace(obj: T, **changes: Any) -> T:
    """Copy a pytree object with some fields changed, without running its ``__init__``."""
    names = [f.name for f in dataclasses.fields(cast(Any, obj))]
    unknown = sorted(set(changes) - set(names))
    if unknown:
        raise InputTypeError(
            f"{type(obj).__name__} has no field {', '.join(unknown)}; "
            f"choose from {', '.join(names)}."
        )
    new = object.__new__(type(obj))
    for name in names:
        object.__setattr__(new, name, changes.get(name, getattr(obj, name)))
    return new


def to_internal(value: Any, unit: str, name: str) -> Any:
    """Return a value as a number or array in an internal unit."""
    if not (isinstance(value, str) or hasattr(value, "to_value")):
        return value
    return upper("to_value")(value, unit, name)
