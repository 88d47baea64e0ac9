"""Derivatives of every output beside finite differences: the worst over all inputs."""

import numpy as np
from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

tables = study("gradients")["tables"]
outputs = [n for n in tables["Fermi cube"]["columns"] if n not in ("input", "reverse", "left out")]
DATA = (("HESS Crab cube", "o", GREEN), ("Fermi cube", "s", BLUE), ("HAWC joint", "^", ORANGE))

_, (axis,) = axes(3.6)
for shift, (data, marker, colour) in zip((-0.22, 0, 0.22), DATA, strict=True):
    table = columns(tables[data])
    for place, output in enumerate(outputs):
        off = np.array(table[output], float)
        off = off[off > 0]
        axis.plot(np.full(len(off), place + shift), off, marker, color=colour, ms=3, alpha=0.6)
    axis.plot([], [], marker, color=colour, label=data.replace("HESS", "H.E.S.S."))
promise(axis, 3e-6, "worst: 3e-6")
axis.set_xticks(range(len(outputs)), outputs, rotation=35, ha="right", fontsize=8)
axis.set(yscale="log", ylim=(1e-14, 1e-4), ylabel="relative deviation")
axis.legend(fontsize=8, ncols=3, loc="lower left")
