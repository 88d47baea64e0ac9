"""A background loop on maps: arrays into the compiled function, maps out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.core.background import KernelBackground, kernel_background
from gammagrad.errors import InputError
from gammagrad.estimators.kernel_background.inputs import BackgroundImages
from gammagrad.maps import Map, on_sky


@dataclass(frozen=True)
class BackgroundReport:
    """How the loop of `KernelBackgroundEstimator` ended.

    Parameters
    ----------
    niter : int
        Number of iterations done.
    converged : bool
        Whether the last one left the mask exactly as it was.
    period : int
        Length of the cycle that the masks went into, in iterations; 0 if none was found.
    kept : Map
        Image, true where no pixel under the background kernel is kept, so that the background has
        the value it had before.
    n_excluded : tuple of int
        Number of excluded pixels: of the start and after each iteration if a record was kept,
        otherwise at the end only.

    Examples
    --------
    >>> kept = Map.create(npix=10, data=False)
    >>> print(BackgroundReport(3, True, 0, kept, (11,)))
    The mask stood still after 3 iterations; 11 of 100 pixels are excluded.
    """

    niter: int
    converged: bool
    period: int
    kept: Map
    n_excluded: tuple[int, ...]

    @property
    def n_kept(self) -> int:
        """Number of pixels whose background is that of before."""
        return int(self.kept.data.sum())

    @property
    def meta(self) -> dict[str, Any]:
        """What the maps of a result say about it: niter, converged, period, n_kept and status."""
        return {
            "niter": self.niter,
            "converged": self.converged,
            "period": self.period,
            "n_kept": self.n_kept,
            "status": str(self),
        }

    def __str__(self) -> str:
        size = f"{self.n_excluded[-1]} of {self.kept.data.size} pixels are excluded."
        text = f"{self._end}; {size}"
        if n_kept := self.n_kept:
            pixels = "1 pixel" if n_kept == 1 else f"{n_kept} pixels"
            text += (
                f" At {pixels} nothing under the background kernel is kept, and the "
                "background is that of before."
            )
        return text

    @property
    def _end(self) -> str:
        done = "1 iteration" if self.niter == 1 else f"{self.niter} iterations"
        if self.niter == 0:
            return "No iteration was done, this is the start"
        if self.converged:
            return f"The mask stood still after {done}"
        if self.period:
            return (
                f"The masks repeat every {self.period} iterations and will not stand still "
                f'(mask_update="grow" always does); stopped after {done}'
            )
        return f"Stopped after {done}, before the mask was found to stand still"


Floats = NDArray[np.float64]


def _means(
    cube: Floats,
    kernels: tuple[Floats, Floats],
    exclusion: NDArray[np.bool_],
    acceptance: Floats | None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the means under the background kernel at a mask, and where there are none."""
    means, none_kept = np.zeros_like(cube), np.zeros(cube.shape, bool)
    for index, counts in enumerate(cube):
        own = None if acceptance is None else acceptance[index]
        start = kernel_background(
            counts, *kernels, exclusion=exclusion, niter_max=0, acceptance=own
        )
        means[index], none_kept[index] = start.background, start.kept
    return means, none_kept


def cube_background(
    arrays: BackgroundImages,
    kernels: tuple[Floats, Floats],
    exclusion: NDArray[np.bool_],
    background: Floats,
    is_start: bool = False,
) -> Floats:
    """Return the background per energy bin."""
    # Where nothing under the background kernel is kept, the image's background is shared out among
    # the energies as the background given was, or else as the kept counts of the whole map are.
    if arrays.cube is None:
        raise InputError("arrays have no cube, so that the image's background is all there is.")
    cube, given = arrays.cube, arrays.background_cube
    with jax.enable_x64(True):
        result, none_kept = _means(cube, kernels, exclusion, arrays.acceptance_cube)
    if none_kept.any():
        shared = _shares(cube, given, exclusion) * background[None]
        np.copyto(result, shared, where=none_kept)
    if is_start and given is not None:
        np.copyto(result, given, where=np.isfinite(given))
    return result


