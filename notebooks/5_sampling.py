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
# # Sampling
#
# A fit gives the best parameters and a covariance, which describes the likelihood as a Gaussian.
# Near a bound, or with few counts, the likelihood is not Gaussian, and one wants the whole
# posterior. The statistic of a dataset is a function with a gradient, which is all that a modern
# sampler needs. This notebook fits a source whose size the instrument hardly resolves, samples the
# same model with [numpyro](https://num.pyro.ai) (`pip install "gammagrad[sample]"`), and compares.

# %%
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, init_to_value

from gammagrad import fit
from gammagrad.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.simulate import poisson, simulate_field

# %% [markdown]
# ## The data
#
# A source with a size of 0.03 deg in a small field, seen with a point spread function of 0.05 to
# 0.08 deg. Its position is known. Its amplitude, index and size are free, and the norm of the
# background.

# %%
field = simulate_field(npix=30, binsz=0.05, nbin=2, livetime="10 h")
source = SkyModel(
    PowerLawSpectralModel(index=2.2, amplitude="1.2e-12 cm-2 s-1 TeV-1"),
    GaussianSpatialModel(30.02, 0.04, sigma="0.03 deg", frame="galactic"),
    name="source",
)
background = FoVBackgroundModel(field.dataset.name, name="background")
truth = Models([source, background]).freeze("source.l*_0")
dataset = poisson(field.dataset, seed=5, models=truth)
print(f"{dataset.counts.data.sum():.0f} counts; free are {', '.join(truth.free)}")

# %% [markdown]
# ## The fit

# %%
result = fit(dataset, truth)
assert result.success
print(result)

# %% [markdown]
# The error of the size is more than half of the size. Two errors below the best value the size
# would be negative: the Gaussian of the covariance cannot be right.
#
# ## The posterior
#
# A probabilistic model is a function that draws the parameters from their priors, and adds the
# log-likelihood, minus half the statistic. The priors are flat. The likelihood is prepared for a
# small source, with room to grow to the largest; a size below 0.01 deg cannot be told from a point
# here, and would need finer sampling. Single precision, JAX's default, is enough for the sampler.
# `dense_mass` lets it learn the correlation of amplitude and index.

# %%
LIMITS = {
    "source.index": (0.0, 5.0),
    "source.amplitude": (0.0, 1e-11),
    "source.sigma": (0.01, 0.08),
    "background.norm": (0.5, 2.0),
}
small = truth.with_parameters({"source.sigma": 0.014})
likelihood = dataset.likelihood(small, room=0.35)
for size in LIMITS["source.sigma"]:
    assert likelihood.holds(truth.with_parameters({"source.sigma": size}))


def posterior(likelihood: Any) -> None:
    """State the model: priors, and the likelihood of the counts."""
    values = {name: numpyro.sample(name, dist.Uniform(*ends)) for name, ends in LIMITS.items()}
    numpyro.factor("counts", -0.5 * likelihood.stat_sum(truth.with_parameters(values)))


start = {name: jnp.asarray(result.models.parameters[name]) for name in LIMITS}
kernel = NUTS(posterior, dense_mass=True, init_strategy=init_to_value(values=start))
sampler = MCMC(kernel, num_warmup=150, num_samples=600, progress_bar=False)
sampler.run(jax.random.key(0), likelihood)
samples = {name: np.asarray(draws) for name, draws in sampler.get_samples().items()}

print("                      fit    error   mean of samples  width  independent samples")
for name in LIMITS:
    draws = samples[name]
    unit = 1e-12 if name.endswith("amplitude") else 1.0
    numbers = [x / unit for x in (result.models.parameters[name], result.errors[name])]
    numbers += [draws.mean() / unit, draws.std() / unit, effective_sample_size(draws[None])]
    print("{:<17} {:8.3f} {:8.3f} {:17.3f} {:6.3f} {:20.0f}".format(name, *numbers))

# %% [markdown]
# The samples of index, amplitude and background are as wide as the errors. The samples of the size
# are not. The figure shows the samples for each pair of parameters, with the ellipses of the
# covariance, which would contain 39 and 86 % of a Gaussian.

