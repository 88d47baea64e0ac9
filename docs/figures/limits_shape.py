"""What a wrong size or a wrong index does to a norm."""

import numpy as np
from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

size = columns(study("limits")["tables"]["size"])
index = columns(study("closure")["tables"]["indices"])

_, (left, right) = axes(3.4, 2)
ratio = size["width / kernel's"]
for name, marker, colour in (("faint", "s", ORANGE), ("bright", "o", BLUE)):
    left.plot(ratio, size[f"norm, {name}"], f"{marker}-", color=colour, label=f"{name} source")
promise(left, 1, "")
left.set(xlabel="width of the source / width of the kernel", ylabel="norm / true norm")
left.set(ylim=(0, 1.7))
left.legend(fontsize=8)

data = list(dict.fromkeys(index["data"]))
for value, marker, colour in ((1.8, "o", BLUE), (2.6, "^", GREEN)):
    for fit, face in (("cube", colour), ("summed", "white")):
        rows = zip(index["data"], index["index"], index["fit"], index["flux / true"], strict=True)
        some = [(data.index(d), flux) for d, i, f, flux in rows if (i, f) == (value, fit)]
        label = f"{value} assumed, {fit}"
        right.plot(*np.transpose(some), marker, color=colour, mfc=face, label=label)
promise(right, 1, "")
right.set_xticks(range(3), [name.replace(" ", "\n", 1) for name in data], fontsize=8)
right.set(xlim=(-0.5, 2.5), ylim=(0.3, 1.8), ylabel="flux / true flux, index 2.2")
right.legend(fontsize=8, loc="upper left")