def _shares(cube: Floats, given: Floats | None, exclusion: NDArray[np.bool_]) -> Floats:
    """Return the part of a background that falls into each energy bin, shape (n, ny, nx)."""
    known = np.isfinite(cube)
    for used in (known & exclusion[None], known):
        counts = np.sum(cube, axis=(1, 2), where=used)
        if counts.sum() > 0:
            break
    else:
        counts = np.ones(len(cube))
    shares = np.broadcast_to((counts / counts.sum())[:, None, None], cube.shape)
    if given is None:
        return shares
    total = given.sum(axis=0)
    there = np.isfinite(total) & (total > 0)
    own = np.divide(given, total[None], out=np.zeros_like(given), where=there[None])
    return np.where(there[None], own, shares)


# Places for a record come in multiples of this, so that few lengths of it are compiled.
_PLACES = 16


@dataclass(frozen=True)
class BackgroundLoop:
    """One run of `KernelBackgroundEstimator`: what goes in, and how it comes out as maps."""

    images: Mapping[str, Map]  # the maps that were given
    arrays: BackgroundImages  # the same as arrays
    # arguments of `gammagrad.kernel_background` but for the bounds of its loop
    arguments: dict[str, Any]

    def run(self, niter_min: int, niter_max: int, n_record: int | None = None) -> KernelBackground:
        """Run the loop in float64, whatever the precision set by the user."""
        bounds: dict[str, Any] = {"niter_min": niter_min, "niter_max": niter_max}
        with jax.enable_x64(True):
            result = kernel_background(**self.arguments, **bounds, n_record=n_record)
            return jax.tree.map(np.asarray, result)

    def run_recorded(self, niter_min: int, niter_max: int) -> KernelBackground:
        """Run the loop, and record all of its iterations."""
        result = self.run(niter_min, niter_max, _PLACES)
        if result.niter <= _PLACES:
            return result
        # the number of places is fixed beforehand: once more, with as many as it takes
        return self.run(niter_min, niter_max, -(-int(result.niter) // _PLACES) * _PLACES)

    def report(self, result: KernelBackground) -> BackgroundReport:
        """Say how the loop ended."""
        niter = int(result.niter)
        masks = [result.exclusion]
        if result.history is not None:
            masks = list(result.history.exclusion[: niter + 1])
        return BackgroundReport(
            niter=niter,
            converged=bool(result.converged),
            period=int(result.period),
            kept=Map(self.images["counts"].geom.to_image(), result.kept),
            n_excluded=tuple(int(np.sum(~mask)) for mask in masks),
        )

    def maps(self, result: KernelBackground) -> dict[str, Map]:
        """Return the result as maps."""
        arrays = result.background, result.exclusion, result.significance
        return self._as_maps(*arrays, int(result.niter), self.report(result).meta)

    def record(self, result: KernelBackground, index: int) -> dict[str, Map]:
        """Return one iteration of a recorded loop as maps."""
        history = result.history
        assert history is not None
        arrays = history.background[index], history.exclusion[index], history.significance[index]
        return self._as_maps(*arrays, index, {"niter": index, "converged": False})

    def _as_maps(
        self,
        background: NDArray[np.float64],
        exclusion: NDArray[np.bool_],
        significance: NDArray[np.float64],
        niter: int,
        meta: dict[str, Any],
    ) -> dict[str, Map]:
        counts = self.images["counts"]
        geom = counts.geom
        if self.arrays.cube is not None:
            geom = geom.to_image()
            kernels = self.arguments["kernel_src"], self.arguments["kernel_bkg"]
            background = cube_background(
                self.arrays, kernels, exclusion, background, is_start=niter == 0
            )
        seen = on_sky(geom)
        background = np.where(seen, background, 0.0)
        significance = np.where(seen, significance, np.nan)
        maps = {
            "counts": counts.copy(),
            "background": Map(counts.geom, background, counts.unit, meta),
            "exclusion": Map(geom, exclusion, meta=meta),
            "significance": Map(geom, significance, meta=meta),
        }
        if "acceptance" in self.images:
            maps["acceptance"] = self.images["acceptance"].copy()
        return maps
