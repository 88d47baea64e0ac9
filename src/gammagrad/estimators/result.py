"""Maps out of the arrays of a fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gammagrad.derive import reference_values
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import WcsGeom
from gammagrad.maps.map import Map
from gammagrad.quantities import QUANTITIES

__all__ = ["as_maps", "scanned_fluxes"]


def as_maps(
    arrays: Mapping[str, np.ndarray],
    names: Iterable[str],
    image: WcsGeom,
    axis: MapAxis,
    scan_values: np.ndarray | None = None,
) -> dict[str, Map]:
    """Put geometry on the arrays of a fit.

    Parameters
    ----------
    arrays
        Arrays by name, shape (groups, rows, cols); "stat_scan" has (groups, values, rows, cols).
        The maps are made of these, not of copies.
    names
        Those to return, in this order; names without an array are left out.
    image
        Geometry of the pixels.
    axis
        The energy groups.
    scan_values
        Norms of the scan, if there is one.

    Returns
    -------
    dict of str to Map
        The maps. The scan has an axis "norm" before that of the energies.
    """
    cube = image.to_cube([axis])
    maps = {}
    for name in names:
        if name not in arrays:
            continue
        geom = cube
        if name == "stat_scan":
            norms = MapAxis(scan_values, name="norm", unit="", node_type="center")
            geom = image.to_cube([norms, axis])
        maps[name] = Map(geom, arrays[name], copy=False)
    return maps


def scanned_fluxes(scan: Map, spectrum: Any) -> Map:
    """Return the differential fluxes at which a statistic was scanned.

    Parameters
    ----------
    scan
        The scan, with an axis "norm" before that of the energies.
    spectrum
        Spectral model that the norms are relative to.

    Returns
    -------
    Map
        Norm times the differential flux at the centre of each energy group; NaN where the scan is.
    """
    norms = scan.geom.axes["norm"].center_in("")
    reference = reference_values(spectrum, scan.geom.axes["energy"], "dnde")
    values = (reference[:, None] * norms[None, :])[:, :, None, None]
    data = np.where(np.isnan(scan.data), np.nan, values)
    return Map(scan.geom, data, unit=QUANTITIES["dnde_scan_values"].unit, copy=False)
