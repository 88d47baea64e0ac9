"""What is in a dataset, for a person: numbers and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u

from gammagrad.dataset.masks import used_bins
from gammagrad.maps import Map, MapAxis, middle_shape

_ENERGY_UNITS = ("eV", "keV", "MeV", "GeV", "TeV", "PeV")


def nice_energy(energy: u.Quantity) -> str:
    """Return an energy as text in the unit that leaves the shortest number."""
    value = energy.to_value("eV")
    step = int(np.clip(np.floor(np.log10(value * (1 + 1e-6)) / 3), 0, len(_ENERGY_UNITS) - 1))
    return f"{value / 1000**step:.4g} {_ENERGY_UNITS[step]}"


def _seconds(table: Any) -> u.Quantity:
    """Return the summed length of good time intervals."""
    start, stop = (u.Quantity(table[name]).value for name in ("START", "STOP"))
    unit = getattr(table["START"], "unit", None) or "s"
    return u.Quantity(float(np.sum(stop - start)), unit).to("s")


def _livetime(exposure: Map | None) -> u.Quantity:
    text = (exposure.meta or {}).get("livetime") if exposure is not None else None
    return u.Quantity(np.nan, "s") if text is None else u.Quantity(text).to("s")


def _range(values: Any, where: Any) -> tuple[float, float]:
    used = values[where & np.isfinite(values)]
    return (float(used.min()), float(used.max())) if used.size else (np.nan, np.nan)


def summary(parts: Mapping[str, Any], mask: Map | None = None) -> dict[str, Any]:
    """Return the numbers that sum a dataset up."""
    counts, background, exposure = (parts.get(k) for k in ("counts", "background", "exposure"))
    first = next((m for m in (counts, background) if m is not None), None)
    use: Any = slice(None) if mask is None else used_bins(mask)
    total = float(np.nansum(counts.data[use])) if counts is not None else np.nan
    expected = float(np.nansum(background.data[use])) if background is not None else np.nan
    low, high = np.nan, np.nan
    if exposure is not None:
        low, high = _range(exposure.data, exposure.data > 0)
    size = 0 if first is None else first.data.size
    return {
        "name": parts.get("name"),
        "counts": total,
        "background": expected,
        "excess": total - expected,
        "exposure_min": u.Quantity(low, exposure.unit if exposure is not None else "cm2 s"),
        "exposure_max": u.Quantity(high, exposure.unit if exposure is not None else "cm2 s"),
        "livetime": _livetime(exposure),
        "ontime": u.Quantity(np.nan, "s") if parts.get("gti") is None else _seconds(parts["gti"]),
        "n_bins": size,
        "n_fit_bins": size if mask is None else int(used_bins(mask).sum()),
    }


def describe(parts: Mapping[str, Any], mask: Map | None = None) -> str:
    """Return the text that printing a dataset shows."""
    info = summary(parts)
    rows = [
        *_geometry_rows(parts),
        *_count_rows(parts, info),
        ("exposure", _exposure_text(parts.get("exposure"), info)),
    ]
    rows.append(("psf", _psf_text(parts.get("psf"))))
    rows.append(("edisp", _edisp_text(parts.get("edisp"))))
    for name in ("mask_safe", "mask_fit"):
        rows.append((name, _mask_text(parts.get(name))))
    if mask is not None:
        rows.append(("bins to fit", f"{int(mask.data.sum())} of {mask.data.size}"))
    rows += _time_rows(parts, info)
    models = list(parts.get("models") or ())
    rows.append(("models", ", ".join(f"{m.name} ({type(m).__name__})" for m in models) or "none"))
    width = max(len(name) for name, _ in rows)
    title = f"MapDataset {parts.get('name')!r}"
    return "\n".join([title] + [f"  {name:<{width}} : {text}" for name, text in rows])


def _count_rows(parts: Mapping[str, Any], info: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts, background = parts.get("counts"), parts.get("background")
    texts = {"counts": "none", "background": "none"}
    if counts is not None:
        occupied = 100 * np.count_nonzero(counts.data) / counts.data.size
        texts["counts"] = f"{info['counts']:.10g} in all, {occupied:.3g} % of bins occupied"
    if background is not None:
        holes = int(np.isnan(background.data).sum())
        texts["background"] = f"{info['background']:.6g} in all" + f", {holes} NaN" * bool(holes)
    return list(texts.items())


def _geometry_rows(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = ("counts", "background", "mask_safe", "mask_fit", "exposure")
    first = next((parts[n] for n in names if parts.get(n) is not None), None)
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
        rows.append(("energy", _axis_text(first.geom.axes["energy"])))
    if parts.get("exposure") is not None:
        rows.append(("energy_true", _axis_text(parts["exposure"].geom.axes["energy_true"])))
    return rows


def _axis_text(axis: MapAxis) -> str:
    many = f"{axis.nbin} bin" + "s" * (axis.nbin != 1)
    nodes, kind = axis.edges, many
    if axis.node_type == "center":
        nodes, kind = axis.center, f"{axis.nbin} nodes"
    return f"{kind}, {nice_energy(nodes[0])} to {nice_energy(nodes[-1])}"


def _exposure_text(exposure: Map | None, info: Mapping[str, Any]) -> str:
    if exposure is None:
        return "none"
    low, high = info["exposure_min"].value, info["exposure_max"].value
    if not np.isfinite(high):
        return "zero everywhere"
    values = f"{high:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    zero = 100 * float(np.mean(~(exposure.data > 0)))
    return f"{values} {exposure.unit.to_string()}" + (
        f", zero in {zero:.3g} % of bins" * bool(zero)
    )


def _psf_text(psf: Any) -> str:
    if psf is None:
        return "none (sources are not blurred)"
    axis = psf.psf_map.geom.axes[psf.energy_name]
    frame = "true" if psf.energy_name == "energy_true" else "reconstructed"
    text = f"in {frame} energy, {_axis_text(axis)}"
    if not np.any(np.nan_to_num(psf.psf_map.data) > 0):
        return f"{text}, zero everywhere"
    middle = axis.nbin // 2
    radius = psf.containment_radius(0.68).to_value("deg")[middle]
    return f"{text}, 68 % within {radius:.3g} deg at {nice_energy(axis.center[middle])}"


def _edisp_text(edisp: Any) -> str:
    if edisp is None:
        return "none (true energy is taken as measured)"
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


def _time_rows(parts: Mapping[str, Any], info: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if parts.get("gti") is not None:
        many = len(parts["gti"])
        text = f"{many} interval" + "s" * (many != 1)
        rows.append(("gti", f"{text}, {_duration(info['ontime'])} in all"))
    if np.isfinite(info["livetime"].value):
        rows.append(("livetime", _duration(info["livetime"])))
    return rows


def _duration(time: u.Quantity) -> str:
    seconds = time.to_value("s")
    return f"{seconds:.4g} s" if seconds < 600 else f"{seconds / 3600:.4g} h"
