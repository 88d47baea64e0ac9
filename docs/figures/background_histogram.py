"""Significances inside and outside of the mask."""

import numpy as np
from astropy.convolution import Ring2DKernel, Tophat2DKernel
from style import BLUE, GREY, ORANGE, axes

from gammagrad import KernelBackgroundEstimator
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=100).dataset
estimator = KernelBackgroundEstimator(
    Tophat2DKernel(4),
    Ring2DKernel(14, 8),
    mask_dilation_radius="0.05 deg",
    keep_record=True,
    threshold_low=2,
    mask_update="grow",
)
result = estimator.run({"counts": dataset.counts, "acceptance": dataset.background})
kept = np.asarray(result["exclusion"].data, dtype=bool).ravel()
values = result["significance"].data.ravel()

figure, (ax,) = axes(3.2)
edges = np.arange(-6, 12.1, 0.25)
start = estimator.images_stack[0]["significance"].data.ravel()
ax.hist(start, edges, histtype="step", color=ORANGE, label="start, nothing excluded")
ax.hist(values, edges, histtype="step", color=GREY, label="converged, all pixels")
ax.hist(values[kept], edges, histtype="step", color=BLUE, linewidth=2, label="outside the mask")
x = np.linspace(-6, 6, 200)
scale = kept.sum() * 0.25 / np.sqrt(2 * np.pi)
ax.plot(x, scale * np.exp(-(x**2) / 2), "k--", linewidth=1, label="standard normal")
ax.set(yscale="log", ylim=(0.7, 3e3), xlabel="significance", ylabel="pixels", xlim=(-6, 12))
ax.legend(frameon=False, loc="upper right")
