"""A background image that cleans itself of sources: the loop over the exclusion mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._pytree import pytree
from gammagrad.core.convolve import convolve, erode
from gammagrad.core.lima import lima_significance_known_background

__all__ = ["KernelBackground", "disk_structure", "kernel_background"]

# An FFT leaves some ten roundings of (typical value x sum of the kernel) in pixels that are zero
_ROUNDINGS = 64


@pytree
class KernelBackground:
    """Result of `kernel_background`.

    Parameters
    ----------
    counts
        The counts that went in, shape (ny, nx).
    background
        Background counts per pixel, shape (ny, nx).
    exclusion
        Boolean mask, shape (ny, nx): true where a pixel is kept for the background.
    significance
        Significance, in standard deviations, shape (ny, nx), from which the mask was made: of the
        counts over the background that the last iteration started from, both summed under the
        source kernel. Where the loop converged that is `background` itself.
    niter
        Number of iterations done.
    converged
        Whether the last iteration left the mask as it was, with at least `niter_min` before it.
    """

    counts: Any
    background: Any
    exclusion: Any
    significance: Any
    niter: Any
    converged: Any


def disk_structure(radius: float) -> np.ndarray:
    """Return the footprint of a disc around its middle pixel.

    Parameters
    ----------
    radius
        Radius in pixels, at least 0. Pixels whose centre is not farther away belong to the disc;
        the comparison is taken literally, and ``0.3 / 0.05`` is a little less than 6.

    Returns
    -------
    numpy.ndarray
        Boolean, square, with an odd number of rows; one pixel for a radius below 1.

    Raises
    ------
    ValueError
        If the radius is negative or not finite.

    Examples
    --------
    >>> print(disk_structure(1.0).astype(int))
    [[0 1 0]
     [1 1 1]
     [0 1 0]]
    """
    if not 0 <= radius < np.inf:
        raise ValueError(f"radius must be a finite number of pixels, at least 0, got {radius}.")
    reach = int(radius)
    offset = np.arange(-reach, reach + 1)
    return offset[:, None] ** 2 + offset[None, :] ** 2 <= radius**2


def _clean(value: Array, image: Array, kernel: Array) -> Array:
    """Set the rounding noise of a convolution to zero, its slope left as it is.

    The image and the kernel must not be negative.
    """
    noise = jnp.sqrt(jnp.mean(lax.stop_gradient(image) ** 2)) * jnp.sum(lax.stop_gradient(kernel))
    noise = _ROUNDINGS * jnp.finfo(value.dtype).eps * noise
    return jnp.where(value > noise, value, value - lax.stop_gradient(value))


def _smooth(image: Array, kernel: Array) -> Array:
    return _clean(convolve(image, kernel), image, kernel)


def _ring(counts: Array, weight: Array, kernel: Array, otherwise: Array) -> Array:
    """Mean of the counts under the kernel, or `otherwise` where nothing under it has weight."""
    # both in one batch: the kernel is transformed but once
    both = jnp.stack([counts * weight, weight])
    summed, total = jax.vmap(_smooth, in_axes=(0, None))(both, kernel)
    seen = total > 0
    return jnp.where(seen, summed / jnp.where(seen, total, jnp.ones_like(total)), otherwise)


def _check(counts: Array, kernel_src: Array, kernel_bkg: Array, *others: ArrayLike | None) -> None:
    for array, name in ((counts, "counts"), (kernel_src, "kernel_src"), (kernel_bkg, "kernel_bkg")):
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"{name} must be a two-dimensional array, got shape {array.shape}.")
    if kernel_src.shape[0] % 2 == 0 or kernel_src.shape[1] % 2 == 0:
        raise ValueError(
            f"kernel_src must have an odd number of rows and columns, got {kernel_src.shape}: an "
            "even one has no middle pixel and would shift the significance; pad it by one."
        )
    for other, name in zip(others, ("background", "exclusion"), strict=True):
        if other is not None and np.shape(other) != counts.shape:
            raise ValueError(
                f"{name} must have the shape of counts, {counts.shape}, got {np.shape(other)}."
            )


def kernel_background(
    counts: ArrayLike,
    kernel_src: ArrayLike,
    kernel_bkg: ArrayLike,
    background: ArrayLike | None = None,
    exclusion: ArrayLike | None = None,
    significance_threshold: ArrayLike = 5.0,
    dilation_structure: ArrayLike | None = None,
    niter_min: ArrayLike = 2,
    niter_max: ArrayLike = 10,
) -> KernelBackground:
    """Estimate the background of an image, excluding the sources it finds until none is new.

    One iteration computes the significance of the counts over the last background, excludes
    pixels at or above the threshold and their surroundings, and takes the mean of the kept counts
    under the background kernel as the new background. Every iteration starts from the result of
    the one before. The loop ends after the iteration with zero-based number ``idx`` if that left
    the mask exactly as it was and ``idx >= niter_min``, or else after `niter_max` iterations.

    Parameters
    ----------
    counts
        Counts per pixel, at least 0, shape (ny, nx). A pixel that is not finite has no weight.
    kernel_src
        Shape of a source, not negative, odd numbers of rows and columns. It is scaled to a
        maximum of 1; only with values 0 and 1 are the sums under it Poisson counts and the
        significances true ones.
    kernel_bkg
        Kernel that averages the background, commonly a ring; not negative, any scale and shape.
    background
        Background counts per pixel to start from, shape (ny, nx). None, and pixels of it that are
        not finite, start from the mean of the kept counts under `kernel_bkg`.
    exclusion
        Mask to start from, shape (ny, nx): true where a pixel is kept. None keeps all.
    significance_threshold
        Significance from which on a pixel is excluded, in standard deviations.
    dilation_structure
        Footprint by which the excluded region grows, see `disk_structure`; None grows nothing.
    niter_min
        Number of iterations before convergence is tested.
    niter_max
        Largest number of iterations; goes before `niter_min`. With 0 the result is the start.

    Returns
    -------
    KernelBackground
        Background, mask, significance and how the loop ended.

    Raises
    ------
    ValueError
        If an argument is not an image, shapes differ, or `kernel_src` has an even side.

    Notes
    -----
    Outside of the image there is nothing: pixels there have no weight in the background, no
    counts and no background in the significance, and the excluded region does not grow in.

    Where every pixel under the background kernel is excluded its mean does not exist, and the last
    background is kept there. At the start, with no last background, it is the mean without the
    mask (and where the kernel does not meet the image at all, the mean of the image).

    The significance is the one that made the mask. After a loop that did not converge, that over
    the final background is the significance of a call with that background and ``niter_max=0``.

    The mask is piecewise constant in all arguments, so derivatives, forward and reverse, are those
    of background and significance at the final mask (where the loop did not converge, the
    significance's are at the mask before). They do not run through the loop: values kept from
    earlier iterations count as constants. `niter_min`, `niter_max` and the threshold may be
    traced, and all of it may be batched by `jax.vmap`.

    Convolutions as large as an FFT's rounding, some ten units in the last place of the image's
    typical value, count as zero.

    References
    ----------
    Li and Ma (1983), ApJ 272, 317, for the significance; Berge, Funk and Hinton (2007), A&A 466,
    1219, for the background from a ring.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> counts = jnp.full((20, 20), 42.0).at[10, 10].set(1000.0)
    >>> ring = jnp.ones((7, 7)).at[1:6, 1:6].set(0.0)
    >>> result = kernel_background(counts, jnp.ones((3, 3)), ring)
    >>> int(result.niter), bool(result.converged), int((~result.exclusion).sum())
    (3, True, 9)
    >>> print(f"{float(result.background[10, 10]):.3f}")
    42.000
    """
    counts, kernel_src, kernel_bkg = map(jnp.asarray, (counts, kernel_src, kernel_bkg))
    _check(counts, kernel_src, kernel_bkg, background, exclusion)
    if not jnp.issubdtype(counts.dtype, jnp.floating):
        counts = counts.astype(jnp.zeros(()).dtype)
    dtype = counts.dtype
    source, ring = kernel_src.astype(dtype), kernel_bkg.astype(dtype)
    source = source / jnp.max(source)
    threshold = jnp.asarray(significance_threshold).astype(dtype)
    structure = np.ones((1, 1), bool) if dilation_structure is None else dilation_structure

    finite = jnp.isfinite(counts)
    seen = finite.astype(dtype)
    clean = jnp.where(finite, counts, jnp.zeros_like(counts))
    given_mask = None if exclusion is None else jnp.asarray(exclusion).astype(bool)
    first_mask = jnp.ones(counts.shape, bool) if given_mask is None else given_mask
    first = _first_background(clean, seen, given_mask, ring, background)
    n_on = _smooth(clean, source)

    def significance_over(background: Array, n_on: Array, source: Array) -> Array:
        return lima_significance_known_background(n_on, _smooth(background * seen, source))

    last, niter, converged = _iterate(
        lambda b: significance_over(b, lax.stop_gradient(n_on), lax.stop_gradient(source)),
        lambda mask, b: _ring(
            lax.stop_gradient(clean), mask.astype(dtype) * seen, lax.stop_gradient(ring), b
        ),
        (lax.stop_gradient(first), first_mask),
        (threshold, jnp.asarray(structure)),
        (jnp.asarray(niter_min, jnp.int32), jnp.asarray(niter_max, jnp.int32)),
    )

    # once more at the masks found, outside of the loop: this is what has derivatives
    def rebuilt(background: Array, mask: Array, is_new: Array) -> Array:
        new = _ring(clean, mask.astype(dtype) * seen, ring, lax.stop_gradient(background))
        return jnp.where(is_new, new, first)

    final, before = jax.vmap(rebuilt)(
        jnp.stack([last.background, last.before]),
        jnp.stack([last.mask, last.mask_before]),
        jnp.stack([niter > 0, niter > 1]),
    )
    significance = significance_over(before, n_on, source)
    return KernelBackground(counts, final, last.mask, significance, niter, converged)


def _first_background(
    counts: Array, seen: Array, mask: Array | None, ring: Array, given: ArrayLike | None
) -> Array:
    """Return the background to start from, finite everywhere."""
    total = jnp.sum(seen)
    mean = jnp.sum(counts) / jnp.maximum(total, jnp.ones_like(total))
    own = _ring(counts, seen, ring, jnp.full(counts.shape, mean))
    if mask is not None:
        own = _ring(counts, seen * mask.astype(seen.dtype), ring, own)
    if given is None:
        return own
    given = jnp.asarray(given).astype(counts.dtype)
    return jnp.where(jnp.isfinite(given), given, own)


class _State(NamedTuple):
    """Background and mask as they are, and as they were one iteration before."""

    background: Array
    mask: Array
    before: Array
    mask_before: Array


def _iterate(
    significance_over: Callable[[Array], Array],
    background_outside: Callable[[Array, Array], Array],
    start: tuple[Array, Array],
    exclude: tuple[Array, Array],
    bounds: tuple[Array, Array],
) -> tuple[_State, Array, Array]:
    """Run the loop; return where it ended, after how many iterations, and whether it converged."""
    threshold, structure = exclude
    niter_min, niter_max = bounds

    def unfinished(carry: tuple[_State, Array, Array]) -> Array:
        _, niter, converged = carry
        return ~converged & (niter < niter_max)

    def iteration(carry: tuple[_State, Array, Array]) -> tuple[_State, Array, Array]:
        last, idx, _ = carry
        # a significance that is not a number keeps its pixel
        mask = erode(~(significance_over(last.background) >= threshold), structure)
        unchanged = jnp.all(mask == last.mask)
        background = background_outside(mask, last.background)
        state = _State(background, mask, last.background, last.mask)
        return state, idx + 1, unchanged & (idx >= niter_min)

    zero = jnp.zeros((), jnp.int32)
    return lax.while_loop(unfinished, iteration, (_State(*start, *start), zero, zero > 0))
