"""The fit of one pixel where one norm of the background is fitted too, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.line import line_errors
from gammagrad.core.norm.line_profile import LineProfile, deviance
from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.solve import Status


class Window(NamedTuple):
    """Sums over the window, that of the kernel or a wider one, for the norm of the background."""

    counts: Any
    background: Any
    stat: Any  # Cash statistic at the given background
    # 1 / sigma^2 for a background that is known to a relative error sigma, 0 for an unknown one
    known: Any

    @property
    def total(self) -> Any:
        """Counts, with those that stand for what is known of the background."""
        return self.counts + self.known

    @property
    def expected(self) -> Any:
        """Background, with what stands for what is known of it."""
        return self.background + self.known

    def stat_null(self) -> Array:
        """Return the statistic without a source, at the background's best norm."""
        # Cash's statistic at ``N / B`` times the background, less that at the background
        expected = self.expected
        safe = jnp.where(expected > 0, expected, 1)
        d = (self.counts - self.background) / safe
        empty = self.total <= 0
        gained = jnp.where(empty, expected, expected * deviance(jnp.where(empty, 1, d)))
        return self.stat - 2 * gained


EVEN = 1e-9
"""Relative spread of the contrasts below which model and background have the same shape."""


def is_even(ratio: Array, background_sum: Array, model_sum: Array) -> Array:
    """Tell whether the model has the shape of the background: their norms cannot be told apart."""
    # the lowest ratio of the norms is that of the steepest bin, and the mean of all
    return (ratio < 0) & (background_sum + ratio * model_sum <= EVEN * background_sum)


def norm_of(place: Array, window: Window, model_sum: Array) -> tuple[Array, Array]:
    """Return the norms of source and background at a place of the line."""
    expected = jnp.where(window.expected > 0, window.expected, 1)
    return place * window.total / model_sum, (1 - place) * window.total / expected


def free_status(
    *,
    at_bound: Array,
    zero_bound: Array,
    vanishes: Array,
    even: Array,
    open_: Array,
    has_model: Array,
    has_counts: Array,
    counts_on_zero: Array,
    error_at_bound: Array,
) -> Array:
    """Choose the status code of a fit with a norm of the background, elementwise."""
    # zero_bound: the physical bound is set by a bin without background
    code = jnp.where(error_at_bound & zero_bound, Status.LOWER_ERROR_AT_BOUND, Status.FITTED)
    code = jnp.where(at_bound, Status.AT_BOUND, code)
    code = jnp.where(~has_counts, Status.NO_COUNTS, code)
    code = jnp.where(at_bound & zero_bound, Status.ZERO_BACKGROUND_BOUND, code)
    code = jnp.where(vanishes, Status.BACKGROUND_VANISHES, code)
    code = jnp.where(counts_on_zero, Status.COUNTS_WITHOUT_BACKGROUND, code)
    code = jnp.where(open_, Status.NOT_CONVERGED, code)
    code = jnp.where(even, Status.BACKGROUND_UNDETERMINED, code)
    return jnp.where(~has_model, Status.NOT_FITTED, code).astype(jnp.int32)


def line_results(
    profile: LineProfile,
    gain: Array,
    window: Window,
    model_sum: Array,
    options: FitOptions,
) -> dict[str, Array]:
    """Return norms, their errors and the test statistic at the best place of a profile."""
    place, line = profile.best, profile.line
    norm, background_norm = norm_of(place, window, model_sum)
    expected = jnp.where(window.expected > 0, window.expected, 1)
    errors = line_errors(line, place, profile.sums_at_best, (expected, model_sum))
    known = window.known > 0
    # in units of what it is known to, or else of its error
    unit = jnp.where(known, 1 / jnp.sqrt(jnp.where(known, window.known, 1)), errors.background)
    usable = jnp.isfinite(unit) & (unit > 0)
    pull = jnp.where(usable, (background_norm - 1) / jnp.where(usable, unit, 1), 0)
    return {
        "norm": norm,
        "norm_err": options.n_sigma * errors.norm,
        "gained": jnp.maximum(2 * gain, 0),
        "background_norm": background_norm,
        "background_norm_err": options.n_sigma * errors.background,
        "background_norm_pull": pull,
        "background_norm_corr": errors.correlation,
    }


