"""The distribution of significances: the first check after a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gammagrad.distribution import distribution_of
from gammagrad.errors import InputError
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import Map, WcsGeom, to_value
from gammagrad.plot.marks import positions
from gammagrad.plot.scales import pyplot


@dataclass(frozen=True)
class SignificanceFit:
    """Normal distribution fitted to significances.

    Parameters
    ----------
    mean : float
        Its mean.
    width : float
        Its standard deviation.
    number : int
        Number of pixels fitted. Neighbouring pixels share counts, and are not independent.
    ax : object
        The axes drawn on.
    mean_err, width_err : float
        Errors of mean and width; NaN without a kernel.
    """

    mean: float
    width: float
    number: int
    ax: Any = None
    mean_err: float = np.nan
    width_err: float = np.nan

    def __str__(self) -> str:
        """Return mean, width and number of pixels as a line."""
        return f"{_words(self).strip().replace(chr(10), ' ')} ({self.number} pixels)".replace(
            "$\\pm$", "+-"
        )


def _keep(geom: WcsGeom, exclusion: Any, radius: Any) -> NDArray[np.bool_]:
    """Return which pixels of a geometry to keep, in the shape of its data."""
    shape = geom.data_shape
    if exclusion is None:
        return np.ones(shape, dtype=bool)
    if isinstance(exclusion, Table):
        keep = np.ones(geom.shape_image, dtype=bool)
        limit = to_value(radius, "deg", "radius")
        for position in positions(exclusion):
            keep &= geom.to_image().separation(position).to_value("deg") > limit
        return np.broadcast_to(keep, shape)
    values: NDArray[Any] = np.asarray(exclusion.data if isinstance(exclusion, Map) else exclusion)
    if values.shape[-2:] != shape[-2:]:
        raise InputError(
            f": expected images of {shape[-2:]} pixels as in the maps, got {values.shape}.",
            "exclusion",
        )
    if values.ndim > 2 and values.shape != shape:
        values = np.asarray(values.all(axis=tuple(range(values.ndim - 2))))
    return np.broadcast_to(values.astype(bool), shape)


def _draw_histogram(
    ax: Any,
    everything: NDArray[np.float64],
    kept: NDArray[np.float64],
    fit: SignificanceFit,
    start: str,
    left: str,
) -> None:
    """Draw the distributions and the two normal curves, with words for what is kept."""
    low, high = min(-5.0, everything.min()), max(5.0, everything.max())
    step = 0.1 if len(kept) > 20_000 else 0.2 if len(kept) > 2_000 else 0.5
    if high - low > 400 * step:
        step = (high - low) / 400
    edges = np.arange(np.floor(low / step), np.ceil(high / step) + 1.5) * step
    scale = 1 / (len(kept) * step)
    if len(kept) < len(everything):
        height = np.histogram(everything, edges)[0] * scale
        ax.stairs(height, edges, color="0.55", linewidth=1.0, label="all pixels")
    height = np.histogram(kept, edges)[0] * scale
    name = left if len(kept) < len(everything) else "all pixels"
    ax.stairs(height, edges, fill=True, color="#9ecae1", label=name)
    x = np.linspace(edges[0], edges[-1], 1000)
    standard = {"color": "black", "linestyle": "--", "label": "standard normal"}
    fitted = {"color": "#cb181d", "label": start + _words(fit)}
    for mean, width, style in ((0.0, 1.0, standard), (fit.mean, fit.width, fitted)):
        if width > 0:
            curve = np.exp(-0.5 * ((x - mean) / width) ** 2) / (width * np.sqrt(2 * np.pi))
            ax.plot(x, curve, linewidth=1.6, **style)
    ax.set_yscale("log")
    ax.set_ylim(0.4 * scale, 3 * max(0.4, float(height.max())))
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylabel("probability density")
    ax.legend(frameon=False, loc="upper right")


def _words(fit: SignificanceFit) -> str:
    """Return mean and width, with their errors where these are known."""
    if np.isnan(fit.mean_err):
        return f"\nmean {fit.mean:.3f}, width {fit.width:.3f}"
    return (
        f"\nmean {fit.mean:.3f} $\\pm$ {fit.mean_err:.3f},\n"
        f"width {fit.width:.3f} $\\pm$ {fit.width_err:.3f}"
    )


def plot_significance_histogram(
    maps: FluxMaps | Map,
    exclusion: Any = None,
    ax: Any = None,
    *,
    energy: int | Sequence[int] | None = None,
    radius: Any = "0.3 deg",
    kernel: Any = None,
    core: float | None = 3,
) -> SignificanceFit:
    """Draw the distribution of significances over a standard normal, and fit it.

    Without sources, and away from the physical bound, significances follow a standard normal
    distribution. A width above 1 means that the background model is incomplete; a tail to the right
    means sources.

    Parameters
    ----------
    maps : FluxMaps or Map
        The maps, or a map of significances, as a `KernelBackgroundEstimator` makes it.
    exclusion : Map, ndarray or Table, optional
        Regions to leave out: a mask that is false (or zero) at sources, or a table of sources with
        columns ``ra`` and ``dec``.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    energy : int or sequence of int, optional
        Energy groups to take; all by default.
    radius : str or Quantity
        Radius to exclude about each source of a table.
    kernel : astropy kernel or ndarray, optional
        Kernel that the counts were summed with, for the errors; see
        `gammagrad.distribution.significance_distribution`.
    core : float or None
        Fit the significances between ``-core`` and ``core``, so that the wings of sources do not
        widen the fit; None fits all.

    Returns
    -------
    SignificanceFit
        Mean and standard deviation of the remaining pixels (the maximum-likelihood fit of a normal
        distribution, cut off at the ends of the core), their errors and number, and the axes.

    Raises
    ------
    ValueError
        If the exclusion does not fit the maps or leaves fewer than two pixels, or an energy is
        given for an image.
    """
    drawn = maps if isinstance(maps, Map) else maps["sqrt_ts"]
    keep = _keep(drawn.geom, exclusion, radius)
    significance = np.asarray(drawn.data, dtype=float)
    if energy is not None:
        if drawn.geom.is_image:
            raise InputError(": the map is an image without energies; expected None.", "energy")
        chosen = np.atleast_1d(np.asarray(energy, dtype=int))
        significance, keep = significance[chosen], keep[chosen]
    finite = np.isfinite(significance)
    found = distribution_of(significance, finite & keep, kernel, core)
    if ax is None:
        ax = pyplot().figure(figsize=(6.4, 4.4), layout="constrained").add_subplot()
    errors = (np.nan, np.nan) if kernel is None else (found.mean_err, found.width_err)
    fit = SignificanceFit(found.mean, found.width, found.n_pixels, ax, *errors)
    left = "outside the exclusion"
    if isinstance(exclusion, Table):
        left = f"more than {to_value(radius, 'deg', 'radius'):g} deg from sources"
    where = "" if core is None else f" within $\\pm${core:g}"
    _draw_histogram(
        ax, significance[finite], significance[finite & keep], fit, f"fit{where}: ", left
    )
    ax.set_xlabel(r"significance $\sqrt{\mathrm{TS}}$" if drawn is not maps else "significance")
    return fit
