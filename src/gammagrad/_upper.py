"""Functions of upper layers that lower ones call: their names, loaded at the first call."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

UPPER: dict[str, str] = {
    "to_value": "maps.units",
    "read_map": "io.map_fits",
    "write_map": "io.map_fits",
    "read_models": "dataset.model_files",
    "write_models": "dataset.model_files",
    "region_mask": "exclusion.region_masks",
    "energy_mask": "exclusion.region_masks",
    "read_psf": "io.psf_fits",
    "plot_map": "plot.sky",
    "plot_grid": "plot.grid",
    "plot_flux_maps": "plot.sky",
    "plot_profile": "plot.profile",
    "plot_residuals": "plot.residuals",
    "plot_spatial_residuals": "plot.residuals_of_dataset",
    "peek_dataset": "plot.peek",
    "peek_psf": "plot.peek",
    "peek_edisp": "plot.peek",
    "plot_significance_histogram": "plot.significance",
    "refine_peaks": "fitting.refine",
    "map_from_gammapy": "interop.maps",
    "map_to_gammapy": "interop.maps",
    "models_from_gammapy": "interop.models",
    "models_to_gammapy": "interop.models",
    "dataset_from_gammapy": "interop.datasets",
    "dataset_to_gammapy": "interop.datasets",
    "flux_maps_from_gammapy": "interop.flux_maps",
    "flux_maps_to_gammapy": "interop.flux_maps",
}
"""The module of each function, which lies above its callers."""


def upper(name: str) -> Callable[..., Any]:
    """Return a function of the table; its module is imported if it is not there yet."""
    function: Callable[..., Any] = getattr(import_module(f"gammagrad.{UPPER[name]}"), name)
    return function


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those of a method's arguments that are to be handed on: none that is None."""
    return {name: v for name, v in arguments.items() if name != "self" and v is not None}


# what a class of gammapy, by its name, is converted with
_CONVERTED = {
    "MapDataset": "dataset_from_gammapy",
    "Map": "map_from_gammapy",
    "ModelBase": "models_from_gammapy",
    "DatasetModels": "models_from_gammapy",
    "FluxMaps": "flux_maps_from_gammapy",
}


def ours(value: Any) -> Any:
    """Return an object of gammapy as one of ours, and anything else as it is."""
    theirs = [c.__name__ for c in type(value).__mro__ if c.__module__.startswith("gammapy.")]
    if "Datasets" in theirs:
        return [ours(one) for one in value]
    name = next((_CONVERTED[kind] for kind in theirs if kind in _CONVERTED), None)
    return value if name is None else upper(name)(value)


def kind_of(value: Any) -> str:
    """Return the name of an object's class, and of its package if that is another one."""
    cls = type(value)
    package = cls.__module__.partition(".")[0]
    return cls.__name__ if package in ("builtins", "gammagrad") else f"{cls.__name__} of {package}"
