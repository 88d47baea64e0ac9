"""What comes out of a fit with several norms of the background."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.free import Window, free_status, is_even
from gammagrad.core.norm.line import NO_COUNTS
from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.result import NormFit, all_known
from gammagrad.core.norm.sensitivity import Lost, background_level, sensitivity
from gammagrad.core.norm.several import Groups, RatioSums, SeveralProfile, Sheet, ratio_terms
from gammagrad.core.norm.solve import Status
from gammagrad.core.stats import BACKGROUND_FLOOR, bin_ratio


def groups_of(
    windows: Window, seen: Array, model_sum: Array, bound: Array, gaussian: bool
) -> Groups:
    """Put together what is known of groups; `windows` have an axis of them in front."""
    # seen: counts with a model
    total, expected = windows.counts, windows.background
    if not gaussian:
        total, expected = windows.total, windows.expected
    unseen = total - seen
    unseen = jnp.where(unseen > NO_COUNTS * total, unseen, 0)
    prior = windows.known if gaussian else jnp.zeros_like(model_sum)
    return Groups(total, unseen, expected, prior, model_sum, bound)


def several_undetermined(groups: Groups) -> Array:
    """Tell whether the model has the shape of the background wherever it is, and nothing else."""
    even = is_even(groups.bound, groups.expected, groups.model_sum) & (groups.gaussian <= 0)
    has = groups.model_sum > 0
    return has.any(axis=0) & (even | ~has).all(axis=0)


_SMOOTH = 0.01
"""Step, in about errors, that is left to a best fit at most unless it is at a kink."""


def several_results(
    profile: SeveralProfile,
    windows: Window,
    found: tuple[Array, Array],
    options: FitOptions,
    selection: tuple[str, ...],
    scan_values: Array | None,
) -> dict[str, Array]:
    """Return norms, errors, limits and a scan; derivatives come from one step at the best fit."""
    norm, beta, sheet = _differentiable(profile, *found)
    curvature, follow, stiffness, gone = sheet.free
    curved = curvature > 0
    of_norm = jnp.where(curved, 2 / jnp.where(curved, curvature, 1), jnp.inf)
    stiff = (stiffness > 0) & ~gone
    own = jnp.where(stiff, 1 / jnp.where(stiff, stiffness, 1), 0)
    spread = jnp.where(curved, of_norm, 0)
    of_beta = own + follow**2 * spread[None]
    known = windows.known > 0
    error = jnp.sqrt(of_beta)
    unit = jnp.where(known, 1 / jnp.sqrt(jnp.where(known, windows.known, 1)), error)
    usable = unit > 0
    both = (spread[None] > 0) & (of_beta > 0)
    scale = jnp.sqrt(jnp.where(both, spread[None] / jnp.where(both, of_beta, 1), 0))
    results = {
        "norm": norm,
        "norm_err": options.n_sigma * jnp.sqrt(of_norm),
        "gained": jnp.maximum(-sheet.value, 0),
        "flat": sheet.curvature <= 0,
        "vanishes": gone.any(axis=0),
        "background_norm": beta,
        "background_norm_err": options.n_sigma * error,
        "background_norm_pull": jnp.where(usable, (beta - 1) / jnp.where(usable, unit, 1), 0),
        "background_norm_corr": follow * scale,
    }

    wanted = {name for name in selection if name in ("errn-errp", "ul")}
    if wanted:
        results |= _intervals(profile, sheet, norm, options, wanted)
    if "stat_scan" in selection and scan_values is not None:
        results["stat_scan"] = _scan(profile, sheet, scan_values)
    return results


class _End(NamedTuple):
    """An end of an interval: where it starts, how far the profile rises, and which way."""

    base: Array
    target: Array
    sign: Array


def _intervals(
    profile: SeveralProfile, sheet: Sheet, norm: Array, options: FitOptions, wanted: set[str]
) -> dict[str, Array]:
    """Return asymmetric errors and the upper limit."""
    fixed = jax.lax.stop_gradient
    frozen, still = profile.frozen(), fixed(sheet)
    one = jnp.ones_like(norm)
    asked: dict[str, _End] = {}
    if "errn-errp" in wanted:
        asked["norm_errp"] = _End(norm, options.n_sigma**2 * one, one)
        asked["norm_errn"] = _End(norm, options.n_sigma**2 * one, -one)
    if "ul" in wanted:
        least = jnp.asarray(options.norm_min)
        short = jnp.isfinite(least) & (norm < least)
        base = jnp.where(short, least, norm)
        there = frozen.betas(fixed(base), still.beta)
        start = profile.at(base, _beta_near(profile, base, there)).value - sheet.value
        level = options.n_sigma_ul**2 + jnp.where(short, start, 0)
        asked["norm_ul"] = _End(base, level, one)

    def search(end: _End) -> tuple[Array, Array, Array]:
        at = frozen.risen_to(still, *end)
        there = frozen.solved_at(at, still.beta)
        return at, there.beta, there.slope

    # one after the other, by the same code
    stacked = _End(*map(jnp.stack, zip(*asked.values(), strict=True)))
    searched = zip(*jax.lax.map(search, fixed(stacked)), strict=True)
    ends = {}
    for (name, end), (at, beta, slope) in zip(asked.items(), searched, strict=True):
        exact = profile.at(at, _beta_near(profile, at, beta))
        usable = jnp.isfinite(slope) & (slope != 0) & (at > frozen.lowest())
        missing = end.target - (exact.value - sheet.value)
        ends[name] = at + jnp.where(usable, missing / jnp.where(usable, slope, 1), 0)
    sides = {"norm_errp": 1, "norm_errn": -1}
    return {
        name: jnp.maximum(sides[name] * (end - norm), 0) if name in sides else end
        for name, end in ends.items()
    }


def _scan(profile: SeveralProfile, sheet: Sheet, values: Array) -> Array:
    """Return the profile at some norms; infinite below the lowest."""
    frozen = profile.frozen()
    lowest, beta = frozen.lowest(), jax.lax.stop_gradient(sheet.beta)

    def at(value: Array) -> Array:
        place = value * jnp.ones_like(lowest)
        near = frozen.betas(jnp.maximum(place, lowest), beta)
        there = profile.at(place, _beta_near(profile, place, near)).value
        return jnp.where(place < lowest, jnp.inf, there)

    return jax.lax.map(at, values)


def _beta_near(profile: SeveralProfile, norm: Array, beta: Array) -> Array:
    """Take one differentiable step to the best background norms at a norm."""
    fixed = jax.lax.stop_gradient
    groups, beta = profile.groups, fixed(beta)
    found = profile.sums(norm[None] / beta)
    pull = groups.rest(beta) - (groups.unseen + found.v1) / beta
    own = fixed((groups.unseen + found.v2) / beta**2 + groups.gaussian)
    least = groups.least(norm)
    held = (beta <= fixed(least) * (1 + 1e-9)) & (pull > 0)
    stiff = own > 0
    step = jnp.where(stiff, pull / jnp.where(stiff, own, 1), 0)
    # from just above its least value a step may lead below it
    return jnp.where(held, least, jnp.maximum(beta - step, least))


def _differentiable(
    profile: SeveralProfile, norm: Array, beta: Array
) -> tuple[Array, Array, Sheet]:
    """Take one differentiable step to the best fit: the implicit function theorem."""
    fixed = jax.lax.stop_gradient
    norm = fixed(norm)
    here = profile.at(norm, _beta_near(profile, norm, beta))
    slope, curvature = here.slope, fixed(here.curvature)
    curved = (curvature > 0) & (norm > profile.lowest())
    step = jnp.where(curved, -slope / jnp.where(curved, curvature, 1), 0)
    # at a kink the slope does not vanish, and there is nowhere to go
    smooth = fixed(step**2 * curvature) < _SMOOTH**2
    step = jnp.where(smooth, step, 0)
    moved = norm + step
    new = _beta_near(profile, moved, fixed(here.beta + here.follow * step[None]))
    return moved, new, profile.at(moved, new)


def lost_of(windows: Window, model_sum: Array) -> Lost:
    """Return what norms of the background take from a sensitivity."""
    # a Gaussian prior counts as the gamma prior of the same width
    expected = jnp.where(windows.expected > 0, windows.expected, 1)
    return Lost(background_level(windows), expected, model_sum)


class SeveralBins(NamedTuple):
    """One pixel's bins, by group."""

    counts: Array  # shape (groups, bins), of the bins with a model
    contrast: Array  # ``m / b``, shape (bins,)

    def sums(self, ratio: Array) -> RatioSums:
        """Return the sums of every group at its ratio of norms."""
        terms = ratio_terms(ratio[:, None], self.counts, self.contrast[None])
        return RatioSums(*(term.sum(axis=1) for term in terms))


