"""Sky geometries: a world coordinate system, a number of pixels, and axes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import (
    celestial_frame_to_wcs,
    proj_plane_pixel_scales,
    wcs_to_celestial_frame,
)
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes import MapAxes, MapAxis
from gammagrad.maps.geom.pixel_ops import PixelOps, next_odd
from gammagrad.maps.geom.pixels import middle_shape
from gammagrad.maps.geom.sky_grid import angle_pair

# squares for kernels that a geometry keeps
_SQUARES = 8


class WcsGeom(PixelOps):
    """Pixels on the sky and further axes; it does not change once made.

    Parameters
    ----------
    wcs
        Celestial `astropy.wcs.WCS` of two axes, longitude first.
    npix
        Number of pixels (nx, ny).
    axes
        Axes that are not on the sky, the fastest first.

    Raises
    ------
    ValueError
        If the coordinate system is not celestial, or there is no pixel.

    Examples
    --------
    >>> geom = WcsGeom.create(npix=(60, 40), binsz=0.1, skydir=(83.63, 22.01), proj="TAN")
    >>> geom.data_shape
    (40, 60)
    >>> geom.pad(2).shape_image
    (44, 64)
    """

    def __init__(self, wcs: WCS, npix: tuple[int, int], axes: Iterable[MapAxis] = ()) -> None:
        if wcs.naxis != 2 or not wcs.has_celestial or wcs.wcs.lng != 0:
            raise InputError(
                "wcs: expected two celestial axes, longitude then latitude, "
                f"got {list(wcs.wcs.ctype)}."
            )
        nx, ny = (int(n) for n in npix)
        if nx < 1 or ny < 1:
            raise InputError(f"npix is ({nx}, {ny}); expected at least one pixel each way.")
        wcs = wcs.deepcopy()
        wcs.array_shape = (ny, nx)
        super().__init__(wcs, (nx, ny), axes)
        try:
            self._frame = wcs_to_celestial_frame(wcs)
        except ValueError as error:
            raise InputError(f"wcs: unknown celestial frame, {list(wcs.wcs.ctype)}.") from error

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
    ) -> WcsGeom:
        """Make a geometry around a position.

        Parameters
        ----------
        npix
            Number of pixels, n or (nx, ny).
        binsz
            Pixel size, one or (lon, lat): degrees, texts or quantities.
        width
            Extent, one or (lon, lat), used if `npix` is not given. With neither, the whole sky.
        skydir
            Reference point and middle of the map: a `SkyCoord`, or (lon, lat) in `frame`, degrees.
        proj
            Projection, a three-letter code of FITS such as "CAR", "TAN" or "AIT".
        frame
            "icrs", "galactic" or "fk5".
        axes
            Axes that are not on the sky.

        Returns
        -------
        WcsGeom
            The geometry.

        Raises
        ------
        ValueError
            If an angle cannot be read, or frame or projection are not known.
        """
        try:
            frame_object = SkyCoord(0.0, 0.0, unit="deg", frame=frame).frame
            wcs = celestial_frame_to_wcs(frame_object, projection=proj)
        except ValueError as error:
            raise InputError(
                f"frame is {frame!r}; expected 'icrs', 'galactic' or 'fk5'."
            ) from error
        scale = angle_pair(binsz, "binsz")
        if min(scale) <= 0:
            raise InputError(f"binsz is {binsz!r}; expected positive pixel sizes.")
        if npix is None:
            extent = angle_pair((360.0, 180.0) if width is None else width, "width")
            npix = [int(np.rint(w / s)) for w, s in zip(extent, scale, strict=True)]
        nx, ny = (int(n) for n in np.broadcast_to(np.asarray(npix), 2))
        wcs.wcs.crpix = ((nx + 1) / 2, (ny + 1) / 2)
        wcs.wcs.crval = _reference_point(skydir, frame_object)
        wcs.wcs.cdelt = (-scale[0], scale[1])
        try:
            wcs.wcs.set()
        except ValueError as error:
            raise InputError(f"proj is {proj!r}; expected a FITS projection code.") from error
        return cls(wcs, (nx, ny), axes or ())

    @classmethod
    def from_header(
        cls, header: Any, npix: tuple[int, int] | None = None, axes: Iterable[MapAxis] = ()
    ) -> WcsGeom:
        """Make a geometry from the celestial keywords of a FITS header.

        Parameters
        ----------
        header
            FITS header; axes that are not celestial are left out.
        npix
            Number of pixels (nx, ny); by default NAXIS1 and NAXIS2.
        axes
            Axes that are not on the sky.

        Returns
        -------
        WcsGeom
            The geometry.

        Raises
        ------
        ValueError
            If the header has no celestial coordinates.
        """
        with warnings.catch_warnings():
            # dates in other styles are put right by astropy, and do not matter here
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header)
        if not wcs.has_celestial:
            raise InputError(
                "the header has no celestial coordinates; expected CTYPE1 and CTYPE2 such as "
                "'GLON-CAR' and 'GLAT-CAR'."
            )
        if (wcs.wcs.lng, wcs.wcs.lat) != (0, 1):
            raise InputError(
                "the first two axes must be longitude and latitude, "
                f"got {list(wcs.wcs.ctype)}; reorder the axes of the image."
            )
        shape = (header["NAXIS1"], header["NAXIS2"]) if npix is None else npix
        return cls(wcs.celestial, shape, axes)

    def to_header(self) -> Any:
        """Return the celestial keywords of this geometry.

        Returns
        -------
        astropy.io.fits.Header
            A header of two axes, with every digit of the reference point.
        """
        header = self._wcs.to_header(relax=True)
        wcs = self._wcs.wcs
        for i in range(2):
            header[f"CRPIX{i + 1}"] = float(wcs.crpix[i])
            header[f"CRVAL{i + 1}"] = float(wcs.crval[i])
            if not wcs.has_cd():
                header[f"CDELT{i + 1}"] = float(wcs.cdelt[i])
        return header

    @property
    def frame_object(self) -> Any:
        """Frame of the coordinates, an astropy frame without data."""
        return self._frame

    @property
    def width(self) -> u.Quantity:
        """Columns and rows times the size of a pixel in the middle of the map, quantity (2,)."""
        return u.Quantity(np.multiply(middle_shape(self).sides, self.npix), "deg")

    @cached_property
    def pixel_scales(self) -> u.Quantity:
        """Pixel size at the reference point along longitude and latitude, quantity (2,)."""
        return u.Quantity(proj_plane_pixel_scales(self._wcs), "deg")

    def _with_axes(self, axes: Iterable[MapAxis]) -> WcsGeom:
        geom = copy.copy(self)  # with what is known of its pixels already
        geom._axes = MapAxes(axes)
        return geom

    def difference(self, other: object) -> str:
        """Say in words how another geometry differs from this one.

        Parameters
        ----------
        other
            Another geometry.

        Returns
        -------
        str
            A phrase, empty if pixel centres agree to a thousandth of a pixel and axes to 1e-6.
        """
        if not isinstance(other, WcsGeom):
            return f"a {type(other).__name__} instead of a WcsGeom"
        phrase = self._axes_difference(other)
        if phrase or self._wcs is other._wcs:
            return phrase
        if self._coincides(self._own_sample, other._own_sample):
            return ""
        return f"the pixels lie elsewhere on the sky: {other.summary()} instead of {self.summary()}"

    def summary(self) -> str:
        """Return frame, projection, centre and size in one line."""
        lon, lat = self.pix_to_lonlat(*self.center_pix)
        dx, dy = middle_shape(self).sides
        return (
            f"{self.frame} {self.projection}, {self._npix[0]} x {self._npix[1]} pixels of "
            f"{dx:.4g} x {dy:.4g} deg around ({float(lon):.4f}, {float(lat):.4f}) deg"
        )

    def _with_wcs(self, wcs: WCS, npix: tuple[int, int]) -> WcsGeom:
        return WcsGeom(wcs, npix, self.axes)

    def odd_npix(self, radius: Any) -> NDArray[np.int64]:
        """Return the odd numbers of pixels, of the largest size here, that cover some radii.

        Parameters
        ----------
        radius
            Half the extents in degrees, a number or an array.

        Returns
        -------
        ndarray
            Pixels along the side of the square that `to_odd_npix` makes; 1 for a radius of 0.
        """
        return next_odd(2 * np.asarray(radius, dtype=float) / self.pixel_size)

    def to_odd_npix(self, max_radius: Any = None) -> WcsGeom:
        """Return a square geometry of an odd number of pixels around the same middle.

        Its reference point is its middle, and its pixels are as large as the largest here: the
        grid on which a kernel is made.

        Parameters
        ----------
        max_radius
            Half the extent: degrees, text or quantity. The next odd number of pixels that covers
            it is taken. By default half the larger width of this geometry.

        Returns
        -------
        WcsGeom
            The square geometry.

        Raises
        ------
        ValueError
            If the radius is not positive.
        """
        if max_radius is None:
            radius = 0.5 * float(np.max(self.width.to_value("deg")))
        else:
            radius = angle_pair(max_radius, "max_radius")[0]
        if radius <= 0:
            raise InputError(f"max_radius is {max_radius!r}; expected a positive angle.")
        return self.centred_square(int(self.odd_npix(radius)))._with_axes(self.axes)

    def centred_square(self, npix: int) -> WcsGeom:
        """Return the square of pixels that `to_odd_npix` makes, by its size and without axes.

        Parameters
        ----------
        npix
            Odd number of pixels along the side.

        Returns
        -------
        WcsGeom
            The square; the last few are kept, with what is known of their pixels.
        """
        squares: dict[int, WcsGeom] = self.derived.setdefault("squares", {})
        found = squares.get(npix)
        if found is None:
            found = WcsGeom.create(
                npix=npix,
                binsz=self.pixel_size,
                skydir=self.center_lonlat,
                proj=self.projection,
                frame=self._frame,
            )
            # other threads may change it meanwhile
            for old in list(squares)[: 1 - _SQUARES]:
                squares.pop(old, None)
            squares[npix] = found
        return found

    def __repr__(self) -> str:
        axes = "".join(f", {axis!r}" for axis in self.axes)
        return f"WcsGeom({self.summary()}{axes})"

    def __str__(self) -> str:
        lon, lat = self.pix_to_lonlat(*self.center_pix)
        lon_ref, lat_ref = self._wcs.wcs.crval
        width = self.width.to_value("deg")
        return (
            "WcsGeom\n\n"
            f"\taxes       : {['lon', 'lat', *self.axes.names]}\n"
            f"\tshape      : {self.data_shape[::-1]}\n"
            f"\tndim       : {len(self.data_shape)}\n"
            f"\tframe      : {self.frame}\n"
            f"\tprojection : {self.projection}\n"
            f"\tcenter     : {float(lon):.1f} deg, {float(lat):.1f} deg\n"
            f"\twidth      : {width[0]:.1f} deg x {width[1]:.1f} deg\n"
            f"\twcs ref    : {lon_ref:.1f} deg, {lat_ref:.1f} deg\n"
        )


def _reference_point(skydir: Any, frame: Any) -> tuple[float, float]:
    if skydir is None:
        return (0.0, 0.0)
    if isinstance(skydir, SkyCoord):
        data = skydir.transform_to(frame).represent_as("unitspherical")
        return (float(data.lon.deg), float(data.lat.deg))
    return angle_pair(skydir, "skydir")
