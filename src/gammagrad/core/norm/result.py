"""What comes out of a norm fit, and the code of how it ended."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._pytree import pytree
from gammagrad.core.norm.solve import Status


@pytree
class NormFit:
    """Result of a norm fit: scalars for one pixel, arrays for a map.

    Attributes
    ----------
    norm
        Best-fit norm of the model, which it multiplies.
    norm_err
        Symmetric error from the curvature, `n_sigma` times; infinite without counts.
    ts
        Test statistic against norm 0, negative where the norm is.
    stat, stat_null
        Cash statistic at the best fit and at norm 0.
    npred, npred_excess
        Predicted counts in the kernel's window, and the model's share of them.
    niter
        Number of sweeps the solver needed.
    status
        Code from `gammagrad.core.norm.STATUS`. Where it says "not fitted" the other fields are
        zero: the host side paints them NaN.
    norm_errp, norm_errn
        Errors upwards and downwards, both >= 0, where the statistic has risen by ``n_sigma^2``.
        The lower one ends at the physical bound where that is reached first. None unless asked
        for, as all that follow.
    norm_ul
        Upper limit, where the statistic has risen by ``n_sigma_ul^2``.
    norm_sensitivity
        Norm at which a source on this background reaches `n_sigma_sensitivity`.
    stat_scan
        Statistic at given norms less that at norm 0, with the norms as a leading axis; infinite
        below the physical bound.
    background_norm, background_norm_err
        Best-fit norm of the background, and its error, `n_sigma` times. None unless it is fitted,
        as those that follow. A norm for every dataset or energy has a leading axis of them.
    background_norm_pull
        Deviation of that norm from 1, in units of what it is known to, or else of its error.
    background_norm_corr
        Correlation of the two norms.
    index, index_err, norm_index_corr, ts_index
        Fits of norm and index alone have these: index, its symmetric error, the correlation of the
        two, and the gain in `ts` over the fixed index. The first three are NaN where the index is
        not determined.
    """

    norm: Array | np.ndarray
    norm_err: Array | np.ndarray
    ts: Array | np.ndarray
    stat: Array | np.ndarray
    stat_null: Array | np.ndarray
    npred: Array | np.ndarray
    npred_excess: Array | np.ndarray
    niter: Array | np.ndarray
    status: Array | np.ndarray
    norm_errp: Array | np.ndarray | None = None
    norm_errn: Array | np.ndarray | None = None
    norm_ul: Array | np.ndarray | None = None
    norm_sensitivity: Array | np.ndarray | None = None
    stat_scan: Array | np.ndarray | None = None
    background_norm: Array | np.ndarray | None = None
    background_norm_err: Array | np.ndarray | None = None
    background_norm_pull: Array | np.ndarray | None = None
    background_norm_corr: Array | np.ndarray | None = None
    index: Array | np.ndarray | None = None
    index_err: Array | np.ndarray | None = None
    norm_index_corr: Array | np.ndarray | None = None
    ts_index: Array | np.ndarray | None = None


def fit_status(
    *,
    norm: Array | np.ndarray,
    bound: Array | np.ndarray,
    has_model: Array | np.ndarray,
    has_counts: Array | np.ndarray,
    counts_on_zero: Array | np.ndarray,
    error_at_bound: Array | np.ndarray,
    last_step: Array | np.ndarray,
    rtol: Array | np.ndarray | float,
    xp: Any = jnp,
) -> Any:
    """Choose the status code of a fit, elementwise."""
    at_bound = norm <= bound
    code = xp.where(error_at_bound, Status.LOWER_ERROR_AT_BOUND, Status.FITTED)
    code = xp.where(at_bound, Status.AT_BOUND, code)
    code = xp.where(~has_counts, Status.NO_COUNTS, code)
    code = xp.where(at_bound & (bound == 0), Status.ZERO_BACKGROUND_BOUND, code)
    code = xp.where(counts_on_zero, Status.COUNTS_WITHOUT_BACKGROUND, code)
    code = xp.where(last_step > rtol, Status.NOT_CONVERGED, code)
    code = xp.where(~has_model, Status.NOT_FITTED, code)
    return code.astype(xp.int32)


def all_known(total: Array, extras: dict[str, Array]) -> Array:
    """Return whether a sum of results is finite, and no end of an interval is NaN."""
    known = jnp.isfinite(total)
    for name in ("norm_errp", "norm_errn", "norm_ul"):
        known = known & ~jnp.isnan(extras[name]) if name in extras else known
    return known
