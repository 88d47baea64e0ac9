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
# # A first map of sources
#
# Given a counts map and the expected background, where is there an excess, how bright is it, and
# how significant? This notebook answers this twice: for a simulated field, where the truth is
# known, and for the Galactic centre seen by Fermi-LAT, if the data are available.

# %%
import os
import time
from pathlib import Path

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.coordinates import SkyCoord

from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.models import GaussianSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.simulate import simulate_field

# %% [markdown]
# ## The data
#
# A `MapDataset` holds one observation. This one simulates a Cherenkov telescope, with a fixed seed:
# five point sources, an extended one, misidentified cosmic rays, and diffuse emission along the
# Galactic plane. Read your own with `MapDataset.read("file.fits")`, for gammapy's files, or with
# `MapDataset.from_files`, for plain FITS maps.

# %%
field = simulate_field(seed=0)
dataset = field.dataset
print(dataset)

# %% [markdown]
# Line by line:
#
# - **energy**: counts and background have five bins of reconstructed energy; **energy_true** is
#   the axis of exposure and instrument response.
# - **counts**: 9 % of the bins are occupied. Most bins hold no photon at all, so a fit must treat
#   them as Poisson counts.
# - **background**: expected counts without sources. Known sources would be `models` of the dataset,
#   and would also count as background.
# - **exposure**: effective area times time. It falls off towards the edge, so the same flux gives
#   fewer counts there.
# - **psf**: the point spread function, which depends on energy.
#
# The counts, summed over energies, beside the background:

# %%
figure = plt.figure(figsize=(12, 4.6), layout="constrained")
for i, (name, m) in enumerate({"counts": dataset.counts, "background": dataset.background}.items()):
    ax = figure.add_subplot(1, 2, i + 1, projection=m.geom.wcs)
    m.sum_over_axes(keepdims=False).plot(ax=ax, title=name, label="counts per pixel")

# %% [markdown]
# Two or three sources stand out by eye. The others need a fit.
#
# ## The kernel
#
# The question at each pixel is: if a source were here, how bright would it be? The source is a
# model, by default a point source with a power law of index 2, $dN/dE \propto E^{-2}$. Folded with
# the point spread function it becomes the **kernel**: the shape of its counts in each energy bin.

# %%
estimator = TSMapEstimator(sum_over_energy_groups=False)
kernel = estimator.estimate_kernel(dataset)

figure, axes = plt.subplots(1, 5, figsize=(12, 2.7), layout="constrained")
edges = dataset.energy_axis.edges.to_value("TeV")
for i, ax in enumerate(axes):
    ax.imshow(kernel.data[i], origin="lower", cmap="inferno", vmax=kernel.data.max())
    ax.set_title(f"{edges[i]:.3g} to {edges[i + 1]:.3g} TeV", fontsize="medium")
    ax.set_xticks([])
    ax.set_yticks([])
print(
    f"{kernel.data.shape[-1]} x {kernel.data.shape[-2]} pixels, sums {kernel.data.sum(axis=(1, 2))}"
)

# %% [markdown]
# The kernel narrows with energy, and sums to 1 in each bin. By default it is as large as the source
# needs; `kernel_width` sets another size. This is the kernel in the middle of the map;
# `estimate_kernel(dataset, position)` is that of another position. A fit gives every position its
# own, where that makes a difference.
#
# `sum_over_energy_groups=False` fits all energies jointly. The default, as in gammapy, first sums
# them to one image, and loses the difference between the spectra of source and background.
#
# ## The fit
#
# At every pixel the predicted counts in each bin are `background + norm * model`, and `norm`
# maximises the likelihood of the observed counts. There are 40,000 such fits here. The first run
# includes compilation, the second does not.

# %%
for attempt in ("first", "second"):
    start = time.perf_counter()
    maps = estimator.run(dataset)
    print(f"{attempt} run: {time.perf_counter() - start:.2f} s")

# %%
print(maps)

# %% [markdown]
# `maps` is a mapping: `maps["norm"]` is a map, and so is `maps["flux"]`, which follows from the
# norm and the reference model.
#
# ## Significance and flux
#
# **TS**, the test statistic, is twice the log-likelihood ratio of the fits with and without the
# source. Its root, with the sign of the norm, is the significance in standard deviations: negative
# where there are fewer counts than expected.

# %% tags=["thumbnail"]
sources = maps.find_peaks(threshold=5, min_distance="0.3 deg")
ax = maps.plot("sqrt_ts", peaks=sources)

# %% [markdown]
# Each source is a red blob as wide as the kernel, since a test source nearby explains part of its
# counts. Between the sources the noise is pale red and blue. The colours are linear up to 5 and
# logarithmic above, so that both can be seen.
#
# The flux map shows the fitted flux of a source at each position. Its noise grows towards the
# corners, where the exposure is low; the noise of the significance map does not.

# %%
ax = maps.plot("flux")

