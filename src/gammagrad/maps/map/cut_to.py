"""Maps that are cut out to the pixels of another map."""

from __future__ import annotations

import logging

import numpy as np

from gammagrad.errors import InputError
from gammagrad.maps.geom import WcsGeom, misalignment, rows_and_columns
from gammagrad.maps.map.map import Map

log = logging.getLogger(__name__)


def cut_to(m: Map, geom: WcsGeom, name: str, reference: str = "counts") -> Map:
    """Return a map on the pixels of a geometry.

    Parameters
    ----------
    m
        A map that has these pixels, or more pixels that are aligned with them.
    geom
        The pixels; axes are not compared.
    name, reference
        What map and geometry are called in an error.

    Returns
    -------
    Map
        The map itself if it has these pixels; else the part of it, with its axes and data of its
        own.

    Raises
    ------
    ValueError
        If the map is not aligned with the geometry, or does not cover it.
    """
    if not isinstance(m.geom, WcsGeom):
        raise InputError(
            f": it has a region and no sky pixels; expected the pixels of {reference}.", name
        )
    own, wanted = m.geom.to_image(), geom.to_image()
    if not wanted.difference(own):
        return m
    found = rows_and_columns(own, wanted)
    if found is None:
        raise InputError(
            f" does not have the pixels of {reference}: {misalignment(wanted, own)}. Reproject "
            f"{name} to the pixels of {reference}, or bin {reference} on the pixels of {name}.",
            name,
        )
    rows, columns = found
    ny, nx = own.shape_image
    inside = int(np.sum((rows >= 0) & (rows < ny)) * np.sum((columns >= 0) & (columns < nx)))
    total = rows.size * columns.size
    if inside < total:
        raise InputError(
            f" does not have the pixels of {reference}: it is aligned with them but lacks "
            f"{total - inside} of {total} pixels, {own.summary()} instead of {wanted.summary()}. "
            f"Cut {reference} out to the part that both have, or pad {name} with zeros if nothing "
            "was observed there.",
            name,
        )
    log.info("%s: cut out %d x %d of %d x %d pixels, to match %s.",
             name, columns.size, rows.size, nx, ny, reference)  # fmt: skip
    # the same geometry object as the reference, so that comparisons are quick
    data = m.data[..., rows[:, None], columns]
    return Map(wanted.to_cube(m.geom.axes), data, unit=m.unit, meta=m.meta, copy=False)
