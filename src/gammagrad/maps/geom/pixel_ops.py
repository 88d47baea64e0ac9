"""Cutting, padding and rebinning of a pixel grid."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes import check_factor
from gammagrad.maps.geom.pixels import nearest_place, pixel_shape
from gammagrad.maps.geom.sky_grid import SkyGrid, angle_pair

Slices = tuple[slice, slice]

# Extents that differ by less, in pixels, are the same.
_ALIKE = 0.25


def next_odd(size: Any) -> NDArray[np.int64]:
    """Return the smallest odd whole number that is not below a size."""
    half = np.ceil((np.asarray(size, dtype=float) - 1e-6 - 1) / 2)
    return np.maximum(2 * half + 1, 1).astype(int)


def row_col_pair(width: Any, name: str) -> tuple[int, int]:
    """Return one number of pixels or a pair of them as (rows, columns)."""
    pair = np.atleast_1d(np.asarray(width))
    if pair.shape not in ((1,), (2,)) or np.any(pair != np.round(pair)) or np.any(pair < 0):
        raise InputError(f"{name} is {width!r}; expected a whole number, or (rows, columns).")
    return int(pair[0]), int(pair[-1])


def sides(width: Any, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return numbers of pixels on the four sides of an image."""
    if isinstance(width, tuple | list | np.ndarray) and [np.ndim(w) for w in width] == [1, 1]:
        rows, cols = (row_col_pair(pair, name) for pair in width)
        return rows, cols
    row, col = row_col_pair(width, name)
    return (row, row), (col, col)