def line_intervals(
    profile: LineProfile,
    gained: Array,
    window: Window,
    model_sum: Array,
    options: FitOptions,
    selection: Sequence[str],
    *,
    guess: tuple[Array, Array] | None = None,
    exact: bool = False,
) -> dict[str, Array]:
    """Return asymmetric errors and the upper limit, from the exact profile."""
    # guess: a norm in place of the best fit, and how much the profile has risen there. exact: with
    # derivatives, and limits that start at any norm.
    one = jnp.ones_like(profile.best)
    norm, risen = (profile.best * window.total / model_sum, 0 * one) if guess is None else guess
    total = jnp.where(window.total > 0, window.total, 1)
    above, below = options.n_sigma**2 + risen, options.n_sigma_ul**2 + risen
    least = jnp.asarray(options.norm_min)
    if "ul" in selection:
        # limits start at `norm_min` where the best fit is below
        short = jnp.isfinite(least) & (norm < least)
        start = options.n_sigma_ul**2 + jnp.where(least == 0, gained, 0)
        if exact:
            base = jnp.where(short, least, norm) * model_sum / total
            place, _ = profile.frozen().at_norm(jax.lax.stop_gradient(base))
            start = options.n_sigma_ul**2 + profile.rise_of(place, base)
        below = jnp.where(short, start, below)
    wanted = {"norm_errp": (above, 1.0), "norm_errn": (above, -1.0), "norm_ul": (below, 1.0)}
    names = [n for n in wanted if ("ul" if n == "norm_ul" else "errn-errp") in selection]
    if not names:
        return {}
    targets = jnp.stack([wanted[name][0] * one for name in names])
    signs = jnp.asarray([wanted[name][1] for name in names], one.dtype)
    frozen = profile.frozen()
    # one after the other, by the same code
    fixed = jax.lax.stop_gradient(targets)
    places, norms = jax.lax.map(lambda asked: frozen.risen_to(*asked), (fixed, signs))
    if exact:
        norms = jnp.stack(
            [profile.norm_at(*asked) for asked in zip(places, targets, signs, strict=True)]
        )
    # without counts the statistic is a straight line on either side of 0
    straight = targets / (2 * model_sum)[None]
    ends = jnp.where(window.total[None] > 0, norms * (total / model_sum)[None], straight)
    found = dict(zip(names, ends, strict=True))
    if "norm_errp" in found:
        straight = -profile.line.bound * above / (2 * model_sum)
        lower = jnp.where(window.total > 0, norm - found["norm_errn"], straight)
        found["norm_errn"] = jnp.maximum(lower, 0)
        found["norm_errp"] = jnp.maximum(found["norm_errp"] - norm, 0)
    if "norm_ul" in found:
        none = jnp.maximum(least, 0) + found["norm_ul"]
        found["norm_ul"] = jnp.where(window.total > 0, found["norm_ul"], none)
    return found


def line_scan(
    profile: LineProfile,
    gained: Array,
    window: Window,
    model_sum: Array,
    values: Array,
    *,
    exact: bool = False,
) -> Array:
    """Return the profile at some norms less its value at norm 0; exact: with derivatives."""
    total = jnp.where(window.total > 0, window.total, 1)
    frozen, fixed = profile.frozen(), jax.lax.stop_gradient
    # without counts the background is as small as a source below 0 allows
    bound = profile.line.bound
    steep = jnp.where(bound < 0, 1 / jnp.where(bound < 0, bound, 1), -jnp.inf)

    def at(value: Array) -> Array:
        norm = value * model_sum / total
        place, rise = frozen.at_norm(fixed(norm) * jnp.ones_like(profile.best))
        rise = (profile.rise_of(place, norm) if exact else rise) - gained
        # exact at norm 0, also where counts have next to no background
        rise = jnp.where(value == 0, 0, rise)
        straight = 2 * value * model_sum * jnp.where(value >= 0, 1, steep)
        return jnp.where(window.total > 0, rise, straight)

    return jax.lax.map(at, values)
