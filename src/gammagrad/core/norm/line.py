"""The best fit where one norm of the background is fitted too, along a line.

With background ``beta b`` and model ``x m`` the predictions of a best fit add up to the sum `N` of
the counts, whatever ``x / beta``. On the line where they do, `B` and `M` being the sums of both,
``beta = N (1 - z) / B`` and ``x = N z / M``. A bin's prediction is there ``N / B`` times its
background times ``1 + z g``, where ``g = (m / b) (B / M) - 1`` is its *contrast* from the mean. So
best fit and test statistic are a fit of one number, with ``sum n log(1 + z g)`` at its largest; `z`
is the part of the counts that is the source's. A background that is known to a relative error
`sigma` is one bin more, of ``1 / sigma^2`` counts and as much background. What has no model is one
bin of contrast -1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.stats import BACKGROUND_FLOOR

MOST_SWEEPS = 60
"""Sweeps at most: nine closed the bracket in a million random windows, and each halves it."""


NO_COUNTS = 1e-12
"""Part of the counts up to which those without a model are none, but rounding."""


class LineSums(NamedTuple):
    """Sums over all counts at a place `z`, with ``r = g / (1 + z g)``."""

    t1: Array  # ``sum n r``, zero at the best fit
    t2: Array  # ``sum n r^2``


class Line(NamedTuple):
    """What is known of a pixel's line, or of many pixels'."""

    total: Array  # `N`: counts in the window, with those that stand for a constraint
    unseen: Array  # counts among them where there is no model
    # lowest, highest: contrasts of the bins with counts, -1 where counts have no model
    lowest: Array
    highest: Array
    bound: Array  # the place at which the prediction of some bin with a model vanishes, <= 0

    @property
    def top(self) -> Array:
        """The last place before the background's norm vanishes."""
        return jnp.full_like(self.total, 1 - jnp.finfo(self.total.dtype).eps)

    def inside(self) -> Array:
        """Return the lowest place, inside which predictions of bins with counts are positive."""
        steep = self.highest > 0
        pole = -(1 - 4 * jnp.finfo(self.total.dtype).eps) / jnp.where(steep, self.highest, 1)
        return jnp.maximum(self.bound, jnp.where(steep, pole, -jnp.inf))

    def with_unseen(self, t1: Array, t2: Array, place: Array) -> LineSums:
        """Add the counts without a model to the sums over the others."""
        r = -1 / (1 - place)
        return LineSums(t1 + self.unseen * r, t2 + self.unseen * r * r)


def contrasts(background: Array, model: Array, background_sum: Array, model_sum: Array) -> Array:
    """Return the contrasts of bins from the mean."""
    floor = jnp.maximum(background, BACKGROUND_FLOOR)
    return model / floor * (background_sum / model_sum) - 1


def place_of(ratio: Array, background_sum: Array, model_sum: Array) -> Array:
    """Return the place at which source and background have a ratio of norms."""
    total = background_sum + ratio * model_sum
    known = total > 0
    return jnp.where(known, ratio * model_sum / jnp.where(known, total, 1), -jnp.inf)


def start_terms(counts: Array, contrast: Array, total: Array) -> tuple[Array, Array]:
    """Return places between which one bin says that the best fit is."""
    # One bin's share of ``sum n / (1 + z g) = N`` cannot exceed the whole.
    seen = counts > 0
    up, down = seen & (contrast > 0), seen & (contrast < 0)
    g = jnp.where(up | down, contrast, 1)
    lower = (counts * (1 + g) - total) / (total * g)
    upper = (counts - total) / (total * g)
    return jnp.where(up, lower, -jnp.inf), jnp.where(down, upper, jnp.inf)


class Found(NamedTuple):
    """Where a search along a line ended."""

    place: Array
    lower: Array  # bounds of the best place
    upper: Array
    niter: Array


def closer(
    line: Line, sums: LineSums, place: Array, lower: Array, upper: Array
) -> tuple[Array, Array]:
    """Tighten the bounds of the best place by the sums at one."""
    # Both are proven, from ``-a <= r <= b`` for the bins with counts; each converges quadratically,
    # and together they at least halve the bracket.
    t1, t2 = sums
    n = line.total
    a = jnp.abs(line.lowest / (1 + place * line.lowest))
    b = line.highest / (1 + place * line.highest)
    below, above = t2 + a * t1, t2 - b * t1
    low = place + t1 * (1 + t1 / (n * a)) / jnp.where(below > 0, below, 1)
    high = place + t1 * (1 - t1 / (n * b)) / jnp.where(above > 0, above, 1)
    usable = jnp.isfinite(t1) & jnp.isfinite(t2)
    low = jnp.where(usable & (below > 0) & (a > 0) & jnp.isfinite(low), low, -jnp.inf)
    high = jnp.where(usable & (above > 0) & (b > 0) & jnp.isfinite(high), high, jnp.inf)
    low = jnp.where(t1 >= 0, jnp.maximum(low, place), low)
    high = jnp.where(t1 <= 0, jnp.minimum(high, place), high)
    return jnp.maximum(lower, low), jnp.minimum(upper, high)


