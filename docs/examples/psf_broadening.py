"""Choose the PSF broadening that makes the map of residual significances a unit normal.

The objective of an optax fit holds a whole TS map, and its gradient passes through every pixel's
fit; so does the error of the result, by the second derivatives.

python docs/examples/psf_broadening.py
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gammagrad import ts_map
from gammagrad.responses import broaden_psf, fold, gaussian_psf

BINSZ = 0.05  # deg


class Data(NamedTuple):
    """An image of counts, (1, row, col), and what it is modelled with."""

    counts: Array
    background: Array
    exposure: Array
    psf: Array  # as it stands in the files, (1, row, col)
    sources: Array  # 1 in the pixel of a bright source, 0 elsewhere, (source, row, col)


def model(parameters: Array, data: Data) -> tuple[Array, Array]:
    """Return the PSF, broadened, and the counts expected of background and bright sources.

    The parameters are the broadening in tenths of a degree, and the sources' counts in thousands.
    """
    psf = broaden_psf(data.psf, parameters[0] / 10, BINSZ)
    image = jnp.einsum("s,syx->yx", 1000 * parameters[1:], data.sources)[None]
    spectrum = jnp.ones(1, image.dtype)
    return psf, data.background + fold(spectrum, image, data.exposure, psf)


def surprise(parameters: Array, data: Data) -> tuple[Array, Array]:
    """Return how unlike a unit normal the significances of the residuals are, and their map.

    It is the sum of ``sqrt_ts^2 / 2`` over the pixels: -log(likelihood) of N(0, 1).
    """
    psf, expected = model(parameters, data)
    ts = ts_map(data.counts, expected, data.exposure, psf).ts
    return 0.5 * jnp.abs(ts).sum(), jnp.sign(ts) * jnp.sqrt(jnp.abs(ts))


slope_of_surprise = jax.jit(jax.value_and_grad(surprise, has_aux=True))


def fit(data: Data, start: Array, n_steps: int = 60) -> tuple[Array, Array, Array]:
    """Minimise; return parameters and the maps of significance before and after."""
    optimiser = optax.adam(optax.cosine_decay_schedule(0.2, n_steps))
    parameters, memory = start, optimiser.init(start)
    (_, before), slope = slope_of_surprise(parameters, data)
    for _ in range(n_steps):
        updates, memory = optimiser.update(slope, memory)
        parameters = optax.apply_updates(parameters, updates)
        (_, after), slope = slope_of_surprise(parameters, data)
    return parameters, before, after


@jax.jit
def covariance(parameters: Array, data: Data) -> Array:
    """Return what the Poisson noise of the counts makes of the parameters' estimates.

    The minimum is a function of the counts, whose derivatives the implicit function theorem gives:
    those of the slope with respect to the counts, over those with respect to the parameters. (The
    pixels of a TS map are correlated, so that the curvature alone says nothing.)
    """

    def slope(p: Array, counts: Array) -> Array:
        return jax.grad(surprise, has_aux=True)(p, data._replace(counts=counts))[0]

    curvature, by_counts = jax.jacrev(slope, (0, 1))(parameters, data.counts)
    response = jnp.linalg.solve(curvature, by_counts.reshape(parameters.size, -1))
    variance = model(parameters, data)[1].ravel()
    return (response * variance[None, :]) @ response.T


def simulate(broadening: float, npix: int = 31, seed: int = 0) -> tuple[Data, Array]:
    """Draw three bright sources as a PSF sees them that is broader than the one in the files."""
    shape = (1, npix, npix)
    sources = np.zeros((3, npix, npix))
    for source, (row, col) in zip(sources, ((0.3, 0.3), (0.4, 0.7), (0.75, 0.5)), strict=True):
        source[int(row * npix), int(col * npix)] = 1
    zero = jnp.zeros(shape)
    psf = gaussian_psf(0.08, (13, 13), BINSZ)
    data = Data(zero, zero + 2, zero + 1, psf, jnp.asarray(sources))
    truth = jnp.array([10 * broadening, 2.0, 4.0, 3.0])
    counts = np.random.default_rng(seed).poisson(model(truth, data)[1]).astype(float)
    return data._replace(counts=jnp.asarray(counts)), truth


def main() -> None:
    """Print truth, result and the widths of the significances."""
    jax.config.update("jax_enable_x64", True)
    data, truth = simulate(broadening=0.06)
    found, before, after = fit(data, jnp.array([0.3, 3.0, 3.0, 3.0]))
    error = jnp.sqrt(jnp.diag(covariance(found, data)))
    show = partial(np.array2string, precision=2, floatmode="fixed")
    print("                    broadening in 0.1 deg, counts of the sources in thousands")
    print("truth              ", show(truth))
    print("found              ", show(found))
    print("error              ", show(error))
    for name, z in (("before", before), ("after", after)):
        print(f"significances {name}: mean {z.mean():.2f}, width {z.std():.2f}, to {z.max():.1f}")


if __name__ == "__main__":
    main()
