"""The state of a running fit: compiled functions, points found, progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.fitting.frame import Frame
from gammagrad.fitting.problem import Problem, curvature, evaluate

Floats = NDArray[np.float64]


class Point(NamedTuple):
    """A point and the statistic there."""

    z: Floats  # coordinates in some frame, shape (n,)
    values: Floats  # values of the free parameters, shape (n,)
    stat: float  # statistic relative to a perfect prediction
    gradient: Floats  # its gradient in the frame's coordinates, shape (n,)
    npred: tuple[Any, ...]  # predicted counts of each dataset, wherever JAX keeps them

    @property
    def is_finite(self) -> bool:
        """Whether the statistic and its gradient are numbers."""
        return bool(np.isfinite(self.stat) and np.all(np.isfinite(self.gradient)))


class Run:
    """A running fit: its data, its bounds, and its history."""

    def __init__(
        self,
        problem: Problem,
        lower: Floats,
        upper: Floats,
        max_iterations: int,
        tolerance: float,
        watcher: Callable[[float], Any],
        holds: Callable[[Floats], bool] = lambda values: True,
    ) -> None:
        self.problem = problem
        self.lower, self.upper = lower, upper
        self.max_iterations, self.tolerance = max_iterations, tolerance
        self.history: list[float] = []
        self.niter = 0
        self.n_evaluations = 0
        self.start = np.nan
        self.holds = holds
        self._watcher = watcher

    def evaluate(self, frame: Frame, z: Floats) -> Point:
        """Evaluate the statistic and its gradient."""
        self.n_evaluations += 1
        there = evaluate(self.problem, frame, z)
        stat, gradient, values = jax.device_get((there.stat, there.gradient, there.values))
        point = Point(z, np.asarray(values), float(stat), np.asarray(gradient), there.npred)
        if self.n_evaluations == 1:
            self.start = point.stat + self.problem.offset()
        return point

    def curvature(self, point: Point) -> Floats:
        """Return the second derivatives of the statistic."""
        return np.asarray(curvature(self.problem, point.values))

    def information(self, point: Point) -> Floats:
        """Return the expected second derivatives, if the models were true."""
        return np.asarray(curvature(self.problem.observing(point.npred), point.values))

    def step_done(self, point: Point) -> None:
        """Record a step to a better point."""
        self.niter += 1
        stat = point.stat + self.problem.offset()
        self.history.append(stat)
        self._watcher(stat)

    @property
    def may_go_on(self) -> bool:
        """Whether more steps are allowed."""
        return self.niter < self.max_iterations

    def noise(self, stat: float) -> float:
        """Return how much two values of the statistic may differ by rounding."""
        return 1e-11 * (1.0 + abs(stat))