# %% tags=["thumbnail"]
LABELS = {
    "source.index": "index",
    "source.amplitude": "amplitude\n[$10^{-12}$ cm$^{-2}$ s$^{-1}$ TeV$^{-1}$]",
    "source.sigma": "size [deg]",
    "background.norm": "background",
}
units = {name: 1e-12 if name == "source.amplitude" else 1.0 for name in LABELS}
circle = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 100)), np.sin(a)])
best = {name: float(result.models.parameters[name]) / units[name] for name in LABELS}
true = {name: float(truth.parameters[name]) / units[name] for name in LABELS}
drawn = {name: samples[name] / units[name] for name in LABELS}

figure, axes = plt.subplots(4, 4, figsize=(9, 9), sharex="col", layout="constrained")
for row, first in enumerate(LABELS):
    for col, second in enumerate(LABELS):
        ax = axes[row, col]
        if col > row:
            ax.axis("off")
        elif col == row:
            ax.hist(drawn[first], 30, density=True, color="0.75")
            error = result.errors[first] / units[first]
            x = best[first] + error * np.linspace(-3.5, 3.5, 100)
            ax.plot(x, np.exp(-0.5 * ((x - best[first]) / error) ** 2) / error / np.sqrt(2 * np.pi))
            ax.axvline(true[first], color="k", ls=":")
            ax.set_yticks([])
        else:
            ax.plot(drawn[second], drawn[first], ".", color="0.5", ms=2)
            scale = np.diag([1 / units[second], 1 / units[first]])
            covariance = scale @ result.covariance_of(second, first) @ scale
            for n_sigma in (1, 2):
                x, y = n_sigma * np.linalg.cholesky(covariance) @ circle
                ax.plot(best[second] + x, best[first] + y, color="C0")
            ax.plot(true[second], true[first], "k+", ms=10)
            if col == 0:
                ax.set_ylabel(LABELS[first])
            else:
                ax.sharey(axes[row, 0]) if row else None
                ax.tick_params(labelleft=False)
        if row == 3:
            ax.set_xlabel(LABELS[second])

# %% [markdown]
# Grey: samples; blue: covariance; dotted lines and crosses: truth. The ellipses of the size reach
# to negative values; the samples end at the limit.

# %%
size = samples["source.sigma"]
limit, gaussian = (
    np.quantile(size, 0.95),
    best["source.sigma"] + 1.645 * result.errors["source.sigma"],
)
print(f"size below {limit:.3f} deg with 95 % probability; by the covariance {gaussian:.3f} deg")

# %% [markdown]
# ## Other quantities from the samples
#
# The samples give the distribution of any function of the parameters, without derivatives or a
# Gaussian assumption. `jax.vmap` evaluates all samples at once. Here it is the spectrum, with the
# band of 68 % of the samples at each energy, and the first-order errors of the fit for comparison.

# %%
energy = jnp.geomspace(1.0, 30.0, 40)


def spectrum(models: Models) -> jax.Array:
    """Return the energy flux per logarithm of the energy, in 1e-12 TeV cm-2 s-1."""
    return 1e12 * energy**2 * models["source"].spectral_model.evaluate(energy)


curves = jax.vmap(lambda values: spectrum(truth.with_parameters(values)))(sampler.get_samples())
low, middle, high = np.quantile(curves, [0.16, 0.5, 0.84], axis=0)
value, error = result.propagate(spectrum)

figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
axes[0].plot(size, lw=0.5)
axes[0].set(xlabel="sample", ylabel="size [deg]", title="the chain", xlim=(0, len(size)))
axes[1].fill_between(energy, low, high, color="0.8", label="68 % of the samples")
axes[1].semilogx(energy, middle, color="0.5", label="their median")
axes[1].plot(energy, value, color="C0", label="fit and its error")
for sign in (-1, 1):
    axes[1].plot(energy, value + sign * error, color="C0", lw=0.8)
axes[1].plot(energy, spectrum(truth), "k:", label="truth")
axes[1].set(xlabel="energy [TeV]", ylabel=r"$E^2\,dN/dE$ [$10^{-12}$ TeV cm$^{-2}$ s$^{-1}$]")
_ = axes[1].legend()

# %% [markdown]
# The chain on the left decorrelates within a few steps, as the effective sample sizes in the table
# show. If it got stuck, it would need more warm-up or other coordinates.
#
# When is this worth the time? Where the covariance can be trusted, sampling only takes longer. Near
# bounds, with few counts, or with priors, it shows what the fit cannot.
