"""Squares that hold parts of a source, at two energies."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from style import BLUE, GREEN, ORANGE, axes

from gammagrad import TSMapEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=60).dataset
kernel = TSMapEstimator(kernel_width="0.8 deg").estimate_kernel(dataset)
energies = kernel.geom.axes[0]
half = kernel.data.shape[-1] // 2
binsz = 0.025
reach = (half + 0.5) * binsz

figure, made = axes(3.3, 2, sharey=True)
for ax, i in zip(made, (0, -1), strict=True):
    image = kernel.data[i] / kernel.data[i].max()
    drawn = ax.imshow(
        np.log10(np.maximum(image, 1e-9)),
        extent=(-reach, reach, -reach, reach),
        vmin=-6,
        vmax=0,
        cmap="Greys",
        origin="lower",
    )
    inside = [
        kernel.data[i, half - k : half + k + 1, half - k : half + k + 1].sum()
        for k in range(half + 1)
    ]
    for part, colour in ((0.8, ORANGE), (0.95, GREEN), (0.999, BLUE)):
        edge = (int(np.argmax(np.array(inside) >= part)) + 0.5) * binsz
        ax.add_patch(
            Rectangle(
                (-edge, -edge),
                2 * edge,
                2 * edge,
                fill=False,
                color=colour,
                lw=2,
                label=f"{part:.3g} or more",
            )
        )
    ax.set(
        xlabel="offset [deg]",
        title=f"{energies.center[i].to_value('TeV'):.2g} TeV",
        xlim=(-0.3, 0.3),
        ylim=(-0.3, 0.3),
    )
made[0].set_ylabel("offset [deg]")
plt.colorbar(drawn, ax=made, label="log10 of the kernel over its peak")
figure.legend(
    *made[0].get_legend_handles_labels(),
    loc="outside upper center",
    ncols=3,
    frameon=False,
    title="squares that hold of the source",
)
