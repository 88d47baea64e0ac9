"""A map's bins in rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad.errors import InputError
from gammagrad.maps import Map
from gammagrad.plot.scales import pyplot

_WIDTH = 12.0


def plot_grid(
    m: Map, figsize: tuple[float, float] | None = None, ncols: int = 3, **kwargs: Any
) -> Any:
    """Draw an image of each bin of a map's axis, in rows and columns; see `Map.plot_grid`."""
    if m.geom.is_region or len(m.geom.axes) != 1:
        raise InputError("plot_grid: expected a map on the sky with one more axis.")
    axis = m.geom.axes[0]
    columns = max(1, min(int(ncols), axis.nbin))
    rows = -(-axis.nbin // columns)
    ny, nx = m.geom.shape_image
    side = _WIDTH / columns
    height = float(np.clip(0.75 * side * ny / nx, 1.5, side)) + 0.8
    size = (_WIDTH, height * rows) if figsize is None else figsize
    figure = pyplot().figure(figsize=size, layout="compressed")
    axes = np.full((rows, columns), None, dtype=object)
    for i in range(axis.nbin):
        axes.flat[i] = figure.add_subplot(rows, columns, i + 1, projection=m.geom.wcs)
        m.plot(axes.flat[i], energy=i, **kwargs)
    return axes
