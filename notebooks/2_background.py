# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A background from the counts themselves
#
# A source map needs a background. Without a model it can be estimated from the counts around each
# position, once sources are excluded. This notebook finds background and sources together, first in
# a simulated field where the truth is known, and makes a TS map with that background. Then it does
# the same for the Galactic centre seen by Fermi-LAT, if the data are available.

# %%
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.convolution import Gaussian2DKernel, Ring2DKernel, Tophat2DKernel

from gammagrad import (
    KernelBackgroundEstimator,
    MapDataset,
    TSMapEstimator,
    fit_background_norm,
    write_regions,
)
from gammagrad.distribution import significance_distribution
from gammagrad.plot import plot_exclusion, plot_iterations, plot_significance_histogram
from gammagrad.simulate import simulate_field

# %% [markdown]
# ## The counts
#
# The field of the first notebook, in one image: five point sources, an extended one, cosmic rays,
# and diffuse emission along the Galactic plane. Pixels are 0.025 deg wide.

# %%
field = simulate_field(seed=0)
dataset = field.dataset
counts = dataset.counts.sum_over_axes(keepdims=False)
truth = dataset.background.sum_over_axes(keepdims=False)
ax = counts.plot(stretch="sqrt", label="counts per pixel")

# %% [markdown]
# ## The loop
#
# There are two kernels. Counts are summed in a disc of 0.1 deg, about as wide as the point spread
# function. The background is the mean on a ring around it, from 0.4 to 0.6 deg. Pixels above 5
# sigma are excluded, and 0.05 deg around them. A better background reveals more of the sources, so
# this is repeated until the mask converges.

# %%
source, ring = Tophat2DKernel(4), Ring2DKernel(16, 8)
estimator = KernelBackgroundEstimator(
    source, ring, significance_threshold=5, mask_dilation_radius="0.05 deg", keep_record=True
)
plain = estimator.run({"counts": counts})
print(estimator.report)
axes = plot_iterations(estimator.images_stack)

# %% [markdown]
# At the start each source has a blue ring of negative significance, where it raises the background.
# The ring disappears when the source is excluded. Red pixels are newly excluded, blue pixels are
# kept again. `keep_record=True` keeps the record drawn here, `images_stack`.
#
# ## Is it right?
#
# Outside the mask the significances should have mean 0 and width 1. Neighbouring pixels share
# counts, so together they determine the mean no better than some hundred independent pixels; the
# number follows from the kernel.

# %%
print(significance_distribution(plain["significance"], plain["exclusion"], source))

# %% [markdown]
# Not quite. A ring assumes a flat background, and this one has the Galactic plane in its middle and
# falls off towards the corners. If the *shape* of the background is known, the ring has to find
# only its level. This shape is called the acceptance. Here it is the true background times 0.7, to
# show that its level does not matter.

# %%
shape = truth * 0.7
accepted = estimator.run({"counts": counts, "acceptance": shape})
print(estimator.report)

figure = plt.figure(figsize=(12, 4.6), layout="constrained")
for i, (name, images) in enumerate({"ring alone": plain, "with acceptance": accepted}.items()):
    fit = plot_significance_histogram(
        images["significance"], images["exclusion"], figure.add_subplot(1, 2, i + 1), kernel=source
    )
    fit.ax.set(xlim=(-6, 12), title=name)
    print(f"{name}: mean {fit.mean:.2f} +- {fit.mean_err:.2f}, ", end="")
    print(f"width {fit.width:.2f} +- {fit.width_err:.2f}")

# %% [markdown]
# Compare the backgrounds with the truth. Brown is too much, green too little.

# %%
figure = plt.figure(figsize=(12, 4.6), layout="constrained")
for i, (name, images) in enumerate({"ring alone": plain, "with acceptance": accepted}.items()):
    ratio = images["background"] / truth
    ax = figure.add_subplot(1, 2, i + 1, projection=counts.geom.wcs)
    options = {"stretch": "linear", "vmin": 0.5, "vmax": 1.5, "cmap": "BrBG_r"}
    ratio.plot(ax=ax, title=name, label="background / truth", **options)
    spread = np.percentile(ratio.data, [5, 95])
    print(f"{name}: 90 % of the pixels between {spread[0]:.2f} and {spread[1]:.2f} of the truth")

# %% [markdown]
# On the left the plane is missing, and there is too much at its sides and at the edges of the map.
# On the right remain the noise of the counts on the ring, and a brown patch at the extended source:
# its wings are below the threshold, outside the mask, and count as background. A second, lower
# threshold follows a source into its wings: pixels above 2 sigma are excluded if they are connected
# to pixels above 5. A mask that can only grow makes sure that the loop ends.

# %% tags=["thumbnail"]
estimator.threshold_low = 2
estimator.mask_update = "grow"
result = estimator.run({"counts": counts, "acceptance": shape})
print(estimator.report)
print(significance_distribution(result["significance"], result["exclusion"], source))
ax = plot_exclusion(counts, result["exclusion"])

