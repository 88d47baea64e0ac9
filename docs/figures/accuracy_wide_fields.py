"""How far norms are from 1 all over wide fields: one kernel, and one for every position."""

import numpy as np
from style import BLUE, ORANGE, axes, columns, promise, study

table = columns(study("positions")["tables"]["norms"])
kinds = list(zip(table["field"], table["source"], table["fit"], strict=True))
at = np.arange(len(kinds))

_, (axis,) = axes(3.8)
WAYS = (
    ("centre", "one kernel", "s", ORANGE),
    ("default", "a kernel for every position", "o", BLUE),
)
for way, label, marker, colour in WAYS:
    median, worst = (100 * np.array(table[f"{way}, {name}"]) for name in ("median", "worst"))
    axis.vlines(at, median, worst, color=colour, lw=1)
    axis.plot(at, median, marker, color=colour, mfc="white", label=f"{label}: median")
    axis.plot(at, worst, marker, color=colour, label=f"{label}: worst of 20")
promise(axis, 0.1, "promised: 0.1 %")
axis.set(yscale="log", ylim=(7e-4, 2e4), ylabel="norm: distance from 1, in per cent")
axis.set_xticks(at, ["\n".join(kind[1:]) for kind in kinds], fontsize=8)
for first in (0, 4, 8):
    axis.text(first + 1.5, 70, kinds[first][0], ha="center", fontsize=9)
for edge in (3.5, 7.5):
    axis.axvline(edge, color="0.8", lw=0.8)
axis.legend(fontsize=8, ncols=2, loc="upper center")
