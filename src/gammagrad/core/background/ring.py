"""What one iteration of the background loop computes: means under a ring, and significances."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.images import PreparedKernel, kernel_inside, prepare_kernel
from gammagrad.core.stats import lima_of_sums
from gammagrad.core.ts_map import ts_map

SIGNIFICANCES = ("lima", "cash")
"""Names of the significances that the mask can be made from."""

# An FFT leaves some ten roundings of (typical value x sum of the kernel) in pixels that are zero
_ROUNDINGS = 64


@pytree
class Smoother:
    """A kernel that is not negative, made ready for images that are not."""

    values: Array  # the kernel
    kernel: PreparedKernel  # the same, made ready
    total: Array  # sum of the kernel

    @classmethod
    def create(cls, values: Array, shape: tuple[int, ...]) -> Smoother:
        """Prepare a kernel for images of a shape."""
        return cls(values, prepare_kernel(values, shape), jnp.sum(values))

    def noise(self, image: Array) -> Array:
        """Return what the convolution of an image may be where it should be zero."""
        if self.kernel.lengths is None:
            return jnp.zeros_like(self.total)
        typical = jnp.sqrt(jnp.mean(image**2))
        return lax.stop_gradient(_ROUNDINGS * jnp.finfo(image.dtype).eps * typical * self.total)

    def __call__(self, image: Array) -> Array:
        """Convolve, and set rounding noise to zero."""
        value = self.kernel.convolve(image)
        return value if self.kernel.lengths is None else cleaned(value, self.noise(image))


def cleaned(value: Array, noise: Array) -> Array:
    """Set rounding noise to zero, its slope left as it is."""
    return jnp.where(value > noise, value, value - lax.stop_gradient(value))


class RingSums(NamedTuple):
    """Sums under the ring before noise is taken off them."""

    counts: Array  # kept counts under the ring
    weight: Array  # kept pixels under the ring, times their acceptance
    noise: Array  # what either may be where it should be zero, shape (2,)


class RingMean(NamedTuple):
    """Background from the kept counts under the ring."""

    background: Array  # background counts per pixel
    kept: Array  # where nothing under the ring has weight, so that another background was kept


@pytree
class Scene:
    """What stays the same during the loop."""

    counts: Array  # counts per pixel, 0 where they are unknown
    seen: Array  # 1 where counts are known, 0 where not
    # relative number of background counts expected per pixel, 0 where unknown; None for 1
    acceptance: Array | None
    source: Smoother  # source kernel with a maximum of 1
    ring: Smoother  # background kernel
    whole_ring: Array  # sum of the ring around each pixel, as far as it lies inside the image
    n_on: Array | None  # counts summed under the source kernel; None if not known yet
    significance: str = static_field()  # name of the significance, of `SIGNIFICANCES`

    def ready(self) -> Scene:
        """Return the scene with all that the significance takes."""
        if self.significance == "cash":
            return self
        return replace(self, n_on=self.source(self.counts))

    def weights(self, mask: Array | None) -> tuple[Array, Array]:
        """Return the two images that are summed under the ring."""
        kept = self.seen if mask is None else self.seen * mask.astype(self.seen.dtype)
        return self.counts * kept, kept if self.acceptance is None else self.acceptance * kept

    def ring_sums(self, mask: Array | None) -> RingSums:
        """Sum what is kept under the ring."""
        counts, weight = self.weights(mask)
        noise = jnp.stack([self.ring.noise(counts), self.ring.noise(weight)])
        convolve = self.ring.kernel.convolve
        if mask is None and self.acceptance is None:
            total = lax.cond(
                jnp.all(self.seen > 0),
                lambda _: self.whole_ring,
                convolve,
                lax.stop_gradient(weight),
            )
        else:
            total = convolve(weight)
        return RingSums(convolve(counts), total, noise)

    def ring_mean(self, sums: RingSums, otherwise: Array) -> RingMean:
        """Return the mean of the counts under the ring, by acceptance."""
        summed = cleaned(sums.counts, sums.noise[0])
        total = cleaned(sums.weight, sums.noise[1])
        found = total > 0
        mean = summed / jnp.where(found, total, jnp.ones_like(total))
        known = self.acceptance
        if known is None:
            return RingMean(jnp.where(found, mean, otherwise), ~found)
        accepted = known > 0
        mean = jnp.where(found, known * mean, otherwise)
        return RingMean(jnp.where(accepted, mean, jnp.zeros_like(mean)), ~found & accepted)

    def first_background(self, mask: Array | None, given: Array | None) -> Array:
        """Return the background to start from, finite everywhere."""
        weight = self.seen if self.acceptance is None else self.seen * self.acceptance
        total = jnp.sum(weight)
        some = total > 0
        mean = jnp.sum(self.counts) / jnp.where(some, total, jnp.ones_like(total))
        level = jnp.full_like(self.counts, mean)
        if self.acceptance is not None:
            level = level * self.acceptance

        def own() -> Array:
            found = self.ring_mean(self.ring_sums(None), level).background
            if mask is not None:
                found = self.ring_mean(self.ring_sums(mask), found).background
            return found

        if given is None:
            return own()
        finite = jnp.isfinite(given)
        completed = lax.cond(jnp.all(finite), lambda: level, own)
        return jnp.where(finite, given, completed)

    def significance_over(self, background: Array) -> Array:
        """Return the significance of the counts over a background."""
        if self.n_on is None:
            return _cash_significance(self.counts, background, self.seen, self.source.values)
        return lima_of_sums(self.n_on, self.source(background * self.seen))


def make_scene(
    counts: Array, source: Array, ring: Array, acceptance: Array | None, significance: str
) -> Scene:
    """Prepare the kernels and the images, but for what `Scene.ready` adds."""
    known = jnp.isfinite(counts)
    level = None
    if acceptance is not None:
        level = jnp.where(jnp.isfinite(acceptance), acceptance, jnp.zeros_like(acceptance))
    return Scene(
        jnp.where(known, counts, jnp.zeros_like(counts)),
        known.astype(counts.dtype),
        level,
        Smoother.create(source / jnp.max(source), counts.shape),
        Smoother.create(ring, counts.shape),
        kernel_inside(ring, counts.shape),
        None,
        significance,
    )


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