def _by_group(bins: Array, member: Array) -> Array:
    """Sum bins by group."""
    return jnp.where(member, bins[None], 0).sum(axis=1)


def _profile_of(
    counts: Array,
    background: Array,
    model: Array,
    member: Array,
    of_groups: Array,
    windows: Window,
    gaussian: bool,
) -> SeveralProfile:
    """Return the profile of one pixel's bins."""
    # of_groups: sum of the model over each group
    has = model > 0
    own = member & has[None]
    exact = jnp.where(own, bin_ratio(background, model, floor=0.0)[None], jnp.inf)
    bound = jnp.where(of_groups > 0, -exact.min(axis=1), -1.0) + 0.0
    known = jnp.where(has, model / jnp.maximum(background, BACKGROUND_FLOOR), 0)
    bins = SeveralBins(jnp.where(own, counts[None], 0), known)
    groups = groups_of(windows, bins.counts.sum(axis=1), of_groups, bound, gaussian)
    return SeveralProfile(bins.sums, groups)


def fit_several_bins(
    counts: Array,
    background: Array,
    model: Array,
    member: Array,
    windows: Window,
    options: FitOptions,
    *,
    gaussian: bool,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
) -> NormFit:
    """Fit a source's norm and one of the background for each group to one pixel's bins."""
    # member: which bins are a group's, shape (groups, bins)
    has = model > 0
    of_groups, model_sum = _by_group(model, member), model.sum()
    has_model = model_sum > 0
    profile = _profile_of(counts, background, model, member, of_groups, windows, gaussian)
    groups, bound = profile.groups, profile.groups.bound
    frozen = profile.frozen()
    scale = jax.lax.stop_gradient(
        jnp.maximum(windows.counts.sum(), 1) ** 0.5 / jnp.where(has_model, model_sum, 1)
    )
    norm, beta, niter, open_ = frozen.minimum(scale)
    found = several_results(profile, windows, (norm, beta), options, selection, scan_values)
    gained, flat, vanishes = (found.pop(name) for name in ("gained", "flat", "vanishes"))
    if "sensitivity" in selection:
        found["norm_sensitivity"] = sensitivity(
            background, model, options, lost=lost_of(windows, of_groups)
        )
    even = (flat & (windows.counts.sum() > 0)) | several_undetermined(frozen.groups)
    counted = has & (counts > 0)
    zero_bound = ((of_groups > 0) & (bound >= 0)).any()
    status = free_status(
        at_bound=jnp.where(zero_bound, norm <= 0, frozen.held(norm, beta)),
        zero_bound=zero_bound,
        vanishes=vanishes,
        even=even,
        # without any counts the norms fall to 0, which has no end
        open_=open_ & (windows.total.sum() > 0),
        has_model=has_model,
        has_counts=counted.any(),
        counts_on_zero=(counted & (background <= 0)).any(),
        error_at_bound=gained <= options.n_sigma**2,
    )
    behind = (_by_group(background, member) * found["background_norm"]).sum()
    known_norm = has_model & ~even
    gained = jnp.where(known_norm, gained, 0)
    excess = found["norm"] * model_sum
    stat_null = several_stat_null(groups, windows, gaussian)
    lost = known_norm & ~all_known(found["norm"] + gained + stat_null + behind, found)
    return NormFit(
        **{name: jnp.where(known_norm, value, 0) for name, value in found.items()},
        ts=jnp.where(found["norm"] < 0, -gained, gained),
        stat=stat_null - gained,
        stat_null=stat_null,
        npred=behind + excess,
        npred_excess=excess,
        niter=niter,
        status=jnp.where(lost, Status.OUT_OF_RANGE, status),
    )


def several_stat_null(groups: Groups, windows: Window, gaussian: bool) -> Array:
    """Return the statistic without a source, at the backgrounds' best norms."""
    if not gaussian:
        return windows.stat_null().sum(axis=0)
    alone = groups.alone()
    n, b = windows.counts, windows.background
    log = jnp.log(jnp.where(alone > 0, alone, 1))
    own = windows.stat + 2 * ((alone - 1) * b - n * log) + windows.known * (alone - 1) ** 2
    return own.sum(axis=0)
