"""The last steps: Newton's method with the exact second derivatives, within the bounds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.fitting.frame import plain_frame
from gammagrad.fitting.run import Point, Run

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Eigenvalues of the scaled curvature, in units of that of a parameter of its own, which make a
# direction undetermined: errors along it are 30 000 times those of the parameters alone.
_NULL = 1e-9
# Curvatures, with expected errors as scales, below which the statistic is flat.
_FLAT = 1e-10
# A step that leaves more than this fraction of the distance needs a new matrix.
_SLOW = 0.1
# How far, in the statistic, the curvature may be from where it was taken.
_FRESH = 1e-5
_TRIES = 12
# One more step is cheap: the way goes on to this part of the tolerance, if it can.
_SPARE = 1e-2


class Bowl(NamedTuple):
    """Curvature around a point, in parameters divided by their scales."""

    values: Floats  # eigenvalues, shape (n,)
    vectors: Floats  # eigenvectors as columns, shape (n, n)
    scale: Floats  # scales, shape (n,)

    @classmethod
    def of(cls, curvature: Floats, scale: Floats) -> Bowl:
        """Take the curvature apart."""
        diagonal = np.diag(curvature)
        curved = np.isfinite(diagonal) & (diagonal * scale**2 > _FLAT)
        scale = np.where(curved, np.sqrt(2.0 / np.where(curved, diagonal, 1.0)), scale)
        scaled = curvature * scale[:, None] * scale[None, :]
        if not np.all(np.isfinite(scaled)):
            return cls(np.full(len(scale), np.nan), np.eye(len(scale)), scale)
        values, vectors = np.linalg.eigh(scaled)
        return cls(values, vectors, scale)

    @property
    def is_null(self) -> Bools:
        """Which eigenvalues are zero up to rounding."""
        # with these scales a parameter's own curvature is 2
        return np.abs(self.values) <= _NULL * 2.0

    @property
    def is_convex(self) -> bool:
        """Whether the statistic curves up wherever it curves."""
        return bool(np.all(np.isfinite(self.values) & (self.is_null | (self.values > 0))))

    def without(self, fixed: Bools) -> Bowl:
        """Return the curvature with some parameters held where they are."""
        matrix = (self.vectors * self.values[None, :]) @ self.vectors.T
        if not np.all(np.isfinite(matrix)):
            return self
        matrix = np.where(fixed[:, None] | fixed[None, :], 0.0, matrix)
        matrix[fixed, fixed] = 2.0
        values, vectors = np.linalg.eigh(matrix)
        return Bowl(values, vectors, self.scale)

    def step(self, gradient: Floats, fixed: Bools) -> tuple[Floats, float]:
        """Return Newton's step and the decrease of the statistic it promises."""
        inner = self.without(fixed)
        if not np.all(np.isfinite(inner.values)):
            return np.zeros_like(gradient), np.inf
        along = inner.vectors.T @ np.where(fixed, 0.0, gradient * self.scale)
        along = np.where(inner.is_null, 0.0, along)
        size = np.where(inner.is_null, 1.0, np.abs(inner.values))
        step = -inner.vectors @ (along / size)
        return np.where(fixed, 0.0, step * self.scale), float(0.5 * np.sum(along**2 / size))


def at_bounds(run: Run, values: Floats, gradient: Floats | None = None) -> Bools:
    """Return which parameters are at a bound, pushed against it if a gradient is given."""
    low, high = values <= run.lower, values >= run.upper
    if gradient is None:
        return low | high
    return (low & (gradient > 0)) | (high & (gradient < 0))


class Found(NamedTuple):
    """Where a fit ended."""

    point: Point  # the point; the gradient is with respect to the parameters
    bowl: Bowl | None  # second derivatives there; None where the statistic is not a number
    edm: float  # estimated distance to the minimum, in the statistic

    def fixed(self, run: Run) -> Bools:
        """Return which parameters are held by a bound."""
        return at_bounds(run, self.point.values, self.point.gradient)

    def is_minimum(self, run: Run) -> bool:
        """Return whether this is a minimum, within the tolerance."""
        if self.bowl is None or not self.edm <= run.tolerance:
            return False
        return self.bowl.without(self.fixed(run)).is_convex


def polish(run: Run, values: Floats, scale: Floats) -> Found:
    """Go on to the minimum, or until the prediction is no longer accurate."""
    point = run.evaluate(plain_frame(len(values)), values)
    while point.is_finite:
        bowl = Bowl.of(run.curvature(point), scale)
        origin = point.values
        point, edm = _chords(run, point, bowl)
        if not run.holds(point.values):
            return Found(point, bowl, edm)
        moved = (point.values - origin) / bowl.scale
        # no gain with the matrix of this point, or no need of another
        if 0.5 * float(moved @ moved) < _FRESH:
            return Found(point, bowl, edm)
        if not run.may_go_on:
            bowl = Bowl.of(run.curvature(point), scale)
            edm = bowl.step(point.gradient, at_bounds(run, point.values, point.gradient))[1]
            return Found(point, bowl, edm)
    return Found(point, None, np.inf)


def _chords(run: Run, point: Point, bowl: Bowl) -> tuple[Point, float]:
    """Make steps with one matrix as long as they help."""
    frame = plain_frame(len(point.values))
    fixed = at_bounds(run, point.values, point.gradient)
    step, edm = bowl.step(point.gradient, fixed)
    while edm > _SPARE * run.tolerance and run.may_go_on:
        found = None
        for k in range(_TRIES):
            trial = np.clip(point.values + 0.5**k * step, run.lower, run.upper)
            new = run.evaluate(frame, trial)
            if new.is_finite and new.stat <= point.stat + run.noise(point.stat):
                found = new
                break
        if found is None or np.all(found.values == point.values):
            break
        point = found
        run.step_done(point)
        if not run.holds(point.values):
            break
        fixed = at_bounds(run, point.values, point.gradient)
        before = edm
        step, edm = bowl.step(point.gradient, fixed)
        if edm > _SLOW * before:
            break
    return point, edm
