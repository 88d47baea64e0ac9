"""Plots of maps: the only package that uses matplotlib, an extra.

`sky` draws maps with coordinates, colour bars and sources; `significance` draws distributions;
`background` draws exclusion masks; `profile` draws likelihood profiles; `scales` chooses colours.
Importing this package does not import matplotlib.
"""

from gammagrad.plot.kernel_background import plot_exclusion, plot_iterations
from gammagrad.plot.overview import (
    draw_to_files,
    picture_names,
    plot_overview,
    save_figure,
    write_pictures,
)
from gammagrad.plot.profile import plot_profile
from gammagrad.plot.residuals import plot_residuals, residual_map
from gammagrad.plot.significance import SignificanceFit, plot_significance_histogram
from gammagrad.plot.sky import plot_flux_maps, plot_map

__all__ = [
    "SignificanceFit",
    "draw_to_files",
    "picture_names",
    "plot_exclusion",
    "plot_flux_maps",
    "plot_iterations",
    "plot_map",
    "plot_overview",
    "plot_profile",
    "plot_residuals",
    "plot_significance_histogram",
    "residual_map",
    "save_figure",
    "write_pictures",
]
