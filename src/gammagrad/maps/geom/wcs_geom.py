"""Sky geometries: a world coordinate system, a number of pixels, and axes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales, wcs_to_celestial_frame
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes import MapAxis, check_factor
from gammagrad.maps.geom import coordinates, cutting
from gammagrad.maps.geom.alignment import coincide, sky_sample
from gammagrad.maps.geom.derivative import place_on_map, shape_at
from gammagrad.maps.geom.habits import Coordinates, GeomHabits
from gammagrad.maps.geom.kept import kept
from gammagrad.maps.geom.sphere import angular_distance, quadrilateral_areas, unit_vectors

Floats = NDArray[np.float64]

# squares for kernels that a geometry keeps
_SQUARES = 8


class WcsGeom(GeomHabits):
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
        super().__init__(axes)
        if wcs.naxis != 2 or not wcs.has_celestial or wcs.wcs.lng != 0:
            raise InputError(
                "wcs: expected two celestial axes, longitude then latitude, "
                f"got {list(wcs.wcs.ctype)}."
            )
        nx, ny = (int(n) for n in npix)
        if nx < 1 or ny < 1:
            raise InputError(f"npix is ({nx}, {ny}); expected at least one pixel each way.")
        self._npix = (nx, ny)
        self._wcs = wcs.deepcopy()
        self._wcs.array_shape = (ny, nx)
        try:
            self._frame = wcs_to_celestial_frame(self._wcs)
        except ValueError as error:
            raise InputError(f"wcs: unknown celestial frame, {list(wcs.wcs.ctype)}.") from error
        # results that follow from the pixels alone, by name; all geometries with these pixels
        # share them, whatever their axes
        self.derived: dict[Any, Any] = {}

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
        wcs, npix = coordinates.make_wcs(npix, binsz, width, skydir, proj, frame)
        return cls(wcs, npix, axes or ())

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
        wcs = coordinates.read_wcs(header)
        return cls(wcs, (header["NAXIS1"], header["NAXIS2"]) if npix is None else npix, axes)

    def to_header(self) -> Any:
        """Return the celestial keywords of this geometry.

        Returns
        -------
        astropy.io.fits.Header
            A header of two axes, with every digit of the reference point.
        """
        return coordinates.wcs_header(self._wcs)

    @property
    def wcs(self) -> Any:
        """The `astropy.wcs.WCS`."""
        return self._wcs

    @property
    def npix(self) -> tuple[int, int]:
        """Number of pixels (nx, ny)."""
        return self._npix

    @property
    def shape_image(self) -> tuple[int, int]:
        """Rows and columns (ny, nx)."""
        return (self._npix[1], self._npix[0])

    @property
    def is_region(self) -> bool:
        """False: there are sky pixels."""
        return False

    @property
    def frame_object(self) -> Any:
        """Frame of the coordinates, an astropy frame without data."""
        return self._frame

    @property
    def frame(self) -> str:
        """Name of the coordinate frame: "icrs", "galactic", "fk5", ..."""
        return str(self._frame.name)

    @property
    def projection(self) -> str:
        """Code of the projection, such as "CAR" or "TAN"."""
        return str(self._wcs.wcs.ctype[0][5:8])

    @cached_property
    def pixel_scales(self) -> u.Quantity:
        """Pixel size at the reference point along longitude and latitude, quantity (2,)."""
        return u.Quantity(proj_plane_pixel_scales(self._wcs), "deg")

    @cached_property
    def pixel_size(self) -> float:
        """The larger of the pixel sizes along longitude and latitude, degrees."""
        return float(np.max(self.pixel_scales.to_value("deg")))

    @property
    def width(self) -> u.Quantity:
        """Columns and rows times the size of a pixel in the middle of the map, quantity (2,)."""
        return u.Quantity(np.multiply(self._middle_sides, self._npix), "deg")

    @cached_property
    def _middle_sides(self) -> tuple[float, float]:
        return shape_at(self._wcs, self.center_pix[::-1]).sides

    @property
    def center_pix(self) -> tuple[float, float]:
        """Pixel coordinates (x, y) of the middle of the map."""
        return ((self._npix[0] - 1) / 2, (self._npix[1] - 1) / 2)

    @cached_property
    def center_skydir(self) -> SkyCoord:
        """Position of the middle of the map."""
        return coordinates.skycoord(self._frame, *self.center_lonlat)

    @cached_property
    def center_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the middle of the map, degrees in its own frame."""
        lon, lat = self.pix_to_lonlat(*self.center_pix)
        return float(lon), float(lat)

    def pix_to_lonlat(self, x: Any, y: Any) -> tuple[Floats, Floats]:
        """Return longitude and latitude of pixel coordinates, in the frame of the map.

        Parameters
        ----------
        x, y
            Column and row, 0 at the centre of the first pixel; broadcast together.

        Returns
        -------
        (ndarray, ndarray)
            Degrees, NaN where there is no sky.
        """
        return coordinates.lonlat(self._wcs, x, y)

    def pix_to_sky(self, x: Any, y: Any) -> SkyCoord:
        """Return the positions of pixel coordinates.

        Parameters
        ----------
        x, y
            Column and row, 0 at the centre of the first pixel; broadcast together.

        Returns
        -------
        SkyCoord
            Positions in the frame of the map, NaN where there is no sky.
        """
        return coordinates.skycoord(self._frame, *coordinates.lonlat(self._wcs, x, y))

    def position(self, value: Any) -> SkyCoord:
        """Return a position as a `SkyCoord`.

        Parameters
        ----------
        value
            A `SkyCoord`, or longitude and latitude in the frame of the map: numbers in degrees,
            texts or quantities.

        Returns
        -------
        SkyCoord
            The position.

        Raises
        ------
        TypeError
            If the value is neither.
        """
        return coordinates.position_in(self._frame, value)

    def sky_to_pix(self, skycoord: Any) -> tuple[Floats, Floats]:
        """Return the pixel coordinates of positions.

        Parameters
        ----------
        skycoord
            Positions in any frame, or (lon, lat) in degrees in the frame of the map.

        Returns
        -------
        (ndarray, ndarray)
            Column and row, NaN where the projection does not reach.
        """
        return self.lonlat_to_pix(*coordinates.degrees(self.position(skycoord), self._frame))

    def lonlat_to_pix(self, lon: Any, lat: Any) -> tuple[Floats, Floats]:
        """Return the pixel coordinates (x, y) of degrees in the frame of the map."""
        x, y = self._wcs.all_world2pix(lon, lat, 0)
        return np.asarray(x), np.asarray(y)

    @cached_property
    def _lonlat(self) -> tuple[Floats, Floats]:
        nx, ny = self._npix
        found = self.pix_to_lonlat(np.arange(nx)[None, :], np.arange(ny)[:, None])
        for values in found:
            values.flags.writeable = False
        return found

    def get_coord(self, frame: Any = None, sparse: bool = True) -> Coordinates:
        """Return longitude and latitude of the pixel centres, with the centres of the axes.

        Parameters
        ----------
        frame
            Name of the frame; by default the frame of the map.
        sparse
            Has no effect: positions and axes have shapes that broadcast.

        Returns
        -------
        Coordinates
            ``lon, lat = geom.get_coord()`` are degrees, shape (ny, nx) each, NaN where there is no
            sky. Its ``skycoord``, ``lon``, ``lat`` and ``["energy"]`` have units.
        """
        if frame is None or frame == self.frame:
            return Coordinates(self._lonlat, self._frame, self.axes)
        there = self.get_skycoord().transform_to(frame)
        return Coordinates(coordinates.degrees(there), there.frame, self.axes)

    def get_skycoord(self) -> SkyCoord:
        """Return the positions of the pixel centres, shape (ny, nx)."""
        return coordinates.skycoord(self._frame, *self._lonlat)

    def separation(self, skycoord: Any) -> Angle:
        """Return the angular distance of the pixel centres from a position.

        Parameters
        ----------
        skycoord
            One position, as in `sky_to_pix`.

        Returns
        -------
        Angle
            Degrees, shape (ny, nx).
        """
        lon, lat = (float(c) for c in coordinates.degrees(self.position(skycoord), self._frame))
        return Angle(angular_distance(*self._lonlat, lon, lat), "deg", copy=False)

    @cached_property
    def center_distance(self) -> Floats:
        """Angular distance of the pixel centres from the middle of the map, degrees, (ny, nx)."""
        nx, ny = self._npix
        distance = self.distance_from_center(np.arange(nx)[None, :], np.arange(ny)[:, None])
        distance.flags.writeable = False
        return distance

    def distance_from_center(self, x: Any, y: Any) -> Floats:
        """Return the angular distance of pixel coordinates from the middle of the map.

        Parameters
        ----------
        x, y
            Column and row, 0 at the centre of the first pixel; broadcast together.

        Returns
        -------
        ndarray
            Degrees, NaN where there is no sky.
        """
        return angular_distance(*self.pix_to_lonlat(x, y), *self.center_lonlat)

    @cached_property
    def _solid_angle(self) -> u.Quantity:
        nx, ny = self._npix
        x, y = np.arange(nx + 1) - 0.5, np.arange(ny + 1) - 0.5
        corners = unit_vectors(*self.pix_to_lonlat(x[None, :], y[:, None]))
        area = quadrilateral_areas(corners)
        area[np.isnan(self._lonlat[0])] = np.nan
        area.flags.writeable = False
        return u.Quantity(area, "sr", copy=False)

    def solid_angle(self) -> u.Quantity:
        """Return the solid angle of every pixel.

        Returns
        -------
        Quantity
            Steradians, shape (ny, nx); NaN where a corner or the centre is not on the sky.
        """
        return self._solid_angle

    @cached_property
    def _sample(self) -> Floats:
        return sky_sample(self._wcs, self._frame, self._npix)

    def difference(self, other: object) -> str:
        """Say in words how another geometry differs from this one.

        Parameters
        ----------
        other
            Another geometry.

        Returns
        -------
        str
            A phrase. It is empty if pixel centres agree to a thousandth of a pixel and axes to
            1e-6.
        """
        phrase = super().difference(other)
        if phrase or not isinstance(other, WcsGeom) or self._wcs is other._wcs:
            return phrase
        if coincide(self._sample, other._sample, self._wcs):
            return ""
        return f"the pixels lie elsewhere on the sky: {other.summary()} instead of {self.summary()}"

    def is_aligned(self, other: WcsGeom) -> bool:
        """Return whether two pixel grids are the same up to a shift by whole pixels.

        Parameters
        ----------
        other
            Another geometry, of any size.

        Returns
        -------
        bool
            True if they are aligned; axes are not compared.
        """
        return self.offset_of(other) is not None

    def offset_of(self, other: WcsGeom) -> tuple[int, int] | None:
        """Return where the first pixel of an aligned geometry lies in this one.

        Parameters
        ----------
        other
            Another geometry.

        Returns
        -------
        (int, int) or None
            Column and row of its first pixel in this geometry; None if they are not aligned.
        """
        x0, y0 = (np.round(c) for c in other.center_pix)
        x, y = self.sky_to_pix(other.pix_to_sky(x0, y0))
        if not (np.isfinite(x) and np.isfinite(y)):
            return None
        shift = (int(np.round(x - x0)), int(np.round(y - y0)))
        mine = sky_sample(self._wcs, self._frame, other.npix, shift)
        return shift if coincide(mine, other._sample, self._wcs) else None

    def summary(self) -> str:
        """Return frame, projection, centre and size in one line."""
        lon, lat = self.center_lonlat
        dx, dy = self._middle_sides
        return (
            f"{self.frame} {self.projection}, {self._npix[0]} x {self._npix[1]} pixels of "
            f"{dx:.4g} x {dy:.4g} deg around ({lon:.4f}, {lat:.4f}) deg"
        )

    def _shifted(self, x: float, y: float, npix: tuple[int, int]) -> WcsGeom:
        return WcsGeom(cutting.shifted(self._wcs, x, y), npix, self.axes)

    def cutout_slices(
        self, position: Any, width: Any, mode: str = "trim", odd_npix: bool = False
    ) -> tuple[WcsGeom, tuple[slice, slice]]:
        """Return a part of the geometry and where it lies.

        Parameters
        ----------
        position
            Middle of the part: a `SkyCoord` or (lon, lat) in degrees in the frame of the map.
        width
            Extent on the sky at the position, one or (lon, lat): degrees, texts or quantities; at
            least a pixel.
        mode
            "trim" cuts off the area outside the map, "strict" raises an error.
        odd_npix
            Round the number of pixels up to an odd number.

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
        extent, npix = coordinates.angle_pair(width, "width"), self._npix
        pixel = [float(c) for c in self.sky_to_pix(position)]
        sizes = cutting.sizes_in_pixels(self._wcs, place_on_map(self._wcs, npix, *pixel), extent)
        sizes = cutting.next_odd(sizes) if odd_npix else np.round(sizes)
        low = np.ceil(pixel - sizes / 2)
        high = low + sizes
        if not np.all((high > 0) & (low < npix)):
            raise InputError(f"cutout: {position} is outside the map, {self.summary()}.")
        if mode == "strict" and np.any((low < 0) | (high > npix)):
            raise InputError(
                f"cutout: {width} around {position} reaches beyond the map; use mode='trim'."
            )
        ends = zip(np.maximum(low, 0), np.minimum(high, npix), strict=True)
        x, y = (slice(int(start), int(stop)) for start, stop in ends)
        return self._shifted(x.start, y.start, (x.stop - x.start, y.stop - y.start)), (y, x)

    def cutout(
        self, position: Any, width: Any, mode: str = "trim", odd_npix: bool = False
    ) -> WcsGeom:
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

    def window(self, row: int, column: int, shape: tuple[int, int]) -> WcsGeom:
        """Return the geometry of a rectangle of pixels, which may reach beyond this one.

        Parameters
        ----------
        row, column
            The first pixel of the rectangle; may be negative.
        shape
            Rows and columns.

        Returns
        -------
        WcsGeom
            The rectangle.
        """
        return self._shifted(column, row, (shape[1], shape[0]))

    def moved(self, place: tuple[float, float], shape: tuple[int, int]) -> WcsGeom:
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
        (row, column), (ny, nx) = place, shape
        return self._shifted(column - (nx - 1) / 2, row - (ny - 1) / 2, (nx, ny)).to_image()

    def pad(self, pad_width: Any) -> WcsGeom:
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
        rows, cols = cutting.sides(pad_width, "pad_width")
        nx, ny = self._npix
        return self._shifted(-cols[0], -rows[0], (nx + sum(cols), ny + sum(rows)))

    def crop(self, crop_width: Any) -> WcsGeom:
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
        rows, cols = cutting.row_col_pair(crop_width, "crop_width")
        nx, ny = self._npix
        if 2 * cols >= nx or 2 * rows >= ny:
            raise InputError(
                f"crop_width is {crop_width!r}; nothing is left of {nx} x {ny} pixels."
            )
        return self._shifted(cols, rows, (nx - 2 * cols, ny - 2 * rows))

    def downsample(self, factor: int) -> WcsGeom:
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
        return WcsGeom(cutting.rescaled(self._wcs, factor), (nx // factor, ny // factor), self.axes)

    def upsample(self, factor: int) -> WcsGeom:
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
        return WcsGeom(
            cutting.rescaled(self._wcs, 1 / factor), (nx * factor, ny * factor), self.axes
        )

    def odd_npix(self, radius: Any) -> NDArray[np.int64]:
        """Return the odd numbers of pixels of the largest size of this geometry that cover radii.

        Parameters
        ----------
        radius
            Half the extents in degrees, a number or an array.

        Returns
        -------
        ndarray
            Pixels along the side of the square that `to_odd_npix` makes; 1 for a radius of 0.
        """
        return cutting.next_odd(2 * np.asarray(radius, dtype=float) / self.pixel_size)

    def to_odd_npix(self, max_radius: Any = None) -> WcsGeom:
        """Return a square geometry of an odd number of pixels around the same middle.

        The reference point is the middle of the square. Its pixels have the largest size of this
        geometry. Kernels are made on such a grid.

        Parameters
        ----------
        max_radius
            Half the extent: degrees, text or quantity; by default half the larger width of this
            geometry. It is rounded up to an odd number of pixels.

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
            radius = coordinates.angle_pair(max_radius, "max_radius")[0]
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
            The square; the geometry keeps the last few squares.
        """

        def make() -> WcsGeom:
            centre, frame = self.center_lonlat, self._frame
            return WcsGeom.create(
                npix=npix, binsz=self.pixel_size, skydir=centre, proj=self.projection, frame=frame
            )

        return kept(self.derived.setdefault("squares", {}), npix, make, _SQUARES)

    def __repr__(self) -> str:
        axes = "".join(f", {axis!r}" for axis in self.axes)
        return f"WcsGeom({self.summary()}{axes})"

    def __str__(self) -> str:
        (lon, lat), (lon_ref, lat_ref) = self.center_lonlat, self._wcs.wcs.crval
        width = self.width.to_value("deg")
        return (
            "WcsGeom\n\n"
            f"\taxes       : {['lon', 'lat', *self.axes.names]}\n"
            f"\tshape      : {self.data_shape[::-1]}\n"
            f"\tndim       : {len(self.data_shape)}\n"
            f"\tframe      : {self.frame}\n"
            f"\tprojection : {self.projection}\n"
            f"\tcenter     : {lon:.1f} deg, {lat:.1f} deg\n"
            f"\twidth      : {width[0]:.1f} deg x {width[1]:.1f} deg\n"
            f"\twcs ref    : {lon_ref:.1f} deg, {lat_ref:.1f} deg\n"
        )
