"""Sky coordinates of a pixel grid, and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom.base import Geom
from gammagrad.maps.geom.sphere import angular_distance, quadrilateral_areas, unit_vectors
from gammagrad.maps.units import to_value

Floats = NDArray[np.float64]

# Pixel centres nearer than this, in pixels, are the same.
_TOLERANCE = 1e-3


def angle_pair(value: Any, name: str) -> tuple[float, float]:
    """Return one angle or a pair of them as two numbers in degrees."""
    angles = np.atleast_1d(to_value(value, "deg", name)).astype(float)
    if angles.size not in (1, 2) or not np.all(np.isfinite(angles)):
        raise InputError(f"{name}: expected one angle or two (lon, lat), got {short(value)}.")
    return float(angles.flat[0]), float(angles.flat[-1])


class SkyGrid(Geom):
    """Pixels on the sky with their coordinates; the base of `WcsGeom`."""

    def __init__(self, wcs: Any, npix: tuple[int, int], axes: Iterable[MapAxis] = ()) -> None:
        super().__init__(axes)
        self._wcs = wcs
        self._npix = npix
        # shared by all geometries with these pixels, whatever their axes
        self._derived: dict[Any, Any] = {}

    @property
    @abstractmethod
    def frame_object(self) -> Any:
        """Frame of the coordinates, an astropy frame without data."""

    @property
    @abstractmethod
    def pixel_scales(self) -> u.Quantity:
        """Pixel size at the reference point along longitude and latitude, quantity (2,)."""

    @cached_property
    def pixel_size(self) -> float:
        """The larger of the pixel sizes along longitude and latitude, degrees."""
        return float(np.max(self.pixel_scales.to_value("deg")))

    @property
    def derived(self) -> dict[Any, Any]:
        """What others worked out from these pixels alone, by keys of theirs, and want kept."""
        return self._derived

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
    def frame(self) -> str:
        """Name of the coordinate frame: "icrs", "galactic", "fk5", ..."""
        return str(self.frame_object.name)

    @property
    def projection(self) -> str:
        """Code of the projection, such as "CAR" or "TAN"."""
        return str(self._wcs.wcs.ctype[0][5:8])

    @property
    def center_pix(self) -> tuple[float, float]:
        """Pixel coordinates (x, y) of the middle of the map."""
        return ((self._npix[0] - 1) / 2, (self._npix[1] - 1) / 2)

    @cached_property
    def center_skydir(self) -> SkyCoord:
        """Position of the middle of the map."""
        return self._skycoord(*self.center_lonlat)

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
        x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        lon, lat = self._wcs.all_pix2world(x, y, 0)
        return np.asarray(lon), np.asarray(lat)

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
        lon, lat = self.pix_to_lonlat(x, y)
        return self._skycoord(lon, lat)

    def _skycoord(self, lon: Any, lat: Any) -> SkyCoord:
        data = UnitSphericalRepresentation(lon * u.deg, lat * u.deg)
        return SkyCoord(self.frame_object.realize_frame(data))

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
            If it is neither.
        """
        if isinstance(value, SkyCoord):
            return value
        if isinstance(value, tuple | list) and len(value) == 2:
            lon, lat = (np.asarray(to_value(v, "deg", "position"), dtype=float) for v in value)
            return self._skycoord(lon, lat)
        raise InputTypeError(f"position: expected a SkyCoord or (lon, lat), got {short(value)}.")

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
        return self.lonlat_to_pix(*self._in_frame(skycoord))

    def lonlat_to_pix(self, lon: Any, lat: Any) -> tuple[Floats, Floats]:
        """Return the pixel coordinates (x, y) of degrees in the frame of the map."""
        x, y = self._wcs.all_world2pix(lon, lat, 0)
        return np.asarray(x), np.asarray(y)

    def _in_frame(self, skycoord: Any) -> tuple[Floats, Floats]:
        """Return longitude and latitude of positions in the frame of the map, degrees."""
        position = self.position(skycoord)
        if not position.is_equivalent_frame(self.frame_object):
            position = position.transform_to(self.frame_object)
        data = position.represent_as(UnitSphericalRepresentation)
        return np.asarray(data.lon.deg, dtype=float), np.asarray(data.lat.deg, dtype=float)

    def contains(self, skycoord: Any) -> NDArray[np.bool_]:
        """Return whether positions fall on a pixel of the map.

        Parameters
        ----------
        skycoord
            Positions, as in `sky_to_pix`.

        Returns
        -------
        ndarray of bool
            One for each position.
        """
        x, y = self.sky_to_pix(skycoord)
        nx, ny = self._npix
        return np.asarray((x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5))

    @cached_property
    def _lonlat(self) -> tuple[Floats, Floats]:
        ny, nx = self.shape_image
        lon, lat = self.pix_to_lonlat(np.arange(nx)[None, :], np.arange(ny)[:, None])
        lon.flags.writeable = False
        lat.flags.writeable = False
        return lon, lat

    def get_coord(self, frame: Any = None) -> tuple[Floats, Floats]:
        """Return longitude and latitude of the pixel centres.

        Parameters
        ----------
        frame
            Name of the frame; by default that of the map.

        Returns
        -------
        (ndarray, ndarray)
            Degrees, shape (ny, nx) each, NaN where there is no sky.
        """
        if frame is None or frame == self.frame:
            return self._lonlat
        data = self.get_skycoord().transform_to(frame).represent_as(UnitSphericalRepresentation)
        return np.asarray(data.lon.deg), np.asarray(data.lat.deg)

    def get_skycoord(self) -> SkyCoord:
        """Return the positions of the pixel centres, shape (ny, nx)."""
        return self._skycoord(*self._lonlat)

    def separation(self, skycoord: Any) -> u.Quantity:
        """Return the angular distance of the pixel centres from a position.

        Parameters
        ----------
        skycoord
            One position, as in `sky_to_pix`.

        Returns
        -------
        Quantity
            Degrees, shape (ny, nx).
        """
        lon, lat = (float(c) for c in self._in_frame(skycoord))
        return u.Quantity(angular_distance(*self._lonlat, lon, lat), "deg", copy=False)

    @cached_property
    def center_distance(self) -> Floats:
        """Angular distance of the pixel centres from the middle of the map, degrees, (ny, nx)."""
        ny, nx = self.shape_image
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

    def _sample(self, shift: tuple[int, int] = (0, 0), like: SkyGrid | None = None) -> Floats:
        """Return unit vectors (ICRS) at some pixels of a grid that is moved by whole pixels."""
        nx, ny = (like or self).npix
        x = np.unique(np.round(np.linspace(0, nx - 1, 5))) + shift[0]
        y = np.unique(np.round(np.linspace(0, ny - 1, 5))) + shift[1]
        data = self.pix_to_sky(x[None, :], y[:, None]).icrs
        data = data.represent_as(UnitSphericalRepresentation)
        return unit_vectors(np.asarray(data.lon.deg), np.asarray(data.lat.deg))

    @cached_property
    def _own_sample(self) -> Floats:
        return self._sample()

    def _coincides(self, mine: Floats, theirs: Floats) -> bool:
        blank = np.isnan(mine)
        if not np.array_equal(blank, np.isnan(theirs)):
            return False
        scale = float(np.min(self.pixel_scales.to_value("rad")))
        return bool(np.all(np.abs(mine - theirs)[~blank] < _TOLERANCE * scale))

    def is_aligned(self, other: SkyGrid) -> bool:
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

    def offset_of(self, other: SkyGrid) -> tuple[int, int] | None:
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
        return shift if self._coincides(self._sample(shift, other), other._own_sample) else None
