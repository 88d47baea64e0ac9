"""The result of a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import QTable
from jax import lax
from numpy.typing import NDArray

from gammagrad._html import as_html, named_values, rows_below
from gammagrad.fitting.problem import parameter_indices, with_values
from gammagrad.models import Models, matching

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FitResult:
    """The best-fit models, their errors, and convergence.

    Parameters
    ----------
    models : Models
        The models at the minimum, with the same frozen parameters and bounds.
    names : tuple of str
        Full names of the free parameters, in the order of `covariance`.
    covariance : ndarray
        Covariance of the free parameters, shape (n, n), from the exact second derivatives of the
        statistic. 0 for parameters at a bound, which count as known; NaN for parameters that the
        data do not determine, or if not requested.
    stat : float
        Cash statistic at the minimum, the sum over all datasets.
    stat_start : float
        The same at the start.
    success : bool
        Whether a minimum was found and the data determine all free parameters.
    message : str
        The result, or the problem, in a sentence.
    niter : int
        Number of steps.
    n_evaluations : int
        Number of evaluations of the statistic and its gradient.
    edm : float
        Estimated distance to the minimum, in the statistic.
    history : ndarray
        Statistic at the start and after each step.
    at_bound : tuple of str
        Free parameters that ended on one of their bounds.
    """

    models: Models
    names: tuple[str, ...]
    covariance: Floats
    stat: float
    stat_start: float
    success: bool
    message: str
    niter: int
    n_evaluations: int
    edm: float
    history: Floats
    at_bound: tuple[str, ...]

    @property
    def values(self) -> Floats:
        """Values of the free parameters, in internal units, shape (n,)."""
        found = self.models.parameters
        return np.array([float(found[name]) for name in self.names])

    @property
    def errors(self) -> dict[str, float]:
        """Error of each free parameter by full name; NaN at a bound and where undetermined."""
        errors = np.sqrt(np.diag(self.covariance))
        return {
            name: float("nan") if name in self.at_bound else float(error)
            for name, error in zip(self.names, errors, strict=True)
        }

    @property
    def parameters(self) -> QTable:
        """All parameters of all models.

        Columns ``model``, ``name``, ``value``, ``error`` (0 if frozen), ``unit``, ``min``,
        ``max``, ``frozen`` and ``at_bound``; numbers in the unit of their row.
        """
        errors, bounds, places = self.errors, self.models.bounds, self.models.places()
        rows = []
        for full, value in self.models.parameters.items():
            model, _, name = full.rpartition(".")
            free = full in errors
            rows.append(
                (
                    *(model, name, float(value), errors.get(full, 0.0)),
                    *(places[full].limits.unit, *bounds[full], not free, full in self.at_bound),
                )
            )
        columns = ["model", "name", "value", "error", "unit", "min", "max", "frozen", "at_bound"]
        table = QTable(rows=rows or None, names=columns)
        for column in ("value", "error", "min", "max"):
            table[column].info.format = ".5g"
        return table

    @property
    def correlation(self) -> Floats:
        """Correlation coefficients of the free parameters, shape (n, n); NaN without an error."""
        errors = np.sqrt(np.diag(self.covariance))
        product = errors[:, None] * errors[None, :]
        nothing = np.full_like(product, np.nan)
        return np.divide(self.covariance, product, where=product > 0, out=nothing)

    def covariance_of(self, *names: str) -> Floats:
        """Return the covariance of some parameters.

        Parameters
        ----------
        *names
            Full names, or patterns such as ``"crab.*"``.

        Returns
        -------
        ndarray
            Matrix, in the order of `names` if they are not patterns.

        Raises
        ------
        ValueError
            If no free parameter has such a name.
        """
        wanted = [own for name in names for own in matching([name], self.names)]
        index = [self.names.index(name) for name in wanted]
        return self.covariance[np.ix_(index, index)]

    def propagate(self, function: Callable[[Models], Any]) -> tuple[Any, Any]:
        """Return the value of a function of the models and its error, to first order.

        Parameters
        ----------
        function
            Takes models, returns a number or an array; traced, in float64.

        Returns
        -------
        (ndarray, ndarray)
            Value and error, of one shape.

        Examples
        --------
        The flux of a source between 1 and 10 TeV::

            result.propagate(lambda models: models["crab"].spectral_model.integral(1, 10))
        """
        places = parameter_indices(self.models, self.names)

        def of_values(values: Any) -> Any:
            return jnp.asarray(function(with_values(self.models, places, values)))

        root = _root(self.covariance)
        unknown = np.isnan(np.diag(root))
        with jax.enable_x64(True):
            value, push = jax.linearize(of_values, jnp.asarray(self.values))
            # the error is the length of the Jacobian times a root of the covariance
            rows = lax.map(push, jnp.asarray(np.nan_to_num(root).T))
            square = np.asarray((rows**2).sum(axis=0))
            for direction in np.eye(len(unknown))[unknown]:
                square = np.where(np.asarray(push(direction)) != 0, np.nan, square)
            return np.asarray(value), np.sqrt(square)

    def __str__(self) -> str:
        lines = [
            f"Fit: {self.message}",
            "",
            f"  success:    {self.success}",
            f"  statistic:  {self.stat:.3f} (start: {self.stat_start:.3f})",
            f"  steps:      {self.niter} ({self.n_evaluations} evaluations)",
            f"  distance:   {self.edm:.2g}",
            "",
        ]
        table = self.parameters
        rows = table[~table["frozen"]] if len(table) else table
        text = rows.pformat(max_lines=-1, max_width=-1)
        return "\n".join([*lines, *(f"  {row}".rstrip() for row in text)])

    def _repr_html_(self) -> str:
        values = {
            "success": self.success,
            "statistic": f"{self.stat:.3f} (start: {self.stat_start:.3f})",
            "steps": f"{self.niter} ({self.n_evaluations} evaluations)",
            "distance": f"{self.edm:.2g}",
        }
        table: Any = self.parameters
        rows = table[~table["frozen"]] if len(table) else table
        shown = rows_below(rows.colnames, (tuple(row) for row in rows))
        return as_html(f"Fit: {self.message}", named_values(values), shown)

    def __repr__(self) -> str:
        return f"<FitResult: {self.message} stat={self.stat:.3f}, {len(self.names)} free>"


def _root(covariance: Floats) -> Floats:
    """Return R with R R^T the covariance; rows of NaN where it is NaN."""
    known = np.flatnonzero(np.diag(covariance) > 0)
    errors = np.sqrt(np.diag(covariance)[known])
    correlation = covariance[np.ix_(known, known)] / (errors[:, None] * errors[None, :])
    values, vectors = np.linalg.eigh(correlation)
    root = np.zeros_like(covariance)
    root[np.ix_(known, known)] = errors[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    root[np.isnan(np.diag(covariance)), :] = np.nan
    return root
