"""Exclusion masks: from circles, region files and tables of sources, and back to region files."""

from gammagrad.exclusion.masks import exclusion_mask, write_regions

__all__ = ["exclusion_mask", "write_regions"]
