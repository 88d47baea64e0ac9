"""Fit statistics: Cash, W, and the significance of Li and Ma. All traced, arrays in and out."""

from gammagrad.core.stats import (
    BACKGROUND_FLOOR,
    cash,
    cash_sum,
    lima_significance,
    lima_significance_known_background,
    wstat,
    wstat_background,
)

__all__ = [
    "BACKGROUND_FLOOR",
    "cash",
    "cash_sum",
    "lima_significance",
    "lima_significance_known_background",
    "wstat",
    "wstat_background",
]
