"""What few OFF counts do to norms, intervals and significances."""

import numpy as np
from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

table = columns(study("few_off_counts")["tables"]["few OFF counts"])
off = np.array(table["OFF counts"])

_, panels = axes(3.0, 3, sharex=True)
panels[0].plot(off, table["bias / error"], "o-", color=BLUE)
promise(panels[0], 0, "")
panels[0].set(ylabel="bias of the norm / error", xscale="log")
panels[1].plot(off, table["ul: 2"], "s-", color=GREEN, label="limit of 2 sigma")
panels[1].plot(off, table["errn, errp: 1"], "o-", color=BLUE, label="interval of 1 sigma")
for value in (0.9772, 0.6827):
    promise(panels[1], value, "")
panels[1].set(ylabel="part that holds the truth", ylim=(0, 1.35))
panels[1].legend(fontsize=7, loc="upper left")
panels[2].plot(off, table["above 3, over nominal"], "^-", color=ORANGE)
promise(panels[2], 1, "")
panels[2].set(ylabel="above 3 without a source / normal")
for axis in panels:
    axis.axvline(3, color="0.8", lw=3, zorder=0)
    axis.set_xlabel("OFF counts per bin")
