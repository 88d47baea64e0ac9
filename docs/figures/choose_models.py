"""Which of several sizes a source has."""

import matplotlib.pyplot as plt
import numpy as np
from style import BLUE, GREEN, ORANGE, WIDTH, pixel

from gammagrad import Map, TSMapEstimator
from gammagrad.models import (
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.simulate import simulate_field

field = simulate_field(seed=1, npix=60)
sizes = (0, 0.03, 0.06, 0.09, 0.12)
shapes = [GaussianSpatialModel(sigma=s) if s else PointSpatialModel() for s in sizes]
models = [SkyModel(PowerLawSpectralModel(index=2), shape) for shape in shapes]
settings = {"kernel_width": "0.6 deg", "sum_over_energy_groups": False}
each = TSMapEstimator(models, **settings).run(field.dataset)
ts = each.stack("ts")[:, 0]

figure = plt.figure(figsize=(WIDTH, 3.2), layout="constrained")
left = figure.add_subplot(1, 2, 1)
for name, colour in (("A", BLUE), ("nebula", ORANGE), ("B", GREEN)):
    row, col = pixel(field, name)
    at = ts[:, row, col]
    left.plot(sizes, at / at.max(), "o-", color=colour, label=name)
left.set(xlabel="sigma of the model [deg]", ylabel="TS over the largest", ylim=(0.6, 1.1))
left.legend(frameon=False, ncols=3, loc="upper center")
best = each.best()
sigma = np.array(sizes)[best["hypothesis"].data.astype(int)]
shown = Map(best.geom, np.where(best["ts"].data > 25, sigma, np.nan))
right = figure.add_subplot(1, 2, 2, projection=field.dataset.geom.wcs)
shown.plot(
    ax=right,
    label="sigma of the best model [deg]",
    title="where TS > 25",
    stretch="linear",
    cmap="viridis",
    vmin=0,
    vmax=0.12,
)
