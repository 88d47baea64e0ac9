"""What scripts for gammapy ask of a response: containment radii at energies, and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

from gammagrad._upper import upper
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.units import to_value


class PSFHabits:
    """Short methods of a point spread function."""

    @classmethod
    def read(cls, filename: Any, format: str | None = None, checksum: bool = True) -> Any:
        """Read a point spread function from a file.

        Parameters
        ----------
        filename
            The file: a table of Fermi-LAT's gtpsf, or a map. Environment variables (``$NAME``) and
            ``~`` are expanded.
        format
            Has no effect: the format is that of the file.
        checksum
            Whether to verify the checksums in the file.

        Returns
        -------
        PSFMap
            The point spread function.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is not FITS, is damaged, or has no point spread function.
        """
        return upper("read_psf")(filename, checksum)

    def containment_radius(
        self,
        fraction: float,
        energy_true: Any = None,
        position: Any = None,
        energy_axis: MapAxis | None = None,
        *,
        energy: Any = None,
    ) -> u.Quantity:
        """Return the offsets within which a fraction of the events lies.

        Parameters
        ----------
        fraction
            Between 0 and 1.
        energy_true
            Energies, a quantity, text or TeV, of any shape; by default those of the table.
        position, energy_axis
            As in `profile`.
        energy
            The same as `energy_true`, for a point spread function of reconstructed energy.

        Returns
        -------
        Quantity
            Offset in deg per energy, to a twentieth of a bin of the "rad" axis: the smallest
            offset whose containment is nearest to `fraction`.

        Raises
        ------
        ValueError
            If `fraction` is not between 0 and 1, or an energy is not positive.

        Notes
        -----
        The table is interpolated in energy, and the radius is that of the interpolated table.
        """
        psf: Any = self
        if isinstance(energy_true, SkyCoord):  # the second argument was the position once
            energy_true, position = None, energy_true
        wanted = energy if energy_true is None else energy_true
        if wanted is None:
            return u.Quantity(psf._radii(psf.profile(position, energy_axis), fraction), "deg")
        values = np.asarray(to_value(wanted, "TeV", "energy_true"), dtype=float)
        nodes, back = np.unique(values, return_inverse=True)
        axis = MapAxis(nodes, name=psf.energy_name, unit="TeV", interp="log", node_type="center")
        radii = psf._radii(psf.profile(position, axis), fraction)
        return u.Quantity(radii[back].reshape(values.shape), "deg")

    def peek(self, figsize: tuple[float, float] = (12, 4)) -> Any:
        """Draw containment radii against energy, and the point spread function against offset.

        Parameters
        ----------
        figsize
            Width and height of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, for the middle of the map.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return upper("peek_psf")(self, figsize)


class EDispHabits:
    """Short methods of an energy dispersion."""

    def peek(self, figsize: tuple[float, float] = (12, 4)) -> Any:
        """Draw the matrix of the energy dispersion, and its bias against true energy.

        Parameters
        ----------
        figsize
            Width and height of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, for the middle of the map.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return upper("peek_edisp")(self, figsize)
