"""A background loop on maps: arrays into the compiled function, maps out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.core.background import KernelBackground, kernel_background
from gammagrad.estimators.kernel_background.cube import cube_background
from gammagrad.estimators.kernel_background.inputs import BackgroundImages
from gammagrad.estimators.kernel_background.report import BackgroundReport
from gammagrad.maps import Map, on_sky

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
