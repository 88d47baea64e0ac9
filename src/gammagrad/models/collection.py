"""An ordered collection of models with unique names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from gammagrad._html import as_html
from gammagrad._pytree import pytree, replace, static_field
from gammagrad._upper import upper
from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.models.component import Component
from gammagrad.models.free_parameters import (
    Place,
    Settings,
    matching,
    merge_bounds,
    no_such_parameter,
    parameter_places,
)


@pytree
class Models:
    """Models in order, with unique names.

    The collection is immutable: adding and replacing return a new one. It is a pytree, so gradients
    can be taken with respect to all parameters of all models.

    The collection also has the frozen parameters and the bounds: see `freeze`, `thaw` and `bound`.
    A parameter's full name is ``"<model>.<parameter>"``.

    Parameters
    ----------
    models
        Sky, background and template models: one, several, another collection (keeping its frozen
        parameters and bounds), or None. Models without a given name get numbers where needed
        (``source``, ``source-2``, ...).

    Raises
    ------
    ValueError
        If two given names are equal, or a dataset has two `FoVBackgroundModel`.

    Examples
    --------
    >>> from gammagrad.models import PowerLawSpectralModel, SkyModel
    >>> models = Models([SkyModel(PowerLawSpectralModel(), name=name) for name in ("a", "b")])
    >>> models.names
    ['a', 'b']
    >>> models["b"].name
    'b'
    >>> models.freeze("*.index").thaw("b.index").bound("b.index", 1, 4).free
    ('a.amplitude', 'b.index', 'b.amplitude')
    """

    members: tuple[Any, ...]
    settings: Settings = static_field()

    def __init__(self, models: Component | Iterable[Component] | None = None) -> None:
        if models is None:
            models = ()
        if isinstance(models, str | os.PathLike):
            raise InputTypeError(
                f"expected models, got the name {short(os.fspath(models))}; read a file with "
                "Models.read(filename)."
            )
        members = (models,) if isinstance(models, Component) else tuple(models)
        for model in members:
            if not isinstance(model, Component):
                raise InputTypeError(
                    f"expected a SkyModel, FoVBackgroundModel or TemplateNPredModel; got "
                    f"{short(model)}."
                )
        members = _with_unique_names(members)
        _check_backgrounds(members)
        settings = models.settings if isinstance(models, Models) else Settings()
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "settings", settings)

    @classmethod
    def read(cls, filename: str | os.PathLike[str], *, outside: bool = False) -> Models:
        """Read models in the layout of gammapy's YAML files.

        Parameters
        ----------
        filename
            The file, YAML (which needs pyyaml) or JSON. Maps of templates are looked for relative
            to it.
        outside
            Whether relative paths in the file may lead out of its folder.

        Returns
        -------
        Models
            The models, with the frozen state and the bounds of their parameters. Covariances, links
            and errors are not kept.

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            As `models_from_dict`.
        """
        return cls(upper("read_models")(filename, outside))

    def write(self, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the models in the layout of gammapy's YAML files.

        Parameters
        ----------
        filename
            The file. Files of templates are named relative to it where they are below its folder.
        overwrite
            Whether to replace an existing file.

        Raises
        ------
        OSError
            If the file exists and `overwrite` is false.
        ValueError
            If the map of a template is in no file.
        """
        upper("write_models")(self, filename, overwrite)

    @classmethod
    def from_gammapy(cls, models: Any) -> Models:
        """Make models of gammapy's.

        Parameters
        ----------
        models
            A model of gammapy, or several; they stay as they are.

        Returns
        -------
        Models
            The models, with frozen parameters and bounds; links are not kept.

        Raises
        ------
        ValueError
            If one of them changes with time, or is of a kind that is not known here.
        """
        found: Models = upper("models_from_gammapy")(models)
        return found

    def to_gammapy(self) -> Any:
        """Return the models as gammapy's.

        Returns
        -------
        gammapy.modeling.models.Models
            The models; templates have their maps in memory.
        """
        return upper("models_to_gammapy")(self)

    @property
    def names(self) -> list[str]:
        """Names of the models, in order."""
        return [model.name for model in self.members]

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members)

    def __contains__(self, item: object) -> bool:
        return item in self.names if isinstance(item, str) else item in self.members

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            return self._subset(self.members[key])
        return self.members[self.index(key) if isinstance(key, str) else key]

    def index(self, name: str) -> int:
        """Return the position of a model.

        Parameters
        ----------
        name
            Its name.

        Returns
        -------
        int
            The position.

        Raises
        ------
        KeyError
            If there is no such model.
        """
        if name not in self.names:
            raise KeyError(f"no model named {name!r}; there are {', '.join(self.names) or 'none'}.")
        return self.names.index(name)

    def __add__(self, other: Component | Iterable[Component]) -> Models:
        parts = (self, Models(other))
        new = Models(model for part in parts for model in part.members)
        frozen: dict[str, bool] = {}
        bounds: dict[str, tuple[float, float]] = {}
        start = 0
        for part in parts:
            # a model without a given name may have got another number
            own = new.members[start : start + len(part)]
            start += len(part)
            names = dict(zip(parameter_places(part.members), parameter_places(own), strict=True))
            frozen |= {names[name]: value for name, value in part.settings.frozen}
            bounds |= {names[name]: value for name, value in part.settings.bounds}
        return new._with_settings(frozen, bounds)

    def _with_settings(self, frozen: Any, bounds: Any) -> Models:
        return replace(self, settings=Settings.make(self.places(), dict(frozen), dict(bounds)))

    def _subset(self, members: Iterable[Component]) -> Models:
        """Return a collection of some of these models, changed or not."""
        return Models(members)._with_settings(self.settings.frozen, self.settings.bounds)

    def replace(self, model: Component) -> Models:
        """Return the collection with one model replaced by another of the same name.

        Parameters
        ----------
        model
            The new model.

        Returns
        -------
        Models
            The new collection.

        Raises
        ------
        KeyError
            If no model has that name.
        """
        members = list(self.members)
        members[self.index(model.name)] = model
        return self._subset(members)

    def for_dataset(self, name: str | None) -> Models:
        """Return the models that apply to a dataset.

        Parameters
        ----------
        name
            Name of the dataset.

        Returns
        -------
        Models
            Models whose ``datasets_names`` is None or contains `name`.
        """
        return self._subset(model for model in self.members if model.applies_to(name))

    def places(self) -> dict[str, Place]:
        """Return the places of the parameters among the leaves of the tree.

        Returns
        -------
        dict
            Places by full names.
        """
        return parameter_places(self.members)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter values by full name, one number each, in internal units."""
        leaves = jax.tree.leaves(self)
        return {
            name: leaves[leaf] if element is None else leaves[leaf][element]
            for name, (leaf, element, _) in self.places().items()
        }

    def with_parameters(self, values: Mapping[str, Any]) -> Models:
        """Return the collection with some parameters changed.

        With a dictionary of traced numbers this makes a function of the free parameters alone; its
        gradient is also a dictionary.

        Parameters
        ----------
        values
            New values by full name: numbers in internal units, strings or quantities.

        Returns
        -------
        Models
            The new collection.

        Raises
        ------
        ValueError
            If there is no such parameter, or a value is not allowed.
        """
        known = {f"{m.name}.{key}": (i, key) for i, m in enumerate(self) for key in m.parameters}
        own: dict[int, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in known:
                raise InputError(no_such_parameter(name, known))
            i, key = known[name]
            own.setdefault(i, {})[key] = value
        members = list(self.members)
        for i, changed in own.items():
            members[i] = members[i].with_parameters(**changed)
        return replace(self, members=tuple(members))

    def freeze(self, *names: str) -> Models:
        """Return the collection with some parameters frozen in fits.

        Parameters
        ----------
        *names
            Full names, or patterns: ``"crab.lon_0"``, ``"*.index"``, ``"crab.*"``.

        Returns
        -------
        Models
            The new collection.

        Raises
        ------
        ValueError
            If a name or pattern matches no parameter.
        """
        return self._set_frozen(names, True)

    def thaw(self, *names: str) -> Models:
        """Return the collection with some frozen parameters freed; see `freeze`.

        Parameters
        ----------
        *names
            Full names, or patterns.

        Returns
        -------
        Models
            The new collection.

        Raises
        ------
        ValueError
            If a name or pattern matches no parameter.
        """
        return self._set_frozen(names, False)

    def _set_frozen(self, names: Iterable[str], value: bool) -> Models:
        chosen = matching(names, self.places())
        frozen = {**dict(self.settings.frozen), **dict.fromkeys(chosen, value)}
        return self._with_settings(frozen, self.settings.bounds)

    def bound(self, name: str, minimum: Any = None, maximum: Any = None) -> Models:
        """Return the collection with new bounds on a parameter.

        Parameters
        ----------
        name
            Full name, or a pattern.
        minimum, maximum
            The bounds: numbers in internal units, strings or quantities; None for the model's own
            limit.

        Returns
        -------
        Models
            The new collection.

        Raises
        ------
        ValueError
            If no parameter has that name, or no allowed value lies between the bounds.
        """
        places = self.places()
        own = {
            key: merge_bounds(key, places[key].limits, minimum, maximum)
            for key in matching([name], places)
        }
        return self._with_settings(self.settings.frozen, {**dict(self.settings.bounds), **own})

    @property
    def free(self) -> tuple[str, ...]:
        """Full names of the parameters that a fit changes, in the order of `parameters`."""
        frozen = dict(self.settings.frozen)
        return tuple(
            name
            for name, place in self.places().items()
            if not frozen.get(name, place.limits.frozen)
        )

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Bounds of every parameter by full name: as set, within the model limits."""
        given = dict(self.settings.bounds)
        found = {}
        for name, place in self.places().items():
            low, high = place.limits.interval
            own = given.get(name, (low, high))
            found[name] = (max(low, own[0]), min(high, own[1]))
        return found

    @property
    def frozen_mask(self) -> Models:
        """The same tree with True for every frozen leaf, else False.

        For an array with some frozen parameters the leaf is an array of both.
        """
        leaves, tree = jax.tree.flatten(self)
        mask: list[Any] = [np.ones(np.shape(leaf), bool) for leaf in leaves]
        places = self.places()
        for name in self.free:
            leaf, element, _ = places[name]
            mask[leaf][() if element is None else element] = False
        plain = [bool(m.flat[0]) if m.size and (m == m.flat[0]).all() else m for m in mask]
        return jax.tree.unflatten(tree, plain)

    def __repr__(self) -> str:
        return f"Models({', '.join(self.names)})"

    def __str__(self) -> str:
        return "\n\n".join(str(model) for model in self.members) or "Models: none"

    def _repr_html_(self) -> str:
        return as_html("Models", *(model._repr_html_() for model in self.members))


def _with_unique_names(models: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the models, with numbers for missing names; refuse equal given names."""
    taken: set[str] = set()
    for model in models:
        if not model.auto_named and model.name in taken:
            raise InputError(f"two models are named {model.name!r}; give each its own name.")
        if not model.auto_named:
            taken.add(model.name)
    result = []
    for model in models:
        if model.auto_named:
            stem, number = model.name, 1
            while model.name in taken:
                number += 1
                model = replace(model, name=f"{stem}-{number}")
            taken.add(model.name)
        result.append(model)
    return tuple(result)


def _check_backgrounds(models: tuple[Any, ...]) -> None:
    """Refuse two models that scale the same background."""
    taken: dict[str, str] = {}
    for model in models:
        if model.tag[0] != "FoVBackgroundModel":
            continue
        (dataset,) = model.datasets_names
        if dataset in taken:
            raise InputError(
                f"{taken[dataset]!r} and {model.name!r} both scale the background of dataset "
                f"{dataset!r}; keep one."
            )
        taken[dataset] = model.name
