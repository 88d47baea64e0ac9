"""Asymmetric errors and upper limits of a fit, in either engine, from the profile's sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.profile import (
    ProfileSums,
    rise,
)

Sums = Callable[[Array], ProfileSums]
"""The sums of `ProfileSums` at a step from a base norm that has been chosen."""


class Steps(NamedTuple):
    """Where intervals end, as a base norm and a step from it; None if not asked for."""

    # up, down: base and step of the upper and lower ends of the asymmetric errors
    up: tuple[Array, Array] | None = None
    down: tuple[Array, Array] | None = None
    limit: tuple[Array, Array] | None = None  # base and step of the upper limit


def ends_at_bound(sums: Sums, step: Array, model_sum: Array, target: Array | float) -> Array:
    """Tell whether the statistic has not risen by a target where the physical bound is reached."""
    gain = sums(step).gain
    return rise(step, gain, model_sum) <= target


class Profile(Protocol):
    """The profile of one pixel, or of many side by side, and how its intervals are found."""

    @property
    def model_sum(self) -> Array:
        """Sum of the model counts at norm 1, > 0."""
        ...

    def sums_from(self, base: Array) -> Sums:
        """Return the sums as a function of the step from a base norm."""
        ...

    def up(self, base: Array, target: Array) -> Array:
        """Return the step upwards from a base over which the statistic rises by a target."""
        ...

    def down(self, base: Array, target: Array, bound: Array) -> Array:
        """Return the step downwards from a best fit, or that to the physical bound."""
        ...


def interval_steps(
    profile: Profile,
    norm: Array,
    best: Array | None,
    bound: Array,
    options: FitOptions,
    selection: Sequence[str],
) -> Steps:
    """Find the ends of the intervals that are asked for."""

    def risen(base: Array, step: Array) -> Array:
        return rise(step, profile.sums_from(base)(step).gain, profile.model_sum)

    def above(reference: Array, target: Array) -> tuple[Array, Array]:
        if best is None:
            return reference, profile.up(reference, target)
        # the profile climbs from the best fit on: a guess below it is seen from there
        base = jnp.maximum(best, reference)
        return base, profile.up(base, target + risen(base, reference - base))

    steps = Steps()
    if "errn-errp" in selection:
        target = options.n_sigma**2 * jnp.ones_like(norm)
        steps = steps._replace(up=above(norm, target))
        base = norm if best is None else best
        if best is not None:
            target = target + risen(base, norm - base)
        steps = steps._replace(down=(base, profile.down(base, target, bound)))
    if "ul" in selection:
        target = options.n_sigma_ul**2 * jnp.ones_like(norm)
        steps = steps._replace(limit=above(jnp.maximum(norm, options.norm_min), target))
    return steps
