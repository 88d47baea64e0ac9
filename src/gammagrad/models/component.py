"""The base of sources and backgrounds: a name, datasets, and sub-models."""

from __future__ import annotations

from typing import Any, Self

from gammagrad._html import as_html, rows_below
from gammagrad._pytree import replace
from gammagrad._upper import upper
from gammagrad.errors import InputTypeError
from gammagrad.models.base import PARAMETER_HEAD, format_table


class Component:
    """Base of the models of a dataset: a name, datasets, and sub-models."""

    name: str
    auto_named: bool
    datasets_names: tuple[str, ...] | None

    def _parts(self) -> dict[str, Any]:
        parts = {"spectral_model": "spectral", "spatial_model": "spatial"}
        models = {label: getattr(self, field, None) for field, label in parts.items()}
        return {label: model for label, model in models.items() if model is not None}

    def to_gammapy(self) -> Any:
        """Return the model as one of gammapy's.

        Returns
        -------
        model
            gammapy's model; a template has its map in memory.
        """
        (found,) = upper("models_to_gammapy")(self)
        return found

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter values by name, one number each, in internal units; tables are left out."""
        return {k: v for part in self._parts().values() for k, v in part.numbers().items()}

    def applies_to(self, dataset_name: str | None) -> bool:
        """Return whether the model belongs to a dataset.

        Parameters
        ----------
        dataset_name
            Name of the dataset.

        Returns
        -------
        bool
            True if the model is for all datasets or for this one.
        """
        return self.datasets_names is None or dataset_name in self.datasets_names

    def copy(self, name: str | None = None, **changes: Any) -> Self:
        """Copy the model.

        Parameters
        ----------
        name
            Name of the copy; the same by default.
        **changes
            Parameters of the sub-models by name, in any compatible unit, whole sub-models as
            ``spectral_model`` and ``spatial_model``, or ``datasets_names``.

        Returns
        -------
        model
            The copy.
        """
        fields = {key: changes.pop(key) for key in list(changes) if key.endswith("_model")}
        if name is not None:
            fields |= {"name": check_name(name), "auto_named": False}
        if "datasets_names" in changes:
            fields["datasets_names"] = check_datasets(changes.pop("datasets_names"))
        return replace(self, **fields).with_parameters(**changes)

    def with_parameters(self, **values: Any) -> Self:
        """Copy the model with some parameters of its sub-models changed.

        Parameters
        ----------
        **values
            New values by parameter name (``index=2.2, lon_0="83.6 deg"``).

        Returns
        -------
        model
            The changed copy.

        Raises
        ------
        TypeError
            If no sub-model has a parameter of that name.
        """
        changed: dict[str, Any] = {}
        left = dict(values)
        for label, model in self._parts().items():
            known = {*model.parameters, *model.elements()}
            own = {key: left.pop(key) for key in list(left) if key in known}
            if own:
                changed[f"{label}_model"] = model.with_parameters(**own)
        if left:
            raise InputTypeError(
                f"{type(self).__name__} {self.name!r} has no parameter {', '.join(sorted(left))}; "
                f"choose from {', '.join(self.parameters)}."
            )
        return replace(self, **changed)

    def __repr__(self) -> str:
        parts = ", ".join(type(model).__name__ for model in self._parts().values())
        return f"{type(self).__name__}(name={self.name!r}, {parts})"

    def __str__(self) -> str:
        datasets = "all" if self.datasets_names is None else ", ".join(self.datasets_names)
        lines = [type(self).__name__, "", f"  name:     {self.name}", f"  datasets: {datasets}"]
        for label, model in self._parts().items():
            frame = f" ({model.frame})" if hasattr(model, "frame") else ""
            lines.append(f"  {label + ':':<9} {type(model).__name__}{frame}")
        rows = [row for model in self._parts().values() for row in model.parameter_rows()]
        if rows:
            lines += ["", format_table([PARAMETER_HEAD, *rows])]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = self._parts().values()
        kinds = ", ".join(type(model).__name__ for model in parts)
        rows = [row for model in parts for row in model.parameter_rows()]
        return as_html(f"{self.name}: {kinds}", rows_below(PARAMETER_HEAD, rows))


def check_name(name: Any) -> str:
    """Return a name, or say what is wrong with it."""
    if not isinstance(name, str) or not name:
        raise InputTypeError(f"a model's name must be a text that is not empty; got {name!r}.")
    return name


def check_datasets(names: Any) -> tuple[str, ...] | None:
    """Return dataset names as a tuple, from one name, several, or None for all."""
    if names is None:
        return None
    names = (names,) if isinstance(names, str) else tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise InputTypeError(
            f" must be None, a name or a list of names; got {names!r}.", "datasets_names"
        )
    return names


def check_part(value: Any, kind: type, label: str) -> Any:
    """Return a sub-model of the right kind, or say what is wrong with it."""
    if not isinstance(value, kind):
        raise InputTypeError(f"{label} must be a {kind.__name__}; got {type(value).__name__}.")
    return value
