"""The exponential function, written so that compilers vectorise it inside of sums."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_LOG2 = math.log(2)

# A part of log(2) so short that a whole number times it is exact.
_HIGH = {np.dtype(np.float32): 0.693115234375, np.dtype(np.float64): 0.6931471675634384}

# Mantissa bits, bias of the exponent, and terms of the series that reach rounding.
_FORMATS: dict[Any, tuple[Any, int, int, int]] = {
    np.dtype(np.float32): (np.int32, 23, 127, 7),
    np.dtype(np.float64): (np.int64, 52, 1023, 13),
}


def _by_parts(x: Array) -> Array:
    """Return the exponential from a power of two and a series, for results without underflow."""
    kind, mantissa, bias, terms = _FORMATS[x.dtype]
    high = _HIGH[x.dtype]
    power = jnp.round(x * (1 / _LOG2))
    rest = (x - power * high) - power * (_LOG2 - high)
    value = jnp.full_like(x, 1 / math.factorial(terms))
    for term in range(terms - 1, -1, -1):
        value = 1 / math.factorial(term) + rest * value
    bits = lax.shift_left(power.astype(kind) + kind(bias), kind(mantissa))
    return value * lax.bitcast_convert_type(bits, x.dtype)


@jax.custom_jvp
def exp_inside(x: Array) -> Array:
    """Return ``exp(x)`` for numbers between -80 and 80; elsewhere the result has no meaning."""
    if x.dtype not in _FORMATS:
        return jnp.exp(x)
    return lax.platform_dependent(x, cpu=_by_parts, default=jnp.exp)


@exp_inside.defjvp
def _exp_inside_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Differentiate without another exponential."""
    value = exp_inside(*primals)
    return value, tangents[0] * value
