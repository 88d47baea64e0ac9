"""How maps follow from one another and from a reference model: fluxes, norms, signs, roots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.axes import MapAxis
from gammagrad.maps.map import Map
from gammagrad.models import SkyModel, models_from_dict, models_to_dict
from gammagrad.quantities import QUANTITIES, MissingQuantityError

__all__ = [
    "check_maps",
    "derivable",
    "derive",
    "model_from_content",
    "model_to_content",
    "norms_from_fluxes",
    "reference_values",
    "why_missing",
]


def reference_values(spectrum: Any, axis: MapAxis, kind: str) -> NDArray[np.float64]:
    """Return a flux of a spectral model in every bin of an energy axis.

    Parameters
    ----------
    spectrum
        Spectral model with ``evaluate``, ``integral`` and ``energy_flux`` in internal units.
    axis : MapAxis
        Energy axis.
    kind : str
        A key of `gammagrad.quantities.FLUXES`: ``dnde`` and ``e2dnde`` are taken at the bins'
        centres, ``flux`` and ``eflux`` between their edges.

    Returns
    -------
    numpy.ndarray
        Shape (bins,), in the unit of `FLUXES`.
    """
    edges, center = axis.edges_in("TeV"), axis.center_in("TeV")
    # the answer must not depend on the precision JAX happens to run in
    with jax.enable_x64(True):
        if kind == "flux":
            result = spectrum.integral(edges[:-1], edges[1:])
        elif kind == "eflux":
            result = spectrum.energy_flux(edges[:-1], edges[1:])
        else:
            result = spectrum.evaluate(center)
        values = np.array(np.broadcast_to(np.asarray(result, dtype=float), (axis.nbin,)))
    return values * center**2 if kind == "e2dnde" else values


def derivable(name: str, maps: Mapping[str, Map], spectrum: Any) -> bool:
    """Tell whether a map is there or follows from those that are.

    Parameters
    ----------
    name : str
        Its name.
    maps : Mapping of str to Map
        The maps there are.
    spectrum
        Spectral model that norms are relative to, or None.

    Returns
    -------
    bool
        True if it does.
    """
    if name in maps:
        return True
    entry = QUANTITIES.get(name)
    if entry is None or not entry.sources or (entry.reference and spectrum is None):
        return False
    return all(derivable(source, maps, spectrum) for source in entry.sources)


def derive(name: str, maps: Mapping[str, Map], spectrum: Any, threshold_ul: float) -> Map:
    """Return a map that is there or follows from those that are.

    Parameters
    ----------
    name : str
        Its name.
    maps : Mapping of str to Map
        The maps there are.
    spectrum
        Spectral model that norms are relative to, or None.
    threshold_ul : float
        Significance below which ``is_ul`` is true.

    Returns
    -------
    Map
        The map, in the unit of the table.

    Raises
    ------
    MissingQuantityError
        If it does not follow.
    """
    if name in maps:
        return maps[name]
    if not derivable(name, maps, spectrum):
        raise MissingQuantityError(why_missing(name, maps, spectrum))
    entry = QUANTITIES[name]
    data: NDArray[Any]
    first, *others = (derive(source, maps, spectrum, threshold_ul) for source in entry.sources)
    if entry.reference is not None:
        factor = reference_values(spectrum, first.geom.axes["energy"], entry.reference)
        data = first.data * factor[:, None, None]
    elif name == "npred_background":
        data = first.data - others[0].data
    elif name == "is_ul":
        data = first.data < threshold_ul
    else:
        data = np.sign(first.data) * np.sqrt(np.abs(first.data))
    return Map.from_geom(first.geom, data=data, unit=entry.unit)


def why_missing(name: str, maps: Mapping[str, Map], spectrum: Any) -> str:
    """Return a sentence on why a map cannot be given, and what to do.

    Parameters
    ----------
    name : str
        Its name.
    maps : Mapping of str to Map
        The maps there are.
    spectrum
        Spectral model that norms are relative to, or None.

    Returns
    -------
    str
        The sentence.
    """
    if name not in QUANTITIES:
        known = ", ".join(n for n in {**maps, **QUANTITIES} if derivable(n, maps, spectrum))
        return f"There is no quantity {name!r}; there are {known}."
    entry = QUANTITIES[name]
    if entry.option and not all(s in maps for s in entry.sources or (name,)):
        return (
            f"{name} was not computed: run the estimator with "
            f'selection_optional=["{entry.option}"], or "all".'
        )
    if entry.reference and spectrum is None:
        return f"{name} needs the reference model, and these maps have none."
    missing = [s for s in entry.sources or (name,) if not derivable(s, maps, spectrum)]
    return (
        f"{name} cannot be given without {' and '.join(missing)}: every map estimator of this "
        "library computes that, but it is not among these maps."
    )


def norms_from_fluxes(maps: Mapping[str, Map], kind: str, spectrum: Any) -> dict[str, Map]:
    """Return maps with their fluxes of one kind turned into norms.

    Parameters
    ----------
    maps : Mapping of str to Map
        Maps by name, some of them fluxes such as ``dnde`` and ``dnde_err``.
    kind : str
        Which flux to turn, a key of `gammagrad.quantities.FLUXES`.
    spectrum
        Spectral model that the norms are relative to.

    Returns
    -------
    dict
        ``norm``, ``norm_err`` and so on in their place; the other maps as they are.
    """
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


def check_maps(data: Mapping[str, Map]) -> None:
    """Check that maps lie on one geometry with an energy axis.

    Parameters
    ----------
    data : Mapping of str to Map
        Maps by name.

    Raises
    ------
    ValueError
        If there are none, their geometries differ or have no energy axis.
    TypeError
        If one is not a map.
    """
    if not data:
        raise ValueError("data: expected at least one map, got none.")
    first = next(iter(data))
    for name, m in data.items():
        if not isinstance(m, Map):
            raise TypeError(f"{name}: expected a Map, got {type(m).__name__}.")
        if "energy" not in m.geom.axes.names:
            raise ValueError(f"{name}: expected a map with an axis 'energy' (one bin will do).")
        same_sky = m.geom.to_image() == data[first].geom.to_image()
        if not same_sky or m.geom.axes["energy"] != data[first].geom.axes["energy"]:
            raise ValueError(f"{name}: its geometry differs from that of {first}.")


def model_to_content(model: Any) -> dict[str, Any] | None:
    """Return a reference model as lists, texts and numbers, in gammapy's layout.

    Parameters
    ----------
    model : SkyModel, optional
        The model.

    Returns
    -------
    dict or None
        Its content; None if there is no model. A template that is in no file is left out: fluxes
        need the spectrum only.
    """
    if model is None:
        return None
    content = models_to_dict([model])
    for component in content["components"]:
        if component.get("spatial", {}).get("filename", "there") is None:
            del component["spatial"]
    return content


def model_from_content(content: Mapping[str, Any] | None) -> Any:
    """Return a reference model from lists, texts and numbers.

    Parameters
    ----------
    content : Mapping, optional
        As `model_to_content` returns it.

    Returns
    -------
    SkyModel or None
        The first model there; None if there is none. A template whose file is gone is left out.
    """
    if content is None:
        return None
    component = dict(content["components"][0])
    filename = (component.get("spatial") or {}).get("filename")
    if filename is not None and not Path(filename).is_file():
        del component["spatial"]
    model: SkyModel = models_from_dict([component], load_map=Map.read)[0]
    return model
