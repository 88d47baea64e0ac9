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
# You have counted photons on the sky, and know how many to expect where there is no source. Where
# are there more, how much more, and how sure is that? This notebook answers it twice: on a
# simulated field, where the truth is known, and on the Galactic centre as Fermi-LAT saw it, if
# the data are there.

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
# Everything about one observation is in a `MapDataset`. Here one is simulated as a Cherenkov
# telescope would make it, with a fixed seed: five point sources, an extended one, misidentified
# cosmic rays, and diffuse emission along the Galactic plane. Your own comes from
# `MapDataset.read("file.fits")`, which takes gammapy's files, or from plain FITS maps with
# `MapDataset.from_files`.

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
# - **background**: expected counts where there is no source. Sources that are already known would
#   be `models` of the dataset, and count as background too.
# - **exposure**: effective area times time. It falls off towards the edge, so the same flux gives
#   fewer counts there.
# - **psf**: how far a point is blurred, which depends on energy.
#
# This is what was counted, summed over energies, beside what is expected without sources:

# %%
figure = plt.figure(figsize=(12, 4.6), layout="constrained")
for i, (name, m) in enumerate({"counts": dataset.counts, "background": dataset.background}.items()):
    ax = figure.add_subplot(1, 2, i + 1, projection=m.geom.wcs)
    m.sum_over_axes(keepdims=False).plot(ax=ax, title=name, label="counts per pixel")

# %% [markdown]
# Two or three sources stand out by eye. The others have to be fitted for.
#
# ## The kernel
#
# The question asked at each pixel is: if a source sat here, how bright would it be? The source is
# a model, by default a point with a power law of index 2, $dN/dE \propto E^{-2}$. Folded with the
# point spread function it becomes the **kernel**: the shape of its counts in each energy bin.

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
# The kernel narrows as energy grows, and sums to 1 in each bin. It is made as large as the source
# needs; `kernel_width` sets another size.
#
# `sum_over_energy_groups=False` fits all energies side by side. The other choice, and the default
# as in gammapy, first sums them to one image. That forgets that a source and the background
# differ in their spectra.
#
# ## The fit
#
# At every pixel the number of counts expected in each bin is `background + norm * model`, and
# `norm` is chosen so that the counts seen are most likely. There are 40,000 such fits here. The
# first run has to be compiled, which the second does not.

# %%
for attempt in ("first", "second"):
    start = time.perf_counter()
    maps = estimator.run(dataset)
    print(f"{attempt} run: {time.perf_counter() - start:.2f} s")

# %%
print(maps)

# %% [markdown]
# `maps` behaves as a mapping: `maps["norm"]` is a map, and so is `maps["flux"]`, which follows
# from the norm and the reference model.
#
# ## What is seen
#
# **TS**, the test statistic, is twice the logarithm of how much more likely the counts are with
# the source than without it. Its root is the significance, in standard deviations, with the sign
# of the norm: negative where there are fewer counts than expected.

# %%
sources = maps.find_peaks(threshold=5, min_distance="0.3 deg")
ax = maps.plot("sqrt_ts", peaks=sources)

# %% [markdown]
# Each source is a red blob as wide as the kernel, since a source here explains a part of the
# counts of one that is beside it. Between them the noise is pale, red and blue. The colours are
# linear up to 5 and logarithmic above, so that both can be seen.
#
# The flux map shows how bright a source at each place would be. Its noise grows towards the
# corners, where there is little exposure; the significance map's does not.

# %%
ax = maps.plot("flux")

# %% [markdown]
# ## Is the background right?
#
# Where there are no sources, the significances should follow a normal distribution of mean 0 and
# width 1. This is the first thing to look at with real data: a width above 1 says that the
# background model misses something. Pixels near the known sources are left out.

# %%
keep = Map(dataset.geom.to_image(), np.ones(dataset.geom.shape_image, dtype=bool))
for source in field.sources.iterrows("ra", "dec", "sigma"):
    ra, dec, sigma = source
    keep.data &= keep.geom.separation(SkyCoord(ra, dec)) > 0.25 * u.deg + 3 * sigma
fit = maps.plot_significance_histogram(exclusion=keep)
fit.ax.set_xlim(-6, 12)
print(f"mean {fit.mean:.2f}, width {fit.width:.2f}, from {fit.number} pixels")

# %% [markdown]
# To the left the distribution ends early. A negative norm takes counts away, and nowhere may
# fewer than none be expected; where the background is faint that bound is soon reached. The map
# `status` says so: its codes are 0 for an ordinary fit and 2 for one that ended on the bound.

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
# Since this field was simulated, the truth is at hand:

# %%
field.sources["name", "kind", "glon", "glat", "sigma", "flux", "sqrt_ts"]

# %% [markdown]
# All are found, and the fluxes of the point sources differ from the true ones by about their
# errors. The nebula's is far off: it is larger than a point, and a point's kernel sees only its
# middle. Ask for a source of its shape, and its flux is right. To save time only the part of the
# sky around it is fitted.

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
# Maps go to a FITS file that gammapy reads too, with the settings in its header, and sources to a
# table or to regions for DS9.

# %%
maps.write("ts-map.fits", overwrite=True)
sources.write("sources.ecsv", overwrite=True)

again = FluxMaps.read("ts-map.fits")
print(sorted(path.name for path in Path().iterdir()))
print(again.meta["creator"], "with", again.meta["settings"]["model"])

# %% [markdown]
# ## Real data: the Galactic centre with Fermi-LAT
#
# The file is one of gammapy's public data sets (`gammapy download datasets`), below the folder
# that the environment variable `GAMMAPY_DATA` names. Above 10 GeV, seven years of counts:

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
# The brightest is the Galactic centre itself. Grey pixels were not fitted: the dataset's mask
# leaves them out. To the left, near longitudes 6.5 and 8.5 deg, W28 and W30 are larger than a
# point.

# %%
if fermi is not None:
    fit = fermi.plot_significance_histogram(exclusion=sources)
    fit.ax.set_xlim(-5, 12)
    print(f"mean {fit.mean:.2f}, width {fit.width:.2f}")

# %% [markdown]
# This is no standard normal: to the right there is more than the sources above 5 sigma, fainter
# ones and diffuse emission that the background model misses, and to the left the physical bound
# cuts the distribution off, since at these energies most bins are empty.
#
# The same from a shell:
#
# ```sh
# gammagrad ts-map fermi-3fhl-gc.fits.gz --kernel-width "1 deg" -o maps
# ```
