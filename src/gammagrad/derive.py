"""Maps derived from others and from a reference model: fluxes, norms, signs, roots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from gammagrad.errors import FileAccessError, InputError, InputTypeError, choices, short
from gammagrad.io import path_in_file
from gammagrad.maps import Map, MapAxis
from gammagrad.models import SkyModel, models_from_dict, models_to_dict
from gammagrad.output_quantities import QUANTITIES, MissingQuantityError

_NODES = 24
"""Indices at which fluxes are computed, between which their logarithms are a polynomial."""


def reference_values(spectrum: Any, axis: MapAxis, kind: str) -> NDArray[np.float64]:
    """Return a flux of a spectral model in every bin of an energy axis."""
    edges, center = axis.edges_in("TeV"), axis.center_in("TeV")
    # the result must not depend on JAX's precision
    with jax.enable_x64(True):
        if kind == "flux":
            result = spectrum.integral(edges[:-1], edges[1:])
        elif kind == "eflux":
            result = spectrum.energy_flux(edges[:-1], edges[1:])
        else:
            result = spectrum.evaluate(center)
        values = np.array(np.broadcast_to(np.asarray(result, dtype=float), (axis.nbin,)))
    return values * center**2 if kind == "e2dnde" else values


def index_name(spectrum: Any) -> str | None:
    """Return the name of the index of a spectral model, if it has one."""
    known = (name for name in ("index", "alpha") if name in spectrum.parameters)
    return next(known, None)


def same_spectrum(one: Any, other: Any) -> bool:
    """Tell whether two spectral models are equal: of one kind, with the same parameters."""
    kinds: list[Any] = [jax.tree.structure(one), jax.tree.structure(other)]
    if kinds[0] != kinds[1]:
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def derivable(name: str, maps: Mapping[str, Map], spectrum: Any) -> bool:
    """Tell whether a map is stored or can be derived."""
    if name in maps:
        return True
    entry = QUANTITIES.get(name)
    if entry is None or not entry.sources or (entry.reference and spectrum is None):
        return False
    if name == "dnde_scan_values":
        return spectrum is not None and "norm" in _scan_axes(maps)
    return all(derivable(source, maps, spectrum) for source in entry.sources)


def derive(name: str, maps: Mapping[str, Map], spectrum: Any, threshold_ul: float) -> Map:
    """Return a map that is stored or can be derived."""
    if name in maps:
        return maps[name]
    if not derivable(name, maps, spectrum):
        raise MissingQuantityError(why_missing(name, maps, spectrum))
    entry = QUANTITIES[name]
    data: NDArray[Any]
    first, *others = (derive(source, maps, spectrum, threshold_ul) for source in entry.sources)
    if entry.reference is not None:
        data = _flux(entry.sources[0], maps, spectrum, entry.reference)
    elif name == "npred_background":
        data = first.data - others[0].data
    elif name == "is_ul":
        data = _is_limit(first, maps, threshold_ul)
    elif name == "dnde_scan_values":
        factor = reference_values(spectrum, first.geom.axes["energy"], "dnde")
        values = scan_norms(maps, spectrum) * factor[:, None, None, None]
        data = np.broadcast_to(values, first.data.shape)
    else:
        data = _signed_root(first.data)
    return Map.from_geom(first.geom, data=data, unit=entry.unit)


def _flux(name: str, maps: Mapping[str, Map], spectrum: Any, kind: str) -> NDArray[np.float64]:
    """Return the flux that a norm, or its error or limit, is converted to."""
    norm, axis = maps[name], maps[name].geom.axes["energy"]
    if "index" not in maps or index_name(spectrum) is None:
        plain: NDArray[np.float64] = (
            norm.data * reference_values(spectrum, axis, kind)[:, None, None]
        )
        return plain
    factor, slope = _with_indices(spectrum, axis, kind, maps["index"].data)
    data: NDArray[np.float64] = norm.data * factor
    needed = ("norm", "index_err", "norm_index_corr")
    if name != "norm_err" or any(n not in maps for n in needed):
        return data
    best, error, correlation = (maps[n].data for n in needed)
    # the flux depends on the index as well: Gaussian propagation of both errors
    tilt = slope * error * best
    both = norm.data**2 + tilt**2 + 2 * correlation * norm.data * tilt
    known = np.isfinite(both)
    return np.where(known, factor * np.sqrt(np.where(known, np.maximum(both, 0), 0)), data)


def _with_indices(
    spectrum: Any, axis: MapAxis, kind: str, index: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the flux at norm 1 for the index of every pixel, and the slope of its logarithm."""
    # where there is no index the flux is that of the reference spectrum
    known = np.isfinite(index)
    factor = np.broadcast_to(reference_values(spectrum, axis, kind)[:, None, None], index.shape)
    slope = np.zeros(index.shape)
    if not known.any():
        return factor, slope
    low, high = float(index[known].min()), float(index[known].max())
    middle, half = (low + high) / 2, max((high - low) / 2, 0.1)
    nodes = chebyshev.chebpts1(_NODES)
    name = str(index_name(spectrum))
    values = [
        reference_values(spectrum.copy(**{name: float(middle + half * x)}), axis, kind)
        for x in nodes
    ]
    found = chebyshev.chebfit(nodes, np.log(values), _NODES - 1)
    factor = factor.copy()
    for group, own in enumerate(known):
        x = (index[group][own] - middle) / half
        factor[group][own] = np.exp(chebyshev.chebval(x, found[:, group]))
        slope[group][own] = chebyshev.chebval(x, chebyshev.chebder(found[:, group])) / half
    return factor, slope


