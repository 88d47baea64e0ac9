"""The norm fits of a map: the dense engine, the sparse one, and the bins that both sum over."""

from gammagrad.core.ts_map.bins import (
    KERNEL_WEIGHTINGS,
    TILE,
    BinImages,
    OwnGrid,
    clean_kernel,
    cube_bins,
    summed_bins,
    weight_offset,
)
from gammagrad.core.ts_map.index_family import IndexFamily, fitted_powers, powers_of
from gammagrad.core.ts_map.index_map import IndexRange, fit_index_occupied
from gammagrad.core.ts_map.on_off_bins import on_off_bins
from gammagrad.core.ts_map.sparse import fit_occupied
from gammagrad.core.ts_map.strips import default_memory
from gammagrad.core.ts_map.ts_map import ts_map
from gammagrad.core.ts_map.wide import (
    BACKGROUND_NORMS,
    Backgrounds,
    members,
    wide_window,
    wide_windows,
)

__all__ = [
    "BACKGROUND_NORMS",
    "KERNEL_WEIGHTINGS",
    "TILE",
    "Backgrounds",
    "BinImages",
    "IndexFamily",
    "IndexRange",
    "OwnGrid",
    "clean_kernel",
    "cube_bins",
    "default_memory",
    "fit_index_occupied",
    "fit_occupied",
    "fitted_powers",
    "members",
    "on_off_bins",
    "powers_of",
    "summed_bins",
    "ts_map",
    "weight_offset",
    "wide_window",
    "wide_windows",
]
