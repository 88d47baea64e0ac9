"""Gaussian responses in closed form, so that gradients reach the width of a PSF and a bias."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._arrays import takes_arrays
from gammagrad._programs import compiled
from gammagrad.errors import InputError

_NARROWEST = 0.01
"""Width in pixels below which all of a Gaussian is in one pixel, to the last bit."""

_THREE_PIXELS = 0.01
"""Variance in square pixels below which a narrow Gaussian reaches only its pixel's neighbours."""

_SHEPPARD = 1.2
"""Variance in square pixels above which summing over pixels adds 1/12 to it, and no more."""


@takes_arrays
def gaussian_psf(sigma: ArrayLike, shape: tuple[int, int], binsz: ArrayLike) -> Array:
    """Integrate round Gaussians over the pixels of kernels: PSFs of a width that can be fitted.

    Traced, and differentiable in `sigma` down to zero, where all of the kernel is in its middle
    pixel. The derivative there is zero: a fit has to start from a width that can be seen, a third
    of a pixel or more.

    Parameters
    ----------
    sigma
        Widths in deg, one per energy, shape (n,), or a number. The sign does not matter.
    shape
        Rows and columns of the kernels, odd; static.
    binsz
        Side of a pixel in deg.

    Returns
    -------
    Array
        Kernels of sum 1, shape (n, rows, cols), n = 1 for a number; in the dtype of `sigma`.

    Raises
    ------
    ValueError
        If the shape is not two odd numbers.

    Examples
    --------
    >>> print(gaussian_psf(0.05, (3, 3), 0.1).round(3)[0])
    [[0.025 0.108 0.025]
     [0.108 0.469 0.108]
     [0.025 0.108 0.025]]

    What is lost outside of the kernel is shared by all of its pixels:

    >>> round(float(gaussian_psf(0.05, (3, 3), 0.1).sum()), 6)
    1.0
    """
    rows, cols = _odd_shape(shape)
    widths = _widths(sigma, "sigma") / jnp.asarray(binsz).astype(_floating(sigma))
    return _round_kernels(widths, rows, cols)


@takes_arrays
def broaden_psf(kernels: ArrayLike, sigma: ArrayLike, binsz: ArrayLike) -> Array:
    """Convolve kernels with a Gaussian, to choose by how much a PSF has to be broadened.

    Traced, and differentiable in `sigma`. The variance of the kernels along either axis grows by
    ``sigma^2`` exactly, whatever the size of the pixels (but for what leaves the kernel), so that
    widths add in quadrature. Kernels that are nowhere negative stay so, and keep their sums: what
    would leave a kernel is shared by all of its pixels, so leave room for it.

    Parameters
    ----------
    kernels
        Kernels, shape (n, rows, cols) or (rows, cols).
    sigma
        Widths of the Gaussian in deg, one per kernel or one for all; the sign does not matter. At
        zero, where the kernels stay as they are, the derivative is zero: start from a width above
        it.
    binsz
        Side of a pixel in deg.

    Returns
    -------
    Array
        Kernels of the same shape, sums and dtype.

    Raises
    ------
    ValueError
        If kernels or widths have another shape.

    Examples
    --------
    >>> narrow = gaussian_psf(0.3, (15, 15), 0.1)
    >>> wide = broaden_psf(narrow, 0.4, 0.1)
    >>> bool(abs(wide - gaussian_psf(0.5, (15, 15), 0.1)).max() < 2e-4)
    True
    """
    kernels = jnp.asarray(kernels)
    if kernels.ndim not in (2, 3):
        raise InputError(
            f"kernels have shape {kernels.shape}; expected (rows, cols) or (n, rows, cols)."
        )
    stack = kernels.reshape(-1, *kernels.shape[-2:])
    widths = _widths(sigma, "sigma").astype(kernels.dtype)
    if widths.shape[0] not in (1, stack.shape[0]):
        raise InputError(
            f"sigma has {widths.shape[0]} widths for {stack.shape[0]} kernels; pass one for each, "
            "or one for all."
        )
    variance = (widths / jnp.asarray(binsz).astype(kernels.dtype)) ** 2
    return _spread_out(stack, variance).reshape(kernels.shape)


