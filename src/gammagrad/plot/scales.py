"""Colour scales for maps of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.core.norm import Status
from gammagrad.errors import InputError
from gammagrad.output_quantities import FLUXES

_SIGMA_LINEAR = 5.0  # larger significances are drawn on a logarithmic scale
_STATUS_COLOURS = {
    Status.FITTED: "#eef3f7",
    Status.NO_COUNTS: "#9ecae1",
    Status.AT_BOUND: "#4292c6",
    Status.ZERO_BACKGROUND_BOUND: "#fdae6b",
    Status.COUNTS_WITHOUT_BACKGROUND: "#e6550d",
    Status.GUESS_KEPT: "#a1d99b",
    Status.NOT_FITTED: "#d9d9d9",
    Status.NOT_CONVERGED: "#a50f15",
    Status.LOWER_ERROR_AT_BOUND: "#cfe3ef",
    Status.OUT_OF_RANGE: "#67000d",
    Status.BACKGROUND_VANISHES: "#756bb1",
    Status.BACKGROUND_UNDETERMINED: "#bdbdbd",
    Status.AT_KINK: "#6baed6",
    Status.INDEX_UNDETERMINED: "#dadaeb",
    Status.INDEX_AT_LIMIT: "#9e9ac8",
}
_DECADES = 1e6  # values further below the maximum share one colour
_BLANK = "0.82"  # grey of pixels without a value


def pyplot() -> Any:
    """Return `matplotlib.pyplot`."""
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
    if limit <= 2 * _SIGMA_LINEAR:
        return colors.Normalize(-limit, limit)
    return colors.AsinhNorm(linear_width=_SIGMA_LINEAR, vmin=-limit, vmax=limit)


def colour_scale(
    data: NDArray[Any], stretch: str, vmin: float | None = None, vmax: float | None = None
) -> Any:
    """Return matplotlib's normalisation for data and a stretch."""
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
        if vmin is None and positive.size:
            low = max(float(positive.min()), high / _DECADES)
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
    raise InputError(
        f" is {stretch!r}; choose linear, sqrt, log, asinh, diverging or auto.", "stretch"
    )


def auto_stretch(name: str, data: NDArray[Any]) -> str:
    """Choose a stretch from the name of a quantity and its values."""
    if name in ("sqrt_ts", "ts", "residual"):
        return "diverging"
    values = np.asarray(data, dtype=float)
    values = values[np.isfinite(values)]
    if not values.size or np.asarray(data).dtype == bool or name in ("status", "niter"):
        return "linear"
    if name == "npred_excess" or name.split("_")[0] in ("norm", *FLUXES):
        return "log" if values.min() > 0 else "asinh"
    if values.min() < 0:
        return "linear"
    if values.min() > 0 and values.max() > 100 * values.min():
        return "log"
    return "sqrt" if values.max() > 4 * values.mean() else "linear"


def colour_map(stretch: str, cmap: Any = None) -> Any:
    """Return a colour map in which pixels without a value are grey."""
    name = cmap or ("RdBu_r" if stretch == "diverging" else "inferno")
    return pyplot().get_cmap(name).with_extremes(bad=_BLANK)


def asinh_ticks(norm: Any) -> list[float] | None:
    """Return ticks for a scale that is linear about zero and logarithmic beyond."""
    from matplotlib import colors

    if not isinstance(norm, colors.AsinhNorm):
        return None
    width, low, high = float(norm.linear_width), float(norm.vmin or 0), float(norm.vmax or 0)
    first = int(np.floor(np.log10(width)))
    last = int(np.ceil(np.log10(max(abs(low), abs(high)))))
    round_numbers = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)]
    ticks = [0.0] if low <= 0 <= high else []
    length = np.arcsinh(high / width) - np.arcsinh(low / width)
    for number in sorted(round_numbers, reverse=True):
        for tick in (number, -number):
            near = [abs(np.arcsinh(t / width) - np.arcsinh(tick / width)) for t in ticks]
            if low <= tick <= high and min(near, default=np.inf) > 0.07 * length:
                ticks.append(tick)
    return sorted(ticks)


def tick_text(value: float, position: int | None = None) -> str:
    """Return a tick's number as text, with a power of ten if it is very large or small."""
    del position
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    power = int(np.floor(np.log10(abs(value)) + 1e-9))
    digits = round(value / 10.0**power, 6)
    factor = "" if digits == 1 else "-" if digits == -1 else rf"{digits:g}\times"
    return rf"${factor}10^{{{power}}}$"


def categories(name: str, words: Sequence[str] | None = None) -> tuple[Any, Any, list[str]] | None:
    """Return how to draw a quantity whose values are codes."""
    from matplotlib import colors

    chosen: list[Any]
    if words is not None:
        labels = list(words)
        palette = pyplot().get_cmap("viridis" if len(labels) > 10 else "tab10")
        steps = np.linspace(0, 1, len(labels)) if len(labels) > 10 else range(len(labels))
        chosen = [palette(step) for step in steps]
    elif name == "status":
        labels = [status.name.lower().replace("_", " ") for status in Status]
        chosen = [_STATUS_COLOURS[status] for status in Status]
    elif name in ("success", "is_ul"):
        labels, chosen = ["no", "yes"], ["#fdae6b", "#eef3f7"]
    else:
        return None
    edges = np.arange(len(labels) + 1) - 0.5
    cmap = colors.ListedColormap(chosen).with_extremes(bad=_BLANK)
    return colors.BoundaryNorm(list(edges), len(labels)), cmap, labels
