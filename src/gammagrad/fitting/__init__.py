"""The fit of models to datasets: parameters, errors and what came of it."""

from gammagrad.fitting.fit import fit
from gammagrad.fitting.result import FitResult

__all__ = ["FitResult", "fit"]
