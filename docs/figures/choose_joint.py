"""One norm for two datasets, or one for each."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, axes

from gammagrad import TSMapEstimator
from gammagrad.simulate import asimov, simulate_field


def empty(seed, livetime, name):
    """Return a field without sources."""
    dataset = asimov(simulate_field(npix=60, livetime=livetime).dataset).copy(name=name)
    dataset.counts.data[:] = np.random.default_rng(seed).poisson(dataset.background.data)
    return dataset


long, short = empty(1, "50 h", "long"), empty(2, "10 h", "short")
estimator = TSMapEstimator(
    kernel_width="0.6 deg", sum_over_energy_groups=False, selection_optional="ul"
)
runs = {"50 h": estimator.run(long), "10 h": estimator.run(short)}
runs["both"] = estimator.run([long, short])
ts = {name: abs(maps["ts"].data) for name, maps in runs.items()}

figure, (left, right) = axes(3.2, 2)
grid = np.linspace(0, 15, 200)
for values, colour, label in (
    (ts["both"], BLUE, "joint fit"),
    (ts["50 h"] + ts["10 h"], ORANGE, "sum of both maps"),
):
    above = [(values > x).mean() for x in grid]
    left.plot(grid, above, color=colour, label=f"{label}: mean {values.mean():.2f}")
left.set(yscale="log", xlabel="TS", ylabel="fraction of pixels above", xlim=(0, 15))
left.set(ylim=(1e-3, 30), yticks=(1e-3, 1e-2, 1e-1, 1))
left.legend(frameon=False, loc="upper right", fontsize="small")
for (name, maps), colour in zip(runs.items(), (GREEN, GREY, BLUE), strict=True):
    limits = maps["flux_ul"].data.ravel()
    middle = np.median(limits)
    right.hist(
        limits,
        np.geomspace(5e-15, 5e-13, 60),
        histtype="step",
        color=colour,
        linewidth=1.6,
        label=f"{name}: {middle:.1e}",
    )
right.set(xscale="log", xlabel=r"limit of the flux [cm$^{-2}$ s$^{-1}$]", ylabel="pixels")
right.legend(frameon=False, title="median", fontsize="small", loc="upper left")
right.set_ylim(0, 420)