def solve_line(
    sums: Callable[[Array], LineSums],
    line: Line,
    first: tuple[Array, Array],
    *,
    tolerance: float,
    n_sweeps: int = MOST_SWEEPS,
    start: Array | None = None,
    close: float = 0.0,
) -> Found:
    """Find the best place, between two bounds, to within a part of its error."""
    # `sums` has the counts with a model only; without a start it begins in the middle. A step of
    # Newton's that is shorter than `close`, in errors, is the last.
    least, top = line.inside(), line.top
    # where all counts are on one side of the mean, the best place is at an end
    lower = jnp.where(line.lowest >= 0, top, jnp.maximum(first[0], least))
    upper = jnp.where(line.highest <= 0, least, jnp.minimum(first[1], top))
    lower = jnp.where(line.highest <= 0, least, lower)
    upper = jnp.where(line.lowest >= 0, top, upper)

    def open_(lower: Array, upper: Array, t2: Array) -> Array:
        # what lies beyond an end is at the end
        width = jnp.minimum(upper, top) - jnp.maximum(lower, least)
        tiny = 4 * jnp.finfo(width.dtype).eps * jnp.maximum(jnp.abs(lower), jnp.abs(upper))
        return (width * jnp.sqrt(t2) > tolerance) & (width > tiny)

    def sweep(state: tuple[Array, ...]) -> tuple[Array, ...]:
        index, place, lower, upper, _, niter = state
        now = line.with_unseen(*sums(place), place)
        lower, upper = closer(line, now, place, lower, upper)
        middle = 0.5 * (jnp.maximum(lower, least) + jnp.minimum(upper, top))
        step = now.t1 / jnp.where(now.t2 > 0, now.t2, 1)
        near = (jnp.abs(step) * jnp.sqrt(now.t2) < close) & (now.t2 > 0)
        following = jnp.clip(jnp.where(near, place + step, middle), least, top)
        going = open_(lower, upper, now.t2) & ~near
        return index + 1, following, lower, upper, going, jnp.where(going, index + 1, niter)

    def unsettled(state: tuple[Array, ...]) -> Array:
        return (state[0] < n_sweeps) & state[4].any()

    zero = jnp.zeros_like(line.total)
    place = jnp.clip(0.5 * (lower + upper) if start is None else start, lower, upper)
    place = jnp.clip(place, least, top)
    first_index, none = jnp.zeros((), jnp.int32), zero.astype(jnp.int32)
    begin: Any = (first_index, place, lower, upper, zero == 0, none)
    _, place, lower, upper, _, niter = jax.lax.while_loop(unsettled, sweep, begin)
    return Found(place, lower, upper, niter + 1)


class LineErrors(NamedTuple):
    """Errors of one standard deviation, and the correlation, of norm and background norm."""

    norm: Array
    background: Array
    correlation: Array


def line_errors(line: Line, place: Array, sums: LineSums, scale: tuple[Array, Array]) -> LineErrors:
    """Return the errors at a best fit, from the curvature of the profile likelihood."""
    # scale: background sum and model sum. The likelihood has the second derivatives n, t1 and t2 in
    # the size of the prediction and in the place, the curvature along the line alone is too large.
    background_sum, model_sum = scale
    eps = float(jnp.finfo(place.dtype).eps)
    # without counts nothing is known
    n = jnp.where(line.total > 0, line.total, 1)
    # no background left: its norm is not a parameter any more
    gone = place >= line.top
    # but at the bound the slope vanishes; bins without background have no finite one
    sloped = (place <= line.inside()) & ~gone & jnp.isfinite(sums.t1) & jnp.isfinite(sums.t2)
    t1 = jnp.where(sloped, sums.t1, 0)
    steep = (sums.t2 > 0) & (line.total > 0)
    t2 = jnp.where(steep, sums.t2, 1)
    # ``1 - t1^2 / (n t2)``: 0 where the counts say nothing of the norm
    left = 1 - t1 / n * (t1 / t2)
    known = steep & (left > 64 * eps)
    left = jnp.where(known, left, 1)
    along = jnp.where(gone, 0, 1 / (t2 * left))
    size, shared = 1 / (n * left), jnp.where(gone, 0, -t1 / (n * t2 * left))
    rest = 1 - place
    of_norm = along + place**2 * size + 2 * place * shared
    of_background = along + rest**2 * size - 2 * rest * shared
    both = place * rest * size + (rest - place) * shared - along
    of_norm = jnp.where(known | gone, of_norm, jnp.inf)
    # a norm that is not known says nothing of the background
    of_background = jnp.where(known | gone, of_background, jnp.where(steep, rest**2 / n, jnp.inf))
    usable = known & (of_norm > 0) & (of_background > 0)
    product = jnp.where(usable, of_norm * of_background, 1)
    correlation = jnp.where(usable, both / jnp.sqrt(product), 0)
    return LineErrors(
        jnp.sqrt(of_norm) * n / model_sum, jnp.sqrt(of_background) * n / background_sum, correlation
    )
