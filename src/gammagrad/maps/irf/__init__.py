"""Instrument responses as maps: point spread function and energy dispersion."""

from gammagrad.maps.irf.edisp import EDispKernelMap, EDispMap, diagonal_edisp
from gammagrad.maps.irf.irf_map import IRFMap
from gammagrad.maps.irf.psf import PSFMap
from gammagrad.maps.irf.psf_kernel import PSFKernel

__all__ = ["EDispKernelMap", "EDispMap", "IRFMap", "PSFKernel", "PSFMap", "diagonal_edisp"]
