"""The likelihood profile of a norm over that of the background, in closed form along the line.

At a place `z` of the line (see `line`) let ``T1 = sum n g / (1 + z g)``. The exact profile, where
the background's norm is fitted at each norm, has there the norm ``x = (N / M) z t`` with
``t = 1 - z T1 / N``, and above its minimum at `z0` it is
``P = -2 sum n log((1 + z g) / (1 + z0 g)) + 2 N (t - 1 - log t)``. Both rise away from the minimum,
and `P` is convex in `x`. Where the line ends at a bin without counts, the norms beyond are
``x = (N / M) z t`` with larger `t`, while `z` stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.line import Line, LineSums
from gammagrad.core.norm.profile import ProfileSums

_MOST = 60
"""Sweeps to the end of an interval at most: eleven sufficed in a study of random windows."""

_SETTLED = 1e-5
"""Relative step of the search after which the last step, in the norm, is exact to its square."""

_CLOSE = 0.02
"""Where `t - 1 - log t` is a series."""


class Along(NamedTuple):
    """The profile at a place of the line."""

    rise: Array  # above its minimum
    norm: Array  # x M / N
    stretch: Array  # t
    t1: Array
    per_place: Array  # derivative of `norm` by place, > 0


def excess_log(d: Array) -> Array:
    """Return ``d - log(1 + d)``, accurate near 0 too."""
    near = jnp.abs(d) < _CLOSE
    s = jnp.where(near, d, 0)
    series = jnp.zeros_like(s)
    for k in range(8, 1, -1):
        series = 1 / k - s * series
    series = s * s * series
    far = ~near & (d > -1) & (d < jnp.inf)
    inside = jnp.where(far, d, 1)
    return jnp.where(near, series, jnp.where(far, inside - jnp.log1p(inside), jnp.inf))


def deviance(d: Array) -> Array:
    """Return ``(1 + d) log(1 + d) - d`` for ``d >= -1``."""
    inside = jnp.where(d > -1, d, 0)
    return jnp.where(d > -1, inside * jnp.log1p(inside) - excess_log(inside), 1)


class LineProfile(NamedTuple):
    """The profile of one pixel, or of many side by side, seen from the best place."""

    sums: Callable[[Array], ProfileSums]  # of the bins with a model, at a step from `best`
    line: Line
    best: Array
    sums_at_best: LineSums  # of all counts

    def frozen(self) -> LineProfile:
        """Return the same without derivatives."""
        fixed, sums = jax.lax.stop_gradient, self.sums
        line, best, at_best = fixed((self.line, self.best, self.sums_at_best))
        return LineProfile(lambda step: fixed(sums(step)), line, best, at_best)

    def at(self, place: Array) -> Along:
        """Return the profile at a place."""
        line, step = self.line, place - self.best
        gain, s1, s2 = self.sums(step)
        eps = jnp.finfo(place.dtype).eps
        kept = jnp.maximum(-step / jnp.maximum(1 - self.best, eps), -1 + eps)
        gain = gain + line.unseen * jnp.log1p(kept)
        return self._along(place, gain, line.with_unseen(s1, s2, place))

    def at_best(self) -> Along:
        """Return the profile at the best place; above its minimum if that is an end of the line."""
        return self._along(self.best, jnp.zeros_like(self.best), self.sums_at_best)

    def _along(self, place: Array, gain: Array, sums: LineSums) -> Along:
        # at 0 sums that are infinite there count for nothing
        n, zero = self._total, place == 0
        t1, t2 = (jnp.where(zero, 0, a) for a in sums)
        away = -place * t1 / n
        return Along(
            rise=2 * (n * excess_log(away) - gain),
            norm=place * (1 + away),
            stretch=1 + away,
            t1=sums.t1,
            per_place=1 + (2 * away + place**2 * t2 / n),
        )

    @property
    def _total(self) -> Array:
        return jnp.where(self.line.total > 0, self.line.total, 1)

    def ends(self) -> tuple[Array, Array]:
        """Return the places at which the line ends."""
        return self.line.inside(), self.line.top

    def risen_to(self, target: Array, sign: Array) -> tuple[Array, Array]:
        """Return the place and the norm, as x M / N, where the profile has risen by a target."""
        # sign: 1 upwards, -1 downwards. Newton's steps on the square root of the rise, in the
        # logarithm of the distance to the end, between places too near and too far
        lower, upper = self.ends()
        end = jnp.where(sign > 0, upper, lower)
        along = 1 / jnp.maximum(self.sums_at_best.t2, jnp.finfo(end.dtype).tiny)
        # the step along the line that the parabola asks for
        reach = jnp.sqrt(target) * along / jnp.sqrt(along + self.best**2 / self._total)
        start = self.best + sign * jnp.minimum(reach, 0.9 * jnp.abs(end - self.best))
        root = jnp.sqrt(target)

        def sweep(state: _Searched) -> _Searched:
            index, place, near, far, _, _, _ = state
            now = self.at(place)
            over = now.rise >= target
            near, far = jnp.where(over, near, place), jnp.where(over, place, far)
            value = jnp.sqrt(jnp.maximum(now.rise, 0))
            slope = -2 * now.t1 * now.per_place / now.stretch
            distance = jnp.abs(end - place)
            # how fast the root rises with the logarithm
            rate = sign * slope * distance / (2 * jnp.where(value > 0, value, 1))
            step = (root - value) / jnp.where(rate > 0, rate, 1)
            moved = end - sign * distance * jnp.exp(-jnp.clip(step, -30, 30))
            inside = (rate > 0) & (sign * (moved - near) > 0) & (sign * (far - moved) > 0)
            following = jnp.where(inside & jnp.isfinite(moved), moved, 0.5 * (near + far))
            # the end comes first: where no counts hold it, the norm goes on there
            first = index == 0
            following = jnp.where(first, jnp.where(over, start, end), following)
            change = jnp.abs(following - place)
            tiny = 8 * jnp.finfo(place.dtype).eps * jnp.abs(place)
            going = (change > _SETTLED * jnp.abs(place - self.best)) & (jnp.abs(far - near) > tiny)
            going = jnp.where(first, over, going) & (place != following)
            norm = self._norm_near(now, place, target, sign)
            return _Searched(index + 1, following, near, far, place, norm, going)

        zero = jnp.zeros_like(end)
        begin = _Searched(jnp.zeros((), jnp.int32), end, self.best, end, end, zero, end == end)
        found = jax.lax.while_loop(_unsettled, sweep, begin)
        # The best place may be an end, from which norms go some way while the place stays. The
        # place that a last sweep moves to is closer than that which it looked at.
        best = self.at_best()
        stays = target <= best.rise
        place = jnp.where(stays, self.best, found.place)
        norm = jnp.where(stays, self._norm_near(best, self.best, target, sign), found.value)
        return place, norm

    def norm_at(self, place: Array, target: Array, sign: Array) -> Array:
        """Return the norm, as x M / N, where the profile has risen by a target, near a place."""
        # with derivatives, by the implicit function theorem
        place = jax.lax.stop_gradient(place)
        return self._norm_near(self.at(place), place, target, sign)

    def _norm_near(self, now: Along, place: Array, target: Array, sign: Array) -> Array:
        """Take the last step to the norm where the profile has risen by a target."""
        lower, upper = self.ends()
        slope = jax.lax.stop_gradient(-2 * now.t1 / now.stretch)
        usable = jnp.isfinite(slope) & (slope != 0)
        missing = target - now.rise
        step = jnp.where(usable, missing / jnp.where(usable, slope, 1), 0)
        # an end that no counts hold: the norm goes on while the place stays
        near, far = jnp.where(sign > 0, lower, upper), jnp.where(sign > 0, upper, lower)
        out = (place == far) & ((missing > 0) | (place == self.best))
        back = (place == near) & (missing < 0)
        held = (out | back) & jnp.isfinite(now.stretch) & (now.stretch > 0)
        away = excess_log(jnp.where(held, now.stretch, 1) - 1)
        level = jnp.where(held, missing / (2 * self._total) + away, 1)
        # back from the bound of the norm, or out: to a smaller or a larger stretch
        stretch = stretched(level, jnp.where(back, -1.0, 1.0).astype(level.dtype))
        return jnp.where(held, place * stretch, now.norm + step)

    def at_norm(self, norm: Array) -> tuple[Array, Array]:
        """Return place and rise of a norm, given as x M / N; beyond an end of the line that end."""
        lower, upper = self.ends()
        best = self.at_best().norm
        up = norm >= best
        end = jnp.where(up, upper, lower)
        # the norm is about linear in one over the distance to the end, from either side
        away, wide = jnp.abs(norm - best), jnp.abs(end - self.best)
        start = self.best + (end - self.best) * away / jnp.where(away + wide > 0, away + wide, 1)

        def sweep(state: _Searched) -> _Searched:
            index, place, near, far, _, _, _ = state
            now = self.at(place)
            short = (now.norm < norm) == up
            near, far = jnp.where(short, place, near), jnp.where(short, far, place)
            distance = jnp.abs(end - place)
            step = (norm - now.norm) / now.per_place
            moved = place + step / (1 + jnp.abs(step) / jnp.where(distance > 0, distance, 1))
            inside = (moved - near) * (far - moved) > 0
            following = jnp.where(inside & jnp.isfinite(moved), moved, 0.5 * (near + far))
            first = index == 0
            beyond = jnp.where(up, norm >= now.norm, norm <= now.norm)
            following = jnp.where(first, jnp.where(beyond, end, start), following)
            scale = jnp.minimum(distance, jnp.abs(place) + jnp.abs(self.best))
            going = jnp.abs(following - place) > 1e-2 * _SETTLED * scale
            going = jnp.where(first, ~beyond, going)
            rise = self._rise_near(now, place, norm)
            return _Searched(index + 1, following, near, far, place, rise, going)

        zero = jnp.zeros_like(end)
        begin = _Searched(jnp.zeros((), jnp.int32), end, self.best, end, end, zero, end == end)
        found = jax.lax.while_loop(_unsettled, sweep, begin)
        return found.seen, found.value

    def rise_of(self, place: Array, norm: Array) -> Array:
        """Return the rise at a norm, given as x M / N, whose place is known."""
        place = jax.lax.stop_gradient(place)
        return self._rise_near(self.at(place), place, norm)

    def _rise_near(self, now: Along, place: Array, norm: Array) -> Array:
        """Return the rise at a norm near that of a place."""
        lower, upper = self.ends()
        step = norm - now.norm
        at_end = ((place <= lower) & (step < 0)) | ((place >= upper) & (step > 0))
        # beyond an end that no counts hold
        beyond = at_end & (place != 0)
        stretch = jnp.where(beyond, norm / jnp.where(beyond, place, 1), 1)
        more = 2 * self._total * (excess_log(stretch - 1) - excess_log(now.stretch - 1))
        # at no ratio but 0 the background cannot take over
        lost = at_end & (place == 0)
        usable = jnp.isfinite(now.t1)
        slope = jnp.where(usable, -2 * now.t1 / jnp.where(usable, now.stretch, 1), 0)
        rise = now.rise + jnp.where(at_end & ~lost, more, slope * step)
        return jnp.where(lost, jnp.inf, rise)


class _Searched(NamedTuple):
    """The state of a search along a line."""

    sweeps: Array
    place: Array  # to look at next
    # near, far: places known to be too near to the best one, and too far
    near: Array
    far: Array
    seen: Array  # the place looked at last
    value: Array  # what was found there
    going: Array


def _unsettled(state: _Searched) -> Array:
    return (state.sweeps < _MOST) & state.going.any()


def stretched(level: Array, sign: Array) -> Array:
    """Return the `t` above or below 1 at which ``t - 1 - log t`` is a level."""
    # differentiable in the level
    safe = jnp.where(level > 0, level, 1)
    fixed = jax.lax.stop_gradient(safe)
    # With w = log t starts where the level is passed: the function is convex, and Newton's steps
    # come back to the root.
    far = fixed + jnp.sqrt(2 * fixed)
    w = jnp.where(sign > 0, jnp.log1p(far), -far)
    for _ in range(6):
        w = w - (jnp.expm1(w) - w - fixed) / jnp.expm1(w)
    w = jax.lax.stop_gradient(w)
    w = w - (jnp.expm1(w) - w - safe) / jnp.expm1(w)
    return jnp.where(level > 0, jnp.exp(w), 1)
