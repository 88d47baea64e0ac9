"""How far the norm of a source of known flux is from the truth, by containment and by index."""

import numpy as np
from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

tables = study("closure")["tables"]
widths, indices = columns(tables["widths"]), columns(tables["indices"])
STYLES = {"Fermi": ("o", BLUE), "H.E.S.S. Crab": ("s", GREEN), "CTA Vela": ("^", ORANGE)}

_, (left, right) = axes(3.6, 2)
low, high = np.array([cell.split(" to ") for cell in widths["containment"]], float).T
for data, (marker, colour) in STYLES.items():
    some = np.array(widths["data"]) == data
    between = 0.5 * (low + high)[some]
    for name, face in (("norm, renormalised", "none"), ("norm, cube", colour)):
        off = np.abs(np.array(widths[name])[some] - 1)
        left.plot(between, off, marker, color=colour, mfc=face)
    left.plot([], [], marker, color=colour, label=data)
    some = np.array(indices["data"]) == data
    off = np.abs(np.array(indices["off"])[some])
    right.plot(np.array(indices["flux / true"])[some], off, marker, color=colour)
promise(left, 1e-3, "promised: 1e-3")
left.annotate("scaled to sum 1", (0.73, 0.4), fontsize=8)
left.annotate("renormalise=False", (0.73, 6e-5), fontsize=8)
left.set(yscale="log", ylim=(3e-7, 1), xlabel="containment of the kernel")
left.set_ylabel("norm: distance from 1")
left.legend(fontsize=8, loc="lower left")
right.set(yscale="log", ylim=(1e-16, 1e-11), xlabel="flux / true flux, with a wrong index")
right.set_ylabel("distance from the prediction")
