"""Fold a source with the instrument: flux, PSF, exposure and energy dispersion to counts."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._arrays import common_float, takes_arrays
from gammagrad._programs import compiled
from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.fold.place import block_sum, place_kernel, prepare_point, shared_sum
from gammagrad.core.images import PreparedKernel, prepare_kernel


@pytree
class FoldInputs:
    """What a prediction needs besides the model: arrays of one window on the sky."""

    # The window has (ny, nx) pixels. The spatial model is sampled on a block of (sy, sx) pixels in
    # its middle, ``oversampling * subsampling`` samples along each side of a pixel.

    # x, y: sample positions: longitude and latitude in deg in the model's frame, or pixel
    # coordinates of a template's grid; shape (sy n, sx n) with ``n = oversampling * subsampling``.
    # Pixel centres of the window, shape (ny, nx), for a point source.
    x: Any
    y: Any
    # solid angle of each sample in sr, its weight in the integral over a pixel; shape of `x`. Not
    # used for a point source.
    solid_angle: Any
    exposure: Any  # exposure in cm2 s, shape (n_true, ny, nx)
    energy_edges: Any  # edges of the true-energy bins in TeV, shape (n_true + 1,)
    # PSF kernels of sum 1 in pixels `oversampling` times finer, shape (n, ky, kx) with n bins of
    # true energy, or of energy if `psf_after_edisp`; or what `prepare_psf` made of them. None for a
    # perfect instrument.
    psf: Any
    edisp: Any  # energy dispersion matrix, shape (n_true, n_reco)
    # "extended", "point" (its image is placed between the pixels), "shared" (a point whose flux is
    # shared by four pixels before the PSF acts), "template" or "uniform" (the whole flux in every
    # pixel); static
    kind: str = static_field(default="extended")
    # how many times finer the PSF kernel's pixels are; odd, static
    oversampling: int = static_field(default=1)
    # samples along the side of each such finer pixel; static
    subsampling: int = static_field(default=1)
    # whether the PSF is one of reconstructed energy; static
    psf_after_edisp: bool = static_field(default=False)
    # whether samples are shared by the pixels around them, see `shared_sum`, else they count in the
    # middle of their own; static
    share: bool = static_field(default=False)
    # whether exposure is taken where the counts fall instead of where they come from, see `fold`;
    # not used for a "point"; static
    exposure_at_bins: bool = static_field(default=False)


def _spread(images: Array, factor: int) -> Array:
    """Repeat every pixel of a stack as a block."""
    return jnp.repeat(jnp.repeat(images, factor, axis=-2), factor, axis=-1)


@takes_arrays
def apply_edisp(counts: ArrayLike, edisp: ArrayLike) -> Array:
    """Sort counts from bins of true into bins of reconstructed energy.

    Parameters
    ----------
    counts
        Counts per bin of true energy, shape (n_true, ny, nx) or (n_true,).
    edisp
        Probability to be found in a bin of reconstructed energy, shape (n_true, n_reco).

    Returns
    -------
    Array
        Shape (n_reco, ny, nx) or (n_reco,).
    """
    return jnp.einsum("t...,tr->r...", counts, edisp, precision=lax.Precision.HIGHEST)


@takes_arrays
def fold(
    spectrum: ArrayLike,
    image: ArrayLike,
    exposure: ArrayLike,
    psf: ArrayLike | PreparedKernel | None = None,
    edisp: ArrayLike | None = None,
    *,
    psf_after_edisp: bool = False,
    oversampling: int = 1,
    exposure_at_bins: bool = False,
) -> Array:
    """Predict counts from a spectrum, an image of the source and the instrument's response.

    With a PSF of true energy: multiply the image by spectrum and exposure, convolve, sum the finer
    pixels, apply the energy dispersion. With one of reconstructed energy the PSF comes last.

    Parameters
    ----------
    spectrum
        Flux in every bin of true energy in cm-2 s-1, shape (n_true,).
    image
        Fraction of the flux in every pixel, shape (n, f ny, f nx) with f the oversampling and n
        either 1 (the same at all energies) or n_true.
    exposure
        Exposure in cm2 s, shape (n_true, ny, nx).
    psf
        Kernels of sum 1 on the finer pixels, shape (n_true, ky, kx), or (n_reco, ky, kx) if
        `psf_after_edisp`; odd sides; or these made ready by `prepare_kernel`. None: no PSF.
    edisp
        Energy dispersion, shape (n_true, n_reco). None: the two energies are the same.
    psf_after_edisp
        Whether the PSF is one of reconstructed energy; static.
    oversampling
        How many pixels of `image` lie along the side of a pixel of `exposure`; static.
    exposure_at_bins
        Whether to multiply by the exposure after the convolution with a PSF of true energy, as
        gammapy does. Right, and faster, where the exposure is the same at all pixels; static.

    Returns
    -------
    Array
        Predicted counts, shape (n_reco, ny, nx). Nothing comes in from outside the image.
    """
    spectrum, image, exposure = common_float(spectrum, image, exposure)
    per_flux = spectrum[:, None, None] * exposure

    def dispersed(counts: Array) -> Array:
        return counts if edisp is None else apply_edisp(counts, edisp)

    if psf is None:
        return dispersed(_times(block_sum(image, oversampling), per_flux))
    if psf_after_edisp:
        if image.shape[0] == 1:
            # the energy dispersion mixes energies only, so it may act on the coarser pixels
            counts = _times(image, _spread(dispersed(per_flux), oversampling))
        else:
            counts = dispersed(image * _spread(per_flux, oversampling))
        return block_sum(_blur(counts, psf), oversampling)
    if exposure_at_bins:
        return dispersed(_times(block_sum(_blur(image, psf), oversampling), per_flux))
    counts = _times(image, _spread(per_flux, oversampling))
    return dispersed(block_sum(_blur(counts, psf), oversampling))


def _blur(images: Array, psf: ArrayLike | PreparedKernel) -> Array:
    """Convolve one image or each of several with kernels of the PSF."""
    if not isinstance(psf, PreparedKernel):
        psf = prepare_kernel(jnp.asarray(psf).astype(images.dtype), images.shape[1:])
    return psf.convolve(images)


def _times(image: Array, cube: Array) -> Array:
    return jnp.broadcast_to(image, cube.shape) * cube


def npred(
    flux: ArrayLike,
    exposure: ArrayLike,
    psf: ArrayLike | None = None,
    edisp: ArrayLike | None = None,
    *,
    psf_after_edisp: bool = False,
    oversampling: int = 1,
) -> Array:
    """Predict counts from a cube of flux: `fold` with any energy dependence of the image."""
    flux = jnp.asarray(flux)
    return fold(
        jnp.ones(flux.shape[0], flux.dtype),
        flux,
        exposure,
        psf,
        edisp,
        psf_after_edisp=psf_after_edisp,
        oversampling=oversampling,
    )


def _bilinear_position(weights: Array) -> tuple[Array, Array]:
    """Return row and column of a source from its bilinear weights, which keep the centroid."""
    total = weights.sum()
    total = jnp.where(total > 0, total, jnp.ones_like(total))
    ny, nx = weights.shape
    rows, columns = jnp.arange(ny, dtype=weights.dtype), jnp.arange(nx, dtype=weights.dtype)
    return weights.sum(axis=1) @ rows / total, weights.sum(axis=0) @ columns / total


def _point_counts(weights: Array, spectrum: Array, inputs: FoldInputs) -> Array:
    """Predict the counts of a point source through a PSF."""
    y, x = _bilinear_position(weights)
    ny, nx = weights.shape
    images = place_kernel(inputs.psf, y, x, (ny, nx), inputs.oversampling)
    # nothing of a source outside the window, which has no weights
    at_source = jnp.sum(weights[None, :, :] * inputs.exposure, axis=(1, 2))
    if not inputs.psf_after_edisp:
        return apply_edisp(images * (spectrum * at_source)[:, None, None], inputs.edisp)
    return images * apply_edisp(spectrum * at_source, inputs.edisp)[:, None, None]


def spatial_image(spatial: Any, inputs: FoldInputs) -> Array:
    """Integrate a spatial model over the (finer) pixels of a window."""
    if inputs.kind == "uniform":
        exposure = jnp.asarray(inputs.exposure)
        return jnp.ones((1, *exposure.shape[1:]), exposure.dtype)
    if inputs.kind in ("point", "shared"):
        return jnp.asarray(spatial.weights(inputs.x, inputs.y))[None]
    if inputs.kind == "template":
        edges = jnp.asarray(inputs.energy_edges)
        middle = jnp.sqrt(edges[1:] * edges[:-1])
        values = spatial.evaluate(inputs.x, inputs.y, middle)
    else:
        values = spatial.evaluate(inputs.x, inputs.y)
    values = jnp.asarray(values)
    values = values if values.ndim == 3 else values[None]
    values = values * jnp.asarray(inputs.solid_angle)[None]
    add = shared_sum if inputs.share else block_sum
    image = add(values, inputs.subsampling)
    ny, nx = (n * inputs.oversampling for n in inputs.exposure.shape[1:])
    rows, columns = (ny - image.shape[1]) // 2, (nx - image.shape[2]) // 2
    margins = ((0, 0, 0), (rows, rows, 0), (columns, columns, 0))
    return lax.pad(image, jnp.zeros((), image.dtype), margins)


@compiled
def fold_model(spectral: Any, spatial: Any, inputs: FoldInputs) -> Array:
    """Predict the counts of a sky model in a window."""
    # Everything is traced: another model of the same kind, another PSF or another position of the
    # same shapes does not compile again.
    edges = jnp.asarray(inputs.energy_edges)
    spectrum = jnp.asarray(spectral.integral(edges[:-1], edges[1:]))
    image = spatial_image(spatial, inputs)
    if inputs.kind == "point" and inputs.psf is not None:
        return _point_counts(image[0], spectrum, inputs)
    return fold(
        spectrum,
        image,
        inputs.exposure,
        inputs.psf,
        inputs.edisp,
        psf_after_edisp=inputs.psf_after_edisp,
        oversampling=inputs.oversampling,
        exposure_at_bins=inputs.exposure_at_bins,
    )


MAX_FINE_PIXELS = 4_000_000
"""Finer pixels of all energies that are folded at once."""


def fold_bounded(
    spectral: Any, spatial: Any, inputs: FoldInputs, max_pixels: int = MAX_FINE_PIXELS
) -> Array:
    """Predict the counts of a sky model in a window, as `fold_model`, in bounded memory."""
    # Derivatives in reverse mode predict each part again instead of keeping what it went through.
    step = _step(inputs, max_pixels)
    if step is None:
        return fold_model(spectral, spatial, inputs)
    return _in_parts(spectral, spatial, inputs, step)


def prepare_psf(inputs: FoldInputs, max_pixels: int = MAX_FINE_PIXELS) -> FoldInputs:
    """Make the PSF of a window ready for many predictions, if it is folded at once."""
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
            exposure_at_bins=inputs.exposure_at_bins,
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
