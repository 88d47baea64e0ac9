"""Significances of the same sources as a cube and summed, and the bias of a wrong index."""

import numpy as np
from style import BLUE, GREY, ORANGE, axes, columns, pixel, study

from gammagrad import TSMapEstimator
from gammagrad.simulate import simulate_field

field = simulate_field(seed=1, npix=60)
names = ["A", "B", "C", "D", "E"]
figure, (left, right) = axes(3.2, 2)
x = np.arange(len(names))
for summed, colour, label in ((False, BLUE, "cube"), (True, ORANGE, "summed")):
    settings = {"kernel_width": "0.6 deg", "sum_over_energy_groups": summed}
    maps = TSMapEstimator(**settings).run(field.dataset)
    height = [maps["sqrt_ts"].data[0][pixel(field, name)] for name in names]
    bars = left.bar(x + (0.2 if summed else -0.2), height, 0.4, color=colour, label=label)
    left.bar_label(bars, fmt="%.0f", fontsize="small")
left.set(xticks=x, xticklabels=names, xlabel="simulated point source")
left.set_ylabel(r"$\sqrt{\mathrm{TS}}$")
left.legend(frameon=False)

table = columns(study("closure")["tables"]["indices"])
instruments = list(dict.fromkeys(table["data"]))
for data, index, fit, ratio in zip(
    table["data"], table["index"], table["fit"], table["flux / true"], strict=True
):
    y = instruments.index(data) + (0.12 if fit == "summed" else -0.12)
    right.plot(
        ratio, y, "<" if index < 2 else ">", color=BLUE if fit == "cube" else ORANGE, markersize=8
    )
right.axvline(1, color=GREY, linestyle="--")
right.set(yticks=range(len(instruments)), yticklabels=instruments)
right.set(ylim=(2.6, -0.6), xlabel="fitted over true flux", xlim=(0.4, 1.7))
right.set_title("index 2.2, fitted with 1.8 ◀ or 2.6 ▶", fontsize="medium")
