"""An array with a geometry and a unit."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad._arrays import unmasked
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps.geom import Geom
from gammagrad.maps.units import parse_unit


class MapData:
    """Data, geometry, unit and meta information of a map; the base of `Map`."""

    __array_ufunc__ = None  # so that numpy leaves `array * map` to the map

    def __init__(
        self,
        geom: Geom,
        data: Any = None,
        unit: Any = "",
        meta: dict[str, Any] | None = None,
        dtype: Any = None,
        copy: bool = True,
    ) -> None:
        if not isinstance(geom, Geom):
            raise InputTypeError(
                f"geom: expected a WcsGeom or RegionGeom, got {type(geom).__name__}."
            )
        self._geom = geom
        self._unit = parse_unit(unit, "unit of the map")
        self.meta: dict[str, Any] = dict(meta or {})
        data = unmasked(data, "data")
        if isinstance(data, u.Quantity):
            data = self._take_unit(data)
        self._data = _as_data(0.0 if data is None else data, geom, dtype, copy or None)

    def _take_unit(self, data: u.Quantity) -> NDArray[Any]:
        if self._unit == u.dimensionless_unscaled:
            self._unit = data.unit
        try:
            return data.to_value(self._unit)
        except u.UnitConversionError as error:
            raise InputError(f"data: cannot convert {data.unit} to {self._unit}.") from error

    @property
    def geom(self) -> Any:
        """Geometry: a `WcsGeom` or a `RegionGeom`."""
        return self._geom

    @property
    def unit(self) -> u.UnitBase:
        """Unit of the data."""
        return self._unit

    @property
    def data(self) -> NDArray[Any]:
        """The data, an array of the shape of the geometry that may be written to."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self._data:
            self._data = _as_data(value, self._geom, None)

    @property
    def quantity(self) -> u.Quantity:
        """The data with their unit."""
        return u.Quantity(self._data, self._unit, copy=False)

    @quantity.setter
    def quantity(self, value: Any) -> None:
        value = u.Quantity(unmasked(value, "data"))
        self._data = _as_data(value.value, self._geom, None)
        self._unit = value.unit

    @property
    def is_mask(self) -> bool:
        """Whether the data are true or false."""
        return bool(self._data.dtype == np.bool_)

    def copy(self) -> Self:
        """Return a copy with data of its own."""
        return self._like(self._data)

    def _like(self, data: Any, geom: Geom | None = None, unit: Any = None) -> Self:
        """Return a map with other data, copied if they are still those of this map."""
        new = copy.copy(self)
        new._geom = self._geom if geom is None else geom
        new._unit = self._unit if unit is None else unit
        new.meta = dict(self.meta)
        shared = np.may_share_memory(data, self._data)
        new._data = _as_data(data, new._geom, None, copy=shared or None)
        return new

    def to_unit(self, unit: Any) -> Self:
        """Return the map converted to another unit.

        Parameters
        ----------
        unit
            The new unit.

        Returns
        -------
        Map
            The converted copy.

        Raises
        ------
        ValueError
            If the unit cannot be converted.
        """
        unit = parse_unit(unit)
        try:
            factor = self._unit.to(unit)
        except u.UnitConversionError as error:
            raise InputError(f"map: cannot convert {self._unit} to {unit}.") from error
        return self._like(self._data if factor == 1 else self._data * factor, unit=unit)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._geom!r}, shape {self._data.shape}, "
            f"unit {str(self._unit)!r}, {self._data.dtype})"
        )

    def __str__(self) -> str:
        sky = [] if self._geom.is_region else ["lon", "lat"]
        return (
            f"{type(self).__name__}\n\n"
            f"\tgeom  : {type(self._geom).__name__}\n"
            f"\taxes  : {sky + self._geom.axes.names}\n"
            f"\tshape : {self._geom.data_shape[::-1]}\n"
            f"\tndim  : {self._data.ndim}\n"
            f"\tunit  : {str(self._unit)!r}\n"
            f"\tdtype : {self._data.dtype}\n"
        )


def _as_data(value: Any, geom: Geom, dtype: Any, copy: bool | None = True) -> NDArray[Any]:
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
