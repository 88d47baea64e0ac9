"""What a dataset predicts, and how well that fits its counts."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gammagrad.core.stats import cash
from gammagrad.dataset.predict import background_npred, model_npred, sky_models
from gammagrad.dataset.transforms import DatasetTransforms
from gammagrad.maps.map import Map

__all__ = ["DatasetStatistic"]

# one compilation for a shape, where the bare function would have one for each operation
_cash = jax.jit(cash)


class DatasetStatistic(DatasetTransforms):
    """A dataset that predicts counts and has a statistic; `MapDataset` is the one to use."""

    def npred_background(self) -> Map | None:
        """Return the background as its model has it, in counts per bin.

        Returns
        -------
        Map or None
            The background times the `FoVBackgroundModel` of `models` if there is one; None
            without a background.
        """
        return background_npred(self.background, self.models)

    def npred_signal(self, models: Any = None, sampling: str = "fine") -> Map:
        """Return the counts that models predict.

        Parameters
        ----------
        models
            A model or a list of them; by default those of the dataset. A `FoVBackgroundModel`
            adds nothing here.
        sampling
            "fine" integrates models over pixels accurately; "gammapy" takes the samples that
            gammapy 2.1 does, for comparison.

        Returns
        -------
        Map
            Predicted counts per bin, on the geometry of the counts.

        Raises
        ------
        ValueError
            If there are sky models but no exposure.
        """
        total = np.zeros(self.geom.data_shape)
        for model in sky_models(self.models if models is None else models):
            total += model_npred(model, self, sampling).data
        return Map(self.geom, total)

    def npred(self, sampling: str = "fine") -> Map:
        """Return all predicted counts: background and models.

        Parameters
        ----------
        sampling
            As in `npred_signal`.

        Returns
        -------
        Map
            Predicted counts per bin, never below 0; NaN where the background is.
        """
        background = self.npred_background()
        if background is not None and not sky_models(self.models):
            return Map(self.geom, np.maximum(background.data, 0.0, dtype=float), copy=False)
        return self._add(self.npred_signal(sampling=sampling), background)

    def _add(self, signal: Map, background: Map | None) -> Map:
        data = signal.data + (0.0 if background is None else background.data)
        return Map(self.geom, np.maximum(data, 0.0, out=data), copy=False)

    def stat_array(self) -> np.ndarray:
        """Return the Cash statistic of each bin.

        Returns
        -------
        ndarray
            ``2 (npred - counts log npred)``, shape (energy, row, col), float64; times `weights`
            if there are any. Masks that are true or false are not applied.

        References
        ----------
        Cash (1979), ApJ 228, 939, equation 5.
        """
        return self._stat(self.npred())

    def _stat(self, npred: Map) -> np.ndarray:
        counts = np.asarray(self.require("counts").data, dtype=float)
        with jax.enable_x64(True):
            stat = np.asarray(_cash(counts, npred.data))
        weights = self.weights
        if weights is None:
            return stat
        # a bin without weight adds nothing, whatever it holds
        return np.multiply(weights.data, stat, out=np.zeros_like(stat), where=weights.data > 0)

    def stat_sum(self) -> float:
        """Return the Cash statistic summed over the bins that the masks leave.

        Returns
        -------
        float
            The sum, weighted by `weights` if there are any; bins with an unknown (NaN) background
            do not enter.
        """
        return self._sum(self.stat_array())

    def _sum(self, stat: np.ndarray) -> float:
        mask = self.mask
        used = ~np.isnan(stat) if mask is None else mask.data & ~np.isnan(stat)
        return float(stat[used].sum())
