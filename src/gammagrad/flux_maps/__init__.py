"""The result of a map of sources: maps by name, the fluxes they stand for, and how fits ended."""

from gammagrad.flux_maps.flux_maps import FluxMaps
from gammagrad.flux_maps.hypothesis_maps import HypothesisMaps
from gammagrad.flux_maps.status import StatusTable

__all__ = ["FluxMaps", "HypothesisMaps", "StatusTable"]
