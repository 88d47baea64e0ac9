"""Responses of two datasets as one: means weighted by the exposure of each, where it is safe."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gammagrad.dataset.masks import used_bins
from gammagrad.errors import InputError
from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap

Response = TypeVar("Response", PSFMap, EDispKernelMap, EDispMap)
Bools = NDArray[np.bool_]


def map_of(response: PSFMap | EDispKernelMap | EDispMap) -> Map:
    """Return the map of a response."""
    return response.psf_map if isinstance(response, PSFMap) else response.edisp_map


def safe_at(mask: Map | None, response: Any) -> Bools | None:
    """Return where a response is safe: on its pixels, and in its bins of reconstructed energy.

    A point spread function is safe at pixels that fall on a safe pixel of the mask; an energy
    dispersion also where a pixel beside is safe, and one pixel beyond the mask as at its edge.
    """
    if mask is None:
        return None
    geom, safe = map_of(response).geom, np.asarray(used_bins(mask))
    if not isinstance(response, EDispKernelMap):
        safe = np.logical_or.reduce(safe, axis=0, keepdims=True)
    ny, nx = safe.shape[-2:]
    if geom.is_region:
        return np.logical_or.reduce(safe, axis=(1, 2), keepdims=True)
    x, y = mask.geom.sky_to_pix(geom.get_skycoord())
    known = np.isfinite(x) & np.isfinite(y)
    x, y = (np.where(known, pixel, 0.0) for pixel in (x, y))
    if isinstance(response, PSFMap):
        column, row = (np.floor(pixel + 0.5).astype(int) for pixel in (x, y))
        known &= (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        return safe[:, np.where(known, row, 0), np.where(known, column, 0)] & known
    # further beyond the mask than a pixel of the response there is nothing
    inner_x, inner_y = np.clip(x, 0, nx - 1), np.clip(y, 0, ny - 1)
    reach = geom.pixel_size / mask.geom.pixel_size
    known &= (np.abs(x - inner_x) <= reach) & (np.abs(y - inner_y) <= reach)
    x, y = inner_x, inner_y
    beside = [
        safe[:, rounded_y(y).astype(int), rounded_x(x).astype(int)]
        for rounded_y in (np.floor, np.ceil)
        for rounded_x in (np.floor, np.ceil)
    ]
    found: Bools = np.logical_or.reduce(beside) & known
    return found


def masked(response: Response, safe: Bools | None) -> Response:
    """Return a response without the pixels and bins that are not safe."""
    m, exposure = map_of(response), response.exposure_map
    if safe is None or exposure is None:
        return _made_like(response, m.copy(), None if exposure is None else exposure.copy())
    there = np.logical_or.reduce(safe, axis=0)
    values = np.where(safe, np.nan_to_num(m.data), 0.0)
    seen = np.where(there, np.nan_to_num(exposure.data), 0.0)
    values = np.where(seen > 0, values, 0.0)
    return _made_like(
        response,
        Map(m.geom, values, m.unit, m.meta, copy=False),
        Map(exposure.geom, seen, exposure.unit, exposure.meta, copy=False),
    )


def stacked(response: Response, other: Response, safe: Bools | None, name: str) -> Response:
    """Return the mean of two responses, weighted by their exposures."""
    ours, theirs = response.exposure_map, other.exposure_map
    m, n = map_of(response), map_of(other)
    if ours is None or theirs is None:
        if type(response) is type(other) and m.geom == n.geom and np.array_equal(m.data, n.data):
            return response
        raise InputError(
            ": at least one of the two has no exposure_map, which weights them; expected one, or "
            "the same response in both datasets.",
            name,
        )
    weight = np.nan_to_num(ours.data)
    total = Map(m.geom, np.nan_to_num(m.data) * weight, m.unit, copy=False)
    added = np.nan_to_num(n.to_unit(m.unit).data) * np.nan_to_num(theirs.to_unit(ours.unit).data)
    _add(total, Map(n.geom, added, m.unit, copy=False), safe)
    exposure = Map(ours.geom, weight.copy(), ours.unit, ours.meta, copy=False)
    _add(exposure, theirs, None if safe is None else np.logical_or.reduce(safe, axis=0))
    seen = np.broadcast_to(exposure.data, total.data.shape)
    values = np.divide(total.data, seen, out=np.zeros(total.data.shape), where=seen > 0)
    return _made_like(response, Map(m.geom, values, m.unit, m.meta, copy=False), exposure)


def _add(total: Map, part: Map, safe: Bools | None) -> None:
    """Add a map to another in place, on the sky or the same for the whole sky."""
    if not total.geom.is_region:
        total.stack(part, weights=safe)
        return
    if total.geom != part.geom:
        raise InputError("stack: responses for the whole sky have different axes.")
    total.data += np.nan_to_num(part.to_unit(total.unit).data) * (1 if safe is None else safe)


def _made_like(response: Response, m: Map, exposure: Map | None) -> Response:
    made: Response = type(response)(m, exposure)
    return made