@takes_arrays
def gaussian_edisp(
    energy_true: ArrayLike, energy: ArrayLike, sigma: ArrayLike, bias: ArrayLike = 0.0
) -> Array:
    """Return the matrix of an energy dispersion that is Gaussian in ``energy / energy_true``.

    Each row is the mean over a bin of true energy, for a spectrum that falls with its square
    within the bin. Traced, and differentiable in `sigma` and `bias`: where `sigma` is zero too,
    when the matrix says which part of a true bin lies in each bin of reconstructed energy.

    Parameters
    ----------
    energy_true
        Edges of the bins of true energy in TeV, shape (n_true + 1,).
    energy
        Edges of the bins of reconstructed energy in TeV, shape (n_reco + 1,).
    sigma
        Standard deviation of ``energy / energy_true``, >= 0, a number or one per bin of true
        energy. Below zero it is taken to be zero.
    bias
        Mean of ``energy / energy_true``, less one; a number or one per bin of true energy.

    Returns
    -------
    Array
        Probability of a bin of reconstructed energy for each true one, shape (n_true, n_reco); in
        the dtype of `sigma`, or of the edges where it has none. Rows sum to less than 1 by what is
        found outside of all bins.

    Raises
    ------
    ValueError
        If edges, widths or biases have another shape.

    Examples
    --------
    >>> print(gaussian_edisp([1.0, 2.0, 4.0], [0.5, 1.0, 2.0, 4.0], 0.1).round(3))
    [[0.08 0.88 0.04]
     [0.   0.08 0.88]]
    """
    edges = [jnp.asarray(a) for a in (energy_true, energy)]
    for name, array in zip(("energy_true", "energy"), edges, strict=True):
        if array.ndim != 1 or array.size < 2:
            raise InputError(f"{name} has shape {array.shape}; expected the edges of its bins.")
    widths, biases = _widths(sigma, "sigma"), _widths(bias, "bias")
    dtype = jnp.promote_types(widths.dtype, biases.dtype)
    true, reco = (a.astype(dtype) for a in edges)
    n_true = true.size - 1
    for name, array in (("sigma", widths), ("bias", biases)):
        if array.size not in (1, n_true):
            raise InputError(
                f"{name} has {array.size} values for {n_true} bins of true energy; pass one for "
                "each, or one for all."
            )
    return _dispersion(true, reco, widths.astype(dtype), biases.astype(dtype))


def _floating(value: ArrayLike) -> np.dtype:
    """Return the dtype of a value if it has a floating one, else JAX's default."""
    array = jnp.asarray(value)
    return array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else jnp.zeros(()).dtype


def _widths(value: ArrayLike, name: str) -> Array:
    """Return a number or a list of them as a floating array of one dimension."""
    array = jnp.atleast_1d(jnp.asarray(value).astype(_floating(value)))
    if array.ndim != 1:
        raise InputError(f"{name} has shape {array.shape}; expected one value, or a list of them.")
    return array


