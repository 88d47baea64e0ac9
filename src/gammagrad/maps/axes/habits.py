"""What scripts for gammapy ask of an axis besides its bins: sides, pixels, copies."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.maps.axes.nodes import SCALES
from gammagrad.maps.units import to_value

Floats = NDArray[np.float64]


class AxisHabits:
    """Short methods of an axis that follow from its bins."""

    __slots__ = ()

    @property
    def edges_min(self) -> u.Quantity:
        """Lower edges of the bins, quantity of shape (n,)."""
        axis: Any = self
        return axis.edges[:-1]

    @property
    def edges_max(self) -> u.Quantity:
        """Upper edges of the bins, quantity of shape (n,)."""
        axis: Any = self
        return axis.edges[1:]

    def copy(self, name: str | None = None) -> Self:
        """Return the same bins, under another name if one is given.

        Parameters
        ----------
        name
            The new name; by default the same.

        Returns
        -------
        MapAxis
            The axis.
        """
        axis: Any = self
        same: Self = axis.rename(axis.name if name is None else name)
        return same

    def coord_to_pix(self, value: Any) -> Floats:
        """Return where values lie in units of bins, in the scale of the axis.

        Parameters
        ----------
        value
            Quantity, text, or plain numbers in the unit of the axis; any shape.

        Returns
        -------
        ndarray
            0 at the centre of the first bin, 1 at that of the second; beyond the ends the outermost
            step goes on. An axis made from centres counts from one centre to the next. With one
            centre every value is at 0.
        """
        axis: Any = self
        scale = SCALES[axis.interp][0]
        with np.errstate(divide="ignore", invalid="ignore"):
            x = scale(np.asarray(to_value(value, axis.unit, f"axis {axis.name!r}"), dtype=float))
        nodes, first = scale(axis.nodes.value), -0.5 if axis.node_type == "edges" else 0.0
        if len(nodes) < 2:
            return np.zeros(x.shape)
        low = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
        step = nodes[low + 1] - nodes[low]
        return np.asarray(first + low + (x - nodes[low]) / step, dtype=float)
