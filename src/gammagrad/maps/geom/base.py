"""The axes of a geometry, and the geometry without sky pixels."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cached_property
from typing import Self

from gammagrad.maps.axes import MapAxes, MapAxis


class Geom:
    """The axes of a map and the shape of its data; the base of `WcsGeom` and `RegionGeom`."""

    def __init__(self, axes: Iterable[MapAxis] = ()) -> None:
        self._axes = axes if isinstance(axes, MapAxes) else MapAxes(axes or ())

    @property
    def shape_image(self) -> tuple[int, int]:
        """Rows and columns."""
        return (1, 1)

    @property
    def is_region(self) -> bool:
        """Whether there are no sky pixels."""
        return True

    @property
    def axes(self) -> MapAxes:
        """Axes that are not on the sky, the fastest first."""
        return self._axes

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the data: the axes (the last first), rows, columns."""
        return self._axes.shape + self.shape_image

    @property
    def is_image(self) -> bool:
        """Whether there are no axes besides the sky."""
        return len(self._axes) == 0

    def _with_axes(self, axes: Iterable[MapAxis]) -> Self:
        geom = copy.copy(self)  # the copy has the derived numbers of the pixels too
        geom._axes = MapAxes(axes)
        return geom

    def to_image(self) -> Self:
        """Return the same sky pixels without axes."""
        return self._image

    @cached_property
    def _image(self) -> Self:
        return self._with_axes(())

    def to_cube(self, axes: Iterable[MapAxis]) -> Self:
        """Return the geometry with axes added after its own axes.

        Parameters
        ----------
        axes
            The axes to add, the fastest first.

        Returns
        -------
        Geom
            The new geometry.
        """
        return self._with_axes(self._axes + axes)

    def squash(self, axis_name: str) -> Self:
        """Return the geometry with an axis made one bin.

        Parameters
        ----------
        axis_name
            Name of the axis.

        Returns
        -------
        Geom
            The new geometry.
        """
        return self.replace_axis(self._axes[axis_name].squash())

    def drop(self, axis_name: str) -> Self:
        """Return the geometry without an axis.

        Parameters
        ----------
        axis_name
            Name of the axis.

        Returns
        -------
        Geom
            The new geometry.
        """
        return self._with_axes(self._axes.drop(axis_name))

    def slice_axis(self, axis_name: str, slc: slice) -> Self:
        """Return the geometry with some bins of an axis.

        Parameters
        ----------
        axis_name
            Name of the axis.
        slc
            Slice of its bins.

        Returns
        -------
        Geom
            The new geometry.
        """
        return self.replace_axis(self._axes[axis_name].slice(slc))

    def replace_axis(self, axis: MapAxis, name: str | None = None) -> Self:
        """Return the geometry with an axis replaced.

        Parameters
        ----------
        axis
            The new axis.
        name
            Name of the axis to replace; by default the name of the new axis.

        Returns
        -------
        Geom
            The new geometry.
        """
        return self._with_axes(self._axes.replace(axis, name))

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
        if not isinstance(other, type(self)):
            return f"a {type(other).__name__} instead of a {type(self).__name__}"
        if self.data_shape != other.data_shape:
            return f"the data have shape {other.data_shape} instead of {self.data_shape}"
        for mine, theirs in zip(self._axes, other._axes, strict=False):
            if mine != theirs:
                return f"the axes differ: {theirs!r} instead of {mine!r}"
        return ""

    def is_allclose(self, other: object) -> bool:
        """Return whether another geometry has the same pixels and axes.

        Parameters
        ----------
        other
            Another geometry.

        Returns
        -------
        bool
            True if pixel centres agree to a thousandth of a pixel and axes to 1e-6.
        """
        return self is other or not self.difference(other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geom):
            return NotImplemented
        return self.is_allclose(other)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.shape_image, self._axes))


class RegionGeom(Geom):
    """A geometry without sky pixels, for tables that do not depend on the position."""

    @property
    def center_skydir(self) -> None:
        """None: there is no position."""
        return None

    def __repr__(self) -> str:
        return f"RegionGeom({list(self.axes)!r})"

    def __str__(self) -> str:
        return (
            "RegionGeom\n\n"
            f"\taxes       : {self.axes.names}\n"
            f"\tshape      : {self.data_shape[::-1]}\n"
        )
