"""Checks of the settings of `KernelBackgroundEstimator`: each returns the value to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.errors import InputError, short
from gammagrad.maps import to_value

Kernel = NDArray[np.float64] | u.Quantity
"""An image, the radius of a disc, or the two radii of a ring."""


class SourceKernelWarning(UserWarning):
    """The sums under the source kernel are not Poisson counts, but are taken for such."""


def is_zero_or_one(kernel: Kernel) -> bool:
    """Tell whether a kernel, scaled to a maximum of 1, has values 0 and 1 only."""
    if isinstance(kernel, u.Quantity):
        return True
    scaled = kernel / kernel.max()
    return bool(np.all((scaled < 1e-9) | (scaled > 1 - 1e-9)))


def any_kernel(kernel: Any, name: str) -> Kernel:
    """Return the array of a kernel, or the radii of a ring."""
    if isinstance(kernel, tuple | list) and len(kernel) == 2 and all(map(_is_angle, kernel)):
        inner, outer = (_radius(one, name) for one in kernel)
        if not inner < outer:
            raise InputError(
                f": expected the inner and then the outer radius of a ring, got {short(kernel)}.",
                name,
            )
        return u.Quantity([inner, outer])
    if _is_angle(kernel):
        if np.ndim(kernel) == 1 and len(kernel) == 2:
            return any_kernel(tuple(kernel), name)
        return _radius(kernel, name)
    try:
        array = np.array(getattr(kernel, "array", kernel), dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f": expected a two-dimensional array, an astropy kernel such as Tophat2DKernel(3), "
            f'or an angle such as "0.1 deg", got {type(kernel).__name__}.',
            name,
        ) from error
    if array.ndim != 2 or array.size == 0:
        raise InputError(f": expected a two-dimensional array, got shape {array.shape}.", name)
    if not (np.all(np.isfinite(array)) and np.all(array >= 0) and array.sum() > 0):
        raise InputError(": expected finite numbers >= 0, not all of them 0.", name)
    return array


def _is_angle(value: Any) -> bool:
    return isinstance(value, str | u.Quantity)


def _radius(radius: Any, name: str) -> u.Quantity:
    """Return the radius of a disc, in deg or in pixels."""
    wanted = f': expected a radius above 0, such as "0.1 deg" or "3 pix", got {short(radius)}.'
    try:
        given = u.Quantity(radius)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(wanted, name) from error
    if given.unit != u.pix:
        given = u.Quantity(to_value(radius, "deg", name), "deg")
    if given.ndim or not 0 < given.value < np.inf:
        raise InputError(wanted, name)
    return given


def source_kernel(kernel: Any, name: str) -> Kernel:
    """Return the array of a kernel that has a middle pixel, or the radius of a disc."""
    array = any_kernel(kernel, name)
    if isinstance(array, u.Quantity):
        if array.ndim:
            raise InputError(f": expected the radius of a disc, got {short(kernel)}.", name)
        return array
    if 0 in (side % 2 for side in array.shape):
        raise InputError(
            f": expected odd numbers of rows and columns, got {array.shape}; without a "
            "middle pixel it would shift the significance. Pad it by a row or column of zeros, or "
            "sample it on an odd number of pixels.",
            name,
        )
    return array


def threshold(value: Any, name: str) -> float:
    """Return a number of standard deviations."""
    try:
        number = np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if np.isnan(number):
        raise InputError(f": expected a number of standard deviations, got {short(value)}.", name)
    return number


def dilation_radius(radius: Any, name: str) -> u.Quantity:
    """Return an angle in deg."""
    wanted = f': expected an angle >= 0, such as "0.1 deg", got {short(radius)}.'
    try:
        given = u.Quantity(radius)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(wanted, name) from error
    if u.pix in given.unit.bases:
        raise InputError(
            f"{wanted} For a radius in pixels multiply by their size, {given.value:g} * "
            "counts.geom.pixel_scales.mean().",
            name,
        )
    value = to_value(given if given.unit != "" else radius, "deg", name)
    if isinstance(radius, bool) or not (isinstance(value, float) and 0 <= value < np.inf):
        raise InputError(wanted, name)
    return u.Quantity(value, "deg")


def check_thresholds(high: float, low: float | None) -> None:
    """Check that a second threshold is not above the first."""
    if low is not None and low > high:
        raise InputError(
            f": expected at most significance_threshold, which is {high:g}, got "
            f"{low:g}; it is for the surroundings of pixels above the first.",
            "threshold_low",
        )
