"""Norms of noise-free sources as gammapy cuts its kernels, and as they can be had here."""

import numpy as np
from style import BLUE, GREY, ORANGE, axes, columns, study

table = columns(study("closure")["tables"]["widths"])
names = [f"{d}, {w}" for d, w in zip(table["data"], table["kernel_width"], strict=True)]
place = np.arange(len(names))
figure, (ax,) = axes(2.8)
ax.hlines(place, table["norm, renormalised"], 1, color="#cccccc", linewidth=3)
ax.plot(table["norm, renormalised"], place, "o", color=ORANGE, label="gammapy, and the default")
ax.plot(table["norm, cube"], place, "o", color=BLUE, label="renormalise=False")
ax.axvline(1, color=GREY, linewidth=0.8)
ax.set(yticks=place, xlabel="norm of a noise-free point source; the truth is 1")
ax.set_yticklabels(names, fontsize="small")
ax.invert_yaxis()
ax.legend(frameon=False, loc="lower left")
