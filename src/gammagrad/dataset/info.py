"""Summary of a dataset as numbers and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u

from gammagrad.dataset.masks import used_bins
from gammagrad.dataset.predict import total_npred
from gammagrad.dataset.statistic import stat_of_bins, sum_of_bins
from gammagrad.dataset.times import seconds_of
from gammagrad.maps import Map, MapAxis, middle_shape

_ENERGY_UNITS = ("eV", "keV", "MeV", "GeV", "TeV", "PeV")


def nice_energy(energy: u.Quantity) -> str:
    """Return an energy as text in the unit with the shortest number."""
    value = energy.to_value("eV")
    step = int(np.clip(np.floor(np.log10(value * (1 + 1e-6)) / 3), 0, len(_ENERGY_UNITS) - 1))
    return f"{value / 1000**step:.4g} {_ENERGY_UNITS[step]}"


def _livetime(exposure: Map | None) -> u.Quantity:
    text = (exposure.meta or {}).get("livetime") if exposure is not None else None
    return u.Quantity(np.nan, "s") if text is None else u.Quantity(text).to("s")


def _range(values: Any, where: Any) -> tuple[float, float]:
    used = values[where & np.isfinite(values)]
    return (float(used.min()), float(used.max())) if used.size else (np.nan, np.nan)


def summary(dataset: Any, safe: Map | None = None) -> dict[str, Any]:
    """Return the summary of a dataset without its prediction."""
    counts, background, exposure = dataset.counts, dataset.background, dataset.exposure
    total, expected = total_of(counts, safe), total_of(background, safe)
    low, high, unit = np.nan, np.nan, "cm2 s"
    if exposure is not None:
        low, high = _range(exposure.data, exposure.data > 0)
        unit = exposure.unit
    gti = dataset.gti
    ontime = np.nan if gti is None else float(np.diff(seconds_of(gti), axis=0).sum())
    first, mask = background if counts is None else counts, dataset.mask
    size = 0 if first is None else first.data.size
    livetime = _livetime(exposure)
    return {
        "name": dataset.name,
        "counts": total,
        "background": expected,
        "excess": total - expected,
        "exposure_min": u.Quantity(low, unit),
        "exposure_max": u.Quantity(high, unit),
        "livetime": livetime,
        "ontime": u.Quantity(ontime, "s"),
        "counts_rate": total / livetime,
        "background_rate": expected / livetime,
        "excess_rate": (total - expected) / livetime,
        "n_bins": size,
        "n_fit_bins": size if mask is None else int(mask.data.sum()),
    }


def info_of(dataset: Any, safe: Map | None) -> dict[str, Any]:
    """Return the summary of a dataset with its prediction and its statistic."""
    signal, background = dataset.npred_signal(), dataset.npred_background()
    npred = total_npred(signal, background)
    stat = np.nan
    if dataset.counts is not None:
        stat = sum_of_bins(stat_of_bins(npred, dataset.counts, dataset.weights), dataset.mask)
    info = summary(dataset, safe)
    return info | {
        "sqrt_ts": _sqrt_ts(info["counts"], info["background"]),
        "npred": total_of(npred, safe),
        "npred_background": total_of(background, safe),
        "npred_signal": total_of(signal, safe),
        "stat_type": "cash",
        "stat_sum": stat,
    }


def _sqrt_ts(counts: float, background: float) -> float:
    """Return the significance of counts over a known background, negative below it."""
    if not background > 0:
        return np.nan
    logarithm = counts * np.log(counts / background) if counts > 0 else 0.0
    excess = counts - background
    return float(np.sign(excess) * np.sqrt(max(2 * (logarithm - excess), 0.0)))


def total_of(m: Map | None, mask: Map | None) -> float:
    """Return the sum of a map over the bins of a mask; NaN without a map."""
    if m is None:
        return np.nan
    return float(np.nansum(m.data if mask is None else m.data[used_bins(mask)]))


def describe(dataset: Any, counts: list[tuple[str, str]]) -> str:
    """Return the text that printing a dataset shows, with some lines about its counts."""
    info, mask = summary(dataset), dataset.mask
    rows = [
        *_geometry_rows(dataset),
        *counts,
        ("exposure", _exposure_text(dataset.exposure, info)),
        ("psf", _psf_text(dataset.psf)),
        ("edisp", _edisp_text(dataset.edisp)),
        ("mask_safe", _mask_text(dataset.mask_safe)),
        ("mask_fit", _mask_text(dataset.mask_fit)),
    ]
    if mask is not None:
        rows.append(("bins to fit", f"{info['n_fit_bins']} of {mask.data.size}"))
    if dataset.gti is not None:
        many = len(dataset.gti)
        text = f"{many} interval" + "s" * (many != 1)
        rows.append(("gti", f"{text}, {_duration(info['ontime'])} in all"))
    if np.isfinite(info["livetime"].value):
        rows.append(("livetime", _duration(info["livetime"])))
    models = [f"{model.name} ({type(model).__name__})" for model in dataset.models or ()]
    rows.append(("models", ", ".join(models) or "none"))
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}} : {text}" for name, text in rows]
    return "\n".join([f"{dataset.tag} {dataset.name!r}", *lines])


def count_rows(dataset: Any) -> list[tuple[str, str]]:
    """Return the lines about counts and background."""
    background, text = dataset.background, "none"
    if background is not None:
        holes = int(np.isnan(background.data).sum())
        text = f"{np.nansum(background.data):.6g} in all" + f", {holes} NaN" * bool(holes)
    return [("counts", counts_text(dataset.counts)), ("background", text)]


def counts_text(counts: Map | None) -> str:
    """Return how many counts there are, in words."""
    if counts is None:
        return "none"
    occupied = 100 * np.count_nonzero(counts.data) / counts.data.size
    return f"{np.nansum(counts.data):.10g} in all, {occupied:.3g} % of bins occupied"


def _geometry_rows(dataset: Any) -> list[tuple[str, str]]:
    names = sorted(dataset.map_names, key=lambda name: name == "exposure")
    first = next((m for n in names if (m := getattr(dataset, n)) is not None), None)
    if first is None:
        return [("geometry", "none")]
    geom = first.geom.to_image()
    scales = middle_shape(geom).sides
    nx, ny = geom.npix
    centre = geom.center_skydir
    lon, lat = centre.data.lon.deg, centre.data.lat.deg
    labels = ("l", "b") if geom.frame == "galactic" else ("RA", "Dec")
    rows = [
        (
            "geometry",
            f"{nx} x {ny} pixels of {scales[0]:.4g} x {scales[1]:.4g} deg "
            f"({nx * scales[0]:.4g} x {ny * scales[1]:.4g} deg)",
        ),
        ("projection", f"{geom.projection}, {geom.frame}"),
        ("centre", f"{labels[0]} {lon:.4f}, {labels[1]} {lat:.4f} deg"),
    ]
    if "energy" in first.geom.axes.names:
        rows.append(("energy", axis_text(first.geom.axes["energy"])))
    if dataset.exposure is not None:
        rows.append(("energy_true", axis_text(dataset.exposure.geom.axes["energy_true"])))
    return rows


def axis_text(axis: MapAxis) -> str:
    """Return the number and the range of the bins or nodes of an axis in words."""
    is_edges = axis.node_type == "edges"
    ends = (axis.edges if is_edges else axis.center)[[0, -1]]
    if axis.unit.is_equivalent("TeV"):
        low, high = map(nice_energy, ends)
    else:
        low, high = (f"{end:.4g}" for end in ends)
    kind = ("bin" if is_edges else "node") + "s" * (axis.nbin != 1 or not is_edges)
    return f"{axis.nbin} {kind}, {low} to {high}"


def _exposure_text(exposure: Map | None, info: Mapping[str, Any]) -> str:
    if exposure is None:
        return "none"
    low, high = info["exposure_min"].value, info["exposure_max"].value
    if not np.isfinite(high):
        return "zero everywhere"
    values = f"{high:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    zero = 100 * float(np.mean(~(exposure.data > 0)))
    text = f", zero in {zero:.3g} % of bins" if zero else ""
    return f"{values} {exposure.unit.to_string()}{text}"


def _psf_text(psf: Any) -> str:
    if psf is None:
        return "none (sources are not blurred)"
    axis = psf.psf_map.geom.axes[psf.energy_name]
    frame = "true" if psf.energy_name == "energy_true" else "reconstructed"
    text = f"in {frame} energy, {axis_text(axis)}"
    if not np.any(np.nan_to_num(psf.psf_map.data) > 0):
        return f"{text}, zero everywhere"
    middle = axis.nbin // 2
    radius = psf.containment_radius(0.68).to_value("deg")[middle]
    return f"{text}, 68 % within {radius:.3g} deg at {nice_energy(axis.center[middle])}"


def _edisp_text(edisp: Any) -> str:
    if edisp is None:
        return "none (the measured energy is the true energy)"
    axes = edisp.edisp_map.geom.axes
    text = " x ".join(f"{axis.nbin} {axis.name}" for axis in reversed(list(axes)))
    return f"{type(edisp).__name__}, {text} bins"


def _mask_text(mask: Map | None) -> str:
    if mask is None:
        return "none"
    used = used_bins(mask)
    text = f"{100 * used.mean():.4g} % of bins used"
    if mask.is_mask or not used.any():
        return text
    low, high = _range(mask.data, used)
    return f"{text}, with weights from {low:.4g} to {high:.4g}"


def _duration(time: u.Quantity) -> str:
    seconds = time.to_value("s")
    return f"{seconds:.4g} s" if seconds < 600 else f"{seconds / 3600:.4g} h"
