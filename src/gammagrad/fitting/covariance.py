"""Errors from the curvature of the statistic at its minimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.fitting.newton import Bowl

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A parameter takes part in an undetermined direction from this component on.
_PART = 1e-3


class Covariance(NamedTuple):
    """Covariance of the free parameters.

    Parameters
    ----------
    matrix
        Shape (n, n): 0 for what is fixed, NaN for what is not determined.
    undetermined
        Parameters along which the statistic does not change, with others or alone, shape (n,).
    saddle
        Parameters along which the statistic curves down: no minimum. Shape (n,).
    """

    matrix: Floats
    undetermined: Bools
    saddle: Bools


def covariance_of(bowl: Bowl, fixed: Bools) -> Covariance:
    """Invert the curvature of the statistic, as far as that makes sense.

    Parameters
    ----------
    bowl
        Second derivatives at the minimum.
    fixed
        Parameters that count as known, such as those at a bound, shape (n,).

    Returns
    -------
    Covariance
        Twice the inverse, as the statistic is minus twice the logarithm of the likelihood.
    """
    part = bowl.without(fixed)
    if not np.all(np.isfinite(part.values)):
        matrix = np.full((len(fixed), len(fixed)), np.nan)
        return Covariance(matrix, ~fixed, np.zeros_like(fixed))
    null, down = part.is_null, ~part.is_null & (part.values < 0)
    undetermined = np.any(np.abs(part.vectors[:, null]) > _PART, axis=1)
    saddle = np.any(np.abs(part.vectors[:, down]) > _PART, axis=1)
    good = ~(null | down)
    matrix = (part.vectors[:, good] / part.values[good][None, :]) @ part.vectors[:, good].T
    matrix = 2.0 * matrix * part.scale[:, None] * part.scale[None, :]
    matrix[fixed, :] = 0.0
    matrix[:, fixed] = 0.0
    bad = undetermined | saddle
    matrix[bad, :] = np.nan
    matrix[:, bad] = np.nan
    return Covariance(matrix, undetermined, saddle)
