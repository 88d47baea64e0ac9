"""The norm fit of one pixel: solver, likelihood profile, errors, limits and sensitivity."""

from gammagrad.core.norm.fit import (
    NormFit,
    checked_selection,
    fit_bins,
    fit_norm,
    fit_status,
    floating,
)
from gammagrad.core.norm.intervals import interval_steps
from gammagrad.core.norm.norm_and_index import (
    MAY_HAVE_INDEX,
    fit_norm_and_index,
    status_with_index,
)
from gammagrad.core.norm.options import FitOptions, check_sweeps, make_options, parse_selection
from gammagrad.core.norm.profile import (
    ProfileSums,
    climb,
    lower_step,
    one_bin_rise,
    rise,
    upper_step,
)
from gammagrad.core.norm.sensitivity import AsimovSums, asimov_from_contrast, one_bin_root, required
from gammagrad.core.norm.solve import N_SWEEPS, STATUS, Root, Status, newton
from gammagrad.core.norm.two_numbers import (
    LEAST_GAIN,
    Pair,
    PairSums,
    best_of,
    climbed,
    covariance,
    curvature,
    grid_of_shapes,
    log_total,
    pair_terms,
    polynomial,
    started,
)

__all__ = [
    "LEAST_GAIN",
    "MAY_HAVE_INDEX",
    "N_SWEEPS",
    "STATUS",
    "AsimovSums",
    "FitOptions",
    "NormFit",
    "Pair",
    "PairSums",
    "ProfileSums",
    "Root",
    "Status",
    "asimov_from_contrast",
    "best_of",
    "check_sweeps",
    "checked_selection",
    "climb",
    "climbed",
    "covariance",
    "curvature",
    "fit_bins",
    "fit_norm",
    "fit_norm_and_index",
    "fit_status",
    "floating",
    "grid_of_shapes",
    "interval_steps",
    "log_total",
    "lower_step",
    "make_options",
    "newton",
    "one_bin_rise",
    "one_bin_root",
    "pair_terms",
    "parse_selection",
    "polynomial",
    "required",
    "rise",
    "started",
    "status_with_index",
    "upper_step",
]
