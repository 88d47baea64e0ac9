"""What one tile of pixels visits, and the time of both engines."""

import numpy as np
from matplotlib.patches import Rectangle
from style import BLUE, GREY, RED, axes, columns, numbers, timings

from gammagrad.simulate import simulate_field

counts = simulate_field(seed=1, npix=60, livetime="1 h").dataset.counts.data[1]
top, left_, reach = 28, 36, 10  # the tile's corner, and the half-width of the kernel
window = np.s_[top - reach : top + 4 + reach, left_ - reach : left_ + 4 + reach]
occupied = counts[window] > 0

figure, made = axes(3.0, 3, width_ratios=(1, 1, 1.2))
for ax, visited, title in (
    (made[0], np.ones_like(occupied), "dense"),
    (made[1], occupied, "lists"),
):
    shown = np.where(visited, 0.35, 0.0) + np.where(visited & occupied, 0.65, 0.0)
    ax.imshow(shown, cmap="Blues", origin="lower", vmin=0, vmax=1.2)
    ax.add_patch(Rectangle((reach - 0.5, reach - 0.5), 4, 4, fill=False, color=RED, linewidth=2))
    ax.set(title=f"{title}: {visited.sum()} bins", xticks=(), yticks=())
table = timings("device-cpu")["tables"]["device"]
case = table["rows"][0][0]
table = columns(table | {"rows": [row for row in table["rows"] if row[0] == case]})
names = [
    f"{engine}\n{dtype}" for engine, dtype in zip(table["engine"], table["dtype"], strict=True)
]
names = [name.replace("occupied", "lists") for name in names]
colours = [GREY if "dense" in name else BLUE for name in names]
times = numbers(table["solve (ms)"])
bars = made[2].barh(names, times, color=colours)
made[2].bar_label(bars, fmt="%.0f", padding=2)
made[2].set(xscale="log", xlim=(30, 4 * max(times)), xlabel="time of a map [ms]")
made[2].invert_yaxis()
