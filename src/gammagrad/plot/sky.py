"""Pictures of maps on the sky, with coordinates, colour bars and sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from gammagrad.flux_maps import FluxMaps
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import WcsGeom
from gammagrad.maps.map import Map
from gammagrad.plot.scales import SIGMA_LINEAR, auto_stretch, colour_map, colour_scale, pyplot
from gammagrad.quantities import QUANTITIES

__all__ = ["plot_flux_maps", "plot_map"]

_DASH = "\N{EN DASH}"
_FRAMES = {
    "galactic": ("Galactic longitude", "Galactic latitude"),
    "icrs": ("Right ascension (ICRS)", "Declination (ICRS)"),
    "fk5": ("Right ascension (J2000)", "Declination (J2000)"),
}


def _energy_text(axis: MapAxis, i: int) -> str:
    """Return the range of an energy bin in words, in a unit that suits it."""
    low, high = axis.edges[i], axis.edges[i + 1]
    if not axis.unit.is_equivalent("TeV"):
        return f"{low.value:.4g} {_DASH} {high:.4g}"
    for unit in ("TeV", "GeV", "MeV", "keV"):
        if low.to_value(unit) >= 0.1:
            break
    return f"{low.to_value(unit):.3g} {_DASH} {high.to_value(unit):.3g} {unit}"


def _planes(m: Map, energy: int | Sequence[int] | None) -> tuple[list[NDArray[Any]], list[str]]:
    """Return the images to draw and their titles."""
    geom = m.geom
    if geom.is_region:
        raise ValueError("This map has no position on the sky: there is no picture to draw.")
    if not len(geom.axes):
        return [m.data], [""]
    if len(geom.axes) > 1 and np.prod(geom.axes.shape[:-1]) > 1:
        raise ValueError(
            f"This map has the axes {', '.join(geom.axes.names)}: take a slice of it first."
        )
    axis = geom.axes[0]
    planes = np.reshape(m.data, (axis.nbin, *geom.shape_image))
    chosen = range(axis.nbin) if energy is None else np.atleast_1d(np.asarray(energy, dtype=int))
    for i in chosen:
        if not -axis.nbin <= i < axis.nbin:
            raise ValueError(f"energy is {i}, but axis '{axis.name}' has {axis.nbin} bins.")
    indices = [int(i) % axis.nbin for i in chosen]
    return [planes[i] for i in indices], [_energy_text(axis, i) for i in indices]


def _make_axes(geom: WcsGeom, number: int) -> list[Any]:
    """Return new axes for a number of images, in a figure shaped to fit them."""
    plt = pyplot()
    columns = min(number, 1 if number == 1 else 2 if number <= 4 else 3)
    rows = -(-number // columns)
    ny, nx = geom.shape_image
    width = 7.0 if columns == 1 else 5.2 if columns == 2 else 4.4
    height = np.clip(0.72 * width * ny / nx, 1.6, 1.4 * width) + (0.9 if columns == 1 else 0.75)
    figure = plt.figure(figsize=(width * columns, height * rows), layout="constrained")
    return [figure.add_subplot(rows, columns, i + 1, projection=geom.wcs) for i in range(number)]


def _label_axes(ax: Any, geom: WcsGeom) -> None:
    names = _FRAMES.get(geom.frame, ("Longitude", "Latitude"))
    small = geom.width.to_value("deg").max() < 3
    for coord, name in zip(ax.coords, names, strict=False):
        coord.set_axislabel(name)
        if geom.frame == "galactic":
            coord.set_format_unit(u.deg, decimal=True, show_decimal_unit=False)
            coord.set_axislabel(f"{name} [deg]")
        coord.set_ticks(number=5)
        coord.set_ticklabel(exclude_overlapping=True)
        coord.display_minor_ticks(not small)
    ax.coords.grid(color="0.5", alpha=0.35, linestyle=":", linewidth=0.6)


def _colour_bar(ax: Any, image: Any, label: str) -> None:
    """Put a colour bar of the picture's height to its right."""
    from matplotlib.colors import AsinhNorm
    from matplotlib.ticker import FixedLocator, StrMethodFormatter

    beside = ax.inset_axes([1.02, 0.0, 0.035, 1.0])
    bar = ax.figure.colorbar(image, cax=beside)
    bar.set_label(label)
    bar.outline.set_linewidth(0.6)
    norm = image.norm
    if isinstance(norm, AsinhNorm) and norm.linear_width == SIGMA_LINEAR:
        steps = np.array([0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 1e5, 1e6])
        shown = steps[steps <= norm.vmax]
        bar.ax.yaxis.set_major_locator(FixedLocator([*(-shown[:0:-1]), *shown]))
        bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        bar.ax.minorticks_off()


def _mark_peaks(ax: Any, peaks: Table, names: bool) -> None:
    """Circle the sources of a table and write their names beside them."""
    from matplotlib import patheffects

    if not len(peaks):
        return
    halo = [patheffects.withStroke(linewidth=2.2, foreground="white")]
    sky = SkyCoord(u.Quantity(peaks["ra"], "deg"), u.Quantity(peaks["dec"], "deg"), frame="icrs")
    x, y = ax.wcs.celestial.world_to_pixel(sky)
    ax.scatter(x, y, s=90, facecolors="none", edgecolors="black", linewidths=1.1, path_effects=halo)
    if names and "name" in peaks.colnames:
        for xi, yi, name in zip(x, y, peaks["name"], strict=True):
            ax.annotate(
                str(name),
                (xi, yi),
                xytext=(7, 5),
                textcoords="offset points",
                fontsize=8,
                color="black",
                path_effects=halo,
                annotation_clip=True,
            )


