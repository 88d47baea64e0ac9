"""Time of a map against its number of pixels."""

import numpy as np
from style import BLUE, GREY, axes, columns, timings

table = columns(timings("scaling")["tables"]["scaling"])
pixels, ours = (np.array(table[name], float) for name in ("pixels", "gammagrad (s)"))
theirs = np.array([np.nan if t is None else t for t in table["gammapy (s)"]], float)
_, (ax,) = axes(3.2)
ax.loglog(pixels, ours, "o-", color=BLUE)
ax.loglog(pixels, theirs, "o-", color=GREY)
ax.text(pixels[-1], ours[-1] * 1.7, "gammagrad", color=BLUE, ha="right")
last = np.flatnonzero(np.isfinite(theirs))[-1]
ax.text(pixels[last] * 1.3, theirs[last], "gammapy, one process", color=GREY, va="center")
ax.set(xlabel="pixels of the map", ylabel="time [s]", ylim=(0.02, 60))
ax.grid(color=GREY, alpha=0.3)
