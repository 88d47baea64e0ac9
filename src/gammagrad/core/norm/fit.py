"""Fit of the norm of one pixel, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gammagrad._arrays import check_counts, takes_arrays
from gammagrad._programs import can_fill, compiled, fill, room
from gammagrad._pytree import pytree, replace
from gammagrad.core.norm.intervals import ends_at_bound, interval_steps
from gammagrad.core.norm.on_off import fit_weighted_off
from gammagrad.core.norm.on_off_input import checked_off
from gammagrad.core.norm.options import (
    FitOptions,
    check_sweeps,
    checked_selection,
    make_options,
)
from gammagrad.core.norm.profile import (
    ProfileSums,
    lower_step,
    lowest_step,
    one_bin_rise,
    parabola_start,
    profile_terms,
    rise,
    upper_step,
)
from gammagrad.core.norm.sensitivity import sensitivity
from gammagrad.core.norm.solve import N_SWEEPS, Root, Status, lower_start, newton
from gammagrad.core.stats import ScoreSums, bin_ratio, cash, score_terms, ts_term
from gammagrad.errors import InputError


class PixelProfile(NamedTuple):
    """One pixel's bins, as the profile needs them."""

    counts: Array
    ratio: Array
    model_sum: Array

    def sums_from(self, base: Array) -> Callable[[Array], ProfileSums]:
        """Return the sums as a function of the step from a base norm."""
        shifted = base + self.ratio

        def sums(step: Array) -> ProfileSums:
            # bins without counts stay out of the derivatives: below the bound they may be negative
            return ProfileSums(*(t.sum() for t in profile_terms(step, self.counts, shifted)))

        return sums

    def ends_at(self, bound: Array, norm: Array, n_sigma: Array | float) -> Array:
        """Tell whether the physical bound lies within `n_sigma` below a best fit."""
        profile, base, step = jax.lax.stop_gradient((self, norm, bound - norm))
        return ends_at_bound(profile.sums_from(base), step, profile.model_sum, n_sigma**2)

    def up(self, base: Array, target: Array) -> Array:
        """Return the step upwards from a base over which the statistic rises by a target."""
        sums = self.sums_from(base)
        _, s1, s2 = sums(jnp.zeros_like(base))
        start = one_bin_rise(target, s1, s2, self.model_sum)
        return upper_step(sums, start, self.model_sum, target)

    def down(self, base: Array, target: Array, bound: Array) -> Array:
        """Return the step downwards from a best fit, or that to the physical bound."""
        sums, end = self.sums_from(base), bound - base
        _, s1, s2 = sums(jnp.zeros_like(base))
        proven = lowest_step(self.counts, base + self.ratio, self.model_sum, target)
        far = jnp.maximum(proven.max(initial=-jnp.inf), parabola_start(s2, target))
        start = one_bin_rise(target, s1, s2, self.model_sum, downwards=True)
        start = jnp.where(ends_at_bound(sums, end, self.model_sum, target), end, start)
        return lower_step(sums, start, far, end, self.model_sum, target)

    def end(self, base: Array, step: Array, target: Array | float) -> Array:
        """Return the norm at a solved step, with the root's derivatives."""
        fixed = jax.lax.stop_gradient
        # the empty bin that sets the bound has no finite derivative there: it is left out
        live = fixed(base + self.ratio) > 0
        seen = self._replace(ratio=jnp.where(live, self.ratio, jnp.inf))
        gain, s1, _ = seen.sums_from(base)(fixed(step))
        miss = rise(fixed(step), gain, self.model_sum) - target
        slope = fixed(2 * (self.model_sum - s1))
        usable = jnp.isfinite(slope) & (slope != 0)
        moved = jnp.where(usable, miss / jnp.where(usable, slope, jnp.ones_like(slope)), 0)
        return base + fixed(step) - moved

    def scan(self, values: Array, bound: Array) -> Array:
        """Return the statistic at some norms less that at norm 0."""

        def at(norm: Array) -> Array:
            gain = ts_term(norm, self.counts, self.ratio).sum()
            return jnp.where(norm < bound, jnp.inf, rise(norm, gain, self.model_sum))

        return jax.lax.map(at, values)


