"""An ordered collection of models with unique names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gammagrad._pytree import pytree, replace
from gammagrad.models.component import Component

__all__ = ["Models"]


@pytree
class Models:
    """Models in order, each with a name of its own.

    The collection never changes: adding and replacing return a new one. It is a pytree, so that
    one can take gradients with respect to all parameters of all models.

    Parameters
    ----------
    models
        Sky, background and template models: one, several, another collection, or None. Models
        without a given name get numbers where needed (``source``, ``source-2``, ...).

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
    """

    members: tuple[Any, ...]

    def __init__(self, models: Component | Iterable[Component] | None = None) -> None:
        if models is None:
            models = ()
        members = (models,) if isinstance(models, Component) else tuple(models)
        for model in members:
            if not isinstance(model, Component):
                raise TypeError(
                    f"expected a SkyModel, FoVBackgroundModel or TemplateNPredModel; got {model!r}."
                )
        members = _with_unique_names(members)
        _check_backgrounds(members)
        object.__setattr__(self, "members", members)

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
            return Models(self.members[key])
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
        return Models((*self.members, *Models(other).members))

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
        return Models(members)

    def for_dataset(self, name: str | None) -> Models:
        """Return the models that apply to a dataset.

        Parameters
        ----------
        name
            Name of the dataset.

        Returns
        -------
        Models
            Those whose ``datasets_names`` is None or has `name`.
        """
        return Models([model for model in self.members if model.applies_to(name)])

    def __repr__(self) -> str:
        return f"Models({', '.join(self.names)})"

    def __str__(self) -> str:
        return "\n\n".join(str(model) for model in self.members) or "Models: none"


def _with_unique_names(models: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the models, numbered where nobody named them; refuse equal given names."""
    taken: set[str] = set()
    for model in models:
        if not model.auto_named and model.name in taken:
            raise ValueError(f"two models are named {model.name!r}; give each its own name.")
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
            raise ValueError(
                f"{taken[dataset]!r} and {model.name!r} both scale the background of dataset "
                f"{dataset!r}; keep one."
            )
        taken[dataset] = model.name
