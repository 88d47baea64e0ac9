"""The fit of one norm with a background norm for each of several groups of bins.

At a norm `x` every group has its best background norm ``beta``, and the statistic there is the
profile. It is convex in `x`, and its minimum, errors and limits are found in `x`. What enters are
sums over the bins of a group at the ratio ``u = x / beta``, with ``s = m / b`` and
``v = 1 / (1 + u s)``.

A background that is known to a relative error `sigma` has ``tau = 1 / sigma^2`` and the prior
``2 tau (beta - log beta)`` (gamma: as `tau` counts more, for as much background) or
``tau (beta - 1)^2`` (Gaussian).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.line_profile import excess_log
from gammagrad.core.stats import log1p_inside

_MOST_INNER, _MOST_OUTER = 40, 80

_SOME = 1e-3
"""Counts that a source of next to no norm must account for to be the start of a search."""

_CLOSE = 1e-9
"""Step, in errors, after which a search has ended."""


class Groups(NamedTuple):
    """What is known of the groups, with an axis of them in front; see the module."""

    total: Array  # counts in the window, with those of a gamma prior
    unseen: Array  # those among them where there is no model
    expected: Array  # background there, with that of a gamma prior
    gaussian: Array  # `tau` of a Gaussian prior, or 0
    model_sum: Array
    bound: Array  # norm at which, with beta = 1, the first prediction vanishes, <= 0

    def rest(self, beta: Array) -> Array:
        """Return half the derivative of background and prior: `B` and what `tau` adds."""
        return self.expected + self.gaussian * (beta - 1)

    def least(self, norm: Array) -> Array:
        """Return the smallest norms of the background at which no prediction is negative."""
        norm = norm[None]
        tiny = float(jnp.finfo(norm.dtype).eps) ** 0.75
        known = self.expected > 0
        typical = jnp.maximum(self.total, 1) / jnp.where(known, self.expected, 1)
        steep = jnp.where(self.bound < 0, self.bound, -1)
        # inside the domain of the logarithm; a group without a model has no bound
        bounded = (self.bound < 0) & (norm < 0) & (self.model_sum > 0)
        edge = jnp.where(bounded, norm / steep, 0)
        return jnp.maximum(edge * (1 + 4 * float(jnp.finfo(norm.dtype).eps)), tiny * typical)

    def alone(self) -> Array:
        """Return the best norms of the background without a source."""
        return self.root(self.total, 0 * self.total)

    def root(self, a: Array, c: Array) -> Array:
        """Solve ``a / (beta + c) = B + tau (beta - 1)``."""
        b0, k = self.expected - self.gaussian, self.gaussian
        safe = jnp.where(k > 0, k, 1)
        away = jnp.sqrt((b0 - k * c) ** 2 + 4 * k * a)
        curved = (away - (b0 + k * c)) / (2 * safe)
        straight = a / jnp.where(self.expected > 0, self.expected, 1) - c
        return jnp.where(k > 0, curved, straight)


class RatioSums(NamedTuple):
    """Sums over the counts with a model, for every group at its ratio of norms, see the module."""

    gain: Array  # ``sum n log(1 + u s)``
    # s1, s2: ``sum n s v`` and ``sum n s^2 v^2``
    s1: Array
    s2: Array
    # v1, v2, mixed: ``sum n v``, ``sum n v^2`` and ``sum n s v^2``
    v1: Array
    v2: Array
    mixed: Array


def ratio_terms(ratio: Array, counts: Array, contrast: Array) -> RatioSums:
    """Return one bin's share of the sums."""
    eps = jnp.finfo(contrast.dtype).eps
    z = ratio * contrast
    # a bin without counts that is at its bound has no share
    live = (1 + z > 4 * eps) | (counts > 0)
    z = jnp.where(live, jnp.maximum(z, -1 + eps), 0)
    v = jnp.where(live, 1 / (1 + z), 0)
    q, n = contrast * v, counts * v
    return RatioSums(counts * log1p_inside(z), n * contrast, n * contrast * q, n, n * v, n * q)


Sums = Callable[[Array], RatioSums]


