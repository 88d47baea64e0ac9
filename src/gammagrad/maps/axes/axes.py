"""The axes of a map that are not on the sky, as an ordered collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps.axes.axis import MapAxis


class MapAxes(Sequence[MapAxis]):
    """The axes of a map that are not on the sky, in FITS order (the fastest first)."""

    def __init__(self, axes: Iterable[MapAxis] = ()) -> None:
        self._axes = tuple(axes)
        for axis in self._axes:
            if not isinstance(axis, MapAxis):
                raise InputTypeError(f"axes: expected MapAxis, got {type(axis).__name__}.")
        if len(set(self.names)) != len(self._axes):
            raise InputError(f"axes: names must differ, got {', '.join(self.names)}.")

    @property
    def names(self) -> list[str]:
        """Names of the axes."""
        return [axis.name for axis in self._axes]

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of bins in the order of the data: the last axis first."""
        return tuple(axis.nbin for axis in reversed(self._axes))

    def index(self, name: Any, *args: int) -> int:
        """Return the position of an axis."""
        key = name.name if isinstance(name, MapAxis) else name
        if key not in self.names:
            raise InputError(f"no axis {key!r}; there are: {', '.join(self.names) or 'none'}.")
        return self.names.index(key)

    def index_data(self, name: str) -> int:
        """Return the dimension of a map's data that an axis belongs to."""
        return len(self._axes) - 1 - self.index(name)

    def replace(self, axis: MapAxis, name: str | None = None) -> MapAxes:
        """Return the axes with one replaced."""
        where = self.index(axis.name if name is None else name)
        return MapAxes([axis if i == where else old for i, old in enumerate(self._axes)])

    def drop(self, name: str) -> MapAxes:
        """Return the axes without one."""
        where = self.index(name)
        return MapAxes(axis for i, axis in enumerate(self._axes) if i != where)

    def __len__(self) -> int:
        return len(self._axes)

    def __iter__(self) -> Iterator[MapAxis]:
        return iter(self._axes)

    @overload
    def __getitem__(self, key: int | str) -> MapAxis: ...
    @overload
    def __getitem__(self, key: slice) -> MapAxes: ...
    def __getitem__(self, key: int | str | slice) -> MapAxis | MapAxes:
        if isinstance(key, str):
            return self._axes[self.index(key)]
        if isinstance(key, slice):
            return MapAxes(self._axes[key])
        return self._axes[key]

    def __add__(self, other: Iterable[MapAxis]) -> MapAxes:
        return MapAxes([*self._axes, *other])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MapAxes):
            return NotImplemented
        return self._axes == other._axes

    def __hash__(self) -> int:
        return hash(self._axes)

    def __repr__(self) -> str:
        return f"MapAxes([{', '.join(repr(axis) for axis in self._axes)}])"
