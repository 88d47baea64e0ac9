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
# # When the background is uncertain
#
# A source map compares counts with a background. If the background is wrong, its error becomes
# sources. This notebook fits a norm of the background along with every source, first in a simulated
# field where the truth is known, and then around the Crab nebula seen by H.E.S.S., if the data are
# available. It also maps the spectral index, and measures the background in OFF regions.

# %%
import os
import warnings
from pathlib import Path

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
from astropy.coordinates import SkyCoord

from gammagrad import (
    Map,
    MapDataset,
    RingBackgroundMaker,
    TSMapEstimator,
    exclusion_mask,
)
from gammagrad.errors import InputWarning
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.plot import plot_significance_histogram
from gammagrad.simulate import poisson, simulate_field

# %% [markdown]
# ## A background that is wrong
#
# A field with one source, D. The background model is too low by 20 % on the right, and right on
# the left, with a smooth change in between.

# %%
field = simulate_field(npix=100, nbin=2)
row = field.sources[field.sources["name"] == "D"][0]
place = SkyCoord(row["ra"], row["dec"])
dataset = poisson(field.dataset, seed=1, models=field.models["D"])
columns = np.arange(dataset.geom.npix[0])
wrong = 1 + 0.2 / (1 + np.exp(-(columns - 50) / 7))
truth = dataset.background
dataset.background = truth / Map(truth.geom, np.broadcast_to(wrong, truth.data.shape))

# %% [markdown]
# Three maps: with the background as it is, with its norm known to 10 %, and with its norm free.
# The norm is fitted in a window around each position, three times as wide as the kernel.

# %% tags=["thumbnail"]
found = {}
for how in ("fixed", "constrained", "free"):
    estimator = TSMapEstimator(
        kernel_width="0.4 deg",
        renormalise=False,
        background=how,
        background_uncertainty=0.1,
    )
    found[how] = estimator.run(dataset)

figure = plt.figure(figsize=(12, 3.8), layout="constrained")
for i, (how, maps) in enumerate(found.items()):
    ax = figure.add_subplot(1, 3, i + 1, projection=maps.geom.to_image().wcs)
    maps["sqrt_ts"].plot(ax=ax, title=how, stretch="linear", cmap="RdBu_r", vmin=-6, vmax=6)

# %% [markdown]
# With a fixed background half of the field is a source. With a norm the source is left. Away from
# it significances should have mean 0 and width 1:

# %%
for how, maps in found.items():
    image = maps.geom.to_image()
    away = image.separation(place) > 0.4 * u.deg
    right = away & (columns > 60)
    values = maps["sqrt_ts"].data[0]
    flux, error = (maps[name].get(place)[0] * 1e13 for name in ("flux", "flux_err"))
    print(
        f"{how:12} right half: mean {values[right].mean():+.2f}, width {values[right].std():.2f}; "
        f"flux {flux:.2f} +- {error:.2f}"
    )
print(f"true flux: {row['flux'].value * 1e13:.2f}, in 1e-13 per cm2 and s")

# %% [markdown]
# The fitted norm is a map, too, with its error, its pull and its correlation with the source. It
# follows the truth, averaged over the window.

# %%
free = found["free"]
figure = plt.figure(figsize=(10, 3.8), layout="constrained")
for i, name in enumerate(("background_norm", "background_norm_pull")):
    ax = figure.add_subplot(1, 2, i + 1, projection=free.geom.to_image().wcs)
    free[name].plot(ax=ax, title=name, stretch="linear", cmap="viridis")
for side, part in {"left": np.s_[:, :30], "right": np.s_[:, 70:]}.items():
    norm = free["background_norm"].data[0][part]
    print(f"{side}: background norm {norm.mean():.3f}, true {np.mean(wrong[part[1]]):.3f}")

# %% [markdown]
# ## Real data: the Crab nebula with H.E.S.S.
#
# Runs of the first public data release, reduced with gammapy to a cube of 7 energies. The file is
# looked for in the folder `GAMMAPY_DATA`. The middle of the field is enough here.

# %%
file = Path(os.environ.get("GAMMAPY_DATA", "nowhere")) / "reduced" / "hess-crab.fits.gz"
crab = None
if file.is_file():
    crab = MapDataset.read(file)
    centre = crab.geom.center_skydir
    crab = crab.cutout(centre, "2.4 deg")
    print(crab)
else:
    print("The data are not here: this part of the notebook is skipped.")

# %% [markdown]
# How good is the background model? The free norm says it. Windows that reach the nebula would count
# it as background, so it is masked for this.