def pixel_intervals(
    profile: PixelProfile,
    norm: Array,
    bound: Array,
    options: FitOptions,
    selection: tuple[str, ...],
) -> dict[str, Array]:
    """Return errors and limits: steps solved without derivatives, then one step with them."""
    fixed = jax.lax.stop_gradient
    frozen, at, floor, steering = fixed((profile, norm, bound, options))
    occupied = frozen._replace(ratio=jnp.where(frozen.counts > 0, frozen.ratio, jnp.inf))
    steps = interval_steps(occupied, at, None, floor, steering, selection)
    found: dict[str, Array] = {}
    if steps.up is not None and steps.down is not None:
        target = options.n_sigma**2
        found["norm_errp"] = profile.end(norm, steps.up[1], target) - norm
        inside = steps.down[1] > floor - at
        lower = profile.end(norm, jnp.where(inside, steps.down[1], 0), target)
        found["norm_errn"] = jnp.maximum(norm - jnp.where(inside, lower, bound), 0)
    if steps.limit is not None:
        base = jnp.maximum(norm, options.norm_min)
        found["norm_ul"] = profile.end(base, steps.limit[1], options.n_sigma_ul**2)
    return found


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


def fit_status(
    *,
    norm: Array,
    bound: Array,
    has_model: Array,
    has_counts: Array,
    counts_on_zero: Array,
    error_at_bound: Array,
    last_step: Array,
    rtol: Array | float,
) -> Array:
    """Choose the status code of a fit, elementwise."""
    at_bound = norm <= bound
    code = jnp.where(error_at_bound, Status.LOWER_ERROR_AT_BOUND, Status.FITTED)
    code = jnp.where(at_bound, Status.AT_BOUND, code)
    code = jnp.where(~has_counts, Status.NO_COUNTS, code)
    code = jnp.where(at_bound & (bound == 0), Status.ZERO_BACKGROUND_BOUND, code)
    code = jnp.where(counts_on_zero, Status.COUNTS_WITHOUT_BACKGROUND, code)
    code = jnp.where(last_step > rtol, Status.NOT_CONVERGED, code)
    code = jnp.where(~has_model, Status.NOT_FITTED, code)
    return code.astype(jnp.int32)


def _live_sums(norm: Array, counts: Array, ratio: Array, live: Array) -> ScoreSums:
    """Sum the scores over the bins with a prediction, those without counts included."""
    terms = score_terms(norm, jnp.where(live, counts, 0), jnp.where(live, ratio, jnp.inf))
    return ScoreSums(*(term.sum() for term in terms))


def _solve_root(
    counts: Array, ratio: Array, model_sum: Array, bound: Array, rtol: Array | float, n_sweeps: int
) -> Root:
    """Solve for one pixel's norm; nothing of it is differentiated."""
    counts, ratio, model_sum, bound = jax.lax.stop_gradient((counts, ratio, model_sum, bound))
    occupied = jnp.where(counts > 0, ratio, jnp.inf)

    def sums(x: Array) -> ScoreSums:
        return ScoreSums(*(term.sum() for term in score_terms(x, counts, occupied)))

    proven = lower_start(counts, ratio, model_sum).max(initial=-jnp.inf)
    lower = jnp.maximum(bound, proven)
    start = jnp.maximum(lower, jnp.zeros_like(bound))
    return newton(sums, start, lower, model_sum, n_sweeps=n_sweeps, rtol=rtol)


def fit_bins(
    counts: Array,
    background: Array,
    model: Array,
    options: FitOptions,
    *,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
    n_sweeps: int = N_SWEEPS,
) -> NormFit:
    """Fit one pixel's flat list of weighted bins."""
    reached = model > 0
    model_sum = model.sum()
    has_model = model_sum > 0
    safe_sum = jnp.where(has_model, model_sum, jnp.ones_like(model_sum))
    ratio = bin_ratio(background, model)
    exact = bin_ratio(background, model, floor=0.0)
    bound = jnp.where(has_model, -exact.min(), jnp.zeros_like(model_sum)) + 0.0

    seen = jnp.where(reached, counts, 0)
    occupied = seen > 0
    root = _solve_root(seen, ratio, safe_sum, bound, options.rtol, n_sweeps)

    norm, s2 = _differentiable(root.norm, seen, ratio, exact, bound, safe_sum)
    safe_s2 = jnp.where(s2 > 0, s2, jnp.ones_like(s2))

    ts = 2 * (ts_term(norm, seen, ratio).sum() - norm * model_sum)
    ts = jnp.maximum(ts, 0)
    stat_null = cash(counts, background).sum()
    excess = norm * model_sum
    profile = PixelProfile(seen, ratio, safe_sum)
    status = fit_status(
        norm=norm,
        bound=bound,
        has_model=has_model,
        has_counts=occupied.any(),
        counts_on_zero=(occupied & (background <= 0)).any(),
        error_at_bound=profile.ends_at(bound, norm, options.n_sigma),
        last_step=root.last_step,
        rtol=options.rtol,
    )
    extras = pixel_intervals(profile, norm, bound, options, selection)
    if "sensitivity" in selection:
        extras["norm_sensitivity"] = sensitivity(background, model, options)
    if "stat_scan" in selection and scan_values is not None:
        extras["stat_scan"] = profile.scan(scan_values, bound)
    npred = background.sum() + excess
    lost = has_model & ~_all_known(norm + ts + stat_null + npred, extras)
    return NormFit(
        norm=norm,
        norm_err=jnp.where(s2 > 0, options.n_sigma / jnp.sqrt(safe_s2), jnp.inf),
        ts=jnp.where(norm < 0, -ts, ts),
        stat=stat_null - ts,
        stat_null=stat_null,
        npred=npred,
        npred_excess=excess,
        niter=jnp.where(occupied.any(), root.niter, 0),
        status=jnp.where(lost, Status.OUT_OF_RANGE, status),
        **{name: jnp.where(has_model, value, 0) for name, value in extras.items()},
    )


