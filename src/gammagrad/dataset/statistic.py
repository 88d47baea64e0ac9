"""The Cash statistic of predicted counts, bin by bin and summed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad._programs import by_element, compiled
from gammagrad.core.stats import cash
from gammagrad.maps import Map

# compiled once for a shape, not once for each operation
_cash = compiled(cash)


def stat_of_bins(npred: Any, counts: Map, weights: Map | None) -> Any:
    """Return the weighted statistic of each bin: a JAX array unless the prediction is a map."""
    if not isinstance(npred, Map):
        observed = jnp.asarray(counts.data).astype(npred.dtype)
        if weights is None:
            return _cash(observed, npred)
        factors = jnp.asarray(weights.data).astype(npred.dtype)
        return weighted_cash(observed, npred, factors, factors > 0)
    with jax.enable_x64(True):
        stat = by_element(_cash, np.asarray(counts.data, dtype=float), npred.data)
    if weights is None:
        return stat
    # a bin without weight adds nothing, even if its values are NaN
    return np.multiply(weights.data, stat, out=np.zeros_like(stat), where=weights.data > 0)


def weighted_cash(counts: Any, npred: Any, weights: Any, used: Any) -> jax.Array:
    """Return the weighted statistic of the used bins, and 0 in other bins."""
    # also before the statistic, where zero times NaN would be the derivative
    counts = jnp.where(used, counts, jnp.zeros_like(npred))
    stat = _cash(counts, jnp.where(used, npred, jnp.ones_like(npred)))
    return jnp.where(used, weights * stat, jnp.zeros_like(stat))


def sum_of_bins(stat: np.ndarray, mask: Map | None) -> float:
    """Return the sum over the bins of a mask with a known statistic."""
    known = ~np.isnan(stat)
    return float(stat[known if mask is None else mask.data & known].sum())
