"""A result in one figure, and figures as files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.table import Table

from gammagrad.flux_maps import FluxMaps
from gammagrad.io import expand_path, write_files
from gammagrad.maps import WcsGeom
from gammagrad.plot.marks import halo, positions, write_names
from gammagrad.plot.profile import plot_profile
from gammagrad.plot.scales import pyplot
from gammagrad.plot.significance import plot_significance_histogram
from gammagrad.plot.sky import plot_flux_maps

PICTURES = ("sqrt_ts", "flux", "histogram")
"""Names of the pictures that `write_pictures` makes by default."""

_OPTIONAL = {"ul": "flux_ul", "sensitivity": "flux_sensitivity", "stat_scan": "profile"}

_TITLES = {
    "sqrt_ts": "Significance of a source at each position",
    "flux": "Flux of a source at each position",
    "histogram": "Distribution of significances",
}
_TAIL = 12.0  # where the histogram of an overview ends


def picture_names(selection: Iterable[str]) -> tuple[str, ...]:
    """Return the pictures for the computed maps.

    Parameters
    ----------
    selection : iterable of str
        Optional outputs of the estimator, such as ``"ul"``.

    Returns
    -------
    tuple of str
        Names for `write_pictures`.

    Examples
    --------
    >>> picture_names(["ul", "errn-errp"])
    ('sqrt_ts', 'flux', 'histogram', 'flux_ul')
    """
    return (*PICTURES, *(_OPTIONAL[name] for name in selection if name in _OPTIONAL))


def draw_to_files() -> None:
    """Choose a matplotlib backend that needs no screen, unless one is already in use.

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message says how to get it.
    """
    if "matplotlib.pyplot" not in sys.modules:
        try:
            import matplotlib
        except ImportError:
            pyplot()  # which says what is missing
        else:
            matplotlib.use("agg")


def plot_overview(
    maps: FluxMaps,
    peaks: Table | None = None,
    *,
    energy: int = 0,
    truth: Table | None = None,
    exclusion: Any = None,
    title: str = "",
) -> Any:
    """Draw significance, flux and the distribution of significances side by side.

    Parameters
    ----------
    maps : FluxMaps
        The maps.
    peaks : astropy.table.Table, optional
        Sources to circle, and to leave out of the distribution.
    energy : int
        Energy group to draw.
    truth : astropy.table.Table, optional
        Known sources, with columns ``ra``, ``dec`` and ``name``: marked by crosses, and named in
        place of the peaks.
    exclusion : Map, ndarray or Table, optional
        Regions to leave out of the distribution instead of `peaks`.
    title : str
        Text above the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure: three panels in a row, or wide maps above each other.
    """
    figure, cells = _layout(maps.geom)
    for cell, name in zip(cells, ("sqrt_ts", "flux"), strict=False):
        ax = figure.add_subplot(cell, projection=maps.geom.wcs)
        shown = peaks if name == "sqrt_ts" else None
        plot_flux_maps(
            maps,
            name,
            ax,
            energy=energy,
            peaks=shown,
            peak_names=truth is None,
            title=_TITLES[name],
        )
        if truth is not None:
            _mark_truth(ax, truth, names=name == "sqrt_ts")
    ax = figure.add_subplot(cells[2])
    left_out = peaks if exclusion is None else exclusion
    plot_significance_histogram(maps, left_out, ax=ax, energy=energy)
    # a bright source would squeeze the normal distribution into a line
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, -_TAIL), min(high, _TAIL))
    if not _is_wide(maps.geom):
        ax.set_ylim(top=40 * ax.get_ylim()[1])  # room for the legend
    ax.set_title(_TITLES["histogram"], fontsize="medium")
    if title:
        figure.suptitle(title)
    return figure


def _layout(geom: WcsGeom) -> tuple[Any, Any]:
    """Return a figure with places for two maps and a histogram that suit the maps' shape."""
    if _is_wide(geom):
        width, height = _wide_size(geom)
        heights = [height, height, 3.6]
        figure = pyplot().figure(figsize=(width, sum(heights)), layout="constrained")
        return figure, figure.add_gridspec(3, 1, height_ratios=heights)
    figure = pyplot().figure(figsize=(15.5, 5.0), layout="constrained")
    return figure, figure.add_gridspec(1, 3, width_ratios=[1.25, 1.25, 1.0])