def _all_known(total: Array, extras: dict[str, Array]) -> Array:
    """Return whether a sum of results is finite, and no end of an interval is NaN."""
    known = jnp.isfinite(total)
    for name in ("norm_errp", "norm_errn", "norm_ul"):
        known = known & ~jnp.isnan(extras[name]) if name in extras else known
    return known


def _differentiable(
    solved: Array, counts: Array, ratio: Array, exact: Array, bound: Array, model_sum: Array
) -> tuple[Array, Array]:
    """Take one differentiable step from a solved norm: the implicit function theorem."""
    # Returns the norm and the sum ``S2`` there.
    fixed = jax.lax.stop_gradient
    at_root = fixed(solved)
    live = at_root + fixed(exact) > 0
    s1, s2 = _live_sums(at_root, counts, ratio, live)
    safe_s2 = jnp.where(s2 > 0, s2, jnp.ones_like(s2))
    step = jnp.where(s2 > 0, (s1 / safe_s2) * (s1 / model_sum - 1), jnp.zeros_like(s2))
    norm = jnp.where(at_root <= fixed(bound), bound, at_root + step)
    norm = jnp.maximum(norm, bound)
    return norm, _live_sums(norm, counts, ratio, live).s2


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

    Returns
    -------
    NormFit
        Scalars; `stat_scan` has one value per norm.

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

    The background measured in an OFF region:

    >>> fit = fit_norm([30.0], [0.0], [10.0], counts_off=[40.0], alpha=[0.25])
    >>> round(float(fit.norm), 6), round(float(fit.ts), 3)
    (2.0, 18.811)
    """
    may_fill = can_fill(counts, background, model, weights, counts_off, alpha)
    xp: Any = np if may_fill else jnp
    n, b, m, *off = floating(xp, counts, background, model, *checked_off(counts_off, alpha))
    w = xp.ones_like(n) if weights is None else xp.asarray(weights).astype(n.dtype)
    shapes = {"counts": n.shape, "background": b.shape, "model": m.shape, "weights": w.shape}
    shapes |= {name: a.shape for name, a in zip(("counts_off", "alpha"), off, strict=False)}
    if len(set(shapes.values())) > 1 or n.size == 0:
        raise InputError(f"Arrays must share one shape and hold a bin or more, got {shapes}.")
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
    if may_fill:
        row = (room(n.size, few=2**16),)
        n, b, m, w, *off = (fill(a.reshape(-1), row) for a in (n, b, m, w, *off))
    arrays = n, b, m, w, options, values, tuple(off)
    return _fit_norm(*arrays, selection=selection, n_sweeps=n_sweeps)


@compiled(static=("selection", "n_sweeps"))
def _fit_norm(
    counts: Array,
    background: Array,
    model: Array,
    weights: Array,
    options: FitOptions,
    scan_values: Array | None,
    off: tuple[Array, ...] = (),
    *,
    selection: tuple[str, ...],
    n_sweeps: int,
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
    fit = fit_bins(
        n, b, m, options, selection=selection, scan_values=scan_values, n_sweeps=n_sweeps
    )
    # the statistic of weighted counts lacks this for being the weighted statistic of the counts
    lacking = 2 * (n * jnp.log(jnp.where(w > 0, w, jnp.ones_like(w)).reshape(-1))).sum()
    return replace(fit, stat=fit.stat + lacking, stat_null=fit.stat_null + lacking)
