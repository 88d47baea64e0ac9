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
from gammagrad.core.ts_map.sparse import fit_occupied
from gammagrad.core.ts_map.strips import default_memory
from gammagrad.core.ts_map.ts_map import ts_map

__all__ = [
    "KERNEL_WEIGHTINGS",
    "TILE",
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
    "powers_of",
    "summed_bins",
    "ts_map",
    "weight_offset",
]
