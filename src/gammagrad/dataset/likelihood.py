"""The likelihood of a dataset as a tree of arrays, for compiled and differentiated code."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gammagrad._programs import compiled, is_traced
from gammagrad._pytree import pytree, replace, static_field
from gammagrad.dataset.predict import TemplatePlace, template_place
from gammagrad.dataset.statistic import weighted_cash
from gammagrad.errors import InputError, InputTypeError
from gammagrad.evaluate import (
    CUTOUT_MARGIN,
    WindowGroup,
    finite,
    group_windows,
    is_compact,
    source_window,
)
from gammagrad.maps import conversion
from gammagrad.models import FoVBackgroundModel, Models, SkyModel, TemplateNPredModel


@pytree
class DatasetLikelihood:
    """A dataset as arrays, prepared for models with varying parameters.

    `MapDataset.likelihood` makes it. It is a tree of arrays to pass to compiled functions as an
    argument, with a derivative in every array. The models are arguments of its methods: models of
    the names and kinds it was prepared for, with any parameters.

    Parameters
    ----------
    counts
        Observed counts, shape (energy, row, col); None if the dataset has none.
    background
        Background counts, same shape, NaN where unknown.
    weights
        Weight of each bin in the likelihood, same shape: 0 where masked or unknown.
    exposure
        Exposure in cm2 s, shape (energy_true, row, col); None without sources.
    energy
        Centres of the energy bins in TeV, shape (energy,).
    sources
        Windows of the sources with their arrays; similar windows are grouped.
    templates
        Pixels of each template of counts, by name.
    backgrounds
        Names of the background models; static.
    name
        Name of the dataset, used to select models; static.
    """

    counts: Any
    background: Any
    weights: Any
    exposure: Any
    energy: Any
    sources: tuple[WindowGroup, ...]
    templates: dict[str, TemplatePlace]
    backgrounds: tuple[str, ...] = static_field()
    name: str | None = static_field()

    @compiled
    def npred_background(self, models: Any) -> Array:
        """Return the background with its model applied.

        Parameters
        ----------
        models
            The models, see `npred`.

        Returns
        -------
        Array
            Counts per bin, shape (energy, row, col); NaN where unknown.
        """
        counts, known = self._background(self._select(models))
        return jnp.where(known, counts, jnp.nan)

    @compiled
    def npred_signal(self, models: Any) -> Array:
        """Return the counts of sources and templates.

        Parameters
        ----------
        models
            The models, see `npred`.

        Returns
        -------
        Array
            Counts per bin, shape (energy, row, col).
        """
        background = jnp.asarray(self.background)
        return self._add_sources(jnp.zeros_like(background), self._select(models))

    @compiled
    def npred(self, models: Any) -> Array:
        """Return all predicted counts: background, sources and templates.

        Parameters
        ----------
        models
            A model, a list of models, or a `Models`, of the names and kinds that the likelihood was
            prepared for. Models for other datasets are ignored.

        Returns
        -------
        Array
            Counts per bin, shape (energy, row, col); never below 0, NaN where the background is
            unknown.

        Raises
        ------
        ValueError
            If a model is missing, new, or of a different kind.
        """
        counts, known = self._npred(models)
        return jnp.where(known, counts, jnp.nan)

    @compiled
    def stat_array(self, models: Any) -> Array:
        """Return the Cash statistic of each bin, times its weight.

        Parameters
        ----------
        models
            The models, see `npred`.

        Returns
        -------
        Array
            ``2 w (npred - counts log npred)``, shape (energy, row, col); 0 where the weight is 0.
            Below `gammagrad.stats.BACKGROUND_FLOOR` predicted counts the logarithm is
            constant.

        References
        ----------
        Cash (1979), ApJ 228, 939, equation 5.
        """
        if self.counts is None:
            raise InputError(
                f"dataset {self.name!r} has no counts, which a statistic needs; set its counts and "
                "prepare the likelihood again."
            )
        npred, known = self._npred(models)
        weights = jnp.asarray(self.weights)
        return weighted_cash(self.counts, npred, weights, (weights > 0) & known)

    @compiled
    def stat_sum(self, models: Any) -> Array:
        """Return the Cash statistic summed over all bins, ``-2 log L`` up to a constant.

        Parameters
        ----------
        models
            The models, see `npred`.

        Returns
        -------
        Array
            The sum, a scalar.
        """
        return self.stat_array(models).sum()

    def holds(self, models: Any) -> bool:
        """Return whether the likelihood is still valid for models with these parameters.

        Parameters
        ----------
        models
            The models with known parameters (not inside a JAX transformation).

        Returns
        -------
        bool
            False if a source moved or grew beyond its window, or became much smaller: prepare the
            likelihood again with `MapDataset.likelihood`.
        """
        selected = self._select(models)
        return all(group.holds(selected) for group in self.sources)

    def with_data(self, **arrays: ArrayLike) -> DatasetLikelihood:
        """Copy the likelihood with other data of the same shape.

        Parameters
        ----------
        **arrays
            Any of ``counts``, ``background``, ``weights`` and ``exposure``.

        Returns
        -------
        DatasetLikelihood
            The copy; compiled functions are reused for it.

        Raises
        ------
        TypeError
            If a name is not one of these.
        ValueError
            If a shape differs.
        """
        for name, value in arrays.items():
            if name not in ("counts", "background", "weights", "exposure"):
                raise InputTypeError(
                    f"{name!r} is not among the data of a likelihood; choose from counts, "
                    "background, weights and exposure."
                )
            wanted = np.shape(self.background if name == "counts" else getattr(self, name))
            if np.shape(value) != wanted:
                raise InputError(f" has shape {np.shape(value)}; expected {wanted}.", name)
        return replace(self, **arrays)

    def _select(self, models: Any) -> dict[str, Any]:
        """Return the models of this dataset by name, checked against the prepared models."""
        given = {model.name: model for model in Models(models).for_dataset(self.name)}
        sources = (name for group in self.sources for name in group.names)
        wanted = {*sources, *self.templates, *self.backgrounds}
        missing, new = sorted(wanted - given.keys()), sorted(given.keys() - wanted)
        if missing or new:
            found = [f"{', '.join(missing)} missing"] * bool(missing)
            found += [f"{', '.join(new)} new"] * bool(new)
            raise InputError(
                f"the likelihood of dataset {self.name!r} was prepared for "
                f"{', '.join(sorted(wanted)) or 'no models'}, but of the models given "
                f"{' and '.join(found)}; prepare it again with dataset.likelihood(models)."
            )
        for group in self.sources:
            group.check(given)
        return given

    def _npred(self, models: Any) -> tuple[Array, Array]:
        """Return predicted counts, and a mask of the known bins."""
        selected = self._select(models)
        background, known = self._background(selected)
        counts = self._add_sources(background, selected)
        # not a maximum: where nothing is predicted a source still has its slope
        return jnp.where(counts < 0, jnp.zeros_like(counts), counts), known

    def _background(self, selected: dict[str, Any]) -> tuple[Array, Array]:
        """Return background counts, 0 where unknown, and a mask of the known bins."""
        counts = jnp.asarray(self.background)
        known = ~jnp.isnan(counts)
        # also before the product, where zero times NaN would be the derivative of the norm
        counts = jnp.where(known, counts, jnp.zeros_like(counts))
        for name in self.backgrounds:
            factor = selected[name].evaluate(jnp.asarray(self.energy))
            counts = counts * factor.astype(counts.dtype)[:, None, None]
        return counts, known

    def _add_sources(self, counts: Array, selected: dict[str, Any]) -> Array:
        for group in self.sources:
            counts = group.add_to(counts, selected, self.exposure)
        for name, place in self.templates.items():
            counts = counts + place.counts(selected[name], self.energy).astype(counts.dtype)
        return counts


def prepare_likelihood(
    dataset: Any,
    models: Any,
    sampling: str = "fine",
    room: float = CUTOUT_MARGIN,
    like: DatasetLikelihood | None = None,
) -> DatasetLikelihood:
    """Prepare the likelihood of a dataset."""
    geom = dataset.geom
    axis = geom.axes["energy"]
    windows, sources, templates, backgrounds = {}, {}, {}, []
    before = {name: group for group in (like.sources if like else ()) for name in group.names}
    for model in models:
        name = model.name
        if isinstance(model, FoVBackgroundModel):
            backgrounds.append(name)
        elif isinstance(model, TemplateNPredModel):
            templates[name] = template_place(model, geom)
        else:
            source = sources[name] = _known(model, dataset)
            exposure, psf, edisp = dataset.require("exposure"), dataset.psf, dataset.edisp
            outline = before[name].outline(name) if name in before else None
            windows[name] = source_window(
                source, exposure, psf, edisp, geom, sampling, room, outline
            )
    background, counts = dataset.background, dataset.counts
    data = np.zeros(geom.data_shape) if background is None else background.data
    return DatasetLikelihood(
        counts=None if counts is None else np.asarray(counts.data, dtype=float),
        background=np.asarray(data, dtype=float),
        weights=_weights(dataset),
        exposure=finite(exposure.data) * conversion(exposure.unit, "cm2 s") if windows else None,
        energy=axis.center_in("TeV"),
        sources=group_windows(windows, sources),
        templates=templates,
        backgrounds=tuple(backgrounds),
        name=dataset.name,
    )


def _weights(dataset: Any) -> Any:
    """Return the weights of the bins, 0 in masked and unknown bins."""
    weights, mask = dataset.weights, dataset.mask
    data = np.ones(dataset.geom.data_shape) if weights is None else weights.data.astype(float)
    used = np.ones(data.shape, dtype=bool) if mask is None else mask.data.copy()
    for known in (dataset.counts, dataset.background):
        if known is not None:
            used &= ~np.isnan(known.data)
    return np.where(used, data, 0.0)


def _known(model: SkyModel, dataset: Any) -> SkyModel:
    """Return a source with known position and size."""
    if not is_compact(model.spatial_model) or not is_traced(model.spatial_model):
        return model
    own = dataset.models
    if own is None or model.name not in own.names or is_traced(own[model.name].spatial_model):
        raise InputError(
            f"dataset {dataset.name!r}: position or size of model {model.name!r} is traced, so "
            "the pixels of its prediction are unknown. Set dataset.models to models with known "
            "parameters first, or use dataset.likelihood(models), made outside of the "
            "transformation."
        )
    return replace(model, spatial_model=own[model.name].spatial_model)
