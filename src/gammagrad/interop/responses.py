"""Point spread functions and energy dispersions, both ways."""

from __future__ import annotations

from typing import Any

from gammapy import irf as gp

from gammagrad.errors import InputTypeError
from gammagrad.interop.maps import map_from_gammapy, map_to_gammapy
from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap


def _maybe_from(m: Any) -> Map | None:
    return None if m is None else map_from_gammapy(m)


def _maybe_to(m: Map | None) -> Any:
    return None if m is None else map_to_gammapy(m)


def psf_from_gammapy(psf: Any) -> PSFMap | None:
    """Return a point spread function of gammapy as one of ours."""
    if psf is None:
        return None
    if not isinstance(psf, gp.PSFMap | gp.RecoPSFMap):
        raise InputTypeError(
            f"the point spread function is a {type(psf).__name__}; expected a PSFMap."
        )
    return PSFMap(map_from_gammapy(psf.psf_map), _maybe_from(psf.exposure_map))


def psf_to_gammapy(psf: PSFMap | None) -> Any:
    """Return a point spread function as one of gammapy's."""
    if psf is None:
        return None
    kind: Any = gp.RecoPSFMap if psf.energy_name == "energy" else gp.PSFMap
    return kind(map_to_gammapy(psf.psf_map), _maybe_to(psf.exposure_map))


def edisp_from_gammapy(edisp: Any) -> EDispKernelMap | EDispMap | None:
    """Return an energy dispersion of gammapy as one of ours."""
    if edisp is None:
        return None
    if isinstance(edisp, gp.EDispKernelMap):
        return EDispKernelMap(map_from_gammapy(edisp.edisp_map), _maybe_from(edisp.exposure_map))
    if isinstance(edisp, gp.EDispMap):
        return EDispMap(map_from_gammapy(edisp.edisp_map), _maybe_from(edisp.exposure_map))
    raise InputTypeError(
        f"the energy dispersion is a {type(edisp).__name__}; expected an EDispKernelMap or an "
        "EDispMap."
    )


def edisp_to_gammapy(edisp: EDispKernelMap | EDispMap | None) -> Any:
    """Return an energy dispersion as one of gammapy's."""
    if edisp is None:
        return None
    kind: Any = gp.EDispKernelMap if isinstance(edisp, EDispKernelMap) else gp.EDispMap
    return kind(map_to_gammapy(edisp.edisp_map), _maybe_to(edisp.exposure_map))
