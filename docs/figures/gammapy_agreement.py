"""Largest deviations from gammapy's results, for every case and quantity."""

import numpy as np
from style import BLUE, ORANGE, axes, study

rows = [row for row in study("reference") if row["compared"]]
names = list(dict.fromkeys(row["quantity"] for row in rows))
figure, (ax,) = axes(3.4)
rng = np.random.default_rng(1)
for row in rows:
    y = names.index(row["quantity"]) + rng.uniform(-0.3, 0.3)
    colour = ORANGE if row["above"] else BLUE
    ax.plot(max(row["worst"], 1e-9), y, ".", color=colour, alpha=0.7)
ax.set(
    xscale="log",
    yticks=range(len(names)),
    yticklabels=names,
    xlabel="largest deviation over the tolerance",
    xlim=(3e-10, 1e3),
)
ax.axvline(1, color="black", linewidth=0.8)
ax.invert_yaxis()
