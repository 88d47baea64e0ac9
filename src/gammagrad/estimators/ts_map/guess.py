"""A guess of the flux at every pixel by a matched filter."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._programs import compiled, fill, image_room
from gammagrad.core.images import convolve_stack
from gammagrad.core.ts_map import BinImages
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


@compiled
def _blended_filter(excess: Array, kernels: Array, amplitude: Array, blend: Array) -> Array:
    """Divide the products of excess and model by the squares of the model."""
    seen = jnp.zeros_like(amplitude)
    for kernel, weight in zip(kernels.swapaxes(0, 1)[:, :, ::-1, ::-1], blend, strict=True):
        seen = seen + weight[None] * convolve_stack(excess, kernel)
    with_each_other = jnp.einsum("ikyx,ilyx->ikl", kernels, kernels, precision="highest")
    squares = jnp.einsum("kyx,lyx,ikl->iyx", blend, blend, with_each_other, precision="highest")
    total = (amplitude**2 * squares).sum(axis=0)
    found = (amplitude * seen).sum(axis=0)
    return jnp.where(total > 0, found / jnp.where(total > 0, total, 1), 0)


def _blended_norm(images: BinImages) -> np.ndarray:
    """Guess the norm at every pixel, each with its own kernel."""
    excess = np.asarray(images.counts) - np.asarray(images.background)
    ny, nx = excess.shape[1:]
    room = image_room(ny, nx)
    filled = [fill(np.asarray(a), room) for a in (excess, images.amplitude, images.blend)]
    with jax.enable_x64(True):
        found = _blended_filter(filled[0], np.asarray(images.kernel), filled[1], filled[2])
        return np.asarray(found)[:ny, :nx]


def guess_norm(
    parts: Sequence[tuple[FitInputs, slice]], images: Sequence[BinImages] | None = None
) -> np.ndarray:
    """Guess the norm at every pixel: the flux of a matched filter over that of the reference."""
    # images: what is fitted; those with a kernel for every position have a filter for each too
    shape = parts[0][0].shape
    total, number = np.zeros(shape), np.zeros(shape)
    for index, (inputs, bins) in enumerate(parts):
        seen = inputs.at_positions(np.asarray((inputs.weights[bins] > 0).any(axis=0)))
        own = None if images is None else images[index]
        if own is not None and own.blended and own.places is None:
            total += np.where(seen, _blended_norm(own), 0.0)
            number += seen
            continue
        reference = inputs.flux[bins].sum()
        flux = inputs.at_positions(matched_flux(inputs, bins))
        if reference > 0:
            total += np.where(seen, flux / reference, 0.0)
            number += seen
    return total / np.maximum(number, 1)
