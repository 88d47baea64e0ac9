"""The status of the fits of a sparse field with a mask and a gap of the background."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, short_labels, sky_axes

from gammagrad import Map, TSMapEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=60, livetime="1 h").dataset.copy(name="status")
dataset.background = Map(dataset.geom, dataset.background.data.copy())
dataset.background.data[:, :, 52:] = 0
mask = np.ones(dataset.geom.data_shape, dtype=bool)
mask[:, 48:, :12] = False
dataset.mask_fit = Map.from_geom(dataset.geom, data=mask)
maps = TSMapEstimator(
    kernel_width="0.4 deg", energy_edges="all", selection_optional="errn-errp"
).run(dataset)
colours = {
    0: (BLUE, "fitted"),
    1: ("#f0e442", "no counts"),
    2: (ORANGE, "at the physical bound"),
    3: (PURPLE, "bound at 0: no background"),
    4: (RED, "counts without background"),
    6: (GREY, "not fitted"),
    8: (GREEN, "lower error ends at the bound"),
}
codes = maps["status"].data[[0, 2, 4]]
assert set(np.unique(codes)) <= set(colours), np.unique(codes)
edges = dataset.geom.axes["energy"].edges.to_value("TeV")
figure, made = sky_axes(dataset.geom, 3.9)
for ax, i, code in zip(made, (0, 2, 4), codes, strict=True):
    shown = Map(dataset.geom.to_image(), np.searchsorted(list(colours), code).astype(float))
    shown.plot(
        ax=ax,
        title=f"{edges[i]:.2g} to {edges[i + 1]:.2g} TeV",
        colorbar=False,
        stretch="linear",
        vmin=0,
        vmax=len(colours) - 1,
        cmap=ListedColormap([colour for colour, _ in colours.values()]),
    )
short_labels(made)
patches = [Patch(color=colour, label=f"{code} {word}") for code, (colour, word) in colours.items()]
figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
