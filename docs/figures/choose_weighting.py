"""The image of a source summed over energies, and two kernels for it."""

import numpy as np
from style import BLUE, GREY, ORANGE, axes

from gammagrad import TSMapEstimator
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.simulate import asimov, simulate_field

field = simulate_field(seed=1, npix=60)
centre = field.dataset.geom.to_image().get_skycoord()[30, 30]
source = SkyModel(
    PowerLawSpectralModel(index=2, amplitude="3e-12 cm-2 s-1 TeV-1"),
    PointSpatialModel(lon_0=centre.l, lat_0=centre.b, frame="galactic"),
)
clean = asimov(field.dataset, source)
image = (clean.counts.data - clean.background.data).sum(axis=0)
kernels, norms = TSMapEstimator(source, kernel_width="0.8 deg").estimate_kernel(clean).data, {}
for weighting in ("counts", "equal"):
    estimator = TSMapEstimator(source, kernel_width="0.8 deg", kernel_weighting=weighting)
    norms[weighting] = estimator.run(clean, positions=(centre, "0.1 deg"))["norm"].data[0, 30, 30]
per_energy = (clean.counts.data - clean.background.data).sum(axis=(1, 2))
weighted = np.tensordot(per_energy / per_energy.sum(), kernels, 1)
half = kernels.shape[-1] // 2
offset = np.arange(-half, half + 1) * 0.025

figure, (left, right) = axes(3.0, 2, width_ratios=(1.8, 1))
lon = (np.arange(60) - 30) * 0.025
total = image.sum()
left.plot(lon, image.sum(axis=0) / total, "o", color=GREY, label="expected counts of the source")
left.plot(offset, weighted.sum(axis=0), color=BLUE, label='"counts"')
left.plot(offset, kernels.mean(axis=0).sum(axis=0), color=ORANGE, label='"equal"')
left.set(
    xlabel="longitude from the source [deg]",
    ylabel="fraction in a column of pixels",
    xlim=(-0.3, 0.3),
)
left.legend(frameon=False, loc="upper left", fontsize="small")
left.set_ylim(0, 1.45 * float(weighted.sum(axis=0).max()))
bars = right.bar(list(norms), list(norms.values()), color=(BLUE, ORANGE), width=0.6)
right.bar_label(bars, fmt="%.3f")
right.axhline(1, color=GREY, linestyle="--")
right.set(ylabel="norm; the truth is 1", ylim=(0.8, 1.05), xlabel="kernel_weighting")
