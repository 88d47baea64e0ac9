"""The background over the truth, at the start and when the mask has converged."""

from astropy.convolution import Ring2DKernel, Tophat2DKernel
from style import short_labels, sky_axes

from gammagrad import KernelBackgroundEstimator, Map
from gammagrad.simulate import simulate_field

dataset = simulate_field(seed=1, npix=100).dataset
geom = dataset.geom.to_image()
settings = {"mask_dilation_radius": "0.05 deg", "keep_record": True, "threshold_low": 2}
estimator = KernelBackgroundEstimator(
    Tophat2DKernel(4), Ring2DKernel(14, 8), mask_update="grow", **settings
)
truth = dataset.background.data.sum(axis=0)


def ratio(images):
    """Return a background over the truth."""
    total = images["background"].data.reshape(-1, *geom.shape_image).sum(axis=0)
    return Map(geom, total / truth)


after = estimator.run({"counts": dataset.counts, "acceptance": dataset.background})
start = ratio(estimator.images_stack[0])
flat = ratio(estimator.run({"counts": dataset.counts}))
figure, made = sky_axes(geom, 2.9)
cases = (
    ("nothing excluded", start),
    ("converged", ratio(after)),
    ("converged, no acceptance", flat),
)
for ax, (title, shown) in zip(made, cases, strict=True):
    shown.plot(
        ax=ax,
        title=title,
        stretch="linear",
        vmin=0.4,
        vmax=1.6,
        cmap="BrBG_r",
        label="background / truth",
        colorbar=ax is made[2],
    )
short_labels(made)
