"""The spectrum that the fluxes of a search are relative to."""

from __future__ import annotations

import jax
import numpy as np

from gammagrad.evaluate.predict import template_totals
from gammagrad.evaluate.sampling import kind_of
from gammagrad.maps import MapAxis
from gammagrad.models import SkyModel, TemplateSpatialModel, TemplateSpectralModel

# A template whose integral differs from 1 by less is normalised.
_ROUNDING = 1e-9


def reference_model(model: SkyModel, energy_axis: MapAxis) -> SkyModel:
    """Return a model whose spectrum is the total flux, as for a point source."""
    spatial = model.spatial_model
    if kind_of(spatial) != "template" or spatial.normalize or spatial.geom is None:
        return model
    if np.allclose(template_totals(spatial, energy_axis), 1.0, rtol=0, atol=_ROUNDING):
        return model
    energies = spatial.energy if spatial.is_energy_dependent else energy_axis.edges_in("TeV")
    energies = np.asarray(energies, dtype=float)
    with jax.enable_x64(True):
        shape = np.asarray(model.spectral_model.evaluate(energies))
    table = TemplateSpectralModel(energies, shape * template_totals(spatial, energies))
    normalised = TemplateSpatialModel(
        spatial.data,
        spatial.energy,
        normalize=True,
        geom=spatial.geom,
        solid_angle=np.nan_to_num(spatial.geom.solid_angle().to_value("sr")),
        frame=spatial.frame,
        unit=spatial.unit,
        filename=spatial.filename,
        evaluation_radius=spatial.evaluation_radius,
    )
    return SkyModel(table, normalised, name=model.name, apply_irf=model.apply_irf)
