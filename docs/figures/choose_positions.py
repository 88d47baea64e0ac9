"""Errors of norms with one kernel for a map, and with one for every position."""

import numpy as np
from style import BLUE, ORANGE, axes, columns, study

table = columns(study("positions")["tables"]["norms"])
chosen = [i for i, fit in enumerate(table["fit"]) if fit == "cube"]
names = [f"{table['field'][i]}\n{table['source'][i]} source" for i in chosen]
y = np.arange(len(chosen))

figure, (ax,) = axes(3.2)
for kind, colour, label in (
    ("centre", ORANGE, 'kernel_positions="centre"'),
    ("default", BLUE, "the default"),
):
    middle = np.array(table[f"{kind}, median"])[chosen]
    worst = np.array(table[f"{kind}, worst"])[chosen]
    ax.hlines(y, middle, worst, color=colour, linewidth=2)
    ax.plot(middle, y, "o", color=colour, label=f"{label}: median")
    ax.plot(worst, y, ">", color=colour, label="worst of 20 places")
ax.axvline(1e-3, color="black", linestyle=":", linewidth=1)
ax.text(1.1e-3, -0.75, "0.1 %", va="center", fontsize="small")
ax.set(xscale="log", xlabel="error of the norm, as a fraction", yticks=y, yticklabels=names)
ax.set_ylim(len(y) - 0.5, -1)
figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
