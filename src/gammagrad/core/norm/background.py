"""What is known of a background's norm, and the fit of one pixel that follows from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gammagrad._programs import is_traced
from gammagrad.core.norm.free import Window
from gammagrad.core.norm.free_bins import fit_free_bins
from gammagrad.core.norm.options import FitOptions
from gammagrad.core.norm.result import NormFit
from gammagrad.core.norm.several_fit import fit_several_bins
from gammagrad.errors import InputError, short

BACKGROUNDS = ("fixed", "free", "constrained")
PRIORS = ("gamma", "gaussian")

WITH_OFF = (
    "OFF counts say how much background there is, bin by bin: a norm of it cannot be fitted too. "
    "Leave it fixed, or pass alpha times the OFF counts as background."
)
"""What is wrong with norms of the background of ON and OFF counts."""

BACKGROUND_MAPS = (
    *("background_norm", "background_norm_err", "background_norm_pull", "background_norm_corr"),
)
"""Fields of a fit that are there if a norm of the background is fitted."""


class BackgroundNorm(NamedTuple):
    """How norms of the background are fitted; it is part of what a program is compiled for."""

    gaussian: bool = False  # the prior, where there is one
    several: bool = False  # whether every group of bins has its own

    @property
    def on_line(self) -> bool:
        """Whether one norm without a prior, or with a gamma prior, is fitted."""
        return not (self.gaussian or self.several)


def check_background(background: str, prior: str, several: bool = False) -> BackgroundNorm | None:
    """Return how norms of the background are fitted; None where it is known."""
    if background not in BACKGROUNDS:
        raise InputError(f" is {background!r}; choose one of {BACKGROUNDS}.", "background_norm")
    if prior not in PRIORS:
        raise InputError(f" is {prior!r}; choose one of {PRIORS}.", "background_prior")
    if background == "fixed":
        return None
    return BackgroundNorm(background == "constrained" and prior == "gaussian", several)


def knowledge(background: str, uncertainty: ArrayLike, xp: object = np) -> ArrayLike:
    """Return ``1 / sigma^2`` for a relative uncertainty, 0 for a background that is free."""
    if background == "free":
        return np.zeros(())
    if not is_traced(uncertainty):
        values = np.asarray(uncertainty)
        known = values.dtype.kind in "iuf" and bool(np.all((values > 0) & np.isfinite(values)))
        if not known:
            raise InputError(
                f" is {short(uncertainty)}; expected the relative uncertainty of the background, "
                "above 0, such as 0.05.",
                "background_uncertainty",
            )
        return 1 / values.astype(float) ** 2
    return 1 / jnp.asarray(uncertainty) ** 2


def fit_with_background(
    counts: Array,
    background: Array,
    model: Array,
    windows: Window,
    member: Array,
    options: FitOptions,
    *,
    how: BackgroundNorm,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
) -> NormFit:
    """Fit norms of source and background to one pixel's flat list of weighted bins."""
    # windows: of every group, with an axis of them in front; member: the group of each bin
    asked: dict[str, Any] = {"selection": selection, "scan_values": scan_values}
    if how.on_line:
        only = Window(*(a[0] for a in windows))
        return fit_free_bins(counts, background, model, only, options, **asked)
    number = windows.counts.shape[0]
    of_group = member[None] == jnp.arange(number, dtype=member.dtype)[:, None]
    fit = fit_several_bins(
        counts, background, model, of_group, windows, options, gaussian=how.gaussian, **asked
    )
    return fit if how.several else squeezed(fit)


def squeezed(fit: NormFit) -> NormFit:
    """Take the axis of groups off a fit that has but one."""
    one = {name: jnp.asarray(getattr(fit, name))[0] for name in BACKGROUND_MAPS}
    fields = {n: getattr(fit, n) for n in vars(fit)}
    return NormFit(**(fields | one))


def sums_of(counts: Array, background: Array, stat: Array, member: Array, known: Array) -> Window:
    """Sum over the bins of every group; `known` has one number for each."""
    number = known.shape[0]

    def total(values: Array) -> Array:
        return jax.ops.segment_sum(values, member, number)

    return Window(total(counts), total(background), total(stat), known)
