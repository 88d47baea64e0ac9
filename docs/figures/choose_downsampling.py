"""Significances with merged pixels."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, short_labels, sky_axes

from gammagrad import TSMapEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=60).dataset
figure, made = sky_axes(dataset.geom, 5.6, rows=2)
for unused in made[3:]:
    unused.remove()
histogram = figure.add_subplot(2, 1, 2)
for i, (factor, colour) in enumerate(((1, BLUE), (2, ORANGE), (4, GREEN))):
    maps = TSMapEstimator(
        kernel_width="0.6 deg", sum_over_energy_groups=False, downsampling_factor=factor
    ).run(dataset)
    word = "no merging" if factor == 1 else f"downsampling_factor={factor}"
    maps["sqrt_ts"].plot(
        ax=made[i],
        title=word,
        stretch="linear",
        vmin=-5,
        vmax=20,
        cmap="viridis",
        colorbar=i == 2,
        label=r"$\sqrt{\mathrm{TS}}$",
    )
    values = maps["sqrt_ts"].data.ravel()
    histogram.hist(
        values, np.arange(-5.1, 8.2, 0.2), histtype="step", color=colour, label=word, linewidth=1.6
    )
histogram.axvline(0, color=GREY, linewidth=0.8)
histogram.set(xlabel=r"$\sqrt{\mathrm{TS}}$", ylabel="pixels", xlim=(-5, 8))
histogram.legend(frameon=False)
short_labels(made[:3])
for ax in made[:3]:
    ax.coords[0].set_axislabel("l [deg]")
    ax.coords[0].set_ticklabel_visible(True)
