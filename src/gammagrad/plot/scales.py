"""Colour scales that suit what a map shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIGMA_LINEAR", "auto_stretch", "colour_map", "colour_scale", "pyplot"]

SIGMA_LINEAR = 5.0
"""Significances up to here are drawn on a linear scale, larger ones on a logarithmic one."""

_BLANK = "0.82"  # grey of pixels without a value


def pyplot() -> Any:
    """Return `matplotlib.pyplot`.

    Returns
    -------
    module
        The module.

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message says how to get it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: install it with `pip install gammagrad[plot]`."
        ) from error
    return plt


def _diverging(values: NDArray[np.float64], vmin: float | None, vmax: float | None) -> Any:
    """Return a scale symmetric about zero."""
    from matplotlib import colors

    given = [abs(v) for v in (vmin, vmax) if v is not None]
    limit = max(given) if given else max(float(np.abs(values).max()), 1e-30)
    if limit <= 2 * SIGMA_LINEAR:
        return colors.Normalize(-limit, limit)
    return colors.AsinhNorm(linear_width=SIGMA_LINEAR, vmin=-limit, vmax=limit)


def colour_scale(
    data: NDArray[Any], stretch: str, vmin: float | None = None, vmax: float | None = None
) -> Any:
    """Return matplotlib's normalisation for data and a stretch.

    Parameters
    ----------
    data : numpy.ndarray
        Values to be drawn; those that are not finite are ignored.
    stretch : str
        ``"linear"``, ``"sqrt"``, ``"log"`` (from the smallest positive value), ``"asinh"`` (linear
        within the noise, logarithmic above it) or ``"diverging"`` (symmetric about zero).
    vmin, vmax : float, optional
        Ends of the scale; by default they follow from the data.

    Returns
    -------
    matplotlib.colors.Normalize
        The normalisation.

    Raises
    ------
    ValueError
        If there is no such stretch.
    """
    from matplotlib import colors

    values = np.asarray(data, dtype=float)
    values = values[np.isfinite(values)]
    values = values if values.size else np.array([0.0, 1.0])
    if stretch == "diverging":
        return _diverging(values, vmin, vmax)
    low = float(values.min()) if vmin is None else float(vmin)
    high = float(values.max()) if vmax is None else float(vmax)
    if stretch == "log":
        positive = values[values > 0]
        low = float(positive.min()) if vmin is None and positive.size else low
    high = high if high > low else low + (abs(low) or 1.0)
    if stretch == "log" and low > 0:
        return colors.LogNorm(low, high)
    if stretch == "sqrt":
        return colors.PowerNorm(0.5, vmin=low, vmax=high)
    if stretch == "asinh":
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle))) or (high - low) / 100
        low = max(low, middle - 3 * spread) if vmin is None else low
        return colors.AsinhNorm(linear_width=2 * spread, vmin=low, vmax=high)
    if stretch in ("linear", "log"):
        return colors.Normalize(low, high)
    raise ValueError(f"stretch is {stretch!r}; choose linear, sqrt, log, asinh, diverging or auto.")


def auto_stretch(name: str, data: NDArray[Any]) -> str:
    """Choose a stretch from the name of a quantity and its values.

    Parameters
    ----------
    name : str
        Name of the quantity, or an empty text.
    data : numpy.ndarray
        Values to be drawn.

    Returns
    -------
    str
        The stretch, for `colour_scale`.
    """
    if name in ("sqrt_ts", "ts", "residual"):
        return "diverging"
    values = np.asarray(data, dtype=float)
    values = values[np.isfinite(values)]
    if not values.size or np.asarray(data).dtype == bool or name in ("status", "niter"):
        return "linear"
    if name.split("_")[0] in ("norm", "flux", "dnde", "eflux", "e2dnde"):
        return "log" if values.min() > 0 else "asinh"
    if values.min() < 0:
        return "linear"
    if values.min() > 0 and values.max() > 100 * values.min():
        return "log"
    return "sqrt" if values.max() > 4 * values.mean() else "linear"


def colour_map(stretch: str, cmap: Any = None) -> Any:
    """Return a colour map in which pixels without a value are grey.

    Parameters
    ----------
    stretch : str
        Stretch it will be used with: a diverging one gets red and blue about white.
    cmap : str or matplotlib.colors.Colormap, optional
        Another colour map.

    Returns
    -------
    matplotlib.colors.Colormap
        The colour map.
    """
    name = cmap or ("RdBu_r" if stretch == "diverging" else "inferno")
    return pyplot().get_cmap(name).with_extremes(bad=_BLANK)
