"""A guess of the flux at every pixel by a matched filter."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._programs import compiled, fill, image_room
from gammagrad.core.images import convolve_stack
from gammagrad.estimators.ts_map.inputs import FitInputs


@compiled
def _filter(excess: Array, exposure: Array, inside: Array, kernel: Array) -> Array:
    """Convolve excess over exposure with the kernel, normalised to respond to its own shape."""
    exposed = (exposure > 0) & inside
    rate = jnp.where(exposed, excess / jnp.where(exposed, exposure, jnp.ones_like(exposure)), 0)
    squares = (kernel**2).sum()
    response = jnp.where(squares > 0, kernel / jnp.where(squares > 0, squares, 1.0), 0)
    filtered = convolve_stack(rate, response)
    return jnp.where(inside, filtered, 0).sum(axis=0)


def matched_flux(inputs: FitInputs, bins: slice, exposure: np.ndarray | None = None) -> np.ndarray:
    """Guess the flux at every pixel by a matched filter."""
    # Each energy's excess over exposure is convolved with the kernel and divided by the sum of the
    # kernel's squares over all energies, as gammapy does: for one energy it is the flux of a source
    # alone, for several about their mean. Bins without weight do not enter.
    inside = inputs.weights[bins] > 0
    if exposure is None:
        flux = inputs.flux[bins, None, None]
        exposure = np.divide(
            inputs.exposure[bins], flux, out=np.zeros(inside.shape), where=flux > 0
        )
    excess = inputs.counts[bins] - inputs.background[bins]
    exposure = np.where(inside, exposure, 0.0)
    kernel = np.asarray(inputs.kernel.data[bins], dtype=np.float64)
    with jax.enable_x64(True):
        ny, nx = inside.shape[1:]
        images = [fill(image, image_room(ny, nx)) for image in (excess, exposure, inside)]
        return np.asarray(_filter(*images, kernel))[:ny, :nx]


def guess_norm(parts: Sequence[tuple[FitInputs, slice]]) -> np.ndarray:
    """Guess the norm at every pixel: the flux of a matched filter over that of the reference."""
    shape = parts[0][0].counts.shape[1:]
    total, number = np.zeros(shape), np.zeros(shape)
    for inputs, bins in parts:
        seen = (inputs.weights[bins] > 0).any(axis=0)
        reference = inputs.flux[bins].sum()
        flux = matched_flux(inputs, bins)
        if reference > 0:
            total += np.where(seen, flux / reference, 0.0)
            number += seen
    return total / np.maximum(number, 1)
