"""The norm that a background would let one see: the root of the Asimov test statistic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gammagrad.core.options import FitOptions
from gammagrad.core.profile import climb
from gammagrad.core.stats import BACKGROUND_FLOOR
from gammagrad.core.windows import BinImages

__all__ = ["AsimovSums", "asimov_terms", "curvature_term", "sensitivity", "sensitivity_map"]

N_SWEEPS = 6
"""Sweeps to a sensitivity: one more than to a limit, for bins that have no background."""

_SERIES_BELOW = 0.03


class AsimovSums(NamedTuple):
    """Half the Asimov test statistic of a norm, and half its derivative, summed over bins."""

    value: Array
    slope: Array


def asimov_terms(norm: Array, background: Array, model: Array) -> AsimovSums:
    """Return one bin's share of the Asimov test statistic of a source.

    Parameters
    ----------
    norm
        The source's norm `x` > 0, broadcast against the bins.
    background
        Expected background `b` times weight; `BACKGROUND_FLOOR` stands in for less.
    model
        Model counts at norm 1, `m`, times weight.

    Returns
    -------
    AsimovSums
        ``(b + x m) log(1 + x m / b) - x m`` and ``m log(1 + x m / b)``.

    References
    ----------
    Cowan et al. (2011), EPJC 71, 1554, section 3 (the Asimov data set).
    """
    b = jnp.maximum(background, BACKGROUND_FLOOR)
    z = norm * (model / b)
    log = jnp.log1p(z)
    small = jnp.minimum(z, _SERIES_BELOW)
    # the difference of two nearly equal terms, as a series where they are
    series = 1 - small * (
        1 / 3 - small * (1 / 6 - small * (1 / 10 - small * (1 / 15 - small / 21)))
    )
    value = jnp.where(z < _SERIES_BELOW, 0.5 * z**2 * series, (1 + z) * log - z)
    return AsimovSums(b * value, model * log)


def curvature_term(background: Array, model: Array) -> Array:
    """Return one bin's share of the curvature at norm 0, ``m^2 / b``.

    Parameters
    ----------
    background, model
        As for `asimov_terms`.

    Returns
    -------
    Array
        The term.
    """
    return model * (model / jnp.maximum(background, BACKGROUND_FLOOR))


def _required(norm: Array, model_sum: Array, curvature: Array, options: FitOptions) -> Array:
    """Raise a norm to what the least counts and the background's uncertainty ask for."""
    counts = options.gamma_min / model_sum
    systematic = options.bkg_syst_fraction * model_sum / curvature
    return jnp.maximum(norm, jnp.maximum(counts, systematic))


def sensitivity(
    background: Array, model: Array, options: FitOptions, n_sweeps: int = N_SWEEPS
) -> Array:
    """Return the norm at which a source reaches a significance, for one pixel's bins.

    Differentiable by the implicit function theorem.

    Parameters
    ----------
    background
        Expected background of each bin, times weight.
    model
        Model counts at norm 1, times weight.
    options
        `n_sigma_sensitivity`, `gamma_min` and `bkg_syst_fraction`.
    n_sweeps
        Number of sweeps of the solver.

    Returns
    -------
    Array
        The norm; 0 where the model has no counts.
    """
    target = jnp.asarray(options.n_sigma_sensitivity) ** 2 / 2
    curvature, model_sum = curvature_term(background, model).sum(), model.sum()
    seen = (model_sum > 0) & (curvature > 0)
    curvature = jnp.where(seen, curvature, jnp.ones_like(curvature))
    model_sum = jnp.where(seen, model_sum, jnp.ones_like(model_sum))
    b, m = jax.lax.stop_gradient((background, model))

    def sums(norm: Array) -> tuple[Array, Array]:
        return AsimovSums(*(term.sum() for term in asimov_terms(norm, b, m)))

    start = jnp.sqrt(2 * target / jax.lax.stop_gradient(curvature))
    root = climb(sums, start, jax.lax.stop_gradient(target), n_sweeps)
    # one differentiable step: the implicit function theorem
    at_root = AsimovSums(*(term.sum() for term in asimov_terms(root, background, model)))
    slope = jnp.where(seen, at_root.slope, jnp.ones_like(at_root.slope))
    root = root - (at_root.value - target) / jax.lax.stop_gradient(slope)
    return jnp.where(seen, _required(root, model_sum, curvature, options), jnp.zeros_like(root))


def _visit_offsets(images: BinImages, shape: tuple[int, int], norm: Array | None) -> AsimovSums:
    """Sum over the kernel's offsets: the Asimov statistic of a norm, or the curvature at 0."""
    ky, kx = images.kernel.shape[-2:]
    pads = ((ky // 2, ky // 2), (kx // 2, kx // 2))
    background = jnp.pad(images.background, ((0, 0), *pads))
    exposure = jnp.pad(images.exposure, ((0, 0), (0, 0), *pads))
    kernels = jnp.moveaxis(images.kernel.reshape(*images.kernel.shape[:2], -1), -1, 0)

    def visit(total: AsimovSums, nth: tuple[Array, Array]) -> tuple[AsimovSums, None]:
        offset, kernel = nth
        start = (jnp.zeros_like(offset), offset // kx, offset % kx)
        b = jax.lax.dynamic_slice(background, start, (background.shape[0], *shape))
        model = jnp.zeros_like(b)
        for component in range(exposure.shape[1]):
            there = jax.lax.dynamic_slice(exposure[:, component], start, b.shape)
            model = model + kernel[:, component, None, None] * there
        if norm is None:
            return AsimovSums(total.value + curvature_term(b, model).sum(axis=0), total.slope), None
        value, slope = asimov_terms(norm[None], b, model)
        return AsimovSums(total.value + value.sum(axis=0), total.slope + slope.sum(axis=0)), None

    zero = jnp.zeros(shape, background.dtype)
    offsets = jnp.arange(ky * kx, dtype=jnp.int32)
    return jax.lax.scan(visit, AsimovSums(zero, zero), (offsets, kernels))[0]


@jax.jit
def sensitivity_map(datasets: Sequence[BinImages], model_sum: Array, options: FitOptions) -> Array:
    """Return the sensitivity at every pixel of a map, all bins visited.

    Parameters
    ----------
    datasets
        Bins of each dataset of a joint fit, on one pixel grid.
    model_sum
        Sum of the model counts in each pixel's window, > 0 where wanted, shape (rows, cols).
    options
        `n_sigma_sensitivity`, `gamma_min` and `bkg_syst_fraction`.

    Returns
    -------
    Array
        Norms, shape (rows, cols); 0 where `model_sum` is not positive.
    """
    shape = (model_sum.shape[0], model_sum.shape[1])
    target = options.n_sigma_sensitivity**2 / 2 * jnp.ones_like(model_sum)

    def total(norm: Array | None) -> Any:
        parts = [_visit_offsets(d, shape, norm) for d in datasets]
        return jax.tree.map(lambda *terms: sum(terms[1:], terms[0]), *parts)

    curvature, _ = total(None)
    seen = (model_sum > 0) & (curvature > 0)
    curvature = jnp.where(seen, curvature, jnp.ones_like(curvature))
    safe_sum = jnp.where(seen, model_sum, jnp.ones_like(model_sum))
    root = climb(total, jnp.sqrt(2 * target / curvature), target, N_SWEEPS)
    return jnp.where(seen, _required(root, safe_sum, curvature, options), jnp.zeros_like(root))
