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
# A map of sources needs to know how many counts to expect where there is none. If nobody tells, the
# counts around each place can, once the sources among them are taken out. This notebook finds
# background and sources together, first on a simulated field where the truth is known, and makes a
# TS map over that background. Then it does the same with the Galactic centre as Fermi-LAT saw it,
# if the data are there.

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
# and diffuse emission along the Galactic plane. Pixels measure 0.025 deg.

# %%
field = simulate_field(seed=0)
dataset = field.dataset
counts = dataset.counts.sum_over_axes(keepdims=False)
truth = dataset.background.sum_over_axes(keepdims=False)
ax = counts.plot(stretch="sqrt", label="counts per pixel")

# %% [markdown]
# ## The loop
#
# Two kernels. Counts are summed in a disc of 0.1 deg, about as wide as the point spread function,
# to see whether there are too many. The background is their mean on a ring around it, from 0.4 to
# 0.6 deg. Pixels above 5 sigma are excluded, and 0.05 deg around them. With a better background
# more of the sources stands out, so this is done again until the mask stands still.

# %%
source, ring = Tophat2DKernel(4), Ring2DKernel(16, 8)
estimator = KernelBackgroundEstimator(
    source, ring, significance_threshold=5, mask_dilation_radius="0.05 deg", keep_record=True
)
plain = estimator.run({"counts": counts})
print(estimator.report)
axes = plot_iterations(estimator.images_stack)

# %% [markdown]
# At the start the ring of each source digs a blue trench around it. As soon as the source is
# excluded the trench is gone. Red pixels are newly excluded, blue ones given back. The record
# that this is drawn from, `images_stack`, is kept because of `keep_record=True`.
#
# ## Is it right?
#
# Outside of the mask significances should have mean 0 and width 1. Neighbouring pixels share
# counts, so that all of them know the mean no better than some hundred independent ones: how many
# follows from the kernel.

# %%
print(significance_distribution(plain["significance"], plain["exclusion"], source))

# %% [markdown]
# Not quite. A ring takes the background to be flat over its width, and this one has a plane in its
# middle and falls off towards the corners. If the *shape* of the background is known the ring needs
# to find its level only. Such a shape is called acceptance. Here it is the true background times
# 0.7, to show that its level does not matter.

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
# The truth being known, the backgrounds can be compared with it. Brown is too much, green too
# little.

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
# What is left on the right is noise of the counts on the ring, and a brown patch at the extended
# source: its wings are below the threshold, not in the mask, and taken for background. A second,
# lower threshold follows a source into its wings: pixels above 2 sigma are excluded if they touch
# some above 5. A mask that can only grow makes sure that the loop comes to an end.

# %%
estimator.threshold_low = 2
estimator.mask_update = "grow"
result = estimator.run({"counts": counts, "acceptance": shape})
print(estimator.report)
print(significance_distribution(result["significance"], result["exclusion"], source))
ax = plot_exclusion(counts, result["exclusion"])

# %% [markdown]
# Does the source kernel have to be a disc? Sums under a Gaussian, say, are no Poisson
# counts, and the significance of Li and Ma is no number of standard deviations. The estimator warns
# of that. `significance="cash"` fits the norm of the kernel instead, and is right for any.

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
# ## A TS map over it
#
# There are two ways to go on. The background goes into a dataset as it is: of a cube, it is made
# in each energy bin, at the mask of the sum.

# %%
cube = estimator.run({"counts": dataset.counts, "acceptance": dataset.background * 0.7})
clean = dataset.copy()
clean.background = cube["background"]
settings = TSMapEstimator(kernel_containment=0.95, renormalise=False)
over_ring = settings.run(clean)
print(over_ring.find_peaks(threshold=5, min_distance="0.3 deg")["name", "sqrt_ts", "flux"])

# %% [markdown]
# Or the background is a model whose level is in doubt. Its norm is fitted to the counts outside of
# the mask. (The mask belongs here, and not into `mask_fit` of the dataset: that would hide the
# sources from the TS map.)

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
# All six sources are found both ways. The second is the better one where the model is right, since
# one norm for all pixels has next to no noise.
#
# ## Files
#
# Masks are maps, and regions for DS9.

# %%
result["exclusion"].write("exclusion.fits")
result["background"].write("background.fits")
write_regions(result["exclusion"], "exclusion.reg")
print(Path("exclusion.reg").read_text()[:160])

# %% [markdown]
# ## Real data: the Galactic centre with Fermi-LAT
#
# The file is one of gammapy's public data sets (`gammapy download datasets`), below the folder
# that the environment variable `GAMMAPY_DATA` names. Pixels measure 0.05 deg. The diffuse model
# that comes with the data is the acceptance.

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
# The ring alone cannot tell the Galactic plane from sources: it excludes half as much again, most
# of it along the plane beside the bright sources. With the model the plane is background, and what
# is excluded are sources: these are the iterations.

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
# The width stays above 1: there are fainter sources, and structures that no model has.
# Outside of the mask the data are above the model, by 6 % at the lowest energies, where most of
# the counts are. With the norms that were fitted the TS map starts from a background that the data
# agree with, and one of the faint sources drops out.

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
# The same from a shell:
#
# ```sh
# gammagrad background fermi-3fhl-gc.fits.gz --acceptance background -o background
# ```
