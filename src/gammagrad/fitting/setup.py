"""Checks and preparation before a fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.dataset import MapDataset, MapDatasetOnOff
from gammagrad.errors import InputError, InputTypeError
from gammagrad.evaluate import check_sampling
from gammagrad.models import Component, Models

Floats = NDArray[np.float64]

# Fraction of the way from the start to a bound that the model excludes.
_OPEN = 1e-4
# Sizes in pixels that cannot be told from smaller ones, and can still be sampled.
_LEAST = {"sigma": 0.02, "r_0": 0.1, "width": 0.1}


def check_datasets(datasets: Any) -> list[MapDataset]:
    """Return datasets as a list, or raise an error."""
    if not isinstance(datasets, MapDataset | Iterable):
        raise InputTypeError(_wrong_kind(datasets))
    found = [datasets] if isinstance(datasets, MapDataset) else list(datasets)
    if not found:
        raise InputError("there is no dataset to fit; pass at least one.")
    for dataset in found:
        if not isinstance(dataset, MapDataset):
            raise InputTypeError(_wrong_kind(dataset))
        dataset.require("counts")
    names = [dataset.name for dataset in found]
    double = sorted({str(name) for name in names if names.count(name) > 1})
    if double:
        raise InputError(
            f"several datasets are named {', '.join(double)}; give each a name of its own, so that "
            "models can tell them apart."
        )
    return found


def _wrong_kind(dataset: Any) -> str:
    """Say what a fit takes."""
    hint = " The to_map_dataset() of an ON/OFF dataset takes its background as known."
    hint *= isinstance(dataset, MapDatasetOnOff)
    return f"a fit takes MapDatasets; got {type(dataset).__name__}.{hint}"


def check_options(max_iterations: Any, tolerance: Any, sampling: str) -> None:
    """Raise if an option of a fit is invalid."""
    check_sampling(sampling)
    whole = isinstance(max_iterations, int | np.integer) and not isinstance(max_iterations, bool)
    if not whole or max_iterations < 0:
        raise InputError(
            f"max_iterations is {max_iterations!r}; expected a whole number of steps, 0 or more."
        )
    if not isinstance(tolerance, int | float | np.number) or not 0 < tolerance < np.inf:
        raise InputError(
            f"tolerance is {tolerance!r}; expected a positive number, in units of the statistic."
        )


def check_models(models: Any, datasets: Sequence[MapDataset]) -> Models:
    """Return the models to fit: the given ones, or those of all datasets."""
    if models is not None:
        if not isinstance(models, Iterable | Component):
            raise InputTypeError(
                f"models is a {type(models).__name__}; expected a SkyModel, FoVBackgroundModel or "
                "TemplateNPredModel, or several."
            )
        collected = Models(models)
    else:
        collected = Models()
        for dataset in datasets:
            own = Models(dataset.models)
            for model in own:
                if model.name in collected and not _equal(model, collected[model.name]):
                    raise InputError(
                        f"dataset {dataset.name!r} has a model {model.name!r} that differs from "
                        "an earlier dataset's; pass `models`, or give models different names."
                    )
            for i, model in enumerate(own):
                if model.name not in collected:
                    collected = collected + own[i : i + 1]
    if not any(model.applies_to(dataset.name) for model in collected for dataset in datasets):
        raise InputError(
            "there is no model for these datasets; pass `models`, or set dataset.models."
        )
    return collected


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    trees: list[Any] = [jax.tree.structure(model) for model in (one, other)]
    same = bool(trees[0] == trees[1])
    return same and all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def free_names(models: Models, datasets: Iterable[MapDataset]) -> tuple[str, ...]:
    """Return the parameters to fit: free ones of models that apply to any of the datasets."""
    wanted = [dataset.name for dataset in datasets]
    used = Models(models)
    names: list[str] = []
    for model in used:
        if any(model.applies_to(name) for name in wanted):
            own = {f"{model.name}.{key}" for key in model.parameters}
            names += [name for name in models.free if name in own]
    if not names:
        raise InputError("all parameters are frozen; thaw some with models.thaw(name).")
    return tuple(names)


def fit_bounds(models: Models, names: Sequence[str], pixel: float = 0.0) -> tuple[Floats, Floats]:
    """Return the bounds of parameters, a little inside of what a model excludes."""
    values, bounds, places = models.parameters, models.bounds, models.places()
    ends = []
    for name in names:
        value, (low, high), limits = float(values[name]), bounds[name], places[name].limits
        if not low <= value <= high:
            raise InputError(
                f"{name} is {value:g} at the start, outside its bounds {low:g} and {high:g}; "
                "change the value by models.with_parameters or the bounds by models.bound."
            )
        if np.isfinite(low) and low == limits.above:
            low = low + _OPEN * (value - low)
        least = min(value, _LEAST.get(name.rpartition(".")[2], 0.0) * pixel)
        low = max(low, least) if 0 < least < high else low
        if np.isfinite(high) and high == limits.below:
            high = high - _OPEN * (high - value)
        ends.append((low, high))
    lower, upper = np.array(ends, dtype=float).T
    return lower, upper