def _meeting(low: Sequence[Array], high: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Return where the tangents at two norms meet, where they do, and where that is the upper."""
    # low, high: norm, value and slope; a straight line between them meets at an end
    between, jump = high[0] - low[0], high[2] - low[2]
    known = jnp.isfinite(between) & (jump > 0)
    way = jnp.where(known, low[1] - high[1] + high[2] * between, 0) / jnp.where(known, jump, 1)
    eps = float(jnp.finfo(jump.dtype).eps)
    return low[0] + way, known, known & (way >= (1 - 8 * eps) * between)


class FreeSheet(NamedTuple):
    """Second derivatives at a norm, were no prediction at its bound."""

    curvature: Array  # of the profile
    # of every group: the derivative of the background's norm by the norm, the curvature in it, and
    # whether the source takes all of its counts, so that its norm is not a parameter
    follow: Array
    stiffness: Array
    gone: Array


class Sheet(NamedTuple):
    """The profile at a norm."""

    value: Array  # statistic minus that without a source
    slope: Array
    curvature: Array
    # of every group: the background's norm, and its derivative by the norm
    beta: Array
    follow: Array
    free: FreeSheet


class SeveralProfile(NamedTuple):
    """The profile of one pixel, or of many side by side."""

    sums: Sums
    groups: Groups

    def frozen(self) -> SeveralProfile:
        """Return the same without derivatives."""
        fixed, sums = jax.lax.stop_gradient, self.sums
        return SeveralProfile(lambda ratio: fixed(sums(ratio)), fixed(self.groups))

    def betas(self, norm: Array, start: Array) -> Array:
        """Return the best norms of the background at a norm."""
        groups = self.groups
        least = groups.least(norm)

        def sweep(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            index, beta, open_ = state
            u = norm[None] / beta
            found = self.sums(u)
            first, second = groups.unseen + found.v1, groups.unseen + found.v2
            # the counts are replaced by one pole with the value and slope that they have here:
            # from anywhere a step lands at or below the root, and further ones climb to it
            known = second > 0
            ratio = first / jnp.where(known, second, 1)
            new = groups.root(
                jnp.where(known, first * ratio, 0), jnp.where(known, beta * (ratio - 1), 0)
            )
            new = jnp.maximum(jnp.where(jnp.isfinite(new), new, least), least)
            tolerance = 16 * float(jnp.finfo(beta.dtype).eps)
            going = open_ & (jnp.abs(new - beta) > tolerance * new)
            return index + 1, jnp.where(open_, new, beta), going

        def unsettled(state: tuple[Array, Array, Array]) -> Array:
            return (state[0] < _MOST_INNER) & state[2].any()

        first = jnp.maximum(start, least)
        known = (groups.expected > 0) | (groups.gaussian > 0)
        begin = (jnp.zeros((), jnp.int32), first, jnp.broadcast_to(known, first.shape))
        return jax.lax.while_loop(unsettled, sweep, begin)[1]

    def at(self, norm: Array, beta: Array) -> Sheet:
        """Return the profile at a norm whose background norms are known."""
        groups = self.groups
        least, alone = groups.least(norm), groups.alone()
        norm = norm[None]
        u = norm / beta
        gain, s1, s2, v1, v2, mixed = self.sums(u)
        n = groups.total
        pull = groups.rest(beta) - (groups.unseen + v1) / beta
        own = (groups.unseen + v2) / beta**2 + groups.gaussian
        mixed, mine = mixed / beta**2, s2 / beta**2
        # at the smallest norm the background follows its bound
        held = (beta <= least * (1 + 1e-9)) & (pull > 0)
        steep = jnp.where(groups.bound < 0, 1 / jnp.where(groups.bound < 0, groups.bound, -1), 0)
        stiff = own > 0
        free = -mixed / jnp.where(stiff, own, 1)
        follow = jnp.where(held, jnp.where(norm < 0, steep, 0), jnp.where(stiff, free, 0))
        part = beta / jnp.where(alone > 0, alone, 1)
        d = part - 1
        # ``1 + d`` would not know a small part
        small = d < -0.5
        lost = d - jnp.log(jnp.where(small, part, 1))
        lost = jnp.where(small, lost, excess_log(jnp.where(small, 0, d)))
        value = 2 * (n * lost + norm * groups.model_sum - gain)
        value = jnp.where(
            alone > 0, value, 2 * (groups.expected * beta + norm * groups.model_sum - gain)
        )
        value = value + groups.gaussian * (alone * d) ** 2
        slope = groups.model_sum - s1 / beta + jnp.where(held, follow * pull, 0)
        gone = held & (norm > 0)
        lean = jnp.where(stiff & ~gone, free, 0)
        # what rounding leaves of `mine` is nothing
        rounding = 64 * float(jnp.finfo(norm.dtype).eps) * mine
        curved = mine + follow * (2 * mixed + follow * own)
        curved = jnp.where(curved > rounding, curved, 0)
        rest = mine + lean * mixed
        rest = jnp.where(rest > rounding, rest, 0)
        return Sheet(
            value.sum(axis=0),
            2 * slope.sum(axis=0),
            2 * curved.sum(axis=0),
            beta,
            follow,
            FreeSheet(2 * rest.sum(axis=0), lean, own, gone & (n > 0)),
        )

    def solved_at(self, norm: Array, start: Array) -> Sheet:
        """Return the profile at a norm."""
        return self.at(norm, self.betas(norm, start))

    def held(self, norm: Array, beta: Array) -> Array:
        """Tell whether some background is at the smallest norm that a source below 0 allows."""
        least = self.groups.least(norm)
        return (norm < 0) & (beta <= least * (1 + 1e-9)).any(axis=0)

    def has_model(self) -> Array:
        """Tell where there is a norm to fit."""
        return self.groups.model_sum.sum(axis=0) > 0

    def lowest(self) -> Array:
        """Return the lowest norm: 0 where a bin without background has a model, or none."""
        bare = (self.groups.model_sum > 0) & (self.groups.bound >= 0)
        return jnp.where(bare.any(axis=0), 0.0, -jnp.inf)

    def start(self, scale: Array) -> Array:
        """Return where a search begins: 0, or what counts without background ask for at least."""
        # next to nothing of a source accounts for those; Newton's steps from 0 would double it
        little = 1e-9 * scale[None]
        alone = self.groups.alone()
        known = alone > 0
        u = jnp.where(known, little / jnp.where(known, alone, 1), 0)
        mine = (u * self.sums(u).s1).sum(axis=0)
        total = self.groups.model_sum.sum(axis=0)
        many = (mine > _SOME) & (total > 0)
        return jnp.where(many, mine / jnp.where(total > 0, total, 1), 0)

    def minimum(self, scale: Array) -> tuple[Array, Array, Array, Array]:
        """Return the best norm, its background norms, sweeps, and the width that is left."""
        # scale: about the size of a norm, for the first steps
        lowest = self.lowest()

        def sweep(state: tuple[Array, ...]) -> tuple[Array, ...]:
            index, norm, beta, width, before, open_, niter, *ends = state
            here = self.solved_at(norm, beta)
            falls = here.slope < 0
            now = (norm, here.value, here.slope)
            low = [jnp.where(falls, a, b) for a, b in zip(now, ends[:3], strict=True)]
            high = [jnp.where(falls, b, a) for a, b in zip(now, ends[3:], strict=True)]
            curved = here.curvature > 0
            step = -here.slope / jnp.where(curved, here.curvature, 1)
            step = jnp.where(curved, step, jnp.where(falls, scale, -scale))
            # as long as a side is open, steps may grow no faster than this
            most = 4 * (jnp.abs(norm) + scale)
            moved = jnp.maximum(norm + jnp.clip(step, -most, most), lowest)
            between = high[0] - low[0]
            closed = jnp.isfinite(between)
            middle = jnp.where(closed, 0.5 * (low[0] + high[0]), norm)
            at_lowest = (moved <= lowest) & (low[0] <= lowest)
            # Newton's long steps may go back and forth over a kink, which is where the tangents of
            # both sides meet; after another step comes Newton's
            climbs = (here.slope * before > 0) & (jnp.abs(here.slope) <= 0.5 * jnp.abs(before))
            short = jnp.abs(step) <= 0.1 * between
            astray = closed & (between > 0.5 * width) & ~climbs & ~short
            astray = (astray | (closed & ((moved <= low[0]) | (moved >= high[0])))) & ~at_lowest
            last = jnp.where(astray, jnp.inf, between)
            meet, known, at_end = _meeting(low, high)
            moved = jnp.where(astray, jnp.where(known & (index % 2 == 0), meet, middle), moved)
            inside = (moved > low[0]) & (moved < high[0])
            error = jnp.where(curved, jnp.sqrt(2 / jnp.where(curved, here.curvature, 1)), 0)
            tolerance = 8 * float(jnp.finfo(norm.dtype).eps) * jnp.abs(norm) + _CLOSE * error
            # a step that is lost in rounding does not leave an end of the bracket
            still = curved & (jnp.abs(step) <= tolerance)
            new = jnp.where(inside | at_lowest, moved, middle)
            new = jnp.where(still, norm, jnp.where(astray & at_end, high[0], new))
            small = still | (jnp.abs(new - norm) <= tolerance) | (between <= tolerance)
            small = small | (astray & at_end)
            going = open_ & ~small & ~(at_lowest & (norm == new))
            niter = jnp.where(going, index + 1, niter)
            new = jnp.where(open_, new, norm)
            return index + 1, new, here.beta, last, here.slope, going, niter, *low, *high

        def unsettled(state: tuple[Array, ...]) -> Array:
            return (state[0] < _MOST_OUTER) & state[5].any()

        zero = jnp.zeros_like(scale)
        endless = jnp.full_like(scale, jnp.inf)
        begin: Any = (
            *(jnp.zeros((), jnp.int32), self.start(scale), self.groups.alone(), endless, zero),
            *(self.has_model(), zero.astype(jnp.int32)),
            *(jnp.maximum(-endless, lowest), zero, -endless, endless, zero, endless),
        )
        _, norm, beta, _, _, going, niter, *_ = jax.lax.while_loop(unsettled, sweep, begin)
        return norm, self.betas(norm, beta), niter + 1, going

    def risen_to(self, best: Sheet, norm: Array, target: Array, sign: Array) -> Array:
        """Return the norm where the profile has risen by a target above its minimum."""
        lowest = self.lowest()
        curved = best.curvature > 0
        error = jnp.sqrt(2 * target / jnp.where(curved, best.curvature, 1))
        error = jnp.where(curved, error, target / (2 * self.groups.model_sum.sum(axis=0)))
        root = jnp.sqrt(target)

        def sweep(state: tuple[Array, ...]) -> tuple[Array, ...]:
            index, at, beta, near, far, open_ = state
            here = self.solved_at(at, beta)
            rise = here.value - best.value
            over = rise >= target
            near, far = jnp.where(over, near, at), jnp.where(over, at, far)
            value = jnp.sqrt(jnp.maximum(rise, 0))
            rate = sign * here.slope / (2 * jnp.where(value > 0, value, 1))
            step = sign * (root - value) / jnp.where(rate > 0, rate, 1)
            most = 2 * (jnp.abs(at - norm) + error)
            moved = at + jnp.clip(jnp.where(rate > 0, step, sign * most), -most, most)
            inside = (sign * (moved - near) > 0) & (sign * (far - moved) > 0)
            middle = 0.5 * (near + far)
            new = jnp.where(inside, moved, jnp.where(jnp.isfinite(middle), middle, moved))
            # the lowest norm may come first
            ends = (sign < 0) & (new <= lowest)
            new = jnp.where(ends, lowest, new)
            still = jnp.abs(new - at) <= 1e-9 * (jnp.abs(new - norm) + error)
            going = open_ & ~still & ~(ends & (at <= lowest))
            new = jnp.where(open_, new, at)
            return index + 1, new, here.beta, near, far, going

        def unsettled(state: tuple[Array, ...]) -> Array:
            return (state[0] < _MOST_OUTER) & state[5].any()

        start = jnp.maximum(norm + sign * error, jnp.where(sign < 0, lowest, -jnp.inf))
        first = (start, best.beta, norm, sign * jnp.full_like(norm, jnp.inf))
        begin: Any = (jnp.zeros((), jnp.int32), *first, self.has_model())
        found: Any = jax.lax.while_loop(unsettled, sweep, begin)
        return jnp.asarray(found[1])
