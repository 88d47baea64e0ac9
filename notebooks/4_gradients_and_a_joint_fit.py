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
# # Gradients, and a joint fit
#
# A TS map has one free parameter per pixel. To measure a source, its position, size and spectrum
# must also be free, and the background. This notebook fits two observations of a field jointly,
# shows the derivatives that the fit uses, writes a custom fit with tied parameters, and ends with
# the sources of a map, each with its error ellipse.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from astropy.coordinates import SkyCoord

from gammagrad import MapDataset, TSMapEstimator, fit
from gammagrad.models import FoVBackgroundModel, Models
from gammagrad.simulate import poisson, simulate_field

# a statistic of thousands is to be known to a part in a million
jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## Two observations
#
# The field has a point source, A, and an extended source with a softer spectrum, the nebula. It was
# observed twice: for 10 hours on a bad night, with a background 30 % above the background model,
# and for 40 hours on good nights, with a background 10 % below. A background model applies to the
# dataset that it names; sources apply to all.

# %%
SIZE = {"npix": 40, "binsz": 0.05, "nbin": 2}
field = simulate_field(**SIZE)
truth = Models([field.models["A"], field.models["nebula"]])
for name in ("bad", "good"):
    truth += FoVBackgroundModel(name)
truth = truth.with_parameters({"nebula.index": 2.2, "bad-bkg.norm": 1.3, "good-bkg.norm": 0.9})


def observe(name: str, livetime: str, seed: int) -> MapDataset:
    """Return a simulated observation of the two sources."""
    dataset = simulate_field(**SIZE, livetime=livetime).dataset.copy(name=name)
    return poisson(dataset, seed, truth)


bad, good = observe("bad", "10 h", seed=1), observe("good", "40 h", seed=2)

figure = plt.figure(figsize=(10.5, 4.2), layout="constrained")
for i, dataset in enumerate((bad, good)):
    image = dataset.counts.sum_over_axes(keepdims=False)
    ax = figure.add_subplot(1, 2, i + 1, projection=image.geom.wcs)
    image.plot(ax=ax, stretch="sqrt", title=dataset.name, label="counts per pixel")

# %% [markdown]
# ## Free parameters
#
# A collection of models records which parameters are free, and their bounds. The position of A is
# known from elsewhere and frozen. The start is a guess.

# %%
start = truth.freeze("A.l*_0").bound("nebula.sigma", "0.02 deg", "0.5 deg")
start = start.with_parameters(
    {
        "A.amplitude": 1e-12,
        "nebula.index": 2.0,
        "nebula.amplitude": 1e-12,
        "nebula.lon_0": "30.56 deg",
        "nebula.sigma": "0.085 deg",
        "bad-bkg.norm": 1.0,
        "good-bkg.norm": 1.0,
    }
)
print(*start.free, sep="\n")

# %% [markdown]
# ## The statistic and its gradient
#
# `dataset.likelihood` turns a dataset into a tree of arrays for these models. Its `stat_sum` is the
# Cash statistic, $-2 \log L$ up to a constant, and an ordinary JAX function: `jax.value_and_grad`
# gives its gradient. Here it is a function of a dictionary of parameters, so the gradient is also a
# dictionary. The likelihoods are passed as arguments, so that the compiled code works for other
# data of the same shapes.

# %%
likelihoods = [dataset.likelihood(start) for dataset in (bad, good)]


def total(values: dict[str, jax.Array], likelihoods: list) -> jax.Array:
    """Return the sum of the statistics."""
    models = start.with_parameters(values)
    return sum(likelihood.stat_sum(models) for likelihood in likelihoods)


statistic = jax.jit(jax.value_and_grad(total))
values = {name: jnp.asarray(start.parameters[name], float) for name in start.free}
value, slope = statistic(values, likelihoods)
print(f"statistic {value:.2f}")
for name in start.free:
    print(f"{name:<18} {slope[name]:12.4g}")

# %% [markdown]
# Both amplitudes and the background of the bad night are too low: their slopes are negative. The
# size of a slope means little, as every parameter has its own unit. Plain gradient descent would
# get nowhere; `fit` first finds coordinates in which the statistic is a round bowl.
#
# The slope comes from the effect of a parameter on the predicted counts. `jax.jvp` takes the
# derivative along one parameter, for all bins at once:

