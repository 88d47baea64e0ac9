"""Times of gammapy, of gammagrad and of a compiled loop."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, PURPLE, axes, cases, numbers

speed, engine = cases("speed"), cases("engine")
loop = [t / 1e3 for t in numbers(engine["all cores (ms)"])]
loop[speed["case"].index("H.E.S.S. Crab, cube, all options")] = np.nan  # it has no options
times = (
    ("gammapy", numbers(speed["gammapy (s)"]), GREY, "o"),
    ("two processes", numbers(speed["two processes (s)"]), ORANGE, "s"),
    ("gammagrad, first run", numbers(speed["first run (s)"]), PURPLE, "D"),
    ("gammagrad", numbers(speed["gammagrad (s)"]), BLUE, "o"),
    ("compiled loop", loop, GREEN, "^"),
)
figure, (ax,) = axes(3.6)
place = np.arange(len(speed["case"]))
ax.hlines(place, times[3][1], times[0][1], color="#cccccc", linewidth=3, zorder=0)
for name, seconds, colour, mark in times:
    ax.plot(seconds, place, mark, color=colour, label=name)
ax.set(xscale="log", xlabel="time of a map [s]", yticks=place)
ax.set_yticklabels(speed["case"], fontsize="small")
ax.invert_yaxis()
ax.grid(axis="x", alpha=0.3)
figure.legend(
    loc="outside upper center",
    ncols=5,
    frameon=False,
    fontsize="small",
    columnspacing=1.0,
    handletextpad=0.2,
)
