"""The chance that an empty map has a peak above a threshold."""

import numpy as np
from scipy.stats import norm
from style import BLUE, GREEN, ORANGE, axes, promise

positions = np.logspace(0, 6, 200)

_, (axis,) = axes(3.0)
for threshold, colour in ((3, BLUE), (4, GREEN), (5, ORANGE)):
    chance = -np.expm1(positions * np.log1p(-norm.sf(threshold)))
    axis.plot(positions, chance, color=colour, label=f"a peak above {threshold}")
promise(axis, 0.05, "5 %")
axis.set(xscale="log", yscale="log", ylim=(1e-7, 2), ylabel="chance in an empty map")
axis.set_xlabel("independent positions times models")
axis.legend(fontsize=8, loc="lower right")
