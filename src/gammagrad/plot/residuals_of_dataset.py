"""The smoothed residuals of a dataset on the sky."""

from __future__ import annotations

from typing import Any

from gammagrad.maps import Map
from gammagrad.plot.sky import plot_map

_LABELS = {
    "diff": "counts - predicted",
    "diff/model": "(counts - predicted) / predicted",
    "diff/sqrt(model)": "(counts - predicted) / sqrt(predicted)",
}


def plot_spatial_residuals(residuals: Map, method: str, ax: Any = None, **kwargs: Any) -> Any:
    """Draw an image of residuals; see `MapDataset.plot_residuals_spatial`."""
    options = {"vmin": -5, "vmax": 5, "cmap": "coolwarm", "stretch": "linear", "title": ""}
    options["label"] = _LABELS[method]
    ends = kwargs.pop("clim", None)
    if ends is not None:
        options["vmin"], options["vmax"] = ends
    if "add_cbar" in kwargs:
        kwargs["colorbar"] = kwargs.pop("add_cbar")
    if "norm" in kwargs:
        options["vmin"] = options["vmax"] = None
    return plot_map(residuals, ax, **{**options, **kwargs})
