"""The norms at which the likelihood is scanned."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.maps import to_value

SCAN_DEFAULTS: dict[str, Any] = {
    "scan_min": -100.0,
    "scan_max": 100.0,
    "scan_n_values": 195,
    "interp": "log",
}
"""What a scan is without other settings: 0, and 16 norms a decade from 1e-4 to 100, both signs."""

_KEYS = ("scan_min", "scan_max", "scan_n_values", "scan_values", "interp")

# a logarithmic scan that crosses zero stops this far below its larger end
_SMALLEST = 1e-6

Floats = NDArray[np.float64]


def scan_values(norm: Any = None) -> Floats:
    """Return the norms at which the likelihood is scanned."""
    if norm is None:
        norm = {}
    if isinstance(norm, Mapping):
        return _from_settings(norm)
    if hasattr(norm, "scan_values"):
        return _checked(norm.scan_values, "norm.scan_values")
    return _checked(norm, "norm")


def plain_scan(norm: Any) -> Any:
    """Return what is scanned as text, numbers and lists, for a file of settings."""
    if norm is None:
        return None
    values = scan_values(norm)
    if not isinstance(norm, Mapping):
        return values.tolist()
    if norm.get("scan_values") is not None:
        return {"scan_values": values.tolist()}
    plain = {name: _number(norm, name) for name in ("scan_min", "scan_max") if name in norm}
    if "scan_n_values" in norm:
        plain["scan_n_values"] = int(norm["scan_n_values"])
    return {**plain, "interp": str(norm["interp"])} if "interp" in norm else plain


def _checked(values: Any, name: str) -> Floats:
    """Return norms, increasing and each once, or say why they are none."""
    wanted = "expected norms to scan: one or more finite numbers, such as [0, 1, 2]"
    remedy = (
        "; or pass a dict such as {'scan_min': -10, 'scan_max': 10, 'scan_n_values': 21, "
        "'interp': 'lin'}, or None for the default"
    )
    try:
        if isinstance(values, str | bytes | Mapping | bool) or np.ndim(values) != 1:
            raise TypeError
        numbers = np.asarray(to_value(values, "", name), dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputTypeError(f" is {values!r}; {wanted}{remedy}.", name) from error
    if not numbers.size or not np.all(np.isfinite(numbers)):
        raise InputError(f" is {values!r}; {wanted}{remedy}.", name)
    # minus zero is zero
    return np.unique(numbers) + 0.0


def _from_settings(norm: Mapping[str, Any]) -> Floats:
    """Return the norms of a dict."""
    for key in norm:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, n=1, cutoff=0.3)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(f"norm has no {key!r}; {hint}There are {', '.join(_KEYS)}.")
    if norm.get("scan_values") is not None:
        return _checked(norm["scan_values"], "norm['scan_values']")
    low, high = _number(norm, "scan_min"), _number(norm, "scan_max")
    if not low < high:
        raise InputError(
            f"norm['scan_min'] is {low} and norm['scan_max'] is {high}; expected scan_min below "
            "scan_max."
        )
    many = norm.get("scan_n_values", SCAN_DEFAULTS["scan_n_values"])
    if isinstance(many, bool) or not isinstance(many, int | np.integer) or many < 2:
        raise InputError(f"norm['scan_n_values'] is {many!r}; expected a whole number above 1.")
    interp = norm.get("interp", SCAN_DEFAULTS["interp"])
    if interp not in ("lin", "log"):
        raise InputError(f"norm['interp'] is {interp!r}; expected 'lin' or 'log'.")
    values = np.linspace(low, high, many) if interp == "lin" else _log_space(low, high, int(many))
    return np.unique(values) + 0.0


def _number(norm: Mapping[str, Any], name: str) -> float:
    """Return one bound of a dict."""
    value = norm.get(name, SCAN_DEFAULTS[name])
    try:
        number = np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(
            f"norm[{name!r}] is {short(value)}; expected a finite number, or leave it out for "
            f"{SCAN_DEFAULTS[name]}."
        )
    return number


def _log_space(low: float, high: float, many: int) -> Floats:
    """Return norms spaced by equal factors, on both sides of 0 if they cross it."""
    if low > 0:
        return np.geomspace(low, high, many)
    if high < 0:
        return -np.geomspace(-high, -low, many)
    ends = (-low, high)
    if many < 1 + sum(end > 0 for end in ends):
        return np.linspace(low, high, many)
    smallest = _SMALLEST * max(ends)
    decades = [float(np.log10(max(end / smallest, 1.0))) for end in ends]
    # a side that is there at all has one value at least, its end
    below = round((many - 1) * decades[0] / sum(decades))
    below = int(np.clip(below, int(low < 0), many - 1 - int(high > 0)))
    sides = (-1.0, ends[0], below), (1.0, ends[1], many - 1 - below)
    parts = [sign * np.geomspace(end, min(smallest, end), n) for sign, end, n in sides if n]
    return np.concatenate([np.zeros(1), *parts])


def read_scan(text: str) -> dict[str, list[float]]:
    """Return the norms of a text between commas."""
    return {"scan_values": [float(part) for part in text.split(",")]}
