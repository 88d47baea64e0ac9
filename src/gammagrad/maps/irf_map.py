"""What maps of instrument responses share: a response at a position on the sky."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.maps.geom import WcsGeom
from gammagrad.maps.map import Map

__all__ = ["IRFMap"]

Floats = NDArray[np.float64]


def _pixel(geom: WcsGeom, position: SkyCoord) -> tuple[list[float], tuple[int, int]]:
    """Return column and row of a position, and the numbers of columns and rows."""
    return [float(c) for c in geom.sky_to_pix(position)], geom.npix


def _nearest(coordinate: float, npix: int) -> int:
    """Return the pixel a coordinate falls in, of two the lower, kept inside the map."""
    return int(np.clip(np.ceil(coordinate - 0.5), 0, npix - 1))


class IRFMap:
    """An instrument response on coarse pixels of the sky, or one for the whole sky.

    Parameters
    ----------
    irf_map
        The response, with a `WcsGeom` or, where it does not depend on position, a `RegionGeom`.
    exposure_map
        Exposure on the same pixels, kept for files; None if there is none.

    Raises
    ------
    ValueError
        If the map does not have the two axes the response needs.
    """

    _axes: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, irf_map: Map, exposure_map: Map | None = None) -> None:
        names = tuple(irf_map.geom.axes.names)
        if names not in self._axes:
            wanted = " or ".join(str(list(pair)) for pair in self._axes)
            raise ValueError(
                f"{type(self).__name__}: expected a map with the axes {wanted}, got {list(names)}."
            )
        self._irf_map = irf_map
        self.exposure_map = exposure_map

    @property
    def is_single(self) -> bool:
        """Whether one response holds for the whole sky."""
        return self._irf_map.geom.shape_image == (1, 1)

    def _unit_data(self, unit: str) -> Floats:
        """Return the data in a unit, without NaN."""
        data = np.asarray(self._irf_map.data, dtype=float)
        return np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0) * self._irf_map.unit.to(unit)

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
            The position itself if the pixel it falls on has a response other than zero, else the
            centre of the nearest pixel that has; None if the response is the same everywhere.

        Raises
        ------
        ValueError
            If the response is zero everywhere.
        """
        geom = self._irf_map.geom
        if self.is_single or not isinstance(geom, WcsGeom):
            return None
        position = geom.center_skydir if position is None else geom.position(position)
        valid = np.any(self._unit_data(str(self._irf_map.unit)) > 0, axis=(0, 1))
        if not valid.any():
            raise ValueError(f"{type(self).__name__}: the response is zero everywhere.")
        if geom.contains(position):
            column, row = (_nearest(c, n) for c, n in zip(*_pixel(geom, position), strict=True))
            if valid[row, column]:
                return position
        separation = geom.separation(position).value
        nearest = np.nanargmin(np.where(valid, separation, np.inf))
        y, x = np.unravel_index(nearest, valid.shape)
        return geom.pix_to_sky(x, y)

    def _at(self, position: Any, unit: str, linear: bool) -> Floats:
        """Return the response at a position in a unit, shape of the two axes in data order."""
        data = self._unit_data(unit)
        position = self.valid_position(position)
        geom = self._irf_map.geom
        if position is None or not isinstance(geom, WcsGeom):
            return data[:, :, 0, 0]
        indices = []
        for coordinate, npix in zip(*_pixel(geom, position), strict=True):
            if linear:
                coordinate = float(np.clip(coordinate, 0, npix - 1))
            else:
                coordinate = _nearest(coordinate, npix)
            low = min(int(coordinate), max(npix - 2, 0))
            indices.append((low, min(low + 1, npix - 1), coordinate - low))
        (x0, x1, fx), (y0, y1, fy) = indices
        lower = (1 - fx) * data[:, :, y0, x0] + fx * data[:, :, y0, x1]
        upper = (1 - fx) * data[:, :, y1, x0] + fx * data[:, :, y1, x1]
        return (1 - fy) * lower + fy * upper

    def __str__(self) -> str:
        return f"{type(self).__name__}\n{self._irf_map}"

    def __repr__(self) -> str:
        geom = self._irf_map.geom
        return f"{type(self).__name__}(axes={geom.axes.names}, shape={geom.data_shape})"
