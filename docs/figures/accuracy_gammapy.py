"""Every quantity of every case beside gammapy's: the largest deviation in units of its bar."""

import numpy as np
from style import BLUE, GREY, axes, promise, study

rows = study("reference")
quantities = list(dict.fromkeys(row["quantity"] for row in rows))
rng = np.random.default_rng(1)

_, (axis,) = axes(3.8)
for place, quantity in enumerate(quantities):
    some = [row for row in rows if row["quantity"] == quantity and row["compared"]]
    worst = np.maximum([row["worst"] for row in some], 1e-8)
    apart = place + rng.uniform(-0.3, 0.3, len(some))
    above = np.flatnonzero(worst > 1.01)
    apart[above] = np.linspace(place - 0.3, place + 0.3, len(above))
    axis.plot(apart, worst, "o", color=BLUE, ms=4, alpha=0.6)
    for case in above:
        axis.text(apart[case] + 0.1, worst[case], some[case]["above"], fontsize=8, color=GREY)
promise(axis, 1, "bar")
axis.set_xticks(range(len(quantities)), quantities, rotation=35, ha="right", fontsize=8)
axis.set(yscale="log", ylim=(5e-9, 1e3), ylabel="largest deviation of a case / bar")
