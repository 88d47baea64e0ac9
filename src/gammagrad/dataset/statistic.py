"""What a dataset predicts, and how well that fits its counts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad._programs import by_element, compiled, is_traced, to_device
from gammagrad.core.stats import cash
from gammagrad.dataset.likelihood import DatasetLikelihood, prepare_likelihood
from gammagrad.dataset.predict import background_npred, model_npred, sky_models
from gammagrad.dataset.transforms import DatasetTransforms
from gammagrad.evaluate import CUTOUT_MARGIN, SourceResponse, source_response
from gammagrad.maps import Map
from gammagrad.models import Models, SkyModel

# one compilation for a shape, where the bare function would have one for each operation
_cash = compiled(cash)


class DatasetStatistic(DatasetTransforms):
    """A dataset that predicts counts and has a statistic; `MapDataset` is the one to use."""

    # Each method takes models in place of the dataset's own. With parameters that JAX traces (under
    # `jax.jit`, `jax.grad`, ...) the results are arrays of JAX instead of maps and numbers, and the
    # prediction is prepared where the dataset's own models of the same names are. `likelihood`
    # prepares it once, for many calls.

    def likelihood(
        self,
        models: Any = None,
        *,
        room: float = CUTOUT_MARGIN,
        sampling: str = "fine",
        like: DatasetLikelihood | None = None,
    ) -> DatasetLikelihood:
        """Prepare the likelihood of models with varying parameters, for compiled code.

        Parameters
        ----------
        models
            The models with their present parameters; by default those of the dataset. Windows
            and instrument responses are those at their present positions and sizes.
        room
            How far in deg a source may move or grow before `DatasetLikelihood.holds` is false.
        sampling
            As in `npred_signal`.
        like
            An earlier likelihood of this dataset. A source that is still within its window keeps
            the pixels of it, and its `room`: only the instrument's responses are those of the
            present position, and what was compiled for the earlier one serves the new one.

        Returns
        -------
        DatasetLikelihood
            A tree of arrays, in the precision that JAX is set to; its methods `npred`,
            `stat_array` and `stat_sum` take models.

        Raises
        ------
        ValueError
            If there are sources but no exposure, or a template does not fit the geometry.

        Examples
        --------
        >>> import jax
        >>> from gammagrad import Map, MapDataset
        >>> from gammagrad.maps import MapAxis
        >>> from gammagrad.models import FoVBackgroundModel
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
        >>> counts = Map.create(npix=(4, 3), binsz=0.1, axes=[axis])
        >>> counts.data += 1
        >>> dataset = MapDataset(counts, background=counts, name="example")
        >>> model = FoVBackgroundModel("example")
        >>> likelihood = dataset.likelihood(model)
        >>> value, slope = jax.jit(jax.value_and_grad(likelihood.stat_sum))(model)
        >>> float(value), float(slope.spectral_model.norm)
        (48.0, 0.0)
        """
        prepared = prepare_likelihood(self, self._chosen(models), sampling, room, like)
        return prepared if is_traced(prepared) else to_device(prepared)

    def source_response(self, model: SkyModel, kernel_width: Any = None) -> SourceResponse:
        """Prepare the kernel and exposure of a source search for a model with varying parameters.

        Parameters
        ----------
        model
            The source to search for; its size sets that of the kernel.
        kernel_width
            Full width of the kernel, as `TSMapEstimator` takes it.

        Returns
        -------
        SourceResponse
            A tree of arrays, in the precision that JAX is set to; its methods `kernel` and
            `reference_counts` take models and give what `gammagrad.ts_map` takes.

        Raises
        ------
        ValueError
            If there is no exposure, or the model has no shape.

        """
        prepared = source_response(
            model, self.require("exposure"), self.psf, self.edisp, self.geom, kernel_width
        )
        return jax.tree.map(jnp.asarray, prepared)

    def npred_background(self, models: Any = None) -> Any:
        """Return the background as its model has it, in counts per bin.

        Parameters
        ----------
        models
            Models to take in place of the dataset's own.

        Returns
        -------
        Map, Array or None
            The background times the `FoVBackgroundModel` of `models` if there is one; None
            without a background. An array if a parameter is traced.
        """
        chosen = self._chosen(models)
        if self.background is not None and is_traced(chosen):
            return self._prepared(chosen).npred_background(chosen)
        return background_npred(self.background, chosen)

    def npred_signal(self, models: Any = None, sampling: str = "fine") -> Any:
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
        Map or Array
            Predicted counts per bin, on the geometry of the counts; an array if a parameter is
            traced.

        Raises
        ------
        ValueError
            If there are sky models but no exposure.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return self._prepared(chosen, sampling).npred_signal(chosen)
        total = np.zeros(self.geom.data_shape)
        for model in sky_models(chosen):
            total += model_npred(model, self, sampling).data
        return Map(self.geom, total)

    def npred(self, models: Any = None, sampling: str = "fine") -> Any:
        """Return all predicted counts: background and models.

        Parameters
        ----------
        models
            Models to take in place of the dataset's own.
        sampling
            As in `npred_signal`.

        Returns
        -------
        Map or Array
            Predicted counts per bin, never below 0; NaN where the background is. An array if a
            parameter is traced.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return self._prepared(chosen, sampling).npred(chosen)
        background = self.npred_background(chosen)
        if background is not None and not sky_models(chosen):
            return Map(self.geom, np.maximum(background.data, 0.0, dtype=float), copy=False)
        return self._add(self.npred_signal(chosen, sampling), background)

    def _add(self, signal: Map, background: Map | None) -> Map:
        data = signal.data + (0.0 if background is None else background.data)
        return Map(self.geom, np.maximum(data, 0.0, out=data), copy=False)

    def _chosen(self, models: Any) -> Models:
        """Return the models that apply to this dataset, by default its own."""
        return Models(self.models) if models is None else Models(models).for_dataset(self.name)

    def _prepared(self, models: Models, sampling: str = "fine") -> DatasetLikelihood:
        return prepare_likelihood(self, models, sampling, CUTOUT_MARGIN)

    def stat_array(self, models: Any = None) -> Any:
        """Return the Cash statistic of each bin.

        Parameters
        ----------
        models
            Models to take in place of the dataset's own.

        Returns
        -------
        ndarray or Array
            ``2 (npred - counts log npred)``, shape (energy, row, col), float64; times `weights`
            if there are any. Masks that are true or false are not applied. An array of JAX if a
            parameter is traced.

        References
        ----------
        Cash (1979), ApJ 228, 939, equation 5.
        """
        chosen = self._chosen(models)
        npred = self.npred(chosen)
        return self._stat(npred) if isinstance(npred, Map) else self._traced_stat(npred)

    def _stat(self, npred: Map) -> np.ndarray:
        counts = np.asarray(self.require("counts").data, dtype=float)
        with jax.enable_x64(True):
            stat = by_element(_cash, counts, npred.data)
        weights = self.weights
        if weights is None:
            return stat
        # a bin without weight adds nothing, whatever it holds
        return np.multiply(weights.data, stat, out=np.zeros_like(stat), where=weights.data > 0)

    def _traced_stat(self, npred: jax.Array) -> jax.Array:
        counts = jnp.asarray(self.require("counts").data).astype(npred.dtype)
        if self.weights is None:
            return _cash(counts, npred)
        weights = jnp.asarray(self.weights.data).astype(npred.dtype)
        used = weights > 0
        stat = _cash(*(jnp.where(used, x, jnp.ones_like(npred)) for x in (counts, npred)))
        return jnp.where(used, weights * stat, jnp.zeros_like(stat))

    def stat_sum(self, models: Any = None) -> Any:
        """Return the Cash statistic summed over the bins that the masks leave.

        Parameters
        ----------
        models
            Models to take in place of the dataset's own.

        Returns
        -------
        float or Array
            The sum, weighted by `weights` if there are any; bins with an unknown (NaN) background
            do not enter. A scalar of JAX if a parameter is traced.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return self._prepared(chosen).stat_sum(chosen)
        return self._sum(self.stat_array(chosen))

    def _sum(self, stat: np.ndarray) -> float:
        mask = self.mask
        used = ~np.isnan(stat) if mask is None else mask.data & ~np.isnan(stat)
        return float(stat[used].sum())
