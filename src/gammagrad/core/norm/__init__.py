"""The norm fit of one pixel: solver, likelihood profile, errors, limits and sensitivity."""

from gammagrad.core.norm.fit import (
    NormFit,
    fit_bins,
    fit_norm,
    fit_status,
    floating,
)
from gammagrad.core.norm.intervals import interval_steps
from gammagrad.core.norm.on_off import fit_on_off_bins, on_off_status
from gammagrad.core.norm.on_off_input import checked_off
from gammagrad.core.norm.on_off_solve import (
    Bracket,
    Rise,
    Slopes,
    find_norm,
    find_rise,
    parabola_step,
    smallest,
)
from gammagrad.core.norm.options import (
    FitOptions,
    check_sweeps,
    checked_selection,
    make_options,
    parse_selection,
)
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

__all__ = [
    "N_SWEEPS",
    "STATUS",
    "AsimovSums",
    "Bracket",
    "FitOptions",
    "NormFit",
    "ProfileSums",
    "Rise",
    "Root",
    "Slopes",
    "Status",
    "asimov_from_contrast",
    "check_sweeps",
    "checked_off",
    "checked_selection",
    "climb",
    "find_norm",
    "find_rise",
    "fit_bins",
    "fit_norm",
    "fit_on_off_bins",
    "fit_status",
    "floating",
    "interval_steps",
    "lower_step",
    "make_options",
    "newton",
    "on_off_status",
    "one_bin_rise",
    "one_bin_root",
    "parabola_step",
    "parse_selection",
    "required",
    "rise",
    "smallest",
    "upper_step",
]
