"""ON and OFF counts as they are given to a fit: checks and weights."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._arrays import check_counts
from gammagrad._programs import is_traced
from gammagrad.errors import InputError


def checked_off(counts_off: Any, alpha: Any) -> tuple[Any, ...]:
    """Return OFF counts and acceptance ratios, or nothing without them; check known ones."""
    if counts_off is None and alpha is None:
        return ()
    for name, value in (("counts_off", counts_off), ("alpha", alpha)):
        if value is None:
            raise InputError(
                " is missing; expected both `counts_off` and `alpha`, the acceptance of ON over "
                "that of OFF, or neither.",
                name,
            )
    if is_traced(counts_off, alpha):
        return counts_off, alpha
    check_counts(counts_off)
    ratio, off = np.asarray(alpha), np.asarray(counts_off)
    if (ratio < 0).any():
        raise InputError(
            f" has values below 0, the least {ratio[ratio < 0].min():.4g}; expected ratios of the "
            "acceptance of ON and OFF above 0, or 0 where there is no OFF region.",
            "alpha",
        )
    if ratio.shape == off.shape and ((ratio == 0) & (off > 0)).any():
        raise InputError(
            f" is 0 in {np.count_nonzero((ratio == 0) & (off > 0))} bins with OFF counts; expected "
            "a ratio above 0 there. Set the OFF counts to NaN to leave the bins out.",
            "alpha",
        )
    return counts_off, alpha


def weighted_off(
    counts: Array, background: Array, model: Array, weights: Array, off: Array, alpha: Array
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Multiply flat bins by their weights; what is not known has none."""
    # The statistic of ON and OFF counts has the weight as a factor. That of weighted counts over a
    # known background lacks the last number for it.
    known = jnp.isfinite(background) & jnp.isfinite(counts) & jnp.isfinite(off)
    known &= jnp.isfinite(alpha) & (alpha >= 0) & ((alpha > 0) | (off <= 0))
    w = jnp.where(known, weights, jnp.zeros_like(weights)).reshape(-1)
    used = w > 0
    n, b, m, k = (
        jnp.where(used, w * jnp.where(used, a.reshape(-1), 0), 0)
        for a in (counts, background, model, off)
    )
    ratio = jnp.where(used, alpha.reshape(-1), 0)
    offset = 2 * (n * jnp.log(jnp.where(used, w, jnp.ones_like(w))))
    return n, b, m, k, ratio, jnp.where(ratio > 0, 0, offset).sum()
