"""Deviations of refined sources from the truth, in units of their errors."""

import numpy as np
from style import BLUE, ORANGE, axes, columns, promise, study

table = columns(study("refine")["tables"]["pulls"])
names = ["ra", "dec", "flux", "index", "sigma"]

_, panels = axes(3.2, 2)
titles = ("mean (0 is right)", "width (1 is right)")
parts = (("mean", "+-", 0), ("width", "+- ", 1))
for axis, (what, error, right), title in zip(panels, parts, titles, strict=True):
    for source, marker, colour, shift in (
        ("point", "o", BLUE, -0.1),
        ("Gaussian", "s", ORANGE, 0.1),
    ):
        some = np.array(table["source"]) == source
        at = [names.index(name) + shift for name in np.array(table["quantity"])[some]]
        numbers, errors = (np.array(table[name])[some] for name in (what, error))
        axis.errorbar(at, numbers, yerr=errors, fmt=marker, color=colour, label=f"{source} source")
    promise(axis, right, "")
    axis.set_xticks(range(5), names)
    axis.set_title(title, fontsize=9)
panels[0].set(ylabel="deviation / error", ylim=(-0.25, 0.25))
panels[1].set(ylabel="standard deviation", ylim=(0.9, 1.2))
panels[1].legend(fontsize=8)
