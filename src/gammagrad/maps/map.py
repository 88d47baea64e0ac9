"""Maps: data on a geometry, with a unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import Geom, WcsGeom
from gammagrad.maps.map_ops import MapOps

__all__ = ["Map", "register_format", "register_plot"]


class _Format(NamedTuple):
    read: Callable[[Path, str | int | None], Map]
    write: Callable[[Map, Path, bool, str | None], None]


# Files and figures belong to other modules, which enter here what they can do.
_formats: dict[str, _Format] = {}
_plots: list[Callable[..., Any]] = []


def register_format(
    name: str,
    reader: Callable[[Path, str | int | None], Map],
    writer: Callable[[Map, Path, bool, str | None], None],
) -> None:
    """Make a file format known to `Map.read` and `Map.write`.

    Parameters
    ----------
    name
        Name of the format.
    reader
        Called with the path and the HDU (or None); returns the map.
    writer
        Called with the map, the path, whether to overwrite, and the name of the HDU (or None).
    """
    _formats[name] = _Format(reader, writer)


def register_plot(function: Callable[..., Any]) -> None:
    """Set the function behind `Map.plot`.

    Parameters
    ----------
    function
        Called with the map, the axes (or None) and options; returns the axes.
    """
    _plots[:] = [function]


def _format(name: str) -> _Format:
    if name not in _formats:
        known = ", ".join(_formats) or "none (import gammagrad.io first)"
        raise ValueError(f"format is {name!r}; the formats known are: {known}.")
    return _formats[name]


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
    def read(cls, filename: Any, hdu: str | int | None = None, format: str = "fits") -> Map:
        """Read a map from a file.

        Parameters
        ----------
        filename
            Path of the file.
        hdu
            Name or number of the extension; by default the first that has data.
        format
            Name of the format.

        Returns
        -------
        Map
            The map. Floating-point data come as float64.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it cannot be read, or has no such extension.
        """
        return _format(format).read(Path(filename), hdu)

    def write(
        self, filename: Any, overwrite: bool = False, hdu: str | None = None, format: str = "fits"
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
            Name of the format.

        Raises
        ------
        FileExistsError
            If the file is there and is not to be replaced.
        """
        _format(format).write(self, Path(filename), overwrite, hdu)

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
        ValueError
            If the module that draws is not loaded.
        """
        if not _plots:
            raise ValueError("nothing is there to draw with; import gammagrad.plot first.")
        return _plots[0](self, ax, **kwargs)
