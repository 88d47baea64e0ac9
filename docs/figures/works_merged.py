"""A row of a map, fitted pixel by pixel and with merged pixels."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, axes

from gammagrad import TSMapEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=60).dataset
row = 5
offset = (np.arange(60) - 29.5) * 0.025
figure, (ax,) = axes(3.0)
for factor, colour in ((1, BLUE), (2, ORANGE), (4, GREEN)):
    maps = TSMapEstimator(
        kernel_width="0.6 deg", sum_over_energy_groups=False, downsampling_factor=factor
    ).run(dataset)
    word = "no merging" if factor == 1 else f"blocks of {factor} x {factor}"
    ax.plot(offset, maps["sqrt_ts"].data[0, row], color=colour, label=word)
ax.axhline(0, color=GREY, linewidth=0.8)
ax.set(xlabel="longitude from the middle [deg]", ylabel=r"$\sqrt{\mathrm{TS}}$")
ax.legend(frameon=False)
