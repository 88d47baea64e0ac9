"""Share out observing time among pointings, by the gradient of the mean sensitivity.

python docs/examples/survey_design.py
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gammagrad import ts_map
from gammagrad.responses import gaussian_psf


class Survey(NamedTuple):
    """Pointings, what an hour of each brings, and where sources shall be found."""

    exposure: Array  # counts of a source of norm 1 per hour, (pointing, energy, row, col)
    background: Array  # counts per hour, same shape
    kernel: Array  # (energy, row, col)
    region: Array  # weights of pixels, (row, col), of sum 1


def plan(n_pointings: int = 5, npix: int = 31) -> Survey:
    """Put pointings along a row of the sky, with two regions of interest on it."""
    row, col = np.mgrid[:npix, :npix] / (npix - 1)
    centres = np.linspace(0.1, 0.9, n_pointings)
    offset2 = (col[None] - centres[:, None, None]) ** 2 + (row[None] - 0.5) ** 2
    acceptance = np.exp(-0.5 * offset2 / 0.25**2)[:, None]
    per_energy = np.array([1.0, 0.3])[None, :, None, None]
    along = np.exp(-0.5 * (col - 0.25) ** 2 / 0.05**2) + np.exp(-0.5 * (col - 0.7) ** 2 / 0.1**2)
    region = along * (abs(row - 0.5) < 0.1)
    return Survey(
        exposure=jnp.asarray(4.0 * per_energy * acceptance),
        background=jnp.asarray(0.5 * per_energy**2 * (0.1 + acceptance)),
        kernel=gaussian_psf(np.array([0.1, 0.07]), (9, 9), 0.05),
        region=jnp.asarray(region / region.sum()),
    )


def sensitivity(hours: Array, survey: Survey) -> Array:
    """Return the mean norm over the region that is seen with 5 sigma, for hours per pointing."""
    exposure = jnp.einsum("p,peyx->eyx", hours, survey.exposure)
    background = jnp.einsum("p,peyx->eyx", hours, survey.background)
    fit = ts_map(background, background, exposure, survey.kernel, selection_optional="sensitivity")
    return (fit.norm_sensitivity * survey.region).sum()


@jax.jit
def gain_per_hour(hours: Array, survey: Survey) -> tuple[Array, Array]:
    """Return the mean sensitivity, and what another hour at each pointing changes of it."""
    return jax.value_and_grad(sensitivity)(hours, survey)


def share_out(shares: Array, total: float) -> Array:
    """Return hours that are positive and have the right sum, whatever the shares are."""
    return total * jax.nn.softmax(shares)


def optimise(total: float, survey: Survey, n_steps: int = 100) -> Array:
    """Share out a total of hours so that the mean sensitivity is best."""
    optimiser = optax.adam(0.15)
    shares = jnp.zeros(len(survey.exposure))
    memory = optimiser.init(shares)
    for _ in range(n_steps):
        hours, chain_rule = jax.vjp(lambda s: share_out(s, total), shares)
        _, slope = gain_per_hour(hours, survey)
        updates, memory = optimiser.update(chain_rule(slope)[0], memory)
        shares = optax.apply_updates(shares, updates)
    return share_out(shares, total)


def main() -> None:
    """Print hours and gains before and after."""
    jax.config.update("jax_enable_x64", True)
    survey, total = plan(), 50.0
    equal = share_out(jnp.zeros(len(survey.exposure)), total)
    for name, shared in (("equal shares", equal), ("optimised", optimise(total, survey))):
        value, slope = gain_per_hour(shared, survey)
        print(f"{name}: mean sensitivity {value:.4f}")
        print("  hours           ", *(f"{h:8.2f}" for h in shared))
        print("  change per hour ", *(f"{s:8.5f}" for s in slope))


if __name__ == "__main__":
    main()
