"""Energy dispersion on the sky, and its matrices."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import RegionGeom
from gammagrad.maps.irf.irf_map import IRFMap, cumulative
from gammagrad.maps.map import Map

Floats = NDArray[np.float64]

# Probabilities below this are rounding noise of the cumulative table.
_NOISE = 1e-8


def diagonal_edisp(energy_axis_true: MapAxis, energy_axis: MapAxis) -> Floats:
    """Return the matrix of an instrument that measures energies exactly."""
    true, reco = energy_axis_true.edges_in("TeV"), energy_axis.edges_in("TeV")
    top = np.minimum(true[1:, None], reco[None, 1:])
    bottom = np.maximum(true[:-1, None], reco[None, :-1])
    width = np.diff(true)[:, None]
    if np.all(width > 0):
        return np.clip(top - bottom, 0.0, None) / width
    raise InputError(f"axis {energy_axis_true.name!r} has a bin without width; give its edges.")


def _group_columns(matrix: Floats, axis: MapAxis, wanted: MapAxis | None) -> Floats:
    """Sum the columns of a matrix into wider bins, or pick some of them."""
    if wanted is None:
        return matrix
    have, want = np.log(axis.edges_in("TeV")), np.log(wanted.edges_in("TeV"))
    nearest = np.argmin(np.abs(have[:, None] - want[None, :]), axis=0)
    if not np.all(np.abs(have[nearest] - want) <= 1e-5):
        raise InputError(
            f"energy dispersion: its energy edges {axis.edges} do not include the edges "
            f"{wanted.edges} asked for; use the same energy axis for counts and dispersion."
        )
    if wanted.nbin == len(have) - 1:
        return matrix
    return np.diff(cumulative(matrix)[:, nearest], axis=1)


class _EDisp(IRFMap):
    """An energy dispersion by position."""

    def __init__(self, edisp_map: Map, exposure_map: Map | None = None) -> None:
        super().__init__(edisp_map, exposure_map)

    @property
    def edisp_map(self) -> Map:
        """The probabilities, or probability densities."""
        return self._irf_map

    @property
    def energy_axis_true(self) -> MapAxis:
        """True energies."""
        return self._irf_map.geom.axes["energy_true"]


class EDispKernelMap(_EDisp):
    """Energy dispersion matrices by position.

    Parameters
    ----------
    edisp_map
        Probabilities, with the axes ("energy", "energy_true").
    exposure_map
        Exposure on the same pixels; kept for files.

    Raises
    ------
    ValueError
        If the map has other axes.
    """

    _axes: ClassVar[tuple[tuple[str, str], ...]] = (("energy", "energy_true"),)

    def get_edisp_kernel(self, position: Any = None, energy_axis: MapAxis | None = None) -> Floats:
        """Return the matrix at a position.

        Parameters
        ----------
        position
            A `SkyCoord` or (lon, lat) in deg; None for the middle of the map. The response of the
            pixel at the position is taken, or of the nearest pixel that has a response.
        energy_axis
            Reconstructed energies wanted: a part of the energies of the map, or wider bins of them.

        Returns
        -------
        ndarray
            Probability of a reconstructed bin for each true bin, shape (n_true, n_reco).

        Raises
        ------
        ValueError
            If `energy_axis` has an edge that the map does not have.
        """
        matrix = self._at(position, "", linear=False)
        return _group_columns(matrix, self._irf_map.geom.axes["energy"], energy_axis)

    @classmethod
    def from_matrix(
        cls, matrix: Any, energy_axis_true: MapAxis, energy_axis: MapAxis
    ) -> EDispKernelMap:
        """Make an energy dispersion that is the same everywhere.

        Parameters
        ----------
        matrix
            Probabilities, shape (n_true, n_reco).
        energy_axis_true, energy_axis
            True and reconstructed energies.

        Returns
        -------
        EDispKernelMap
            The energy dispersion.

        Raises
        ------
        ValueError
            If the shape does not fit the axes.
        """
        values = np.array(matrix, dtype=float)
        if values.shape != (energy_axis_true.nbin, energy_axis.nbin):
            raise InputError(
                f"matrix has the shape {values.shape}; expected (n_true, n_reco) = "
                f"({energy_axis_true.nbin}, {energy_axis.nbin})."
            )
        geom = RegionGeom([energy_axis.rename("energy"), energy_axis_true.rename("energy_true")])
        return cls(Map(geom, values[:, :, None, None]))

    @classmethod
    def from_diagonal(cls, energy_axis_true: MapAxis, energy_axis: MapAxis) -> EDispKernelMap:
        """Make the energy dispersion of an instrument that measures energies exactly.

        Parameters
        ----------
        energy_axis_true, energy_axis
            True and reconstructed energies.

        Returns
        -------
        EDispKernelMap
            The energy dispersion, see `diagonal_edisp`.
        """
        matrix = diagonal_edisp(energy_axis_true, energy_axis)
        return cls.from_matrix(matrix, energy_axis_true, energy_axis)


class EDispMap(_EDisp):
    """Energy dispersion by migration, the ratio of reconstructed to true energy.

    Parameters
    ----------
    edisp_map
        Probability per unit of migration, with the axes ("migra", "energy_true").
    exposure_map
        Exposure on the same pixels; kept for files.

    Raises
    ------
    ValueError
        If the map has other axes.
    """

    _axes: ClassVar[tuple[tuple[str, str], ...]] = (("migra", "energy_true"),)

    def get_edisp_kernel(self, position: Any = None, energy_axis: MapAxis | None = None) -> Floats:
        """Return the matrix at a position.

        Parameters
        ----------
        position
            As in `EDispKernelMap.get_edisp_kernel`.
        energy_axis
            Reconstructed energies; by default the true energies.

        Returns
        -------
        ndarray
            Probability of a reconstructed bin for each true bin, shape (n_true, n_reco): the
            density at the true bin's centre, integrated over migration.
        """
        density = self._at(position, "", linear=False)
        migra = self._irf_map.geom.axes["migra"]
        true = self.energy_axis_true
        reco = true if energy_axis is None else energy_axis
        edges = migra.edges_in("")
        below = cumulative(density * np.diff(edges))
        ratio = reco.edges_in("TeV")[None, :] / true.center_in("TeV")[:, None]
        at_edges = [np.interp(x, edges, row) for x, row in zip(ratio, below, strict=True)]
        matrix = np.clip(np.diff(at_edges, axis=1), 0.0, None)
        return np.where(matrix < _NOISE, 0.0, matrix)
