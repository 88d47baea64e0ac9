"""Axes, geometries and maps, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
from gammapy import maps as gp

from gammagrad.errors import InputTypeError
from gammagrad.maps import Map, MapAxis, RegionGeom, WcsGeom

Geom = WcsGeom | RegionGeom


def axis_from_gammapy(axis: Any) -> MapAxis:
    """Return an axis of gammapy as one of ours."""
    if not hasattr(axis, "node_type"):
        raise InputTypeError(
            f"the axis {axis.name!r} is a {type(axis).__name__}; expected one of numbers."
        )
    nodes = axis.edges if axis.node_type == "edges" else axis.center
    return MapAxis(
        np.asarray(nodes.value, dtype=float),
        name=axis.name,
        unit=str(axis.unit),
        interp=axis.interp,
        node_type=axis.node_type,
    )


def axis_to_gammapy(axis: MapAxis) -> Any:
    """Return an axis as one of gammapy's."""
    nodes = axis.edges if axis.node_type == "edges" else axis.center
    return gp.MapAxis(
        nodes.value,
        name=axis.name,
        unit=axis.unit,
        interp=axis.interp,
        node_type=axis.node_type,
    )


def geom_from_gammapy(geom: Any) -> Geom:
    """Return a geometry of gammapy as one of ours."""
    axes = [axis_from_gammapy(axis) for axis in geom.axes]
    if geom.is_region:
        return RegionGeom(axes)
    if not isinstance(geom, gp.WcsGeom):
        raise InputTypeError(
            f"got a {type(geom).__name__}; expected a WcsGeom: gammagrad has no HEALPix maps. "
            "Interpolate the map on a WcsGeom first."
        )
    if not geom.is_regular:
        raise InputTypeError("expected the same pixels at all energies.")
    npix = tuple(int(np.ravel(n)[0]) for n in geom.npix)
    return WcsGeom(geom.wcs, (npix[0], npix[1]), axes)


def geom_to_gammapy(geom: Geom) -> Any:
    """Return a geometry as one of gammapy's."""
    axes = [axis_to_gammapy(axis) for axis in geom.axes]
    if geom.is_region:
        return gp.RegionGeom.create(None, axes=axes)
    assert isinstance(geom, WcsGeom)
    return gp.WcsGeom(geom.wcs.deepcopy(), geom.npix, axes=axes)


def map_from_gammapy(m: Any) -> Map:
    """Return a map of gammapy as one of ours, which shares nothing with it.

    Parameters
    ----------
    m
        A `WcsNDMap` or `RegionNDMap` of gammapy.

    Returns
    -------
    Map
        The map: pixels, axes, values, unit and meta data.

    Raises
    ------
    TypeError
        If it is a HEALPix map, or has an axis of labels.
    """
    geom = geom_from_gammapy(m.geom)
    data = np.array(m.data).reshape(geom.data_shape)
    return Map(geom, data, unit=str(m.unit), meta=dict(m.meta or {}))


def map_to_gammapy(m: Map) -> Any:
    """Return a map as one of gammapy's, which shares nothing with it.

    Parameters
    ----------
    m
        The map.

    Returns
    -------
    WcsNDMap or RegionNDMap
        gammapy's map: pixels, axes, values, unit and meta data.
    """
    geom = geom_to_gammapy(m.geom)
    data = np.array(m.data).reshape(geom.data_shape)
    kind = gp.RegionNDMap if m.geom.is_region else gp.WcsNDMap
    return kind(geom, data=data, dtype=data.dtype, unit=m.unit, meta=dict(m.meta))
