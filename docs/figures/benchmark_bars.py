"""The speed against gammapy, case by case."""

from style import BLUE, axes, cases, numbers

table = cases("speed")
figure, (ax,) = axes(2.5)
bars = ax.barh(table["case"], numbers(table["ratio"]), color=BLUE)
ax.bar_label(bars, fmt="%.0f", padding=2, fontsize="small")
ax.invert_yaxis()
ax.tick_params(axis="y", labelsize="small")
ax.set(xlabel="times as fast as gammapy with one process", xlim=(0, 370))
