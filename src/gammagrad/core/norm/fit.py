"""Fit of the norm of one pixel, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gammagrad._arrays import check_counts, takes_arrays
from gammagrad._programs import can_fill, compiled, fill, room
from gammagrad._pytree import replace
from gammagrad.core.norm.background import (
    WITH_OFF,
    BackgroundNorm,
    check_background,
    fit_with_background,
    knowledge,
    sums_of,
)
from gammagrad.core.norm.fixed_bins import fit_bins
from gammagrad.core.norm.on_off import fit_weighted_off
from gammagrad.core.norm.on_off_input import checked_off
from gammagrad.core.norm.options import (
    FitOptions,
    check_sweeps,
    checked_selection,
    make_options,
)
from gammagrad.core.norm.result import NormFit
from gammagrad.core.norm.solve import N_SWEEPS
from gammagrad.core.stats import cash
from gammagrad.errors import InputError


def floating(xp: Any, *arrays: ArrayLike) -> list[Any]:
    """Convert to arrays, of numpy or JAX, of the widest floating dtype among them."""
    converted = [xp.asarray(a) for a in arrays]
    # what JAX makes of a type: of double precision single, unless it is told otherwise
    known = (jax.dtypes.canonicalize_dtype(a.dtype) for a in converted)
    floats = [d for d in known if jnp.issubdtype(d, jnp.floating)]
    dtype = max(floats, key=lambda d: d.itemsize) if floats else jnp.result_type(float)
    return [a.astype(dtype) for a in converted]


@takes_arrays
def fit_norm(
    counts: ArrayLike,
    background: ArrayLike,
    model: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    counts_off: ArrayLike | None = None,
    alpha: ArrayLike | None = None,
    n_sigma: ArrayLike = 1.0,
    n_sigma_ul: ArrayLike = 2.0,
    n_sigma_sensitivity: ArrayLike = 5.0,
    selection_optional: str | Iterable[str] | None = None,
    norm_min: ArrayLike | None = None,
    scan_values: ArrayLike | None = None,
    gamma_min: ArrayLike = 0.0,
    bkg_syst_fraction: ArrayLike = 0.0,
    rtol: ArrayLike = 0.01,
    n_sweeps: int = N_SWEEPS,
    background_norm: str = "fixed",
    background_uncertainty: ArrayLike = 0.05,
    background_prior: str = "gamma",
    background_groups: ArrayLike | None = None,
) -> NormFit:
    """Fit the norm of a model to one set of Poisson counts.

    Maximises the likelihood of ``counts ~ Poisson(background + norm * model)`` over all norms for
    which no prediction is negative. Differentiable, forward and reverse, in every floating input,
    by the implicit function theorem.

    Parameters
    ----------
    counts
        Observed counts, any shape: bins of several energies or datasets may stand side by side.
        Not finite: no weight.
    background
        Expected counts of everything but the model, same shape, >= 0. Not finite: no weight.
    model
        Expected counts of the model at norm 1, same shape, >= 0.
    weights
        Weight of each bin in the likelihood, same shape; a mask is 0 and 1. None: all 1.
    counts_off, alpha
        Counts of OFF regions that measure the background, and the acceptance of each bin over that
        of its OFF region, same shape. The statistic is then `gammagrad.stats.wstat`, and
        `background` has the known signal alone, such as that of other sources. Bins with alpha 0
        have no OFF region: their background is known, as without these arguments. Not finite: no
        weight. None: no bin has one.
    n_sigma
        Number of standard deviations of `norm_err`, `norm_errp` and `norm_errn`.
    n_sigma_ul
        Standard deviations of the upper limit: 2 is 97.7 % one-sided, 1.645 is 95 %.
    n_sigma_sensitivity
        Significance that the sensitivity is for.
    selection_optional
        Optional outputs: "errn-errp", "ul", "stat_scan", "sensitivity", several, or "all" (static).
    norm_min
        Norm below which limits do not start: None for the physical bound, or 0.
    scan_values
        Norms at which the statistic is scanned.
    gamma_min
        Least number of source counts that the sensitivity asks for.
    bkg_syst_fraction
        Part of the background that the sensitivity takes to be uncertain.
    rtol
        Last step, in units of the error, above which the status is "not converged".
    n_sweeps
        Number of Newton sweeps (static).
    background_norm
        "fixed": the background is known. "free": its norm is fitted too. "constrained": so it is,
        and known to be 1 to `background_uncertainty`. All results are then those of the likelihood
        profile over the norm of the background.
    background_uncertainty
        Relative uncertainty of a constrained background, > 0; with groups one for each, or one.
    background_prior
        What is known of its norm beta: "gamma" (``tau (beta - log beta)`` with ``tau = 1 /
        uncertainty^2``, as an auxiliary Poisson measurement has it) or "gaussian"
        (``tau (beta - 1)^2 / 2``).
    background_groups
        Whole numbers from 0, of the shape of `counts`: every group of bins has a background norm of
        its own. None: one for all.

    Returns
    -------
    NormFit
        Scalars; `stat_scan` has one value per norm. With groups the fields of the background's norm
        have one value for each.

    Raises
    ------
    ValueError
        If the shapes differ, there is no bin, counts are above 2^53, alpha is negative, one of
        `counts_off` and `alpha` is missing, an option is out of its range, an optional output is
        not known, or a scan is asked for without its norms.

    Notes
    -----
    The statistic of ON and OFF counts has a kink at norm 0 if there are bins without any counts.
    Where it keeps the fit there is no derivative that vanishes: `norm_err` then is the mean of two
    steps, up and down, over which the parabola with the slope of that side rises by ``n_sigma^2``.
    Elsewhere this is the error from the curvature.

    References
    ----------
    Cash (1979), ApJ 228, 939, equation 5; Stewart (2009), A&A 495, 989, appendix A.

    Examples
    --------
    One bin: the norm makes the prediction equal to the counts.

    >>> fit = fit_norm(counts=[7.0], background=[2.0], model=[10.0])
    >>> round(float(fit.norm), 6)
    0.5

    A second bin without a model says how much more background there is than was expected:

    >>> fit = fit_norm([7.0, 3.0], [2.0, 2.0], [10.0, 0.0], background_norm="free")
    >>> round(float(fit.norm), 6), round(float(fit.background_norm), 6)
    (0.4, 1.5)

    The background measured in an OFF region:

    >>> fit = fit_norm([30.0], [0.0], [10.0], counts_off=[40.0], alpha=[0.25])
    >>> round(float(fit.norm), 6), round(float(fit.ts), 3)
    (2.0, 18.811)
    """
    may_fill = can_fill(counts, background, model, weights, counts_off, alpha)
    xp: Any = np if may_fill else jnp
    n, b, m, *off = floating(xp, counts, background, model, *checked_off(counts_off, alpha))
    w = xp.ones_like(n) if weights is None else xp.asarray(weights).astype(n.dtype)
    names = ("counts", "background", "model", "weights", "counts_off", "alpha")
    _check_shapes({name: a.shape for name, a in zip(names, (n, b, m, w, *off), strict=False)})
    check_counts(n, w)
    selection, values = checked_selection(selection_optional, scan_values, b.dtype)
    check_sweeps(n_sweeps)
    options = make_options(
        b.dtype,
        norm_min,
        n_sigma=n_sigma,
        n_sigma_ul=n_sigma_ul,
        n_sigma_sensitivity=n_sigma_sensitivity,
        rtol=rtol,
        gamma_min=gamma_min,
        bkg_syst_fraction=bkg_syst_fraction,
    )
    how = check_background(background_norm, background_prior, background_groups is not None)
    known = None if how is None else knowledge(background_norm, background_uncertainty)
    if how is not None and off:
        raise InputError(WITH_OFF)
    member, many = _groups(background_groups, n.shape, xp)
    known = None if known is None else jnp.broadcast_to(jnp.asarray(known, n.dtype), (many,))
    if may_fill:
        size = (room(n.size, few=2**16),)
        n, b, m, w, member, *off = (fill(a.reshape(-1), size) for a in (n, b, m, w, member, *off))
    return _fit_norm(
        *(n, b, m, w, member, known, options, values, tuple(off)),
        selection=selection,
        n_sweeps=n_sweeps,
        how=how,
    )


def _check_shapes(shapes: dict[str, tuple[int, ...]]) -> None:
    """Check that arrays have one shape, with a bin or more."""
    if len(set(shapes.values())) > 1 or 0 in shapes["counts"]:
        raise InputError(f"Arrays must share one shape and hold a bin or more, got {shapes}.")


def _groups(groups: ArrayLike | None, shape: tuple[int, ...], xp: Any) -> tuple[Any, int]:
    """Return the group of each bin, and how many there are."""
    if groups is None:
        return xp.zeros(shape, np.int32), 1
    values = np.asarray(groups)
    if values.shape != shape or values.dtype.kind not in "iu" or values.min(initial=0) < 0:
        raise InputError(
            f" have shape {values.shape} and type {values.dtype}; expected whole numbers from 0 "
            f"of the shape {shape} of the counts.",
            "background_groups",
        )
    return xp.asarray(values.astype(np.int32)), int(values.max(initial=0)) + 1


@compiled(static=("selection", "n_sweeps", "how"))
def _fit_norm(
    counts: Array,
    background: Array,
    model: Array,
    weights: Array,
    member: Array,
    knowledge: Array | None,
    options: FitOptions,
    scan_values: Array | None,
    off: tuple[Array, ...] = (),
    *,
    selection: tuple[str, ...],
    n_sweeps: int,
    how: BackgroundNorm | None,
) -> NormFit:
    """Apply the weights and fit."""
    known = jnp.isfinite(background) & jnp.isfinite(counts)
    if off:
        given = counts, background, model, weights, *off
        return NormFit(**fit_weighted_off(given, options, selection, scan_values))
    w = jnp.where(known, weights, jnp.zeros_like(weights))
    used = w > 0
    n, b, m = (
        jnp.where(used, w * jnp.where(used, a, 0), 0).reshape(-1)
        for a in (counts, background, model)
    )
    if how is None:
        fit = fit_bins(
            n, b, m, options, selection=selection, scan_values=scan_values, n_sweeps=n_sweeps
        )
    else:
        assert knowledge is not None
        flat = member.reshape(-1)
        windows = sums_of(n, b, cash(n, b), flat, knowledge)
        asked: dict[str, Any] = {"selection": selection, "scan_values": scan_values}
        fit = fit_with_background(n, b, m, windows, flat, options, how=how, **asked)
    # the statistic of weighted counts lacks this for being the weighted statistic of the counts
    lacking = 2 * (n * jnp.log(jnp.where(w > 0, w, jnp.ones_like(w)).reshape(-1))).sum()
    return replace(fit, stat=fit.stat + lacking, stat_null=fit.stat_null + lacking)
