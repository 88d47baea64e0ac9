"""The most memory that a run takes."""

import numpy as np
from style import BLUE, GREY, axes, cases, numbers

table = cases("memory")
place = np.arange(len(table["case"]))
figure, (ax,) = axes(3.2)
for shift, name, colour in ((-0.2, "gammagrad", BLUE), (0.2, "gammapy", GREY)):
    texts = table[f"{name} (MB)"]
    bars = ax.barh(place + shift, numbers(texts), 0.38, color=colour, label=name)
    ax.bar_label(bars, texts, padding=2, fontsize="x-small")
ax.set(yticks=place, xlabel="memory [MB], beyond libraries and data", xlim=(0, 1000))
ax.set_yticklabels(table["case"], fontsize="small")
ax.invert_yaxis()
ax.legend(frameon=False)
