"""Cutouts of equal shape around candidates, so that all use the same compiled code."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.dataset import MapDataset
from gammagrad.evaluate import finite
from gammagrad.maps import Map, conversion, nearest_place
from gammagrad.maps import reach as pixels_reached

Floats = NDArray[np.float64]

# Half widths of a cutout in pixels, whatever the PSF.
_LEAST, _MOST = 3, 60
# Fraction of the PSF, and sigmas of a source, within a cutout.
_CONTAINED, _SIGMAS = 0.95, 3.0


class Cutout(NamedTuple):
    """Where a cutout lies."""

    # row, column: first pixel of the map in it; may be negative
    row: int
    column: int
    likelihood: Any  # the likelihood of the data in it and one source


def typical_psf(dataset: MapDataset, position: SkyCoord) -> float:
    """Return the sigma of a Gaussian about as wide as a dataset's PSF."""
    if dataset.psf is None:
        return 0.0
    widths = dataset.psf.half_widths(dataset.psf.valid_position(position))
    known = widths[np.isfinite(widths)]
    return float(np.median(known)) / math.sqrt(2 * math.log(2)) if known.size else 0.0


class Field:
    """A dataset as arrays for cutouts, and the sources found in it."""

    def __init__(
        self, dataset: MapDataset, sampling: str, position: SkyCoord, reach: float
    ) -> None:
        counts = np.asarray(dataset.require("counts").data, dtype=float)
        background = np.asarray(dataset.npred(sampling=sampling).data, dtype=float)
        exposure = dataset.require("exposure")
        weights, mask = dataset.weights, dataset.mask
        used = np.isfinite(counts) & np.isfinite(background)
        if mask is not None:
            used &= mask.data
        self.dataset, self.sampling = dataset, sampling
        self.image = dataset.geom.to_image()
        self.counts = np.where(used, counts, 0.0)
        self.background = np.where(used, background, 0.0)
        self.weights = np.where(used, 1.0 if weights is None else weights.data, 0.0)
        self.exposure = finite(exposure.data) * conversion(exposure.unit, "cm2 s")
        self.exposure_axis = exposure.geom.axes["energy_true"]
        self.half = self._half(position, reach)
        self._found: dict[Any, Floats] = {}

    def _half(self, position: SkyCoord, reach: float) -> tuple[int, int]:
        """Return the half width of cutouts in rows and columns."""
        psf, shape = self.dataset.psf, (1, 1)
        if psf is not None:
            there = psf.valid_position(position)
            shape = psf.get_psf_kernel(self.image, there, containment=_CONTAINED).shape
        more = pixels_reached(self.image, nearest_place(self.image, position), reach)
        rows, cols = (
            min(max(n // 2 + math.ceil(half - 1e-9), _LEAST), _MOST)
            for n, half in zip(shape, more, strict=True)
        )
        return rows, cols

    def _pick(self, data: Floats, row: int, column: int) -> Floats:
        """Cut an array; beyond the map, repeat its edge."""
        ny, nx = self.image.shape_image
        rows = np.clip(row + np.arange(2 * self.half[0] + 1), 0, ny - 1)
        cols = np.clip(column + np.arange(2 * self.half[1] + 1), 0, nx - 1)
        return data[:, rows[:, None], cols[None, :]]

    def _overlap(self, row: int, column: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the pixels of the map that a cutout covers, and the same in the cutout."""
        target, source = [slice(None)], [slice(None)]
        for start, half, size in zip((row, column), self.half, self.image.shape_image, strict=True):
            low, high = max(start, 0), min(start + 2 * half + 1, size)
            high = max(high, low)
            target.append(slice(low, high))
            source.append(slice(low - start, high - start))
        return tuple(target), tuple(source)

    def _first(self, position: SkyCoord) -> tuple[int, int]:
        """Return the first row and column of the cutout around a position."""
        x, y = (float(c) for c in self.image.sky_to_pix(position))
        if not (math.isfinite(x) and math.isfinite(y)):
            # behind the projection: anywhere off the map
            return -3 * self.half[0] - 3, -3 * self.half[1] - 3
        return math.floor(y + 0.5) - self.half[0], math.floor(x + 0.5) - self.half[1]

    def has_data(self, position: SkyCoord, energies: tuple[float, float]) -> bool:
        """Return whether any bin around a position has a weight."""
        target, _ = self._overlap(*self._first(position))
        return bool(self.weights[target][self._chosen(energies)].any())

    def _chosen(self, energies: tuple[float, float]) -> NDArray[np.bool_]:
        """Return the energy bins whose middle lies between two energies in TeV."""
        middle = self.dataset.energy_axis.center_in("TeV")
        return np.asarray((middle > energies[0]) & (middle < energies[1]))

    def cut(
        self, position: SkyCoord, energies: tuple[float, float], models: Any, room: float
    ) -> Cutout:
        """Prepare the likelihood of a source and the data around it."""
        row, column = self._first(position)
        shape = (2 * self.half[0] + 1, 2 * self.half[1] + 1)
        image = self.image.window(row, column, shape)
        axis = self.dataset.energy_axis
        geom = image.to_cube([axis])
        part = MapDataset(
            counts=Map(geom, self._pick(self.counts, row, column)),
            exposure=Map(
                image.to_cube([self.exposure_axis]),
                self._pick(self.exposure, row, column),
                unit="cm2 s",
            ),
            background=Map(geom, self._pick(self.background, row, column)),
            psf=self.dataset.psf,
            edisp=self.dataset.edisp,
            name=self.dataset.name,
        )
        ny, nx = self.image.shape_image
        rows, cols = row + np.arange(shape[0]), column + np.arange(shape[1])
        inside = ((rows >= 0) & (rows < ny))[:, None] & ((cols >= 0) & (cols < nx))[None, :]
        chosen = self._chosen(energies)
        weights = self._pick(self.weights, row, column) * (chosen[:, None, None] & inside[None])
        likelihood = part.likelihood(models, room=room, sampling=self.sampling)
        return Cutout(row, column, likelihood.with_data(weights=weights))

    def add(self, group: Any, cutout: Cutout, counts: Floats) -> None:
        """Add the counts predicted for a source to those of the sources found."""
        if group not in self._found:
            self._found[group] = np.zeros_like(self.background)
        target, source = self._overlap(cutout.row, cutout.column)
        self._found[group][target] += counts[source]

    def others(self, group: Any, cutout: Cutout, counts: Floats) -> Floats:
        """Return the counts of all other sources around one of them."""
        total = np.zeros_like(counts)
        target, source = self._overlap(cutout.row, cutout.column)
        total[source] = self._found[group][target]
        # rounding must not leave a negative background
        return np.where(total - counts > 1e-9, total - counts, 0.0)

    def own_background(self, cutout: Cutout) -> Floats:
        """Return the background without any of the sources found."""
        return self._pick(self.background, cutout.row, cutout.column)

    def used_bins(self, energies: tuple[float, float]) -> int:
        """Return how many energy bins have any weight."""
        return int(np.count_nonzero(self.weights[self._chosen(energies)].any(axis=(1, 2))))
