"""gammagrad: exact, differentiable source maps for gamma-ray astronomy."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gammagrad import errors, models, responses, stats
from gammagrad.core.norm import fit_norm, fit_norm_and_index
from gammagrad.core.ts_map import ts_map
from gammagrad.dataset import MapDataset, MapDatasetOnOff, read_dataset
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.flux_maps import FluxMaps, HypothesisMaps
from gammagrad.maps import Map

if TYPE_CHECKING:
    from gammagrad.core.background import kernel_background
    from gammagrad.estimators.background_norm import fit_background_norm
    from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
    from gammagrad.estimators.lima import lima_maps
    from gammagrad.estimators.ring_background import RingBackgroundMaker
    from gammagrad.exclusion import exclusion_mask, write_regions
    from gammagrad.fitting import fit

__version__ = "0.1.0"

__all__ = [
    "FluxMaps",
    "HypothesisMaps",
    "KernelBackgroundEstimator",
    "Map",
    "MapDataset",
    "MapDatasetOnOff",
    "RingBackgroundMaker",
    "TSMapEstimator",
    "__version__",
    "errors",
    "exclusion_mask",
    "fit",
    "fit_background_norm",
    "fit_norm",
    "fit_norm_and_index",
    "kernel_background",
    "lima_maps",
    "models",
    "read_dataset",
    "responses",
    "stats",
    "ts_map",
    "write_regions",
]

# what a first map does not need is imported when it is asked for: a quarter of the time to begin
_LATER = {
    "KernelBackgroundEstimator": "estimators.kernel_background",
    "exclusion_mask": "exclusion",
    "fit": "fitting",
    "fit_background_norm": "estimators.background_norm",
    "kernel_background": "core.background",
    "lima_maps": "estimators.lima",
    "RingBackgroundMaker": "estimators.ring_background",
    "plot": "plot",
    "write_regions": "exclusion",
}


def __getattr__(name: str) -> Any:
    """Import a public name, or the part `plot`, on its first use."""
    if name not in _LATER:
        raise AttributeError(f"module 'gammagrad' has no attribute {name!r}")
    module = import_module(f"gammagrad.{_LATER[name]}")
    value = getattr(module, name, module)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, those not imported yet included, and what Python looks for."""
    parts = {name for name, value in globals().items() if isinstance(value, ModuleType)}
    python = {name for name in globals() if name.startswith("__")}
    public = {name for name in {*parts, *_LATER} if not name.startswith("_")}
    return sorted({*__all__, *public, *python} - {"__getattr__", "__dir__"})
