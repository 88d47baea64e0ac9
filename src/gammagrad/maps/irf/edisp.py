"""Energy dispersion on the sky, and its matrices."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import RegionGeom
from gammagrad.maps.irf.habits import EDispHabits
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


class _EDisp(EDispHabits, IRFMap):
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

    @abstractmethod
    def _matrix(self, table: Floats, energy_axis: MapAxis | None) -> Floats:
        """Return the matrix of the table of one pixel."""

    def get_edisp_kernel(self, position: Any = None, energy_axis: MapAxis | None = None) -> Floats:
        """Return the matrix at a position.

        Parameters
        ----------
        position
            A `SkyCoord` or (lon, lat) in deg; None for the middle of the map. The response of the
            pixel at the position is taken, or of the nearest pixel that has a response.
        energy_axis
            Reconstructed energies. Of matrices they are some of the energies of the map, or wider
            bins of them, by default all; of migrations any energies, by default the true ones.

        Returns
        -------
        ndarray
            Probability of a reconstructed bin for each true bin, shape (n_true, n_reco). Of
            migrations: the density at the true bin's centre, integrated over migration.

        Raises
        ------
        ValueError
            If matrices do not have an edge of `energy_axis`.
        """
        return self._matrix(self._at(position, "", linear=False), energy_axis)

    def matrices_at(
        self, positions: SkyCoord, energy_axis: MapAxis | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return the matrices at several positions.

        Parameters
        ----------
        positions
            Positions of any shape.
        energy_axis
            As in `get_edisp_kernel`.

        Returns
        -------
        tuple of ndarray
            The different matrices, shape (n, n_true, n_reco), and the index among them of the
            matrix at each position.

        Raises
        ------
        ValueError
            As in `get_edisp_kernel`.
        """
        rows, columns = self._irf_map.geom.shape_image
        x, y = self.pixels_at(positions)
        # of two pixels the lower, as for one position
        x, y = (
            np.clip(np.ceil(c - 0.5), 0, n - 1).astype(int) for c, n in ((x, columns), (y, rows))
        )
        used, which = np.unique(y * columns + x, return_inverse=True)
        tables = [
            self._pixel_data(pixel // columns, pixel % columns, "") for pixel in used.tolist()
        ]
        matrices = np.stack([self._matrix(table, energy_axis) for table in tables])
        return matrices, which.reshape(positions.shape)


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

    def _matrix(self, table: Floats, energy_axis: MapAxis | None) -> Floats:
        return _group_columns(table, self._irf_map.geom.axes["energy"], energy_axis)

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

    @classmethod
    def from_diagonal_response(
        cls, energy_axis: MapAxis, energy_axis_true: MapAxis | None = None
    ) -> EDispKernelMap:
        """Make the same as `from_diagonal`, with gammapy's order of arguments.

        Parameters
        ----------
        energy_axis, energy_axis_true
            Reconstructed and true energies, which are the same by default.

        Returns
        -------
        EDispKernelMap
            The energy dispersion.
        """
        true = energy_axis.rename("energy_true") if energy_axis_true is None else energy_axis_true
        return cls.from_diagonal(true, energy_axis)


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

    def _matrix(self, table: Floats, energy_axis: MapAxis | None) -> Floats:
        migra = self._irf_map.geom.axes["migra"]
        true = self.energy_axis_true
        reco = true if energy_axis is None else energy_axis
        edges = migra.edges_in("")
        below = cumulative(table * np.diff(edges))
        ratio = reco.edges_in("TeV")[None, :] / true.center_in("TeV")[:, None]
        at_edges = [np.interp(x, edges, row) for x, row in zip(ratio, below, strict=True)]
        matrix = np.clip(np.diff(at_edges, axis=1), 0.0, None)
        return np.where(matrix < _NOISE, 0.0, matrix)
