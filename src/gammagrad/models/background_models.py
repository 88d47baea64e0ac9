"""Backgrounds: norms on existing backgrounds, and cubes of predicted counts."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gammagrad._pytree import pytree, static_field
from gammagrad.errors import InputError
from gammagrad.models.base import as_number, assign, promote
from gammagrad.models.component import Component, check_datasets, check_name, check_part
from gammagrad.models.spectral import PowerLawNormSpectralModel, SpectralModel
from gammagrad.models.template import Opaque


@pytree
class FoVBackgroundModel(Component):
    """Norm on the background map of one dataset.

    Parameters
    ----------
    dataset_name
        Dataset whose background the model scales.
    spectral_model
        Norm model; `PowerLawNormSpectralModel` by default.
    name
        Name; the dataset's followed by ``-bkg`` by default.
    """

    spectral_model: Any
    name: str = static_field()
    auto_named: bool = static_field()
    datasets_names: tuple[str, ...] | None = static_field()

    tag = ("FoVBackgroundModel", "fov-bkg")

    def __init__(
        self,
        dataset_name: str,
        spectral_model: SpectralModel | None = None,
        name: str | None = None,
    ) -> None:
        check_name(dataset_name)
        assign(
            self,
            spectral_model=_check_norm(spectral_model, type(self).__name__),
            name=f"{dataset_name}-bkg" if name is None else check_name(name),
            auto_named=False,
            datasets_names=(dataset_name,),
        )

    def evaluate(self, energy: Any) -> jax.Array:
        """Return the factor on the background.

        Parameters
        ----------
        energy
            Centres of the energy bins, TeV, any shape.

        Returns
        -------
        array
            Factor for each bin.
        """
        return self.spectral_model.evaluate(energy)


def _check_norm(model: Any, label: str) -> Any:
    model = PowerLawNormSpectralModel() if model is None else model
    if not check_part(model, SpectralModel, "spectral_model").is_norm:
        raise InputError(
            f"{label}: the spectral model must be a norm model, such as "
            f"PowerLawNormSpectralModel; got {type(model).__name__}."
        )
    return model


@pytree
class TemplateNPredModel(Component):
    """Cube of predicted counts, with a norm.

    Parameters
    ----------
    data
        Predicted counts of each bin, shape (n energies, ny, nx): an array, or a map.
    spectral_model
        Norm model; `PowerLawNormSpectralModel` by default.
    name
        Name; ``"template"`` by default, which `Models` completes by a number where needed.
    datasets_names
        Datasets the model is for: None (all), a name, or several.
    filename
        File that the map was read from, for writing the model.
    """

    data: Any
    spectral_model: Any
    name: str = static_field()
    auto_named: bool = static_field()
    datasets_names: tuple[str, ...] | None = static_field()
    filename: str | None = static_field()
    opaque_geom: Opaque = static_field()

    tag = ("TemplateNPredModel",)

    def __init__(
        self,
        data: Any,
        spectral_model: SpectralModel | None = None,
        name: str | None = None,
        datasets_names: str | list[str] | tuple[str, ...] | None = None,
        filename: str | None = None,
    ) -> None:
        geom = getattr(data, "geom", None)
        if geom is not None:
            data = data.data
        data = as_number(data, "TemplateNPredModel.data")
        if np.ndim(data) != 3:
            raise InputError(
                f"TemplateNPredModel: data has shape {np.shape(data)}; expected "
                "(n energies, ny, nx)."
            )
        assign(
            self,
            data=data,
            spectral_model=_check_norm(spectral_model, type(self).__name__),
            name="template" if name is None else check_name(name),
            auto_named=name is None,
            datasets_names=check_datasets(datasets_names),
            filename=filename,
            opaque_geom=Opaque(geom),
        )

    @property
    def geom(self) -> Any:
        """The geometry of the map that was passed, or None."""
        return self.opaque_geom.value

    def evaluate(self, energy: Any) -> jax.Array:
        """Return the predicted counts.

        Parameters
        ----------
        energy
            Centres of the energy bins, TeV, shape (n energies,).

        Returns
        -------
        array
            Counts of each bin, of the shape of the template.
        """
        (data,) = promote(self.data)
        return data * self.spectral_model.evaluate(energy).astype(data.dtype)[:, None, None]
