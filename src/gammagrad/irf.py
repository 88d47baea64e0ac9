"""Responses where gammapy's scripts look for them; the same as in `gammagrad.maps`."""

from gammagrad.maps import EDispKernelMap, EDispMap, PSFKernel, PSFMap

__all__ = ["EDispKernelMap", "EDispMap", "PSFKernel", "PSFMap"]
