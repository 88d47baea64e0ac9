"""Significances with a background that is 10 % too low."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, axes

from gammagrad import TSMapEstimator
from gammagrad.simulate import asimov, simulate_field

field = simulate_field(seed=1, npix=60)
empty = asimov(field.dataset)
empty.counts.data[:] = np.random.default_rng(1).poisson(empty.background.data)
empty.background = empty.background * 0.9
cube = {"kernel_width": "0.6 deg", "sum_over_energy_groups": False}
figure, (ax,) = axes(3.2)
edges = np.arange(-5, 7.1, 0.25)
for colour, label, options in (
    (ORANGE, "known", {}),
    (GREEN, "constrained, 10 %", {"background": "constrained", "background_uncertainty": 0.1}),
    (BLUE, "free", {"background": "free"}),
):
    maps = TSMapEstimator(**cube, **options).run(empty)
    values = maps["sqrt_ts"].data.ravel()
    word = f"{label}: mean {values.mean():+.2f}, width {values.std():.2f}"
    ax.hist(values, edges, histtype="step", color=colour, label=word, linewidth=1.8)
x = np.linspace(-5, 7, 200)
unit = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) * 0.25 * values.size
ax.plot(x, unit, color=GREY, linestyle="--", label="standard normal")
ax.set(xlabel=r"$\sqrt{\mathrm{TS}}$ of a field without sources", ylabel="pixels", xlim=(-5, 11))
ax.legend(frameon=False, fontsize="small")
