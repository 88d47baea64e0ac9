"""The norm that a background would let one see: the root of the Asimov test statistic."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.norm.free import Window
from gammagrad.core.norm.line_profile import deviance
from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.profile import climb
from gammagrad.core.stats import BACKGROUND_FLOOR, log1p_inside, reciprocal

_LEAD_SWEEPS = 3
"""Sweeps in single precision, which one in that of the data follows."""

_LEAD_SWEEPS_LOST = 8
"""The same where norms of the background are fitted, as the start is not as good."""

_SERIES_BELOW = 0.03


class AsimovSums(NamedTuple):
    """Half the Asimov test statistic of a norm, and half its derivatives, summed over bins."""

    value: Array
    slope: Array
    curvature: Array


def asimov_terms(norm: Array, background: Array, model: Array) -> AsimovSums:
    """Return one bin's share of the Asimov test statistic of a source."""
    # Cowan et al. (2011), EPJC 71, 1554, section 3 (the Asimov data set).
    b = jnp.where(background < BACKGROUND_FLOOR, BACKGROUND_FLOOR, background)
    return asimov_from_contrast(norm, b, _contrast(background, model))


def asimov_from_contrast(norm: Array, background: Array, contrast: Array) -> AsimovSums:
    """Return what `asimov_terms` does, from the contrast ``g = m / b`` at norm 1."""
    z = norm * contrast
    log = log1p_inside(z)
    small = jnp.minimum(z, _SERIES_BELOW)
    # the difference of two nearly equal terms, as a series where they are
    series = 1 - small * (
        1 / 3 - small * (1 / 6 - small * (1 / 10 - small * (1 / 15 - small / 21)))
    )
    value = jnp.where(z < _SERIES_BELOW, 0.5 * z**2 * series, (1 + z) * log - z)
    slope = background * contrast
    return AsimovSums(background * value, slope * log, slope * contrast * reciprocal(1 + z))


def curvature_term(background: Array, model: Array) -> Array:
    """Return one bin's share of the curvature at norm 0, ``m^2 / b``."""
    return model * _contrast(background, model)


def _contrast(background: Array, model: Array) -> Array:
    """Return ``m / b``, with the floor for less background."""
    empty = background < BACKGROUND_FLOOR
    # never over the floor: its square, in the slope, is nothing in single precision
    known = jnp.where(empty, jnp.ones_like(background), background)
    return jnp.where(empty, model * (1 / BACKGROUND_FLOOR), model / known)


def required(norm: Array, model_sum: Array, curvature: Array, options: FitOptions) -> Array:
    """Raise a norm to what the least counts and the background's uncertainty ask for."""
    counts = options.gamma_min / model_sum
    systematic = options.bkg_syst_fraction * model_sum / curvature
    return jnp.maximum(norm, jnp.maximum(counts, systematic))


def one_bin_root(model_sum: Array, curvature: Array, target: Array) -> Array:
    """Solve for the one bin that has the model counts and the curvature of all bins."""
    background = model_sum**2 / curvature

    def sums(norm: Array) -> AsimovSums:
        return asimov_terms(norm, background, model_sum)

    return climb(sums, jnp.sqrt(2 * target / curvature), target)


class Lost(NamedTuple):
    """What a free norm of the background takes from a sensitivity."""

    level: Array  # norm of the background that the sensitivity is for
    # expected, model_sum: sums of background and model over the window of each group of bins that
    # has a norm of its own, with an axis of groups in front
    expected: Array
    model_sum: Array

    def taken_from(self, found: AsimovSums, norm: Array) -> AsimovSums:
        """Return half the Asimov statistic where norms of the background are fitted without it."""
        # the counts of the source raise these norms, and what they gain by that is lost
        ratio = self.model_sum / self.expected
        v = norm[None] * ratio
        value, slope, curvature = (
            self.expected * deviance(v),
            self.model_sum * jnp.log1p(v),
            self.model_sum * ratio / (1 + v),
        )
        return AsimovSums(
            found.value - value.sum(axis=0),
            found.slope - slope.sum(axis=0),
            found.curvature - curvature.sum(axis=0),
        )

    def curvature(self, plain: Array) -> Array:
        """Return what is left of the curvature at norm 0."""
        left = plain - (self.model_sum**2 / self.expected).sum(axis=0)
        return jnp.where(left > 0, left, plain)

    def scaled(self, unit: Array) -> Lost:
        """Return the same for norms times a unit."""
        return self._replace(model_sum=self.model_sum / unit[None])

    def astype(self, dtype: Any) -> Lost:
        """Return the same in another precision."""
        return Lost(*(a.astype(dtype) for a in self))


def background_level(windows: Window) -> Array:
    """Return the norm of the background that fits the counts of all groups without a source."""
    # without counts it is as if there were one
    expected = windows.expected.sum(axis=0)
    return jnp.maximum(windows.total.sum(axis=0), 1) / jnp.where(expected > 0, expected, 1)


def sensitivity(
    background: Array,
    model: Array,
    options: FitOptions,
    n_sweeps: int | None = None,
    lost: Lost | None = None,
) -> Array:
    """Return the norm at which a source reaches a significance, for one pixel's bins."""
    # Differentiable by the implicit function theorem. lost: None where the background's
    # norm is known.
    target = jnp.asarray(options.n_sigma_sensitivity) ** 2 / 2
    target = target if lost is None else target / lost.level
    if n_sweeps is None:
        n_sweeps = _LEAD_SWEEPS if lost is None else _LEAD_SWEEPS_LOST

    def total_at(norm: Array, background: Array, model: Array) -> AsimovSums:
        found = AsimovSums(*(term.sum() for term in asimov_terms(norm, background, model)))
        return found if lost is None else lost.astype(norm.dtype).taken_from(found, norm)

    # in units of the model's own counts, which single precision can hold whatever the exposure
    total = jax.lax.stop_gradient(model.sum())
    unit = jnp.where(total > 0, total, jnp.ones_like(total))
    model = model / unit
    plain, model_sum = curvature_term(background, model).sum(), model.sum()
    lost = None if lost is None else lost.scaled(unit)
    curvature = plain if lost is None else lost.curvature(plain)
    seen = (model_sum > 0) & (curvature > 0)
    curvature, plain = (jnp.where(seen, c, jnp.ones_like(c)) for c in (curvature, plain))
    model_sum = jnp.where(seen, model_sum, jnp.ones_like(model_sum))
    b, m, level = jax.lax.stop_gradient((background, model, target))
    root = one_bin_root(*jax.lax.stop_gradient((model_sum, curvature)), level)
    # single precision leads to within its rounding of the root, one sweep more to within ours
    for dtype, sweeps in ((jnp.float32, n_sweeps), (root.dtype, 1)):
        data = tuple(a.astype(dtype) for a in (b, m))

        def sums(norm: Array, data: tuple[Array, ...] = data) -> AsimovSums:
            return total_at(norm, *data)

        root = climb(sums, root.astype(dtype), level.astype(dtype), sweeps)
    root = root.astype(background.dtype)
    # one differentiable step: the implicit function theorem
    at_root = total_at(root, background, model)
    slope = jnp.where(seen, at_root.slope, jnp.ones_like(at_root.slope))
    root = root - (at_root.value - target) / jax.lax.stop_gradient(slope)
    if lost is not None:
        root, plain = root * lost.level, plain / lost.level
    norm = required(root, model_sum, plain, options) / unit
    return jnp.where(seen, norm, jnp.zeros_like(norm))
