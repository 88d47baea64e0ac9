"""One axis that is not on the sky: energy, true energy, offset angle."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes.habits import AxisHabits
from gammagrad.maps.axes.nodes import (
    SCALES,
    Floats,
    check_factor,
    check_nodes,
    edges_from_centres,
    energy_unit,
    unit_of,
)
from gammagrad.maps.units import parse_unit, to_value


class MapAxis(AxisHabits):
    """One axis of bins; it does not change once made.

    Parameters
    ----------
    nodes
        Bin edges (n + 1 of them) or bin centres (n), strictly increasing: a quantity, a list of
        texts, or plain numbers in `unit`.
    name
        Name of the axis, such as "energy", "energy_true", "rad" or "migra".
    unit
        Unit of the axis; by default the unit of `nodes`.
    interp
        "lin", "log" or "sqrt": the scale in which edges and centres lie half way.
    node_type
        "edges" or "center": the meaning of `nodes`. A single centre has a bin of no width.

    Raises
    ------
    ValueError
        If the nodes are not finite, not increasing, too few, or not positive on a log axis.

    Examples
    --------
    >>> axis = MapAxis([1, 10, 100], name="energy", unit="TeV", interp="log")
    >>> axis.nbin
    2
    >>> axis.center
    <Quantity [ 3.16227766, 31.6227766 ] TeV>
    """

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
        """Kind of the nodes that the axis was made from: "edges" or "center"."""
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
        """Return edges or centres in a unit; they are converted only once."""
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

    @classmethod
    def from_edges(
        cls, edges: Any, name: str = "", unit: Any = None, interp: str = "lin"
    ) -> MapAxis:
        """Make an axis from its n + 1 bin edges.

        Parameters
        ----------
        edges, name, unit, interp
            As in the class.

        Returns
        -------
        MapAxis
            The axis.
        """
        return cls(edges, name=name, unit=unit, interp=interp)

    @classmethod
    def from_nodes(
        cls, nodes: Any, name: str = "", unit: Any = None, interp: str = "lin"
    ) -> MapAxis:
        """Make an axis from its n bin centres.

        Parameters
        ----------
        nodes, name, unit, interp
            As in the class.

        Returns
        -------
        MapAxis
            The axis.
        """
        return cls(nodes, name=name, unit=unit, interp=interp, node_type="center")

    @classmethod
    def from_bounds(
        cls, lo: Any, hi: Any, nbin: int, name: str = "", unit: Any = None, interp: str = "lin"
    ) -> MapAxis:
        """Make an axis of bins equal in its scale between two bounds.

        Parameters
        ----------
        lo, hi
            Lower edge of the first and upper edge of the last bin.
        nbin
            Number of bins.
        name, unit, interp
            As in the class.

        Returns
        -------
        MapAxis
            The axis.

        Raises
        ------
        ValueError
            If there is no bin or the bounds are not in order.
        """
        unit = unit_of(lo, name) if unit is None else parse_unit(unit, name)
        low, high = to_value(lo, unit, name), to_value(hi, unit, name)
        if nbin < 1:
            raise InputError(f"axis {name!r}: nbin is {nbin}; expected at least 1.")
        if interp != "lin" and low <= 0:
            raise InputError(f"axis {name!r}: the lower bound {low} must be positive on this axis.")
        forward, back = SCALES[interp]
        edges = back(np.linspace(forward(low), forward(high), int(nbin) + 1))
        edges[0], edges[-1] = low, high
        return cls(edges, name=name, unit=unit, interp=interp)

    @classmethod
    def from_energy_edges(cls, edges: Any, name: str = "energy") -> MapAxis:
        """Make a logarithmic energy axis from its edges (plain numbers are TeV).

        Parameters
        ----------
        edges
            The n + 1 edges: a quantity, a list, or a text such as ``"10 GeV, 500 GeV"``.
        name
            "energy" or "energy_true".

        Returns
        -------
        MapAxis
            The axis.

        Examples
        --------
        >>> MapAxis.from_energy_edges("1 TeV, 3 TeV, 10 TeV").nbin
        2
        """
        if isinstance(edges, str):
            edges = [part.strip() for part in edges.split(",")]
        return cls(edges, name=name, unit=energy_unit(edges), interp="log")

    @classmethod
    def from_energy_bounds(cls, lo: Any, hi: Any, nbin: int, name: str = "energy") -> MapAxis:
        """Make a logarithmic energy axis of equal bins (plain numbers are TeV).

        Parameters
        ----------
        lo, hi
            Energy bounds.
        nbin
            Number of bins.
        name
            "energy" or "energy_true".

        Returns
        -------
        MapAxis
            The axis.

        Examples
        --------
        >>> MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2).edges
        <Quantity [  1.,  10., 100.] TeV>
        """
        return cls.from_bounds(lo, hi, nbin, name=name, unit=energy_unit(lo), interp="log")

    def slice(self, slc: slice) -> MapAxis:
        """Return an axis of some of the bins.

        Parameters
        ----------
        slc
            Slice of bins, without a step.

        Returns
        -------
        MapAxis
            The bins chosen.

        Raises
        ------
        ValueError
            If no bin is left or the slice has a step.
        """
        start, stop, step = slc.indices(self.nbin)
        if step != 1 or stop <= start:
            raise InputError(
                f"axis {self._name!r}: the slice {slc} of {self.nbin} bins is empty or has a step."
            )
        end = stop + 1 if self._node_type == "edges" else stop
        return self._like(self._nodes[start:end], self._node_type)

    def squash(self) -> MapAxis:
        """Return an axis of one bin over the whole range."""
        return self._like(self._edges[[0, -1]])

    def upsample(self, factor: int) -> MapAxis:
        """Return an axis whose bins are each cut into equal parts.

        Parameters
        ----------
        factor
            Number of parts.

        Returns
        -------
        MapAxis
            The finer axis, made from edges.
        """
        check_factor(factor, f"axis {self._name!r}")
        forward, back = SCALES[self._interp]
        position = np.arange(self.nbin * factor + 1) / factor
        fine = back(np.interp(position, np.arange(self.nbin + 1), forward(self._edges)))
        fine[::factor] = self._edges
        return self._like(fine)

    def downsample(self, factor: int) -> MapAxis:
        """Return an axis of bins merged by a factor.

        Parameters
        ----------
        factor
            Number of bins that become one.

        Returns
        -------
        MapAxis
            The coarser axis, made from edges.

        Raises
        ------
        ValueError
            If the factor does not divide the number of bins.
        """
        check_factor(factor, f"axis {self._name!r}")
        if self.nbin % factor:
            raise InputError(
                f"axis {self._name!r}: {self.nbin} bins cannot be merged by {factor}; "
                "choose a factor that divides them."
            )
        return self._like(self._edges[::factor])

    def group(self, edges: Any) -> list[tuple[int, int]]:
        """Return the ranges of bins between requested edges.

        Every requested edge is moved to the nearest edge in the scale of the axis. An edge outside
        the axis is moved to its end. Intervals without a bin are dropped.

        Parameters
        ----------
        edges
            Requested edges, in increasing order.

        Returns
        -------
        list of (start, stop)
            Ranges of bin indices.

        Raises
        ------
        ValueError
            If no interval holds a bin.

        Examples
        --------
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=4)
        >>> axis.group(["1 TeV", "3 TeV", "20 TeV"])
        [(0, 2), (2, 4)]
        """
        wanted = np.atleast_1d(to_value(edges, self._unit, f"edges of axis {self._name!r}"))
        if np.any(np.diff(wanted) <= 0) or not np.all(np.isfinite(wanted)):
            raise InputError(f"axis {self._name!r}: the edges {wanted} must increase.")
        forward, _ = SCALES[self._interp]
        clipped = np.clip(wanted, self._edges[0], self._edges[-1])
        distance = np.abs(forward(clipped)[:, None] - forward(self._edges)[None, :])
        index = [int(i) for i in np.unique(np.argmin(distance, axis=1))]
        if len(index) < 2:
            raise InputError(
                f"axis {self._name!r}: no bin between the edges {wanted} {self._unit}; "
                f"the axis goes from {self._edges[0]:.6g} to {self._edges[-1]:.6g}."
            )
        return list(itertools.pairwise(index))

    def _like(self, nodes: Floats, node_type: str = "edges", name: str | None = None) -> MapAxis:
        name = self._name if name is None else name
        return MapAxis(nodes, name=name, unit=self._unit, interp=self._interp, node_type=node_type)

    def rename(self, name: str) -> MapAxis:
        """Return the same bins under another name.

        Parameters
        ----------
        name
            The new name.

        Returns
        -------
        MapAxis
            The renamed axis.
        """
        return self._like(self._nodes, self._node_type, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MapAxis):
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
