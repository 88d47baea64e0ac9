"""The point spread function integrated over the pixels of a map."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import WcsGeom, is_centred, kept, middle_shape

Floats = NDArray[np.float64]

# Largest number of samples of the point spread function held at once.
_MAX_SAMPLES = 2_000_000
# Gauss-Legendre nodes along a pixel: for pixels as wide as the PSF's half width at half
# maximum, and the least and largest number.
_NODES_PER_HALF_WIDTH, _NODES_MIN, _NODES_MAX = 8, 16, 64
# Offsets that differ by less, in deg or in proportion, or else in pixels, are the same.
_ROUNDING, _SYMMETRIC = 1e-11, 1e-4
# Offsets of so many samples are kept with their grid.
_MAX_KEPT = 500_000
# Beyond so many half widths the PSF changes slowly, and a third of the nodes will do.
_CORE = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class PSFKernel:
    """The point spread function integrated over pixels."""

    # kernels of sum 1, or 0 where there is no PSF; shape (n_energy, ky f, kx f), odd sides, with f
    # the oversampling
    data: Floats
    energy_axis: MapAxis  # energies of the kernels, named "energy_true" or "energy"
    oversampling: int = 1  # odd number of kernel pixels along the side of a pixel of the map
    # half width at half maximum of the narrowest kernel's PSF in deg; NaN if all are empty
    half_width: float = float("nan")
    # rows and columns of the map that each energy alone needs, (n_energy, 2); beyond them `data`
    # are 0. None if they are not known.
    sizes: NDArray[np.int64] | None = None

    @property
    def after_edisp(self) -> bool:
        """Whether the kernels are for reconstructed energies."""
        return self.energy_axis.name == "energy"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns in pixels of the map."""
        rows, cols = (n // self.oversampling for n in self.data.shape[-2:])
        return rows, cols


@dataclasses.dataclass(frozen=True)
class RadialProfiles:
    """Tabulated profiles as functions of the offset from the source."""

    # Profiles are linear between the nodes, below the first node and up to the edge of the table,
    # zero beyond, and never negative.

    nodes: Floats  # offsets in deg, increasing, shape (n_rad,)
    edge: float  # offset in deg where the table ends
    table: Floats  # values, shape (n, n_rad)
    # half width at half maximum of the narrowest profile in deg; NaN if all are zero
    half_width: float

    def pieces(self, end: float) -> tuple[Floats, Floats]:
        """Return offsets between which all profiles are straight lines, and the values there."""
        nodes, table = self.nodes, self.table
        if len(nodes) == 1:
            return np.array([0.0, max(end, 1.0)]), np.maximum(table[:, [0, 0]], 0.0)
        first, last = ((table[:, i + 1] - table[:, i]) / (nodes[i + 1] - nodes[i]) for i in (0, -2))
        # straight lines continue the profile from the outermost nodes to the source and to the end
        if nodes[0] > 0:
            table = np.column_stack([table[:, 0] - first * nodes[0], table])
            nodes = np.concatenate([[0.0], nodes])
        if nodes[-1] < end:
            table = np.column_stack([table, table[:, -1] + last * (end - nodes[-1])])
            nodes = np.concatenate([nodes, [end]])
        # a line ends where it goes below zero
        row, piece = np.nonzero(table[:, :-1] * table[:, 1:] < 0)
        if row.size:
            value = table[row, piece]
            part = value / (value - table[row, piece + 1])
            zeros = nodes[piece] + part * (nodes[piece + 1] - nodes[piece])
            more = np.union1d(nodes, zeros)
            table = np.array([np.interp(more, nodes, line) for line in table])
            nodes = more
        return nodes, np.maximum(table, 0.0)


def integrate_pixels(
    grid: WcsGeom,
    profiles: RadialProfiles,
    oversampling: int = 1,
    samples: list[int] | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """Integrate profiles around a place `shift` off the middle of a grid over its pixels."""
    fine_shape = [n * oversampling for n in grid.shape_image]
    middle, mirrored = (
        [n // 2 for n in fine_shape],
        kept(grid.derived, "symmetry", lambda: _symmetry(grid)).mirrored,
    )
    mirrored = mirrored[0] and not shift[0], mirrored[1] and not shift[1]
    off = shift[0] * oversampling, shift[1] * oversampling
    data = np.empty((len(profiles.table), *fine_shape))

    def average(chosen: Any, nodes: tuple[Floats, Floats], half: list[int]) -> None:
        """Average some profiles over the pixels up to so many from the middle."""
        parts = [slice(m - h, m + h + 1) for m, h in zip(middle, half, strict=True)]
        # rows or columns that mirror each other are computed once
        firsts = zip(middle, parts, mirrored, strict=True)
        whole = [np.arange(m if twice else p.start, p.stop) for m, p, twice in firsts]
        # the grid is that of the source: its pixels lie off by less than one
        lines = [line - np.float64(move) for line, move in zip(whole, off, strict=True)]
        table = dataclasses.replace(profiles, table=profiles.table[chosen])
        found = _averages(grid, table, oversampling, nodes, lines[0], lines[1])
        for axis, twice in enumerate(mirrored, start=1):
            if twice:
                rest = [slice(None)] * 3
                rest[axis] = slice(1, None)
                found = np.concatenate([np.flip(found[tuple(rest)], axis), found], axis)
        data[chosen, parts[0], parts[1]] = found

    if samples is not None:
        for n in set(samples):
            nodes = (np.arange(n) + 0.5) / n - 0.5, np.full(n, 1 / n)
            average(np.flatnonzero(np.equal(samples, n)), nodes, middle)
        return data
    shape = middle_shape(grid)
    half_width = profiles.half_width if np.isfinite(profiles.half_width) else shape.size
    wanted = np.ceil(_NODES_PER_HALF_WIDTH * shape.size / half_width)
    fine = int(np.clip(wanted, _NODES_MIN, _NODES_MAX))
    core = np.ceil(_CORE * half_width * shape.per_degree * oversampling).astype(int) + oversampling
    core += np.ceil(np.abs(off)).astype(int)
    for n, half in ((fine // 3, middle), (fine, np.minimum(core, middle).tolist())):
        average(slice(None), _gauss_legendre(-(-n // oversampling)), half)
    return data


@functools.cache
def _gauss_legendre(n: int) -> tuple[Floats, Floats]:
    """Return nodes in a pixel, from -1/2 to 1/2, and their weights."""
    points, weights = np.polynomial.legendre.leggauss(n)
    return points / 2, weights / 2


class _Symmetry(NamedTuple):
    """Whether offsets from the middle of a grid are the same elsewhere."""

    mirrored: tuple[bool, bool]  # with the rows in reverse, with the columns in reverse
    transposed: bool  # with rows and columns exchanged


def _symmetry(grid: WcsGeom) -> _Symmetry:
    """Return the symmetry of a grid."""
    rows, cols = (np.linspace(0, n - 1, 7) for n in grid.shape_image)
    offset, shape = grid.distance_from_center(cols[None, :], rows[:, None]), middle_shape(grid)
    # around a reference point symmetries are exact
    noise = _ROUNDING * (1 + offset) if is_centred(grid) else _SYMMETRIC * shape.least

    def is_same(other: Floats) -> bool:
        return bool(np.all(np.abs(offset - other) <= noise))

    mirrored = is_same(np.flip(offset, 0)), is_same(np.flip(offset, 1))
    square = grid.npix[0] == grid.npix[1]
    return _Symmetry(mirrored, square and is_same(offset.T))


def _averages(
    grid: WcsGeom,
    profiles: RadialProfiles,
    oversampling: int,
    nodes: tuple[Floats, Floats],
    rows: Floats,
    columns: Floats,
) -> Floats:
    """Average profiles over finer pixels: all pairs of some rows and columns."""
    points, weights = nodes
    # finer pixel i covers (i ... i + 1) / oversampling - 1/2 in pixels of the grid
    y, x = ((which[:, None] + 0.5 + points) / oversampling - 0.5 for which in (rows, columns))
    result = np.empty((len(profiles.table), len(y), len(x)))
    symmetry = kept(grid.derived, "symmetry", lambda: _symmetry(grid))
    transposed = symmetry.transposed and np.array_equal(rows, columns)
    step = max(_MAX_SAMPLES // (len(x) * max(len(points) ** 2, len(profiles.nodes))), 1)
    for first in range(0, len(y), step):
        some = y[first : first + step]
        row, column = np.indices((len(some), len(x))).reshape(2, -1)
        if transposed:
            # two pixels with rows and columns exchanged are computed once
            row, column = row[column >= first + row], column[column >= first + row]
        key = y.tobytes(), x.tobytes(), first, len(some)
        offset = _offsets(grid, key, x[column], some[row])
        found = _weighted_sums(profiles, offset, np.outer(weights, weights).ravel())
        result[:, first + row, column] = found
        if transposed:
            result[:, column, first + row] = found
    return result


def _offsets(grid: WcsGeom, key: Any, columns: Floats, rows: Floats) -> Floats:
    """Return the offsets of samples from the middle of a grid."""
    kept: dict[Any, Floats] = grid.derived.setdefault("offsets", {})
    if key in kept:
        return kept[key]  # nothing is ever taken out
    offset = grid.distance_from_center(columns[:, None, :], rows[:, :, None])
    offset = offset.reshape(len(columns), -1)
    offset.flags.writeable = False
    if offset.size + sum(other.size for other in list(kept.values())) <= _MAX_KEPT:
        kept[key] = offset
    return offset


def _weighted_sums(profiles: RadialProfiles, offset: Floats, weights: Floats) -> Floats:
    """Sum profiles over samples of pixels, shape (pixel, sample); 0 for pixels off the sky."""
    # All profiles have the same nodes, so a sum over samples is a sum over the nodes with weights
    # that do not depend on the profile.
    nodes, values = profiles.pieces(min(profiles.edge, np.nanmax(offset, initial=0.0)))
    place = np.interp(offset, nodes, np.arange(len(nodes)))
    if not (offset <= profiles.edge).all():
        seen = (offset <= profiles.edge) & ~np.isnan(offset).any(axis=1, keepdims=True)
        place, weights = np.where(seen, place, 0.0), np.where(seen, weights, 0.0)
    low = place.astype(int)
    np.minimum(low, len(nodes) - 2, out=low)
    place -= low
    upper = place * weights
    lower = weights - upper
    low += len(nodes) * np.arange(len(offset))[:, None]
    size = len(nodes) * len(offset)
    share = np.bincount(low.ravel(), lower.ravel(), size)
    share += np.bincount(low.ravel() + 1, upper.ravel(), size)
    # no BLAS: its threads would compete with the threads of the fit
    return np.einsum("ek,pk->ep", values, share.reshape(len(offset), len(nodes)))