# %% [markdown]
# ## Is the background right?
#
# Where there are no sources, the significances should follow a normal distribution of mean 0 and
# width 1. Check this first with real data: a width above 1 means that the background model is
# incomplete. Pixels near the known sources are left out.

# %%
keep = Map(dataset.geom.to_image(), np.ones(dataset.geom.shape_image, dtype=bool))
for source in field.sources.iterrows("ra", "dec", "sigma"):
    ra, dec, sigma = source
    keep.data &= keep.geom.separation(SkyCoord(ra, dec)) > 0.25 * u.deg + 3 * sigma
fit = maps.plot_significance_histogram(exclusion=keep)
fit.ax.set_xlim(-6, 12)
print(f"mean {fit.mean:.2f}, width {fit.width:.2f}, from {fit.number} pixels")

# %% [markdown]
# On the left the distribution ends early. A negative norm lowers the predicted counts, which must
# not be negative; where the background is faint that bound is soon reached. The map `status` shows
# it: code 0 is an ordinary fit, code 2 a fit that ended on the bound.

# %%
codes, numbers = np.unique(maps["status"].data, return_counts=True)
for code, number in zip(codes, numbers, strict=True):
    print(f"status {code}: {number} pixels")

# %% [markdown]
# ## The list of sources
#
# Peaks of the map above 5 sigma, no two within 0.3 deg:

# %%
sources["name", "glon", "glat", "sqrt_ts", "flux", "flux_err"]

# %% [markdown]
# This field was simulated, so the truth is known:

# %%
field.sources["name", "kind", "glon", "glat", "sigma", "flux", "sqrt_ts"]

# %% [markdown]
# All are found, and the fluxes of the point sources agree with the true ones within about their
# errors. The flux of the nebula is far off: the kernel of a point source covers only its
# middle. With a source of its shape, its flux is right. To save time only the pixels around it are
# fitted.

# %%
nebula = field.sources[-1]
position = SkyCoord(nebula["ra"], nebula["dec"])
extended = SkyModel(PowerLawSpectralModel(), GaussianSpatialModel(sigma=nebula["sigma"]))
wide = TSMapEstimator(extended, kernel_width="2 deg", sum_over_energy_groups=False)
around = wide.run(dataset.cutout(position, "2 deg")).find_peaks(threshold=5, min_distance="0.5 deg")

print(f"true       {nebula['flux']:.3g}")
for name, table in (("as a point", sources), ("as it is", around)):
    nearest = np.argmin(SkyCoord(table["ra"], table["dec"]).separation(position))
    flux, error = table["flux"][nearest], table["flux_err"][nearest]
    print(f"{name:<10} {flux.value:.3g} +- {error:.2g}")

# %% [markdown]
# ## Files
#
# Maps are written to a FITS file that gammapy also reads, with the settings in its header; sources
# to a table or to DS9 regions.

# %%
maps.write("ts-map.fits", overwrite=True)
sources.write("sources.ecsv", overwrite=True)

again = FluxMaps.read("ts-map.fits")
print(sorted(path.name for path in Path().iterdir()))
print(again.meta["creator"], "with", again.meta["settings"]["model"])

# %% [markdown]
# ## Real data: the Galactic centre with Fermi-LAT
#
# The file is in gammapy's public data sets (`gammapy download datasets`), in the folder
# `GAMMAPY_DATA`. Seven years of counts above 10 GeV:

# %%
file = Path(os.environ.get("GAMMAPY_DATA", "nowhere")) / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz"
fermi = None
if file.is_file():
    dataset = MapDataset.read(file)
    estimator = TSMapEstimator(kernel_width="1 deg", sum_over_energy_groups=False)
    fermi = estimator.run(dataset)
    print(dataset)
else:
    print("The data are not here: this part of the notebook is skipped.")

# %%
if fermi is not None:
    sources = fermi.find_peaks(threshold=5, min_distance="0.3 deg")
    ax = fermi.plot("sqrt_ts", peaks=sources[:5])
    centre = SkyCoord("17h45m40.04s", "-29d00m28.1s")
    apart = SkyCoord(sources["ra"][0], sources["dec"][0]).separation(centre)
    print(f"{len(sources)} sources; the brightest is {apart.deg:.3f} deg from Sagittarius A*")

# %% [markdown]
# The brightest source is the Galactic centre. Grey pixels are masked in the dataset and were not
# fitted. To the left, near longitudes 6.5 and 8.5 deg, W28 and W30 are extended.

# %%
if fermi is not None:
    fit = fermi.plot_significance_histogram(exclusion=sources)
    fit.ax.set_xlim(-5, 12)
    print(f"mean {fit.mean:.2f}, width {fit.width:.2f}")

# %% [markdown]
# This is not a standard normal. On the right are fainter sources, and diffuse emission that the
# background model misses. On the left the physical bound cuts the distribution off, since at these
# energies most bins are empty.
#
# The same from the command line:
#
# ```sh
# gammagrad ts-map fermi-3fhl-gc.fits.gz --kernel-width "1 deg" -o maps
# ```
