"""Functions of upper layers that lower ones call: their names, loaded at the first call."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

UPPER: dict[str, str] = {
    "to_value": "maps.units",
    "read_map": "io.map_fits",
    "write_map": "io.map_fits",
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
}
"""The module of each function, which lies above its callers."""


def upper(name: str) -> Callable[..., Any]:
    """Return a function of the table; its module is imported if it is not there yet."""
    function: Callable[..., Any] = getattr(import_module(f"gammagrad.{UPPER[name]}"), name)
    return function


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return those of a method's arguments that are to be handed on: none that is None."""
    return {name: v for name, v in arguments.items() if name != "self" and v is not None}
