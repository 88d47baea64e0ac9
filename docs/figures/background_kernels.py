"""Source kernel, ring, and the profile of a source."""

import numpy as np
from matplotlib.patches import Circle, Wedge
from style import BLUE, GREY, RED, axes, pixel

from gammagrad.simulate import simulate_field

field = simulate_field(seed=1, npix=100)
counts = field.dataset.counts.data.sum(axis=0)
truth = field.dataset.background.data.sum(axis=0)
row, col = pixel(field, "A")
binsz = 0.025
y, x = np.indices(counts.shape)
offset = np.hypot(y - row, x - col)
disc, inner, outer = 4, 14, 22  # as Tophat2DKernel(4) and Ring2DKernel(14, 8)

figure, (left, right) = axes(3.1, 2, width_ratios=(1, 1.4))
half = 24
cut = counts[row - half : row + half + 1, col - half : col + half + 1]
reach = (half + 0.5) * binsz
left.imshow(np.sqrt(cut), cmap="Greys", origin="lower", extent=(-reach, reach, -reach, reach))
left.add_patch(Circle((0, 0), disc * binsz, fill=False, color=RED, linewidth=2))
left.add_patch(
    Wedge((0, 0), outer * binsz, 0, 360, width=(outer - inner) * binsz, color=BLUE, alpha=0.35)
)
left.set(xlabel="offset [deg]", ylabel="offset [deg]")
edges = np.arange(0, 24)
inside = np.histogram(offset, edges, weights=counts)[0]
expected = np.histogram(offset, edges, weights=truth)[0]
pixels = np.histogram(offset, edges)[0]
middle = (edges[:-1] + 0.5) * binsz
right.step(middle, inside / pixels, where="mid", color="black", label="counts")
right.plot(middle, expected / pixels, color=GREY, linestyle="--", label="true background")
right.axvspan(0, disc * binsz, color=RED, alpha=0.25)
right.axvspan(inner * binsz, outer * binsz, color=BLUE, alpha=0.25)
right.set(
    yscale="log", xlabel="distance from source A [deg]", ylabel="mean per pixel", xlim=(0, 0.575)
)
top = right.get_ylim()[1]
right.text(disc * binsz / 2, 3, "source\nkernel", ha="center", va="center", color=RED)
right.text((inner + outer) / 2 * binsz, 0.8 * top, "ring", ha="center", va="top", color=BLUE)
right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.42, 0.8), fontsize="small")
