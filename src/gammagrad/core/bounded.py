"""Folding with bounded memory: windows of very many pixels, some energies at a time."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._pytree import replace
from gammagrad.core.convolve import PreparedKernel, prepare_kernel
from gammagrad.core.fold import FoldInputs, fold, fold_model, spatial_image
from gammagrad.core.place import prepare_point

__all__ = ["MAX_FINE_PIXELS", "fold_bounded", "prepare_psf"]

MAX_FINE_PIXELS = 4_000_000
"""Finer pixels of all energies that are folded at once."""


def fold_bounded(
    spectral: Any, spatial: Any, inputs: FoldInputs, max_pixels: int = MAX_FINE_PIXELS
) -> Array:
    """Predict the counts of a sky model in a window, as `fold_model`, in bounded memory.

    Derivatives in reverse mode predict each part again instead of keeping what it went through.

    Parameters
    ----------
    spectral, spatial, inputs
        As for `fold_model`.
    max_pixels
        Finer pixels, over all energies, that may be convolved at once; static.

    Returns
    -------
    Array
        Predicted counts, shape (n_reco, ny, nx).
    """
    step = _step(inputs, max_pixels)
    if step is None:
        return fold_model(spectral, spatial, inputs)
    return _in_parts(spectral, spatial, inputs, step)


def prepare_psf(inputs: FoldInputs, max_pixels: int = MAX_FINE_PIXELS) -> FoldInputs:
    """Make the PSF of a window ready for many predictions, if it is folded at once.

    Parameters
    ----------
    inputs
        The window, in numpy.
    max_pixels
        As for `fold_bounded`.

    Returns
    -------
    FoldInputs
        The same window. It is folded several times as fast, to the same counts; and not at once
        but in parts if its pixels are very many, for which the PSF stays as it is.
    """
    if inputs.psf is None or _step(inputs, max_pixels) is not None:
        return inputs
    shape, n = inputs.exposure.shape[1:], inputs.oversampling
    if inputs.kind == "point":
        return replace(inputs, psf=prepare_point(inputs.psf, shape, n, np))
    fine = (n * shape[0], n * shape[1])
    return replace(inputs, psf=prepare_kernel(inputs.psf, fine, xp=np))


def _step(inputs: FoldInputs, max_pixels: int) -> int | None:
    """Return how many energies to fold at a time; None for all."""
    if inputs.psf is None or inputs.kind == "point" or isinstance(inputs.psf, PreparedKernel):
        return None
    n, (ny, nx) = len(inputs.psf), inputs.exposure.shape[1:]
    n_parts = math.ceil(n / max(max_pixels // (ny * nx * inputs.oversampling**2), 1))
    return None if n_parts == 1 else math.ceil(n / n_parts)


def _in_parts(spectral: Any, spatial: Any, inputs: FoldInputs, step: int) -> Array:
    """Fold `step` energies of the PSF at a time."""
    edges = jnp.asarray(inputs.energy_edges)
    spectrum = jnp.asarray(spectral.integral(edges[:-1], edges[1:]))
    # an image of all energies is made once, those of each energy within the parts
    varies = inputs.kind == "template" and spatial.is_energy_dependent
    image = None if varies else spatial_image(spatial, inputs)

    @jax.checkpoint
    def one(psf: Any, spectrum: Any, exposure: Any, edisp: Any, middle: Any) -> Array:
        there = image
        if there is None:
            # two edges around each middle, so that the model is evaluated there
            here = replace(inputs, exposure=exposure, energy_edges=middle)
            there = spatial_image(spatial, here)
        return fold(
            spectrum,
            there,
            exposure,
            psf,
            edisp,
            psf_after_edisp=inputs.psf_after_edisp,
            oversampling=inputs.oversampling,
        )

    psf, exposure, edisp = (jnp.asarray(a) for a in (inputs.psf, inputs.exposure, inputs.edisp))
    if inputs.psf_after_edisp:
        parts = _split(psf, step), _split(edisp.T, step)
        counts = lax.map(lambda part: one(part[0], spectrum, exposure, part[1].T, edges), parts)
        return counts.reshape(-1, *counts.shape[2:])[: len(psf)]
    last = jnp.broadcast_to(edges[-1:], (-len(psf) % step,))
    padded = jnp.concatenate([edges, last])
    nodes = jnp.stack([padded[i : i + step + 1] for i in range(0, len(padded) - 1, step)])
    some = tuple(_split(a, step) for a in (psf, spectrum, exposure, edisp))
    zero = jnp.zeros((edisp.shape[1], *exposure.shape[1:]), jnp.result_type(spectrum, exposure))
    return lax.scan(lambda total, part: (total + one(*part), None), zero, (*some, nodes))[0]


def _split(values: Array, step: int) -> Array:
    """Cut an array into parts of one length, the last one filled up with zeros."""
    missing = -len(values) % step
    padded = jnp.pad(values, ((0, missing), *((0, 0),) * (values.ndim - 1)))
    return padded.reshape(-1, step, *values.shape[1:])
