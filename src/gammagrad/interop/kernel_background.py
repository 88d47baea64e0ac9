"""The iterative background, on gammapy's maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gammagrad.estimators.kernel_background import KernelBackgroundEstimator as Native
from gammagrad.interop.maps import map_from_gammapy, map_to_gammapy


class KernelBackgroundEstimator(Native):
    """Estimate background and exclusion mask of counts, on maps of gammapy.

    Arguments and results are those of `gammagrad.KernelBackgroundEstimator`, but for the maps,
    which are gammapy's.
    """

    def run(self, images: Mapping[str, Any], niter_min: int = 2, niter_max: int = 10) -> Any:
        """Iterate until the mask converges.

        Parameters
        ----------
        images
            gammapy's maps by name, as for `gammagrad.KernelBackgroundEstimator.run`.
        niter_min, niter_max
            Least and largest number of iterations.

        Returns
        -------
        dict of str to WcsNDMap
            The maps, as gammapy's.
        """
        return _to(super().run(_from(images), niter_min, niter_max))

    def run_iteration(self, images: Mapping[str, Any]) -> Any:
        """Do one iteration.

        Parameters
        ----------
        images
            gammapy's maps by name, as in `run`.

        Returns
        -------
        dict of str to WcsNDMap
            The maps, as gammapy's.
        """
        return _to(super().run_iteration(_from(images)))


def _from(images: Mapping[str, Any]) -> dict[str, Any]:
    return {name: map_from_gammapy(m) for name, m in images.items()}


def _to(images: Mapping[str, Any]) -> dict[str, Any]:
    return {name: map_to_gammapy(m) for name, m in images.items()}
