"""Settings of the background estimator: checked when set, printed as plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.core.background import MASK_UPDATES, SIGNIFICANCES
from gammagrad.errors import InputError, choices, short
from gammagrad.maps import to_value


class SourceKernelWarning(UserWarning):
    """The sums under the source kernel are no Poisson counts, but are taken for such."""


def is_zero_or_one(kernel: NDArray[np.float64]) -> bool:
    """Tell whether a kernel, scaled to a maximum of 1, has values 0 and 1 only."""
    scaled = kernel / kernel.max()
    return bool(np.all((scaled < 1e-9) | (scaled > 1 - 1e-9)))


def _kernel(kernel: Any, name: str) -> NDArray[np.float64]:
    """Return the array of a kernel."""
    try:
        array = np.array(getattr(kernel, "array", kernel), dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{name}: expected a two-dimensional array or an astropy kernel, such as "
            f"Tophat2DKernel(3), got {type(kernel).__name__}."
        ) from error
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name}: expected a two-dimensional array, got shape {array.shape}.")
    if not (np.all(np.isfinite(array)) and np.all(array >= 0) and array.sum() > 0):
        raise InputError(f"{name}: expected finite numbers >= 0, not all of them 0.")
    return array


def _source_kernel(kernel: Any, name: str) -> NDArray[np.float64]:
    array = _kernel(kernel, name)
    if 0 in (side % 2 for side in array.shape):
        raise InputError(
            f"{name}: expected odd numbers of rows and columns, got {array.shape}; without a "
            "middle pixel it would shift the significance. Pad it by a row or column of zeros, or "
            "sample it on an odd number of pixels."
        )
    return array


def _threshold(value: Any, name: str) -> float:
    try:
        number = np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if np.isnan(number):
        raise InputError(f"{name}: expected a number of standard deviations, got {short(value)}.")
    return number


def _low_threshold(value: Any, name: str) -> float | None:
    return None if value is None else _threshold(value, name)


def _radius(radius: Any, name: str) -> u.Quantity:
    wanted = f'{name}: expected an angle >= 0, such as "0.1 deg", got {short(radius)}.'
    try:
        given = u.Quantity(radius)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(wanted) from error
    if u.pix in given.unit.bases:
        raise InputError(
            f"{wanted} For a radius in pixels multiply by their size, {given.value:g} * "
            "counts.geom.pixel_scales.mean()."
        )
    value = to_value(given if given.unit != "" else radius, "deg", name)
    if isinstance(radius, bool) or not (isinstance(value, float) and 0 <= value < np.inf):
        raise InputError(wanted)
    return u.Quantity(value, "deg")


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name}: expected True or False, got {short(value)}.")
    return bool(value)


def _one_of(known: tuple[str, ...]) -> Callable[[Any, str], str]:
    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in known:
            raise InputError(f"{name}: {short(value)} is not known{choices(value, known)}")
        return value

    return check


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "kernel_src": _source_kernel,
    "kernel_bkg": _kernel,
    "significance_threshold": _threshold,
    "mask_dilation_radius": _radius,
    "keep_record": _flag,
    "threshold_low": _low_threshold,
    "mask_update": _one_of(MASK_UPDATES),
    "significance": _one_of(SIGNIFICANCES),
}

BACKGROUND_SETTINGS = tuple(_CHECKS)
"""Settings of the background estimator, by name."""


def check_background_setting(name: str, value: Any) -> Any:
    """Check and convert one setting of `KernelBackgroundEstimator`."""
    if name not in _CHECKS:
        known = choices(name, BACKGROUND_SETTINGS)
        raise AttributeError(f"KernelBackgroundEstimator has no setting {name!r}{known}")
    return _CHECKS[name](value, name)


def check_thresholds(high: float, low: float | None) -> None:
    """Check that a second threshold is not above the first."""
    if low is not None and low > high:
        raise InputError(
            f"threshold_low: expected at most significance_threshold, which is {high:g}, got "
            f"{low:g}; it is for the surroundings of pixels above the first."
        )


def plain_background_setting(value: Any) -> Any:
    """Return a setting as text, numbers and lists of them."""
    if isinstance(value, u.Quantity):
        return str(value)
    return value.tolist() if isinstance(value, np.ndarray) else value