def _draw(ax: Any, geom: WcsGeom, data: NDArray[Any], options: dict[str, Any]) -> None:
    """Draw one image with all that belongs to it."""
    image = ax.imshow(
        np.ma.masked_invalid(np.asarray(data, dtype=float)),
        origin="lower",
        interpolation="nearest",
        cmap=options["cmap"],
        norm=options["norm"],
    )
    _label_axes(ax, geom)
    if options["colorbar"]:
        _colour_bar(ax, image, options["label"])
    if options["contours"] is not None:
        ax.contour(
            np.nan_to_num(np.asarray(data, dtype=float)),
            levels=np.sort(np.atleast_1d(options["contours"])),
            colors=options["contour_color"],
            linewidths=0.9,
        )
    if options["peaks"] is not None:
        _mark_peaks(ax, options["peaks"], options["peak_names"])


def plot_map(
    m: Map,
    ax: Any = None,
    *,
    energy: int | Sequence[int] | None = None,
    stretch: str = "auto",
    cmap: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    colorbar: bool = True,
    label: str | None = None,
    title: str | None = None,
    contours: Sequence[float] | None = None,
    contour_color: str = "black",
    peaks: Table | None = None,
    peak_names: bool = True,
    name: str = "",
) -> Any:
    """Draw a map on axes with sky coordinates.

    Parameters
    ----------
    m : Map
        Map to draw. A map of several energy bins gets one panel for each.
    ax : WCSAxes, optional
        Where to draw a single image, such as ``plt.subplot(projection=m.geom.wcs)``.
    energy : int or sequence of int, optional
        Which energy bins to draw; all by default.
    stretch : str
        ``"linear"``, ``"sqrt"``, ``"log"``, ``"asinh"``, ``"diverging"``, or ``"auto"`` to choose
        by the quantity and its values.
    cmap : str or Colormap, optional
        Colour map.
    vmin, vmax : float, optional
        Ends of the colour scale.
    colorbar : bool
        Draw a colour bar.
    label : str, optional
        Text of the colour bar; the unit is added.
    title : str, optional
        Title; by default the energy range.
    contours : sequence of float, optional
        Levels at which to draw contours.
    contour_color : str
        Colour of the contours.
    peaks : astropy.table.Table, optional
        Sources to circle, with columns ``ra``, ``dec`` and ``name``, as `find_peaks` returns them.
    peak_names : bool
        Write their names.
    name : str
        Name of the quantity, from which stretch and label follow.

    Returns
    -------
    WCSAxes or numpy.ndarray of them
        The axes; an array if there are several panels.

    Raises
    ------
    ValueError
        If the map has no position on the sky, a bin does not exist, or `ax` does not fit.
    """
    planes, titles = _planes(m, energy)
    axes = _make_axes(m.geom, len(planes)) if ax is None else [_checked(ax, len(planes))]
    together = np.stack(planes)
    if stretch == "auto":
        stretch = auto_stretch(name, together)
    unit = m.unit.to_string("latex_inline") if m.unit != u.dimensionless_unscaled else ""
    if label is None:
        label = QUANTITIES[name].label if name in QUANTITIES else name.replace("_", " ")
    for axis, plane, text in zip(axes, planes, titles, strict=True):
        shown = together if stretch == "diverging" else plane
        options = {
            "norm": colour_scale(shown, stretch, vmin, vmax),
            "cmap": colour_map(stretch, cmap),
            "colorbar": colorbar,
            "label": f"{label} [{unit}]" if unit else label,
            "contours": contours,
            "contour_color": contour_color,
            "peaks": peaks,
            "peak_names": peak_names,
        }
        _draw(axis, m.geom, plane, options)
        axis.set_title(text if title is None else title, fontsize="medium")
    return axes[0] if len(axes) == 1 else np.array(axes, dtype=object)


def _checked(ax: Any, number: int) -> Any:
    """Return the axes passed in, or raise if they cannot take the images."""
    if number > 1:
        raise ValueError(
            f"There are {number} energy bins for one pair of axes: choose one with energy=0, "
            "or leave out ax to get a panel for each."
        )
    if not hasattr(ax, "coords"):
        raise ValueError(
            "ax has no sky coordinates: make it with plt.subplot(projection=maps.geom.wcs)."
        )
    return ax


def plot_flux_maps(maps: FluxMaps, quantity: str = "sqrt_ts", ax: Any = None, **kwargs: Any) -> Any:
    """Draw one of the flux maps.

    Parameters
    ----------
    maps : FluxMaps
        The maps.
    quantity : str
        Name of the one to draw.
    ax : WCSAxes, optional
        Where to draw a single energy group.
    **kwargs
        Options of `plot_map`.

    Returns
    -------
    WCSAxes or numpy.ndarray of them
        The axes; an array if there are several energy groups.
    """
    return plot_map(maps[quantity], ax, name=quantity, **kwargs)
