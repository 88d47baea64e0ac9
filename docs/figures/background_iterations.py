"""The mask of a background, iteration by iteration."""

import numpy as np
from astropy.convolution import Ring2DKernel, Tophat2DKernel
from style import short_labels, sky_axes

from gammagrad import KernelBackgroundEstimator, Map
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
estimator.run({"counts": dataset.counts, "acceptance": dataset.background})
record = estimator.images_stack
masks = np.array([np.asarray(images["exclusion"].data, dtype=bool) for images in record])
masks = masks.reshape(len(record), *dataset.geom.shape_image)
chosen = (0, 1, 2, len(record) - 1)
geom = dataset.geom.to_image()

figure, made = sky_axes(geom, 2.6, n=4)
for ax, i in zip(made, chosen, strict=True):
    images = record[i]["significance"].data.reshape(geom.shape_image)
    Map(geom, images).plot(
        ax=ax,
        title=f"after {i}: {(~masks[i]).sum()} px" if i else "start: none excluded",
        stretch="linear",
        vmin=-5,
        vmax=10,
        cmap="viridis",
        colorbar=i == chosen[-1],
        label="significance",
    )
    if not masks[i].all():
        ax.contour(masks[i].astype(float), levels=[0.5], colors="white", linewidths=1)
    ax.title.set_fontsize("small")
short_labels(made)
