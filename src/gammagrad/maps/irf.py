"""Instrument responses as maps: point spread function and energy dispersion."""

from __future__ import annotations

from gammagrad.maps.edisp import EDispKernelMap, EDispMap, diagonal_edisp
from gammagrad.maps.irf_map import IRFMap
from gammagrad.maps.psf import PSFMap
from gammagrad.maps.psf_kernel import PSFKernel

__all__ = ["EDispKernelMap", "EDispMap", "IRFMap", "PSFKernel", "PSFMap", "diagonal_edisp"]