# %% [markdown]
# Must the source kernel be a disc? Sums under a Gaussian, for example, are not Poisson distributed,
# and the Li and Ma significance is then not in standard deviations. The estimator warns of this.
# `significance="cash"` fits the norm of the kernel instead, and is valid for any kernel.

# %%
smooth = Gaussian2DKernel(2, x_size=11, y_size=11)
for name in ("lima", "cash"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = KernelBackgroundEstimator(
            smooth, ring, mask_dilation_radius="0.05 deg", significance=name
        ).run({"counts": counts, "acceptance": shape})
    print(name, significance_distribution(other["significance"], other["exclusion"], smooth))

# %% [markdown]
# ## A TS map with it
#
# There are two ways to continue. The first puts the background into a dataset: for a cube, it is
# made in each energy bin, with the mask of the sum.

# %%
cube = estimator.run({"counts": dataset.counts, "acceptance": dataset.background * 0.7})
clean = dataset.copy()
clean.background = cube["background"]
settings = TSMapEstimator(kernel_containment=0.95, renormalise=False)
over_ring = settings.run(clean)
print(over_ring.find_peaks(threshold=5, min_distance="0.3 deg")["name", "sqrt_ts", "flux"])

# %% [markdown]
# The second keeps a background model with an uncertain level, and fits its norm to the counts
# outside the mask. (Do not put the mask into `mask_fit` of the dataset: that would hide the sources
# from the TS map.)

# %%
doubtful = dataset.copy()
doubtful.background = dataset.background * 0.7
norm = fit_background_norm(doubtful, result["exclusion"])
print(norm, "where 1.429 is right")
over_model = settings.run(norm.apply(doubtful))
sources = over_model.find_peaks(threshold=5, min_distance="0.3 deg")
print(len(sources), "sources")
ax = over_model.plot("sqrt_ts", peaks=sources)

# %% [markdown]
# Both ways find all six sources. The second is better where the model is right, since one norm for
# all pixels has hardly any noise.
#
# ## Files
#
# Masks are written as maps, and as DS9 regions.

# %%
result["exclusion"].write("exclusion.fits")
result["background"].write("background.fits")
write_regions(result["exclusion"], "exclusion.reg")
print(Path("exclusion.reg").read_text()[:160])

# %% [markdown]
# ## Real data: the Galactic centre with Fermi-LAT
#
# The file is in gammapy's public data sets (`gammapy download datasets`), in the folder
# `GAMMAPY_DATA`. Pixels are 0.05 deg wide. The diffuse model that comes with the data is the
# acceptance.

# %%
file = Path(os.environ.get("GAMMAPY_DATA", "nowhere")) / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz"
fermi = None
if file.is_file():
    dataset = MapDataset.read(file)
    counts = dataset.counts.sum_over_axes(keepdims=False)
    source = Tophat2DKernel(3)
    estimator = KernelBackgroundEstimator(
        source, Ring2DKernel(10, 8), mask_dilation_radius="0.1 deg", keep_record=True
    )
    plain = estimator.run({"counts": counts}, niter_max=30)
    print(estimator.report)
    fermi = estimator.run({"counts": dataset.counts, "acceptance": dataset.background})
    print(estimator.report)
    figure = plt.figure(figsize=(9, 8.5), layout="constrained")
    masks = {"ring alone": plain, "with the diffuse model as acceptance": fermi}
    for i, (name, images) in enumerate(masks.items()):
        ax = figure.add_subplot(2, 1, i + 1, projection=counts.geom.wcs)
        plot_exclusion(counts, images["exclusion"], ax, title=name)
else:
    print("The data are not here: this part of the notebook is skipped.")

# %% [markdown]
# The ring alone cannot tell the Galactic plane from sources: it excludes half as much again, mostly
# along the plane near the bright sources. With the model the plane is background, and only sources
# are excluded. These are the iterations:

# %%
if fermi is not None:
    axes = plot_iterations(estimator.images_stack)

# %%
if fermi is not None:
    fit = plot_significance_histogram(fermi["significance"], fermi["exclusion"], kernel=source)
    fit.ax.set_xlim(-6, 12)
    norm = fit_background_norm(dataset, fermi["exclusion"], per_energy=True)
    print(norm)

# %% [markdown]
# The width stays above 1: there are fainter sources, and structures in no model. Outside the mask
# the data exceed the model, by 6 % at the lowest energies, where most of the counts are. With the
# fitted norms the background agrees with the data, and the TS map loses one of the faint sources.

# %%
if fermi is not None:
    settings = TSMapEstimator(kernel_width="1 deg", sum_over_energy_groups=False)
    maps = settings.run(norm.apply(dataset))
    before = settings.run(dataset)
    ax = maps.plot("sqrt_ts", peaks=maps.find_peaks(threshold=5, min_distance="0.3 deg")[:5])
    for name, one in (("as it came", before), ("with norms", maps)):
        found = len(one.find_peaks(threshold=5, min_distance="0.3 deg"))
        print(f"background {name}: {found} sources")

# %% [markdown]
# The same from the command line:
#
# ```sh
# gammagrad background fermi-3fhl-gc.fits.gz --acceptance background -o background
# ```
