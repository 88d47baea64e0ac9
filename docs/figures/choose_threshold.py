"""The guess of a matched filter against the fit."""

import numpy as np
from style import BLUE, GREY, ORANGE, axes

from gammagrad import TSMapEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=60, livetime="5 h").dataset
cube = {"kernel_width": "0.6 deg", "sum_over_energy_groups": False}
fitted = TSMapEstimator(**cube).run(dataset)["sqrt_ts"].data.ravel()
guess = TSMapEstimator(**cube, threshold=1e6).run(dataset)["sqrt_ts"].data.ravel()

figure, (left, right) = axes(3.2, 2)
left.plot(fitted, guess, ".", color=BLUE, markersize=3)
ends = [-4, 25]
left.plot(ends, ends, color=GREY, linestyle="--")
left.text(21, 21.5, "equal", color=GREY, ha="right", va="bottom", rotation=45)
left.set(
    xlabel=r"fitted $\sqrt{\mathrm{TS}}$",
    ylabel=r"guessed $\sqrt{\mathrm{TS}}$",
    xlim=ends,
    ylim=ends,
)
thresholds = np.geomspace(0.1, 100, 80)
kept = [(guess**2 <= t).mean() for t in thresholds]
lost = [(fitted[guess**2 <= t] > 5).sum() / (fitted > 5).sum() for t in thresholds]
right.plot(thresholds, kept, color=BLUE)
right.plot(thresholds, lost, color=ORANGE)
right.text(0.12, 0.7, "of all pixels", color=BLUE)
right.text(20, 0.1, "above 5 sigma", color=ORANGE, ha="right")
right.set(
    xscale="log", xlabel="threshold (TS)", ylabel="fraction that keeps the guess", ylim=(0, 1)
)
