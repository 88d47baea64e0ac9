"""The likelihood profile of one pixel: the rise of the fit statistic around the best fit."""

from __future__ import annotations

from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.core.norm import Status
from gammagrad.derive import reference_values, scan_norms
from gammagrad.errors import InputError, short
from gammagrad.flux_maps import FluxMaps
from gammagrad.output_quantities import FLUXES, QUANTITIES
from gammagrad.plot.scales import pyplot
from gammagrad.plot.sky import energy_text

Floats = NDArray[np.float64]

_CURVE = "#08519c"
_ERRORS = "#9ecae1"
_LIMIT = "#d94801"
# fits whose lower error may end at the physical bound
_BOUNDED = (
    *(Status.NO_COUNTS, Status.AT_BOUND, Status.ZERO_BACKGROUND_BOUND),
    Status.LOWER_ERROR_AT_BOUND,
)
_POINTS = 400
_HEIGHT = 1.9  # of the picture, in units of the rise at the highest limit drawn


class ProfileCurve(NamedTuple):
    """A pixel's likelihood profile."""

    # norms, increasing, shape (n,): those of the scan where the statistic is finite, the best fit,
    # and the ends of the errors and the limit
    norm: Floats
    rise: Floats  # fit statistic minus its value at the best fit, shape (n,)
    scanned: NDArray[np.bool_]  # true for the values of the scan, false for the others

    def _roots(self) -> Floats:
        """Return the root of the rise with the sign of the distance from the best fit."""
        # It is close to a straight line, and so what is to be interpolated. At a best fit at the
        # physical bound the rise itself is, which starts with a slope.
        best = int(np.argmin(self.rise))
        if best == 0:
            return self.rise
        side = np.where(np.arange(len(self.norm)) < best, -1.0, 1.0)
        return side * np.sqrt(np.maximum(self.rise, 0))

    def at(self, norm: Any) -> Floats:
        """Return the rise of the statistic at norms between those of the profile."""
        x = np.asarray(norm, dtype=float)
        values = np.interp(x, self.norm, self._roots())
        if np.argmin(self.rise) > 0:
            values = values**2
        return np.where((x < self.norm[0]) | (x > self.norm[-1]), np.nan, values)

    def span(self, rise: float) -> tuple[float, float]:
        """Return the norms within which the statistic rises by less than a number."""
        wanted = rise if np.argmin(self.rise) == 0 else np.sqrt(rise)
        low, high = np.interp([-wanted, wanted], self._roots(), self.norm)
        return float(low), float(high)


def profile_curve(maps: FluxMaps, group: int, row: int, col: int) -> ProfileCurve:
    """Return the likelihood profile of a pixel."""
    scan = np.asarray(maps["stat_scan"].data[group, :, row, col], dtype=float)
    spectrum = None if maps.reference_model is None else maps.reference_model.spectral_model
    norms = scan_norms(maps, spectrum)
    shape = np.broadcast_shapes(norms.shape, maps["stat_scan"].data.shape)
    x = np.broadcast_to(norms, shape)[group, :, row, col]
    finite = np.isfinite(scan) & np.isfinite(x)
    x, scan = x[finite], scan[finite]
    if len(x) < 2:
        raise InputError(
            f"The pixel in row {row}, column {col} has no likelihood profile: it was not fitted, "
            "or fewer than two values of the scan lie above its physical bound."
        )
    known = [(norm, stat) for norm, stat in _known(maps, (group, row, col)) if norm not in x]
    scanned = np.arange(len(x) + len(known)) < len(x)
    x = np.append(x, [norm for norm, _ in known])
    scan = np.append(scan, [stat for _, stat in known])
    order = np.argsort(x)
    return ProfileCurve(x[order], scan[order] - scan.min(), scanned[order])


