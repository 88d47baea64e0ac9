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
    """Covariance of the free parameters."""

    matrix: Floats  # shape (n, n): 0 for what is fixed, NaN for what is not determined
    # parameters along which the statistic does not change, with others or alone, shape (n,)
    undetermined: Bools
    saddle: Bools  # parameters along which the statistic curves down: no minimum. Shape (n,).


def covariance_of(bowl: Bowl, fixed: Bools) -> Covariance:
    """Invert the curvature of the statistic, where it is invertible."""
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
