"""Flux maps, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
from gammapy.data import GTI
from gammapy.estimators import FluxMaps as GammapyFluxMaps

from gammagrad.flux_maps import FluxMaps
from gammagrad.interop.datasets import _gti
from gammagrad.interop.maps import map_from_gammapy, map_to_gammapy
from gammagrad.interop.models import model_from_gammapy, models_to_gammapy
from gammagrad.io import table_to_hdu
from gammagrad.maps import Map

NOT_THERE = ("sqrt_ts", "is_ul", "status", "npred_background")
"""Maps that gammapy derives, or has no place for."""


def flux_maps_to_gammapy(maps: FluxMaps, reference_model: Any = None, gti: Any = None) -> Any:
    """Return flux maps as gammapy's.

    Parameters
    ----------
    maps
        The maps.
    reference_model
        gammapy's model to take as reference; by default that of the maps, converted.
    gti
        gammapy's good time intervals; by default those of the maps.

    Returns
    -------
    gammapy.estimators.FluxMaps
        The maps; as there, the test statistic has no sign. The status has no place.
    """
    data = {
        name: map_to_gammapy(_unsigned(name, m))
        for name, m in maps.computed.items()
        if name not in NOT_THERE
    }
    if "stat_scan" in data:
        data["dnde_scan_values"] = map_to_gammapy(maps["dnde_scan_values"])
    if reference_model is None and maps.reference_model is not None:
        (reference_model,) = models_to_gammapy(maps.reference_model)
    if gti is None and maps.gti is not None:
        gti = GTI.from_table_hdu(table_to_hdu(maps.gti, "GTI"))
    names = ("n_sigma", "n_sigma_ul", "n_sigma_sensitivity")
    meta = {name: maps.meta[name] for name in names if maps.meta.get(name) is not None}
    return GammapyFluxMaps.from_maps(
        maps=data, sed_type="likelihood", reference_model=reference_model, gti=gti, meta=meta
    )


def _unsigned(name: str, m: Map) -> Map:
    return Map(m.geom, np.abs(m.data), unit=m.unit) if name == "ts" else m


def flux_maps_from_gammapy(maps: Any) -> FluxMaps:
    """Return flux maps of gammapy as ours.

    Parameters
    ----------
    maps
        gammapy's `FluxMaps` of norms or of fluxes.

    Returns
    -------
    FluxMaps
        The maps as norms; the test statistic has the sign of the norm.

    Raises
    ------
    ValueError
        If the reference model has no counterpart here.
    """
    found = {name: map_from_gammapy(getattr(maps, name)) for name in maps.available_quantities}
    found = {name: m for name, m in found.items() if name not in ("sqrt_ts", "is_ul")}
    scan = found.get("stat_scan")
    if scan is not None and "norm" in scan.geom.axes.names:
        found.pop("dnde_scan_values", None)  # which follows from the axis
    if {"ts", "norm"} <= found.keys():
        ts = found["ts"]
        sign = np.where(found["norm"].data < 0, -1.0, 1.0)
        found["ts"] = Map(ts.geom, sign * np.abs(ts.data), unit=ts.unit)
    model = model_from_gammapy(maps.reference_model)
    meta = {key: value for key, value in dict(maps.meta or {}).items() if _is_plain(value)}
    return FluxMaps(found, model, meta, _gti(maps.gti))


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None)
