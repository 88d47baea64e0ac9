"""The norm fit of one pixel: solver, likelihood profile, errors, limits and sensitivity."""

from gammagrad.core.norm.fit import checked_selection, fit_bins, fit_norm, floating
from gammagrad.core.norm.free import (
    Window,
    free_status,
    is_even,
    line_intervals,
    line_results,
    line_scan,
    norm_of,
)
from gammagrad.core.norm.free_bins import fit_free_bins
from gammagrad.core.norm.intervals import interval_steps
from gammagrad.core.norm.line import NO_COUNTS, Line, LineSums, closer, place_of, solve_line
from gammagrad.core.norm.line_profile import LineProfile
from gammagrad.core.norm.options import FitOptions, check_sweeps, make_options, parse_selection
from gammagrad.core.norm.profile import (
    ProfileSums,
    climb,
    lower_step,
    one_bin_rise,
    rise,
    upper_step,
)
from gammagrad.core.norm.result import NormFit, fit_status
from gammagrad.core.norm.sensitivity import (
    AsimovSums,
    asimov_from_contrast,
    free_asimov,
    one_bin_root,
    required,
)
from gammagrad.core.norm.solve import N_SWEEPS, STATUS, Root, Status, newton

__all__ = [
    "NO_COUNTS",
    "N_SWEEPS",
    "STATUS",
    "AsimovSums",
    "FitOptions",
    "Line",
    "LineProfile",
    "LineSums",
    "NormFit",
    "ProfileSums",
    "Root",
    "Status",
    "Window",
    "asimov_from_contrast",
    "check_sweeps",
    "checked_selection",
    "climb",
    "closer",
    "fit_bins",
    "fit_free_bins",
    "fit_norm",
    "fit_status",
    "floating",
    "free_asimov",
    "free_status",
    "interval_steps",
    "is_even",
    "line_intervals",
    "line_results",
    "line_scan",
    "lower_step",
    "make_options",
    "newton",
    "norm_of",
    "one_bin_rise",
    "one_bin_root",
    "parse_selection",
    "place_of",
    "required",
    "rise",
    "solve_line",
    "upper_step",
]
