"""Plots of the iterative background: the exclusion mask and its iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps import Map, WcsGeom, middle_shape, to_value
from gammagrad.plot.scales import pyplot
from gammagrad.plot.sky import colour_bar, plot_map

_EDGE = "#00bcd4"
_NEW = "#d7191c"
_FREED = "#2c7bb6"
_VEIL = 0.25  # how much of the colour an excluded pixel gets
_REACH = 4.0  # of the smoothing, in its sigmas
_WIDE = 1.5  # maps wider than that many times their height stand above each other


def _image(m: Map) -> Map:
    """Return a map summed over its axes."""
    data = np.asarray(m.data)
    return Map(m.geom.to_image(), data.reshape(-1, *m.geom.shape_image).sum(axis=0), unit=m.unit)


def _excluded(exclusion: Any, geom: WcsGeom) -> NDArray[np.bool_]:
    """Return which pixels of an image a mask excludes: in a cube, those kept in no bin."""
    mask = np.asarray(exclusion.data if isinstance(exclusion, Map) else exclusion).astype(bool)
    if mask.shape[-2:] != geom.shape_image:
        raise InputError(
            f": expected {geom.shape_image} pixels as in the map, got {mask.shape[-2:]}.",
            "exclusion",
        )
    kept: NDArray[np.bool_] = np.any(mask.reshape(-1, *geom.shape_image), axis=0)
    return ~kept


def _smoothed(image: Map, sigma: Any) -> Map:
    """Return an image smoothed by a Gaussian, and divided by how much of it lies in the map."""
    from scipy.ndimage import gaussian_filter

    width = to_value(sigma, "deg", "smooth")
    if not (isinstance(width, float) and 0 <= width < np.inf):
        raise InputError(f': expected an angle >= 0, such as "0.1 deg", got {sigma!r}.', "smooth")
    sides = [width / scale for scale in middle_shape(image.geom).sides[::-1]]
    if max(sides) < 0.1:  # less than a hundredth of a percent would leave its pixel
        return image
    data = np.asarray(image.data, dtype=float)
    seen = np.isfinite(data)
    sums, weights = (
        gaussian_filter(x, sides, mode="constant", truncate=_REACH)
        for x in (np.where(seen, data, 0.0), seen.astype(float))
    )
    values = sums / np.maximum(weights, 1e-9)
    return Map(image.geom, np.where(seen, values, np.nan), unit=image.unit)


def _outline(ax: Any, region: NDArray[np.bool_], color: str, width: float = 1.1) -> None:
    """Draw the border of a region along the edges of its pixels."""
    from matplotlib.collections import LineCollection

    wide = np.pad(region, 1).astype(int)
    rows, cols = np.nonzero(np.diff(wide, axis=1))
    upright = np.stack([np.stack([cols, rows - 1], -1), np.stack([cols, rows], -1)], axis=1)
    rows_, cols_ = np.nonzero(np.diff(wide, axis=0))
    level = np.stack([np.stack([cols_ - 1, rows_], -1), np.stack([cols_, rows_], -1)], axis=1)
    lines = np.concatenate([upright, level]) - 0.5
    ax.add_collection(
        LineCollection(list(lines), colors=color, linewidths=width, capstyle="projecting")
    )


def _veil(ax: Any, region: NDArray[np.bool_], color: str, alpha: float) -> None:
    """Tint the pixels of a region."""
    from matplotlib.colors import to_rgba

    tint = np.zeros((*region.shape, 4))
    tint[region] = to_rgba(color, alpha)
    ax.imshow(tint, origin="lower", interpolation="nearest")


def _key(color: str, label: str, edge: str = "none", alpha: float | None = None) -> Any:
    """Return the key of a filled area for a legend."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    return Patch(facecolor=to_rgba(color, alpha), edgecolor=edge, label=label)


def _pixels(number: int, total: int) -> str:
    return f"{number} of {total} pixels excluded ({100 * number / total:.1f} %)"


def plot_exclusion(
    counts: Map,
    exclusion: Map | Any,
    ax: Any = None,
    *,
    smooth: Any = None,
    color: str = _EDGE,
    **kwargs: Any,
) -> Any:
    """Draw an exclusion mask over the smoothed counts.

    Parameters
    ----------
    counts : Map
        Counts, or any other map; summed over energies.
    exclusion : Map or ndarray
        Mask: true (or not zero) where a pixel is kept. With energies, a pixel counts as excluded if
        no energy keeps it.
    ax : WCSAxes, optional
        Where to draw, such as ``plt.subplot(projection=counts.geom.wcs)``.
    smooth : str or Quantity, optional
        Sigma of the Gaussian that smooths the counts, an angle or a number in deg; 2 pixels by
        default, 0 for no smoothing. Smoothed counts are counts per pixel, corrected at the edge of
        the map.
    color : str
        Colour of the border of the excluded regions, and of the tint inside.
    **kwargs
        Options of `plot_map`, such as ``title`` or ``vmax``.

    Returns
    -------
    WCSAxes
        The axes.

    Raises
    ------
    ValueError
        If the mask does not fit the map, or `smooth` is not an angle.
    """
    image = _image(counts)
    excluded = _excluded(exclusion, image.geom)
    sigma = 2 * float(np.mean(middle_shape(image.geom).sides)) if smooth is None else smooth
    options = {
        "title": _pixels(int(excluded.sum()), excluded.size),
        "label": "counts per pixel",
        "stretch": "sqrt",
        **kwargs,
    }
    ax = plot_map(_smoothed(image, sigma), ax, **options)
    _veil(ax, excluded, color, _VEIL)
    _outline(ax, excluded, color)
    if excluded.any():
        style = {"loc": "upper right", "fontsize": "small", "framealpha": 0.85}
        ax.legend(handles=[_key(color, "excluded", edge=color, alpha=0.45)], **style)
    return ax


