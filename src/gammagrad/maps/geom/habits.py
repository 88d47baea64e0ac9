"""What scripts for gammapy ask of a geometry: coordinates with their axes, and masks of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad._upper import upper
from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.maps.axes import MapAxes
from gammagrad.maps.geom import coordinates
from gammagrad.maps.geom.base import Geom

Floats = NDArray[np.float64]


class Coordinates(Sequence[Floats]):
    """Longitude and latitude of the pixels in degrees, with the axes by name.

    ``lon, lat = coords`` are plain numbers. ``coords["lon"]``, ``coords["lat"]``,
    ``coords["skycoord"]`` and ``coords["energy"]`` have units; so have ``coords.lon``,
    ``coords.lat`` and ``coords.skycoord``. Positions have the shape (ny, nx), and the centres of an
    axis a shape that broadcasts with it, such as (n, 1, 1).

    Parameters
    ----------
    lonlat
        Longitude and latitude in degrees.
    frame
        Their frame.
    axes
        The axes.
    """

    def __init__(self, lonlat: tuple[Floats, Floats], frame: Any, axes: MapAxes) -> None:
        self._lonlat, self.frame, self.axes = lonlat, frame, axes

    def __len__(self) -> int:
        return 2

    @property
    def lon(self) -> u.Quantity:
        """Longitude of the pixel centres, a quantity."""
        return u.Quantity(self._lonlat[0], "deg")

    @property
    def lat(self) -> u.Quantity:
        """Latitude of the pixel centres, a quantity."""
        return u.Quantity(self._lonlat[1], "deg")

    @property
    def skycoord(self) -> SkyCoord:
        """Positions of the pixel centres."""
        return coordinates.skycoord(self.frame, *self._lonlat)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self._lonlat[key]
        if key in ("lon", "lat", "skycoord"):
            return getattr(self, key)
        axis = self.axes[key]
        return axis.center.reshape((-1,) + (1,) * (self.axes.index(key) + 2))


def split(geom: Any, coords: Any) -> tuple[Any, list[Any]]:
    """Return the position in coordinates, and the values on the axes of a geometry."""
    names = geom.axes.names
    if isinstance(coords, Coordinates):
        coords = {"skycoord": coords.skycoord, **{n: coords[n] for n in coords.axes.names}}
    if isinstance(coords, Mapping):
        missing = [name for name in names if name not in coords]
        sky = coords.get("skycoord")
        if sky is None and {"lon", "lat"} <= coords.keys():
            sky = (coords["lon"], coords["lat"])
        if sky is None or missing:
            lacks = missing or ["skycoord (or lon and lat)"]
            raise InputError(f"coords: no {lacks[0]}; there are: {', '.join(coords) or 'none'}.")
        return sky, [coords[name] for name in names]
    if isinstance(coords, SkyCoord):
        coords = (coords,)
    if isinstance(coords, tuple | list):
        sky, rest = coords[:2], coords[2:]
        if coords and isinstance(coords[0], SkyCoord):
            sky, rest = coords[0], coords[1:]
        if len(rest) == len(names) and (isinstance(sky, SkyCoord) or len(sky) == 2):
            return sky if isinstance(sky, SkyCoord) else tuple(sky), list(rest)
    wanted = ", ".join(["lon", "lat", *names])
    raise InputTypeError(
        f'coords: expected ({wanted}), or a dict with "skycoord" and the axes '
        f"{', '.join(names) or '(none)'}; got {short(coords)}."
    )


class GeomHabits(Geom):
    """Short methods of a geometry with sky pixels that follow from its coordinates."""

    def coord_to_pix(self, coords: Any) -> tuple[Floats, ...]:
        """Return the pixel coordinates of positions and of values on the axes.

        Parameters
        ----------
        coords
            A tuple (lon, lat, values on each axis), of which lon and lat are quantities or degrees
            in the frame of the map; a tuple (SkyCoord, values on each axis); or a dict such as
            ``{"skycoord": position, "energy": "1 TeV"}``.

        Returns
        -------
        tuple of ndarray
            Column, row, and where the values lie on each axis: 0 in the centre of the first bin.
            One position gives arrays of shape (1,), as in gammapy.
        """
        geom: Any = self
        sky, values = split(self, coords)
        pairs = zip(self.axes, values, strict=True)
        found = (*geom.sky_to_pix(sky), *(axis.coord_to_pix(value) for axis, value in pairs))
        return tuple(np.atleast_1d(pixel) for pixel in found)

    def coord_to_idx(self, coords: Any) -> tuple[NDArray[np.int64], ...]:
        """Return the bins that positions and values on the axes fall in.

        Parameters
        ----------
        coords
            As in `coord_to_pix`.

        Returns
        -------
        tuple of ndarray
            Column, row, and the bin of each axis; -1 outside of the map.
        """
        geom: Any = self
        sky, values = split(self, coords)
        found = []
        for pixel, npix in zip(geom.sky_to_pix(sky), geom.npix, strict=True):
            index = np.floor(np.where(np.isfinite(pixel), pixel, -1.0) + 0.5).astype(np.int64)
            found.append(np.where((index >= 0) & (index < npix), index, -1))
        pairs = zip(self.axes, values, strict=True)
        found += [axis.coord_to_idx(value) for axis, value in pairs]
        return tuple(np.atleast_1d(index) for index in found)

    def contains(self, coords: Any) -> NDArray[np.bool_]:
        """Return whether positions fall on a pixel of the map.

        Parameters
        ----------
        coords
            Positions, as in `sky_to_pix`; or positions with values on the axes, as in
            `coord_to_pix`, which must fall in a bin as well.

        Returns
        -------
        ndarray of bool
            One for each position.
        """
        geom: Any = self
        pair = isinstance(coords, tuple | list) and len(coords) == 2
        if isinstance(coords, SkyCoord) or (pair and not isinstance(coords[0], SkyCoord)):
            x, y = geom.sky_to_pix(tuple(coords) if pair else coords)
            nx, ny = geom.npix
            return np.asarray((x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5))
        inside = [index >= 0 for index in self.coord_to_idx(coords)]
        return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*inside)))

    def bin_volume(self) -> u.Quantity:
        """Return the solid angle of every pixel times the widths of the bins of the axes.

        Returns
        -------
        Quantity
            Shape of the data; NaN where a corner of the pixel is not on the sky.
        """
        geom: Any = self
        volume = geom.solid_angle()
        for number, axis in enumerate(self.axes):
            width = axis.bin_width.reshape((-1,) + (1,) * (number + 2))
            volume = volume * width
        return u.Quantity(np.broadcast_to(volume, self.data_shape, subok=True))

    def to_binsz(self, binsz: Any) -> Any:
        """Return a geometry of the same extent around the same middle with other pixels.

        Parameters
        ----------
        binsz
            Pixel size, one or (lon, lat): degrees, texts or quantities.

        Returns
        -------
        WcsGeom
            The geometry, whose reference point is its middle.
        """
        geom: Any = self
        middle, frame = geom.center_lonlat, geom.frame_object
        return geom.create(
            binsz=binsz,
            width=tuple(geom.width.to_value("deg")),
            skydir=middle,
            proj=geom.projection,
            frame=frame,
            axes=self.axes,
        )

    def energy_mask(
        self, energy_min: Any = None, energy_max: Any = None, round_to_edge: bool = False
    ) -> Any:
        """Return a mask of the energy bins that lie between two energies as a whole.

        Parameters
        ----------
        energy_min, energy_max
            Bounds: text, quantity, or TeV; None is the end of the axis.
        round_to_edge
            Move the bounds to the nearest edges of the axis before, in proportion.

        Returns
        -------
        Map
            The mask, the same at all positions.

        Raises
        ------
        ValueError
            If there is no axis of energy, or a bound cannot be read.
        """
        return upper("energy_mask")(self, energy_min, energy_max, round_to_edge)

    def region_mask(self, regions: Any, inside: bool = True) -> Any:
        """Return a mask of the pixels whose centre lies in regions.

        Parameters
        ----------
        regions
            One or several: regions of the package regions, texts in DS9's format such as
            ``"galactic;circle(0, 0, 0.5)"``, names of region files, and circles as tuples
            (longitude, latitude, radius) or (position, radius). Tuples and texts of one circle in
            degrees do not need the package regions. A point takes the pixels whose centre is less
            than a pixel away.
        inside
            False marks the pixels outside of all regions instead.

        Returns
        -------
        Map
            The mask, the same in all bins of the axes.

        Raises
        ------
        ImportError
            If the package regions is needed and not installed.
        ValueError
            If a region cannot be read.
        TypeError
            If something is not a region.
        """
        return upper("region_mask")(self, regions, inside)
