"""Images of ON and OFF counts: weights, sums over energies, checks of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from gammagrad._pytree import replace
from gammagrad.core.norm import checked_off
from gammagrad.core.ts_map.bins import BinImages, cube_bins, known_weights, summed_bins
from gammagrad.errors import InputError

Off = tuple[Array, Array] | None
"""OFF counts and acceptance ratios of a dataset; None where its background is known."""


def checked_offs(
    counts_off: Any, alpha: Any, shapes: Sequence[tuple[int, ...]], dtype: Any, xp: Any
) -> list[Off]:
    """Sort OFF counts and ratios by dataset, and compare their shapes with those of the counts."""
    lists = [
        [None] * len(shapes)
        if value is None
        else list(value)
        if isinstance(value, (list, tuple))
        else [value]
        for value in (counts_off, alpha)
    ]
    if any(len(some) != len(shapes) for some in lists):
        raise InputError(
            f"There are {len(lists[0])} arrays of counts_off and {len(lists[1])} of alpha; "
            f"expected {len(shapes)}, one per dataset, with None where the background is known."
        )
    found: list[Off] = []
    for off, ratio, shape in zip(*lists, shapes, strict=True):
        if off is None and ratio is None:
            found.append(None)
            continue
        pair = (xp.asarray(a).astype(dtype) for a in checked_off(off, ratio))
        k, a = (one[None] if one.ndim == 2 else one for one in pair)
        if k.shape != shape or a.shape != shape:
            raise InputError(
                f"counts_off has shape {k.shape} and alpha {a.shape}; expected that of the counts, "
                f"{shape}."
            )
        found.append((k, a))
    return found


def off_weights(weights: Array, off: Array, alpha: Array) -> Array:
    """Take the weight from bins whose OFF counts or ratio are not known."""
    known = known_weights(off, alpha, weights)
    return jnp.where((off >= 0) & (alpha > 0), known, jnp.zeros_like(weights))


def off_images(off: Array, alpha: Array, weights: Array, summed: bool) -> tuple[Array, Array]:
    """Return weighted OFF counts and the ratios, of every energy or summed over energies."""
    # The sum keeps the background that the OFF counts give, ``sum alpha k``.
    used = weights > 0
    k = jnp.where(used, weights * jnp.where(used, off, 0), 0)
    ratio = jnp.where(used, alpha, jnp.ones_like(alpha))
    if not summed:
        return k, ratio
    total = k.sum(axis=0, keepdims=True)
    amount = jnp.where(total > 0, k, weights)
    whole = amount.sum(axis=0, keepdims=True)
    mean = (amount * ratio).sum(axis=0, keepdims=True) / jnp.where(whole > 0, whole, 1)
    return total, jnp.where(whole > 0, mean, jnp.ones_like(mean))


def with_off(bins: Any, off: Array, alpha: Array, weights: Array, summed: bool) -> Any:
    """Add OFF counts to images whose weights they have been taken into account in."""
    k, ratio = off_images(off, alpha, weights.astype(bins.counts.dtype), summed)
    if isinstance(bins, BinImages):
        return replace(bins, counts_off=k, alpha=ratio)
    return bins._replace(counts_off=k, alpha=ratio)


def on_off_bins(
    counts: Array,
    counts_off: Array,
    alpha: Array,
    signal: Array,
    exposure: Array,
    kernel: Array,
    weights: Array,
    weighting: str | None = None,
) -> BinImages:
    """Make images of ON and OFF counts: of every energy, or summed over them; see `BinImages`."""
    w = known_weights(counts, signal, off_weights(weights, counts_off, alpha))
    cube = counts, signal, exposure, kernel, w
    bins = cube_bins(*cube) if weighting is None else summed_bins(*cube, weighting)
    found: BinImages = with_off(bins, counts_off, alpha, w, weighting is not None)
    return found