def _odd_shape(shape: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(int(n) for n in shape)
    if len(sides) != 2 or any(n < 1 or n % 2 == 0 for n in sides):
        raise InputError(f"shape is {shape!r}; a kernel needs two odd sides, as in (11, 11).")
    return sides[0], sides[1]


@compiled(static=("rows", "cols"))
def _round_kernels(widths: Array, rows: int, cols: int) -> Array:
    """Return Gaussians of widths in pixels as kernels."""
    widths = jnp.maximum(jnp.abs(widths), jnp.asarray(_NARROWEST, widths.dtype))

    def side(n: int) -> Array:
        half = _pixel_integrals(widths, n // 2 + 1)
        both = jnp.concatenate([half[:, :0:-1], half], axis=1)
        return both / both.sum(axis=1, keepdims=True)

    return side(rows)[:, :, None] * side(cols)[:, None, :]


@compiled
def _spread_out(kernels: Array, variance: Array) -> Array:
    """Convolve kernels, (n, rows, cols), with Gaussians of a variance in pixels, (n,) or (1,)."""
    variance = jnp.broadcast_to(variance, kernels.shape[:1])
    down, across = (_spreading(variance, n) for n in kernels.shape[1:])
    exact = lax.Precision.HIGHEST
    wide = jnp.einsum("nij,njk->nik", down, kernels, precision=exact)
    wide = jnp.einsum("nik,nlk->nil", wide, across, precision=exact)
    total, kept = (a.sum(axis=(1, 2), keepdims=True) for a in (kernels, wide))
    return wide * (total / jnp.where(kept == 0, jnp.ones_like(kept), kept))


@compiled
def _dispersion(true: Array, reco: Array, sigma: Array, bias: Array) -> Array:
    """Return the matrix of `gaussian_edisp` from arrays of one dtype."""
    shape = (true.size - 1, reco.size)
    mean = 1 + jnp.broadcast_to(bias[:, None], shape)
    spread = jnp.broadcast_to(sigma[:, None], shape)
    # energy / energy_true of each edge, at the upper and the lower end of a true bin
    low, high = reco[None, :] / true[1:, None], reco[None, :] / true[:-1, None]
    below = _ramp(high - mean, spread) - _ramp(low - mean, spread)
    # probability to be found below an edge
    below = below / jnp.where(high > low, high - low, jnp.ones_like(high))
    return jnp.maximum(jnp.diff(below, axis=1), jnp.zeros((), true.dtype))


def _pixel_integrals(width: Array, n: int) -> Array:
    """Integrate Gaussians over the pixel in their middle and those on one side, shape (..., n)."""
    edges = jnp.asarray(np.arange(n) + 0.5, width.dtype)
    edges = edges.reshape((1,) * width.ndim + (n,))
    # tails, rather than what is inside of them: small numbers keep all their digits
    tails = 0.5 * lax.erfc(edges / (np.sqrt(2).astype(width.dtype) * width[..., None]))
    return jnp.concatenate([1 - 2 * tails[..., :1], tails[..., :-1] - tails[..., 1:]], axis=-1)


def _spreading(variance: Array, n: int) -> Array:
    """Return matrices that spread what n pixels hold, (kernels, n, n), by a variance in pixels."""
    # A Gaussian summed over pixels has a larger variance than before, by 1/12 where it is wide
    # (Sheppard's correction). A narrower one is taken, so that its sums have the variance asked
    # for.
    width = _narrower(variance)
    sums = _pixel_integrals(width, n)
    nearest = jnp.asarray(np.eye(n)[0] - 0.5 * (np.arange(n) == 1), variance.dtype)
    three = jnp.asarray(np.eye(n)[0], variance.dtype)[None, :] - variance[:, None] * nearest[None]
    sums = jnp.where((variance < _THREE_PIXELS)[:, None], three, sums)
    distance = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    return sums[:, distance]


def _narrower(variance: Array) -> Array:
    """Return the width of the Gaussian whose sums over pixels have a variance."""
    dtype = variance.dtype
    steps = np.arange(1, 11)
    edges = jnp.asarray(steps - 0.5, dtype)[None, :]
    weights = jnp.asarray(2 * steps - 1, dtype)[None, :]
    wide = variance > _SHEPPARD
    target = jnp.where(wide, jnp.ones_like(variance), variance)
    target = jnp.maximum(target, jnp.asarray(_THREE_PIXELS, dtype))

    def of_sums(width: Array) -> Array:
        root_two = np.sqrt(2).astype(dtype)
        return (weights * lax.erfc(edges / (root_two * width[:, None]))).sum(axis=1)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        above = of_sums(middle) > lax.stop_gradient(target)
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    ends = jnp.full_like(target, 0.15), jnp.full_like(target, 1.2)
    width, _ = lax.fori_loop(0, 30, halve, lax.stop_gradient(ends))
    # the derivatives of the root, by as many steps that can be differentiated
    for _ in range(2):
        value, slope = jax.jvp(of_sums, (width,), (jnp.ones_like(width),))
        width = width - (value - target) / slope
    sheppard = jnp.sqrt(jnp.where(wide, variance, jnp.ones_like(variance)) - 1 / 12)
    return jnp.where(wide, sheppard, width)


@jax.custom_jvp
def _ramp(distance: Array, sigma: Array) -> Array:
    """Return the positive part of a number, on average over a Gaussian: the integral of its CDF."""
    sigma, score = _score(distance, sigma)
    return distance * jax.scipy.special.ndtr(score) + sigma * _density(score)


@_ramp.defjvp
def _ramp_slopes(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    distance, sigma = primals
    slope, of_sigma = tangents
    _, score = _score(distance, sigma)
    tangent = jax.scipy.special.ndtr(score) * slope + _density(score) * of_sigma
    return _ramp(distance, sigma), tangent


def _score(distance: Array, sigma: Array) -> tuple[Array, Array]:
    """Return a width that one may divide by, and the distance in units of it."""
    sigma = jnp.maximum(sigma, jnp.asarray(1e-12, sigma.dtype))
    return sigma, distance / sigma


def _density(score: Array) -> Array:
    root = np.sqrt(2 * np.pi).astype(score.dtype)
    return jnp.exp(-0.5 * score**2) / root
