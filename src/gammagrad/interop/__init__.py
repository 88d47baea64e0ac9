"""gammapy's objects taken and given back: the only part that imports gammapy.

`TSMapEstimator` and `KernelBackgroundEstimator` here have gammapy's conventions, take gammapy's
objects and return such. The functions of the other files convert single objects both ways.
"""

from gammagrad.interop.datasets import dataset_from_gammapy, dataset_to_gammapy
from gammagrad.interop.flux_maps import flux_maps_from_gammapy, flux_maps_to_gammapy
from gammagrad.interop.kernel_background import KernelBackgroundEstimator
from gammagrad.interop.maps import map_from_gammapy, map_to_gammapy
from gammagrad.interop.models import models_from_gammapy, models_to_gammapy
from gammagrad.interop.ts_map import TSMapEstimator

__all__ = [
    "KernelBackgroundEstimator",
    "TSMapEstimator",
    "dataset_from_gammapy",
    "dataset_to_gammapy",
    "flux_maps_from_gammapy",
    "flux_maps_to_gammapy",
    "map_from_gammapy",
    "map_to_gammapy",
    "models_from_gammapy",
    "models_to_gammapy",
]
