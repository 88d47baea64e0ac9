"""The result of an estimator: maps by name, their fluxes, and the status of the fits."""

from gammagrad.flux_maps.flux_maps import FluxMaps
from gammagrad.flux_maps.flux_points import FluxPointTable
from gammagrad.flux_maps.hypothesis_maps import HypothesisMaps
from gammagrad.flux_maps.status import StatusTable

__all__ = ["FluxMaps", "FluxPointTable", "HypothesisMaps", "StatusTable"]
