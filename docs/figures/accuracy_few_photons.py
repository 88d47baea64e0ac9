"""How far norms and ends of intervals are from the exact likelihood's, with few counts."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, axes, columns, promise, study

table = columns(study("coverage")["tables"]["solved"])
level, source = np.array(table["background"]), np.array(table["source"])

figure, (left, right) = axes(3.2, 2, sharex=True, sharey=True)
for axis, name in ((left, "norm off"), (right, "ends off")):
    for value, marker, colour in ((0, "o", BLUE), (1, "s", GREEN), (3, "^", ORANGE)):
        some = source == value
        numbers = np.array(table[name])[some]
        axis.plot(level[some], numbers, f"{marker}-", color=colour, label=f"source of {value}")
    axis.set(xscale="log", yscale="log", xlabel="expected background counts")
left.set(ylabel="largest distance / error", title="norm, beside a scan")
right.set(ylim=(1e-16, 1e-2), title="limits and ends of intervals")
left.annotate("the scan itself is good to 1e-7", (0.01, 3e-9), color=GREY, fontsize=8)
promise(right, 1e-7, "stated: 1e-7")
for axis in (left, right):
    axis.title.set_fontsize(9)
left.legend(fontsize=8, loc="upper right")