# %%
if crab is not None:
    outside = exclusion_mask(crab.geom.to_image(), circles=[(centre, "0.4 deg")])
    masked = crab.copy(name="masked")
    masked.mask_fit = Map(crab.geom, np.broadcast_to(outside.data, crab.geom.data_shape))
    norms = TSMapEstimator(kernel_width="0.4 deg", renormalise=False, background="free").run(masked)
    values = norms["background_norm"].data
    seen = np.isfinite(values)
    print(f"background norm: mean {values[seen].mean():.3f}, scatter {values[seen].std():.3f}")
    print(f"its error: {np.median(norms['background_norm_err'].data[seen]):.3f}")
    ax = norms["background_norm"].plot(stretch="linear", cmap="BrBG_r", vmin=0.7, vmax=1.3)

# %% [markdown]
# The norms scatter no more than their errors: the model is good to a few per cent.
#
# ## The nebula and its index
#
# A norm and the spectral index can be fitted together, to a cube. Here this is done close to the
# nebula. Its pixel gives a model of it. (Pixels beside it see only its wings, and have no index of
# their own.)

# %%
settings = {"kernel_width": "0.4 deg", "renormalise": False}
if crab is not None:
    estimator = TSMapEstimator(**settings, free=("norm", "index"), sum_over_energy_groups=False)
    box = (centre, "0.8 deg")
    both = estimator.run(crab, positions=box).cutout(*box)
    sure = both["sqrt_ts"].data > 8
    index = both["index"].copy()
    index.data[~sure] = np.nan
    ax = index.plot(title="index where the significance is above 8", stretch="linear")
    peak = both.find_peaks(threshold=8, min_distance="0.4 deg")["ra", "dec"][0]
    at = SkyCoord(peak["ra"], peak["dec"])
    values = {name: both[name].get(at)[0] for name in ("index", "index_err", "norm")}
    print(f"index of the nebula: {values['index']:.2f} +- {values['index_err']:.2f}")
    nebula = SkyModel(
        PowerLawSpectralModel(
            index=values["index"],
            amplitude=values["norm"] * estimator.model.spectral_model.amplitude,
        ),
        PointSpatialModel.from_position(at),
        name="nebula",
    )

# %% [markdown]
# ## Constrained, and OFF counts
#
# The norm of the background is constrained to 5 % in the following, in two ways. In one the nebula
# is in no model, in the other it is among the models of the dataset.
#
# The last map has a background that is measured, in OFF regions: pixels of a ring around every
# pixel, a kernel apart, so that the bins of a window share no events. Few OFF counts bias the W
# statistic, so they are summed over a small disc.

# %%
if crab is not None:
    known = crab.copy(name="nebula known")
    known.models = [nebula]
    ring = RingBackgroundMaker("0.45 deg", "0.9 deg", exclusion_mask=outside, spacing="0.4 deg")
    on_off = ring.run(crab)
    constraint = {"background": "constrained", "background_uncertainty": 0.05}
    inputs = {
        "fixed": (crab, {}),
        "constrained": (crab, constraint),
        "constrained, nebula in models": (known, constraint),
        "OFF counts": (on_off.with_wider_off("0.08 deg"), {}),
    }
    maps = {}
    for name, (data, more) in inputs.items():
        with warnings.catch_warnings():
            # that sums over discs share events is known
            warnings.simplefilter("ignore", InputWarning)
            maps[name] = TSMapEstimator(**settings, **more).run(data)

# %%
if crab is not None:
    keep = Map(maps["fixed"].geom, outside.data[None] & True)
    keep.data &= maps["fixed"].geom.to_image().separation(centre).to_value("deg") < 1.1
    figure = plt.figure(figsize=(14, 6.5), layout="constrained")
    for i, (name, one) in enumerate(maps.items()):
        ax = figure.add_subplot(2, 4, i + 1, projection=one.geom.to_image().wcs)
        one["sqrt_ts"].plot(ax=ax, title=name, stretch="linear", cmap="RdBu_r", vmin=-5, vmax=5)
        ax = figure.add_subplot(2, 4, i + 5)
        shape = plot_significance_histogram(one["sqrt_ts"], keep, ax)
        ax.set(xlim=(-5, 5), title=f"mean {shape.mean:.2f}, width {shape.width:.2f}")
        ax.get_legend().remove()
        peak = one["sqrt_ts"].get(centre)[0]
        print(f"{name:30} the nebula: {peak:.1f} sigma")

# %% [markdown]
# Windows next to the nebula take it for background: its norm is too high there, and the
# significances too low, in a blue square around it. So bright sources must be modelled. With the
# nebula in the models the map shows what is left of it, and elsewhere significances are about a
# unit normal.
#
# From the command line:
#
# ```sh
# gammagrad ts-map hess-crab.fits.gz --kernel-width "0.4 deg" --background-norm constrained \
#   --background-uncertainty 0.05 -o crab
# ```
#
# The page *When the background is uncertain* has a table of what to choose, and the derivation.
