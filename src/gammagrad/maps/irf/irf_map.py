"""The base of the maps of instrument responses: a response at a position on the sky."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.geom import WcsGeom, kept, unit_vectors
from gammagrad.maps.map import Map
from gammagrad.maps.units import conversion

Floats = NDArray[np.float64]

# Positions compared with all pixels at a time.
_AT_A_TIME = 1024


def _nearest(coordinate: float, npix: int) -> int:
    """Return the pixel a coordinate falls in, of two the lower, kept inside the map."""
    return int(np.clip(np.ceil(coordinate - 0.5), 0, npix - 1))


def cumulative(table: Floats) -> Floats:
    """Return the sums of the first 0, 1, 2, ... columns of a table."""
    return np.pad(np.cumsum(table, axis=1), ((0, 0), (1, 0)))


def _is_response(data: NDArray[Any]) -> NDArray[np.bool_]:
    return (data > 0) & np.isfinite(data)


class IRFMap:
    """An instrument response on coarse pixels of the sky, or one for the whole sky."""

    _axes: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, irf_map: Map, exposure_map: Map | None = None) -> None:
        names = tuple(irf_map.geom.axes.names)
        if names not in self._axes:
            wanted = " or ".join(str(list(pair)) for pair in self._axes)
            raise InputError(
                f"{type(self).__name__}: expected a map with the axes {wanted}, got {list(names)}."
            )
        self._irf_map = irf_map
        self.exposure_map = exposure_map

    @property
    def is_single(self) -> bool:
        """Whether one response holds for the whole sky."""
        return self._irf_map.geom.shape_image == (1, 1)

    def _pixel_data(self, row: int, column: int, unit: str) -> Floats:
        """Return the data of a pixel in a unit, without NaN."""
        data = np.array(self._irf_map.data[:, :, row, column], dtype=float)
        data[~np.isfinite(data)] = 0.0
        return data * conversion(self._irf_map.unit, unit)

    def valid_position(self, position: Any = None) -> SkyCoord | None:
        """Return the position nearest to a given one where there is a response.

        Parameters
        ----------
        position
            A `SkyCoord` or (lon, lat) in degrees in the frame of the map; None for the middle
            of the map.

        Returns
        -------
        SkyCoord or None
            The position itself if the response of its pixel is not zero, else the centre of the
            nearest pixel with a response. None if the response is the same everywhere.

        Raises
        ------
        ValueError
            If the response is zero everywhere.
        """
        geom = self._irf_map.geom
        if self.is_single or not isinstance(geom, WcsGeom):
            return None
        position = geom.center_skydir if position is None else geom.position(position)
        pixel = self._valid_pixel(geom, position)
        there = pixel == tuple(float(c) for c in geom.sky_to_pix(position))
        return position if there else geom.pix_to_sky(*pixel)

    def _valid_pixel(self, geom: WcsGeom, position: Any) -> tuple[float, float]:
        """Return column and row of the position nearest to a given one with a response."""
        (nx, ny), data = geom.npix, self._irf_map.data
        if position is None:
            position = geom.center_skydir
            pixel = kept(geom.derived, "middle", lambda: geom.sky_to_pix(position))
        else:
            pixel = geom.sky_to_pix(position)
        x, y = (float(c) for c in pixel)
        inside = -0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5
        if inside and _is_response(data[:, :, _nearest(y, ny), _nearest(x, nx)]).any():
            return x, y
        row, column = self._nearest_valid(geom, position.reshape((1,)))
        return float(column[0]), float(row[0])

    def _nearest_valid(
        self, geom: WcsGeom, positions: SkyCoord
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return rows and columns of the pixels with a response that are nearest to positions."""
        rows, columns = np.nonzero(_is_response(self._irf_map.data).any(axis=(0, 1)))
        if not rows.size:
            raise InputError(f"{type(self).__name__}: the response is zero everywhere.")
        there = unit_vectors(*geom.pix_to_lonlat(columns, rows))
        own = positions.transform_to(geom.frame_object)
        here = own.represent_as(UnitSphericalRepresentation).to_cartesian().xyz.value.T
        some = np.array_split(np.nan_to_num(here), len(here) // _AT_A_TIME + 1)
        nearest = np.concatenate([np.nanargmax(part @ there.T, axis=1) for part in some])
        return rows[nearest], columns[nearest]

    def pixels_at(self, positions: SkyCoord) -> tuple[Floats, Floats]:
        """Return column and row of several positions, or of the nearest pixels with a response.

        Parameters
        ----------
        positions
            Positions of any shape.

        Returns
        -------
        tuple of ndarray
            Coordinates of the positions; zero if one response holds for the whole sky.

        Raises
        ------
        ValueError
            If the response is zero everywhere.
        """
        geom = self._irf_map.geom
        if self.is_single or not isinstance(geom, WcsGeom):
            return np.zeros(positions.shape), np.zeros(positions.shape)
        data = self._irf_map.data
        valid = np.asarray(_is_response(data).any(axis=(0, 1)))
        (nx, ny), pixel = geom.npix, geom.sky_to_pix(positions)
        x, y = (np.array(c, dtype=float) for c in pixel)
        inside = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
        near = (
            np.clip(np.ceil(np.where(inside, c, 0.0) - 0.5), 0, n - 1).astype(int)
            for c, n in ((y, ny), (x, nx))
        )
        lost: NDArray[np.bool_] = np.logical_not(inside & valid[tuple(near)])
        if lost.any():
            y[lost], x[lost] = self._nearest_valid(geom, positions[lost])
        return x, y

    def _at(self, position: Any, unit: str, linear: bool) -> Floats:
        """Return the response at a position in a unit, shape of the two axes in data order."""
        geom = self._irf_map.geom
        if self.is_single or not isinstance(geom, WcsGeom):
            return self._pixel_data(0, 0, unit)
        return self._at_pixel(geom, self._valid_pixel(geom, position), unit, linear)

    def _at_pixel(
        self, geom: WcsGeom, pixel: tuple[float, float], unit: str, linear: bool
    ) -> Floats:
        """Return the response at a column and row, see `_at`."""
        indices = []
        for coordinate, npix in zip(pixel, geom.npix, strict=True):
            if linear:
                coordinate = float(np.clip(coordinate, 0, npix - 1))
            else:
                coordinate = _nearest(coordinate, npix)
            low = min(int(coordinate), max(npix - 2, 0))
            indices.append((low, min(low + 1, npix - 1), coordinate - low))
        (x0, x1, fx), (y0, y1, fy) = indices
        lower, upper = (
            (1 - fx) * self._pixel_data(y, x0, unit) + fx * self._pixel_data(y, x1, unit)
            for y in (y0, y1)
        )
        return (1 - fy) * lower + fy * upper

    def __str__(self) -> str:
        return f"{type(self).__name__}\n{self._irf_map}"

    def __repr__(self) -> str:
        geom = self._irf_map.geom
        return f"{type(self).__name__}(axes={geom.axes.names}, shape={geom.data_shape})"