def _signed_root(ts: NDArray[Any]) -> NDArray[Any]:
    """Return significances: roots with the sign of the test statistic."""
    root: NDArray[Any] = np.sign(ts) * np.sqrt(np.abs(ts))
    return root


def _is_limit(norm: Map, maps: Mapping[str, Map], threshold_ul: float) -> NDArray[np.bool_]:
    """Tell where a flux is a limit."""
    if "norm_ul" not in maps:
        return np.isnan(norm.data)
    if "ts" not in maps:
        return np.isfinite(maps["norm_ul"].data)
    limit: NDArray[np.bool_] = _signed_root(maps["ts"].data) < threshold_ul
    return limit


def _scan_axes(maps: Mapping[str, Map]) -> list[str]:
    """Return the axes of the likelihood scan; none if there is no scan."""
    return maps["stat_scan"].geom.axes.names if "stat_scan" in maps else []


def scan_norms(maps: Mapping[str, Map], spectrum: Any) -> NDArray[np.float64]:
    """Return the norms at which the fit statistic was scanned."""
    if "norm" in _scan_axes(maps):
        axis = maps["stat_scan"].geom.axes["norm"]
        return axis.center_in("")[None, :, None, None]
    for name in ("stat_scan", "dnde_scan_values"):
        if name not in maps:
            raise MissingQuantityError(why_missing(name, maps, spectrum))
    if spectrum is None:
        raise MissingQuantityError(
            "dnde_scan_values needs the reference model to become norms, and these maps have none."
        )
    values = maps["dnde_scan_values"]
    unit = QUANTITIES["dnde_scan_values"].unit
    factor = reference_values(spectrum, values.geom.axes["energy"], "dnde")
    norms: NDArray[np.float64] = values.quantity.to_value(unit) / factor[:, None, None, None]
    return norms


def why_missing(name: str, maps: Mapping[str, Map], spectrum: Any) -> str:
    """Return a sentence on why a map is not available, and what to do."""
    if name not in QUANTITIES:
        known = [n for n in {**maps, **QUANTITIES} if derivable(n, maps, spectrum)]
        return f"There is no quantity {name!r}{choices(name, known)}"
    if name == "hypothesis":
        return "hypothesis tells several models apart: HypothesisMaps.best() has it."
    entry = QUANTITIES[name]
    if entry.free:
        return f'{name} was not computed: run TSMapEstimator with free=("norm", "{entry.free}").'
    if entry.option and not all(s in maps for s in entry.sources or (name,)):
        return (
            f"{name} was not computed: run the estimator with "
            f'selection_optional=["{entry.option}"], or "all".'
        )
    if (entry.reference or name == "dnde_scan_values") and spectrum is None:
        return f"{name} needs the reference model, and these maps have none."
    if name == "dnde_scan_values":
        return "dnde_scan_values cannot be given: stat_scan has no axis 'norm' to follow from."
    missing = [s for s in entry.sources or (name,) if not derivable(s, maps, spectrum)]
    return (
        f"{name} cannot be given without {' and '.join(missing)}: every map estimator of this "
        "library computes that, but it is not among these maps."
    )


