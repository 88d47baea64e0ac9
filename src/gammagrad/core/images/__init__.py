"""Images as arrays: convolution, and the morphology of masks."""

from gammagrad.core.images.convolve import (
    DIRECT_MAX_PIXELS,
    PreparedKernel,
    box_sum,
    convolve,
    convolve_stack,
    fast_length,
    kernel_inside,
    prepare_kernel,
)
from gammagrad.core.images.morphology import Footprint, flood, mirrored, prepare_footprint
from gammagrad.core.images.windows import window_sums

__all__ = [
    "DIRECT_MAX_PIXELS",
    "Footprint",
    "PreparedKernel",
    "box_sum",
    "convolve",
    "convolve_stack",
    "fast_length",
    "flood",
    "kernel_inside",
    "mirrored",
    "prepare_footprint",
    "prepare_kernel",
    "window_sums",
]
