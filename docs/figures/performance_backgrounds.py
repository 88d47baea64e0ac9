"""Times of maps with fits of the background, or of the index, over the plain map's."""

import numpy as np
from style import BLUE, GREEN, ORANGE, axes, columns, timings

table = columns(timings("backgrounds")["tables"]["time as a multiple of the plain map"])
kinds = ["free", "constrained", "gaussian", "OFF counts", "free index", "per energy"]
figure, (ax,) = axes(3.2)
for k, (case, colour) in enumerate(zip(table[""], (BLUE, ORANGE, GREEN), strict=True)):
    values = [table[kind][k] for kind in kinds]
    place = np.arange(len(kinds)) + 0.27 * (k - 1)
    shown = [value if value is not None else np.nan for value in values]
    bars = ax.bar(place, shown, 0.25, color=colour, label=f"{case}: {table['seconds'][k]:.2g} s")
    words = [
        "" if value is None else f"{value:.0f}" if value > 20 else f"{value:.2g}"
        for value in values
    ]
    ax.bar_label(bars, words, fontsize="x-small")
ax.axhline(1, color="black", linewidth=0.8)
ax.set(
    yscale="log", xticks=range(len(kinds)), xticklabels=kinds, ylabel="time over the plain map's"
)
ax.set_ylim(0.8, 300)
ax.legend(frameon=False, title="plain map", fontsize="small")
