"""One axis that is not on the sky: energy, true energy, offset angle."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from gammagrad.errors import InputError
from gammagrad.maps.axes.bins import AxisBins
from gammagrad.maps.axes.nodes import SCALES, Floats, check_factor, energy_unit, unit_of
from gammagrad.maps.units import parse_unit, to_value


class MapAxis(AxisBins):
    """One axis of bins; it does not change once made.

    Parameters
    ----------
    nodes
        Bin edges (n + 1 of them) or bin centres (n), strictly increasing: a quantity, a list of
        texts, or plain numbers in `unit`.
    name
        Name of the axis, such as "energy", "energy_true", "rad" or "migra".
    unit
        Unit of the axis; by default that of `nodes`.
    interp
        "lin", "log" or "sqrt": the scale in which edges and centres lie half way.
    node_type
        "edges" or "center": what `nodes` are. A single centre has a bin of no width.

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

    __slots__ = ()

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
            The n + 1 edges.
        name
            "energy" or "energy_true".

        Returns
        -------
        MapAxis
            The axis.
        """
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

        Every requested edge is moved to the nearest edge of the axis, nearest in its scale; one
        outside the axis goes to its end. Intervals left without a bin are dropped.

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

    def _like(self, nodes: Floats, node_type: str = "edges") -> MapAxis:
        return MapAxis(
            nodes, name=self._name, unit=self._unit, interp=self._interp, node_type=node_type
        )

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
        return MapAxis(
            self._nodes, name=name, unit=self._unit, interp=self._interp, node_type=self._node_type
        )
