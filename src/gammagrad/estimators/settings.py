"""Settings of the map estimator: checked when set, frozen when a run begins."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np

from gammagrad.core.windows import KERNEL_WEIGHTINGS
from gammagrad.evaluate.sampling import check_sampling
from gammagrad.models import SkyModel

__all__ = [
    "CONFIG_PARAMETERS",
    "OPTIONS",
    "check_settings",
    "parse_selection",
    "plain_setting",
    "positive",
]

CONFIG_PARAMETERS = (
    "model",
    "kernel_width",
    "downsampling_factor",
    "n_sigma",
    "n_sigma_ul",
    "threshold",
    "rtol",
    "selection_optional",
    "energy_edges",
    "sum_over_energy_groups",
    "n_jobs",
    "parallel_backend",
    "norm",
    "max_niter",
    "n_sigma_sensitivity",
    "kernel_weighting",
    "kernel_sampling",
)
"""Settings of the map estimator, by name."""

OPTIONS = ("errn-errp", "ul", "stat_scan", "sensitivity")
"""Optional outputs in gammapy's words."""

_LATER = {
    "downsampling_factor": "fit the full map instead, it is fast",
    "threshold": "every pixel is fitted",
    "norm": "it only sets the values of the likelihood scan",
    "parallel_backend": "one process uses every core",
}


def parse_selection(value: Any) -> list[str]:
    """Return the optional outputs asked for as a new list.

    Parameters
    ----------
    value
        None, one name, several, or "all".

    Returns
    -------
    list of str
        Names from `OPTIONS`.

    Raises
    ------
    ValueError
        If a name is not known.
    """
    if value is None:
        return []
    names = list(OPTIONS) if value == "all" else [value] if isinstance(value, str) else list(value)
    unknown = [name for name in names if name not in OPTIONS]
    if unknown:
        raise ValueError(
            f"selection_optional has {unknown}; choose from {list(OPTIONS)}, or 'all' or None."
        )
    return names


def plain_setting(value: Any) -> Any:
    """Return a setting as text, numbers and lists of them.

    Parameters
    ----------
    value
        A setting.

    Returns
    -------
    object
        Angles and energies with their unit as text; a model by its name.
    """
    if isinstance(value, u.Quantity):
        return [str(edge) for edge in value] if value.ndim else str(value)
    return value.name if isinstance(value, SkyModel) else value


def positive(value: Any, name: str) -> float:
    """Return a setting as a positive, finite number; a whole one stays whole.

    Parameters
    ----------
    value
        The number.
    name
        Its name in the error.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value!r}; expected a positive number.")
    return value if isinstance(value, int) else number


def _kernel_width(value: Any) -> u.Quantity:
    """Return the width of the kernel as one angle in deg."""
    wrong = f"kernel_width is {value!r}; expected one positive angle such as '1 deg'."
    try:
        width = u.Quantity(value).to("deg")
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise ValueError(wrong) from error
    if width.ndim or not 0 < width.value < np.inf:
        raise ValueError(wrong)
    return width


def _energy_edges(value: Any) -> u.Quantity | str | None:
    """Return energy edges as a quantity, "all" or None."""
    if value is None or (isinstance(value, str) and value == "all"):
        return value
    try:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, u.Quantity | np.ndarray):
            parts = u.Quantity([u.Quantity(part) for part in parts])
        edges = u.Quantity(parts)
        edges.to("TeV")
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise ValueError(
            f"energy_edges are {value!r}; expected energies with their units, such as "
            "'10 GeV, 500 GeV', or 'all' for one group per bin."
        ) from error
    if edges.ndim != 1 or edges.size < 2 or not np.all(np.diff(edges.value) > 0):
        raise ValueError(f"energy_edges are {edges}; expected two or more, increasing.")
    return edges


def check_settings(name: str, value: Any) -> Any:
    """Check and convert one setting of `TSMapEstimator`.

    Parameters
    ----------
    name
        The setting's name.
    value
        What was passed.

    Returns
    -------
    object
        The value to keep.

    Raises
    ------
    ValueError, TypeError
        If the value cannot be used; the message says what can.
    """
    if name in ("n_sigma", "n_sigma_ul", "n_sigma_sensitivity", "rtol"):
        return positive(value, name)
    if name == "sum_over_energy_groups":
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} is {value!r}; expected True or False.")
        return bool(value)
    if name == "max_niter":
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"max_niter is {value!r}; expected a whole number of at least 1.")
        return int(value)
    if name == "kernel_width" and value is not None:
        return _kernel_width(value)
    if name == "energy_edges":
        return _energy_edges(value)
    if name == "kernel_weighting" and value not in KERNEL_WEIGHTINGS:
        raise ValueError(f"kernel_weighting is {value!r}; choose one of {KERNEL_WEIGHTINGS}.")
    if name == "kernel_sampling":
        check_sampling(value)
    if name == "model" and not isinstance(value, SkyModel):
        raise TypeError(f"model is a {type(value).__name__}; expected a SkyModel to test.")
    if name == "model" and value.spatial_model is None:
        raise ValueError("model has no spatial model; pass one, PointSpatialModel() for instance.")
    no_effect = value is None or (name == "downsampling_factor" and value == 1)
    if name in _LATER and not no_effect:
        raise ValueError(
            f"{name}={value!r} is not available in this version of gammagrad; "
            f"leave it None ({_LATER[name]})."
        )
    if name == "n_jobs" and value not in (None, 1):
        raise ValueError(
            f"n_jobs={value!r} is not available in this version of gammagrad; leave it None: one "
            "process uses every core."
        )
    if name == "selection_optional":
        selection = parse_selection(value)
        if selection:
            raise ValueError(
                f"selection_optional={selection} is not available in this version of gammagrad; "
                "leave it None."
            )
        return selection
    return value
