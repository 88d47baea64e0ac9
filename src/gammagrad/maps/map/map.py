"""Maps: data on a geometry, with a unit."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad._arrays import unmasked
from gammagrad._upper import upper
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import Geom, WcsGeom, row_col_pair, sides
from gammagrad.maps.map.arithmetic import (
    Operand,
    Operator,
    Rule,
    added,
    compared,
    joined,
    multiplied,
)
from gammagrad.maps.map.data import as_data, check_format, without_unit
from gammagrad.maps.map.exchange import Exchange
from gammagrad.maps.map.habits import MapHabits
from gammagrad.maps.map.lookup import bilinear, nearest, values_at
from gammagrad.maps.map.printing import map_html, map_text
from gammagrad.maps.map.rebin import add_part, merged, repeat_blocks, shared_out, zoom_bilinear
from gammagrad.maps.units import parse_unit


def _operation(rule: Rule, function: Operator) -> Callable[[Map, Any], Map]:
    """Return the method of an operator."""

    def method(self: Map, other: Any) -> Map:
        operand = self._operand(other)
        if operand is None:
            return NotImplemented
        data, unit = rule((self._data, self._unit), operand, function)
        return self._like(data, unit=unit)

    return method


class Map(Exchange, MapHabits):
    """Data on a geometry, with a unit.

    Parameters
    ----------
    geom
        Geometry: a `WcsGeom`, or a `RegionGeom` for data that do not depend on the position.
    data
        Array of shape (axes, rows, columns), or one number for all pixels; zeros by default. The
        array is copied, and ``map.data`` may be written to.
    unit
        Unit of the data. If the data are a quantity, they are converted to it.
    meta
        Further information that is written with the map, by name.
    dtype
        Type of the data; by default float64, or the type of the array given.
    copy
        False uses the array itself instead of a copy, if its type allows it.

    Raises
    ------
    ValueError
        If the data do not fit the geometry, or the unit cannot be read or converted.

    Examples
    --------
    >>> counts = Map.create(npix=(30, 20), binsz=0.1, skydir=(83.63, 22.01))
    >>> counts.data += 42
    >>> float(counts.get((83.63, 22.01)))
    42.0
    >>> counts.downsample(10).data
    array([[4200., 4200., 4200.],
           [4200., 4200., 4200.]])
    """

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
        self._geom: Any = geom
        self._unit = parse_unit(unit, "unit of the map")
        self.meta: dict[str, Any] = dict(meta or {})
        data = unmasked(data, "data")
        if isinstance(data, u.Quantity):
            data, self._unit = without_unit(data, self._unit)
        self._data = as_data(0.0 if data is None else data, geom, dtype, copy or None)

    @classmethod
    def create(
        cls,
        npix: Any = None,
        binsz: Any = 1.0,
        width: Any = None,
        skydir: Any = None,
        proj: str = "CAR",
        frame: Any = "icrs",
        axes: Iterable[MapAxis] | None = None,
        unit: Any = "",
        dtype: Any = None,
        data: Any = None,
        meta: dict[str, Any] | None = None,
    ) -> Map:
        """Make a map and its geometry.

        Parameters
        ----------
        npix, binsz, width, skydir, proj, frame, axes
            As in `WcsGeom.create`.
        unit, dtype, data, meta
            As in the class.

        Returns
        -------
        Map
            The map, of zeros unless data are given.
        """
        geom = WcsGeom.create(npix, binsz, width, skydir, proj, frame, axes)
        return cls(geom, data, unit, meta, dtype)

    @classmethod
    def from_geom(
        cls,
        geom: Geom,
        data: Any = None,
        unit: Any = "",
        dtype: Any = None,
        meta: dict[str, Any] | None = None,
    ) -> Map:
        """Make a map on a geometry.

        Parameters
        ----------
        geom, data, unit, dtype, meta
            As in the class.

        Returns
        -------
        Map
            The map, of zeros unless data are given.
        """
        return cls(geom, data, unit, meta, dtype)

    @classmethod
    def read(
        cls,
        filename: Any,
        hdu: str | int | None = None,
        format: str = "fits",
        checksum: bool = True,
    ) -> Map:
        """Read a map from a file.

        Parameters
        ----------
        filename
            Path of the file.
        hdu
            Name or number of the extension; by default the first that has data.
        format
            Name of the format, "fits".
        checksum
            Verify the checksums in the file.

        Returns
        -------
        Map
            The map. Floating-point data come as float64.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it cannot be read, is damaged, or has no such extension.
        """
        check_format(format)
        read: Map = upper("read_map")(Path(filename), hdu, checksum)
        return read

    def write(
        self,
        filename: Any,
        overwrite: bool = False,
        hdu: str | None = None,
        format: str = "fits",
        checksum: bool = False,
    ) -> None:
        """Write the map to a file.

        Parameters
        ----------
        filename
            Path of the file; one ending in ".gz" is compressed.
        overwrite
            Replace an existing file.
        hdu
            Name of the extension; by default the primary one.
        format
            Name of the format, "fits".
        checksum
            Write a checksum for each extension, to detect damage.

        Raises
        ------
        FileExistsError
            If the file exists and `overwrite` is false.
        """
        check_format(format)
        upper("write_map")(self, Path(filename), overwrite, hdu, checksum)

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
            self._data = as_data(value, self._geom)

    @property
    def quantity(self) -> u.Quantity:
        """The data with their unit."""
        return u.Quantity(self._data, self._unit, copy=False)

    @quantity.setter
    def quantity(self, value: Any) -> None:
        value = u.Quantity(unmasked(value, "data"))
        self._data = as_data(value.value, self._geom)
        self._unit = value.unit

    @property
    def is_mask(self) -> bool:
        """Whether the data are true or false."""
        return bool(self._data.dtype == np.bool_)

    def copy(self) -> Self:
        """Return a copy with data of its own."""
        return self._like(self._data)

    def _like(self, data: Any, geom: Geom | None = None, unit: Any = None) -> Self:
        """Return a map with other data, which are copied if they share memory with this map."""
        new = copy.copy(self)
        new._geom = self._geom if geom is None else geom
        new._unit = self._unit if unit is None else unit
        new.meta = dict(self.meta)
        shared = np.may_share_memory(data, self._data)
        new._data = as_data(data, new._geom, copy=shared or None)
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

    def cutout(self, position: Any, width: Any, mode: str = "trim", odd_npix: bool = False) -> Self:
        """Return a part of the map around a position.

        Parameters
        ----------
        position
            A `SkyCoord`, or (lon, lat) in degrees in the frame of the map.
        width
            Extent, one or (lon, lat): degrees, texts or quantities.
        mode
            "trim" cuts off the area outside the map, "strict" raises an error.
        odd_npix
            Round the number of pixels up to an odd number.

        Returns
        -------
        Map
            The part, with data of its own. A map without sky pixels is copied.

        Raises
        ------
        ValueError
            If the part is outside the map, or partly so with "strict".
        """
        if self._geom.is_region:
            return self.copy()
        geom, (rows, cols) = self._geom.cutout_slices(position, width, mode, odd_npix)
        return self._like(self._data[..., rows, cols], geom)

    def pad(self, pad_width: Any, mode: Any = "constant", cval: float = 0) -> Self:
        """Return the map with pixels added on all sides.

        Parameters
        ----------
        pad_width
            Pixels on each side: one number, (rows, columns), or two of each, before and after:
            ((rows, rows), (columns, columns)).
        mode
            "constant", or another mode of `numpy.pad` such as "edge".
        cval
            Value of the new pixels with "constant".

        Returns
        -------
        Map
            The larger map.
        """
        rows, cols = sides(pad_width, "pad_width")
        geom = self._sky("pad").pad((rows, cols))
        widths = [(0, 0)] * len(self._geom.axes) + [rows, cols]
        options: dict[str, Any] = {"constant_values": cval} if mode == "constant" else {}
        return self._like(np.pad(self._data, widths, mode=mode, **options), geom)

    def crop(self, crop_width: Any) -> Self:
        """Return the map with pixels taken off all sides.

        Parameters
        ----------
        crop_width
            Pixels on each side, one number or (rows, columns).

        Returns
        -------
        Map
            The smaller map.

        Raises
        ------
        ValueError
            If no pixel would be left.
        """
        rows, cols = row_col_pair(crop_width, "crop_width")
        geom = self._sky("crop").crop((rows, cols))
        ny, nx = self._geom.shape_image
        return self._like(self._data[..., rows : ny - rows, cols : nx - cols], geom)

    def downsample(self, factor: int, preserve_counts: bool = True, weights: Any = None) -> Self:
        """Return the map with blocks of pixels merged.

        Parameters
        ----------
        factor
            Pixels along the side of a block; it must divide rows and columns.
        preserve_counts
            Sum a block (counts) instead of averaging it (exposure, flux per solid angle). A mask
            is true where any of its pixels was.
        weights
            Map, or array that broadcasts to the data: weights of the pixels in sum and mean.

        Returns
        -------
        Map
            The coarser map. NaN pixels are left out. A block of only NaN is NaN. A mean with zero
            total weight is 0.

        Raises
        ------
        ValueError
            If the factor does not divide the number of rows and columns.
        """
        geom = self._sky("downsample").downsample(factor)
        weights = getattr(weights, "data", weights)
        return self._like(merged(self._data, factor, preserve_counts, weights), geom)

    def upsample(self, factor: int, order: int = 0, preserve_counts: bool = True) -> Self:
        """Return the map with each pixel cut into factor x factor.

        Parameters
        ----------
        factor
            Parts along the side of a pixel.
        order
            0 repeats values, 1 interpolates linearly between pixel centres.
        preserve_counts
            Share the value of a pixel among its parts by solid angle (counts) instead of repeating
            it (exposure). A mask is repeated.

        Returns
        -------
        Map
            The finer map.

        Raises
        ------
        ValueError
            If the order is neither 0 nor 1, or 1 for a mask.
        """
        if order not in (0, 1) or (order and self.is_mask):
            raise InputError(f"order is {order!r}; expected 0 (or 1, unless the map is a mask).")
        geom = self._sky("upsample").upsample(factor)
        zoom = zoom_bilinear if order else repeat_blocks
        if self.is_mask or not preserve_counts:
            return self._like(zoom(self._data, factor), geom)
        area = geom.solid_angle().to_value("sr")
        return self._like(shared_out(self._data, factor, zoom, area), geom)

    def _without(self, axes_names: Iterable[str] | None, keepdims: bool) -> tuple[Geom, Any]:
        """Return the geometry with axes squashed or dropped, and their dimensions in the data."""
        axes, geom = self._geom.axes, self._geom
        names = axes.names if axes_names is None else list(axes_names)
        for name in names:
            geom = geom.squash(name) if keepdims else geom.drop(name)
        return geom, tuple(axes.index_data(name) for name in names)

    def sum_over_axes(self, axes_names: Iterable[str] | None = None, keepdims: bool = True) -> Self:
        """Return the sum over axes that are not on the sky.

        Parameters
        ----------
        axes_names
            Names of the axes, all by default.
        keepdims
            Keep each axis with one bin over its range, instead of dropping it.

        Returns
        -------
        Map
            The sum, in float64 (whole numbers stay so; a mask gives numbers of true bins).
        """
        geom, dims = self._without(axes_names, keepdims)
        kind = float if self._data.dtype.kind == "f" else int
        return self._like(np.sum(self._data, axis=dims, keepdims=keepdims, dtype=kind), geom)

    def reduce_over_axes(
        self, func: Any = np.add, axes_names: Iterable[str] | None = None, keepdims: bool = False
    ) -> Self:
        """Return the map reduced by a function over axes that are not on the sky.

        Parameters
        ----------
        func
            A ufunc such as `numpy.logical_or`, or a function with the arguments ``axis`` and
            ``keepdims`` such as `numpy.nanmax`.
        axes_names
            Names of the axes, all by default.
        keepdims
            Keep each axis with one bin over its range, instead of dropping it.

        Returns
        -------
        Map
            The reduced map.
        """
        geom, dims = self._without(axes_names, keepdims)
        reduce = func.reduce if isinstance(func, np.ufunc) else func
        return self._like(reduce(self._data, axis=dims, keepdims=keepdims), geom)

    def slice_by_idx(self, slices: dict[str, slice | int]) -> Self:
        """Return some bins of axes that are not on the sky.

        Parameters
        ----------
        slices
            Slice of bins by name of the axis. A number selects one bin and drops the axis.

        Returns
        -------
        Map
            The part, with data of its own.

        Raises
        ------
        ValueError
            If there is no such axis, or nothing is left.
        """
        geom = self._geom
        index: list[slice | int] = [slice(None)] * self._data.ndim
        for name, part in slices.items():
            index[self._geom.axes.index_data(name)] = part
            geom = geom.slice_axis(name, part) if isinstance(part, slice) else geom.drop(name)
        try:
            return self._like(self._data[tuple(index)], geom)
        except IndexError as error:
            bins = dict(zip(self._geom.axes.names, self._geom.axes.shape[::-1], strict=True))
            raise InputError(f"no such bins, {slices}; the axes have {bins}.") from error

    def image(self, idx: int | tuple[int, ...] = 0) -> Self:
        """Return the image of one bin.

        Parameters
        ----------
        idx
            Bin, or one for each axis in the order of ``geom.axes``.

        Returns
        -------
        Map
            The image.

        Raises
        ------
        ValueError
            If there is no such bin.
        """
        names = self._geom.axes.names
        indices = (idx,) if isinstance(idx, int | np.integer) else tuple(idx)
        if not names:
            return self.copy()
        if len(indices) != len(names):
            raise InputError(f"idx is {idx!r}; expected one number for each of {names}.")
        return self.slice_by_idx({n: int(i) for n, i in zip(names, indices, strict=True)})

    get_image_by_idx = image

    def get(self, skycoord: Any, fill_value: float = np.nan) -> NDArray[Any]:
        """Return the values of the pixels that positions fall on.

        Parameters
        ----------
        skycoord
            Positions: a `SkyCoord`, or (lon, lat) in degrees in the frame of the map.
        fill_value
            Value for positions outside the map; False if the map is a mask.

        Returns
        -------
        ndarray
            Values in the unit of the map, of shape axes (the last first) + positions.
        """
        return values_at(self._data, self._geom, skycoord, nearest, fill_value)

    def interp(self, skycoord: Any, fill_value: float = np.nan) -> NDArray[Any]:
        """Return values interpolated linearly between the pixel centres.

        Parameters
        ----------
        skycoord
            Positions: a `SkyCoord`, or (lon, lat) in degrees in the frame of the map.
        fill_value
            Value for positions outside the map.

        Returns
        -------
        ndarray
            Values in the unit of the map, of shape axes (the last first) + positions. Between the
            outermost centres and the edge, the value is the value at the nearest point between
            centres.
        """
        return values_at(self._data, self._geom, skycoord, bilinear, fill_value)

    def stack(self, other: Map, weights: Any = None) -> None:
        """Add another map to this one, in place.

        Parameters
        ----------
        other
            Map with the same axes, on the same pixels or a part of them (which may reach beyond).
        weights
            Map or array that multiplies `other`.

        Raises
        ------
        ValueError
            If the pixel grids are not aligned, or axes or units differ.
        """
        if other.geom.axes != self._geom.axes:
            raise InputError("stack: the maps have different axes.")
        shift = self._sky("stack").offset_of(other.geom)
        if shift is None:
            raise InputError("stack: the pixels of the maps are not aligned.")
        data = other.to_unit(self._unit).data
        if weights is not None:
            data = data * getattr(weights, "data", weights)
        add_part(self._data, data, shift)

    # The other operand is a map of the same geometry, a quantity, or plain numbers. Plain numbers
    # are in the unit of the map where the units must agree (+, -, <, ==), and dimensionless in
    # products. Comparisons give masks, bin by bin, so a map has no truth value of its own.

    def _operand(self, other: Any) -> Operand | None:
        if isinstance(other, Map):
            if difference := self._geom.difference(other._geom):
                raise InputError(f"the maps have different geometries: {difference}.")
            return other._data, other._unit
        if isinstance(other, u.Quantity):
            return other.value, other.unit
        if isinstance(other, bool | int | float | np.number | np.bool_ | np.ndarray):
            return other, None
        return None

    __add__ = __radd__ = _operation(added, operator.add)
    __sub__ = _operation(added, operator.sub)
    __rsub__ = _operation(added, lambda a, b: b - a)
    __mul__ = __rmul__ = _operation(multiplied, operator.mul)
    __truediv__ = _operation(multiplied, operator.truediv)
    __rtruediv__ = _operation(multiplied, lambda a, b: b / a)
    __and__ = __rand__ = _operation(joined, operator.and_)
    __or__ = __ror__ = _operation(joined, operator.or_)
    __xor__ = __rxor__ = _operation(joined, operator.xor)
    __lt__ = _operation(compared, operator.lt)
    __le__ = _operation(compared, operator.le)
    __gt__ = _operation(compared, operator.gt)
    __ge__ = _operation(compared, operator.ge)
    __eq__: Any = _operation(compared, operator.eq)
    __ne__: Any = _operation(compared, operator.ne)

    def __invert__(self) -> Self:
        if not self.is_mask:
            raise InputTypeError(f"~ needs a mask, got {self._data.dtype}.")
        return self._like(~self._data)

    def __neg__(self) -> Self:
        return self._like(-self._data)

    def __bool__(self) -> bool:
        raise InputError(
            "a map is neither true nor false; use `map.data.any()`, `map.data.all()`, "
            "or `map is not None`."
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._geom!r}, shape {self._data.shape}, "
            f"unit {str(self._unit)!r}, {self._data.dtype})"
        )

    def _repr_html_(self) -> str:
        return map_html(self)

    def __str__(self) -> str:
        return map_text(self)
