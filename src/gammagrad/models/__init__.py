"""Models of sources and backgrounds: frozen pytrees whose parameters are traced numbers.

Spectral models are functions of energy, spatial models of a position; a `SkyModel` is the product
of one of each. Class and parameter names follow gammapy. Units are checked when a model is made;
from then on everything is a plain number in internal units (TeV, deg, cm, s, sr).
"""

from gammagrad.models.background_models import FoVBackgroundModel, TemplateNPredModel
from gammagrad.models.base import Model
from gammagrad.models.collection import Models
from gammagrad.models.component import Component
from gammagrad.models.free_parameters import Settings as Settings
from gammagrad.models.free_parameters import matching as matching
from gammagrad.models.point import PointSpatialModel
from gammagrad.models.serialise import (
    model_from_dict,
    model_to_dict,
    models_from_dict,
    models_to_dict,
)
from gammagrad.models.sky import SkyModel, default_kernel_model
from gammagrad.models.spatial import (
    ConstantSpatialModel,
    DiskSpatialModel,
    GaussianSpatialModel,
    ShellSpatialModel,
)
from gammagrad.models.spatial_base import SpatialModel
from gammagrad.models.spectral import (
    BrokenPowerLawSpectralModel,
    ExpCutoffPowerLawSpectralModel,
    LogParabolaSpectralModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SpectralModel,
)
from gammagrad.models.spectral_table import PiecewiseNormSpectralModel, TemplateSpectralModel
from gammagrad.models.template import TemplateSpatialModel

__all__ = [
    "BrokenPowerLawSpectralModel",
    "Component",
    "ConstantSpatialModel",
    "DiskSpatialModel",
    "ExpCutoffPowerLawSpectralModel",
    "FoVBackgroundModel",
    "GaussianSpatialModel",
    "LogParabolaSpectralModel",
    "Model",
    "Models",
    "PiecewiseNormSpectralModel",
    "PointSpatialModel",
    "PowerLawNormSpectralModel",
    "PowerLawSpectralModel",
    "ShellSpatialModel",
    "SkyModel",
    "SpatialModel",
    "SpectralModel",
    "TemplateNPredModel",
    "TemplateSpatialModel",
    "TemplateSpectralModel",
    "default_kernel_model",
    "model_from_dict",
    "model_to_dict",
    "models_from_dict",
    "models_to_dict",
]
