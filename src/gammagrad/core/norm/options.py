"""What a fit is asked for: the numbers that steer it, and the names of its optional outputs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from gammagrad._programs import is_traced
from gammagrad._pytree import pytree
from gammagrad.errors import InputError, short

OPTIONAL = ("errn-errp", "ul", "stat_scan", "sensitivity")
"""Optional outputs, in gammapy's words."""


@pytree
class FitOptions:
    """Numbers that steer a fit: traced, so that another value compiles nothing new."""

    n_sigma: Array | float = 1.0  # standard deviations of `norm_err`, `norm_errp` and `norm_errn`
    # standard deviations of the upper limit: 2 is 97.7 % one-sided, 1.645 is 95 %
    n_sigma_ul: Array | float = 2.0
    n_sigma_sensitivity: Array | float = 5.0  # significance that the sensitivity is for
    # norm below which limits do not start: minus infinity, or 0 for limits that are never negative
    norm_min: Array | float = float("-inf")
    # last step, in units of the error, above which the status is "not converged"
    rtol: Array | float = 0.01
    gamma_min: Array | float = 0.0  # least number of source counts that the sensitivity asks for
    # part of the background that the sensitivity takes to be uncertain
    bkg_syst_fraction: Array | float = 0.0


def make_options(dtype: DTypeLike, norm_min: ArrayLike | None, **numbers: ArrayLike) -> FitOptions:
    """Bring the numbers of a fit into one spelling: a float and an int must not compile twice."""
    lowest = float("-inf") if norm_min is None else norm_min
    given = numbers | {"norm_min": lowest}
    for name, number in given.items():
        if not is_traced(number):
            _check_number(name, number)
    # arrays of numpy compile nothing by themselves
    xp = jnp if is_traced(given) else np
    return FitOptions(**{name: xp.asarray(number, dtype) for name, number in given.items()})


_POSITIVE = ("n_sigma", "n_sigma_ul", "n_sigma_sensitivity", "rtol")


def _check_number(name: str, number: ArrayLike) -> None:
    """Check that an option is one number in its range."""
    value = np.asarray(number)
    one = value.ndim == 0 and value.dtype.kind in "iuf"
    amount = float(value) if one else np.nan
    fine = not np.isnan(amount)
    if name == "norm_min":
        expected, fine = "one number, or None", fine and amount < np.inf
    elif name in _POSITIVE:
        expected, fine = "one positive number", 0 < amount < np.inf
    else:
        expected, fine = "one number of at least 0", 0 <= amount < np.inf
    if not fine:
        raise InputError(f" is {short(number)}; expected {expected}.", name)


def check_sweeps(n_sweeps: object) -> None:
    """Check a number of Newton sweeps."""
    if isinstance(n_sweeps, bool) or not isinstance(n_sweeps, int | np.integer) or n_sweeps < 1:
        raise InputError(f"n_sweeps is {short(n_sweeps)}; expected a whole number of at least 1.")


def parse_selection(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the optional outputs asked for, in the order of `OPTIONAL`."""
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else list(value)
    if "all" in names:
        return OPTIONAL
    for name in names:
        if name not in OPTIONAL:
            near = difflib.get_close_matches(str(name), OPTIONAL, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise InputError(
                f" has {name!r}, which is not an optional output: choose from "
                f"{', '.join(map(repr, OPTIONAL))}, or 'all', or None{hint}",
                "selection_optional",
            )
    return tuple(name for name in OPTIONAL if name in names)


def checked_selection(
    selection: str | Iterable[str] | None, scan_values: ArrayLike | None, dtype: DTypeLike
) -> tuple[tuple[str, ...], Array | None]:
    """Return the optional outputs and the norms to scan, or say which of them is missing."""
    names = parse_selection(selection)
    if "stat_scan" not in names:
        return names, None
    if scan_values is None:
        raise InputError("stat_scan needs scan_values: the norms at which to scan the statistic.")
    xp: Any = jnp if is_traced(scan_values) else np
    return names, xp.atleast_1d(xp.asarray(scan_values, dtype))
