"""What an uncertain background does to a map of fluxes, by one Jacobian-vector product.

python docs/examples/background_error.py
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad import ts_map
from gammagrad.responses import gaussian_psf


class Field(NamedTuple):
    """Counts of two energies, (energy, row, col), and what they are modelled with."""

    counts: Array
    background: Array
    exposure: Array
    kernel: Array


def simulate(npix: int = 41, seed: int = 0) -> Field:
    """Draw a field with a bright source in its middle, on a background that falls outwards."""
    offset = np.arange(npix) - npix // 2
    radius2 = offset[:, None] ** 2 + offset[None, :] ** 2
    profile = np.exp(-0.5 * radius2 / (0.6 * npix) ** 2)
    background = np.array([3.0, 0.8])[:, None, None] * profile
    exposure = np.array([2.0, 1.0])[:, None, None] * profile
    kernel = np.asarray(gaussian_psf(np.array([0.08, 0.05]), (11, 11), 0.05))
    source = np.zeros_like(background)
    source[:, npix // 2 - 5 : npix // 2 + 6, npix // 2 - 5 : npix // 2 + 6] = 60 * kernel
    counts = np.random.default_rng(seed).poisson(background + source * exposure)
    return Field(*(jnp.asarray(a, float) for a in (counts, background, exposure, kernel)))


def flux_map(norm: Array, field: Field) -> Array:
    """Fit the flux at every pixel on a background of some norm."""
    return ts_map(field.counts, norm * field.background, field.exposure, field.kernel).norm


@jax.jit
def propagate(norm: Array, norm_err: Array, field: Field) -> tuple[Array, Array]:
    """Return the map of fluxes, and how it moves when the background's norm does by its error."""
    return jax.jvp(lambda b: flux_map(b, field), (norm,), (norm_err,))


@jax.jit
def toys(norms: Array, field: Field) -> Array:
    """Fit the map again for every norm of the background: what the derivative saves."""
    return jax.lax.map(lambda norm: flux_map(norm, field), norms)


def main() -> None:
    """Print the two errors of the flux where the source is, and where it is not."""
    jax.config.update("jax_enable_x64", True)
    field = simulate()
    norm, norm_err = jnp.asarray(1.0), jnp.asarray(0.02)
    flux, shift = propagate(norm, norm_err, field)
    fit = ts_map(*field)
    draws = jax.random.normal(jax.random.key(1), (100,))
    draws = (draws - draws.mean()) / draws.std()
    scatter = toys(norm + norm_err * draws, field).std(axis=0)
    print("A background known to 2 %, in units of the flux")
    print("pixel        flux  statistical  of the background  the same from 100 toys")
    for name, row, col in (("source", 20, 20), ("beside it", 20, 8), ("corner", 4, 4)):
        at = row, col
        print(
            f"{name:9} {flux[at]:7.2f} {fit.norm_err[at]:12.2f} {abs(shift[at]):18.3f} "
            f"{scatter[at]:23.3f}"
        )


if __name__ == "__main__":
    main()
