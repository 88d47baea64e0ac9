"""Sums over lists of bins that lie side by side in memory, for many pixels at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad.core.logarithm import log1p, reciprocal
from gammagrad.core.profile import (
    ProfileSums,
    lower_step,
    one_bin_rise,
    rise,
    upper_step,
)
from gammagrad.core.sensitivity import AsimovSums, asimov_from_contrast
from gammagrad.core.stats import GainSums, ScoreSums, contrast_scores, gain_terms

__all__ = ["LEAD", "ROWS", "Gathered", "ListProfile"]

LEAD = jnp.float32
"""Precision of the first sweeps."""

ROWS = 16
"""Rows summed in one step: as many as compilers unroll, so that they vectorise over pixels."""

_LOG_ROWS = 4
"""The same for terms with a logarithm, of which fewer are unrolled; more take twice as long."""

_MOST_SWEEPS = 12
# relative step after which the next is below rounding, as the error is cubed
_LAST_STEP = 1e-4

Terms = Callable[[Array, Array], tuple[Array, ...]]


class Gathered(NamedTuple):
    """Lists of bins: row `i` has the `i`-th bin of every tile.

    Attributes
    ----------
    counts
        Weight of each bin in the sums, its counts or background, shape (rows, tiles).
    contrast
        Model over background at norm 1, shape (rows, pixels, tiles). What lies beyond the last row
        in use has no meaning.
    n_rows
        Rows in use, a multiple of `ROWS`.
    """

    counts: Array
    contrast: Array
    n_rows: Array

    def total(
        self, terms: Terms, number: int, rows: int = ROWS, dtype: Any = None
    ) -> tuple[Array, ...]:
        """Sum terms over the bins of every pixel.

        Parameters
        ----------
        terms
            Takes counts, shape (rows, 1, tiles), and contrasts, shape (rows, pixels, tiles), of
            some rows; returns terms of the latter shape.
        number
            How many it returns.
        rows
            Rows to take at a time.
        dtype
            Precision of the terms; None for that of the contrasts.

        Returns
        -------
        tuple of Array
            The sums, shape (pixels, tiles).
        """
        dtype, zero = np.dtype(dtype or self.contrast.dtype), np.int32(0)
        nothing = np.zeros((), dtype)

        def plus(some: tuple[Array, ...], more: tuple[Array, ...]) -> tuple[Array, ...]:
            return tuple(a + b for a, b in zip(some, more, strict=True))

        def add(index: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
            counts = lax.dynamic_slice_in_dim(self.counts, index * rows, rows)
            contrast = lax.dynamic_slice_in_dim(self.contrast, index * rows, rows)
            found = tuple(terms(counts[:, None], contrast))
            return plus(sums, lax.reduce(found, (nothing,) * number, plus, (0,)))

        first = (jnp.zeros(self.contrast.shape[1:], dtype),) * number
        return lax.fori_loop(zero, self.n_rows // rows, add, first)

    def scores(self, norm: Array) -> ScoreSums:
        """Sum the scores at a norm."""
        return ScoreSums(*self.total(lambda n, g: contrast_scores(norm[None], n, g), 2))

    def gains(self, norm: Array) -> GainSums:
        """Sum the gains over norm 0, and their derivatives."""
        return GainSums(*self.total(lambda n, g: gain_terms(norm[None], n, g), 4, _LOG_ROWS))

    def gain(self, norm: Array) -> Array:
        """Sum the gains over norm 0; minus infinity where counts meet no prediction."""
        return self.total(lambda n, g: (_gain(n, g, norm[None] * g),), 1, _LOG_ROWS)[0]

    def asimov(self, norm: Array, model_sum: Array | None = None) -> AsimovSums:
        """Sum half the Asimov statistic and its derivatives, the weights being backgrounds.

        Parameters
        ----------
        norm
            The norm; times `model_sum`, if that is given.
        model_sum
            Sum of the model counts at norm 1, to sum in the precision of `norm`, in counts.

        Returns
        -------
        AsimovSums
            The sums.
        """
        if model_sum is None:
            return AsimovSums(
                *self.total(lambda b, g: asimov_from_contrast(norm[None], b, g), 3, _LOG_ROWS)
            )
        dtype, per_model = norm.dtype, 1 / model_sum

        def terms(b: Array, g: Array) -> AsimovSums:
            scaled = jnp.minimum(g * per_model[None], 1e30).astype(dtype)
            return asimov_from_contrast(norm[None], b.astype(dtype), scaled)

        return AsimovSums(*self.total(terms, 3, _LOG_ROWS, dtype))

    def sums_from(self, base: Array) -> Callable[[Array], ProfileSums]:
        """Return the profile's sums as a function of the step from a base norm."""

        def sums(step: Array) -> ProfileSums:
            def terms(n: Array, g: Array) -> tuple[Array, ...]:
                shifted = _shifted(g, base)
                z = step[None] * shifted
                slope = shifted * reciprocal(jnp.maximum(1 + z, jnp.finfo(z.dtype).tiny))
                return _gain(n, g, z), n * slope, n * slope * slope

            return ProfileSums(*self.total(terms, 3, _LOG_ROWS))

        return sums


