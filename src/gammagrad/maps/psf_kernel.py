"""The point spread function integrated over the pixels of a map."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import WcsGeom

__all__ = ["PSFKernel", "RadialProfiles", "integrate_pixels"]

Floats = NDArray[np.float64]

# Largest number of samples of the point spread function held at once.
_MAX_SAMPLES = 2_000_000
# Gauss-Legendre nodes along a pixel: for pixels as wide as the PSF's half width at half
# maximum, and the least and largest number.
_NODES_PER_HALF_WIDTH, _NODES_MIN, _NODES_MAX = 8, 16, 64
# Beyond so many half widths the PSF changes slowly, and a third of the nodes will do.
_CORE = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class PSFKernel:
    """The point spread function integrated over pixels.

    Parameters
    ----------
    data
        Kernels of sum 1, or 0 where there is no PSF; shape (n_energy, ky f, kx f), odd sides,
        with f the oversampling.
    energy_axis
        Energies of the kernels, named "energy_true" or "energy".
    pixel_size
        Size of a pixel of the map in deg.
    oversampling
        Odd number of kernel pixels along the side of a pixel of the map.
    half_width
        Half width at half maximum of the narrowest kernel's PSF in deg; NaN if all are empty.
    """

    data: Floats
    energy_axis: MapAxis
    pixel_size: float
    oversampling: int = 1
    half_width: float = float("nan")

    @property
    def after_edisp(self) -> bool:
        """Whether the kernels are for reconstructed energies."""
        return self.energy_axis.name == "energy"

    @property
    def npix(self) -> int:
        """Width in pixels of the map."""
        return self.data.shape[-1] // self.oversampling

    @property
    def width(self) -> float:
        """Width in deg."""
        return self.npix * self.pixel_size


@dataclasses.dataclass(frozen=True)
class RadialProfiles:
    """Tabulated profiles as functions of the offset from the source.

    Linear between the nodes and on below the first and to the edge of the table, zero beyond;
    never negative.

    Parameters
    ----------
    nodes
        Offsets in deg, increasing, shape (n_rad,).
    edge
        Offset in deg where the table ends.
    table
        Values, shape (n, n_rad).
    half_width
        Half width at half maximum of the narrowest profile in deg; NaN if all are zero.
    """

    nodes: Floats
    edge: float
    table: Floats
    half_width: float

    def evaluate(self, offset: Floats, index: int) -> Floats:
        """Return one profile at some offsets.

        Parameters
        ----------
        offset
            Deg, any shape.
        index
            Which profile.

        Returns
        -------
        ndarray
            Values, shape of `offset`.
        """
        nodes, row = self.nodes, self.table[index]
        values = np.interp(offset, nodes, row, right=0.0)
        if len(nodes) > 1:
            # on from the outermost nodes in straight lines, to the source and to the table's end
            low, high = row[1] - row[0], row[-1] - row[-2]
            first, last = offset < nodes[0], (offset > nodes[-1]) & (offset <= self.edge)
            values[first] = row[0] + low / (nodes[1] - nodes[0]) * (offset[first] - nodes[0])
            values[last] = row[-1] + high / (nodes[-1] - nodes[-2]) * (offset[last] - nodes[-1])
        return np.maximum(values, 0.0)


def integrate_pixels(
    grid: WcsGeom,
    profiles: RadialProfiles,
    oversampling: int = 1,
    samples: list[int] | None = None,
) -> Floats:
    """Integrate profiles around the middle of a grid over its pixels.

    Parameters
    ----------
    grid
        Square grid with the source in its middle.
    profiles
        What to integrate.
    oversampling
        Odd number of finer pixels along the side of a pixel.
    samples
        For each profile the number of equidistant samples along the side of a finer pixel. None:
        Gauss-Legendre quadrature, as fine as the narrowest profile needs.

    Returns
    -------
    ndarray
        Averages over the finer pixels, shape (n, ny oversampling, nx oversampling).
    """
    n_fine, n_profiles = grid.npix[0] * oversampling, len(profiles.table)
    data = np.empty((n_profiles, n_fine, n_fine))
    everywhere = slice(0, n_fine)
    if samples is not None:
        for n in set(samples):
            chosen = [i for i in range(n_profiles) if samples[i] == n]
            nodes = (np.arange(n) + 0.5) / n - 0.5, np.full(n, 1 / n)
            data[chosen] = _averages(grid, profiles, chosen, oversampling, nodes, everywhere)
        return data
    pixel = float(np.max(grid.pixel_scales.to_value("deg")))
    half_width = profiles.half_width if np.isfinite(profiles.half_width) else pixel
    wanted = np.ceil(_NODES_PER_HALF_WIDTH * pixel / half_width)
    fine = int(np.clip(wanted, _NODES_MIN, _NODES_MAX))
    core = int(np.ceil(_CORE * half_width / pixel * oversampling)) + oversampling
    low = max((n_fine - 1) // 2 - core, 0)
    inner, chosen = slice(low, n_fine - low), list(range(n_profiles))
    for n, part in ((fine // 3, everywhere), (fine, inner)):
        points, weights = np.polynomial.legendre.leggauss(-(-n // oversampling))
        nodes = points / 2, weights / 2
        data[:, part, part] = _averages(grid, profiles, chosen, oversampling, nodes, part)
    return data


def _averages(
    grid: WcsGeom,
    profiles: RadialProfiles,
    chosen: list[int],
    oversampling: int,
    nodes: tuple[Floats, Floats],
    part: slice,
) -> Floats:
    """Average some profiles over some of the finer pixels along both sides of a grid."""
    points, weights = nodes
    n, n_nodes = part.stop - part.start, len(points)
    # finer pixel i covers (i ... i + 1) / oversampling - 1/2 in pixels of the grid
    middle = np.arange(part.start, part.stop)[:, None] + 0.5
    position = (middle + points) / oversampling - 0.5
    centre = grid.center_skydir
    result = np.empty((len(chosen), n, n))
    rows = max(_MAX_SAMPLES // (n * n_nodes**2), 1)
    for first in range(0, n, rows):
        some = position[first : first + rows]
        sky = grid.pix_to_sky(position.reshape(1, -1), some.reshape(-1, 1))
        offset = np.asarray(sky.separation(centre).deg)
        for i, index in enumerate(chosen):
            values = profiles.evaluate(offset, index).reshape(len(some), n_nodes, n, n_nodes)
            result[i, first : first + rows] = np.einsum("anbm,n,m->ab", values, weights, weights)
    return np.nan_to_num(result)
