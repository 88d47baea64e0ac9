"""The table of refined sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray

from gammagrad.fitting.candidate import Candidate
from gammagrad.peaks import source_name

Floats = NDArray[np.float64]

# Quantiles of chi-squared of two degrees of freedom: -2 log(1 - probability).
_QUANTILES = {68: -2 * np.log(0.32), 95: -2 * np.log(0.05)}

_FLUX = u.Unit("cm-2 s-1")
_DEGREES = {
    "ra_err": "Error of ra times cos(dec)",
    "dec_err": "Error of dec",
    "glon_err": "Error of glon times cos(glat)",
    "glat_err": "Error of glat",
    "ellipse_major_68": "Major semi-axis of the ellipse that contains the source with 68 %",
    "ellipse_minor_68": "Minor semi-axis of it",
    "ellipse_major_95": "Major semi-axis of the ellipse that contains the source with 95 %",
    "ellipse_minor_95": "Minor semi-axis of it",
    "ellipse_angle": "Direction of the major axes, from north to east (ICRS)",
    "shift": "Distance of the source from its pixel",
}
_SIZES = {"sigma": "Size of the Gaussian", "sigma_err": "Error of sigma"}
_NUMBERS = {"index": "Spectral index", "index_err": "Error of index"}
# Columns taken from the fit if there is one.
_REPLACED = ("ra", "dec", "glon", "glat", "ts", "sqrt_ts", "flux", "flux_err")


class Ellipse(NamedTuple):
    """An ellipse of standard deviations."""

    # major, minor: semi-axes
    major: float
    minor: float
    # direction of the major one in deg, from the second axis to the first, in [0, 180)
    angle: float


def error_ellipse(covariance: Floats) -> Ellipse:
    """Return the ellipse of a covariance."""
    if not np.all(np.isfinite(covariance)):
        return Ellipse(np.nan, np.nan, np.nan)
    values, vectors = np.linalg.eigh(covariance)
    minor, major = np.sqrt(np.maximum(values, 0.0))
    east, north = vectors[:, 1]
    return Ellipse(major, minor, float(np.degrees(np.arctan2(east, north)) % 180))


def refined_table(
    peaks: QTable, candidates: Sequence[Candidate | str], names: Sequence[str]
) -> QTable:
    """Write the fit results into a copy of a table of peaks."""
    table, free = peaks.copy(), {name.split(".")[-1] for name in names}
    n = len(peaks)
    for name, unit in {"ts": None, "sqrt_ts": None, "flux": _FLUX, "flux_err": _FLUX}.items():
        if name not in table.colnames:
            table[name] = np.full(n, np.nan) * (1 if unit is None else unit)
    new: dict[str, Any] = dict.fromkeys(_DEGREES, u.deg) if "lon_0" in free else {}
    new |= dict.fromkeys(_SIZES, u.deg) if "sigma" in free else {}
    new |= dict.fromkeys(_NUMBERS, u.one) if free & {"index", "alpha"} else {}
    for name, unit in new.items():
        empty = np.full(n, np.nan)
        table[name] = empty if unit == u.one else empty * unit
        table[name].info.description = {**_DEGREES, **_SIZES, **_NUMBERS}[name]
        table[name].info.format = ".4f" if unit == u.deg else ".3f"
    refined, messages = np.zeros(n, dtype=bool), np.full(n, "", dtype=object)
    named = "name" in table.colnames
    labels = [str(name) for name in table["name"]] if named else [""] * n
    for i, candidate in enumerate(candidates):
        if isinstance(candidate, str) or candidate.tried is None:
            messages[i] = candidate if isinstance(candidate, str) else candidate.mistake
            continue
        refined[i] = not candidate.mistake
        messages[i] = candidate.mistake or candidate.tried.result.message
        if refined[i]:
            pixel = SkyCoord(peaks["ra"][i], peaks["dec"][i], unit="deg", frame="icrs")
            values, labels[i] = _values(candidate, pixel)
            for name, value in values.items():
                if name in (*_REPLACED, *new) and name in table.colnames:
                    unit = getattr(table[name], "unit", None)
                    table[name][i] = value if unit is None else _with_unit(name, value)
    if named and n:
        table["name"] = np.array(labels, dtype=str)
    for name in set(peaks.colnames) & {"norm", "norm_err", "dnde", "eflux", "e2dnde", "npred"}:
        text = table[name].info.description or name
        table[name].info.description = f"{text}, at the pixel"
    table["refined"] = refined
    table["message"] = np.array(messages, dtype=str)
    return table


def _with_unit(name: str, value: float) -> u.Quantity:
    return u.Quantity(value, _FLUX if name.startswith("flux") else u.deg)


def _values(candidate: Candidate, pixel: SkyCoord) -> tuple[dict[str, float], str]:
    """Return the columns of a source that was fitted, in deg and cm-2 s-1, and its name."""
    tried = candidate.tried
    assert tried is not None
    result = tried.result
    position = candidate.position_of(result.models)
    icrs, galactic = position.icrs, position.galactic
    found = {
        "ra": icrs.ra.deg,
        "dec": icrs.dec.deg,
        "glon": galactic.l.deg,
        "glat": galactic.b.deg,
        "ts": tried.ts,
        "sqrt_ts": np.sqrt(tried.ts),
        "flux": tried.flux,
        "flux_err": tried.flux_err,
        "shift": position.separation(pixel).deg,
    }
    values = {name.split(".")[-1]: value for name, value in result.models.parameters.items()}
    errors = {name.split(".")[-1]: value for name, value in result.errors.items()}
    for column, names in {"index": ("index", "alpha"), "sigma": ("sigma",)}.items():
        for name in names:
            if name in errors:
                found[column], found[f"{column}_err"] = float(values[name]), errors[name]
    if "lon_0" in errors:
        found |= _position_errors(result, position)
    return found, source_name(icrs)


def _position_errors(result: Any, position: SkyCoord) -> dict[str, float]:
    """Return errors and ellipses of a position."""
    lon, lat = (next(n for n in result.names if n.endswith(end)) for end in (".lon_0", ".lat_0"))
    covariance = result.covariance_of(lon, lat)
    narrow = np.array([np.cos(position.spherical.lat.rad), 1.0])
    covariance = covariance * narrow[:, None] * narrow[None, :]
    found = {}
    for frame, (first, second) in {"galactic": ("glon", "glat"), "icrs": ("ra", "dec")}.items():
        turned = turned_covariance(covariance, position, frame)
        found[f"{first}_err"], found[f"{second}_err"] = np.sqrt(np.diag(turned))
    ellipse = error_ellipse(turned)
    for percent, quantile in _QUANTILES.items():
        found[f"ellipse_major_{percent}"] = ellipse.major * np.sqrt(quantile)
        found[f"ellipse_minor_{percent}"] = ellipse.minor * np.sqrt(quantile)
    found["ellipse_angle"] = ellipse.angle
    return found


def turned_covariance(covariance: Floats, position: SkyCoord, frame: str) -> Floats:
    """Turn a covariance from the directions of one frame into those of another."""
    north = position.directional_offset_by(0 * u.deg, 1e-3 * u.deg)
    there = position.transform_to(frame)
    angle = there.position_angle(north.transform_to(frame)).rad
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned: Floats = turn @ covariance @ turn.T
    return turned
