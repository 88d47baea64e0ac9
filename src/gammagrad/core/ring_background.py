"""What one iteration of the background loop computes: means under a ring, and significances."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.convolve import PreparedKernel, prepare_kernel
from gammagrad.core.lima import lima_significance_known_background
from gammagrad.core.ts_map import ts_map

__all__ = ["SIGNIFICANCES", "RingMean", "Scene", "make_scene"]

SIGNIFICANCES = ("lima", "cash")
"""Names of the significances that the mask can be made from."""

# An FFT leaves some ten roundings of (typical value x sum of the kernel) in pixels that are zero
_ROUNDINGS = 64


@pytree
class _Smoother:
    """A kernel that is not negative, for images that are not."""

    kernel: PreparedKernel
    total: Array

    def __call__(self, image: Array) -> Array:
        """Convolve, the rounding noise of an FFT set to zero, its slope left as it is."""
        value = self.kernel.convolve(image)
        if self.kernel.lengths is None:
            return value
        typical = jnp.sqrt(jnp.mean(lax.stop_gradient(image) ** 2))
        noise = _ROUNDINGS * jnp.finfo(value.dtype).eps * typical * lax.stop_gradient(self.total)
        return jnp.where(value > noise, value, value - lax.stop_gradient(value))


def _smoother(kernel: Array, shape: tuple[int, ...]) -> _Smoother:
    return _Smoother(prepare_kernel(kernel, shape), jnp.sum(kernel))


class RingMean(NamedTuple):
    """Background from the kept counts under the ring.

    Attributes
    ----------
    background
        Background counts per pixel.
    kept
        Where nothing under the ring has weight, so that another background was kept.
    """

    background: Array
    kept: Array


@pytree
class Scene:
    """What stays the same during the loop.

    Parameters
    ----------
    counts
        Counts per pixel, 0 where they are unknown.
    seen
        1 where counts are known, 0 where not.
    acceptance
        Relative number of background counts expected per pixel, 0 where unknown; None for 1.
    source
        Source kernel with a maximum of 1.
    smooth_source, smooth_ring
        The kernels, made ready.
    n_on
        Counts summed under the source kernel; None where the significance needs none.
    significance
        Name of the significance, of `SIGNIFICANCES`.
    """

    counts: Array
    seen: Array
    acceptance: Array | None
    source: Array
    smooth_source: _Smoother
    smooth_ring: _Smoother
    n_on: Array | None
    significance: str = static_field()

    def without_slopes(self) -> Scene:
        """Return the same for computations that nothing is differentiated through."""
        return lax.stop_gradient(self)

    def ring_mean(self, mask: Array | None, otherwise: Array) -> RingMean:
        """Return the mean of the counts under the ring, by acceptance.

        Parameters
        ----------
        mask
            True where a pixel is kept; None keeps all.
        otherwise
            Background where no pixel under the ring has weight.

        Returns
        -------
        RingMean
            The background, zero where the acceptance is.
        """
        weight = self.seen if mask is None else self.seen * mask.astype(self.seen.dtype)
        summed = self.smooth_ring(self.counts * weight)
        known = self.acceptance
        total = self.smooth_ring(weight if known is None else known * weight)
        found = total > 0
        mean = jnp.where(found, summed / jnp.where(found, total, jnp.ones_like(total)), otherwise)
        if known is None:
            return RingMean(mean, ~found)
        accepted = known > 0
        mean = jnp.where(found, known * mean, mean)
        return RingMean(jnp.where(accepted, mean, jnp.zeros_like(mean)), ~found & accepted)

    def first_background(self, mask: Array | None, given: ArrayLike | None) -> Array:
        """Return the background to start from, finite everywhere.

        Parameters
        ----------
        mask
            The mask to start from; None keeps all.
        given
            Background where it is finite; None for none.

        Returns
        -------
        Array
            Counts per pixel.
        """
        weight = self.seen if self.acceptance is None else self.seen * self.acceptance
        total = jnp.sum(weight)
        some = total > 0
        mean = jnp.sum(self.counts) / jnp.where(some, total, jnp.ones_like(total))
        level = jnp.full_like(self.counts, mean)
        if self.acceptance is not None:
            level = level * self.acceptance
        own = self.ring_mean(None, level).background
        if mask is not None:
            own = self.ring_mean(mask, own).background
        if given is None:
            return own
        start = jnp.asarray(given).astype(own.dtype)
        return jnp.where(jnp.isfinite(start), start, own)

    def significance_over(self, background: Array) -> Array:
        """Return the significance of the counts over a background.

        Parameters
        ----------
        background
            Background counts per pixel.

        Returns
        -------
        Array
            In standard deviations.
        """
        if self.n_on is None:
            return _cash_significance(self.counts, background, self.seen, self.source)
        return lima_significance_known_background(
            self.n_on, self.smooth_source(background * self.seen)
        )


def make_scene(
    counts: Array, source: Array, ring: Array, acceptance: ArrayLike | None, significance: str
) -> Scene:
    """Prepare all that stays the same during the loop.

    Parameters
    ----------
    counts
        Counts per pixel, floating.
    source, ring
        Source and background kernel, in the dtype of the counts.
    acceptance
        Acceptance per pixel, or None.
    significance
        Name of the significance.

    Returns
    -------
    Scene
        The scene. Pixels whose counts are not finite have no weight.
    """
    known = jnp.isfinite(counts)
    level = None
    if acceptance is not None:
        level = jnp.asarray(acceptance).astype(counts.dtype)
        level = jnp.where(jnp.isfinite(level), level, jnp.zeros_like(level))
    source = source / jnp.max(source)
    scene = Scene(
        jnp.where(known, counts, jnp.zeros_like(counts)),
        known.astype(counts.dtype),
        level,
        source,
        _smoother(source, counts.shape),
        _smoother(ring, counts.shape),
        None,
        significance,
    )
    if significance == "cash":
        return scene
    return replace(scene, n_on=scene.smooth_source(scene.counts))


def _cash_significance(counts: Array, background: Array, seen: Array, source: Array) -> Array:
    """Signed root of the test statistic of the norm fitted with the source kernel."""
    fit = ts_map(counts, background, jnp.ones_like(counts), source, seen)
    ts, err = jnp.asarray(fit.ts), jnp.asarray(fit.norm_err)
    # near norm 0 the root is norm / norm_err, and unlike the root has a slope there
    far = jnp.abs(ts) > jnp.finfo(ts.dtype).eps
    finite = ~far & (err > 0) & jnp.isfinite(err)
    root = jnp.sign(ts) * jnp.sqrt(jnp.where(far, jnp.abs(ts), jnp.ones_like(ts)))
    near = jnp.where(finite, jnp.asarray(fit.norm), jnp.zeros_like(ts))
    near = near / jnp.where(finite, err, jnp.ones_like(err))
    return jnp.where(far, root, near)
