"""What scripts for gammapy ask of a map: pictures, smoothing, and values at coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from gammagrad._upper import given, upper
from gammagrad.errors import InputError
from gammagrad.maps.geom import Geom
from gammagrad.maps.map.smoothing import convolved, reshaped, smoothed
from gammagrad.maps.map.values import at_indices, at_pixels, interpolated


class MapHabits:
    """Short methods of a map that follow from its data and geometry."""

    _geom: Any
    _unit: Any
    _data: NDArray[Any]

    if TYPE_CHECKING:
        # of the map itself
        def _like(self, data: Any, geom: Geom | None = None, unit: Any = None) -> Self: ...

    def _sky(self, what: str) -> Any:
        if self._geom.is_region:
            raise InputError(f"{what}: this map has no sky pixels.")
        return self._geom

    # -- pictures --------------------------------------------------------------------------------

    def plot(
        self,
        ax: Any = None,
        *,
        energy: int | Sequence[int] | None = None,
        stretch: str = "auto",
        cmap: Any = None,
        norm: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        clim: tuple[float, float] | None = None,
        interpolation: str = "nearest",
        colorbar: bool = True,
        add_cbar: bool | None = None,
        label: str | None = None,
        title: str | None = None,
        contours: Sequence[float] | None = None,
        contour_color: str = "black",
        peaks: Any = None,
        peak_names: bool = True,
        resolution: Any = None,
    ) -> Any:
        """Draw an image of the map, or of each of its energy bins.

        Parameters
        ----------
        ax
            Axes to draw on; made if not given.
        energy
            Energy bins to draw; all by default.
        stretch
            ``"linear"``, ``"sqrt"``, ``"log"``, ``"asinh"``, ``"diverging"``, or ``"auto"``.
        cmap
            Colour map.
        norm
            Colour scale of matplotlib, in place of `stretch`, `vmin` and `vmax`.
        vmin, vmax
            Ends of the colour scale.
        clim
            Both ends of the colour scale, in place of `vmin` and `vmax`.
        interpolation
            ``"nearest"`` shows the pixels; ``"bilinear"`` or ``"bicubic"`` a smooth image.
        colorbar
            Draw a colour bar.
        add_cbar
            The same, by gammapy's name; it comes before `colorbar`.
        label
            Label of the colour bar; the unit is appended.
        title
            Title; by default the energy range.
        contours
            Levels at which to draw contours.
        contour_color
            Colour of the contours.
        peaks
            Sources to circle, as `find_peaks` returns them.
        peak_names
            Write their names, or for more than 12 sources their numbers in the table.
        resolution
            Radius on the sky of the circle in the lower left corner, such as that of 68 % of
            the point spread function.

        Returns
        -------
        WCSAxes or array of WCSAxes
            The axes, one for each energy bin.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the map has no position on the sky, a bin does not exist, `ax` does not fit, or
            `norm` comes with limits of its own.
        """
        options = given(locals())
        ends, wanted = options.pop("clim", None), options.pop("add_cbar", None)
        if ends is not None:
            options["vmin"], options["vmax"] = ends
        if wanted is not None:
            options["colorbar"] = wanted
        return upper("plot_map")(self, **options)

    def plot_grid(
        self, figsize: tuple[float, float] | None = None, ncols: int = 3, **kwargs: Any
    ) -> Any:
        """Draw an image of each bin of the axis, in rows and columns.

        Parameters
        ----------
        figsize
            Width and height of the figure in inches.
        ncols
            Number of columns.
        **kwargs
            Arguments of `plot`.

        Returns
        -------
        ndarray of WCSAxes
            The axes, in rows and columns; None where there is no bin.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the map has no position on the sky, or not exactly one axis.
        """
        return upper("plot_grid")(self, figsize, ncols, **kwargs)

    # -- copies ---------------------------------------------------------------------------------

    def is_allclose(self, other: Any, **kwargs: Any) -> bool:
        """Return whether another map has the same axes and pixels, and values close to these.

        Parameters
        ----------
        other
            The other map, in a unit that converts to that of this one.
        **kwargs
            Arguments of `numpy.allclose`.

        Returns
        -------
        bool
            True if they agree. Maps whose geometries differ do not.
        """
        if type(other) is not type(self) or self._geom.difference(other._geom):
            return False
        theirs: Any = other
        return bool(np.allclose(self._data, theirs.to_unit(self._unit).data, **kwargs))

    def rename_axes(self, names: Any, new_names: Any) -> Self:
        """Return the map with axes renamed.

        Parameters
        ----------
        names, new_names
            One name or several, and as many new ones.

        Returns
        -------
        Map
            The map, with data of its own.

        Raises
        ------
        ValueError
            If there is no such axis, or the numbers of names differ.
        """
        olds, news = ([n] if isinstance(n, str) else list(n) for n in (names, new_names))
        if len(olds) != len(news):
            raise InputError(f"new_names are {news}; expected one for each of {olds}.")
        geom = self._geom
        for old, new in zip(olds, news, strict=True):
            geom = geom.replace_axis(geom.axes[old].rename(new), old)
        return self._like(self._data, geom)

    # -- smoothing -------------------------------------------------------------------------------

    def smooth(self, width: Any, kernel: str = "gauss", **kwargs: Any) -> Self:
        """Return the map smoothed, each image by itself.

        Parameters
        ----------
        width
            Standard deviation of a Gaussian, radius of a disc or side of a box: an angle, which is
            divided by the mean pixel size at the reference point, or a number of pixels.
        kernel
            "gauss", "disk" or "box".
        **kwargs
            Options of `scipy.ndimage.gaussian_filter`, `convolve` or `uniform_filter`, such as
            ``mode="constant"``. By default the image goes on mirrored beyond its edges.

        Returns
        -------
        Map
            The smoothed map, in float64. NaN spread as far as the kernel reaches.

        Raises
        ------
        ValueError
            If the width is not a positive angle or number, or the kernel is unknown.
        """
        return self._like(smoothed(self._data, self._sky("smooth"), width, kernel, kwargs))

    def convolve(self, kernel: Any, method: str = "fft", mode: str = "same") -> Self:
        """Return the map convolved with a kernel, with zeros beyond its edges.

        Parameters
        ----------
        kernel
            An image, which is applied to every image of the map; or one image for each bin, such
            as a `PSFKernel`. A map that is an image gets the axis of a `PSFKernel`.
        method
            "fft", "direct" or "auto".
        mode
            "same" keeps the pixels; "full" adds those that the kernel reaches.

        Returns
        -------
        Map
            The convolved map, in float64.

        Raises
        ------
        ValueError
            If the kernel does not fit the map, or method or mode are unknown.
        """
        return self._like(*convolved(self._data, self._sky("convolve"), kernel, method, mode))

    def binary_erode(self, width: Any, kernel: str = "disk") -> Self:
        """Return a mask without the pixels near its edges, and near those of the map.

        Parameters
        ----------
        width
            Radius of a disc or side of a box: an angle or a number of pixels, which is rounded up
            to an odd number of pixels, as in gammapy.
        kernel
            "disk" or "box".

        Returns
        -------
        Map
            True where the disc or box around a pixel is in the mask.

        Raises
        ------
        TypeError
            If the map is not a mask.
        ValueError
            If the width is not a positive angle or number, or the kernel is unknown.
        """
        return self._like(reshaped(self._data, self._sky("binary_erode"), width, kernel, False))

    def binary_dilate(self, width: Any, kernel: str = "disk") -> Self:
        """Return a mask with the pixels near it.

        Parameters
        ----------
        width, kernel
            As in `binary_erode`.

        Returns
        -------
        Map
            True where the disc or box around a pixel touches the mask.

        Raises
        ------
        TypeError
            If the map is not a mask.
        ValueError
            If the width is not a positive angle or number, or the kernel is unknown.
        """
        return self._like(reshaped(self._data, self._sky("binary_dilate"), width, kernel, True))

    # -- values ----------------------------------------------------------------------------------

    def get_by_coord(self, coords: Any, fill_value: float = np.nan) -> NDArray[Any]:
        """Return the values of the bins that coordinates fall in.

        Parameters
        ----------
        coords
            As in `WcsGeom.coord_to_pix`: (lon, lat, values on each axis), or a dict such as
            ``{"skycoord": position, "energy": "1 TeV"}``. All broadcast together.
        fill_value
            Value outside of the map.

        Returns
        -------
        ndarray
            Values in the unit of the map, of the shape of the coordinates; (1,) for one position.
        """
        return at_indices(self._data, self._sky("coords").coord_to_idx(coords), fill_value)

    def get_by_pix(self, pix: Any, fill_value: float = np.nan) -> NDArray[Any]:
        """Return the values of the bins that pixel coordinates fall in.

        Parameters
        ----------
        pix
            Column, row, and a number for each axis; 0 in the centre of the first bin. All
            broadcast together.
        fill_value
            Value outside of the map.

        Returns
        -------
        ndarray
            Values in the unit of the map, of the shape of the coordinates.
        """
        return at_pixels(self._data, pix, fill_value)

    def get_by_idx(self, idx: Any) -> NDArray[Any]:
        """Return the values of bins.

        Parameters
        ----------
        idx
            Column, row, and the bin of each axis, in this order: numbers, arrays or slices.

        Returns
        -------
        ndarray
            Values in the unit of the map.

        Raises
        ------
        ValueError
            If there is no such bin, or a number for an axis is missing.
        """
        if len(idx) != self._data.ndim:
            names = ", ".join(["column", "row", *self._geom.axes.names])
            raise InputError(f"idx: expected ({names}), got {len(idx)} numbers.")
        parts = [part if isinstance(part, slice) else np.asarray(part, dtype=int) for part in idx]
        try:
            return np.asarray(self._data[tuple(parts[::-1])])
        except IndexError as error:
            raise InputError(f"idx: {error}.") from error

    def interp_by_coord(
        self,
        coords: Any,
        method: str = "linear",
        fill_value: float | None = None,
        values_scale: str = "lin",
    ) -> NDArray[np.float64]:
        """Return values interpolated between the centres of bins, on the sky and on the axes.

        Parameters
        ----------
        coords
            As in `get_by_coord`.
        method
            "linear" or "nearest".
        fill_value
            Value outside of the map; None goes on in straight lines beyond the outermost centres.
        values_scale
            "lin", "log" or "sqrt": the scale of the values in which lines are straight.

        Returns
        -------
        ndarray
            Values in the unit of the map, of the shape of the coordinates. NaN beside a bin that is
            NaN.

        Raises
        ------
        ValueError
            If method or scale are unknown.
        """
        geom = self._sky("coords")
        values = interpolated(self._data, geom.coord_to_pix(coords), method, values_scale)
        if fill_value is None:
            return values
        inside = np.broadcast_to(geom.contains(coords), values.shape)
        return np.where(inside, values, fill_value)

    def interp_to_geom(
        self, geom: Geom, preserve_counts: bool = False, fill_value: float | None = 0, **kwargs: Any
    ) -> Self:
        """Return the map interpolated at the pixels and bins of another geometry.

        Parameters
        ----------
        geom
            The geometry, with the same names of axes.
        preserve_counts
            Interpolate counts per solid angle, and multiply by the solid angle of the new pixels.
        fill_value
            Value outside of the map; None goes on in straight lines.
        **kwargs
            Further arguments of `interp_by_coord`.

        Returns
        -------
        Map
            The new map. A mask takes the nearest pixel, and is false outside.

        Raises
        ------
        ValueError
            If the geometry has other axes.
        """
        target: Any = geom
        if list(target.axes.names) != list(self._geom.axes.names):
            raise InputError(
                f"geom: it has the axes {target.axes.names}; expected {self._geom.axes.names}."
            )
        coords = target.get_coord()
        if self._data.dtype == np.bool_:
            return self._like(self.get_by_coord(coords, False).astype(bool), geom)
        area = self._sky("interp_to_geom").solid_angle().to_value("sr") if preserve_counts else 1.0
        found = self._like(self._data / area).interp_by_coord(
            coords, fill_value=fill_value, **kwargs
        )
        if preserve_counts:
            found = found * target.solid_angle().to_value("sr")
        return self._like(found, geom)

    def mask_nearest_position(self, position: Any) -> Any:
        """Return the centre of the pixel of a mask that is nearest to a position.

        Parameters
        ----------
        position
            A `SkyCoord`, or (lon, lat) in degrees in the frame of the map.

        Returns
        -------
        SkyCoord
            The centre of the nearest pixel that is true.

        Raises
        ------
        ValueError
            If the map is not an image, or nowhere true.
        """
        geom = self._sky("mask_nearest_position")
        if not geom.is_image or not self._data.any():
            raise InputError("mask_nearest_position: expected an image that is somewhere true.")
        apart = np.where(self._data, geom.separation(position).value, np.inf)
        row, column = np.unravel_index(int(np.nanargmin(apart)), apart.shape)
        return geom.pix_to_sky(int(column), int(row))