# %% tags=["thumbnail"]
nebula = Models(truth["nebula"])
alone = good.likelihood(nebula)
places = {name: jnp.asarray(nebula.parameters[name], float) for name in nebula.free}


def image(values: dict[str, jax.Array]) -> jax.Array:
    """Return the image predicted of the nebula, summed over energies."""
    return alone.npred_signal(nebula.with_parameters(values)).sum(axis=0)


@jax.jit
def change(direction: dict[str, jax.Array]) -> jax.Array:
    """Return what a step in the parameters does to the image, to first order."""
    return jax.jvp(image, (places,), (direction,))[1]


steps = {"amplitude": 1e-13, "lon_0": 0.01, "lat_0": 0.01, "sigma": 0.01}
figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), layout="constrained", sharey=True)
for ax, (name, step) in zip(axes, steps.items(), strict=True):
    direction = {key: jnp.asarray(step * (key == f"nebula.{name}")) for key in places}
    picture = change(direction)
    limit = float(jnp.abs(picture).max())
    shown = ax.imshow(picture, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(xlim=(-0.5, 25.5), ylim=(13.5, 39.5), xlabel="column [pixels]")
    ax.set_title(f"nebula.{name} + {step:g}", fontsize="medium")
    figure.colorbar(shown, ax=ax, shrink=0.75)
axes[0].set_ylabel("row [pixels]")
_ = figure.suptitle("change of the predicted counts per pixel", fontsize="medium")

# %% [markdown]
# A larger amplitude adds counts everywhere, a larger longitude moves them to the left (where
# longitudes are larger, as on the sky), a larger size moves them outwards. These shapes hardly
# resemble each other, so that the data can tell the parameters apart.
#
# ## The fit
#
# The sum of both statistics is minimised by L-BFGS, and finished by Newton's method with exact
# second derivatives. These give the covariance.

# %%
result = fit([bad, good], start)
print(result)

# %%
pulls = (result.values - [float(truth.parameters[name]) for name in result.names]) / np.array(
    list(result.errors.values())
)
for name, pull in zip(result.names, pulls, strict=True):
    print(f"{name:<18} {pull:+.1f} errors from the truth")
assert result.success
assert np.all(np.abs(pulls) < 4)

# %% [markdown]
# All are within a few errors of the truth. `result.parameters` is a table with units,
# `result.models` are the best-fit models.
#
# ## A custom fit
#
# Do both sources have the same spectral index? How much worse is a fit with one index for both?
# `fit` cannot tie parameters. But the statistic is a function, and optax minimises functions. Each
# parameter is in units of its error, which makes the bowl round enough for Adam. The chain rule,
# `jax.vjp`, takes the gradient from all parameters to the tied ones.

# %%
names = [name for name in start.free if name != "nebula.index"]
origin = np.array([float(start.parameters[name]) for name in names])
errors = np.array([result.errors[name] for name in names])


def tied(z: jax.Array) -> dict[str, jax.Array]:
    """Return values of the parameters, z errors away from the start, with one index for both."""
    values = dict(zip(names, origin + errors * z, strict=True))
    return values | {"nebula.index": values["A.index"]}


N_STEPS = 150
optimiser = optax.adam(optax.cosine_decay_schedule(1.0, N_STEPS))


@jax.jit
def step(z: jax.Array, memory: tuple, slope: dict[str, jax.Array]) -> tuple[jax.Array, tuple]:
    """Move the tied parameters, given the slope in all of them."""
    slope_in_z = jax.vjp(tied, z)[1](slope)[0]
    updates, memory = optimiser.update(slope_in_z, memory)
    return optax.apply_updates(z, updates), memory


z = jnp.zeros(len(names))
memory, history = optimiser.init(z), []
tied_values = jax.jit(tied)
for _ in range(N_STEPS):
    value, slope = statistic(tied_values(z), likelihoods)
    history.append(float(value))
    z, memory = step(z, memory, slope)
worse = float(statistic(tied_values(z), likelihoods)[0]) - result.stat
print(f"one index for both: {float(tied(z)['A.index']):.3f}, and the statistic {worse:.2f} higher")

# %% [markdown]
# For equal indices, this number follows a chi-squared distribution with one degree of freedom: its
# root is the significance of the difference. The covariance of the fit gives the same, to first
# order:

# %%
difference, error = result.propagate(
    lambda models: models["A"].spectral_model.index - models["nebula"].spectral_model.index
)
print(f"difference {difference:.3f} +- {error:.3f}: {abs(difference) / error:.2f} sigma")
print(f"from the statistic: {np.sqrt(worse):.2f} sigma")
assert abs(abs(difference) / error - np.sqrt(worse)) < 0.3

# %% [markdown]
# Left, the progress of the two fits: `fit` knows the curvature, Adam learns it on the way. (`fit`
# also takes any optax optimiser: `fit(..., optimiser=optax.adam(0.3))`.) Right, the correlations of
# the parameters. Amplitude and index of a source are correlated: the amplitude is the flux at 1
# TeV, the lower end of the data, and a softer spectrum needs a larger one.

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=[1, 1.1])
for ended, steps, label in (
    (result.stat, result.history, "fit, two indices"),
    (result.stat + worse, history, "Adam, one index"),
):
    axes[0].semilogy(np.asarray(steps) - ended + 1e-9, label=label)
