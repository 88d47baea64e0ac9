"""Exclusion masks: from circles, region files and tables of sources, and back to region files."""

from gammagrad.exclusion.kept_bins import kept_bins
from gammagrad.exclusion.masks import exclusion_mask, write_regions

__all__ = ["exclusion_mask", "kept_bins", "write_regions"]
