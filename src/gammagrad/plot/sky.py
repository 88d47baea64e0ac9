"""Plots of maps on the sky, with coordinates, colour bars and sources."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import Map, MapAxis, WcsGeom, middle_shape, readable_energies, to_value
from gammagrad.output_quantities import QUANTITIES
from gammagrad.plot.marks import draw_resolution, mark_peaks
from gammagrad.plot.scales import (
    asinh_ticks,
    auto_stretch,
    categories,
    colour_map,
    colour_scale,
    pyplot,
    tick_text,
)

_DASH = "\N{EN DASH}"
_FRAMES = {
    "galactic": ("Galactic longitude", "Galactic latitude"),
    "icrs": ("Right ascension (ICRS)", "Declination (ICRS)"),
    "fk5": ("Right ascension (J2000)", "Declination (J2000)"),
}


def energy_text(axis: MapAxis, i: int) -> str:
    """Return the range of an energy bin in words, in a unit that suits it."""
    low, high = axis.edges[i], axis.edges[i + 1]
    if not axis.unit.is_equivalent("TeV"):
        return f"{low.value:.4g} {_DASH} {high:.4g}"
    ends = readable_energies(u.Quantity([low, high]))
    return f"{ends[0].value:.3g} {_DASH} {ends[1].value:.3g} {ends.unit}"


def _planes(m: Map, energy: int | Sequence[int] | None) -> tuple[list[NDArray[Any]], list[str]]:
    """Return the images to draw and their titles."""
    geom = m.geom
    if geom.is_region:
        raise InputError("This map has no position on the sky: there is no picture to draw.")
    if not len(geom.axes):
        return [m.data], [""]
    if len(geom.axes) > 1 and np.prod(geom.axes.shape[:-1]) > 1:
        raise InputError(
            f"This map has the axes {', '.join(geom.axes.names)}: take a slice of it first."
        )
    axis = geom.axes[0]
    planes = np.reshape(m.data, (axis.nbin, *geom.shape_image))
    chosen = range(axis.nbin) if energy is None else np.atleast_1d(np.asarray(energy, dtype=int))
    for i in chosen:
        if not -axis.nbin <= i < axis.nbin:
            raise InputError(f" is {i}, but axis '{axis.name}' has {axis.nbin} bins.", "energy")
    indices = [int(i) % axis.nbin for i in chosen]
    return [planes[i] for i in indices], [energy_text(axis, i) for i in indices]


def _make_axes(geom: WcsGeom, number: int) -> list[Any]:
    """Return new axes for a number of images, in a figure shaped to fit them."""
    plt = pyplot()
    columns = 1 if number == 1 else 2 if number in (2, 4) else 3
    rows = -(-number // columns)
    ny, nx = geom.shape_image
    side = {1: 7.0, 2: 5.0, 3: 4.2}[columns]
    width = side if nx >= ny else side * max(0.3, nx / ny) + 1.2
    height = float(np.clip(0.75 * side * ny / nx, 1.5, side)) + 0.8
    figure = plt.figure(figsize=(width * columns, height * rows), layout="compressed")
    return [figure.add_subplot(rows, columns, i + 1, projection=geom.wcs) for i in range(number)]


def _label_axes(ax: Any, geom: WcsGeom) -> None:
    """Write numbers on both sides, and names of the coordinates at the edge of the figure."""
    names = _FRAMES.get(geom.frame, ("Longitude", "Latitude"))
    for coord, name in zip(ax.coords, names, strict=False):
        coord.set_axislabel(name)
        if geom.frame == "galactic":
            coord.set_format_unit(u.deg, decimal=True, show_decimal_unit=False)
            coord.set_axislabel(f"{name} [deg]")
        coord.set_ticks(number=5)
        coord.set_ticklabel(exclude_overlapping=True)
    place = ax.get_subplotspec()
    if place is not None and not place.is_first_col():
        ax.coords[1].set_axislabel("")
        ax.coords[1].set_auto_axislabel(False)
    ax.coords.grid(color="0.5", alpha=0.35, linestyle=":", linewidth=0.6)


def _align(bar: Any, parent: Any) -> None:
    """Give a colour bar the height of its image."""
    from matplotlib.transforms import Bbox

    def locate(ax: Any, renderer: Any) -> Bbox:
        parent.apply_aspect()
        shown, slot = parent.get_position(), parent.get_position(original=True)
        gap = max(ax.get_position(original=True).x0 - slot.x1, 0.08 / ax.figure.get_figwidth())
        # the layout keeps the ratio of the bar's sides: any other width would change its height
        sides = ax.figure.get_figheight() / ax.figure.get_figwidth() / ax.get_box_aspect()
        width = shown.height * sides
        return Bbox.from_bounds(shown.x1 + gap, shown.y0, width, shown.height)

    bar.ax.set_axes_locator(locate)


def colour_bar(axes: list[Any], image: Any, label: str, words: list[str] | None = None) -> None:
    """Put a colour bar to the right of axes."""
    from matplotlib.ticker import FixedLocator

    bar = axes[0].figure.colorbar(
        image, ax=axes, pad=0.02, fraction=0.05, aspect=20 * (1 if len(axes) <= 3 else 2)
    )
    bar.set_label(label)
    bar.outline.set_linewidth(0.6)
    ticks = asinh_ticks(image.norm)
    if words is not None:
        bar.set_ticks(list(range(len(words))), labels=words)
        bar.ax.minorticks_off()
    elif ticks is not None:
        bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
        bar.ax.yaxis.set_major_formatter(tick_text)
        bar.ax.minorticks_off()
    if len(axes) == 1:
        _align(bar, axes[0])


def plot_map(
    m: Map,
    ax: Any = None,
    *,
    energy: int | Sequence[int] | None = None,
    stretch: str = "auto",
    cmap: Any = None,
    norm: Any = None,
    vmin: float | None = None,
    vmax: float | None = None,
    interpolation: str = "nearest",
    colorbar: bool = True,
    label: str | None = None,
    title: str | None = None,
    contours: Sequence[float] | None = None,
    contour_color: str = "black",
    peaks: Table | None = None,
    peak_names: bool = True,
    resolution: Any = None,
    name: str = "",
    words: Sequence[str] | None = None,
) -> Any:
    """Draw a map on axes with sky coordinates.

    Parameters
    ----------
    m : Map
        Map to draw. A map of several energy bins gets one panel for each.
    ax : WCSAxes, optional
        Where to draw a single image, such as ``plt.subplot(projection=m.geom.wcs)``; a figure
        made with ``layout="constrained"`` leaves room for the colour bars.
    energy : int or sequence of int, optional
        Energy bins to draw; all by default.
    stretch : str
        ``"linear"``, ``"sqrt"``, ``"log"``, ``"asinh"``, ``"diverging"``, or ``"auto"`` to choose
        by the quantity and its values.
    cmap : str or Colormap, optional
        Colour map.
    norm : matplotlib.colors.Normalize, optional
        Colour scale, in place of one made from `stretch`, `vmin` and `vmax`.
    vmin, vmax : float, optional
        Ends of the colour scale.
    interpolation : str
        ``"nearest"`` shows the pixels; ``"bilinear"`` or ``"bicubic"`` a smooth image.
    colorbar : bool
        Draw a colour bar.
    label : str, optional
        Label of the colour bar; the unit is appended.
    title : str, optional
        Title; by default the energy range.
    contours : sequence of float, optional
        Levels at which to draw contours.
    contour_color : str
        Colour of the contours.
    peaks : astropy.table.Table, optional
        Sources to circle, with columns ``ra``, ``dec`` and ``name``, as `find_peaks` returns them;
        refined ones also get their 95 % error ellipses.
    peak_names : bool
        Write their names, or for more than 12 sources their numbers in the table.
    resolution : str, Quantity or float, optional
        Radius on the sky of a circle in the lower left corner, in deg if it is a number, such as
        the radius that holds 68 % of the point spread function; or one for each panel.
    name : str
        Name of the quantity, which sets stretch and label.
    words : sequence of str, optional
        Meanings of the values 0, 1, 2 ..., if they are codes.

    Returns
    -------
    WCSAxes or numpy.ndarray of them
        The axes; an array if there are several panels.

    Raises
    ------
    ValueError
        If the map has no position on the sky, a bin does not exist, `ax` does not fit, or `norm`
        comes with limits of its own.
    """
    if norm is not None and not (vmin is None and vmax is None):
        raise InputError(" has its own limits: leave out vmin and vmax, or norm.", "norm")
    planes, titles = _planes(m, energy)
    axes = _make_axes(m.geom, len(planes)) if ax is None else [_checked(ax, len(planes))]
    together = np.stack(planes)
    if stretch == "auto":
        stretch = auto_stretch(name, together)
    text = _bar_text(m, name, label)
    # significances share one scale over the panels; fluxes fall too steeply with energy
    codes = categories(name, words)
    words = None if codes is None else codes[2]
    shared = stretch == "diverging" or codes is not None or norm is not None
    radii = np.broadcast_to(_radii(resolution), len(planes))
    for axis, plane, energies, radius in zip(axes, planes, titles, radii, strict=True):
        if codes is not None:
            scale, colours, _ = codes
        else:
            colours, scale = colour_map(stretch, cmap), norm
            if scale is None:
                scale = colour_scale(together if shared else plane, stretch, vmin, vmax)
        visible = np.ma.masked_invalid(np.asarray(plane, dtype=float))
        how = "nearest" if codes is not None else interpolation
        image = axis.imshow(visible, cmap=colours, norm=scale, origin="lower", interpolation=how)
        axis.autoscale(False)
        _label_axes(axis, m.geom)
        axis.set_title(energies if title is None else title, fontsize="medium")
        _draw_contours(axis, visible, contours, contour_color)
        if peaks is not None and len(peaks):
            mark_peaks(axis, peaks, peak_names)
        if radius > 0:
            draw_resolution(axis, tuple(2 * radius / side for side in middle_shape(m.geom).sides))
        if colorbar and not shared:
            colour_bar([axis], image, text, words)
    if colorbar and shared:
        colour_bar(axes, image, text, words)
    return axes[0] if len(axes) == 1 else np.array(axes, dtype=object)


def _draw_contours(ax: Any, values: Any, levels: Sequence[float] | None, color: str) -> None:
    """Draw contours at the levels that the values reach."""
    inside = [x for x in ([] if levels is None else levels) if values.min() < x < values.max()]
    if inside:
        ax.contour(values, levels=sorted(inside), colors=color, linewidths=0.9)


def _radii(resolution: Any) -> NDArray[np.float64]:
    """Return the radius, or the radii, of the circles that show the resolution; NaN for none."""
    if resolution is None:
        return np.array(np.nan)
    return np.asarray(to_value(resolution, "deg", "resolution"), dtype=float)


def _bar_text(m: Map, name: str, label: str | None) -> str:
    """Return the text of the colour bar: the quantity and its unit."""
    if label is None:
        label = QUANTITIES[name].label if name in QUANTITIES else name.replace("_", " ")
    if m.unit == u.dimensionless_unscaled:
        return label
    return f"{label} [{m.unit.to_string('latex_inline')}]".strip()


def _normal(n: float) -> float:
    """Return the probability below so many standard deviations."""
    return 0.5 * (1 + erf(n / sqrt(2)))


def kernel_radii(maps: FluxMaps) -> NDArray[np.float64] | None:
    """Return the radius in deg that holds 68 % of the narrowest kernel of each energy group."""
    known = maps.meta.get("kernel_radius_per_group")
    if not isinstance(known, list) or len(known) != maps.energy_axis.nbin:
        return None
    rows = [[np.inf if r is None else float(r) for r in row] or [np.inf] for row in known]
    return np.array([min(row) for row in rows])


def _checked(ax: Any, number: int) -> Any:
    """Return the axes passed in, or raise if they cannot take the images."""
    if number > 1:
        raise InputError(
            f"There are {number} energy bins for one pair of axes: choose one with energy=0, "
            "or leave out ax to get a panel for each."
        )
    if not hasattr(ax, "coords"):
        raise InputError(
            " has no sky coordinates: make it with plt.subplot(projection=maps.geom.wcs).", "ax"
        )
    return ax


def plot_flux_maps(maps: FluxMaps, quantity: str = "sqrt_ts", ax: Any = None, **kwargs: Any) -> Any:
    """Draw one of the flux maps.

    The colour bar gives the number of standard deviations of upper limits and similar maps. The
    circle in the lower left corner holds 68 % of the kernel.

    Parameters
    ----------
    maps : FluxMaps
        The maps.
    quantity : str
        Name of the map to draw.
    ax : WCSAxes, optional
        Where to draw a single energy group.
    **kwargs
        Options of `plot_map`.

    Returns
    -------
    WCSAxes or numpy.ndarray of them
        The axes; an array if there are several energy groups.

    Raises
    ------
    ValueError
        If it is a likelihood scan (use `plot_profile`), or as in `plot_map`.
    """
    m = maps[quantity]
    if quantity in ("stat_scan", "dnde_scan_values"):
        raise InputError(
            f"{quantity} is a curve at every pixel: draw that of one with "
            "maps.plot_profile(position)."
        )
    if quantity == "hypothesis":
        names = maps.meta.get("hypotheses", [str(i) for i in range(int(m.data.max()) + 1)])
        m = Map(m.geom, np.where(m.data < 0, np.nan, m.data))
        kwargs = {"words": names, **kwargs}
    radii = kernel_radii(maps)
    if radii is not None:
        chosen = kwargs.get("energy")
        kwargs = {"resolution": radii if chosen is None else radii[np.atleast_1d(chosen)], **kwargs}
    entry = QUANTITIES.get(quantity)
    n = getattr(maps, entry.sigma) if entry is not None and entry.sigma else None
    if entry is not None and n is not None:
        sure = f" ({100 * _normal(n):.4g} %)" if quantity.endswith("_ul") else ""
        kwargs = {"label": f"{entry.label}, {n:g}$\\sigma${sure}", **kwargs}
    return plot_map(m, ax, name=quantity, **kwargs)
