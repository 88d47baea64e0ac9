"""Fit statistics: Cash and W, the significance of Li and Ma, the logarithm under all."""

from gammagrad.core.stats.cash import (
    BACKGROUND_FLOOR,
    GainSums,
    ScoreSums,
    bin_ratio,
    cash,
    cash_sum,
    contrast_scores,
    gain_terms,
    score_terms,
    ts_term,
)
from gammagrad.core.stats.exponential import exp_inside
from gammagrad.core.stats.lima import (
    lima_of_sums,
    lima_significance,
    lima_significance_known_background,
)
from gammagrad.core.stats.logarithm import log, log1p_inside, reciprocal
from gammagrad.core.stats.wstat import (
    OnOffFit,
    OnOffScores,
    on_off_fit,
    on_off_gain,
    on_off_scores,
    w_terms,
    wstat,
    wstat_background,
)

__all__ = [
    "BACKGROUND_FLOOR",
    "GainSums",
    "OnOffFit",
    "OnOffScores",
    "ScoreSums",
    "bin_ratio",
    "cash",
    "cash_sum",
    "contrast_scores",
    "exp_inside",
    "gain_terms",
    "lima_of_sums",
    "lima_significance",
    "lima_significance_known_background",
    "log",
    "log1p_inside",
    "on_off_fit",
    "on_off_gain",
    "on_off_scores",
    "reciprocal",
    "score_terms",
    "ts_term",
    "w_terms",
    "wstat",
    "wstat_background",
]
