"""Bins along an axis: edges, centres, and which bin a value falls in."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes.nodes import SCALES, Floats, check_nodes, edges_from_centres, unit_of
from gammagrad.maps.units import parse_unit, to_value


class AxisBins:
    """Bins with their edges and centres; the base of `MapAxis`, which says what is what."""

    __slots__ = ("_edges", "_interp", "_name", "_node_type", "_nodes", "_plain", "_unit")

    def __init__(
        self,
        nodes: Any,
        *,
        name: str = "",
        unit: Any = None,
        interp: str = "lin",
        node_type: str = "edges",
    ) -> None:
        if interp not in SCALES:
            raise InputError(f"interp is {interp!r}; expected one of {', '.join(SCALES)}.")
        if node_type not in ("edges", "center"):
            raise InputError(f"node_type is {node_type!r}; expected 'edges' or 'center'.")
        label = f"axis {name!r}"
        unit = unit_of(nodes, label) if unit is None else parse_unit(unit, label)
        values = np.atleast_1d(np.array(to_value(nodes, unit, label), dtype=float))
        check_nodes(values, label, interp, 2 if node_type == "edges" else 1)
        self._name = str(name)
        self._unit = unit
        self._interp = interp
        self._node_type = node_type
        self._nodes = values
        self._plain: dict[tuple[str, str], Floats] = {}
        self._edges = values if node_type == "edges" else edges_from_centres(values, interp)
        self._nodes.flags.writeable = False
        self._edges.flags.writeable = False

    @property
    def name(self) -> str:
        """Name of the axis."""
        return self._name

    @property
    def unit(self) -> u.UnitBase:
        """Unit of the axis."""
        return self._unit

    @property
    def interp(self) -> str:
        """Scale of the axis: "lin", "log" or "sqrt"."""
        return self._interp

    @property
    def node_type(self) -> str:
        """What the axis was made from: "edges" or "center"."""
        return self._node_type

    @property
    def nbin(self) -> int:
        """Number of bins."""
        return len(self._edges) - 1

    @property
    def nodes(self) -> u.Quantity:
        """Edges or centres the axis was made from, quantity of shape (n + 1,) or (n,)."""
        return u.Quantity(self._nodes, self._unit)

    @property
    def edges(self) -> u.Quantity:
        """Bin edges, quantity of shape (n + 1,)."""
        return u.Quantity(self._edges, self._unit)

    @property
    def center(self) -> u.Quantity:
        """Bin centres in the scale of the axis, quantity of shape (n,)."""
        return u.Quantity(self._centres(), self._unit)

    @property
    def bin_width(self) -> u.Quantity:
        """Bin widths, quantity of shape (n,)."""
        return u.Quantity(np.diff(self._edges), self._unit)

    @property
    def is_energy(self) -> bool:
        """Whether the axis is in units of energy."""
        return bool(self._unit.is_equivalent("TeV"))

    def _centres(self) -> Floats:
        if self._node_type == "center":
            return self._nodes
        forward, back = SCALES[self._interp]
        scaled = forward(self._edges)
        return back(0.5 * (scaled[:-1] + scaled[1:]))

    def edges_in(self, unit: str) -> Floats:
        """Return the bin edges as plain numbers.

        Parameters
        ----------
        unit
            Unit of the numbers.

        Returns
        -------
        ndarray
            Edges, shape (n + 1,).

        Raises
        ------
        ValueError
            If the axis cannot be converted to `unit`.
        """
        return self._in_unit("edges", unit)

    def center_in(self, unit: str) -> Floats:
        """Return the bin centres as plain numbers.

        Parameters
        ----------
        unit
            Unit of the numbers.

        Returns
        -------
        ndarray
            Centres, shape (n,).

        Raises
        ------
        ValueError
            If the axis cannot be converted to `unit`.
        """
        return self._in_unit("center", unit)

    def _in_unit(self, what: str, unit: str) -> Floats:
        """Return edges or centres in a unit, which are converted once."""
        if (what, unit) not in self._plain:
            converted = to_value(getattr(self, what), unit, f"axis {self._name!r}")
            self._plain[what, unit] = np.asarray(converted)
        return self._plain[what, unit].copy()

    def coord_to_idx(self, value: Any) -> NDArray[np.int64]:
        """Return the bins that values fall in.

        Parameters
        ----------
        value
            Quantity, text, or plain numbers in the unit of the axis; any shape.

        Returns
        -------
        ndarray
            Indices, -1 outside the axis. The upper edge of the last bin belongs to it.
        """
        x = np.asarray(to_value(value, self._unit, f"axis {self._name!r}"), dtype=float)
        idx = np.searchsorted(self._edges, x, side="right") - 1
        idx = np.where(x == self._edges[-1], self.nbin - 1, idx)
        return np.where((idx < 0) | (idx >= self.nbin) | np.isnan(x), -1, idx)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AxisBins):
            return NotImplemented
        if self is other:
            return True
        same = (self.name, self.nbin, self.interp) == (other.name, other.nbin, other.interp)
        if not same or not self._unit.is_equivalent(other._unit):
            return False
        if self._unit is other._unit and np.array_equal(self._edges, other._edges):
            return True
        mine, theirs = self._edges, other.edges.to_value(self._unit)
        # a lin axis may start at 0, where a relative tolerance alone means nothing
        return bool(np.allclose(mine, theirs, rtol=1e-6, atol=1e-9 * np.ptp(mine)))

    def __hash__(self) -> int:
        return hash((self.name, self.nbin, self.interp))

    def __repr__(self) -> str:
        span = f"{self._edges[0]:.4g} to {self._edges[-1]:.4g} {self._unit}".rstrip()
        bins = f"{self.nbin} bins, {span}, {self.interp}, {self.node_type}"
        return f"{type(self).__name__}({self.name!r}, {bins})"
