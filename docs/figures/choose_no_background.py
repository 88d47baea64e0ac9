"""The status of the fits where the background ends before the last energy bin."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from style import BLUE, GREEN, GREY, ORANGE, RED, short_labels, sky_axes

from gammagrad import Map, TSMapEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=60).dataset
gaps = dataset.copy(name="gaps")
gaps.background = Map(dataset.geom, data=dataset.background.data.copy())
gaps.background.data[-1] = 0
cube = {"kernel_width": "0.6 deg", "sum_over_energy_groups": False}
figure, made = sky_axes(dataset.geom, 4.9, rows=2)
cases = (
    (dataset, None, "complete background"),
    (gaps, None, "none above 15 TeV"),
    (gaps, 0.01, "background_floor=0.01"),
)
words = {
    0: "0 fitted",
    2: "2 at the bound",
    3: "3 bound by a bin without background",
    4: "4 counts without background",
    8: "8 lower error ends at the bound",
}
colours = (BLUE, ORANGE, GREY, RED, GREEN)
for i, (case, floor, title) in enumerate(cases):
    maps = TSMapEstimator(**cube, background_floor=floor).run(case)
    maps["sqrt_ts"].plot(
        ax=made[i],
        title=title,
        stretch="linear",
        vmin=-5,
        vmax=20,
        cmap="viridis",
        colorbar=i == 2,
        label=r"$\sqrt{\mathrm{TS}}$",
    )
    kinds = Map(maps.geom, np.searchsorted(list(words), maps["status"].data).astype(float))
    kinds.plot(
        ax=made[i + 3],
        title="",
        stretch="linear",
        vmin=0,
        vmax=4,
        colorbar=False,
        cmap=ListedColormap(colours),
    )
short_labels(made)
patches = [Patch(color=c, label=word) for c, word in zip(colours, words.values(), strict=True)]
figure.legend(handles=patches, loc="outside lower center", ncols=2, frameon=False, title="status")
