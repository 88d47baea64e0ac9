"""The objective: the statistic of several datasets as a function of the free parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from gammagrad._programs import compiled
from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.stats import cash
from gammagrad.fitting.frame import Frame
from gammagrad.models import Models, Settings

Floats = NDArray[np.float64]


@pytree
class Problem:
    """A statistic and the numbers it depends on."""

    likelihoods: tuple[Any, ...]  # one `DatasetLikelihood` per dataset
    # for each of them the statistic per bin of a prediction equal to the counts. Differences from
    # it are sums of small numbers, in which small changes are seen.
    references: tuple[Any, ...]
    models: Models  # the models, without settings
    # leaf, and index in it or None, of each free parameter; static
    places: tuple[tuple[int, int | None], ...] = static_field()

    def models_at(self, values: Array) -> Models:
        """Return the models with other values of the free parameters."""
        return with_values(self.models, self.places, values)

    def stat(self, values: Array) -> tuple[Array, tuple[Array, ...]]:
        """Return the statistic relative to a perfect prediction, and the prediction."""
        models = self.models_at(values)
        total, predicted = jnp.zeros(()), []
        for likelihood, reference in zip(self.likelihoods, self.references, strict=True):
            npred = likelihood.npred(models)
            predicted.append(npred)
            used = jnp.asarray(likelihood.weights) > 0
            # a bin without weight adds nothing, whatever it holds
            counts, npred = (
                jnp.where(used, data, jnp.ones_like(npred)) for data in (likelihood.counts, npred)
            )
            terms = likelihood.weights * cash(counts, npred) - reference
            total = total + jnp.sum(jnp.where(used, terms, jnp.zeros_like(terms)))
        return total, tuple(predicted)

    def offset(self) -> float:
        """Return the statistic of a perfect prediction, which `stat` leaves out."""
        return float(sum(np.sum(reference) for reference in self.references))

    def observing(self, counts: Iterable[Any]) -> Problem:
        """Return the problem with other counts."""
        pairs = zip(self.likelihoods, counts, strict=True)
        return replace(self, likelihoods=tuple(own.with_data(counts=data) for own, data in pairs))


def with_values(models: Models, places: Iterable[tuple[int, int | None]], values: Array) -> Models:
    """Return models with other values of some parameters, without checks: for traced code."""
    leaves, tree = jax.tree.flatten(models)
    for i, (leaf, element) in enumerate(places):
        if element is None:
            leaves[leaf] = values[i]
        else:
            leaves[leaf] = jnp.asarray(leaves[leaf]).at[element].set(values[i])
    return jax.tree.unflatten(tree, leaves)


def parameter_indices(models: Models, names: Iterable[str]) -> tuple[tuple[int, int | None], ...]:
    """Return where parameters are in the tree of models."""
    places = models.places()
    return tuple((places[name].leaf, places[name].element) for name in names)


def make_problem(likelihoods: Sequence[Any], models: Models, names: Sequence[str]) -> Problem:
    """Collect the inputs of the compiled functions."""
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, dtype=float), models)
    return Problem(
        likelihoods=tuple(likelihoods),
        references=tuple(_perfect(likelihood) for likelihood in likelihoods),
        models=replace(plain, settings=Settings()),
        places=parameter_indices(models, names),
    )


def _perfect(likelihood: Any) -> Floats:
    """Return the statistic of each bin for a perfect prediction."""
    weights = np.asarray(likelihood.weights, dtype=float)
    counts = np.where(weights > 0, np.asarray(likelihood.counts, dtype=float), 0.0)
    logarithm = np.log(counts, where=counts > 0, out=np.zeros_like(counts))
    return weights * 2 * (counts - counts * logarithm)


class Evaluated(NamedTuple):
    """The statistic at a point, with gradient and prediction."""

    stat: Any  # statistic as of `Problem.stat`
    gradient: Any  # its gradient with respect to the coordinates, shape (n,)
    values: Any  # values of the free parameters, shape (n,)
    npred: tuple[Any, ...]  # predicted counts of each dataset


@compiled
def evaluate(problem: Problem, frame: Frame, z: Array) -> Evaluated:
    """Return the statistic, its gradient, the parameters and the predicted counts."""

    def stat(z: Array) -> tuple[Array, Any]:
        values = frame.to_parameters(z)
        total, npred = problem.stat(values)
        return total, (values, npred)

    (value, (values, npred)), gradient = jax.value_and_grad(stat, has_aux=True)(z)
    return Evaluated(value, gradient, values, npred)


@compiled
def curvature(problem: Problem, values: Array) -> Array:
    """Return the exact second derivatives of the statistic."""
    gradient = jax.grad(lambda values: problem.stat(values)[0])
    # one direction after the other: the memory of one
    directions = jnp.eye(values.shape[0], dtype=values.dtype)
    rows = lax.map(lambda step: jax.jvp(gradient, (values,), (step,))[1], directions)
    return 0.5 * (rows + rows.T)
