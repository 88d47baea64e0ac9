"""The norm fit of one pixel: solver, likelihood profile, errors, limits and sensitivity."""

from gammagrad.core.norm.background import (
    BACKGROUND_MAPS,
    BACKGROUNDS,
    PRIORS,
    WITH_OFF,
    BackgroundNorm,
    check_background,
    fit_with_background,
    knowledge,
    squeezed,
)
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
from gammagrad.core.norm.on_off import checked_off, fit_on_off_bins, on_off_status
from gammagrad.core.norm.on_off_solve import (
    Bracket,
    Rise,
    Slopes,
    find_norm,
    find_rise,
    parabola_step,
    smallest,
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
from gammagrad.core.norm.result import NormFit, fit_status
from gammagrad.core.norm.sensitivity import (
    AsimovSums,
    Lost,
    asimov_from_contrast,
    background_level,
    one_bin_root,
    required,
)
from gammagrad.core.norm.several import RatioSums, SeveralProfile, ratio_terms
from gammagrad.core.norm.several_fit import groups_of, lost_of, several_results, several_stat_null
from gammagrad.core.norm.solve import N_SWEEPS, STATUS, Root, Status, newton

__all__ = [
    "BACKGROUNDS",
    "BACKGROUND_MAPS",
    "NO_COUNTS",
    "N_SWEEPS",
    "PRIORS",
    "STATUS",
    "WITH_OFF",
    "AsimovSums",
    "BackgroundNorm",
    "Bracket",
    "FitOptions",
    "Line",
    "LineProfile",
    "LineSums",
    "Lost",
    "NormFit",
    "ProfileSums",
    "RatioSums",
    "Rise",
    "Root",
    "SeveralProfile",
    "Slopes",
    "Status",
    "Window",
    "asimov_from_contrast",
    "background_level",
    "check_background",
    "check_sweeps",
    "checked_off",
    "checked_selection",
    "climb",
    "closer",
    "find_norm",
    "find_rise",
    "fit_bins",
    "fit_free_bins",
    "fit_norm",
    "fit_on_off_bins",
    "fit_status",
    "fit_with_background",
    "floating",
    "free_status",
    "groups_of",
    "interval_steps",
    "is_even",
    "knowledge",
    "line_intervals",
    "line_results",
    "line_scan",
    "lost_of",
    "lower_step",
    "make_options",
    "newton",
    "norm_of",
    "on_off_status",
    "one_bin_rise",
    "one_bin_root",
    "parabola_step",
    "parse_selection",
    "place_of",
    "ratio_terms",
    "required",
    "rise",
    "several_results",
    "several_stat_null",
    "smallest",
    "solve_line",
    "squeezed",
    "upper_step",
]
