"""Cutting, rebinning, summing and looking up maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.geom import Geom, row_col_pair, sides
from gammagrad.maps.map.math import MapMath
from gammagrad.maps.map.rebin import bilinear, block_sum, repeat_blocks, zoom_bilinear
from gammagrad.maps.units import to_value


class MapOps(MapMath):
    """Maps that can be cut, rebinned, summed and looked up; the base of `Map`."""

    def _sky(self, what: str) -> Any:
        if self.geom.is_region:
            raise InputError(f"{what}: this map has no sky pixels.")
        return self.geom

    def cutout(self, position: Any, width: Any, mode: str = "trim", odd_npix: bool = False) -> Self:
        """Return a part of the map around a position.

        Parameters
        ----------
        position
            A `SkyCoord`, or (lon, lat) in degrees in the frame of the map.
        width
            Extent, one or (lon, lat): degrees, texts or quantities.
        mode
            "trim" cuts off what is outside the map, "strict" refuses it.
        odd_npix
            Round the number of pixels up to an odd one.

        Returns
        -------
        Map
            The part, with data of its own. A map without sky pixels is copied.

        Raises
        ------
        ValueError
            If the part is outside the map, or partly so with "strict".
        """
        if self.geom.is_region:
            return self.copy()
        geom, (rows, cols) = self.geom.cutout_slices(position, width, mode, odd_npix)
        return self._like(self.data[..., rows, cols], geom)

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
        widths = [(0, 0)] * len(self.geom.axes) + [rows, cols]
        options: dict[str, Any] = {"constant_values": cval} if mode == "constant" else {}
        return self._like(np.pad(self.data, widths, mode=mode, **options), geom)

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
        ny, nx = self.geom.shape_image
        return self._like(self.data[..., rows : ny - rows, cols : nx - cols], geom)

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
            Map, or array that broadcasts to the data: pixels count by their weight in sum and mean.

        Returns
        -------
        Map
            The coarser map. NaN pixels are left out; a block of them is NaN. A mean with zero total
            weight is 0.

        Raises
        ------
        ValueError
            If the factor does not divide the number of rows and columns.
        """
        geom = self._sky("downsample").downsample(factor)
        if self.is_mask:
            return self._like(block_sum(self.data.astype(int), factor) > 0, geom)
        good = ~np.isnan(self.data)
        weight = np.asarray(1 if weights is None else getattr(weights, "data", weights))
        weight = np.broadcast_to(weight, self.data.shape) * good
        result = block_sum(np.where(good, self.data, 0) * weight, factor)
        if not preserve_counts:
            total = block_sum(weight, factor)
            result = np.divide(result, total, out=np.zeros(result.shape), where=total != 0)
        if not good.all():
            result[block_sum(good.astype(int), factor) == 0] = np.nan
        return self._like(result, geom)

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
            raise InputError(f"order is {order!r}; expected 0 (1 too, if the map is no mask).")
        geom = self._sky("upsample").upsample(factor)
        zoom = zoom_bilinear if order else repeat_blocks
        if self.is_mask or not preserve_counts:
            return self._like(zoom(self.data, factor), geom)
        area = geom.solid_angle().to_value("sr")
        total = block_sum(area, factor)
        # at the rim of the sky some areas are unknown: there, equal parts
        bad = np.isnan(total)
        area = np.where(repeat_blocks(bad, factor), 1.0 / factor**2, area)
        total = np.where(bad, 1.0, total)
        return self._like(zoom(self.data / total, factor) * area, geom)

    def _dims(self, axes_names: Iterable[str] | None) -> tuple[list[str], tuple[int, ...]]:
        names = self.geom.axes.names if axes_names is None else list(axes_names)
        return names, tuple(self.geom.axes.index_data(name) for name in names)

    def _reduced_geom(self, names: list[str], keepdims: bool) -> Geom:
        geom = self.geom
        for name in names:
            geom = geom.squash(name) if keepdims else geom.drop(name)
        return geom

    def sum_over_axes(self, axes_names: Iterable[str] | None = None, keepdims: bool = True) -> Self:
        """Return the sum over axes that are not on the sky.

        Parameters
        ----------
        axes_names
            Names of the axes, all by default.
        keepdims
            Keep each of them with one bin over its range, instead of dropping it.

        Returns
        -------
        Map
            The sum, in float64 (whole numbers stay so; a mask gives numbers of true bins).
        """
        names, dims = self._dims(axes_names)
        kind = float if self.data.dtype.kind == "f" else int
        data = np.sum(self.data, axis=dims, keepdims=keepdims, dtype=kind)
        return self._like(data, self._reduced_geom(names, keepdims))

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
            Keep each of them with one bin over its range, instead of dropping it.

        Returns
        -------
        Map
            The reduced map.
        """
        names, dims = self._dims(axes_names)
        reduce = func.reduce if isinstance(func, np.ufunc) else func
        data = reduce(self.data, axis=dims, keepdims=keepdims)
        return self._like(data, self._reduced_geom(names, keepdims))

    def slice_by_idx(self, slices: dict[str, slice | int]) -> Self:
        """Return some bins of axes that are not on the sky.

        Parameters
        ----------
        slices
            Slice of bins by name of the axis; a number takes that bin and drops the axis.

        Returns
        -------
        Map
            The part, with data of its own.

        Raises
        ------
        ValueError
            If there is no such axis, or nothing is left.
        """
        geom = self.geom
        index: list[slice | int] = [slice(None)] * self.data.ndim
        for name, part in slices.items():
            index[self.geom.axes.index_data(name)] = part
            geom = geom.slice_axis(name, part) if isinstance(part, slice) else geom.drop(name)
        try:
            return self._like(self.data[tuple(index)], geom)
        except IndexError as error:
            bins = dict(zip(self.geom.axes.names, self.geom.axes.shape[::-1], strict=True))
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
        names = self.geom.axes.names
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
        if self.geom.is_region:
            return self._anywhere(skycoord)
        x, y = self.geom.sky_to_pix(skycoord)
        inside = self.geom.contains(skycoord)
        col = np.where(inside, np.floor(np.where(inside, x, 0) + 0.5), 0).astype(int)
        row = np.where(inside, np.floor(np.where(inside, y, 0) + 0.5), 0).astype(int)
        values = self.data[..., row, col]
        return values if inside.all() else self._blank(values, inside, fill_value)

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
            outermost centres and the edge, the value at the nearest point between centres.
        """
        if self.geom.is_region:
            return self._anywhere(skycoord)
        inside = self.geom.contains(skycoord)
        x, y = (np.where(inside, pixel, 0) for pixel in self.geom.sky_to_pix(skycoord))
        values = bilinear(self.data, x, y)
        return values if inside.all() else self._blank(values, inside, fill_value)

    def _blank(self, values: NDArray[Any], inside: Any, fill_value: float) -> NDArray[Any]:
        return np.where(inside, values, False if self.is_mask else fill_value)

    def _anywhere(self, skycoord: Any) -> NDArray[Any]:
        if isinstance(skycoord, tuple | list):
            shape = np.broadcast_shapes(*(np.shape(to_value(v, "deg")) for v in skycoord))
        else:
            shape = skycoord.shape
        values = self.data[..., 0, 0]
        return np.broadcast_to(
            values.reshape(values.shape + (1,) * len(shape)), values.shape + shape
        ).copy()

    def stack(self, other: MapMath, weights: Any = None) -> None:
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
        if other.geom.axes != self.geom.axes:
            raise InputError("stack: the maps have different axes.")
        shift = self._sky("stack").offset_of(other.geom)
        if shift is None:
            raise InputError("stack: the pixels of the maps are not aligned.")
        data = other.to_unit(self.unit).data
        if weights is not None:
            data = data * getattr(weights, "data", weights)
        spans = []
        for start, size, npix in zip(shift, other.geom.npix, self.geom.npix, strict=True):
            low, high = max(start, 0), min(start + size, npix)
            if low >= high:
                return
            spans.append((slice(low, high), slice(low - start, high - start)))
        (cols, cols_other), (rows, rows_other) = spans
        self.data[..., rows, cols] += np.nan_to_num(data[..., rows_other, cols_other])