def plot_iterations(
    images_stack: Sequence[Mapping[str, Map]], quantity: str = "significance", **kwargs: Any
) -> Any:
    """Draw the iterations of a background side by side, with their masks.

    The border of the excluded region is drawn black. Newly excluded pixels are red, pixels kept
    again are blue.

    Parameters
    ----------
    images_stack : sequence of dict of str to Map
        The record of a `KernelBackgroundEstimator`: the initial maps and those of each iteration.
    quantity : str
        Which of the maps to draw beneath the masks; summed over energies if it is a cube.
    **kwargs
        Options of `plot_map`, such as ``vmax``.

    Returns
    -------
    numpy.ndarray of WCSAxes
        One for each of the maps, in their order.

    Raises
    ------
    ValueError
        If there is no record, or it lacks the quantity.
    """
    if not len(images_stack):
        raise InputError(
            " is empty: it is filled by `run` of an estimator with keep_record=True.",
            "images_stack",
        )
    if missing := {quantity, "exclusion"} - set(images_stack[0]):
        raise InputError(
            f": {', '.join(sorted(missing))} not in its records, which have "
            f"{', '.join(sorted(images_stack[0]))}.",
            "images_stack",
        )
    shown = [_image(record[quantity]) for record in images_stack]
    masks = [_excluded(record["exclusion"], shown[0].geom) for record in images_stack]
    axes = _panels(shown[0].geom, len(shown))
    is_signed = quantity == "significance"
    scale = {"stretch": "diverging"} if is_signed else {"stretch": "sqrt", "vmin": 0.0}
    label = kwargs.pop("label", quantity if is_signed else f"{quantity} per pixel")
    options = {**scale, "vmax": _largest(shown), **kwargs}
    for number, (ax, image, mask) in enumerate(zip(axes, shown, masks, strict=True)):
        before = masks[number - 1] if number else mask
        name = f"iteration {number}" if number else "start"
        title = f"{name}: {int(mask.sum())} excluded"
        plot_map(image, ax, **{**options, "title": title, "label": label, "colorbar": False})
        _veil(ax, mask & ~before, _NEW, 1.0)
        _veil(ax, before & ~mask, _FREED, 1.0)
        _outline(ax, mask, "black", 0.6)
        _tidy(ax, number, len(axes))
    colour_bar(list(axes), axes[0].images[0], label)
    keys = [
        _key("none", "excluded", edge="black"),
        _key(_NEW, "newly excluded"),
        _key(_FREED, "kept again"),
    ]
    axes[0].figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize="small")
    return axes


def _largest(images: list[Map]) -> float | None:
    """Return the maximum of a common colour scale: the largest finite value."""
    finite = [np.abs(image.data[np.isfinite(image.data)]) for image in images]
    return max((float(values.max()) for values in finite if values.size), default=None)


def _panels(geom: WcsGeom, number: int) -> Any:
    """Return new small axes in rows."""
    ny, nx = geom.shape_image
    rows = -(-number // (2 if nx > _WIDE * ny else 4))
    columns = -(-number // rows)
    width = 11.0 / max(columns, 2)
    height = float(np.clip(width * ny / nx, 1.0, 2 * width)) + 0.45
    figure = pyplot().figure(figsize=(width * columns + 1.0, height * rows), layout="compressed")
    cells = [figure.add_subplot(rows, columns, i + 1, projection=geom.wcs) for i in range(number)]
    return np.array(cells, dtype=object)


def _tidy(ax: Any, number: int, of: int) -> None:
    """Keep coordinates only at the left and lower side of a figure: panels are small."""
    place = ax.get_subplotspec()
    is_lowest = number + place.get_gridspec().ncols >= of
    for coord, at_edge in zip(ax.coords, (is_lowest, place.is_first_col()), strict=False):
        coord.set_ticks(number=4)
        coord.set_ticklabel(size=7)
        if not at_edge:
            coord.set_ticklabel_visible(False)
            coord.set_axislabel("")
            coord.set_auto_axislabel(False)
