"""The background of a counts image and its exclusion mask, found by iteration."""

from gammagrad.core.background.estimate import KernelBackground, disk_structure, kernel_background
from gammagrad.core.background.mask_loop import MASK_UPDATES
from gammagrad.core.background.ring import SIGNIFICANCES

__all__ = [
    "MASK_UPDATES",
    "SIGNIFICANCES",
    "KernelBackground",
    "disk_structure",
    "kernel_background",
]
