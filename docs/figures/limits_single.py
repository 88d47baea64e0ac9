"""How far single precision is from double, with more and more counts in the window."""

from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

table = columns(study("limits")["tables"]["single"])

_, (axis,) = axes(3.2)
KINDS = (
    ("ts off, worst", r"TS / $\sqrt{1 + |\mathrm{TS}|}$, worst of 10,000", "^", ORANGE),
    ("norm off, worst", "norm / error, worst of 10,000", "s", GREEN),
    ("norm off, median", "norm / error, median", "o", BLUE),
)
for name, label, marker, colour in KINDS:
    axis.plot(table["counts"], table[name], f"{marker}-", color=colour, label=label)
promise(axis, 1e-4, "stated: 1e-4")
axis.set(xscale="log", yscale="log", xlabel="counts in the window", ylabel="deviation")
axis.legend(fontsize=8, loc="upper left")
