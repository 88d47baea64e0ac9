"""Sums under the ring, updated where few pixels of the mask have changed."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from gammagrad.core.background.ring import RingSums, Scene

# Measured on two CPU cores, in seconds: a pixel of two convolutions by FFT; a changed pixel, and
# each pixel of the ring that it changes.
_FFT_PIXEL, _CHANGE, _CHANGE_PIXEL = 3.5e-8, 2e-6, 3.5e-9

_State = tuple[Array, tuple[Array, Array]]


def can_update(scene: Scene) -> bool:
    """Tell whether sums of a scene may be updated."""
    return bool(scene.counts.dtype == jnp.float64)


def _margins(scene: Scene) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the pixels by which a ring reaches beyond the image, before and after, by axis."""
    starts, shape = scene.ring.kernel.start, scene.ring.values.shape
    rows, cols = ((s, k - 1 - s) for s, k in zip(starts, shape, strict=True))
    return rows, cols


def blank_sums(scene: Scene) -> RingSums:
    """Return sums of nothing, with margins into which rings may reach."""
    dtype = scene.counts.dtype
    shape = [n + sum(m) for n, m in zip(scene.counts.shape, _margins(scene), strict=True)]
    blank = jnp.zeros(shape, dtype)
    return RingSums(blank, blank, jnp.zeros(2, dtype))


def inner_sums(scene: Scene, sums: RingSums) -> RingSums:
    """Return sums without their margins."""
    (top, _), (left, _) = _margins(scene)
    ny, nx = scene.counts.shape
    cut = (slice(top, top + ny), slice(left, left + nx))
    return RingSums(sums.counts[cut], sums.weight[cut], sums.noise)


def updated_sums(
    scene: Scene, sums: RingSums, mask: Array, changed: Array, in_row: Array, is_new: Array
) -> RingSums:
    """Return the sums for another mask."""
    (ny, nx), (ky, kx) = mask.shape, scene.ring.values.shape
    limit = int(_FFT_PIXEL * ny * nx / (_CHANGE + _CHANGE_PIXEL * ky * kx))

    def anew(_: RingSums) -> RingSums:
        made = scene.ring_sums(mask)
        margins = _margins(scene)
        return RingSums(jnp.pad(made.counts, margins), jnp.pad(made.weight, margins), made.noise)

    return lax.cond(
        is_new | (jnp.sum(in_row, dtype=jnp.int32) > limit),
        anew,
        lambda old: _changed_sums(scene, old, mask, changed, in_row),
        sums,
    )


def _changed_sums(
    scene: Scene, sums: RingSums, mask: Array, changed: Array, in_row: Array
) -> RingSums:
    """Add and take away the ring around each changed pixel."""
    ring = scene.ring.values
    images = scene.weights(None)
    rows = jnp.nonzero(in_row, size=len(in_row), fill_value=0)[0].astype(jnp.int32)
    cols = lax.iota(jnp.int32, changed.shape[1])

    def change_row(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        y = rows[i]
        of_row = changed[y]
        signs = jnp.where(mask[y], 1, -1).astype(ring.dtype)
        values = [image[y] * signs for image in images]

        def change(_: Array, state: _State) -> _State:
            x, sums = state
            x = jnp.argmax(of_row & (cols > x)).astype(jnp.int32)
            first, second = (
                lax.dynamic_update_slice(
                    total,
                    lax.dynamic_slice(total, (y, x), ring.shape) + value[x] * ring,
                    (y, x),
                )
                for total, value in zip(sums, values, strict=True)
            )
            return x, (first, second)

        return lax.fori_loop(0, in_row[y], change, (jnp.int32(-1), sums))[1]

    n_rows = jnp.sum(in_row > 0, dtype=jnp.int32)
    counts, weight = lax.fori_loop(0, n_rows, change_row, (sums.counts, sums.weight))
    return RingSums(counts, weight, sums.noise)
