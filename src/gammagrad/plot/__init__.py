"""Pictures of maps: the one place that draws with matplotlib, which is an extra.

`sky` draws maps with coordinates, colour bars and sources; `significance` draws distributions;
`background` draws exclusion masks; `profile` draws likelihood profiles; `scales` chooses colours.
Importing this package gives `Map.plot` and the plotting methods of `FluxMaps` their functions, and
does not import matplotlib.
"""

from gammagrad._plots import register_plots
from gammagrad.maps.map import register_plot
from gammagrad.plot.background import plot_exclusion, plot_iterations
from gammagrad.plot.profile import plot_profile
from gammagrad.plot.residuals import plot_residuals, residual_map
from gammagrad.plot.significance import SignificanceFit, plot_significance_histogram
from gammagrad.plot.sky import plot_flux_maps, plot_map

__all__ = [
    "SignificanceFit",
    "plot_exclusion",
    "plot_flux_maps",
    "plot_iterations",
    "plot_map",
    "plot_profile",
    "plot_residuals",
    "plot_significance_histogram",
    "residual_map",
]

register_plot(plot_map)
register_plots(plot_flux_maps, plot_profile, plot_residuals, plot_significance_histogram)
