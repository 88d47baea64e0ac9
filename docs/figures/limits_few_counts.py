"""How often significances of empty windows exceed a threshold, and how wide they are."""

from style import BLUE, GREEN, ORANGE, PURPLE, axes, columns, promise, study

table = columns(study("limits")["tables"]["empty"])
under = table["under the kernel"]

_, (left, right) = axes(3.4, 2, sharex=True)
for n, colour, marker in zip((2, 3, 4, 5), (BLUE, GREEN, ORANGE, PURPLE), "os^D", strict=True):
    left.plot(under, table[f"> {n}"], f"{marker}-", color=colour, label=f"above {n}", ms=4)
promise(left, 1, "normal distribution")
left.set(xscale="log", yscale="log", ylim=(0.1, 2), ylabel="empty windows / normal distribution")
left.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
left.minorticks_off()
left.legend(fontsize=8, loc="lower right")
right.plot(under, table["width"], "o-", color=BLUE, label="width (1 is right)")
right.plot(under, table["mean"], "s-", color=ORANGE, label="mean (0 is right)")
for value in (0, 1):
    promise(right, value, "")
right.set(ylim=(-0.3, 1.2), ylabel=r"significance $\sqrt{\mathrm{TS}}$")
right.legend(fontsize=8, loc="center right")
for axis in (left, right):
    axis.set_xlabel("background counts under the kernel")
