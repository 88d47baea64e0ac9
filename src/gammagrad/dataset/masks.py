"""Masks of a dataset: booleans, or weights of a likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps import Map, WcsGeom, on_sky


def as_mask(value: Map, name: str) -> Map:
    """Return a mask as a dataset holds it: booleans, or weights as float64."""
    data = value.data
    if data.dtype == bool:
        return value
    if np.all((data == 0) | (data == 1)):
        return Map(value.geom, data.astype(bool), unit="", meta=value.meta)
    if data.dtype.kind != "f":
        bad = (data != 0) & (data != 1)
        raise InputError(
            f": {_first(data, bad)}; expected booleans, or 0 (excluded) and 1 (used). "
            "Compare with a number for a mask (data > 0), or convert to float for weights of the "
            "likelihood.",
            name,
        )
    check_weights(name, data)
    return (
        value if data.dtype == np.float64 else Map(value.geom, data.astype(float), "", value.meta)
    )


def check_weights(name: str, data: NDArray[Any]) -> None:
    """Check that the values of a mask can be weights."""
    bad = ~(np.isfinite(data) & (data >= 0))
    if np.any(bad):
        raise InputError(
            f": {_first(data, bad)}; expected booleans, or finite weights of the likelihood "
            "that are not negative. Set excluded bins to 0.",
            name,
        )


def first_index(where: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(where)), where.shape))


def _first(data: NDArray[Any], bad: NDArray[np.bool_]) -> str:
    where = first_index(bad)
    return f"{data[where]} at (energy, row, col) {where}"


def used_bins(mask: Map) -> NDArray[np.bool_]:
    """Return the bins that a mask does not exclude."""
    return mask.data if mask.data.dtype == bool else mask.data > 0


def fitted_bins(geom: WcsGeom | None, *masks: Map | None) -> Map | None:
    """Return the bins on the sky that no mask excludes; None if these are all bins."""
    used = [used_bins(mask) for mask in masks if mask is not None]
    if geom is not None and not (seen := on_sky(geom)).all():
        used.append(np.broadcast_to(seen, geom.data_shape))
    if geom is None or not used:
        return None
    if len(used) == 1:
        return Map(geom, used[0])
    return Map(geom, np.logical_and.reduce(used), copy=False)


def weights_of(*masks: Map | None) -> Map | None:
    """Return the product of masks if at least one has weights; else None."""
    given = [mask for mask in masks if mask is not None]
    if all(mask.data.dtype == bool for mask in given):
        return None
    data = np.prod([mask.data for mask in given], axis=0, dtype=float)
    return Map(given[0].geom, data)
