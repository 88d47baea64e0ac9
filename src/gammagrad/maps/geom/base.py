"""What every geometry has: axes besides the sky; and the geometry that has no sky at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from gammagrad.maps.axes import MapAxes, MapAxis

G = TypeVar("G", bound="Geom")


class Geom(ABC):
    """The axes of a map and the shape of its data; the base of the geometries."""

    def __init__(self, axes: Iterable[MapAxis] = ()) -> None:
        self._axes = axes if isinstance(axes, MapAxes) else MapAxes(axes or ())

    @property
    @abstractmethod
    def shape_image(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    @abstractmethod
    def is_region(self) -> bool:
        """Whether there are no sky pixels."""

    @abstractmethod
    def _with_axes(self: G, axes: Iterable[MapAxis]) -> G:
        """Return the same sky pixels with exactly these axes."""

    @abstractmethod
    def difference(self, other: object) -> str:
        """Say in words how another geometry differs from this one."""

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

    def to_image(self: G) -> G:
        """Return the same sky pixels without axes."""
        return self._image

    @cached_property
    def _image(self: G) -> G:
        return self._with_axes(())

    def to_cube(self: G, axes: Iterable[MapAxis]) -> G:
        """Return the geometry with axes added after those it has.

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

    def squash(self: G, axis_name: str) -> G:
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

    def drop(self: G, axis_name: str) -> G:
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

    def slice_axis(self: G, axis_name: str, slc: slice) -> G:
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

    def replace_axis(self: G, axis: MapAxis, name: str | None = None) -> G:
        """Return the geometry with an axis replaced.

        Parameters
        ----------
        axis
            The new axis.
        name
            Name of the axis to replace; by default that of the new one.

        Returns
        -------
        Geom
            The new geometry.
        """
        return self._with_axes(self._axes.replace(axis, name))

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

    def _axes_difference(self, other: Geom) -> str:
        if self.data_shape != other.data_shape:
            return f"the data have shape {other.data_shape} instead of {self.data_shape}"
        for mine, theirs in zip(self._axes, other._axes, strict=False):
            if mine != theirs:
                return f"the axes differ: {theirs!r} instead of {mine!r}"
        return ""


class RegionGeom(Geom):
    """A geometry without sky pixels, for tables that do not depend on the position."""

    @property
    def shape_image(self) -> tuple[int, int]:
        """Rows and columns: one of each."""
        return (1, 1)

    @property
    def is_region(self) -> bool:
        """True: there are no sky pixels."""
        return True

    @property
    def center_skydir(self) -> None:
        """None: there is no position."""
        return None

    def _with_axes(self, axes: Iterable[MapAxis]) -> RegionGeom:
        return RegionGeom(axes)

    def difference(self, other: object) -> str:
        """Say in words how another geometry differs from this one."""
        if not isinstance(other, RegionGeom):
            return f"a {type(other).__name__} instead of a RegionGeom"
        return self._axes_difference(other)

    def __repr__(self) -> str:
        return f"RegionGeom({list(self.axes)!r})"

    def __str__(self) -> str:
        return (
            "RegionGeom\n\n"
            f"\taxes       : {self.axes.names}\n"
            f"\tshape      : {self.data_shape[::-1]}\n"
        )