axes[0].set(xlabel="step", ylabel="statistic above its minimum", ylim=(1e-6, None))
axes[0].legend()
shown = axes[1].imshow(result.correlation, cmap="RdBu_r", vmin=-1, vmax=1)
ticks = np.arange(len(result.names))
axes[1].set_xticks(ticks, result.names, rotation=45, ha="right")
axes[1].set_yticks(ticks, result.names)
_ = figure.colorbar(shown, ax=axes[1], label="correlation")

# %% [markdown]
# ## Errors of anything
#
# `result.propagate` takes any function of the models, here two spectra at forty energies each,
# and multiplies its Jacobian with the covariance. The band is narrowest at the energy at which the
# source was measured best, where amplitude and index are independent.

# %%
energy = jnp.geomspace(1.0, 30.0, 40)


def spectra(models: Models) -> jax.Array:
    """Return the energy flux per logarithm of the energy, in 1e-12 TeV cm-2 s-1."""
    dnde = [models[name].spectral_model.evaluate(energy) for name in ("A", "nebula")]
    return 1e12 * energy[None, :] ** 2 * jnp.stack(dnde)


figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
curves = zip(("A", "nebula"), *result.propagate(spectra), spectra(truth), strict=True)
for name, middle, error, true in curves:
    (line,) = ax.semilogx(energy, middle, label=f"{name}, fitted")
    ax.fill_between(energy, middle - error, middle + error, color=line.get_color(), alpha=0.3)
    ax.semilogx(energy, true, ":", color=line.get_color(), label=f"{name}, true")
ax.set(xlabel="energy [TeV]", ylabel=r"$E^2\,dN/dE$ [$10^{-12}$ TeV cm$^{-2}$ s$^{-1}$]")
_ = ax.legend()

# %% [markdown]
# ## From a map to sources
#
# Source positions are usually not known: a TS map finds them, to a pixel. With `refine=True` every
# peak is then fitted to the data around it, with position, flux and index free and all other
# sources in the background. The whole simulated field has six sources, and all of them are found:

# %%
maps = TSMapEstimator(sum_over_energy_groups=False).run(field.dataset)
sources = maps.find_peaks(5, "0.2 deg", refine=True, datasets=field.dataset)
assert len(sources) == 6
sources["name", "glon", "glat", "ellipse_major_95", "sqrt_ts"]

# %% [markdown]
# The ellipse contains the source with 95 % probability. It shrinks with significance, to a small
# fraction of a pixel:

# %%
figure = plt.figure(figsize=(12, 3.9), layout="constrained")
for i, source in enumerate(sources[-3:]):
    ax = figure.add_subplot(1, 3, i + 1, projection=maps.geom.wcs)
    maps.plot("sqrt_ts", ax=ax, peaks=sources, peak_names=False, colorbar=i == 2)
    sky = ax.get_transform("icrs")
    ax.scatter(field.sources["ra"], field.sources["dec"], transform=sky, marker="x", c="k")
    x, y = maps.geom.sky_to_pix(SkyCoord(source["ra"], source["dec"]))
    ax.set(xlim=(x - 2, x + 2), ylim=(y - 2, y + 2))
    ax.set_title(f"{source['name']}: {source['sqrt_ts']:.1f} sigma", fontsize="medium")

# %% [markdown]
# Crosses are the true positions, small circles the fitted ones, with their ellipses. All six were
# fitted as points; `free=("position", "index", "size")` fits Gaussians.
