"""How often limits and intervals hold the truth, and how often they claim to."""

import numpy as np
from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

table = columns(study("coverage")["tables"]["psf"])
level, source = (np.array(table[name][1:], float) for name in ("background", "source"))
PANELS = (
    ("norm_ul: 2", "limit of 2 sigma", "below the limit"),
    ("norm_errn, norm_errp: 1", "interval of 1 sigma", "inside the interval"),
)

_, panels = axes(3.4, 2, sharex=True)
for axis, (name, title, ylabel) in zip(panels, PANELS, strict=True):
    claimed = float(table[name][0])
    for value, marker, colour in ((0, "o", BLUE), (1, "s", GREEN), (3, "^", ORANGE)):
        some = source == value
        ours, exact = np.array([cell.split(",") for cell in table[name][1:]], float)[some].T
        axis.plot(level[some], exact, color=colour, lw=1)
        axis.plot(level[some], ours, marker, color=colour, label=f"source of {value}")
    promise(axis, claimed, f"claimed: {claimed:.2%}")
    axis.set(xscale="log", xlabel="expected background counts")
    axis.set_ylabel(f"part of true norms {ylabel}")
    axis.set_title(title, fontsize=9)
panels[0].set_ylim(0.94, 1.005)
panels[1].set_ylim(0.5, 1.02)
panels[1].legend(fontsize=8)