def _single_axes(geom: WcsGeom) -> Any:
    """Return axes for one map, large enough for the names of sources."""
    size = _wide_size(geom) if _is_wide(geom) else (8.0, 6.8)
    figure = pyplot().figure(figsize=size, layout="constrained")
    return figure.add_subplot(projection=geom.wcs)


def _wide_size(geom: WcsGeom) -> tuple[float, float]:
    """Return width and height of a figure with one map that is wider than high."""
    ny, nx = geom.shape_image
    return 10.0, float(np.clip(7.8 * ny / nx, 1.8, 5.0)) + 0.9


def _is_wide(geom: WcsGeom) -> bool:
    ny, nx = geom.shape_image
    return nx > 1.5 * ny


def _mark_truth(ax: Any, truth: Table, names: bool) -> None:
    """Mark known sources with crosses."""
    x, y = ax.wcs.celestial.world_to_pixel(positions(truth))
    style = {"path_effects": halo(2.4)}
    ax.scatter(x, y, s=70, marker="+", color="black", linewidths=1.0, zorder=4, **style)
    if names:
        write_names(ax, x, y, truth["name"], fontsize=9)


def save_figure(
    figure: Any, filename: str | PathLike[str], overwrite: bool = False, dpi: int = 150
) -> Path:
    """Write a figure to a file, whole or not at all, and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    filename : str or path
        File to write; its ending sets the format.
    overwrite : bool
        Replace an existing file.
    dpi : int
        Pixels per inch.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is false.
    FileNotFoundError
        If its folder does not exist.
    """
    path = expand_path(filename)
    kind = path.suffix.removeprefix(".") or None

    def write(file: BinaryIO) -> None:
        figure.savefig(file, format=kind, dpi=dpi, bbox_inches="tight")

    try:
        write_files([(path, write)], overwrite)
    finally:
        pyplot().close(figure)
    return path


def _highest_profile(maps: FluxMaps) -> Any:
    """Draw the likelihood profile of the most significant pixel, as a flux if there is one."""
    significance = np.nan_to_num(maps["sqrt_ts"].data, nan=-np.inf)
    group, row, col = (int(i) for i in np.unravel_index(significance.argmax(), significance.shape))
    quantity = "flux" if "flux" in maps else "norm"
    return plot_profile(maps, (row, col), energy=group, quantity=quantity)


def write_pictures(
    maps: FluxMaps,
    folder: str | PathLike[str],
    peaks: Table | None = None,
    overwrite: bool = False,
    names: Sequence[str] = PICTURES,
) -> list[Path]:
    """Write pictures of maps into a folder: one file each.

    Parameters
    ----------
    maps : FluxMaps
        The maps; pictures have a panel for each energy group.
    folder : str or path
        An existing folder.
    peaks : astropy.table.Table, optional
        Sources to circle, and to leave out of the histogram.
    overwrite : bool
        Replace existing files.
    names : sequence of str
        Which pictures to make: names of maps, ``"histogram"``, and ``"profile"``, the likelihood
        profile of the most significant pixel.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    FileExistsError
        If a file exists and `overwrite` is false.
    ImportError
        If matplotlib is not installed.
    """
    written = []
    for name in names:
        if name == "histogram":
            figure = plot_significance_histogram(maps, peaks).ax.figure
        elif name == "profile":
            figure = _highest_profile(maps).figure
        else:
            shown = peaks if name.split("_")[0] in ("sqrt", "flux", "norm") else None
            single = maps.geom.data_shape[0] == 1
            ax = _single_axes(maps.geom) if single else None
            axes = plot_flux_maps(
                maps, name, ax=ax, peaks=shown, peak_names=single and name == "sqrt_ts"
            )
            figure = np.ravel(axes)[0].figure
        written.append(save_figure(figure, Path(folder) / f"{name}.png", overwrite))
    return written
