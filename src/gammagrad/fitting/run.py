"""What the steps of a fit share: calls of the compiled functions, what was found, the progress."""

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
    """A place and what the statistic is there.

    Parameters
    ----------
    z
        Coordinates in some frame, shape (n,).
    values
        Values of the free parameters, shape (n,).
    stat
        Statistic, less that of a perfect prediction.
    gradient
        Its gradient in the frame's coordinates, shape (n,).
    npred
        Predicted counts of each dataset, wherever JAX keeps them.
    """

    z: Floats
    values: Floats
    stat: float
    gradient: Floats
    npred: tuple[Any, ...]

    @property
    def is_finite(self) -> bool:
        """Whether the statistic and its gradient are numbers."""
        return bool(np.isfinite(self.stat) and np.all(np.isfinite(self.gradient)))


class Run:
    """One fit under way: its data, its bounds, and the record of what it did.

    Parameters
    ----------
    problem
        Data and models.
    lower, upper
        Bounds of the free parameters, shape (n,).
    max_iterations
        How many steps may be made in all.
    tolerance
        Distance from the minimum, in the statistic, at which the fit is done.
    watcher
        Called with the statistic after each step.
    holds
        Says whether the prediction is good for some values of the free parameters.
    """

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
        """Evaluate the statistic and its gradient.

        Parameters
        ----------
        frame
            The coordinates.
        z
            Where, shape (n,).

        Returns
        -------
        Point
            What is there.
        """
        self.n_evaluations += 1
        there = evaluate(self.problem, frame, z)
        stat, gradient, values = jax.device_get((there.stat, there.gradient, there.values))
        point = Point(z, np.asarray(values), float(stat), np.asarray(gradient), there.npred)
        if self.n_evaluations == 1:
            self.start = point.stat + self.problem.offset()
        return point

    def curvature(self, point: Point) -> Floats:
        """Return the second derivatives of the statistic.

        Parameters
        ----------
        point
            Where.

        Returns
        -------
        ndarray
            Matrix, shape (n, n).
        """
        return np.asarray(curvature(self.problem, point.values))

    def information(self, point: Point) -> Floats:
        """Return the second derivatives expected on average, were the models true.

        Parameters
        ----------
        point
            Where.

        Returns
        -------
        ndarray
            Twice Fisher's information, shape (n, n): without negative eigenvalues.
        """
        return np.asarray(curvature(self.problem.observing(point.npred), point.values))

    def step_done(self, point: Point) -> None:
        """Take down that a step led to a better point.

        Parameters
        ----------
        point
            Where it led.
        """
        self.niter += 1
        stat = point.stat + self.problem.offset()
        self.history.append(stat)
        self._watcher(stat)

    @property
    def may_go_on(self) -> bool:
        """Whether more steps are allowed."""
        return self.niter < self.max_iterations

    def noise(self, stat: float) -> float:
        """Return how far two values of the statistic may differ by rounding alone.

        Parameters
        ----------
        stat
            The statistic, less that of a perfect prediction.

        Returns
        -------
        float
            The difference.
        """
        return 1e-11 * (1.0 + abs(stat))
