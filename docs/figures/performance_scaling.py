"""Time for one pixel of a map, against the size of the kernel."""

import numpy as np
from style import BLUE, GREEN, GREY, axes, cases, numbers

speed, engine = cases("speed"), cases("engine")
sides = [[int(shape.split(" x ")[0]) for shape in text.split(", ")] for text in speed["kernel"]]
kernel = [sum(side**2 for side in each) for each in sides]
pixels = np.array(numbers(speed["pixels"]))
loop = np.array(numbers(engine["all cores (ms)"])) / 1e3

figure, (ax,) = axes(3.2)
for name, seconds, colour in (
    ("gammapy", numbers(speed["gammapy (s)"]), GREY),
    ("gammagrad", numbers(speed["gammagrad (s)"]), BLUE),
    ("compiled loop", loop, GREEN),
):
    each = 1e6 * np.array(seconds) / pixels
    for i, case in enumerate(speed["case"]):
        if "options" in case:
            continue
        cube = "cube" in case
        ax.plot(
            kernel[i],
            each[i],
            "s" if cube else "o",
            color=colour,
            markerfacecolor="white" if cube else colour,
        )
    ax.text(1.15 * max(kernel), each[kernel.index(max(kernel))], name, color=colour, va="center")
ax.set(xscale="log", yscale="log", xlabel="pixels of the kernel, all datasets")
ax.set(ylabel="microseconds for a pixel", xlim=(350, 3e4))
