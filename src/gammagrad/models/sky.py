"""Sources: a spectrum times a shape on the sky."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax

from gammagrad._pytree import pytree, replace, static_field
from gammagrad.errors import InputError, InputTypeError
from gammagrad.models.base import assign
from gammagrad.models.component import Component, check_datasets, check_name, check_part
from gammagrad.models.point import PointSpatialModel
from gammagrad.models.spatial_base import SpatialModel
from gammagrad.models.spectral import PowerLawSpectralModel, SpectralModel

APPLY_IRF = {"exposure": True, "psf": True, "edisp": True}


@pytree
class SkyModel(Component):
    r"""Source: a spectrum times a shape on the sky.

    .. math:: \phi(\mathrm{lon}, \mathrm{lat}, E) = \phi_\mathrm{spectral}(E) \,
              \phi_\mathrm{spatial}(\mathrm{lon}, \mathrm{lat})

    in cm-2 s-1 TeV-1 sr-1.

    Parameters
    ----------
    spectral_model
        Spectrum; a norm model for a template with a spectrum at each position.
    spatial_model
        Shape, or None for a spectrum alone.
    name
        Name; ``"source"`` by default, which `Models` completes by a number where needed.
    datasets_names
        Datasets the model is for: None (all), a name, or several.
    apply_irf
        Which of ``"exposure"``, ``"psf"`` and ``"edisp"`` to apply; by default all.

    Examples
    --------
    >>> crab = SkyModel(
    ...     PowerLawSpectralModel(index=2.6, amplitude=3.5e-11),
    ...     PointSpatialModel(lon_0=83.63, lat_0=22.01),
    ...     name="crab",
    ... )
    >>> print(crab)
    SkyModel
    <BLANKLINE>
      name:     crab
      datasets: all
      spectral: PowerLawSpectralModel
      spatial:  PointSpatialModel (icrs)
    <BLANKLINE>
      name       value    unit
      ---------  -------  --------------
      index      2.6
      amplitude  3.5e-11  cm-2 s-1 TeV-1
      reference  1        TeV
      lon_0      83.63    deg
      lat_0      22.01    deg
    """

    spectral_model: Any
    spatial_model: Any
    name: str = static_field()
    auto_named: bool = static_field()
    datasets_names: tuple[str, ...] | None = static_field()
    irfs: tuple[str, ...] = static_field()

    tag = ("SkyModel", "sky-model")

    def __init__(
        self,
        spectral_model: SpectralModel,
        spatial_model: SpatialModel | None = None,
        name: str | None = None,
        datasets_names: str | list[str] | tuple[str, ...] | None = None,
        apply_irf: Mapping[str, bool] | None = None,
    ) -> None:
        check_part(spectral_model, SpectralModel, "spectral_model")
        if spatial_model is not None:
            check_part(spatial_model, SpatialModel, "spatial_model")
        carries_flux = spatial_model is not None and spatial_model.carries_flux
        if spectral_model.is_norm != carries_flux:
            wanted = "a norm model" if carries_flux else "a model in cm-2 s-1 TeV-1"
            raise InputError(
                f"SkyModel: with this spatial model the spectral model must be {wanted}; "
                f"got {type(spectral_model).__name__}."
            )
        assign(
            self,
            spectral_model=spectral_model,
            spatial_model=spatial_model,
            name="source" if name is None else check_name(name),
            auto_named=name is None,
            datasets_names=check_datasets(datasets_names),
            irfs=_check_irfs(apply_irf),
        )

    @property
    def apply_irf(self) -> dict[str, bool]:
        """Which instrument responses to apply, by name."""
        return {key: key in self.irfs for key in APPLY_IRF}

    @property
    def frame(self) -> str | None:
        """Frame of the spatial model, None without one."""
        return None if self.spatial_model is None else self.spatial_model.frame

    @property
    def evaluation_radius(self) -> Any:
        """Radius in deg that holds the spatial model; None without one or without an edge."""
        return None if self.spatial_model is None else self.spatial_model.evaluation_radius

    def with_position(self, lon: Any, lat: Any) -> Self:
        """Copy the model to another position; see `SpatialModel.with_position`.

        Parameters
        ----------
        lon, lat
            Position in the spatial model's frame: numbers in deg, or quantities.

        Returns
        -------
        model
            The moved copy.
        """
        if self.spatial_model is None:
            return self
        return replace(self, spatial_model=self.spatial_model.with_position(lon, lat))

    def evaluate(self, lon: Any, lat: Any, energy: Any) -> jax.Array:
        """Evaluate the model.

        Parameters
        ----------
        lon, lat
            Points in the model's frame, deg, of one shape. For a template: columns and rows in
            its map.
        energy
            Energies, TeV, a number or shape (n,).

        Returns
        -------
        array
            Surface brightness in cm-2 s-1 TeV-1 sr-1, of the shape of `energy` followed by that of
            `lon`; without a spatial model, the spectrum in cm-2 s-1 TeV-1.

        Raises
        ------
        TypeError
            If the spatial model is a point, which has no surface brightness.
        """
        spectrum = self.spectral_model.evaluate(energy)
        shape = self.spatial_model
        if shape is None:
            return spectrum
        if isinstance(shape, PointSpatialModel):
            raise InputTypeError(
                "a point source has no surface brightness; use spatial_model.weights(lon, lat)."
            )
        if shape.is_energy_dependent:
            image = shape.evaluate(lon, lat, energy)
        else:
            image = shape.evaluate(lon, lat)
            image = image.reshape((1,) * spectrum.ndim + image.shape)
        return spectrum.reshape(spectrum.shape + (1,) * (image.ndim - spectrum.ndim)) * image


def _check_irfs(apply_irf: Mapping[str, bool] | None) -> tuple[str, ...]:
    """Return the names of the instrument responses to apply."""
    flags = APPLY_IRF if apply_irf is None else {**APPLY_IRF, **apply_irf}
    unknown = sorted(set(flags) - set(APPLY_IRF))
    if unknown:
        raise InputError(
            f" has no {', '.join(unknown)}; choose from {', '.join(APPLY_IRF)}.", "apply_irf"
        )
    return tuple(key for key, on in flags.items() if on)


def default_kernel_model() -> SkyModel:
    """Return the default source model of the estimators.

    Returns
    -------
    SkyModel
        A point source with a power law of index 2, named ``"ts-kernel"``.
    """
    return SkyModel(PowerLawSpectralModel(index=2.0), PointSpatialModel(), name="ts-kernel")