class PixelOps(SkyGrid):
    """A pixel grid that can be cut, padded and rebinned; the base of `WcsGeom`."""

    @abstractmethod
    def _with_wcs(self, wcs: Any, npix: tuple[int, int]) -> Self:
        """Return a geometry with other pixels and the same axes."""

    @abstractmethod
    def summary(self) -> str:
        """Return frame, projection, centre and size in one line."""

    def _shifted(self, x: int, y: int, npix: tuple[int, int]) -> Self:
        """Return the geometry whose first pixel is (x, y) of this one."""
        wcs = self._copied_wcs()
        wcs.wcs.crpix = wcs.wcs.crpix - np.array([x, y])
        return self._with_wcs(wcs, npix)

    def cutout_slices(
        self, position: Any, width: Any, mode: str = "trim", odd_npix: bool = False
    ) -> tuple[Self, Slices]:
        """Return a part of the geometry and where it lies.

        Parameters
        ----------
        position
            Middle of the part: a `SkyCoord` or (lon, lat) in degrees in the frame of the map.
        width
            Extent on the sky at the position, one or (lon, lat): degrees, texts or quantities; at
            least a pixel.
        mode
            "trim" cuts off what is outside the map, "strict" refuses it.
        odd_npix
            Round the number of pixels up to an odd one.

        Returns
        -------
        geom : WcsGeom
            The part.
        slices : (slice, slice)
            Its rows and columns in this geometry.

        Raises
        ------
        ValueError
            If the part is outside the map, or partly so with "strict".
        """
        if mode not in ("trim", "strict"):
            raise InputError(f"mode is {mode!r}; expected 'trim' or 'strict'.")
        sizes = self._in_pixels(position, angle_pair(width, "width"))
        sizes = np.maximum(sizes, 1)
        sizes = next_odd(sizes) if odd_npix else np.round(sizes)
        pixel = self.sky_to_pix(position)
        spans = []
        for size, centre, npix in zip(sizes, pixel, self._npix, strict=True):
            low = np.ceil(centre - size / 2)
            if not (low + size > 0 and low < npix):
                raise InputError(f"cutout: {position} is outside the map, {self.summary()}.")
            if mode == "strict" and (low < 0 or low + size > npix):
                raise InputError(
                    f"cutout: {width} around {position} reaches beyond the map; use mode='trim'."
                )
            spans.append(slice(int(max(low, 0)), int(min(low + size, npix))))
        x, y = spans
        return self._shifted(x.start, y.start, (x.stop - x.start, y.stop - y.start)), (y, x)

    def _in_pixels(self, position: Any, width: tuple[float, float]) -> Any:
        """Return extents along longitude and latitude as numbers of columns and rows."""
        shape = pixel_shape(self, nearest_place(self, position))
        # columns need not run along the longitude
        turned = abs(shape.matrix[0, 0]) < abs(shape.matrix[1, 0])
        along = np.array(width[::-1] if turned else width)
        sizes, typical = along / shape.sides, along / self.pixel_scales.to_value("deg")
        # pixels that differ by so little count the same wherever the part is
        return np.where(np.abs(sizes - typical) < _ALIKE, typical, sizes)

    def cutout(self, position: Any, width: Any, mode: str = "trim", odd_npix: bool = False) -> Self:
        """Return a part of the geometry.

        Parameters
        ----------
        position, width, mode, odd_npix
            As in `cutout_slices`.

        Returns
        -------
        WcsGeom
            The part.
        """
        return self.cutout_slices(position, width, mode, odd_npix)[0]

    def window(self, row: int, column: int, shape: tuple[int, int]) -> Self:
        """Return the geometry of a rectangle of pixels, which may reach beyond this one.

        Parameters
        ----------
        row, column
            Its first pixel; may be negative.
        shape
            Rows and columns.

        Returns
        -------
        WcsGeom
            The rectangle.
        """
        return self._shifted(column, row, (shape[1], shape[0]))

    def moved(self, place: tuple[float, float], shape: tuple[int, int]) -> Self:
        """Return pixels moved by parts of a pixel, so that a place is the middle of a rectangle.

        Parameters
        ----------
        place
            Row and column, which need not be whole numbers nor within the map.
        shape
            Rows and columns of the rectangle.

        Returns
        -------
        WcsGeom
            The rectangle, without axes.
        """
        wcs = self._copied_wcs()
        (row, column), (ny, nx) = place, shape
        wcs.wcs.crpix = wcs.wcs.crpix - np.array([column - (nx - 1) / 2, row - (ny - 1) / 2])
        return self._with_wcs(wcs, (nx, ny)).to_image()

    def pad(self, pad_width: Any) -> Self:
        """Return the geometry with pixels added on all sides.

        Parameters
        ----------
        pad_width
            Pixels on each side: one number, (rows, columns), or two of each, before and after:
            ((rows, rows), (columns, columns)).

        Returns
        -------
        WcsGeom
            The larger geometry.
        """
        rows, cols = sides(pad_width, "pad_width")
        nx, ny = self._npix
        return self._shifted(-cols[0], -rows[0], (nx + sum(cols), ny + sum(rows)))

    def crop(self, crop_width: Any) -> Self:
        """Return the geometry with pixels taken off all sides.

        Parameters
        ----------
        crop_width
            Pixels on each side, one number or (rows, columns).

        Returns
        -------
        WcsGeom
            The smaller geometry.

        Raises
        ------
        ValueError
            If no pixel would be left.
        """
        rows, cols = row_col_pair(crop_width, "crop_width")
        nx, ny = self._npix
        if 2 * cols >= nx or 2 * rows >= ny:
            raise InputError(
                f"crop_width is {crop_width!r}; nothing is left of {nx} x {ny} pixels."
            )
        return self._shifted(cols, rows, (nx - 2 * cols, ny - 2 * rows))

    def _rescaled(self, scale: float, npix: tuple[int, int]) -> Self:
        wcs = self._copied_wcs()
        # FITS pixels count from 1, so the edge of the first is at 0.5
        wcs.wcs.crpix = (wcs.wcs.crpix - 0.5) / scale + 0.5
        if wcs.wcs.has_cd():
            wcs.wcs.cd = wcs.wcs.cd * scale
        else:
            wcs.wcs.cdelt = wcs.wcs.cdelt * scale
        return self._with_wcs(wcs, npix)

    def downsample(self, factor: int) -> Self:
        """Return the geometry with blocks of pixels merged.

        Parameters
        ----------
        factor
            Pixels along the side of a block.

        Returns
        -------
        WcsGeom
            The coarser geometry.

        Raises
        ------
        ValueError
            If the factor does not divide the number of rows and columns.
        """
        nx, ny = self._npix
        check_factor(factor, "the map")
        if nx % factor or ny % factor:
            raise InputError(
                f"{nx} x {ny} pixels cannot be merged by {factor}; pad or crop the map first."
            )
        return self._rescaled(float(factor), (nx // factor, ny // factor))

    def upsample(self, factor: int) -> Self:
        """Return the geometry with each pixel cut into factor x factor.

        Parameters
        ----------
        factor
            Parts along the side of a pixel.

        Returns
        -------
        WcsGeom
            The finer geometry.
        """
        check_factor(factor, "the map")
        nx, ny = self._npix
        return self._rescaled(1 / factor, (nx * factor, ny * factor))

    def _copied_wcs(self) -> Any:
        if self._wcs.has_distortion:
            raise InputError("a geometry with distortions (SIP, lookup tables) cannot be changed.")
        return self._wcs.deepcopy()
