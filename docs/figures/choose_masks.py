"""What a mask, a weight and positions do."""

import numpy as np
from style import short_labels, sky_axes

from gammagrad import Map, TSMapEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=60).dataset
geom = dataset.geom
lon, lat = geom.to_image().get_coord()
hole = np.hypot((lon + 180) % 360 - 180 - 30.095, lat - 0.047) < 0.15


def with_mask(values):
    """Return the dataset with a mask_fit."""
    copy = dataset.copy(name="masked")
    copy.mask_fit = Map.from_geom(geom, data=np.broadcast_to(values, geom.data_shape).copy())
    return copy


cases = (
    ("mask_fit: a hole", with_mask(~hole), None),
    ("mask_fit: weights of 0.3", with_mask(np.where(hole, 0.3, 1.0)), None),
    ("positions: a box", dataset, (geom.center_skydir, "0.6 deg")),
)
figure, made = sky_axes(geom, 3.0)
for ax, (title, data, positions) in zip(made, cases, strict=True):
    maps = TSMapEstimator(kernel_width="0.6 deg", sum_over_energy_groups=False).run(
        data, positions=positions
    )
    maps["sqrt_ts"].plot(
        ax=ax,
        title=title,
        stretch="sqrt",
        vmin=0,
        vmax=60,
        cmap="viridis",
        colorbar=ax is made[2],
        label=r"$\sqrt{\mathrm{TS}}$",
    )
short_labels(made)