def _known(maps: FluxMaps, pixel: tuple[int, int, int]) -> list[tuple[float, float]]:
    """Return further points of the statistic besides the scan, relative to norm 0."""
    # That is the best fit, and where the status says so the ends of the errors and the limit, which
    # are where the statistic has risen by the square of their standard deviations.
    best, lowest = _value(maps, "norm", pixel), -abs(_value(maps, "ts", pixel))
    if not np.isfinite([best, lowest]).all():
        return []
    points = [(best, 0.0)]
    status = _value(maps, "status", pixel)
    if status in (*_BOUNDED, Status.FITTED):
        points.append((best + _value(maps, "norm_errp", pixel), maps.n_sigma**2))
        if maps.n_sigma_ul is not None and (maps.norm_min is None or best >= maps.norm_min):
            points.append((_value(maps, "norm_ul", pixel), maps.n_sigma_ul**2))
    if status == Status.FITTED:
        points.append((best - _value(maps, "norm_errn", pixel), maps.n_sigma**2))
    return [(norm, lowest + rise) for norm, rise in points if np.isfinite(norm)]


def _pixel(maps: FluxMaps, position: Any) -> tuple[int, int]:
    """Return row and column of a position on the sky, or of a pixel."""
    rows, cols = maps.geom.shape_image
    if isinstance(position, SkyCoord):
        x, y = (float(np.squeeze(v)) for v in maps.geom.sky_to_pix(position))
        inside = np.isfinite(x) and np.isfinite(y)
        row, col = (round(y), round(x)) if inside else (-1, -1)
    else:
        numbers = np.asarray(position)
        if numbers.shape != (2,) or numbers.dtype.kind not in "iu":
            raise InputError(
                f" is {short(position)}; expected a SkyCoord, or a pixel as (row, column).",
                "position",
            )
        row, col = (int(n) for n in numbers)
    if not (0 <= row < rows and 0 <= col < cols):
        raise InputError(f": outside the maps, which have {rows} rows, {cols} columns.", "position")
    return row, col


def _value(maps: FluxMaps, name: str, pixel: tuple[int, int, int]) -> float:
    """Return a map's value at a pixel; NaN if there is no such map."""
    return float(maps[name].data[pixel]) if name in maps else np.nan


def _draw_errors(ax: Any, maps: FluxMaps, pixel: tuple[int, int, int], factor: float) -> None:
    """Draw the interval of the errors, and the rise that defines it."""
    best = _value(maps, "norm", pixel)
    symmetric = _value(maps, "norm_err", pixel)
    down, up = (_value(maps, f"norm_err{side}", pixel) for side in "np")
    words = "error"
    if np.isfinite([down, up]).all():
        words = "errors down and up"
    else:
        down = up = symmetric
    if not np.isfinite([best, down, up]).all():
        return
    text = f"{words}, {maps.n_sigma:g}$\\sigma$"
    low, high = (best - down) * factor, (best + up) * factor
    ax.axvspan(low, high, color=_ERRORS, alpha=0.45, linewidth=0, label=text, zorder=0)
    ax.axhline(maps.n_sigma**2, color="0.55", linestyle=":", linewidth=1.0, zorder=1)


def _draw_limit(
    ax: Any, maps: FluxMaps, pixel: tuple[int, int, int], curve: ProfileCurve, factor: float
) -> None:
    """Draw the upper limit as a line up to the curve."""
    limit = _value(maps, "norm_ul", pixel)
    if not np.isfinite(limit):
        return
    n = maps.n_sigma_ul
    text = "upper limit" if n is None else f"upper limit, {n:g}$\\sigma$"
    height = float(curve.at(limit))
    top = height if np.isfinite(height) else 0.0
    ax.plot([limit * factor] * 2, [0, top], color=_LIMIT, linewidth=1.6, label=text)
    ax.plot(limit * factor, top, "v", color=_LIMIT, markersize=7)
    if n is not None:
        ax.axhline(n**2, color=_LIMIT, alpha=0.5, linestyle=":", linewidth=1.0, zorder=1)


def _axis_label(quantity: str) -> str:
    if quantity == "norm":
        return "norm"
    unit = u.Unit(FLUXES[quantity][0]).to_string("latex_inline")
    return f"{QUANTITIES[quantity].label} [{unit}]"


