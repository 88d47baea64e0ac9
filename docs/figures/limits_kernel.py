"""What a kernel that is cut, or that of another place, does to a norm."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, axes, columns, promise, study

widths = columns(study("closure")["tables"]["widths"])
places = columns(study("positions")["tables"]["norms"])
STYLES = {"Fermi": ("o", BLUE), "H.E.S.S. Crab": ("s", GREEN), "CTA Vela": ("^", ORANGE)}

_, (left, right) = axes(3.4, 2)
low, high = np.array([cell.split(" to ") for cell in widths["containment"]], float).T
for data, (marker, colour) in STYLES.items():
    some = np.array(widths["data"]) == data
    middle, half = 0.5 * (low + high)[some], 0.5 * (high - low)[some]
    norms = np.array(widths["norm, renormalised"])[some]
    left.errorbar(middle, norms, xerr=half, fmt=marker, color=colour, label=data, lw=1)
left.plot([0.65, 1], [0.65, 1], color=GREY, lw=0.8)
promise(left, 1, "renormalise=False")
left.set(xlabel="containment of the kernel", ylabel="norm with a kernel scaled to 1")
left.set(xlim=(0.65, 1.02), ylim=(0.65, 1.05))
left.legend(fontsize=8, loc="lower right")

fields = list(dict.fromkeys(places["field"]))
kinds = (("bright", "o", BLUE, -0.15), ("faint", "s", ORANGE, 0.15))
for source, marker, colour, shift in kinds:
    some = np.array(places["source"]) == source
    at = np.array([fields.index(name) for name in np.array(places["field"])[some]]) + shift
    worst = 100 * np.array(places["centre, worst"])[some]
    right.plot(at, worst, marker, color=colour, label=f"{source} source")
promise(right, 0.1, "what the default promises: 0.1 %")
right.set_xticks(range(3), [name.replace(" ", "\n", 1) for name in fields], fontsize=8)
right.set(yscale="log", ylim=(0.03, 100), xlim=(-0.5, 2.5))
right.set_ylabel("one kernel: worst norm off by, in %")
right.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.25))
