"""Sample fluxes with numpyro: a dataset's statistic as the likelihood of a probabilistic model.

Needs numpyro (pip install gammagrad[sample]). python docs/examples/sampling.py
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro.infer import MCMC, NUTS

from gammagrad import MapDataset
from gammagrad.models import FoVBackgroundModel, Models
from gammagrad.simulate import poisson, simulate_field

NAMES = ("A.amplitude", "background.norm")


def simulate(npix: int = 40, seed: int = 0) -> MapDataset:
    """Draw a point source on a background; its models are the true ones."""
    field = simulate_field(npix=npix, nbin=2, brightness=0.3)
    background = FoVBackgroundModel(dataset_name=field.dataset.name, name="background")
    dataset = field.dataset.copy()
    dataset.models = [field.models["A"], background]
    return poisson(dataset, seed=seed)


def scaled(models: Models, norms: Array) -> Models:
    """Return the models with flux and background in units of what they are now."""
    values = models.parameters
    return models.with_parameters(
        {name: norm * values[name] for name, norm in zip(NAMES, norms, strict=True)}
    )


def probability(likelihood: Any, models: Models) -> None:
    """State the model to numpyro: priors, and minus half the Cash statistic."""
    source = numpyro.sample("source", dist.Uniform(0.0, 10.0))
    background = numpyro.sample("background", dist.LogNormal(0.0, 0.1))
    norms = jnp.stack([source, background])
    numpyro.factor("counts", -0.5 * likelihood.stat_sum(scaled(models, norms)))


def sample(dataset: MapDataset, n_samples: int = 500, seed: int = 0) -> dict[str, Array]:
    """Draw from the posterior with the No-U-Turn Sampler, whose steps follow the gradient."""
    likelihood = dataset.likelihood()
    start = {"source": jnp.asarray(1.0), "background": jnp.asarray(1.0)}
    strategy = numpyro.infer.init_to_value(values=start)
    sampler = MCMC(
        NUTS(probability, init_strategy=strategy),
        num_warmup=200,
        num_samples=n_samples,
        progress_bar=False,
    )
    sampler.run(jax.random.key(seed), likelihood, dataset.models)
    return sampler.get_samples()


@jax.jit
def newton(norms: Array, likelihood: Any, models: Models) -> tuple[Array, Array]:
    """Make a step towards the most likely norms; return also their covariance."""

    def slope(p: Array) -> Array:
        return jax.grad(lambda q: 0.5 * likelihood.stat_sum(scaled(models, q)))(p)

    covariance = jnp.linalg.inv(jax.jacfwd(slope)(norms))
    return norms - covariance @ slope(norms), covariance


def best_fit(dataset: MapDataset) -> tuple[Array, Array]:
    """Return the most likely norms and their errors."""
    norms, likelihood = jnp.ones(2), dataset.likelihood()
    for _ in range(6):
        norms, covariance = newton(norms, likelihood, dataset.models)
    return norms, jnp.sqrt(jnp.diag(covariance))


def main() -> None:
    """Print posterior means and widths beside the best fit and its errors."""
    jax.config.update("jax_enable_x64", True)
    dataset = simulate()
    norms, errors = best_fit(dataset)
    samples = sample(dataset)
    print("in units of the truth   fit    error   posterior mean   width")
    for name, norm, error in zip(("source", "background"), norms, errors, strict=True):
        draws = samples[name]
        print(f"{name:20} {norm:8.4f} {error:8.4f} {draws.mean():13.4f} {draws.std():11.4f}")


if __name__ == "__main__":
    main()