def norms_from_fluxes(maps: Mapping[str, Map], kind: str, spectrum: Any) -> dict[str, Map]:
    """Return maps with their fluxes of one kind turned into norms."""
    result = {}
    for name, m in maps.items():
        entry = QUANTITIES.get(name)
        if entry is not None and entry.reference == kind:
            factor = reference_values(spectrum, m.geom.axes["energy"], kind)
            data = m.quantity.to_value(entry.unit) / factor[:, None, None]
            result[entry.sources[0]] = Map.from_geom(m.geom, data=data)
        else:
            result[name] = m
    return result


def fluxes_from_norms(maps: Mapping[str, Map], kind: str, spectrum: Any) -> dict[str, Map]:
    """Return maps with their norms turned into fluxes of one kind."""
    if "index" in maps:
        raise InputError(
            f" is {kind!r}, and maps with an index are written as norms only: the error of a flux "
            "holds that of the index, too. Leave it out, or 'likelihood'.",
            "sed_type",
        )
    result = {}
    for name, m in maps.items():
        if name in QUANTITIES and QUANTITIES[name].is_norm:
            name = kind + name.removeprefix("norm")
            m = derive(name, maps, spectrum, 0.0)
        result[name] = m
    return result


def check_maps(data: Mapping[str, Map]) -> None:
    """Check that maps lie on one geometry with an energy axis."""
    if not data:
        raise InputError(": expected at least one map, got none.", "data")
    first = next(iter(data))
    for name, m in data.items():
        if not isinstance(m, Map):
            raise InputTypeError(f": expected a Map, got {type(m).__name__}.", name)
        names = m.geom.axes.names
        if "energy" not in names:
            raise InputError(": expected a map with an axis 'energy' (one bin will do).", name)
        if names[-1] != "energy":
            raise InputError(f": expected 'energy' as the last axis, got {names}.", name)
        same_sky = m.geom.to_image() == data[first].geom.to_image()
        if not same_sky or m.geom.axes["energy"] != data[first].geom.axes["energy"]:
            raise InputError(f": its geometry differs from that of {first}.", name)


def model_to_content(model: Any) -> dict[str, Any] | None:
    """Return a reference model as lists, texts and numbers, in gammapy's layout."""
    if model is None:
        return None
    content = models_to_dict([model])
    for component in content["components"]:
        if component.get("spatial", {}).get("filename", "there") is None:
            del component["spatial"]
    return content


def model_from_content(content: Mapping[str, Any] | None, folder: Path | None = None) -> Any:
    """Return the first model in the result of `model_to_content`, or None."""
    # The map of a template is read from `folder`; without it there is no shape.
    if content is None:
        return None
    components = content.get("components")
    if not isinstance(components, list) or not components or not isinstance(components[0], Mapping):
        raise InputError(f"the model is {short(content)}; expected `components` with one in it.")
    component = dict(components[0])
    spatial = component.get("spatial")
    filename = spatial.get("filename") if isinstance(spatial, Mapping) else None
    path = None if filename is None else _found(str(filename), folder)
    if filename is not None and path is None:
        del component["spatial"]
    model: SkyModel = models_from_dict([component], load_map=lambda _: Map.read(path))[0]
    return model


def _found(filename: str, folder: Path | None) -> Path | None:
    """Return the path of a template's map: next to the file that names it, or here."""
    for place in (folder, Path.cwd()):
        try:
            if place is not None:
                return path_in_file(filename, place)
        except FileAccessError:  # the fluxes do not need the map
            continue
    return None
