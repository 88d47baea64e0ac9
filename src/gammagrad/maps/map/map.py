"""Maps: data on a geometry, with a unit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gammagrad._upper import upper
from gammagrad.errors import InputError
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import Geom, WcsGeom
from gammagrad.maps.map.ops import MapOps


def _check_format(name: str) -> None:
    if name != "fits":
        raise InputError(f"format is {name!r}; expected 'fits', the one there is.")


class Map(MapOps):
    """Data on a geometry, with a unit.

    Parameters
    ----------
    geom
        Geometry: a `WcsGeom`, or a `RegionGeom` for what does not depend on the position.
    data
        Array of shape (axes, rows, columns), or one number for all pixels; zeros by default. It is
        copied; ``map.data`` may then be written to.
    unit
        Unit of the data; if these are a quantity, they are converted to it.
    meta
        Anything worth writing along, by name.
    dtype
        Type of the data; by default float64, or that of the array given.
    copy
        False makes the map of the array itself, where its type allows that, instead of a copy.

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
            Compare what has a checksum with it.

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
        _check_format(format)
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
            Replace a file that is there.
        hdu
            Name of the extension; by default the primary one.
        format
            Name of the format, "fits".
        checksum
            Give each extension its checksum, by which damage is noticed.

        Raises
        ------
        FileExistsError
            If the file is there and is not to be replaced.
        """
        _check_format(format)
        upper("write_map")(self, Path(filename), overwrite, hdu, checksum)

    def plot(self, ax: Any = None, **kwargs: Any) -> Any:
        """Draw an image of the map.

        Parameters
        ----------
        ax
            Axes to draw on; made if not given.
        **kwargs
            Options of `gammagrad.plot.plot_map`.

        Returns
        -------
        ax
            The axes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return upper("plot_map")(self, ax, **kwargs)
