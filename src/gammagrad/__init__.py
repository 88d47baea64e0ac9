"""gammagrad: exact, differentiable source maps for gamma-ray astronomy."""

# io and plot register themselves
from gammagrad import io, models, plot, responses, stats  # noqa: F401
from gammagrad.core.kernel_background import kernel_background
from gammagrad.core.norm import fit_norm
from gammagrad.core.ts_map import ts_map
from gammagrad.dataset import MapDataset
from gammagrad.estimators.background_norm import fit_background_norm
from gammagrad.estimators.exclusion import exclusion_mask, write_regions
from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
from gammagrad.estimators.lima import lima_maps
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.fitting.fit import fit
from gammagrad.flux_maps import FluxMaps, HypothesisMaps
from gammagrad.maps.map import Map

__version__ = "0.1.0"

__all__ = [
    "FluxMaps",
    "HypothesisMaps",
    "KernelBackgroundEstimator",
    "Map",
    "MapDataset",
    "TSMapEstimator",
    "__version__",
    "exclusion_mask",
    "fit",
    "fit_background_norm",
    "fit_norm",
    "kernel_background",
    "lima_maps",
    "models",
    "responses",
    "stats",
    "ts_map",
    "write_regions",
]
