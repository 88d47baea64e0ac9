"""The data of a map as an array of the shape of its geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad._arrays import unmasked
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps.geom import Geom


def as_data(value: Any, geom: Geom, dtype: Any = None, copy: bool | None = True) -> NDArray[Any]:
    """Return an array (by default a copy) in native byte order and the shape of a geometry."""
    data = np.array(unmasked(value, "data"), dtype=dtype, copy=copy)
    if data.dtype.kind not in "buif":
        raise InputTypeError(f"data: expected numbers or booleans, got {data.dtype}.")
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    shape = geom.data_shape
    if data.ndim == 0:
        return np.full(shape, data)
    bare = [n for n in data.shape if n != 1]
    if data.shape != shape and bare != [n for n in shape if n != 1]:
        raise InputError(
            f"data: shape {data.shape} does not fit the geometry, whose shape is {shape} "
            "(axes, rows, columns)."
        )
    return data.reshape(shape)


def without_unit(data: u.Quantity, unit: u.UnitBase) -> tuple[NDArray[Any], u.UnitBase]:
    """Return a quantity as numbers in a unit, or in its own unit if there is none."""
    if unit == u.dimensionless_unscaled:
        unit = data.unit
    try:
        return data.to_value(unit), unit
    except u.UnitConversionError as error:
        raise InputError(f"data: cannot convert {data.unit} to {unit}.") from error


def check_format(name: str) -> None:
    """Raise if the format of a file is not FITS."""
    if name != "fits":
        raise InputError(f"format is {name!r}; expected 'fits'.")
