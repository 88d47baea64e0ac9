"""Conversion of arrays from files and other libraries for JAX."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad.errors import InputError, InputTypeError

P = ParamSpec("P")
R = TypeVar("R")

LARGEST_COUNT = 2.0**53
"""Larger values are not counts: double precision cannot resolve whole numbers there."""


def unmasked(value: Any, name: str = "array") -> Any:
    """Return a value without its mask, if that masks nothing."""
    if isinstance(value, np.ma.MaskedArray):
        mask, inside = np.ma.getmaskarray(value), value.data
    elif hasattr(value, "unmasked") and hasattr(value, "mask"):
        mask, inside = np.asarray(value.mask), value.unmasked
    else:
        return value
    if np.any(mask):
        raise InputError(
            f"{name}: {np.count_nonzero(mask)} of {mask.size} values are masked; expected an array "
            "without a mask. Fill it (array.filled(0)), and leave the bins out with weights, "
            "mask_safe or mask_fit."
        )
    return inside


def plain(value: Any, name: str = "array") -> Any:
    """Return an array for JAX: in native byte order, without mask and unit."""
    if type(value) in (list, tuple):
        return type(value)(plain(item, name) for item in value)
    if isinstance(value, jax.Array | bool | int | float):
        return value
    value = unmasked(value, name)
    if hasattr(value, "unit") and hasattr(value, "to_value"):
        try:
            value = value.to_value("")
        except (TypeError, ValueError) as error:  # the base of UnitConversionError
            raise InputTypeError(
                f"{name}: it is in {value.unit}; expected plain numbers. Convert it, as in "
                "value.to_value('TeV')."
            ) from error
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind not in "buif":
        raise InputTypeError(f"{name}: expected numbers or booleans, got {value.dtype}.")
    return value.astype(value.dtype.newbyteorder("="), copy=False)


def takes_arrays(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function accept arrays of any byte order, strides and type, by any argument."""
    names = function.__code__.co_varnames

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        good: Any = [plain(a, name) for a, name in zip(args, names, strict=False)]
        named: Any = {name: plain(value, name) for name, value in kwargs.items()}
        return function(*good, **named)

    return call


def common_float(*values: Any) -> tuple[jax.Array, ...]:
    """Return arrays of their widest floating type; JAX's default if none is floating."""
    arrays = [jnp.asarray(value) for value in values]
    # Python scalars (and tracers of them) are weak: they adapt to the others
    found: list[Any] = [
        array.dtype
        for array in arrays
        if jnp.issubdtype(array.dtype, jnp.floating) and not array.weak_type
    ]
    default = jnp.zeros(()).dtype
    dtype = max(found, key=lambda d: jnp.finfo(d).bits) if found else default
    return tuple(array.astype(dtype) for array in arrays)


def check_counts(counts: Any, weights: Any = None) -> None:
    """Check that known counts are not so large that they cannot be counts."""
    if isinstance(counts, jax.core.Tracer) or isinstance(weights, jax.core.Tracer):
        return
    values = np.asarray(counts)
    if values.max(initial=0) <= LARGEST_COUNT:
        return
    # NaN and infinity have no weight
    huge = np.isfinite(values) & (values > LARGEST_COUNT)
    if weights is not None:
        huge &= np.asarray(weights) > 0
    if huge.any():
        raise InputError(
            f"counts: {np.count_nonzero(huge)} values above 2^53, up to {values[huge].max():.4g}; "
            "expected counts. Is this a blank value? Set it to NaN, which leaves it out."
        )