def plot_profile(
    maps: FluxMaps,
    position: Any,
    ax: Any = None,
    *,
    energy: int = 0,
    quantity: str = "norm",
    xlim: tuple[float, float] | None = None,
    title: str | None = None,
) -> Any:
    """Draw the likelihood profile of one pixel, with its best fit, errors and limit.

    The statistic is drawn relative to the best fit. Errors and limits are where it has risen by the
    square of their number of standard deviations. Points are the values of the scan; the line
    between them, the best fit, errors and limit is interpolated.

    Parameters
    ----------
    maps : FluxMaps
        Maps made with ``selection_optional="stat_scan"``, better ``"all"``.
    position : SkyCoord or tuple of int
        A position, or the pixel as (row, column).
    ax : matplotlib.axes.Axes, optional
        Where to draw; new axes by default.
    energy : int
        Energy group.
    quantity : str
        The horizontal axis: ``"norm"``, or a flux: ``"dnde"``, ``"e2dnde"``, ``"flux"`` or
        ``"eflux"``.
    xlim : tuple of float, optional
        Ends of the horizontal axis, in the units of `quantity`; by default a few errors around the
        best fit, within the scan.
    title : str, optional
        Title; by default position, energies and significance.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ValueError
        If the position lies outside the maps, the pixel was not fitted, or there is no such energy
        group or quantity.
    MissingQuantityError
        If the scan was not computed, or a flux is wanted and there is no reference model.
    """
    if quantity not in ("norm", *FLUXES):
        raise InputError(f" is {quantity!r}; choose norm, {', '.join(FLUXES)}.", "quantity")
    groups = maps.energy_axis.nbin
    if not -groups <= energy < groups:
        raise InputError(f" is {energy}, but axis 'energy' has {groups} bins.", "energy")
    row, col = _pixel(maps, position)
    pixel = (energy % groups, row, col)
    curve = profile_curve(maps, *pixel)
    factor = 1.0
    if quantity != "norm":
        _ = maps[quantity]  # which says what is missing
        spectrum = maps.reference_model.spectral_model
        factor = float(reference_values(spectrum, maps.energy_axis, quantity)[pixel[0]])
    highest = max(maps.n_sigma, maps.n_sigma_ul or 0) ** 2
    # a limit that starts at norm 0 lies higher than the square of its standard deviations
    highest = float(np.nanmax([highest, curve.at(_value(maps, "norm_ul", pixel))]))
    low, high = curve.span(_HEIGHT * highest) if xlim is None else (x / factor for x in xlim)
    if ax is None:
        ax = pyplot().figure(figsize=(6.4, 4.6), layout="constrained").add_subplot()

    _draw_errors(ax, maps, pixel, factor)
    x = np.union1d(np.linspace(low, high, _POINTS), curve.norm)
    ax.plot(x * factor, curve.at(x), color=_CURVE, linewidth=1.8, label="likelihood profile")
    dots = curve.norm[curve.scanned], curve.rise[curve.scanned]
    ax.plot(dots[0] * factor, dots[1], ".", color=_CURVE, markersize=6, label="scan")
    best = int(np.argmin(curve.rise))
    ax.plot(curve.norm[best] * factor, 0, "o", color="black", markersize=6, label="best fit")
    _draw_limit(ax, maps, pixel, curve, factor)

    margin = 0.04 * (high - low) if xlim is None else 0.0
    ax.set_xlim((low - margin) * factor, (high + margin) * factor)
    ax.set_ylim(-0.04 * highest, _HEIGHT * highest)
    ax.set_xlabel(_axis_label(quantity))
    ax.set_ylabel(r"$C(x) - C(\mathrm{best\ fit})$")
    ax.set_title(_title(maps, pixel) if title is None else title, fontsize="medium")
    ax.legend(fontsize="small", loc="upper center", ncols=2, edgecolor="none")
    return ax


def _title(maps: FluxMaps, pixel: tuple[int, int, int]) -> str:
    """Return position, energies and significance of a pixel."""
    group, row, col = pixel
    sky = maps.geom.pix_to_sky(float(col), float(row))
    lon, lat = sky.spherical.lon.deg, sky.spherical.lat.deg
    names = ("l", "b") if maps.geom.frame == "galactic" else ("RA", "Dec")
    where = f"{names[0]} {lon:.3f}, {names[1]} {lat:.3f} deg".replace("-", "\N{MINUS SIGN}")
    significance = _value(maps, "sqrt_ts", pixel)
    words = "" if np.isnan(significance) else f", {significance:.1f}$\\sigma$"
    return f"{where}\n{energy_text(maps.energy_axis, group)}{words}"