def _shifted(contrast: Array, base: Array) -> Array:
    """Return the contrasts seen from a base norm, ``g / (1 + x0 g)``."""
    eps = jnp.finfo(contrast.dtype).eps
    return contrast * reciprocal(jnp.maximum(1 + base[None] * contrast, eps))


def _gain(counts: Array, contrast: Array, z: Array) -> Array:
    """Return ``n log(1 + z)``, minus infinity where counts meet no prediction."""
    gain = counts * log1p(jnp.maximum(z, -1 + jnp.finfo(z.dtype).eps))
    return jnp.where((counts > 0) & (contrast > 0) & (z <= -1), -jnp.inf, gain)


class ListProfile(NamedTuple):
    """The likelihood profiles of pixels side by side.

    Attributes
    ----------
    bins
        The occupied bins.
    model_sum
        Sum of the model counts at norm 1, > 0.
    steepest
        Largest contrast of a pixel's occupied bins; 0 without any.
    """

    bins: Gathered
    model_sum: Array
    steepest: Array

    def sums_from(self, base: Array) -> Callable[[Array], ProfileSums]:
        """Return the sums as a function of the step from a base norm."""
        return self.bins.sums_from(base)

    def up(self, base: Array, target: Array) -> Array:
        """Return the step upwards from a base over which the statistic rises by a target."""
        s1, s2 = self.bins.scores(base)
        start = one_bin_rise(target, s1, s2, self.model_sum)
        return upper_step(
            self.sums_from(base), start, self.model_sum, target, _MOST_SWEEPS, _LAST_STEP
        )

    def down(self, base: Array, target: Array, bound: Array) -> Array:
        """Return the step downwards from a best fit, or that to the physical bound."""
        gain, s1, s2, _ = self.bins.gains(base)
        end = bound - base
        seen = self.steepest > 0
        # where the first occupied bin's prediction vanishes, the statistic is infinite
        pole = base + 1 / jnp.where(seen, self.steepest, 1)
        pole = jnp.where(seen, -pole * (1 - jnp.finfo(pole.dtype).eps), -jnp.inf)
        start = one_bin_rise(target, s1, s2, self.model_sum, downwards=True)
        start = jnp.where(self.ends_at(base, gain, s2, bound, target), end, start)
        return lower_step(
            self.sums_from(base),
            start,
            pole,
            end,
            self.model_sum,
            target,
            _MOST_SWEEPS,
            _LAST_STEP,
        )

    def ends_at(
        self, best: Array, gain: Array, s2: Array, bound: Array, target: Array | float
    ) -> Array:
        """Tell where the profile is still below a target when it reaches the physical bound.

        Parameters
        ----------
        best, gain, s2
            Best fit, gain and curvature there.
        bound
            Physical bound, at or below it.
        target
            Rise of the statistic.

        Returns
        -------
        Array
            Bool.
        """
        end = bound - best
        # the curvature grows downwards: where the parabola has risen by more, so has the profile
        near = s2 * end**2 <= 1.001 * target
        # where the bound is an occupied bin's, the statistic is infinite
        near &= bound * self.steepest > -1 + 4 * jnp.finfo(bound.dtype).eps

        def look(_: None) -> Array:
            return rise(end, self.bins.gain(bound) - gain, self.model_sum) <= target

        return lax.cond((near & (end < 0)).any(), look, lambda _: end >= 0, None) & near
