"""The W statistic of an ON/OFF dataset, and the background that fits best to predicted signals."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad._programs import by_element, compiled
from gammagrad.core.stats import wstat, wstat_background
from gammagrad.maps import Map

_wstat = compiled(wstat)
_background = compiled(wstat_background)


def w_of_bins(dataset: Any, signal: Any) -> Any:
    """Return the W statistic of each bin, NaN where no background is measured."""
    return _of_bins(_wstat, dataset, signal)


def off_prediction(dataset: Any, signal: Any) -> Any:
    """Return the OFF counts that fit best to ON and OFF counts and a signal."""
    return _of_bins(_background, dataset, signal)


def _of_bins(function: Any, dataset: Any, signal: Any) -> Any:
    """Return a function of counts, alpha and signal: a JAX array unless the signal is a map."""
    counts, off = (dataset.require(name).data for name in ("counts", "counts_off"))
    arrays = [np.asarray(values, dtype=float) for values in (counts, off, dataset.alpha.data)]
    if isinstance(signal, Map):
        with jax.enable_x64(True):
            return np.asarray(by_element(function, *arrays, signal.data))
    return function(*(jnp.asarray(values).astype(signal.dtype) for values in arrays), signal)


def weighted_w(stat: Any, weights: Map | None) -> Any:
    """Return a statistic times the weights of bins; one without weight adds nothing."""
    if weights is None:
        return stat
    used = weights.data > 0
    xp: Any = np if isinstance(stat, np.ndarray) else jnp
    return xp.where(used, weights.data * xp.where(used, stat, 0), 0)
